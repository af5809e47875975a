package ringtest

import (
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/lease"
	"ringofservers.dev/ring/internal/wire"
)

const (
	leaseNames = 2
	contenders = 3 // for each name, at different instances where there are so many
	// leaseSkew is how much the clocks of holders differ in speed from those of
	// leaders, at most, in millionths: a little less than the hundredth that is stated.
	leaseSkew = 9700
)

// contender is a part of a process that wants a lease for itself, over and over,
// and uses it as it should: it writes only while it may act.
type contender struct {
	dice    dice
	host    int32
	name    int
	life    uint32 // of the process
	holder  *lease.Holder
	history wire.History
	busy    bool
	above   uint64 // what had been granted to anybody when it asked, in
	aboveIn wire.History
	expires int64 // when it stops waiting for an answer
	rests   int64 // it wants nothing before
	gives   int64 // it gives the lease back then
}

// grantOf is a fence of one history.
type grantOf struct {
	history wire.History
	fence   uint64
}

// resource is what a lease guards: it refuses who comes with less than the
// highest fence it has seen.
type resource struct {
	fence uint64
	by    int32 // contender
}

type resourceOf struct {
	history wire.History
	name    int
}

// write is one on its way to a resource.
type write struct {
	by   int32
	life uint32
	to   resourceOf
	with uint64
}

func leaseName(name int) string { return fmt.Sprintf("job/%d", name) }

// boottime is what the clock of h shows that goes on while the host sleeps.
func (w *World) boottime(h *host) time.Time {
	return time.Unix(1<<29, w.now+w.now/1e6*h.bootppm)
}

func (w *World) planLeases() {
	w.contenders = make([]contender, leaseNames*contenders)
	d := dice(mix(w.seed, forLease))
	first := d.below(int64(len(w.hosts)))
	for i := range w.contenders {
		c := &w.contenders[i]
		c.dice = dice(mix(w.seed, forLease, uint64(i)))
		c.name = i % leaseNames
		c.host = int32((first + int64(i/leaseNames)*int64(max(1, len(w.hosts)/contenders))) %
			int64(len(w.hosts)))
		w.agenda.push(second+c.dice.below(second), atLease, int32(i), 0)
	}
}

// leaseTurn is a contender looking what is to be done, as the public API does.
func (w *World) leaseTurn(i int32) {
	c := &w.contenders[i]
	if w.resting {
		return
	}
	w.agenda.push(w.now+20*ms+c.dice.below(60*ms), atLease, i, 0)
	h := &w.hosts[c.host]
	if h.core == nil || h.odd {
		return
	}
	if c.life != h.life {
		c.life, c.holder, c.busy = h.life, nil, false
	}
	if h.stop > 0 {
		return
	}
	if c.busy && w.now >= c.expires {
		w.giveUp(h, ^i)
		w.leaseDone(c, bus.Result{}, false)
	}
	now := w.boottime(h)
	if c.holder == nil && !w.contend(c, h) {
		return
	}
	if cmd := c.holder.Turn(now); cmd != nil {
		c.busy, c.expires = true, w.now+3*second
		c.above, c.aboveIn = w.watch.granted, w.watch.grantedIn
		w.ask(h, core.Propose, cmd, ^i)
	}
	if c.holder == nil || c.life != h.life || h.core == nil {
		return
	}
	if c.holder.Valid(now) {
		w.checkAlone(i)
		if c.dice.hit(0.5) {
			w.use(i)
		}
		if w.now >= c.gives {
			w.ask(h, core.Propose, c.holder.Release(), noOne)
			w.leaseRests(c)
		}
	} else if c.holder.Over(now) {
		w.leaseRests(c)
	}
}

// contend begins to want the lease, if it seems to be free.
func (w *World) contend(c *contender, h *host) bool {
	if _, held := h.core.State().Lease(leaseName(c.name)); held || w.now < c.rests {
		return false
	}
	c.holder = lease.New(leaseName(c.name), time.Duration(3*second/2+c.dice.below(3*second)))
	c.gives = w.now + 200*ms + c.dice.below(5*second)
	return true
}

func (w *World) leaseRests(c *contender) {
	c.holder, c.busy = nil, false
	c.rests = w.now + c.dice.below(16*second)
}

func (w *World) leaseAnswered(h *host, i int32, fx *core.Effect) {
	c := &w.contenders[i]
	if !c.busy || c.life != h.life || c.holder == nil {
		return
	}
	first := c.holder.Fence() == 0
	w.leaseDone(c, fx.Result, fx.Kind == core.Settled)
	if c.holder == nil || c.holder.Fence() == 0 {
		return
	}
	if first {
		c.history, _, _ = h.core.Revision()
		w.checkFence(c)
	}
	w.checkAlone(i)
}

func (w *World) leaseDone(c *contender, r bus.Result, ok bool) {
	c.busy = false
	c.holder.Answer(w.boottime(&w.hosts[c.host]), r, ok)
	if c.holder.Fence() == 0 { // held by another, or not known
		w.leaseRests(c)
	}
}

// checkFence is P2 for what is granted: a fence is given once, and is greater than
// all that had been given when it was asked for.
func (w *World) checkFence(c *contender) {
	g := grantOf{c.history, c.holder.Fence()}
	if w.watch.grants[g] {
		w.fail("P2", "fence %d is given twice, now to s%d for %s", g.fence, c.host, leaseName(c.name))
	}
	if c.above >= g.fence && c.aboveIn == c.history {
		w.fail("P2", "s%d is given fence %d for %s after somebody was given %d", c.host, g.fence,
			leaseName(c.name), c.above)
	}
	w.watch.grants[g] = true
	if w.watch.grantedIn != c.history {
		w.watch.grantedIn, w.watch.granted = c.history, 0
	}
	w.watch.granted = max(w.watch.granted, g.fence)
}

// mayAct reports whether contender c may act now, by its own clock.
func (w *World) mayAct(c *contender) bool {
	h := &w.hosts[c.host]
	return c.holder != nil && h.core != nil && c.life == h.life && c.holder.Valid(w.boottime(h))
}

// checkAlone is P2 itself: while contender i may act nobody else may.
func (w *World) checkAlone(i int32) {
	c := &w.contenders[i]
	if !w.mayAct(c) {
		return
	}
	for j := range w.contenders {
		o := &w.contenders[j]
		if int32(j) != i && o.name == c.name && o.history == c.history && w.mayAct(o) {
			w.fail("P2", "s%d with fence %d and s%d with fence %d both hold %s", c.host,
				c.holder.Fence(), o.host, o.holder.Fence(), leaseName(c.name))
		}
	}
}

// use sends a write to the resource. It was checked that the holder may act; by
// the time it arrives that may have changed.
func (w *World) use(i int32) {
	c := &w.contenders[i]
	w.writes = append(w.writes, write{i, c.life, resourceOf{c.history, c.name}, c.holder.Fence()})
	w.agenda.push(w.now+c.dice.below(5*ms), atWrite, int32(len(w.writes)-1), 0)
}

// onWrite is a write arriving, unless its process was stopped on the way to it:
// then it comes later.
func (w *World) onWrite(n int32) {
	x := w.writes[n]
	c := &w.contenders[x.by]
	h := &w.hosts[c.host]
	if h.stop > 0 && x.life == h.life {
		w.agenda.push(w.now+20*ms, atWrite, n, 0)
		return
	}
	r := w.watch.guarded[x.to]
	switch {
	case x.with < r.fence:
		if c.life == x.life && w.mayAct(c) && c.holder.Fence() == x.with {
			w.fail("P2", "s%d holds %s with fence %d, and is refused for one of %d", c.host,
				leaseName(x.to.name), x.with, r.fence)
		}
		return
	case x.with == r.fence && r.by != x.by:
		w.fail("P2", "two write to what %s guards with fence %d", leaseName(x.to.name), x.with)
	}
	w.watch.guarded[x.to] = resource{x.with, x.by}
}
