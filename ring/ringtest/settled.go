package ringtest

import (
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// everybody lists the hosts with a process that holds the right roster.
func (w *World) everybody() []int32 {
	var set []int32
	for i := range w.hosts {
		if h := &w.hosts[i]; h.core != nil && !h.odd && !h.retired {
			set = append(set, int32(i))
		}
	}
	return set
}

// settled is R2 for a component: each of the set holds the hand of the next of
// the set, and all see exactly the set alive, at the same incarnations. It
// returns what is not so yet, or nothing.
func (w *World) settled(set []int32) string { return w.look(set, true) }

// whole is the part of it that counts for being back: views and hands. Links
// may still be on the mend.
func (w *World) whole(set []int32) string { return w.look(set, false) }

// trusted is from how many instances on equal view IDs stand for equal rows:
// comparing all with all would take longer than the run.
const trusted = 200

func (w *World) look(set []int32, links bool) string {
	in := make([]bool, len(w.hosts))
	for _, i := range set {
		in[i] = true
	}
	inc := make([]uint32, len(w.hosts))
	var id uint64
	for n, i := range set {
		c := w.hosts[i].core
		v := c.Head()
		next := set[(n+1)%len(set)]
		switch {
		case !v.Joined:
			return fmt.Sprintf("s%d has not joined", i)
		case v.Next != int(next):
			return fmt.Sprintf("next of s%d is s%d, not s%d", i, v.Next, next)
		case n > 0 && v.ID != id:
			return fmt.Sprintf("s%d has another view (%04x) than s%d (%04x)", i, v.ID&0xffff,
				set[0], id&0xffff)
		case v.CutOff && w.quorum(set):
			return fmt.Sprintf("s%d calls itself cut off", i)
		}
		if n == 0 || len(set) <= trusted {
			if text := rows(c.View(), in, inc, n == 0); text != "" {
				return text
			}
		}
		if links {
			if text := onTheMend(c); text != "" {
				return text
			}
		}
		id = v.ID
	}
	return ""
}

// quorum reports whether most of those who vote are of the set, by whoever of it
// has applied most. While they change it is for nobody to say.
func (w *World) quorum(set []int32) bool {
	var best *core.Core
	var most uint64
	for _, i := range set {
		c := w.hosts[i].core
		if c == nil {
			continue
		}
		if _, applied, _ := c.Revision(); best == nil || applied > most {
			best, most = c, applied
		}
	}
	if best == nil {
		return false
	}
	all, here := 0, 0
	for _, v := range best.BusView().Voters {
		i := v.ID.Index()
		switch {
		case v.Leaves:
			return false
		case !v.Votes || best.Row(i).State == left:
			continue
		case slices.Contains(set, int32(i)):
			here++
		}
		all++
	}
	return 2*here > all
}

// onTheMend is what an instance shows of links that do not carry.
func onTheMend(c *core.Core) string {
	switch v := c.Head(); {
	case v.Detour != -1:
		return fmt.Sprintf("s%d takes a detour by s%d", v.Self, v.Detour)
	case len(v.BadLinks) > 0:
		return fmt.Sprintf("s%d shows bad links %v", v.Self, v.BadLinks)
	}
	for x := range c.Suspects() {
		return fmt.Sprintf("s%d suspects s%d", c.Head().Self, x)
	}
	return ""
}

// rows compares who is alive by v with who is; first fills inc, else compares.
func rows(v *core.View, in []bool, inc []uint32, first bool) string {
	for x := range v.Instances {
		row := &v.Instances[x]
		switch {
		case (row.State == wire.Alive) != in[x]:
			return fmt.Sprintf("s%d sees s%d in state %d", v.Self, x, row.State)
		case first:
			inc[x] = row.Incarnation
		case in[x] && row.Incarnation != inc[x]:
			return fmt.Sprintf("s%d sees s%d at incarnation %d, others at %d", v.Self, x,
				row.Incarnation, inc[x])
		}
	}
	return ""
}

// dampedUntil is when the last return that is held down may come, on the
// world's clock; 0 if none is.
func (w *World) dampedUntil(set []int32) int64 {
	until := int64(0)
	for _, i := range set {
		h := &w.hosts[i]
		for _, x := range set {
			if t := h.core.Row(int(x)).Damped; !t.IsZero() {
				until = max(until, w.global(h, t))
			}
		}
	}
	return min(until, w.now+int64(2*w.timing.HoldDown))
}

// await runs until everybody has settled; a return that is held down has its
// time. It returns when that was; it fails invariant if it takes too long.
func (w *World) await(invariant string, bound time.Duration) int64 {
	from := w.now
	until := from + int64(bound)
	every := int64(w.timing.Beat) / 8
	if len(w.hosts) > 200 {
		every *= 4
	}
	for w.failure == nil {
		set := w.everybody()
		if len(set) == 0 {
			return w.now
		}
		text := w.settled(set)
		if text == "" {
			return w.now
		}
		if w.now >= until {
			if d := w.dampedUntil(set); d > w.now {
				until = d + int64(bound)
				continue
			}
			w.fail(invariant, "not settled %v (%.1f beats) after calm: %s", span(w.now-from),
				float64(w.now-from)/float64(w.timing.Beat), text)
			return w.now
		}
		w.run(w.now + every)
	}
	return w.now
}

// lapTime is how long a lap may take while all is well.
func (w *World) lapTime() int64 {
	n := int64(len(w.hosts))
	lap := 2 * n * w.timing.far
	switch {
	case w.opt.MaxSpeed:
	case w.opt.Hold > 0:
		lap += n * int64(w.opt.Hold)
	default:
		lap += int64(w.timing.Lap)
	}
	return lap
}

// oneParticle is P1 for a component: all passes recorded since from are of one
// particle that visits the set in order, and there are enough of them.
func (w *World) oneParticle(set []int32, from int64) string {
	place := map[int32]int{}
	for n, i := range set {
		place[i] = n
	}
	var prev *pass
	count := 0
	for i := range w.watch.passes {
		p := &w.watch.passes[i]
		n, ours := place[p.host]
		if !ours || p.at < from {
			continue
		}
		count++
		if prev != nil {
			at := (place[prev.host] + 1) % len(set)
			lap := prev.lap
			if at == 0 {
				lap++
			}
			if p.epoch != prev.epoch || p.lap != lap || n != at {
				return fmt.Sprintf("after epoch %s lap %d at s%d came epoch %s lap %d at s%d at %s",
					epochText(prev.epoch), prev.lap, prev.host, epochText(p.epoch), p.lap, p.host,
					stamp(p.at))
			}
		}
		prev = p
	}
	if count < len(set) {
		return fmt.Sprintf("%d passes at %d stops in %v", count, len(set), span(w.now-from))
	}
	return ""
}

// record begins or ends the recording of passes.
func (w *World) record(on bool) {
	w.watch.recording = on
	if on {
		w.watch.passes = w.watch.passes[:0]
	}
}
