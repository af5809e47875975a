package ringtest

import (
	"slices"
	"time"
)

// Detection says how long one incident took to be known.
type Detection struct {
	Action    string  `json:"action"`
	KnownMS   float64 `json:"known_ms"`  // to the last survivor
	ClosedMS  float64 `json:"closed_ms"` // until every survivor held the right hand, 0 unknown
	Survivors int     `json:"survivors"`
}

// alone reports whether action i has nothing beside it, so that what follows
// is of its making.
func (w *World) alone(i int) bool {
	a := &w.script[i]
	if int64(a.At) < w.watch.forming {
		return false
	}
	quiet := time.Duration(w.timing.quiet())
	for j := range w.script {
		o := &w.script[j]
		if j != i && o.At < a.over()+quiet && o.over()+quiet > a.At {
			return false
		}
	}
	return true
}

// first reports whether nobody whom action i touches was touched before, so
// that no return of it is held down.
func (w *World) first(i int) bool {
	for j := range i {
		o := w.script[j].touches()
		if o == nil || w.script[j].Fault == Partition {
			return false
		}
		for _, x := range w.script[i].touches() {
			if slices.Contains(o, x) {
				return false
			}
		}
	}
	return true
}

// begun plans what has to follow an action that stands alone.
func (c *watch) begun(w *World, i int) {
	a := &w.script[i]
	if !c.formed || !w.alone(i) || w.opt.rolls > 0 { // what follows depends on who is there
		return
	}
	victims := slices.Clone(c.victims)
	all := w.everybody()
	for _, x := range all {
		touched := a.Fault != Partition && slices.Contains(a.touches(), int(x))
		if !touched && !w.hosts[x].core.Head().Joined {
			return // somebody's return is held down
		}
	}
	rest := make([]int32, 0, len(all))
	for _, x := range all {
		if !slices.Contains(victims, int(x)) {
			rest = append(rest, x)
		}
	}
	w.mark()
	n := len(w.hosts)
	whole := 2*len(rest) > n && w.quorum(rest)
	proven := w.timing.proven(n, len(victims))
	switch a.Fault {
	case Crash, Blank, Torn, Third:
		if whole && len(victims) > 0 && (a.For == 0 || int64(a.For) > proven+second) {
			w.expectDeath(a, victims, rest, proven)
			if after := 2*w.lapTime() + 3*second; len(victims) == 1 &&
				(a.For == 0 || int64(a.For) > after) {
				w.expectCopy(a, rest, proven)
			}
		}
	case Power, Pause, Suspend, Deaf, Mute, Blackhole:
		if whole && len(victims) > 0 &&
			(a.For == 0 || int64(a.For) > 2*w.timing.silence(a.Fault)) {
			w.expectDeath(a, victims, rest, w.timing.silence(a.Fault))
			w.expectCutOff(a)
		}
	case Hiccup, Slow, Loss, Lossy, Delay, Reset:
		if len(victims) == len(a.touches()) { // else one is out, and may return meanwhile
			w.expectCalm(a, "H2", a.over()+time.Second)
		}
	case Cut, Part:
		if len(victims) == 2 {
			w.expectDetour(a, all)
		}
	case Flap:
		if w.first(i) { // else a return held down before may fall due now
			w.expectDamping(a, rest)
		}
	case Partition:
		w.expectParts(a, rest)
	case Depart:
		if len(victims) > 0 {
			w.expectGoodbye(a, rest)
		}
	}
	w.expectReturn(i)
}

// mark remembers where everybody's counters are.
func (w *World) mark() {
	for i := range w.hosts {
		if h := &w.hosts[i]; h.core != nil {
			h.changes, h.marked, h.kind = h.core.Head().Changes, h.passes, h.life
		}
	}
	w.watch.news = w.watch.news[:0]
}

// changed is how many view changes h saw since mark.
func (h *host) changed() uint64 {
	if h.core == nil || h.kind != h.life {
		return 0
	}
	return h.core.Head().Changes - h.changes
}

// expectDeath is H1, and that one incident is one view change (H2).
func (w *World) expectDeath(a *Action, victims []int, rest []int32, bound int64) {
	w.expect(w.now+bound, func() {
		for _, o := range rest {
			for _, x := range victims {
				if w.hosts[o].core.Row(x).State == alive {
					w.fail("H1", "s%d does not know of s%d's end %v after %v", o, x, span(bound), a)
				}
			}
			if c := w.hosts[o].changed(); c != 1 && w.failure == nil {
				w.fail("H2", "s%d made %d view changes of %v", o, c, a)
			}
		}
		known := int64(0)
		for _, d := range w.watch.news {
			if !d.back {
				known = max(known, d.at-int64(a.At))
			}
		}
		w.watch.found = append(w.watch.found, Detection{a.String(), float64(known) / 1e6, 0, len(rest)})
	})
}

// expectCopy is that the death of one stop costs neither an epoch nor a lap: if
// it held the particle, the copy of the stop before it goes on at once.
func (w *World) expectCopy(a *Action, rest []int32, bound int64) {
	o := &w.hosts[rest[0]]
	epoch, life, laps := o.epoch, o.life, o.lap
	w.expect(w.now+bound+w.lapTime()*13/10+50*ms, func() {
		if w.alive(o.index, life) && (o.epoch != epoch || o.lap == laps) {
			w.fail("P1", "s%d was at epoch %s lap %d before %v and is at epoch %s lap %d", o.index,
				epochText(epoch), laps, a, epochText(o.epoch), o.lap)
		}
	})
}

// expectCutOff is H5: the victim knows that it is cut off, and calls nobody
// alive whom it cannot reach.
func (w *World) expectCutOff(a *Action) {
	if a.Fault != Deaf && a.Fault != Mute && a.Fault != Blackhole {
		return
	}
	h := &w.hosts[a.A]
	if h.core == nil || h.odd || len(w.hosts) < 3 {
		return
	}
	life := h.life
	w.expect(w.now+w.timing.silence(a.Fault)+int64(w.timing.Answer), func() {
		if !w.alive(h.index, life) {
			return
		}
		v := h.core.View()
		if !v.CutOff {
			w.fail("H5", "s%d is cut off and does not know it", a.A)
		}
		for x := range v.Instances {
			if x != a.A && v.Instances[x].State == alive {
				w.fail("H5", "s%d is cut off and calls s%d alive", a.A, x)
			}
		}
	})
}

// expectCalm is that nothing comes of it.
func (w *World) expectCalm(a *Action, invariant string, until time.Duration) {
	w.expect(int64(until), func() {
		for i := range w.hosts {
			if c := w.hosts[i].changed(); c != 0 {
				w.fail(invariant, "s%d made %d view changes of %v", i, c, a)
			}
		}
	})
}

// expectDetour is H4: nobody is dropped, the link is shown as bad, laps go on.
func (w *World) expectDetour(a *Action, all []int32) {
	if len(all) < 3 || !w.quorum(all) {
		return
	}
	w.expectCalm(a, "H4", a.over()+time.Second)
	end := int64(a.over())
	if w.linked(a.A, a.B) && a.For > 3*time.Duration(w.timing.detection()) {
		w.expect(end-1, func() {
			for _, i := range all {
				if !w.showsBad(i, a.A, a.B) {
					w.fail("H4", "s%d does not show the link of s%d and s%d as bad", i, a.A, a.B)
				}
			}
		})
	}
	calm := int64(a.For) - 2*w.timing.detection()
	if calm < 2*w.lapTime() {
		return
	}
	want := uint64(calm/w.lapTime()) * 2 / 3
	w.expect(end-1, func() {
		for _, i := range all {
			h := &w.hosts[i]
			if h.core != nil && h.life == h.kind && h.passes-h.marked < want {
				w.fail("H4", "the particle passed s%d %d times in %v of %v, want %d", i,
					h.passes-h.marked, a.For, a, want)
			}
		}
	})
}

// linked reports whether two instances have to talk while all live.
func (w *World) linked(a, b int) bool {
	return max(a, b) >= w.overlay.N || slices.Contains(w.overlay.Neighbours(a), b)
}

func (w *World) showsBad(i int32, a, b int) bool {
	for _, l := range w.hosts[i].core.Head().BadLinks {
		if l.From == a && l.To == b || l.From == b && l.To == a {
			return true
		}
	}
	return false
}

// expectDamping is H2 of a flapping instance.
func (w *World) expectDamping(a *Action, rest []int32) {
	if a.For < 30*time.Second || !w.quorum(rest) {
		return
	}
	w.expect(int64(a.over())-1, func() {
		for _, i := range rest {
			gone, back := 0, 0
			for _, d := range w.watch.news {
				if int32(d.observer) == i && int(d.subject) == a.A {
					if d.back {
						back++
					} else {
						gone++
					}
				}
			}
			if gone > 2 || back > 1 {
				w.fail("H2", "s%d removed s%d %d times and took it back %d times in %v of %v", i,
					a.A, gone, back, a.For, a.Fault)
			}
		}
	})
}

// expectParts is that each side of a partition is a ring of its own, with one
// particle, and that a side without a quorum says so.
func (w *World) expectParts(a *Action, rest []int32) {
	settle := int64(3 * w.timing.detection())
	if int64(a.For) < settle+second || !w.watch.formed {
		return
	}
	var part []int32
	for _, i := range w.everybody() {
		if slices.Contains(a.Set, int(i)) {
			part = append(part, i)
		}
	}
	sides := [2][]int32{part, rest}
	w.expect(w.now+settle, func() { w.lookAtSides(a, sides) })
	window := 4*w.lapTime() + second
	if int64(a.For) < settle+3*w.lapTime()+window+5*second {
		return
	}
	w.expect(int64(a.over())-window, func() { w.record(true) })
	w.expect(int64(a.over())-1, func() {
		for _, set := range sides {
			if text := w.oneParticle(set, w.now-window); text != "" && len(set) > 0 {
				w.fail("P1", "in the part of s%d: %s", set[0], text)
			}
		}
		w.record(false)
	})
}

func (w *World) lookAtSides(a *Action, sides [2][]int32) {
	for _, set := range sides {
		if len(set) == 0 {
			continue
		}
		if text := w.whole(set); text != "" {
			w.fail("R2", "in the part of s%d, %v into %v: %s", set[0], span(w.now-int64(a.At)), a, text)
		}
		for _, i := range set {
			if w.hosts[i].minor.on && w.hosts[i].core.BusView().Anchored {
				w.fail("P3", "s%d calls its laps anchored, without a quorum %v into %v", i,
					span(w.now-int64(a.At)), a)
			}
			if v := w.hosts[i].core.Head(); w.hosts[i].minor.on && !v.CutOff {
				w.fail("H5", "s%d, with %d of %d, does not know that it is cut off", i, len(set),
					len(w.hosts))
			}
		}
	}
}

// expectGoodbye is that a leave is no death.
func (w *World) expectGoodbye(a *Action, rest []int32) {
	if a.For > 0 && a.For < time.Second {
		return
	}
	w.expect(w.now+second/2, func() {
		for _, d := range w.watch.news {
			if int(d.subject) == a.A && !d.back {
				w.fail("H2", "s%d calls s%d dead, which said goodbye", d.observer, a.A)
			}
		}
		for _, i := range rest {
			if s := w.hosts[i].core.Row(a.A).State; s != left {
				w.fail("R2", "s%d has s%d in state %d half a second after its goodbye", i, a.A, s)
			}
		}
	})
}

// expectReturn is that all is well a moment after the end of an action.
func (w *World) expectReturn(i int) {
	a := &w.script[i]
	if a.For == 0 || !w.first(i) {
		return
	}
	after, invariant := w.timing.back(), "R2"
	switch a.Fault {
	case Deaf, Mute, Blackhole, Partition, Pause, Suspend:
		invariant = "H5"
	case Flap, Odd:
		return
	case Restart:
		after = w.formBound()
	case Cut, Part:
		after = 3*w.timing.Beat + time.Second
	case Loss, Lossy, Slow, Starve, Delay, Hiccup, Reset:
		after = 3*w.timing.Beat + 4*time.Second
	}
	w.expect(int64(a.over()+after), func() {
		set := w.everybody()
		if len(set) == 0 || w.dampedUntil(set) > w.now {
			return
		}
		look := w.whole // links may still be on the mend, see H5
		if a.Fault == Cut || a.Fault == Part {
			look = w.settled
		}
		if text := look(set); text != "" {
			w.fail(invariant, "%v after the end of %v: %s", after, a, text)
		}
	})
}
