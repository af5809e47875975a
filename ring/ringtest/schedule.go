package ringtest

import (
	"math/rand/v2"
	"slices"
	"time"
)

// schedule draws the faults of one seed: half of the seeds space them, so that
// each shows what it does alone, the others pile them up.
func schedule(
	seed uint64, n int, faults []Fault, from, until, gap time.Duration,
) []Action {
	if len(faults) == 0 || n < 2 {
		return nil
	}
	r := newRand(seed, forSchedule)
	var out []Action
	if seed%2 == 0 {
		for at := from; ; {
			a := draw(r, n, faults[r.IntN(len(faults))])
			a.At = at
			if at += max(a.For, time.Second) + between(r, gap, gap*4/3); at > until {
				return out
			}
			out = append(out, a)
		}
	}
	if r.IntN(4) == 0 {
		from = 0 // even while the ring forms
	}
	for range 2 + r.IntN(9) {
		a := draw(r, n, faults[r.IntN(len(faults))])
		a.At = between(r, from, until).Round(time.Millisecond)
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b Action) int { return int(a.At - b.At) })
	return out
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(max(to-from, 1))))
}

// draw fills in what a fault needs.
func draw(r *rand.Rand, n int, f Fault) Action {
	const msec = time.Millisecond
	a := Action{Fault: f, A: r.IntN(n)}
	a.B = (a.A + 1 + r.IntN(n-1)) % n
	a.For = between(r, 100*msec, 12*time.Second)
	switch f {
	case Crash, Blank, Power:
		if r.IntN(6) == 0 {
			a.For = 0 // for good
		}
	case Torn, Suspend:
		a.B = r.IntN(2)
	case Third:
		a.Set = some(r, n, max(n/3, 1))
	case Partition:
		a.Set = some(r, n, 1+r.IntN(max(n-1, 1)))
	case Restart:
		a.For = between(r, 100*msec, 5*time.Second)
	case Hiccup:
		a.For = between(r, 50*msec, 450*msec)
	case Slow:
		a.Much = between(r, 20*msec, 250*msec).Round(msec)
		a.For *= 3
	case Starve:
		a.Much = between(r, 300*msec, 1500*msec).Round(msec)
		a.For *= 2
	case Loss, Lossy:
		a.Rate = float64(1+r.IntN(10)) / 100
		a.For *= 3
	case Delay:
		a.Much = between(r, 5*msec, 100*msec).Round(msec)
		a.For *= 2
	case Cut, Part, Pause, Deaf, Mute, Blackhole:
		if r.IntN(2) == 0 {
			a.For += 10 * time.Second
		}
		if r.IntN(2) == 0 { // neighbours on the base ring
			a.B = (a.A + 1) % n
		}
	case Flap:
		a.For = 36 * time.Second
	case Reset:
		a.For = 0
	}
	a.For = a.For.Round(msec)
	return a
}

// some draws k of n, ascending.
func some(r *rand.Rand, n, k int) []int {
	set := r.Perm(n)[:k]
	slices.Sort(set)
	return set
}
