package consensus

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
)

// applyConf applies a change of voters, and who it admits.
func (c *Core) applyConf(e *raftpb.Entry) {
	var cc raftpb.ConfChangeV2
	if proto.Unmarshal(e.GetData(), &cc) != nil {
		panic("BUG: consensus: a change of voters that does not decode was committed")
	}
	if cmd, err := bus.Decode(cc.GetContext()); err == nil {
		c.state.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), &cmd)
	} else {
		c.state.Advance(e.GetIndex(), e.GetTerm(), e.GetData())
	}
	var cs *raftpb.ConfState
	if c.rn != nil {
		cs = c.rn.ApplyConfChange(&cc)
	} else {
		next, err := changed(c.conf, &cc, e.GetIndex())
		c.must(err)
		cs = next
	}
	c.state.VotersChanged()
	c.setConf(cs)
	c.leader.changing = false
	c.leader.look = true
	if c.rn != nil && !c.listed(c.ident.ID) {
		c.stopVoting("the others go on without my vote")
	}
}

// changed is what the engine of a voter would make of a change.
func changed(cs *raftpb.ConfState, cc *raftpb.ConfChangeV2, last uint64) (*raftpb.ConfState, error) {
	t := tracker.MakeProgressTracker(1, 0)
	cfg, trk, err := confchange.Restore(confchange.Changer{Tracker: t, LastIndex: last}, cs)
	if err != nil {
		return nil, err
	}
	t.Config, t.Progress = cfg, trk
	chg := confchange.Changer{Tracker: t, LastIndex: last}
	if cc.LeaveJoint() {
		cfg, trk, err = chg.LeaveJoint()
	} else if auto, ok := cc.EnterJoint(); ok {
		cfg, trk, err = chg.EnterJoint(auto, cc.GetChanges()...)
	} else {
		cfg, trk, err = chg.Simple(cc.GetChanges()...)
	}
	if err != nil {
		return nil, err
	}
	t.Config, t.Progress = cfg, trk
	return t.ConfState(), nil
}

// setConf notes who votes from now on.
func (c *Core) setConf(cs *raftpb.ConfState) {
	voted := c.rn != nil && c.votes(c.ident.ID)
	c.conf = cs
	c.effect(Effect{Kind: Moved})
	if c.rn == nil {
		return
	}
	if votes := c.votes(c.ident.ID); votes != voted {
		text := "I learn and do not vote"
		if votes {
			text = "I vote"
		}
		c.tell(Tell{Kind: Voting, Subject: c.cfg.Self, Rev: c.state.Applied(), Text: text})
	}
	c.schedule()
}

// listed reports whether id has any part among the voters.
func (c *Core) listed(id RaftID) bool {
	n := uint64(id)
	return slices.Contains(c.conf.GetVoters(), n) || slices.Contains(c.conf.GetVotersOutgoing(), n) ||
		slices.Contains(c.conf.GetLearners(), n) || slices.Contains(c.conf.GetLearnersNext(), n)
}

// caughtUp looks whether the voters have taken this process in as one of them,
// and then begins its log: with the state it has, which a quorum has.
func (c *Core) caughtUp() {
	if c.rn != nil || c.starting > 0 || c.ident.History == (History{}) {
		return
	}
	g := c.generation(c.cfg.Self)
	if l := c.state.Log(c.cfg.Self); g == 0 || l.Generation != g || l.Boot != c.cfg.Boot ||
		g <= c.quit[c.ident.History] {
		return // of another process, or of a log that was given up: old entries speak of it
	}
	c.beginLog(NewRaftID(c.cfg.Self, g))
}

// beginLog has the first words of our own log kept. The engine starts once they are.
func (c *Core) beginLog(id RaftID) {
	c.ident.ID = id
	index, term := c.state.Applied(), c.state.AppliedTerm()
	s := &raftpb.Snapshot{
		Data:     c.state.Encode(),
		Metadata: &raftpb.SnapshotMetadata{ConfState: c.conf, Index: new(index), Term: new(term)},
	}
	hard := &raftpb.HardState{Term: new(term), Vote: new(uint64(0)), Commit: new(index)}
	ident := c.ident
	c.first = &Saved{Identity: ident, Snapshot: s, Hard: hard}
	c.sincesnp = 0
	if c.cfg.Memory {
		c.begun()
		return
	}
	c.seq++
	c.starting = c.seq
	c.effect(Effect{
		Kind: Persist, Seq: c.seq,
		Write: &Write{Identity: &ident, Snapshot: s, Hard: hard},
	})
}

// begun starts the engine: the beginning of its log is kept.
func (c *Core) begun() {
	first := c.first
	c.first = nil
	if first == nil || first.Identity != c.ident {
		return // another history came in between
	}
	c.must(c.open(first))
	c.feeder = -1
	if c.votes(c.ident.ID) {
		c.tell(Tell{Kind: Voting, Subject: c.cfg.Self, Rev: c.state.VotersAt(), Text: "I vote"})
	}
	c.schedule()
	c.effect(Effect{Kind: Moved})
	c.pump()
}

// stopVoting gives up our log; the state stays, and follows the others.
func (c *Core) stopVoting(why string) {
	was := c.ident.ID
	c.closeLog()
	c.ident.ID = 0
	c.keepIdentity(nil)
	if was != 0 {
		c.tell(Tell{Kind: Voting, Subject: c.cfg.Self, Rev: c.state.Applied(), Text: why})
	}
}

// closeLog ends the engine. What is still being written no longer matters.
func (c *Core) closeLog() {
	c.ident.Grown = c.ident.Grown || !c.bare()
	if c.ident.ID != 0 {
		c.quit[c.ident.History] = max(c.quit[c.ident.History], c.ident.ID.Generation())
	}
	c.rn, c.ms, c.queue, c.hard, c.drops = nil, nil, nil, nil, nil
	c.batch, c.bytes = nil, 0
	c.first, c.starting = nil, 0
	c.leader = leaderState{}
	c.leading = false
	c.campaignAt = time.Time{}
	c.setLead(-1)
	c.effect(Effect{Kind: Moved})
}

func (c *Core) keepIdentity(aside []byte) {
	if c.cfg.Memory {
		return
	}
	ident := c.ident
	c.seq++
	c.effect(Effect{Kind: Persist, Seq: c.seq, Write: &Write{Identity: &ident, Aside: aside}})
}
