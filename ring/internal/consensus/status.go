package consensus

import (
	"maps"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// status is how far we are, for i.
func (c *Core) status(i int) wire.Status {
	return wire.Status{
		History: c.ident.History, Era: c.ident.Era, Applied: c.state.Applied(),
		Log: c.ident.ID.Generation(), Yours: c.generation(i), Leader: uint32(c.lead + 1),
		Term: c.reign(), Boot: c.cfg.Boot, Blank: c.blank(), Young: c.young(),
	}
}

// reign is the term of the leader that is known, 0 for none.
func (c *Core) reign() uint64 {
	if c.lead < 0 {
		return 0
	}
	return c.leadTerm
}

func (c *Core) tellStatus(i int) {
	s := c.status(i)
	c.told[i] = s
	c.effect(Effect{Kind: Send, To: i, Msg: &s})
}

// speak tells those who were told something else how we are. How far we are is no
// hurry: entries come by themselves, and this is for when they do not.
func (c *Core) speak() {
	if at := c.speakAt(); at.IsZero() || c.now.Before(at) {
		return
	}
	whole := !c.now.Before(c.wholeAt.Add(c.cfg.Timing.Heartbeat))
	if whole {
		c.wholeAt = c.now
	}
	for _, i := range slices.Sorted(maps.Keys(c.told)) {
		if s := c.status(i); c.cfg.Fleet.Linked(i) && (whole && c.told[i] != s || urgent(c.told[i], s)) {
			c.saidAt = c.now
			c.tellStatus(i)
		}
	}
}

// urgent reports whether more than how far we are differs.
func urgent(told, now wire.Status) bool {
	told.Applied = now.Applied
	return told != now
}

// speakAt is when the next word may go out; zero if there is none to say.
func (c *Core) speakAt() time.Time {
	common := c.status(-1)
	if common == c.spoken && c.conf == c.spokeC {
		return time.Time{}
	}
	all, linked := true, false
	for i, told := range c.told { // whoever it is, the times are the same
		s := c.status(i)
		if told == s {
			continue
		}
		all = false
		if c.cfg.Fleet.Linked(i) {
			if linked = true; urgent(told, s) {
				return later(c.saidAt.Add(c.cfg.Timing.Status), c.bornAt)
			}
		}
	}
	if all {
		c.spoken, c.spokeC = common, c.conf
	}
	if !linked {
		return time.Time{}
	}
	return later(c.wholeAt.Add(c.cfg.Timing.Heartbeat), c.bornAt)
}

// onStatus hears how far another is.
func (c *Core) onStatus(from int, s *wire.Status) {
	c.peers[from] = s
	c.furthest = max(c.furthest, s.Applied)
	if s.History == (History{}) {
		c.found()
		return
	}
	switch {
	case c.ident.History == (History{}) && c.saneEra(s.Era):
		c.adopt(s)
	case s.History != c.ident.History:
		c.compare(from, s)
	}
	if s.History != c.ident.History {
		return
	}
	if c.rn != nil && s.Applied > c.state.Applied() && s.Yours != c.ident.ID.Generation() {
		c.stopVoting("the others took my vote away while I was gone")
	}
	if !c.met {
		c.old = max(c.old, s.Applied)
	}
	if c.rn == nil {
		c.hearsay(from, s)
	}
	c.leader.look = true
	c.follow()
}

// hearsay is who leads, for one who has no log: as somebody says, until he says
// otherwise or another is said to be elected later, and never somebody who says
// himself that he does not.
func (c *Core) hearsay(from int, s *wire.Status) {
	lead := int(s.Leader) - 1
	gone := lead < 0 && (from == c.leadBy || s.Log > 0 && from == c.feeder)
	if gone || lead != c.lead && from == c.lead {
		c.setLead(-1)
	}
	if lead < 0 || lead >= c.cfg.N || !c.saneTerm(s.Term) || s.Term <= c.leadTerm && c.lead >= 0 || !c.cfg.Fleet.Alive(lead) {
		return
	}
	if p := c.peers[lead]; p != nil && p.History == c.ident.History && int(p.Leader)-1 != lead {
		return
	}
	c.leadBy, c.leadTerm = from, s.Term
	c.setLead(lead)
}
