package core

import (
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/particle"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// onParticle offers an arriving particle to the guard and lets it go on.
func (c *Core) onParticle(p *wire.Particle) {
	if !c.joined {
		return // not a stop of this ring; whoever sent it has a copy
	}
	// Somebody may be aboard of whom this stop has not heard yet.
	if !train.Sound(p, wire.RosterMax) || !c.saneParticle(p) {
		return
	}
	mine, idle := c.before(p)
	pass, ok := c.token.Arrive(c.now, p)
	if !ok {
		return
	}
	c.keep(p.Epoch)
	c.aboard(mine, idle)
	c.forward() // first: what it means here delays nobody
	c.count(p, pass)
	c.visited()
}

// rosterPassed looks what the particle knows of versions of the roster, and of ticks that
// are reserved: who is behind asks for what it lacks.
func (c *Core) rosterPassed() {
	if c.token.Behind() {
		c.bus.Hasten(c.now)
	}
	if v := c.token.Shown(); v != c.shown {
		c.shown = v
		c.version++
		c.tell(Report{Kind: RosterShown, Subject: -1, Lap: v, Text: fmt.Sprintf(
			"all in the ring go by version %d of the roster", v)})
	}
}

// passed has the epoch on disk before anything follows from it.
func (c *Core) passed(p *wire.Particle, pass particle.Pass) {
	c.keep(p.Epoch)
	c.count(p, pass)
}

// count tells of a pass whoever wants to know.
func (c *Core) count(p *wire.Particle, pass particle.Pass) {
	c.fx = append(c.fx, Effect{Kind: Passed, Tick: Tick{
		Epoch: p.Epoch, Lap: pass.Lap, Took: pass.Took, Held: pass.Held,
		Tick: pass.Tick, Anchored: pass.Anchored, Skew: pass.Skew,
	}})
	if pass.Skipped > 0 {
		c.tell(Report{
			Kind: TicksSkipped, Subject: c.self, Epoch: p.Epoch, Lap: p.Lap,
			Tick: pass.Tick, Skipped: pass.Skipped,
		})
	}
	if pass.Anchored != c.anchored {
		c.tellAnchor()
	}
	if c.bus.Leading() && !p.Epoch.Detached() && c.token.Known(p) {
		lap := c.token.LapTime()
		if pass.Took > 0 {
			lap = min(lap, pass.Took) // it may be hurried
		}
		c.bus.Passed(c.now, p.Base+p.Lap, lap)
	}
}

// keep has on disk which epochs and ticks have passed. More ticks are reserved while
// there still are some: the particle need not wait for that. Fewer are not worth a
// sync: the next reservation gives back what a faster pace had taken.
func (c *Core) keep(e wire.Epoch) {
	was, ceiling := c.ceiling, c.token.Ceiling()
	c.ceiling = ceiling
	newer := e.Number > c.saved.Epoch.Number || e.Counter > c.saved.Epoch.Counter
	if newer {
		c.saved.Epoch = wire.Epoch{
			Number:  max(e.Number, c.saved.Epoch.Number),
			Counter: max(e.Counter, c.saved.Epoch.Counter), Dropper: e.Dropper,
		}
		c.version++
	}
	if ceiling > was {
		c.saved.Ceiling = ceiling
		newer = true
	}
	if newer {
		c.save()
		return
	}
	if more := c.token.Wants(); more > ceiling && !c.reserving {
		c.saved.Ceiling, c.reserving = more, true
		c.fx = append(c.fx, Effect{Kind: Reserve, Saved: c.saved})
	}
}

// reserved has ticks below ceiling on disk, unless less was kept since. There is one
// reservation on its way at a time, or what is told of an older one could be taken for
// what is not there yet.
func (c *Core) reserved(ceiling uint64) {
	c.reserving = false
	c.token.Reserve(min(ceiling, c.saved.Ceiling))
	c.ceiling = c.token.Ceiling()
}

// turnToken does what is due for the particle.
func (c *Core) turnToken() {
	if !c.joined && !c.leaving {
		return
	}
	c.rosterPassed()
	c.hurryTurn()
	c.forward()
	c.visited()
	if c.leaving {
		return
	}
	if c.next == c.self && c.token.Due(c.now) {
		c.comeRound()
	}
	if c.token.ResendDue(c.now) {
		detoured := c.token.Resends()%2 == 1
		c.token.Resent(c.now)
		if c.next != c.self {
			c.sendCopy(detoured)
		}
	}
	if c.token.Lost(c.now) && !c.now.Before(c.stale) {
		c.lostToken()
	}
}

// tokenDeadline is when turnToken has something to do.
func (c *Core) tokenDeadline() time.Time {
	if !c.joined || c.leaving {
		return time.Time{}
	}
	if c.token.Due(c.now) && c.next != c.self { // it waits for a road, which no timer brings
		return c.rides.hurryAt
	}
	d := earlier(c.token.Deadline(), c.rides.hurryAt)
	if d.Before(c.stale) && c.token.Lost(c.now) {
		return c.stale
	}
	return d
}

// comeRound is a lap of a ring of one.
func (c *Core) comeRound() {
	c.workOver()
	if c.token.Resting() && !c.token.Due(c.now) {
		c.visited()
		return // nobody is aboard, and it rests on
	}
	p := c.token.Depart(c.now, c.self, 0)
	mine, idle := c.before(&p)
	if pass, ok := c.token.Arrive(c.now, &p); ok {
		c.aboard(mine, idle)
		c.passed(&p, pass)
		c.visited()
	}
}

// forward sends the particle to the next stop, if there is one and its rest is over.
func (c *Core) forward() {
	if c.next == c.self || !c.token.Due(c.now) && !(c.leaving && c.token.Resting()) {
		return
	}
	cn, relay := c.road()
	if cn == nil {
		return
	}
	c.workOver()
	if !c.token.Due(c.now) && !c.leaving {
		return // nobody is aboard, and it rests on
	}
	c.outP = c.token.Depart(c.now, c.next, cn.pulse.RTT()/2)
	c.keep(c.outP.Epoch)
	c.sentTo, c.sentInc = c.next, c.table.Incarnation(c.next)
	c.put(cn, relay)
}

// road is the link towards next, and whether its other end is a relay.
func (c *Core) road() (cn *conn, relay bool) {
	p := c.byIdx[c.next]
	if p != nil {
		if cn = p.healthy(); cn != nil {
			c.setDetour(-1)
			return cn, false
		}
	}
	if cn = c.relay(); cn != nil {
		return cn, true
	}
	return nil, false
}

// relay is a link to somebody who, by the frames we have, can talk to next.
// If none is linked yet it names one to dial.
func (c *Core) relay() *conn {
	c.relays = -1
	for _, r := range c.watchers(c.next) {
		if r == c.self || c.badLink(r, c.next) || c.badLink(c.self, r) {
			continue
		}
		if p := c.byIdx[r]; p != nil {
			if cn := p.healthy(); cn != nil {
				c.setDetour(r)
				return cn
			}
		}
		if c.relays < 0 {
			c.relays = r
			c.peer(r)
		}
	}
	c.setDetour(-1)
	return nil
}

// badLink reports whether a or b says that it cannot reach the other.
func (c *Core) badLink(a, b int) bool {
	return c.says(a, b) || c.says(b, a)
}

// says reports whether a accuses b, and is believed.
func (c *Core) says(a, b int) bool {
	if !c.table.Accuses(a) || !c.believed(a, c.accusedBy(a)) {
		return false
	}
	return slices.ContainsFunc(c.accusedBy(a), func(x wire.Accusation) bool {
		return int(x.Subject) == b && c.stands(x)
	})
}

func (c *Core) setDetour(r int) {
	if c.detour == r {
		return
	}
	if r >= 0 {
		c.tell(Report{Kind: DetourOn, Subject: c.next, By: []int{r}})
	} else {
		c.tell(Report{Kind: DetourOff, Subject: c.next})
		c.relays = -1
	}
	c.detour = r
	c.version++
}

// put sends outP, opened or in a relay frame.
func (c *Core) put(cn *conn, relay bool) {
	if !relay {
		c.send(cn, &c.outP)
		return
	}
	frame := wire.Append(nil, &c.outP)
	c.outR = wire.Relay{From: uint32(c.self), To: uint32(c.next), Frame: frame[wire.HeaderLen:]}
	c.sendRelay(cn, &c.outR)
}

// sendRelay sends what is to be relayed; signed, where instances sign.
func (c *Core) sendRelay(cn *conn, m *wire.Relay) {
	if !c.signs() {
		c.send(cn, m)
		return
	}
	c.text = wire.RelayText(c.text[:0], c.cfg.Roster.Ring, m)
	k, sig := c.sign()
	c.sendVouched(cn, &wire.Vouched{Relay: *m, Key: k.id, Sig: sig})
}

// sendVouched sends it behind the certificates of its origin.
func (c *Core) sendVouched(cn *conn, m *wire.Vouched) {
	o := int(m.From)
	c.shows(cn, func(yield func(need) bool) { yield(need{o, c.rings[o].find(m.Key)}) })
	c.send(cn, m)
}

// onVouched passes on or opens a frame that its origin has signed. Who passes it on has
// seen to that, too: else its own link would be closed for what another has sent.
func (c *Core) onVouched(cn *conn, m *wire.Vouched) {
	if m.From >= uint32(c.n) || m.To >= uint32(c.n) || int(m.From) == c.self ||
		m.Relayed && m.To != uint32(c.self) {
		return
	}
	if !m.Relayed && int(m.From) != cn.peer.i {
		c.forged(cn, "a frame to be relayed in the name of another")
		return
	}
	c.text = wire.RelayText(c.text[:0], c.cfg.Roster.Ring, &m.Relay)
	k, w := c.vouched(cn, int(m.From), m.Key, m.Sig, "a relayed frame")
	if w != Sound {
		return
	}
	cn.used(k)
	if m.Relayed {
		if c.rings[int(m.From)].find(m.Key) == nil {
			c.claim(int(m.From), k)
		}
		c.onRelay(cn, &m.Relay)
		return
	}
	c.claim(int(m.From), k) // its own link: none is newer
	c.learns(cn, int(m.From))
	if p := c.byIdx[int(m.To)]; p != nil {
		if to := p.healthy(); to != nil {
			out := *m
			out.Relayed = true
			c.sendVouched(to, &out)
		}
	}
}

// sendCopy sends the copy of the particle to next: straight or by a relay.
func (c *Core) sendCopy(detoured bool) {
	p := c.byIdx[c.next]
	var cn *conn
	if p != nil {
		cn = p.healthy()
	}
	relay := false
	if cn == nil || detoured {
		if r := c.anyRelay(cn == nil); r != nil {
			cn, relay = r, true
		}
	}
	if cn == nil {
		return
	}
	if !relay {
		c.setDetour(-1)
	}
	c.outP = c.token.Depart(c.now, c.next, 0)
	c.sentTo, c.sentInc = c.next, c.table.Incarnation(c.next)
	c.put(cn, relay)
}

// anyRelay is a relay for one copy; only if told, it becomes the road.
func (c *Core) anyRelay(road bool) *conn {
	if road {
		return c.relay()
	}
	for _, r := range c.watchers(c.next) {
		if p := c.byIdx[r]; r != c.self && p != nil && p.healthy() != nil && !c.badLink(r, c.next) {
			return p.healthy()
		}
	}
	return nil
}

// resend sends the copy at once because something happened to the next stop.
func (c *Core) resend(why string) {
	if c.next == c.self || !c.joined {
		return
	}
	last, _ := c.token.Last()
	c.tell(Report{Kind: Resent, Subject: c.next, Epoch: last.Epoch, Lap: last.Lap, Text: why})
	c.sendCopy(false)
}

// onRelay passes a frame on, or opens the one that was passed on to us.
func (c *Core) onRelay(cn *conn, m *wire.Relay) {
	if m.From >= uint32(c.n) || m.To >= uint32(c.n) {
		return
	}
	if m.Relayed {
		if m.To != uint32(c.self) || int(m.From) == c.self {
			return
		}
		if p, err := c.dec.Decode(m.Frame); err == nil {
			switch p := p.(type) {
			case *wire.Particle:
				c.onParticle(p)
			case *wire.Raft: // what it says in another's name is its origin's lie, not cn's
				_ = c.bus.Receive(c.now, int(m.From), p)
			}
		}
		return
	}
	if int(m.From) != cn.peer.i { // nobody speaks for another
		return
	}
	if p := c.byIdx[int(m.To)]; p != nil {
		if to := p.healthy(); to != nil {
			c.send(to, &wire.Relay{From: m.From, To: m.To, Relayed: true, Frame: m.Frame})
		}
	}
}

// findNext finds whose hand to hold: the first living one after us.
func (c *Core) findNext() {
	next, _ := c.overlay.Walk(0, c.self, 1, c.isAlive)
	if next != c.next {
		c.setDetour(-1)
		c.next = next
		c.version++
		if c.joined {
			c.tell(Report{Kind: NextChanged, Subject: next})
		}
	}
	if c.sentTo < 0 || !c.token.Sent() {
		return
	}
	gone := !c.isAlive(c.sentTo) || c.table.Incarnation(c.sentTo) != c.sentInc
	if !gone {
		return
	}
	if next == c.self { // the others are gone: what they held is ours again
		c.comeRound()
		c.sentTo = -1
		return
	}
	c.resend("the stop before it is gone")
	c.sentTo = next
}
