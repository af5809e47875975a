package core

import (
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// tenth is the unit in which a neighbour tells how long a return must wait.
const tenth = 100 * time.Millisecond

// you is what we know of i, for i to learn from.
func (c *Core) you(i int) wire.You {
	y := wire.You{Incarnation: c.table.Incarnation(i), State: c.table.State(i), Boot: c.table.Boot(i)}
	if y.State != wire.Alive && c.quorate() {
		tenths := (c.dampedFor(i) + tenth - 1) / tenth
		y.Damped = uint16(min(tenths, 1<<16-1))
	}
	return y
}

// learn takes from a heartbeat what the other side knows of us.
func (c *Core) learn(cn *conn, b *wire.Beat) {
	y := b.You
	if c.signs() {
		c.learnProven(cn, b)
		return
	}
	c.heardOf(y.Incarnation)
	if y.State == wire.Alive && y.Boot != 0 && y.Boot != c.cfg.Boot {
		if c.joined && y.Incarnation >= c.inc {
			c.usurped()
		}
		return // another process is where we want to be, until it is cut
	}
	if y.State == wire.Down && b.Rank.Quorum { // whoever held our name has been cut
		c.takenNow = time.Time{}
	}
	if y.State == wire.Left && c.joined && !c.leaving && y.Incarnation >= c.inc {
		c.join() // they said goodbye to a process of our name that we could not know of
		return
	}
	if y.State == wire.Alive && c.joined {
		if b.Rank.Quorum && y.Incarnation == c.inc {
			c.backedAt = c.now
		}
		if c.selfCut && y.Incarnation == c.inc { // somebody undid it, and has us back as we are
			c.selfCut, c.weigh = false, true
			c.version++
		}
	}
	if y.Damped > 0 && (!c.joined || y.State == wire.Down && y.Incarnation >= c.inc) {
		if at := c.now.Add(time.Duration(y.Damped) * tenth); at.After(c.damped) {
			if c.damped.Before(c.now) {
				c.tell(Report{Kind: Damped, Subject: c.self, Wait: at.Sub(c.now)})
			}
			c.damped = at
			c.version++
		}
	}
}

// learnProven is learn where instances sign. That we were somebody before, or are cut, is
// not for a neighbour to say: our former life has signed its records, and of a verdict
// it has to show who accused us. Its word only says when to look.
func (c *Core) learnProven(cn *conn, b *wire.Beat) {
	y := b.You
	former := y.Boot != 0 && y.Boot != c.cfg.Boot
	switch {
	case !c.joined && y.Incarnation > c.told && former && c.claimBy.IsZero():
		c.claimBy = c.now.Add(c.cfg.Timing.Answer)
	case c.joined && !c.leaving && former && c.former >= c.inc:
		if y.State == wire.Alive {
			c.usurped()
		} else {
			c.join()
		}
		return
	}
	if y.State == wire.Alive && former {
		return
	}
	if y.State == wire.Down && b.Rank.Quorum {
		c.takenNow = time.Time{}
	}
	if y.State == wire.Alive && c.joined && y.Incarnation == c.inc {
		if b.Rank.Quorum {
			c.backedAt = c.now
		}
		if c.selfCut {
			c.selfCut, c.weigh = false, true
			c.version++
		}
	}
	cn.peer.out, cn.peer.holds = y.State != wire.Alive, time.Time{}
	if y.Damped > 0 && (!c.joined || y.State == wire.Down && y.Incarnation >= c.inc) {
		cn.peer.holds = c.now.Add(min(time.Duration(y.Damped)*tenth, dampedMost*c.cfg.Timing.HoldDown))
	}
	if !c.joined { // who is in the ring asks when it is shown to be out
		c.holdDown()
	}
}

// dampedMost is for how many of Timing.HoldDown a return is held down at most: the points
// of one that is held down each time it may be halve twice in that.
const dampedMost = 2

// holdDown has our return wait for as long as two say of those to whom we are out of the
// ring, or as the only one.
func (c *Core) holdDown() {
	var first, second time.Time
	linked := 0
	for _, p := range c.peers {
		if p.healthy() == nil || !p.out {
			continue
		}
		linked++
		switch {
		case p.holds.After(first):
			first, second = p.holds, first
		case p.holds.After(second):
			second = p.holds
		}
	}
	if linked == 1 {
		second = first
	}
	if !second.After(c.damped) && !(second.IsZero() && linked > 1 && c.damped.After(c.now)) {
		return
	}
	if c.damped.Before(c.now) && second.After(c.now) {
		c.tell(Report{Kind: Damped, Subject: c.self, Wait: second.Sub(c.now)})
	}
	c.damped = second
	c.version++
}

// usurped meets another process that goes by our name, at an incarnation no
// lower than ours. As a rule that is what we were before a restart that lost the
// disk: we go above it. If it comes back time and again it lives, and this
// process is one too many.
func (c *Core) usurped() {
	if c.now.Sub(c.taken) < c.detection() {
		return
	}
	if c.now.Sub(c.taken) > 8*c.detection() {
		c.contests = 0
	}
	c.taken = c.now
	if c.contests++; c.contests > 3 {
		c.fatal(fmt.Sprintf("another process has taken the name %s; stop one of the two",
			c.roster.Names[c.self]))
		return
	}
	c.join()
}

// onOwnRecord meets our own word, or that of somebody who went by our name.
func (c *Core) onOwnRecord(r *wire.Record, from *conn) {
	if !c.signs() {
		c.heardOf(r.Incarnation)
		return
	}
	if r.Boot == c.cfg.Boot || r.Incarnation <= c.former || r.Incarnation < c.inc ||
		!saneLife(max(c.inc, c.told), r.Incarnation) {
		return
	}
	if _, w := c.vouchedRecord(from, r); w == Sound || w == Lapsed {
		c.former = r.Incarnation
		c.told = max(c.told, r.Incarnation)
		c.version++
	}
}

// yields reports whether we, cut in the view of the other side, are the ones
// who go over to it: if its view is the greater, or if it is in our own ring
// and no less entitled to a verdict than we are.
func (c *Core) yields(cn *conn, theirs wire.Rank) bool {
	ours := c.rank()
	if c.selfCut || c.canTell(theirs) && !greater(ours, theirs) {
		return true
	}
	return c.isAlive(cn.peer.i) && (theirs.Quorum || !ours.Quorum && !c.backed())
}

// backed reports whether we are just back from an absence, and a quorum has us in
// its view all the same.
func (c *Core) backed() bool {
	return c.now.Before(c.stale) && !c.backedAt.Before(c.stale.Add(-c.detection()))
}

// canTell reports whether we know whose view is the greater. Just back from an
// absence we know it only of a quorum's, and neither bury anybody nor give up
// our place for a minority's word. While views differ it is said again.
func (c *Core) canTell(theirs wire.Rank) bool {
	return theirs.Quorum || !c.now.Before(c.stale)
}

// greater orders views that meet: the quorum's, the larger, the one with the
// smallest index.
func greater(a, b wire.Rank) bool {
	if a.Quorum != b.Quorum {
		return a.Quorum
	}
	if a.Alive != b.Alive {
		return a.Alive > b.Alive
	}
	return a.Min < b.Min
}

// refusalsMin is from how many refusals on an instance gives its name up: one that
// hardly gets to run says so seldom, and may not have come to see who is gone.
const refusalsMin = 6

// onTaken waits for the holder of our name to be found dead, and gives up when
// it clearly lives. Where a quorum is with us and p is not, it is p who was away,
// and still holds the hand of the process before this one.
func (c *Core) onTaken(p *peer, text string) {
	if c.joined && !c.isAlive(p.i) && c.quorate() {
		return
	}
	p.refusedAt = c.now
	if !c.isTaken() {
		p.tried = false
		return
	}
	if c.joined && !c.selfCut { // while we were away another process took our place
		c.selfCut, c.weigh = true, true
		c.version++
	}
	p.tried = false
	c.takenNow = c.now.Add(2 * c.cfg.Timing.Redial)
	if c.refused.IsZero() || c.now.Sub(c.refused) > 8*c.detection() {
		c.refused, c.refusals = c.now, 0
	}
	c.refusals++
	if c.refusals >= refusalsMin && c.now.Sub(c.refused) > 3*c.detection() {
		c.fatal(text)
		return
	}
	if c.mayTell(p.i) {
		c.tell(Report{Kind: Refusing, Subject: p.i, Text: text})
	}
}

// isTaken reports whether enough say that our name is taken: where instances sign it is
// not for one of several to end another.
func (c *Core) isTaken() bool {
	if !c.signs() {
		return true
	}
	said, others := 0, c.alive
	if c.isAlive(c.self) {
		others--
	}
	for _, p := range c.peers {
		if !p.refusedAt.IsZero() && c.now.Sub(p.refusedAt) <= 8*c.detection() {
			said++
		}
	}
	return said >= min(2, max(others, 1))
}

func (c *Core) fatal(text string) {
	c.fx = append(c.fx, Effect{Kind: Fatal, Report: Report{Subject: c.self, Text: text}})
}

// tryJoin takes an incarnation and a place in the ring once it is known which.
func (c *Core) tryJoin() {
	if c.joined || c.leaving || c.gatherBy.IsZero() || c.now.Before(c.joinAt()) {
		return
	}
	c.join()
}

// joinAt is the earliest moment to join: when all roster neighbours answered or
// failed, or the time for it is over; not while our name is taken or our return
// damped.
func (c *Core) joinAt() time.Time {
	at := c.gatherBy
	if c.allTried() {
		at = c.now
	}
	for _, t := range [3]time.Time{c.damped, c.takenNow, c.claimed()} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// claimed is until when we wait for the record of a former life of ours that neighbours
// say there is.
func (c *Core) claimed() time.Time {
	if c.former > 0 {
		return time.Time{}
	}
	return c.claimBy
}

func (c *Core) allTried() bool {
	for _, p := range c.peers {
		if p.neighbour && !p.tried {
			return false
		}
	}
	return true
}

func (c *Core) joinDeadline() time.Time {
	if c.joined || c.leaving || c.gatherBy.IsZero() {
		return time.Time{}
	}
	return c.joinAt()
}

func (c *Core) join() {
	first := !c.published
	c.joined, c.published = true, true
	c.selfCut, c.claimBy = false, time.Time{}
	c.inc = max(c.inc, c.told, c.saved.Incarnation) + 1
	c.seq = 0
	c.saved.Incarnation = c.inc
	c.save()
	c.accused = nil
	for _, p := range c.peers {
		p.accused = false
	}
	if c.isAlive(c.self) {
		c.viewID ^= viewMix(c.self, c.table.Incarnation(c.self))
	}
	c.publish()
	if c.isAlive(c.self) {
		c.viewID ^= viewMix(c.self, c.inc)
		c.news()
	}
	c.setState(c.self, wire.Alive)
	if first {
		c.token.Begin(c.now)
		c.startCast()
	}
	c.tell(Report{Kind: Joined, Subject: c.self, Incarnation: c.inc})
}

// rejoin comes back into a ring that has cut us: under a new incarnation, and
// with its view in place of ours.
func (c *Core) rejoin() {
	if c.signs() {
		c.holdDown()
	}
	if !c.damped.After(c.now) {
		c.join()
		return
	}
	if !c.joined {
		return
	}
	// Out, until the hold-down is over. New links say so: their Hello has no
	// incarnation, and they bring the view of those who are in.
	c.joined = false
	c.setState(c.self, wire.Down)
	c.accused = nil
	c.publish()
	c.spreadNow()
	for len(c.open) > 0 {
		if p := c.open[0].peer; p != nil {
			p.linked, p.dialing, p.nextDial = false, false, c.now
		}
		c.shut(c.open[0], "waiting to return")
	}
}

// sendSync sends our whole opinion of who is down.
func (c *Core) sendSync(cn *conn) {
	s := &wire.Sync{Rank: c.rank()}
	for i := range c.n {
		if c.table.State(i) == wire.Down && len(s.Down) < wire.MarksMax {
			s.Down = append(s.Down, wire.Mark{
				Subject: uint32(i), Incarnation: c.table.Incarnation(i),
			})
		}
	}
	c.send(cn, s)
}

// onSync compares the other side's opinion of who is down with ours.
func (c *Core) onSync(cn *conn, s *wire.Sync) {
	if s.Rank.Alive == 0 {
		return // the sender is not in the ring, or was away too long to know
	}
	not, wait := c.doubts(cn, s.Down)
	if wait {
		return // it says it again when it has shown
	}
	down := make(map[int]uint32, len(s.Down))
	us := false
	for _, m := range s.Down {
		if int64(m.Subject) < int64(c.n) && !slices.Contains(not, m) {
			down[int(m.Subject)] = m.Incarnation
		}
	}
	if inc, ok := down[c.self]; ok && c.joined && inc >= c.inc {
		us = true
		c.heardOf(inc)
	}
	inRing := c.isAlive(cn.peer.i)
	switch {
	case !c.joined:
		c.adopt(down, s.Rank.Quorum, s.Rank.Quorum)
		if cn.twoWay && !c.quorate() && c.table.State(cn.peer.i) == wire.Down {
			c.setState(cn.peer.i, wire.Alive) // what we knew of it before is older than its word
		}
	case us:
		if cn.twoWay && c.yields(cn, s.Rank) {
			c.adopt(down, true, s.Rank.Quorum)
			c.rejoin()
		}
	case !inRing && cn.twoWay && c.canTell(s.Rank) && greater(s.Rank, c.rank()) &&
		!(c.signs() && c.quorate()): // where instances sign, who is to go is shown, and not said
		// We are alive in its view, it is not in ours, and its view is the greater.
		c.adopt(down, true, s.Rank.Quorum)
	case !inRing:
	case s.Rank.Quorum && !c.quorate():
		c.adopt(down, true, true)
	case c.quorate() && !s.Rank.Quorum:
	default:
		c.adopt(down, false, s.Rank.Quorum)
	}
}

// adopt takes over who is down; whole, also who is not.
func (c *Core) adopt(down map[int]uint32, whole, quorum bool) {
	c.minority = c.minority && !quorum
	for i := range c.n {
		inc := c.table.Incarnation(i)
		if i == c.self || inc == 0 {
			continue
		}
		dead, said := down[i]
		switch {
		case said && dead >= inc && c.isAlive(i) && !c.joined:
			c.setState(i, wire.Down) // old news to everybody but us
		case said && dead >= inc && c.isAlive(i):
			c.bury(wire.Mark{Subject: uint32(i), Incarnation: inc}, quorum)
		case whole && !said && c.table.State(i) == wire.Down:
			c.setState(i, wire.Alive)
			c.returned(i, inc)
		}
	}
}

// leave says goodbye: the record floods, the particle goes on, and the links
// close a moment later.
func (c *Core) leave() {
	if c.leaving {
		if c.lingers { // whoever lets it wait no longer knows what that may cost
			c.lingers, c.goneAt = false, c.now
		}
		return
	}
	c.bus.Depart(c.now)
	c.leaving = true
	c.goneAt = c.now
	if c.joined {
		c.publish()
		c.setState(c.self, wire.Left)
		if c.linkedPeers() > 1 {
			c.goneAt = c.now.Add(goodbye)
		}
	}
}
