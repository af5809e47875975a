package consensus

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/roster"
)

const (
	// drift is by what part clocks may differ in speed: a lease runs out at the
	// leader so much later than at its holder.
	drift = 64
	// blockMin is the fewest ticks that are reserved at a time, blockTime for how
	// long they should last.
	blockMin  = 16
	blockTime = 10 * time.Second
)

// leaderState is what only a leader has on its mind.
type leaderState struct {
	leases   map[string]time.Time // when each has run out
	look     bool                 // something about the others changed
	changing bool                 // a change of voters is proposed and not applied
	askedAt  time.Time            // when something was proposed last
	viewAt   time.Time            // when a change of the view was proposed
	proposed map[uint32]bus.Change
	dropped  uint64 // the epoch whose successor is proposed
	dropAt   time.Time
	extended uint64 // the limit that is proposed
	extendAt time.Time
	lookAt   time.Time
}

// takeOffice begins a term: every lease is counted from now, whatever was
// promised before.
func (c *Core) takeOffice() {
	c.leader = leaderState{
		leases: map[string]time.Time{}, proposed: map[uint32]bus.Change{},
		look: true,
	}
	for _, l := range c.state.Leases() {
		c.leader.leases[l.Name] = c.runsOut(l)
	}
}

// runsOut is when a lease that is granted or renewed now has run out for its
// holder, whose clock may be slower.
func (c *Core) runsOut(l bus.Lease) time.Time { return c.now.Add(l.TTL + l.TTL/drift) }

// own proposes a command of the leader's.
func (c *Core) own(cmd bus.Command) {
	_ = c.rn.Propose(cmd.Encode())
	c.pump()
}

// Drop proposes a new particle in place of the lost one of the newest epoch: its
// first lap is lap. It must lie above epoch and tick, which somebody has seen.
// lapTime is that of late. It says whether it is this instance's part.
func (c *Core) Drop(now time.Time, lap, epoch, tick uint64, lapTime time.Duration) bool {
	c.now = now
	if !c.leading {
		return false
	}
	e := c.state.Epoch()
	if c.leader.dropped == e.Number+1 && now.Sub(c.leader.dropAt) < c.cfg.Timing.Election {
		return true // it is on its way
	}
	c.leader.dropped, c.leader.dropAt = e.Number+1, now
	c.own(bus.Command{
		Kind: bus.Drop, Epoch: e.Number, Dropper: uint32(c.cfg.Self), Boot: c.cfg.Boot, Lap: lap,
		Limit: block(lapTime), Fence: epoch, Rev: tick + 1,
	})
	return true
}

// block is how many ticks to reserve.
func block(lapTime time.Duration) uint64 {
	if lapTime <= 0 {
		return blockMin
	}
	return max(blockMin, uint64(blockTime/lapTime))
}

// Passed says that the particle of the newest epoch passed here with that tick:
// the leader reserves more ticks in time.
func (c *Core) Passed(now time.Time, tick uint64, lapTime time.Duration) {
	e := c.state.Epoch()
	size := block(lapTime)
	if !c.leading || tick+size/2 < e.Limit ||
		c.leader.extended > e.Limit && now.Sub(c.leader.extendAt) < c.cfg.Timing.Election {
		return
	}
	c.now, c.leader.extendAt = now, now
	c.leader.extended = max(tick, e.Limit) + size
	c.own(bus.Command{Kind: bus.Extend, Epoch: e.Number, Limit: c.leader.extended})
}

// onApplied looks at what a command brought about.
func (c *Core) onApplied(cmd *bus.Command, r bus.Result) {
	c.settle(r)
	switch cmd.Kind {
	case bus.Drop:
		c.onDrop(cmd, r)
	case bus.Extend:
		c.leader.extended = 0
		c.effect(Effect{Kind: Moved})
	case bus.Seed, bus.Reroll:
		if r.Rerolled {
			c.effect(Effect{Kind: Moved})
		}
	case bus.View:
		for _, h := range cmd.Changes {
			delete(c.leader.proposed, h.Index)
		}
		c.leader.look = true
		if len(r.Changed) > 0 {
			c.effect(Effect{
				Kind: Numbered, View: r.Changed, Rev: c.state.Applied(),
				Old: c.state.Applied() <= c.old,
			})
		}
	case bus.Grant, bus.Renew:
		if l, ok := c.state.Lease(cmd.Key); ok && c.leading && r.Code == bus.Done {
			c.leader.leases[l.Name] = c.runsOut(l)
		}
	case bus.Release, bus.Expire:
		if _, ok := c.state.Lease(cmd.Key); !ok && c.leading {
			delete(c.leader.leases, cmd.Key)
		}
	}
}

// onDrop lets the particle go, once: in the process that asked for it, if it
// leads, and so never when an old log is read again.
func (c *Core) onDrop(cmd *bus.Command, r bus.Result) {
	c.effect(Effect{Kind: Moved})
	c.leader.extended = 0
	if r.Code != bus.Done {
		return
	}
	c.leader.dropped = 0
	if e := c.state.Epoch(); c.leading && int(e.Dropper) == c.cfg.Self && e.Boot == c.cfg.Boot {
		c.effect(Effect{Kind: DropNow, Epoch: e})
	}
}

// duties does what a leader has to see to.
func (c *Core) duties() {
	if !c.leading {
		return
	}
	for _, l := range c.state.Leases() { // sorted by name
		at, ok := c.leader.leases[l.Name]
		if !ok {
			c.leader.leases[l.Name] = c.runsOut(l)
		} else if !c.now.Before(at) {
			c.leader.leases[l.Name] = c.now.Add(c.cfg.Timing.Election) // unless it is lost
			c.own(bus.Command{Kind: bus.Expire, Key: l.Name, Fence: l.Fence, Rev: l.Renewed})
		}
		if !c.leading {
			return
		}
	}
	if c.leader.look || !c.now.Before(c.leader.lookAt) {
		c.leader.look = false
		c.leader.lookAt = c.now.Add(c.cfg.Timing.Heartbeat)
		c.numberView()
		if c.leading {
			c.changeVoters()
		}
	}
}

// dutyAt is when duties has something to do.
func (c *Core) dutyAt() time.Time {
	if !c.leading {
		return time.Time{}
	}
	if c.leader.look {
		return c.now
	}
	d := c.leader.lookAt
	for _, at := range c.leader.leases { // the earliest
		if at.Before(d) {
			d = at
		}
	}
	return d
}

// numberView proposes what our view knows and the numbered one does not yet.
func (c *Core) numberView() {
	if c.now.Sub(c.leader.viewAt) > c.cfg.Timing.Election {
		clear(c.leader.proposed) // they were lost
	}
	var list []bus.Change
	pause := c.cfg.Timing.Heartbeat // a fleet that starts is not an entry each
	for i := range c.cfg.N {
		seen, ok := c.cfg.Fleet.Member(i)
		if !ok {
			continue
		}
		m := c.state.Member(i)
		h := bus.Change{
			Index: uint32(i), State: seen.State, Incarnation: seen.Incarnation,
			Proof: seen.Proof, By: seen.By,
		}
		if m.State == h.State && m.Incarnation == h.Incarnation || m.Incarnation > h.Incarnation {
			continue
		}
		if p, ok := c.leader.proposed[h.Index]; ok && p.State == h.State &&
			p.Incarnation == h.Incarnation {
			continue
		}
		if m.State != 0 {
			pause = c.cfg.Timing.Status
		}
		if list = append(list, h); len(list) == bus.ViewMax {
			break
		}
	}
	if len(list) == 0 {
		return
	}
	if at := c.leader.viewAt.Add(pause); len(list) < bus.ViewMax && c.now.Before(at) {
		if at.Before(c.leader.lookAt) {
			c.leader.lookAt = at
		}
		return
	}
	c.leader.viewAt = c.now
	for _, h := range list {
		c.leader.proposed[h.Index] = h
	}
	c.own(bus.Command{Kind: bus.View, Changes: list})
}

// changeVoters proposes one change, if the voters are not as they should be and
// no other is under way: a log that was lost or is gone for long is replaced,
// by one who has first caught up; missing voters are added.
func (c *Core) changeVoters() {
	if c.leader.changing && c.now.Sub(c.leader.askedAt) < 2*c.cfg.Timing.Election ||
		len(c.conf.GetVotersOutgoing()) > 0 {
		return
	}
	gone := c.goneVoter()
	if done := c.promote(gone); done {
		return
	}
	if len(c.conf.GetLearners()) > 0 {
		c.dropLearners()
		return
	}
	if gone == 0 && len(c.conf.GetVoters()) >= c.target() {
		if c.unwanted(c.cfg.Self) {
			c.Depart(c.now) // whoever leads then takes this vote away
		}
		return
	}
	if i := c.candidate(gone); i >= 0 {
		c.admit(i)
		return
	}
	least := len(c.conf.GetVoters()) > votersMin
	if gone != 0 && c.unwanted(gone.Index()) {
		least = c.spare(gone)
	}
	if gone != 0 && least && c.now.Sub(c.leadAt) > c.cfg.Timing.Step {
		c.change(nil, remove(gone))
	}
}

// goneVoter is a voter whose log is lost, or that has been away for too long;
// 0 for none.
func (c *Core) goneVoter() RaftID {
	for _, l := range c.conf.GetLearners() { // one that learns takes its own place first
		for _, n := range c.conf.GetVoters() {
			if id := RaftID(n); id.Index() == RaftID(l).Index() {
				return id
			}
		}
	}
	if id := c.misplaced(); id != 0 {
		return id
	}
	for _, n := range c.conf.GetVoters() {
		id := RaftID(n)
		i := id.Index()
		if i == c.cfg.Self {
			continue
		}
		s := c.peers[i]
		switch {
		case c.cfg.Fleet.Alive(i):
			about := c.state.Log(i) == (bus.Log{Generation: id.Generation(), Boot: c.bootOf(i)})
			if s != nil && s.History == c.ident.History && s.Log != id.Generation() && !about &&
				s.Applied+keptBehind >= c.state.Applied() {
				return id
			}
		case c.cfg.Fleet.Left(i):
			return id
		default:
			since := c.cfg.Fleet.Since(i)
			if later(since, c.leadAt).Add(c.cfg.Timing.HoldOff).Before(c.now) {
				return id
			}
		}
	}
	return 0
}

// bootOf is the process of instance i, as it said last.
func (c *Core) bootOf(i int) uint32 {
	if s := c.peers[i]; s != nil {
		return s.Boot
	}
	return 0
}

// candidate is who to take in: the instance of the lost log itself, if it is
// back, else the next one on the ring that has no part yet.
func (c *Core) candidate(gone RaftID) int {
	from := 0
	if gone != 0 {
		from = gone.Index()
	}
	to := -1
	for k := range c.cfg.N {
		i := (from + k) % c.cfg.N
		s := c.peers[i]
		if c.unwanted(i) {
			continue
		}
		if i == c.cfg.Self || s == nil || !c.cfg.Fleet.Alive(i) || !c.cfg.Fleet.Linked(i) ||
			s.History != c.ident.History || s.Log != 0 {
			continue
		}
		if g := c.generation(i); g != 0 && RaftID(NewRaftID(i, g)) != gone {
			continue
		}
		if c.wish(i) == roster.ToVote {
			return i
		}
		if to < 0 {
			to = i
		}
	}
	return to
}

// admit takes instance i in as one that learns.
func (c *Core) admit(i int) {
	g := max(c.state.Log(i).Generation, c.generation(i)) + 1
	who := &bus.Command{Kind: bus.Admit, Changes: []bus.Change{
		{Index: uint32(i), Incarnation: g, Boot: c.peers[i].Boot},
	}}
	c.change(who, add(NewRaftID(i, g), raftpb.ConfChangeType_ConfChangeAddLearnerNode))
}

// promote lets the learner that has caught up vote, in place of gone if there is
// such a one; it reports whether there is anything to wait for.
func (c *Core) promote(gone RaftID) bool {
	ls := c.conf.GetLearners()
	if len(ls) == 0 {
		return false
	}
	id := RaftID(ls[0])
	if !c.cfg.Fleet.Alive(id.Index()) {
		return false
	}
	if s := c.peers[id.Index()]; s != nil && s.Boot != c.state.Log(id.Index()).Boot && s.Log == 0 {
		return false // its log is gone again
	}
	p, ok := c.rn.Status().Progress[uint64(id)]
	if !ok || p.Match+keptBehind/8 < c.state.Applied() {
		return true
	}
	switch {
	case gone != 0:
		c.change(nil, remove(gone), add(id, raftpb.ConfChangeType_ConfChangeAddNode))
	case len(c.conf.GetVoters()) < c.target():
		c.change(nil, add(id, raftpb.ConfChangeType_ConfChangeAddNode))
	default:
		return false // whom it was to replace is back
	}
	return true
}

// dropLearners lets go of those who will not vote.
func (c *Core) dropLearners() {
	var out []*raftpb.ConfChangeSingle
	for _, n := range c.conf.GetLearners() {
		out = append(out, remove(RaftID(n)))
	}
	c.change(nil, out[0])
}

func add(id RaftID, t raftpb.ConfChangeType) *raftpb.ConfChangeSingle {
	return &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(uint64(id))}
}

func remove(id RaftID) *raftpb.ConfChangeSingle {
	return add(id, raftpb.ConfChangeType_ConfChangeRemoveNode)
}

// change proposes a change of voters, one at a time.
func (c *Core) change(who *bus.Command, list ...*raftpb.ConfChangeSingle) {
	cc := &raftpb.ConfChangeV2{Changes: list}
	if who != nil {
		cc.Context = who.Encode()
	}
	c.leader.changing, c.leader.askedAt = true, c.now
	if c.rn.ProposeConfChange(cc) != nil {
		c.leader.changing = false
	}
	c.pump()
}

// Depart hands the lead over, if this instance has it: it is about to leave.
func (c *Core) Depart(now time.Time) {
	c.now = now
	if !c.leading {
		return
	}
	var best uint64
	for _, n := range c.conf.GetVoters() {
		p, ok := c.rn.Status().Progress[n]
		i := RaftID(n).Index()
		if i == c.cfg.Self || !ok || !c.cfg.Fleet.Alive(i) || !c.cfg.Fleet.Linked(i) {
			continue
		}
		if b, ok := c.rn.Status().Progress[best]; !ok || p.Match > b.Match {
			best = n
		}
	}
	if best != 0 {
		c.rn.TransferLeader(best)
		c.pump()
	}
}
