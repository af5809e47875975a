package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// fault is one partial failure of a fleet in namespaces: it lasts, is healed,
// and what every instance told of it is judged.
type fault struct {
	name  string
	hit   int                     // the instance at fault, or one end of the link
	link  bool                    // a link is at fault: nobody may be removed
	begin func(*partialRun) error // may be nil
	while func(*partialRun) error // runs until the span is over, may be nil
	judge func(b *bench, name string, s *partialSeen)
}

// partialRun is one fault under way.
type partialRun struct {
	b    *bench
	net  *fleet.Net
	proc func(int) *fleet.Proc
	n    int
	end  time.Time
}

// partialSeen is what a ring showed under a fault.
type partialSeen struct {
	changes  int           // most view changes at one instance not at fault
	removals int           // most deaths of the instance at fault told by one other
	returns  int           // and most returns of it, before healing
	others   int           // deaths of instances not at fault, anywhere
	bad      string        // bad links shown by somebody before healing
	gap      time.Duration // longest time without a lap at an instance not at fault
	cutOff   time.Duration // until the instance at fault knew, -1 never
	back     time.Duration // from healing until all others saw it again, -1 never
	whole    time.Duration // from healing until the ring was whole, -1 not in time
}

const (
	partialNodes = 7
	partialHit   = 4
)

// faults are the partial failures of the run, hitting index 4 and its link to
// 5, its neighbour on the base ring.
var faults = []fault{
	{
		name: "one direction 4 to 5 dropped", hit: partialHit, link: true,
		begin: func(r *partialRun) error { return r.net.Drop(4, 5) }, judge: judgeLink,
	},
	{
		name: "pair 4 and 5 cut", hit: partialHit, link: true,
		begin: func(r *partialRun) error {
			if err := r.net.Drop(4, 5); err != nil {
				return err
			}
			return r.net.Drop(5, 4)
		}, judge: judgeLink,
	},
	{
		name: "4 black-holed", hit: partialHit,
		begin: func(r *partialRun) error {
			if err := r.net.Deafen(4); err != nil {
				return err
			}
			return r.net.Mute(4)
		}, judge: judgeCutOff,
	},
	{
		name: "4 mute", hit: partialHit,
		begin: func(r *partialRun) error { return r.net.Mute(4) }, judge: judgeCutOff,
	},
	{name: "4 stops 2 s, runs 1 s", hit: partialHit, while: stutter, judge: judgeStutter},
}

// stutter stops the instance for two of each three seconds.
func stutter(r *partialRun) error {
	for time.Until(r.end) > 3*time.Second {
		if err := r.proc(partialHit).Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		if err := r.b.rest(2 * time.Second); err != nil {
			return err
		}
		if err := r.proc(partialHit).Signal(syscall.SIGCONT); err != nil {
			return err
		}
		if err := r.b.rest(time.Second); err != nil {
			return err
		}
	}
	return nil
}

func partial(b *bench) error {
	span := or(b.Span, 40*time.Second)
	t := b.out.table(fmt.Sprintf("ring: partial faults, %d instances, %v each", partialNodes, span),
		"fault", "view changes", "removals", "returns", "others removed", "bad links shown",
		"longest without a lap", "knew it was cut off", "back after healing", "whole after healing")
	for _, f := range faults {
		if !b.wants("ring: " + f.name) {
			continue
		}
		s, err := b.partialRing(f, span)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		t.row(f.name, s.changes, s.removals, s.returns, s.others, or(s.bad, "-"), short(s.gap),
			never(s.cutOff), never(s.back), never(s.whole))
		f.judge(b, f.name, s)
		b.clear()
	}
	if !b.Corosync || !b.Peers {
		return nil
	}
	t = b.out.table(fmt.Sprintf("%s, token 1 s: the same, %d members", asRun, partialNodes),
		"fault", "membership changes at a member not at fault")
	for _, f := range faults {
		if !b.wants("corosync: " + f.name) {
			continue
		}
		changes, err := b.partialCorosync(f, span)
		if err != nil {
			return fmt.Errorf("corosync: %s: %w", f.name, err)
		}
		t.row(f.name, changes)
		b.clear()
	}
	return nil
}

func never(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return short(d)
}

// partialRing runs one fault against a fresh ring.
func (b *bench) partialRing(f fault, span time.Duration) (*partialSeen, error) {
	net, err := b.net(partialNodes)
	if err != nil {
		return nil, err
	}
	r, err := newRingSystem(b, partialNodes, net)
	if err != nil {
		return nil, err
	}
	if err := r.start(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(r.logs()))
	}
	if err := b.rest(3 * time.Second); err != nil {
		return nil, err
	}
	b.say("%s", f.name)
	s, begin := &partialSeen{back: -1, whole: -1, cutOff: -1}, time.Now()
	watch := newPartialWatch(r, f.hit)
	if err := b.under(f, &partialRun{b, net, r.Proc, partialNodes, begin.Add(span)}); err != nil {
		return nil, err
	}
	watch.end(s)
	healed := time.Now()
	for i := range partialNodes {
		if err := net.Heal(i); err != nil {
			return nil, err
		}
	}
	if r.AwaitWhole(20*time.Second, r.All()) == nil {
		s.whole = time.Since(healed)
	}
	return s, s.read(r, f, begin, healed)
}

// under begins a fault and returns when its time is over.
func (b *bench) under(f fault, run *partialRun) error {
	if f.begin != nil {
		if err := f.begin(run); err != nil {
			return err
		}
	}
	if f.while != nil {
		if err := f.while(run); err != nil {
			return err
		}
	}
	return b.rest(time.Until(run.end))
}

// read takes the counts from the events of all.
func (s *partialSeen) read(r *ringSystem, f fault, begin, healed time.Time) error {
	hit := r.Names[f.hit]
	for i := range r.Names {
		events, err := r.Events(i, begin)
		if err != nil {
			return err
		}
		count := map[string]int{}
		for _, e := range events {
			if i != f.hit || f.link {
				s.tally(e, hit, healed, count)
			}
			if i == f.hit && e.Kind == "cut_off" && s.cutOff < 0 {
				s.cutOff = e.At.Sub(begin)
			}
		}
		s.changes = max(s.changes, count["changes"])
		s.removals = max(s.removals, count["removals"])
		s.returns = max(s.returns, count["returns"])
	}
	return nil
}

// tally counts one event of an instance that is not at fault.
func (s *partialSeen) tally(e fleet.Event, hit string, healed time.Time, count map[string]int) {
	switch {
	case e.Kind == "view_changed" && e.At.Before(healed):
		count["changes"]++
	case e.Kind == "died" && e.Subject == hit:
		count["removals"]++
	case e.Kind == "died":
		s.others++
	case e.Kind == "returned" && e.Subject == hit && e.At.Before(healed):
		count["returns"]++
	case e.Kind == "returned" && e.Subject == hit:
		s.back = max(s.back, e.At.Sub(healed))
	}
}

// partialWatch looks at the ring four times a second while a fault lasts.
type partialWatch struct {
	stop, done chan struct{}
	bad        map[string]bool
	gap        time.Duration
}

func newPartialWatch(r *ringSystem, hit int) *partialWatch {
	w := &partialWatch{make(chan struct{}), make(chan struct{}), map[string]bool{}, 0}
	watched := []int{(hit + 2) % len(r.Names), (hit + 1) % len(r.Names)}
	go func() {
		defer close(w.done)
		laps, since := make([]uint64, len(watched)), make([]time.Time, len(watched))
		for {
			for k, i := range watched {
				s, err := r.API.Status(r.Addrs[i])
				if err != nil {
					continue
				}
				if since[k].IsZero() || s.Laps != laps[k] {
					laps[k], since[k] = s.Laps, time.Now()
				}
				w.gap = max(w.gap, time.Since(since[k]))
				for _, l := range s.BadLinks {
					w.bad[short2(l.From)+">"+short2(l.To)] = true
				}
			}
			select {
			case <-w.stop:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return w
}

// short2 is the last element of a name.
func short2(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func (w *partialWatch) end(s *partialSeen) {
	close(w.stop)
	<-w.done
	var links []string
	for l := range w.bad {
		links = append(links, l)
	}
	slices.Sort(links)
	s.bad, s.gap = strings.Join(links, " "), w.gap
}

func judgeLink(b *bench, name string, s *partialSeen) {
	b.out.target(s.changes == 0 && s.removals+s.others == 0, name+": view changes", "0",
		fmt.Sprint(s.changes))
	shown := strings.Contains(s.bad, "4>5") || strings.Contains(s.bad, "5>4")
	b.out.target(shown, name+": bad link shown", "4>5 or 5>4", or(s.bad, "none"))
	b.out.target(s.gap < 5*time.Second, name+": laps go on, longest pause", "< 5 s", short(s.gap))
}

func judgeCutOff(b *bench, name string, s *partialSeen) {
	b.out.target(s.removals == 1 && s.returns == 0 && s.others == 0,
		name+": removals, returns before healing", "1 and 0",
		fmt.Sprintf("%d and %d", s.removals, s.returns))
	b.out.target(s.cutOff >= 0 && s.cutOff < 3*time.Second, name+": knows it is cut off", "< 3 s",
		never(s.cutOff))
	b.out.target(s.back >= 0 && s.back < time.Second, name+": back after healing", "< 1 s",
		never(s.back))
}

func judgeStutter(b *bench, name string, s *partialSeen) {
	b.out.target(s.removals <= 2 && s.returns <= 1 && s.others == 0,
		name+": removals and returns", "<= 2 and <= 1",
		fmt.Sprintf("%d and %d", s.removals, s.returns))
}

// partialCorosync counts the membership changes of corosync under one fault.
func (b *bench) partialCorosync(f fault, span time.Duration) (int, error) {
	net, err := b.net(partialNodes)
	if err != nil {
		return 0, err
	}
	c, err := newCorosyncSystem(b, net, partialNodes, time.Second)
	if err != nil {
		return 0, err
	}
	if err := c.start(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, tail(c.logs()))
	}
	if err := b.rest(3 * time.Second); err != nil {
		return 0, err
	}
	b.say("corosync: %s", f.name)
	before := c.changes(0)
	run := &partialRun{b, net, c.proc, partialNodes, time.Now().Add(span)}
	if err := b.under(f, run); err != nil {
		return 0, err
	}
	return c.changes(0) - before, nil
}
