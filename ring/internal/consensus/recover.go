package consensus

import (
	"errors"
	"fmt"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
)

// What a recovery lifts everything by that must never be given twice: more than
// a lost quorum can have given since this instance last heard of it. At a
// million ticks a second the ticks last for a day and more.
const (
	LeapEpoch = 1 << 20
	LeapTick  = 1 << 37
	LeapFence = 1 << 40
)

// Two recoveries that know nothing of each other, from the same state, must not give
// the same: at least it is the time, in seconds by the wall clock, times this. A
// million ticks and fences and 256 epochs a second keep below the next.
const (
	secondEpoch = 1 << 8
	secondTick  = 1 << 20
	secondFence = 1 << 20
)

// ErrNotLost refuses a recovery where nothing is lost.
var ErrNotLost = errors.New("a quorum of the voters is alive and somebody leads: nothing is lost; " +
	"stop the voters that should be given up, or use force")

// ErrNoState refuses a recovery where there is nothing to recover from.
var ErrNoState = errors.New("this instance knows no history, or has lost its log; " +
	"recover at one that has the newest revision, see `ring bus status` of each; if none has " +
	"any, force begins with nothing: ticks and fences go on above all that were given")

// Recover begins another history here, from the state of this instance, with
// this instance as its only voter; the others follow it when they hear of it.
// What only the lost voters knew is given up.
func (c *Core) Recover(force bool) error {
	switch {
	case !force && c.ident.History == (History{}):
		return ErrNoState
	case !force && c.Anchorable():
		return ErrNotLost
	}
	c.applyRest()
	c.settleRoster(c.state)
	c.fork(c.state)
	return nil
}

// applyRest applies what our log has beyond what we know to be agreed on: it may have
// been, and whoever was told so counts on it.
func (c *Core) applyRest() {
	if c.rn == nil {
		return
	}
	entries, err := c.ms.Entries(c.state.Applied()+1, c.lastIndex()+1, math.MaxUint64)
	if err != nil {
		return // none
	}
	for _, e := range entries {
		cmd, err := bus.Decode(e.GetData())
		if e.GetType() != raftpb.EntryNormal || err != nil {
			c.state.Advance(e.GetIndex(), e.GetTerm(), e.GetData())
			continue
		}
		c.state.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), &cmd)
	}
}

// Backup is the state as Restore takes it.
func (c *Core) Backup() []byte {
	return whole(&raftpb.Snapshot{Data: c.state.Encode(), Metadata: &raftpb.SnapshotMetadata{
		ConfState: c.conf, Index: new(c.state.Applied()), Term: new(c.state.AppliedTerm()),
	}})
}

// Restore begins another history here, from a backup: its keys in place of those
// there are. Epochs, ticks and fences leap over those of both.
func (c *Core) Restore(backup []byte) error {
	var s raftpb.Snapshot
	if err := proto.Unmarshal(backup, &s); err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	state, err := bus.Restore(s.GetData())
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	c.settleRoster(state)
	state.Above(c.state)
	state.Unmet()
	c.fork(state)
	return nil
}

// fork begins a history that has state behind it.
func (c *Core) fork(state *bus.State) {
	index, term := state.Applied()+1, state.AppliedTerm()+1
	g := max(state.Log(c.cfg.Self).Generation, c.generation(c.cfg.Self)) + 1
	era := max(c.ident.Era+1, uint32(c.now.Unix())) // the later recovery is right
	c.closeLog()
	c.refuseAll()
	var h History
	for i := range h {
		h[i] = byte(c.cfg.Rand.Uint32())
	}
	leap := c.leap(state)
	state.Apply(index, term, leap.Encode(), &leap)
	admit := bus.Command{Kind: bus.Admit, Changes: []bus.Change{
		{Index: uint32(c.cfg.Self), Incarnation: g, Boot: c.cfg.Boot},
	}}
	state.Apply(index+1, term, admit.Encode(), &admit)
	c.forget()
	c.state = state
	c.ident = Identity{History: h, Era: era, Grown: true}
	c.tell(Tell{Kind: Begun, Subject: c.cfg.Self, Rev: state.Applied(), Text: "history " + short(h)})
	c.state.VotersChanged()
	c.setConf(&raftpb.ConfState{Voters: []uint64{uint64(NewRaftID(c.cfg.Self, g))}})
	c.caughtUp()
}

// leap lifts state above whatever was given, here or by another recovery.
func (c *Core) leap(state *bus.State) bus.Command {
	now := uint64(max(c.now.Unix(), 0))
	above := func(had, least, second uint64) uint64 {
		return max(had+least, now*second) - had
	}
	e := state.Epoch()
	return bus.Command{
		Kind: bus.Leap, Epoch: above(e.Number, LeapEpoch, secondEpoch),
		Limit: above(e.Limit, LeapTick, secondTick), Fence: above(state.Fence(), LeapFence, secondFence),
	}
}

// Bereft reports whether this instance had a log, cannot read it, and knows of no other.
func (c *Core) Bereft() bool { return c.cfg.Lost && c.ident.History == (History{}) }
