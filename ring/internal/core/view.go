package core

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/wire"
)

// Points against an instance that goes and comes back: a process that died and
// was started again costs one, one that went silent and was found alive after
// all costs two. They halve every Timing.HoldDown. Whoever has more than
// flapFree when it wants to return waits until it is down to flapBack.
const (
	flapSilent = 2.0
	flapProof  = 1.0
	flapFree   = 3.0
	flapBack   = 2.0
)

type flap struct {
	i      int32
	points float32
	at     time.Duration // after the start
}

func viewMix(i int, inc uint32) uint64 { return flood.Mix(uint64(i), uint64(inc)) }

// setState moves i to another state at its present incarnation.
func (c *Core) setState(i int, s wire.State) {
	was := c.table.State(i)
	if was == s {
		return
	}
	mix := viewMix(i, c.table.Incarnation(i))
	if was == wire.Alive {
		c.alive--
		c.viewID ^= mix
	}
	if was == wire.Left {
		c.left--
	}
	if s == wire.Alive {
		c.alive++
		c.viewID ^= mix
	}
	delete(c.lost, i)
	if s == wire.Left {
		c.left++
	}
	c.table.SetState(i, s)
	c.noteDown(i, was, s)
	c.news()
}

// news marks that the view is not what it was.
func (c *Core) news() {
	c.look, c.weigh, c.viewNews = true, true, true
	c.version++
}

// tellView tells one line for all that happened to the view in this step.
func (c *Core) tellView() {
	if c.viewNews {
		c.viewNews = false
		c.changes++
		c.bus.ViewChanged(c.now)
		c.token.SetRing(max(c.alive, 1), c.rankOfSelf())
		if c.minority && c.bus.Quorum() {
			c.askSoon()
		}
		if c.joined {
			c.tell(Report{
				Kind: ViewChanged, Subject: -1,
				Text: fmt.Sprintf("%d of %d alive", c.alive, c.roster.Members()),
			})
		}
		c.findBadLinks()
	}
	if c.leaving { // who goes misses nobody: in the end all others may have left, too
		return
	}
	off := c.joined && (c.selfCut || c.doomed || !c.bus.Quorum() || c.alone()) || c.exiled()
	if off == c.cutOff {
		c.wasWhole = c.wasWhole || c.joined && !off
		return
	}
	c.cutOff = off
	c.version++
	text := quorumText(c.alive, c.roster.Members()-c.left)
	c.minority = c.minority || off
	switch {
	case off && (c.wasWhole || c.waits()):
		switch {
		case c.waits():
			text = "it died too often in a short time, and waits to return"
		case c.selfCut || c.doomed || c.exiled():
			text = "the others have cut this instance from the ring"
		}
		c.tell(Report{Kind: CutOff, Subject: c.self, Text: text})
	case !off && c.joined:
		if c.wasWhole {
			c.tell(Report{Kind: Whole, Subject: c.self, Text: text})
		}
		c.wasWhole = true
	}
}

// exiled reports whether this instance was in the ring, in this life or the one before,
// was cut, and waits to return.
func (c *Core) exiled() bool { return (c.wasWhole || c.waits()) && !c.joined && !c.leaving }

// waits reports whether its return is held down.
func (c *Core) waits() bool { return !c.joined && c.damped.After(c.now) }

// askSoon has the next heartbeats sent early, for what waits for them: those
// around us show whether they have the same view, and until then ours cannot
// speak for the ring; and who was cut learns that we hear it again.
func (c *Core) askSoon() {
	at := c.now.Add(5 * floodWindow)
	if at.Before(c.askAt) {
		at = c.askAt
	}
	c.askAt = at.Add(c.cfg.Timing.Beat / 4)
	c.beatAt = earlier(c.beatAt, at)
}

// quorate reports whether our view, without those who are gone, may speak for
// the ring: most of those who vote live in it, and it is not that of a minority
// which those it met again have filled up without having told it theirs.
func (c *Core) quorate(gone ...int) bool { return c.bus.QuorumWithout(gone) && !c.minority }

func (c *Core) rank() wire.Rank {
	if c.now.Before(c.stale) || !c.joined { // no view to go by
		return wire.Rank{Min: uint16(c.self)}
	}
	r := wire.Rank{Quorum: c.quorate(), Alive: uint16(c.alive), Min: uint16(c.self)}
	for i := range c.n {
		if c.isAlive(i) {
			r.Min = uint16(i)
			break
		}
	}
	return r
}

// rankOfSelf counts the living with a smaller index.
func (c *Core) rankOfSelf() int {
	n := 0
	for i := range c.self {
		if c.isAlive(i) {
			n++
		}
	}
	return n
}

// badAfter is how long an accusation must stand, with both ends alive, before
// the link is shown as bad: until all who watch the other end have had the time to
// find it dead, and the cut its quiet.
func (c *Core) badAfter() time.Duration { return c.detection() + c.quiet() }

// standing is since when an accusation stands, or 0 once it has stood for
// badAfter: in microseconds after the start, whose wrapping does not matter as
// only what is younger is looked at. It is small, because when many die at once
// every instance has one for each accusation.
type standing struct {
	observer, subject uint16
	since             uint32
}

// findBadLinks lists the standing accusations between instances that both live.
func (c *Core) findBadLinks() { c.noteBadLinks(c.edges()) }

// noteBadLinks does so of edges. Who is about to be cut gets no new ones.
func (c *Core) noteBadLinks(edges []detect.Edge) {
	edges = slices.DeleteFunc(edges, func(e detect.Edge) bool {
		_, over := slices.BinarySearch(c.overs, e.Subject)
		return over && !linkIn(c.bad, e.Observer, e.Subject)
	})
	if len(edges)+len(c.stood)+len(c.bad) == 0 {
		c.badAt = time.Time{}
		return
	}
	was := c.stood
	stood := make([]standing, 0, len(edges))
	var list []BadLinkView
	c.badAt = time.Time{}
	us := uint32(c.now.Sub(c.born)/time.Microsecond) | 1 // never 0
	for _, e := range edges {
		now := standing{uint16(e.Observer), uint16(e.Subject), us}
		for len(was) > 0 && was[0].observer < now.observer {
			was = was[1:]
		}
		for _, s := range was {
			if s.observer != now.observer {
				break
			}
			if s.subject == now.subject {
				now.since = s.since
			}
		}
		age := time.Duration(us-now.since) * time.Microsecond
		if now.since != 0 && age < c.badAfter() {
			c.badAt = earlier(c.badAt, c.now.Add(c.badAfter()-age))
			stood = append(stood, now)
			continue
		}
		now.since = 0
		stood = append(stood, now)
		list = append(list, BadLinkView{From: e.Observer, To: e.Subject, Proof: e.Proof})
		if !linkIn(c.bad, e.Observer, e.Subject) {
			c.tell(Report{Kind: BadLink, Subject: e.Subject, By: []int{e.Observer}})
			c.version++
		}
	}
	for _, b := range c.bad {
		if !linkIn(list, b.From, b.To) && c.isAlive(b.From) && c.isAlive(b.To) {
			c.tell(Report{Kind: GoodLink, Subject: b.To, By: []int{b.From}})
			c.version++
		}
	}
	c.stood, c.bad = stood, list
}

// linkIn reports whether the link is in list, which is in order of From.
func linkIn(list []BadLinkView, from, to int) bool {
	at, _ := slices.BinarySearchFunc(list, from,
		func(b BadLinkView, from int) int { return cmp.Compare(b.From, from) })
	for ; at < len(list) && list[at].From == from; at++ {
		if list[at].To == to {
			return true
		}
	}
	return false
}

// addFlap counts a removal of i against its next returns.
func (c *Core) addFlap(i int, points float64) {
	at, ok := c.flapOf(i)
	if !ok {
		c.flaps = slices.Insert(c.flaps, at, flap{i: int32(i)})
	}
	f := &c.flaps[at]
	f.points, f.at = float32(c.decayed(*f)+points), c.now.Sub(c.born)
}

// flapOf is where that of i is, or would be.
func (c *Core) flapOf(i int) (at int, ok bool) {
	return slices.BinarySearchFunc(c.flaps, int32(i),
		func(f flap, i int32) int { return cmp.Compare(f.i, i) })
}

func (c *Core) decayed(f flap) float64 {
	if f.points == 0 {
		return 0
	}
	age := c.now.Sub(c.born) - f.at
	return float64(f.points) * math.Exp2(-float64(age)/float64(c.cfg.Timing.HoldDown))
}

// dampedFor is how long i must still wait before it may return.
func (c *Core) dampedFor(i int) time.Duration {
	at, ok := c.flapOf(i)
	if !ok || c.flaps[at].points <= flapFree {
		return 0
	}
	f := c.flaps[at]
	wait := math.Log2(float64(f.points)/flapBack) * float64(c.cfg.Timing.HoldDown)
	return max(f.at+time.Duration(wait)-c.now.Sub(c.born), 0)
}
