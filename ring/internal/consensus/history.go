package consensus

import (
	"cmp"
	"encoding/hex"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

// compare meets another history. The one that a recovery made later is right;
// of two of the same age, the one that has a leader. One that never had anything
// but its beginning gives way to the smaller name.
func (c *Core) compare(from int, s *wire.Status) {
	// Also while its beginning is being written: what is told meanwhile is not
	// told again.
	young := c.state.Applied() <= 1 && (c.rn == nil || c.lastIndex() <= 1)
	alone := c.lead < 0 && c.now.Sub(later(c.heard, c.bornAt)) > c.cfg.Timing.Election
	switch {
	case s.Era != c.ident.Era:
		if s.Era > c.ident.Era {
			c.adopt(s)
		}
	case c.lead < 0 && young && (s.Leader > 0 ||
		slices.Compare(s.History[:], c.ident.History[:]) < 0):
		c.adopt(s)
	case c.lead >= 0 || s.Leader == 0:
		if c.lead >= 0 && s.Leader > 0 && c.now.After(c.conflAt) {
			c.conflAt = c.now.Add(10 * c.cfg.Timing.Election)
			c.tell(Tell{Kind: Conflict, Subject: from, Rev: c.state.Applied(),
				Text: "it goes by history " + short(s.History) + ", this instance by " +
					short(c.ident.History) + ", and both have a leader; run `ring bus recover` at " +
					"an instance of the one that is to stay"})
		}
	case alone:
		c.adopt(s)
	}
}

// adopt goes over to the history of s, and gives up what we had.
func (c *Core) adopt(s *wire.Status) {
	had, at := c.ident, c.state.Applied()
	var aside []byte
	if at > 1 && !c.cfg.Memory {
		aside = c.Backup()
	}
	c.closeLog()
	c.ident = Identity{History: s.History, Era: s.Era}
	c.forget()
	c.keepIdentity(aside)
	if had.History != (History{}) {
		c.tell(Tell{Kind: Followed, Subject: c.cfg.Self, Rev: at,
			Text: "history " + short(s.History) + " in place of " + short(had.History)})
	}
	c.refuseAll()
}

// forget empties the state, which will come from others.
func (c *Core) forget() {
	c.state, c.conf = bus.New(), &raftpb.ConfState{}
	c.tail, c.tailBytes, c.pieces, c.cache, c.cacheAt = nil, 0, nil, nil, 0
	c.feeder = -1
	clear(c.feeds)
	c.effect(Effect{Kind: Moved})
}

func short(h History) string { return hex.EncodeToString(h[:4]) }

// blank reports whether we have never heard of any history.
func (c *Core) blank() bool { return c.ident.History == (History{}) && !c.cfg.Lost }

// found begins a history, if this is who should: the first of those blank, once
// all first voters have said that they are, or most of them and a while has
// passed; never beside anybody who has data.
func (c *Core) found() {
	if !c.blank() || c.starting > 0 {
		return
	}
	voters := FirstVoters(c.cfg.N)
	if !slices.Contains(voters, c.cfg.Self) {
		return
	}
	logs := make([]bus.Change, 0, len(voters))
	count, first := 0, c.cfg.Self
	for _, i := range voters {
		l := bus.Change{Index: uint32(i), Incarnation: 1}
		switch s := c.peers[i]; {
		case i == c.cfg.Self:
			l.Boot = c.cfg.Boot
			count++
		case s != nil && s.Blank && c.cfg.Fleet.Linked(i):
			l.Boot = s.Boot
			count++
			first = min(first, i)
		}
		logs = append(logs, l)
	}
	for _, s := range c.peers {
		if s.History != (History{}) {
			return
		}
	}
	gather := c.cfg.Timing.Gather
	if count < len(voters) && (2*count <= len(voters) || c.now.Sub(c.bornAt) < gather) {
		c.enoughAt = time.Time{}
		return
	}
	if c.enoughAt.IsZero() {
		c.enoughAt = c.now
	}
	// Whoever comes first by index begins; if it does not, the others do, later.
	if first != c.cfg.Self &&
		c.now.Sub(c.enoughAt) < 4*gather*time.Duration(slices.Index(voters, c.cfg.Self)) {
		return
	}
	var h History
	for i := range h {
		h[i] = byte(c.cfg.Rand.Uint32())
	}
	c.ident = Identity{History: h}
	cmd := bus.Command{Kind: bus.Admit, Changes: logs}
	c.state.Apply(1, 1, cmd.Encode(), &cmd)
	cs := &raftpb.ConfState{}
	for _, i := range voters {
		cs.Voters = append(cs.Voters, uint64(NewRaftID(i, 1)))
	}
	c.tell(Tell{Kind: Begun, Subject: c.cfg.Self, Rev: 1, Text: "history " + short(h)})
	c.state.VotersChanged()
	c.setConf(cs)
	c.caughtUp()
}

// foundAt is when found may do something next; zero if time alone changes nothing.
func (c *Core) foundAt() time.Time {
	if !c.blank() || c.bornAt.IsZero() || !slices.Contains(FirstVoters(c.cfg.N), c.cfg.Self) {
		return time.Time{}
	}
	g := c.cfg.Timing.Gather
	n := c.now.Sub(c.bornAt)/g + 1
	return c.bornAt.Add(cmp.Or(n, 1) * g)
}
