package consensus

import (
	"cmp"
	"encoding/binary"
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
	// We may be bare also because our beginning is being written: what is told
	// meanwhile is not told again.
	alone := c.lead < 0 && c.now.Sub(later(c.heard, c.bornAt)) > c.cfg.Timing.Election
	switch {
	case s.Era != c.ident.Era:
		if s.Era > c.ident.Era && c.saneEra(s.Era) {
			c.adopt(s)
		}
	case c.lead < 0 && c.bare() && (s.Leader > 0 ||
		slices.Compare(s.History[:], c.ident.History[:]) < 0):
		c.adopt(s)
	case c.lead >= 0 || s.Leader == 0:
		if c.lead >= 0 && s.Leader > 0 && c.now.After(c.conflAt) {
			c.conflAt = c.now.Add(10 * c.cfg.Timing.Election)
			c.tell(Tell{
				Kind: Conflict, Subject: from, Rev: c.state.Applied(),
				Text: "it goes by history " + short(s.History) + ", this instance by " +
					short(c.ident.History) + ", and both have a leader; run `ring bus recover` at " +
					"an instance of the one that is to stay",
			})
		}
	case alone:
		c.adopt(s)
	}
}

// saneEra reports whether a recovery may have been in era, which is the second of it: one
// lie must leave room for recoveries to come.
func (c *Core) saneEra(era uint32) bool { return era <= eraMost || era-c.ident.Era <= 16 }

// eraMost is a million recoveries before no era is left, in 2106.
const eraMost = 1<<32 - 1<<20

// adopt goes over to the history of s, and gives up what we had.
func (c *Core) adopt(s *wire.Status) {
	had, at := c.ident, c.state.Applied()
	var aside []byte
	if at > 1 && !c.cfg.Memory {
		aside = c.Backup()
	}
	c.closeLog()
	c.ident = Identity{
		History: s.History, Era: s.Era,
		Grown: c.ident.Grown || c.cfg.Lost || s.Applied > beginning,
	}
	c.knownAt = c.now
	c.forget()
	c.keepIdentity(aside)
	if had.History != (History{}) {
		c.tell(Tell{
			Kind: Followed, Subject: c.cfg.Self, Rev: at,
			Text: "history " + short(s.History) + " in place of " + short(had.History),
		})
	}
	c.refuseAll()
}

// forget empties the state, which will come from others.
func (c *Core) forget() {
	c.state, c.conf = bus.New(), &raftpb.ConfState{}
	c.tail, c.tailBytes, c.pieces, c.cache, c.cacheAt = nil, 0, nil, nil, 0
	c.feeder, c.leadTerm = -1, 0
	c.met, c.old = false, 0
	clear(c.feeds)
	c.effect(Effect{Kind: Moved})
}

func short(h History) string { return hex.EncodeToString(h[:4]) }

// blank reports whether we have never heard of any history.
func (c *Core) blank() bool { return c.ident.History == (History{}) && !c.cfg.Lost }

// beginning is up to where a history has no more than the entry that begins it.
const beginning = 1

// bare reports whether we have no more of our history than its beginning. That says
// nothing of what we had before: who follows keeps none of it on its disk.
func (c *Core) bare() bool {
	return c.state.Applied() <= beginning && (c.rn == nil || c.lastIndex() <= beginning)
}

// young reports whether we never had more, in no life.
func (c *Core) young() bool { return c.bare() && !c.ident.Grown && !c.cfg.Lost }

// grow keeps in mind, for all lives to come, that our history is more than its
// beginning. A log says so itself, until it is closed.
func (c *Core) grow() {
	if c.rn == nil && c.starting == 0 && !c.ident.Grown && !c.bare() {
		c.ident.Grown = true
		c.keepIdentity(nil)
	}
}

// barren reports whether our history may never have had a leader.
func (c *Core) barren() bool {
	return c.ident.History != (History{}) && c.ident.Era == 0 && c.lead < 0 && c.young()
}

// stillborn reports whether it may never have one either: those whom its
// beginning names were gone before they had it.
func (c *Core) stillborn() bool { return c.barren() && !c.now.Before(c.stillbornAt()) }

// stillbornAt is when that can be told at the earliest: an election takes less.
func (c *Core) stillbornAt() time.Time {
	return later(c.heard, later(c.bornAt, c.knownAt)).Add(3 * c.cfg.Timing.Election)
}

// unborn reports whether s is of one that has nothing that was ever agreed on: it is
// blank or, if ours is stillborn, has never had more than the beginning of that.
func (c *Core) unborn(s *wire.Status, stillborn bool) bool {
	return s.Blank || stillborn && s.History == c.ident.History && s.Young && s.Leader == 0
}

// found begins a history, if this is who should: the first of those blank, once
// all first voters have said that they are, or most of them and a while has
// passed; never beside anybody who has data. A stillborn one counts for none: the
// next has a smaller name, so that whoever has no more than its beginning goes over
// to that (compare), and nobody who has seen an entry of it. For that it takes all of
// the first voters, none of whom has ever known more (young) or knows anything (blank):
// one that is away may have an entry, and so may most have had one, where somebody who
// is blank has lost a disk.
func (c *Core) found() {
	stillborn := c.stillborn()
	if !c.blank() && !stillborn || c.starting > 0 {
		return
	}
	voters := c.initial()
	if !slices.Contains(voters, c.cfg.Self) {
		return
	}
	logs := make([]bus.Change, 0, len(voters))
	count, able, first := 0, 0, c.cfg.Self
	for _, i := range voters {
		l := bus.Change{Index: uint32(i), Incarnation: 1}
		switch s := c.peers[i]; {
		case i == c.cfg.Self:
			l.Boot = c.cfg.Boot
			count++
			if c.rn != nil {
				able++
			}
		case s != nil && c.unborn(s, stillborn) && c.cfg.Fleet.Alike(i):
			l.Boot = s.Boot
			count++
			first = min(first, i)
			if s.Log > 0 {
				able++
			}
		}
		logs = append(logs, l)
	}
	for _, s := range c.peers { // whoever it is
		if s.History != (History{}) && !c.unborn(s, stillborn) {
			return
		}
	}
	if 2*able > len(voters) {
		return // enough to elect somebody
	}
	gather := c.cfg.Timing.Gather
	if count < len(voters) && (stillborn || 2*count <= len(voters) || c.now.Sub(c.bornAt) < gather) {
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
	if stillborn {
		was := binary.BigEndian.Uint64(c.ident.History[:])
		if was == 0 {
			return // no name is smaller
		}
		binary.BigEndian.PutUint64(h[:], c.cfg.Rand.Uint64N(was))
		c.closeLog()
		c.forget()
	}
	c.ident = Identity{History: h}
	c.knownAt = c.now
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
	if c.bornAt.IsZero() || !slices.Contains(c.initial(), c.cfg.Self) {
		return time.Time{}
	}
	switch at := c.stillbornAt(); {
	case c.blank():
	case !c.barren():
		return time.Time{}
	case c.now.Before(at):
		return at
	}
	g := c.cfg.Timing.Gather
	n := c.now.Sub(c.bornAt)/g + 1
	return c.bornAt.Add(cmp.Or(n, 1) * g)
}
