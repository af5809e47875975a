package core

import (
	"cmp"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/wire"
)

// peer is another instance as far as links go.
type peer struct {
	i        int
	dialed   *conn // the newest link we opened
	accepted *conn // the newest link it opened
	older    *conn // the one that accepted has taken the place of, until its dialer ends it
	linked   bool  // it was up, and LinkLost was not told
	met      bool  // it was up since it came into the ring as it is now
	boot     uint32
	roster   [32]byte // the hash of that by which it went when it was linked with last

	dialing   bool // a dial or its Hello is under way
	tried     bool // it has answered or failed since we started
	fails     int
	nextDial  time.Time
	began     time.Time // when the dial under way, or the last, began
	since     time.Time // when it came into the ring as it is now
	graceTill time.Time // until then its own dial is waited for
	unneeded  time.Time // since when nobody needs the link, zero if needed

	neighbour bool // on some ring of the whole roster
	watched   bool // on some ring of the living
	bus       bool // consensus needs it
	aside     bool // and nothing else does, here or there: word does not spread over it
	lost      bool // the link broke and was not renewed yet
	lostAt    time.Time
	accused   bool // by us
	proof     bool
	nextTell  time.Time // one line about waiting or refusing at a time

	shunned   time.Time // not linked with before: it has spoken for another
	refusedAt time.Time // when it last said that our name is taken
	out       bool      // we are not in the ring, by its newest word
	holds     time.Time // until then our return is held down, by its word
}

// healthy is the link to use, nil if there is none.
func (p *peer) healthy() *conn {
	if p.dialed.healthy() {
		return p.dialed
	}
	if p.accepted.healthy() {
		return p.accepted
	}
	return nil
}

// other is the link of the opposite direction.
func (p *peer) other(cn *conn) *conn {
	if p.dialed == cn {
		return p.accepted
	}
	return p.dialed
}

// takenBy is a live link to another process than boot.
func (p *peer) takenBy(boot uint32) *conn {
	if cn := p.healthy(); cn != nil && cn.boot != boot {
		return cn
	}
	return nil
}

// peer returns the links of instance i.
func (c *Core) peer(i int) *peer {
	if p := c.byIdx[i]; p != nil {
		return p
	}
	p := &peer{i: i, nextDial: c.now}
	c.byIdx[i] = p
	at, _ := slices.BinarySearchFunc(c.peers, i, func(p *peer, i int) int { return cmp.Compare(p.i, i) })
	c.peers = slices.Insert(c.peers, at, p)
	return p
}

// designated reports whether it is our part to dial i: the one from whom the
// other is nearer going forward is the client.
func (c *Core) designated(i int) bool {
	d := (i - c.self + c.n) % c.n
	return 2*d < c.n || 2*d == c.n && c.self < i
}

// start is the first event.
func (c *Core) start() {
	t := c.cfg.Timing
	c.beatAt = c.now.Add(t.Beat/2 + time.Duration(c.rng.Int64N(int64(t.Beat)/2+1)))
	c.strangerAt = c.now.Add(strangerEvery)
	c.gatherBy = c.now.Add(t.Gather)
	c.rekeyed()
	c.bus.Start(c.now)
	c.moved = true
	c.born = c.now
	c.youngTill = c.now.Add(young * t.Gather)
	c.out.Shut(c.now)
	for _, i := range c.overlay.Neighbours(c.self) {
		p := c.peer(i)
		p.neighbour = true
		p.nextDial = c.now
	}
	c.look = true
}

// lookRound finds out anew whom to watch and whose hand to hold.
func (c *Core) lookRound() {
	c.look = false
	for _, p := range c.peers {
		p.watched, p.bus = false, false
	}
	for _, i := range c.busPeers {
		c.peer(i).bus = true
	}
	c.watched = detect.Watched(c.overlay, c.watched[:0], c.self, c.isAlive, c.verdict)
	for _, i := range c.watched {
		p := c.peer(i)
		p.watched = true
	}
	for _, p := range c.peers {
		if p.accused && !p.watched { // what we do not watch we have no word on
			c.clear(p)
		}
		p.aside = !p.watched && !p.neighbour && c.isAlive(p.i) &&
			(p.bus || c.bus.HomeOf(p.i) == c.self)
	}
	c.findNext()
}

// isAlive reports whether i is in the ring, by this view. Of the voters there may be one
// that this roster does not have yet.
func (c *Core) isAlive(i int) bool { return i < c.n && c.table.State(i) == wire.Alive }

// young is for how many times Timing.Gather an instance counts as just started:
// for that long a fleet that starts together is not whole yet. It has nothing to
// tell but its own record and what others have just told it, and does not look
// for those who stand in for neighbours that may be about to start, save the one
// whose hand it holds: when a fleet starts, both would be most of what is sent.
const young = 3

// needs reports whether we want a link with p.
func (c *Core) needs(p *peer) bool {
	return p.watched || p.i == c.relays || p.bus && (c.isAlive(p.i) || c.retired(p.i)) ||
		p.neighbour && c.table.State(p.i) != wire.Left
}

// dials opens the links that are missing and due.
func (c *Core) dials() {
	if c.leaving && !c.lingers || c.gatherBy.IsZero() {
		return
	}
	for _, p := range c.peers {
		if c.lingers && !p.bus {
			continue
		}
		if at := c.dialAt(p); !at.IsZero() && !c.now.Before(at) {
			c.dial(p)
		}
	}
	if !c.now.Before(c.strangerAt) && !c.lingers {
		c.dialStranger()
	}
}

// dialAt is when p is to be dialed; zero for not at all.
func (c *Core) dialAt(p *peer) time.Time {
	if p.dialing || p.healthy() != nil || !c.needs(p) {
		return time.Time{}
	}
	at := p.nextDial
	if !p.neighbour && !p.bus && p.i != c.next && p.i != c.relays && at.Before(c.youngTill) {
		at = c.youngTill
	}
	// A live neighbour whose part it is gets a moment to dial us; where something
	// is wrong, or nobody is there, both ends dial.
	if (p.watched || p.bus) && !c.designated(p.i) && !p.lost && !p.accused && p.accepted == nil {
		if p.graceTill.IsZero() {
			p.graceTill = c.now.Add(c.cfg.Timing.Answer / 2)
		}
		if p.graceTill.After(at) {
			at = p.graceTill
		}
	}
	return at
}

func (c *Core) dial(p *peer) {
	p.dialing, p.began = true, c.now
	p.graceTill = time.Time{}
	within := c.answerOf(p)
	connect := min(c.answer(), within)
	if c.greets(p) {
		connect = within
	}
	c.fx = append(c.fx, Effect{Kind: Dial, Peer: p.i, Timeout: connect, Within: within})
}

// dialStranger tries somebody who is not in the ring and no neighbour of ours.
func (c *Core) dialStranger() {
	c.strangerAt = c.now.Add(strangerEvery)
	if c.linkedPeers() == 1 {
		c.strangerAt = c.now.Add(c.cfg.Timing.Redial)
	}
	if c.n < 2 {
		return
	}
	i := c.rng.IntN(c.n)
	if i == c.self || c.retired(i) || c.isAlive(i) || c.table.State(i) == wire.Left {
		return
	}
	if p := c.peer(i); !p.dialing && p.healthy() == nil && !c.needs(p) {
		c.dial(p)
	}
}

// dialDeadline is the earliest dial.
func (c *Core) dialDeadline() time.Time {
	if c.leaving || c.gatherBy.IsZero() {
		return time.Time{}
	}
	d := c.strangerAt
	for _, p := range c.peers {
		d = earlier(d, c.dialAt(p))
	}
	return d
}

func (c *Core) onDialFailed(i int, cause Cause, text string) {
	p := c.peer(i)
	c.failed(p, cause)
	if cause == Untrusted { // of the living too: nobody else can see why
		if c.mayTell(i) {
			c.tell(Report{Kind: Refusing, Subject: i, Text: text})
		}
		return
	}
	if c.table.State(i) != wire.Alive && c.mayTell(i) {
		c.tell(Report{Kind: Waiting, Subject: i, Text: causeText(cause)})
	}
}

func causeText(cause Cause) string {
	switch cause {
	case Refused:
		return "connection refused: nothing listens there yet"
	case Unresolved:
		return "its address does not resolve"
	case NotRing:
		return "something else listens at its address"
	}
	return "no answer"
}

// failed is a dial that came to nothing. A living neighbour that we have no
// other link with is accused for it.
func (c *Core) failed(p *peer, cause Cause) {
	p.dialing, p.tried = false, true
	limit := c.cfg.Timing.Redial
	pause := min(limit, 25*time.Millisecond<<min(p.fails, 6)) + c.drift
	p.fails++
	p.nextDial = c.now.Add(pause/2 + time.Duration(c.rng.Int64N(int64(pause/2)+1)))
	if cause == 0 || !p.watched || !c.joined || p.healthy() != nil || p.began.Before(p.since) {
		return
	}
	if cause != Refused && c.looksAgain(p) {
		p.nextDial = c.now
		return
	}
	// A link that was cut off short may be a matter of the road: unless the host
	// says that nobody listens, its owner gets the time that a silent one gets.
	if t := c.cfg.Timing; cause == Refused || !p.lost || c.now.Sub(p.lostAt) >= t.Beat+t.Patience {
		c.accuse(p, cause == Refused)
	}
}

// looksAgain reports whether one check that came to nothing is not enough to
// accuse p. Of the last two there is nobody who would have to agree, and one
// lost packet of a handshake is not sent again in time: so the last two check
// twice, the second time for half as long, while the old link may still answer.
func (c *Core) looksAgain(p *peer) bool { return c.alive == 2 && p.fails == 1 }

// mayTell limits the lines about one peer that cannot be linked with.
func (c *Core) mayTell(i int) bool {
	p := c.peer(i)
	if c.now.Before(p.nextTell) {
		return false
	}
	p.nextTell = c.now.Add(tellPause)
	return true
}

// prune closes links that nobody has needed for a while.
func (c *Core) prune() {
	for _, p := range c.peers {
		switch {
		case c.needs(p) || p.dialed == nil && p.accepted == nil:
			p.unneeded = time.Time{}
		case p.unneeded.IsZero():
			p.unneeded = c.now
		case c.now.Sub(p.unneeded) > unneededAfter:
			for _, cn := range [3]*conn{p.dialed, p.accepted, p.older} {
				if cn != nil {
					c.shut(cn, "not needed any more")
				}
			}
			p.linked = false
		}
	}
	c.peers = slices.DeleteFunc(c.peers, func(p *peer) bool {
		idle := !c.needs(p) && p.dialed == nil && p.accepted == nil && p.older == nil && !p.dialing &&
			!p.accused &&
			c.now.After(p.nextTell)
		if idle {
			delete(c.byIdx, p.i)
		}
		return idle
	})
	c.flaps = slices.DeleteFunc(c.flaps,
		func(f flap) bool { return c.decayed(f) < flapProof/10 })
}

// watchers is who watches i among the living.
func (c *Core) watchers(i int) []int {
	return detect.Observers(c.overlay, nil, i, c.isAlive)
}
