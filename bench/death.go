package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// signals by name; their String says what they do.
var signals = map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGSTOP: "SIGSTOP"}

// deaths is what one system showed under one signal.
type deaths struct {
	known  []time.Duration // last survivor's own event behind the signal
	closed []time.Duration // known, and the hand behind the gap held again
	tick   []time.Duration // first tick behind the gap after it closed
	back   []time.Duration // last other's own event behind restart or SIGCONT
}

// death kills and stops one of n processes, again and again, and asks the
// survivors when they knew. Our instances are never asked by the clock of this
// program but for the moment of the signal: it is one machine, and one clock.
func death(b *bench) error {
	n, trials := or(b.Nodes, 11), or(b.Trials, 15)
	t := b.out.table(fmt.Sprintf("one of %d processes, min / median / max", n),
		"system", "signal", "trials", "last survivor knows", "ring closed too", "next tick there",
		"return seen by all")
	kinds := []struct {
		name   string
		trials int
		on     bool
		make   func() (system, error)
	}{
		{"ring, defaults", trials, true, func() (system, error) { return newRingSystem(b, n, nil) }},
		{"ring, full speed", trials, true, func() (system, error) {
			return newRingSystem(b, n, nil, "--max-speed")
		}},
		{"memberlist LAN", max(1, trials/3), b.Peers, func() (system, error) {
			return newMemberlistSystem(b, n, nil, "lan")
		}},
		{"memberlist tuned", max(1, trials/3), b.Peers, func() (system, error) {
			return newMemberlistSystem(b, n, nil, "tuned")
		}},
		{asRun, max(1, trials/5), b.Peers && b.Corosync, func() (system, error) {
			net, err := b.net(n)
			if err != nil {
				return nil, err
			}
			return newCorosyncSystem(b, net, n, 0)
		}},
	}
	for _, k := range kinds {
		if !k.on || !b.wants(k.name) {
			continue
		}
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			d, err := dying(b, k.make, n, k.trials, sig)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			t.row(k.name, signals[sig], len(d.known), spread(d.known), spread(d.closed), spread(d.tick),
				spread(d.back))
			if k.name == "ring, defaults" {
				judgeDeaths(b, sig, d)
			}
		}
	}
	return nil
}

func judgeDeaths(b *bench, sig syscall.Signal, d *deaths) {
	known, back := median(d.closed), median(d.back)
	if sig == syscall.SIGKILL {
		b.out.target(known < 50*time.Millisecond, "SIGKILL known by all and ring closed, median",
			"< 50 ms", short(known))
	} else {
		b.out.target(known < 1500*time.Millisecond, "SIGSTOP known by all and ring closed, median",
			"< 1.5 s", short(known))
	}
	b.out.target(back < 200*time.Millisecond, "return after "+signals[sig]+" seen by all, median",
		"< 200 ms", short(back))
}

// dying runs the trials of one system and one signal. No instance dies twice
// in one fleet: a return that waits because it flaps is another experiment.
func dying(b *bench, make func() (system, error), n, trials int, sig syscall.Signal) (
	*deaths, error,
) {
	d := new(deaths)
	var s system
	var victims []int
	defer b.clear()
	for trial := range trials {
		if len(victims) == 0 {
			b.clear()
			var err error
			if s, err = make(); err != nil {
				return nil, err
			}
			if err := s.start(); err != nil {
				return nil, fmt.Errorf("%w\n%s", err, tail(s.logs()))
			}
			if err := b.rest(2 * time.Second); err != nil {
				return nil, err
			}
			victims = rand.Perm(n)
		}
		victim := victims[0]
		victims = victims[1:]
		b.say("%T trial %d: %v of %d", s, trial+1, sig, victim)
		if err := d.once(b, s, n, victim, sig); err != nil {
			return nil, fmt.Errorf("victim %d: %w\n%s", victim, err, tail(s.logs()))
		}
	}
	return d, nil
}

// once is one trial: the signal, what the survivors said, and the way back.
func (d *deaths) once(b *bench, s system, n, victim int, sig syscall.Signal) error {
	r, ours := s.(*ringSystem)
	var ticks *ticker
	if ours {
		ticks = follow(b.ctx, r.Ring, (victim+1)%n)
		defer ticks.stop()
	}
	// A signal at a fixed phase of heartbeats would measure the phase.
	if err := b.rest(time.Duration(rand.IntN(1000)) * time.Millisecond); err != nil {
		return err
	}
	at := time.Now()
	if err := s.proc(victim).Signal(sig); err != nil {
		return err
	}
	known, err := last(n, victim, at, 60*time.Second, s.lost)
	if err != nil {
		return err
	}
	d.known = append(d.known, known.Sub(at))
	if ours {
		if err := d.closing(r, n, victim, at, known, ticks); err != nil {
			return err
		}
	}
	if err := b.rest(500 * time.Millisecond); err != nil {
		return err
	}
	return d.comesBack(b, s, n, victim, sig)
}

func (d *deaths) comesBack(b *bench, s system, n, victim int, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		<-s.proc(victim).Done()
	}
	at := time.Now()
	var err error
	if sig == syscall.SIGKILL {
		err = s.restart(victim)
	} else {
		err = s.proc(victim).Signal(syscall.SIGCONT)
	}
	if err != nil {
		return err
	}
	back, err := last(n, victim, at, 90*time.Second, s.back)
	if err != nil {
		return err
	}
	d.back = append(d.back, back.Sub(at))
	if r, ours := s.(*ringSystem); ours {
		if err := r.AwaitWhole(30*time.Second, r.All()); err != nil {
			return err
		}
	}
	return b.rest(time.Second)
}

// last is the latest of what all but the victim said first.
func last(n, victim int, from time.Time, patience time.Duration,
	of func(j, victim int, from time.Time) (time.Time, bool),
) (latest time.Time, err error) {
	for j := range n {
		if j == victim {
			continue
		}
		err := fleet.Await(patience, fmt.Sprintf("%d speaks of %d", j, victim), func() bool {
			at, ok := of(j, victim, from)
			if ok && at.After(latest) {
				latest = at
			}
			return ok
		})
		if err != nil {
			return latest, err
		}
	}
	return latest, nil
}

// closing finds when the instance before the victim held the hand of the one
// behind it, and when the particle came by there after that.
func (d *deaths) closing(r *ringSystem, n, victim int, at, known time.Time, ticks *ticker) error {
	before, behind := (victim+n-1)%n, (victim+1)%n
	var closed time.Time
	err := fleet.Await(10*time.Second, "the ring closes", func() bool {
		e, ok := r.Find(before, at, "next_changed", r.Names[behind])
		if up, is := r.Find(before, at, "link_up", r.Names[behind]); is && up.At.After(e.At) {
			e = up // the hand was new: it is held when the link stands
		}
		closed = e.At
		return ok
	})
	if err != nil {
		return err
	}
	var tick time.Time
	err = fleet.Await(20*time.Second, "laps go on", func() bool {
		tick = ticks.after(closed)
		return !tick.IsZero()
	})
	if closed.Before(known) {
		closed = known
	}
	d.closed = append(d.closed, closed.Sub(at))
	d.tick = append(d.tick, tick.Sub(at))
	return err
}

// ticker keeps the ticks of one instance.
type ticker struct {
	stop func()
	mu   sync.Mutex
	kept []fleet.Tick
}

// ticksMax bounds what a ticker keeps; at full speed that is some ten seconds.
const ticksMax = 1 << 15

func follow(ctx context.Context, r *fleet.Ring, i int) *ticker {
	ctx, stop := context.WithCancel(ctx)
	t := &ticker{stop: stop}
	go func() {
		_ = r.API.Follow(ctx, r.Addrs[i], func(tick fleet.Tick) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if len(t.kept) == ticksMax {
				t.kept = append(t.kept[:0:0], t.kept[ticksMax/2:]...)
			}
			t.kept = append(t.kept, tick)
		})
	}()
	return t
}

// after is the time of the first tick kept behind that moment, zero for none.
func (t *ticker) after(at time.Time) time.Time {
	for _, tick := range t.ticks() {
		if tick.At.After(at) {
			return tick.At
		}
	}
	return time.Time{}
}

// ticks are those kept.
func (t *ticker) ticks() []fleet.Tick {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.kept)
}
