package main

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
)

// stormResident is how much memory an instance may take in a storm: what it keeps for
// who comes late, what may be on the way to its neighbours, a subscriber's queue of
// large messages, what it is at rest, and as much again for the garbage collector.
const stormResident = 100 << 20

var stormSizes = []int{100, 10 << 10}

// storm lets every instance send as fast as it is let, and then does so while one
// instance is slow to hear, to read, or stopped.
func storm(b *bench) error {
	n, span := or(b.Nodes, 11), or(b.Span, time.Minute)
	t := b.out.table(fmt.Sprintf("storm: %d instances send as fast as they can for %v", n, span),
		"bytes", "sent /s", "delivered /s", "slowest, fastest sender /s", "missed: subscriber, gone",
		"copies", "deaths told",
		"lap p50, max", "resident MiB before, most, after", "CPU % it, all")
	for _, size := range stormSizes {
		if b.wants("full") {
			if err := b.stormFull(t, n, size, span); err != nil {
				return err
			}
		}
	}
	t = b.out.table("the same, while one instance is",
		"bytes", "one is", "delivered to each other /s", "before and after", "ratio",
		"the worst half second", "deaths told of others")
	for _, size := range stormSizes {
		if b.wants("slow") {
			if err := b.stormSlow(t, n, size, max(span/6, 5*time.Second)); err != nil {
				return err
			}
		}
	}
	return nil
}

// stormFleet is a fleet with n instances of ours, and no latency between them.
func (b *bench) stormFleet(n int) (*castFleet, error) {
	f, err := b.castFleet(n, castKind{name: "ring", kind: "ring"}, 0)
	if err != nil {
		return nil, err
	}
	return f, b.rest(3 * time.Second)
}

func (b *bench) stormFull(t *table, n, size int, span time.Duration) error {
	b.say("storm of %d bytes", size)
	defer b.clear()
	f, err := b.stormFleet(n)
	if err != nil {
		return err
	}
	rest, err := f.resident()
	if err != nil {
		return err
	}
	idle, err := f.load()
	if err != nil {
		return err
	}
	if err := f.tell(control.Order{Do: control.Storm, Size: size, For: span}); err != nil {
		return err
	}
	most := rest
	for begin := time.Now(); time.Since(begin) < span; {
		if err := b.rest(time.Second); err != nil {
			return err
		}
		now, err := f.resident()
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	load, err := f.load()
	if err != nil {
		return err
	}
	cpu, busy := load.since(idle)
	counts, err := f.settled()
	if err != nil {
		return err
	}
	after, err := f.resident()
	if err != nil {
		return err
	}
	s := sum(counts)
	var each []float64
	var laps []time.Duration
	for _, c := range counts {
		each = append(each, float64(c.Sent)/span.Seconds())
		laps = append(laps, c.Laps...)
	}
	slices.Sort(laps)
	mib := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
	t.row(size, fmt.Sprintf("%.0f", float64(s.sent)/span.Seconds()),
		fmt.Sprintf("%.0f", float64(s.got)/span.Seconds()),
		fmt.Sprintf("%.0f, %.0f", slices.Min(each), slices.Max(each)),
		fmt.Sprintf("%d, %d", s.missed, s.gone), float64(s.frames["cast"])/float64(s.sent)/float64(n), s.deaths,
		short(quantile(laps, 0.5))+", "+short(quantile(laps, 1)), mib(rest)+", "+mib(most)+", "+mib(after),
		fmt.Sprintf("%.0f, %.0f", 100*cpu, 100*busy))
	what := fmt.Sprintf("storm of %d bytes: ", size)
	b.out.target(s.deaths == 0, what+"deaths told", "0", fmt.Sprint(s.deaths))
	b.out.target(s.unaccounted == 0, what+"delivered, or told as missed", "all",
		fmt.Sprintf("all but %d", s.unaccounted))
	b.out.target(most < stormResident, what+"resident, the largest", "< "+mib(stormResident)+" MiB",
		mib(most)+" MiB")
	return nil
}

// stormed is what all together counted.
type stormed struct {
	sent, got, missed, gone uint64
	unaccounted             int64 // neither delivered nor told as missed
	deaths                  int
	frames                  map[string]uint64 // that came in
}

func sum(counts []*control.Count) stormed {
	s := stormed{frames: map[string]uint64{}}
	for _, c := range counts {
		s.sent += c.Sent
		s.got += c.Got
		s.missed += c.Missed
		s.gone += c.Gone
		for kind, n := range c.Frames {
			s.frames[kind] += n
		}
		for _, times := range c.Deaths {
			s.deaths += times
		}
	}
	s.unaccounted = int64(s.sent)*int64(len(counts)) - int64(s.got+s.missed+s.gone)
	return s
}

// stormPatience is how long after a storm all must have come, or be told as missed.
const stormPatience = 30 * time.Second

// settled are the counts once all has come, or after stormPatience.
func (f *castFleet) settled() (counts []*control.Count, err error) {
	for begin := time.Now(); time.Since(begin) < stormPatience; {
		if err := f.b.rest(time.Second); err != nil {
			return nil, err
		}
		if counts, err = f.counts(); err != nil {
			return nil, err
		}
		if sum(counts).unaccounted == 0 {
			break
		}
	}
	return counts, nil
}

// resident is that of the largest member.
func (f *castFleet) resident() (most int64, err error) {
	for _, p := range f.members {
		n, err := fleet.Resident(p.PID())
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return most, nil
}

// stormSlow compares what the others get while one instance is ill with what they got
// just before and just after.
func (b *bench) stormSlow(t *table, n, size int, span time.Duration) error {
	defer b.clear()
	f, err := b.stormFleet(n)
	if err != nil {
		return err
	}
	ill := n / 2
	halt := halting{proc: f.members[ill]}
	phases := []struct {
		name       string
		begin, end func() error
	}{
		{"slow to take (10 ms each)", f.slowly(ill, 10*time.Millisecond), f.slowly(ill, 0)},
		{"stopped half of the time", halt.begin, halt.end},
		{"stopped", f.signal(ill, syscall.SIGSTOP), f.signal(ill, syscall.SIGCONT)},
	}
	total := time.Duration(2*len(phases)+2) * span
	if err := f.tell(control.Order{Do: control.Storm, Size: size, For: total}); err != nil {
		return err
	}
	before, _, err := f.rate(ill, span)
	if err != nil {
		return err
	}
	for _, p := range phases {
		b.say("storm of %d bytes, one is %s", size, p.name)
		during, worst, after, err := f.while(ill, span, p.begin, p.end)
		if err != nil {
			return fmt.Errorf("one is %s: %w", p.name, err)
		}
		counts, err := f.counts(f.but(ill)...)
		if err != nil {
			return err
		}
		deaths := 0
		for _, c := range counts {
			for subject, times := range c.Deaths {
				if subject != fleet.Names(n)[ill] {
					deaths += times
				}
			}
		}
		t.row(size, p.name, fmt.Sprintf("%.0f", during), fmt.Sprintf("%.0f, %.0f", before, after),
			2*during/(before+after), fmt.Sprintf("%.0f", worst), deaths)
		what := fmt.Sprintf("storm of %d bytes, one %s: deaths told of others", size, p.name)
		b.out.target(deaths == 0, what, "0", fmt.Sprint(deaths))
		before = after
	}
	return nil
}

// while measures what the others get between begin and end, and after that.
func (f *castFleet) while(ill int, span time.Duration, begin, end func() error) (
	during, worst, after float64, err error,
) {
	if err := begin(); err != nil {
		return 0, 0, 0, err
	}
	during, worst, err = f.rate(ill, span)
	if err = errors.Join(err, end()); err != nil {
		return 0, 0, 0, err
	}
	after, _, err = f.rate(ill, span)
	return during, worst, after, err
}

// slowly makes a member's subscriber take that long for each message.
func (f *castFleet) slowly(i int, each time.Duration) func() error {
	return func() error { return f.conns[i].Send(control.Order{Do: control.Slow, For: each}) }
}

func (f *castFleet) signal(i int, sig syscall.Signal) func() error {
	return func() error { return f.members[i].Signal(sig) }
}

// but are all members but one.
func (f *castFleet) but(ill int) (others []int) {
	for i := range f.members {
		if i != ill {
			others = append(others, i)
		}
	}
	return others
}

// halting stops a process for a tenth of a second and lets it run for as long, again and
// again.
type halting struct {
	proc *fleet.Proc
	quit chan struct{}
	done chan error
}

func (h *halting) begin() error {
	h.quit, h.done = make(chan struct{}), make(chan error)
	go func() { h.done <- h.run() }()
	return nil
}

func (h *halting) end() error {
	close(h.quit)
	return <-h.done
}

func (h *halting) run() error {
	const pause = 100 * time.Millisecond
	for {
		err := h.proc.Signal(syscall.SIGSTOP)
		time.Sleep(pause)
		if err = errors.Join(err, h.proc.Signal(syscall.SIGCONT)); err != nil {
			return err
		}
		select {
		case <-h.quit:
			return nil
		case <-time.After(pause):
		}
	}
}

// rate is how many messages a second each member but one gets: mean is over the span,
// worst over a half second of it.
func (f *castFleet) rate(ill int, span time.Duration) (mean, worst float64, err error) {
	const step = 500 * time.Millisecond
	others := f.but(ill)
	read := func() (got uint64, at time.Time, err error) {
		counts, err := f.counts(others...)
		return sum(counts).got, time.Now(), err
	}
	first, begin, err := read()
	if err != nil {
		return 0, 0, err
	}
	got, at := first, begin
	for at.Sub(begin) < span {
		if err := f.b.rest(step); err != nil {
			return 0, 0, err
		}
		now, when, err := read()
		if err != nil {
			return 0, 0, err
		}
		r := float64(now-got) / when.Sub(at).Seconds() / float64(len(others))
		if worst == 0 || r < worst {
			worst = r
		}
		got, at = now, when
	}
	return float64(got-first) / at.Sub(begin).Seconds() / float64(len(others)), worst, nil
}
