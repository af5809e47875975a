package consensus

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// electionBeats is after how many heartbeats without a quorum's answer a
	// leader stops being one.
	electionBeats = 3
	// snapshotAfter is how many bytes of entries are applied before the state is
	// written whole, unless the state itself is larger.
	snapshotAfter = 4 << 20
	// keptBehind is how many entries stay in front of a snapshot, for those who
	// are only a little behind.
	keptBehind = 1024
	// uncommittedMax bounds what a leader takes in before a quorum has it.
	uncommittedMax = 16 << 20
	// entryCost is what an entry costs beside its bytes.
	entryCost = 64
)

// open starts the engine on what was saved.
func (c *Core) open(s *Saved) error {
	c.ms = raft.NewMemoryStorage()
	if s.Snapshot == nil {
		return errors.New("consensus: a log without its beginning")
	}
	if err := c.ms.ApplySnapshot(s.Snapshot); err != nil {
		return fmt.Errorf("consensus: take up the snapshot: %w", err)
	}
	if s.Hard != nil {
		if err := c.ms.SetHardState(s.Hard); err != nil {
			return fmt.Errorf("consensus: take up the vote: %w", err)
		}
		c.hard, c.term = s.Hard, s.Hard.GetTerm()
		c.old = max(c.old, s.Hard.GetCommit())
	}
	if err := c.ms.Append(s.Entries); err != nil {
		return fmt.Errorf("consensus: take up the log: %w", err)
	}
	c.noteDrops(s.Entries)
	rn, err := raft.NewRawNode(&raft.Config{
		ID: uint64(c.ident.ID), ElectionTick: electionBeats, HeartbeatTick: 1,
		Storage: c.ms, Applied: c.state.Applied(), AsyncStorageWrites: true,
		MaxSizePerMsg: 32 << 10, MaxCommittedSizePerReady: 1 << 20,
		MaxUncommittedEntriesSize: uncommittedMax,
		MaxInflightMsgs:           256, MaxInflightBytes: 1 << 20,
		CheckQuorum: true, PreVote: true, StepDownOnRemoval: true,
		Logger: silent{},
	})
	if err != nil {
		return fmt.Errorf("consensus: start the engine: %w", err)
	}
	c.rn = rn
	return nil
}

// pump does whatever the engine wants done, until it wants nothing.
func (c *Core) pump() {
	if c.rn != nil {
		c.flush()
	}
	for c.rn != nil && c.rn.HasReady() {
		rd := c.rn.Ready()
		if rd.SoftState != nil {
			c.onSoft(rd.SoftState)
		}
		for _, rs := range rd.ReadStates {
			c.onReadState(rs.Index, rs.RequestCtx)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				c.persist(m)
			case raft.LocalApplyThread:
				c.apply(m)
			default:
				c.sendRaft(m)
			}
			if c.rn == nil {
				return // it was taken out of the voters
			}
		}
	}
}

// persist keeps what an append says; what depends on it waits.
func (c *Core) persist(m *raftpb.Message) {
	c.noteDrops(m.GetEntries())
	w := &Write{Entries: m.GetEntries(), Snapshot: m.GetSnapshot()}
	must := len(w.Entries) > 0 || w.Snapshot != nil
	if m.Term != nil {
		hard := &raftpb.HardState{
			Term: new(m.GetTerm()), Vote: new(m.GetVote()), Commit: new(m.GetCommit()),
		}
		must = must || c.hard.GetTerm() != hard.GetTerm() || c.hard.GetVote() != hard.GetVote()
		c.hard = hard
		if t := hard.GetTerm(); t > c.term {
			c.onTerm(t)
		}
	}
	if !must && len(c.queue) == 0 || c.cfg.Memory {
		// What was committed is worth no write of its own: it rides on the next.
		c.kept(m)
		return
	}
	if !must {
		c.queue = append(c.queue, saving{c.seq, m})
		return
	}
	w.Hard = c.hard
	c.seq++
	c.queue = append(c.queue, saving{c.seq, m})
	c.effect(Effect{Kind: Persist, Seq: c.seq, Write: w})
}

// Persisted says that the Persist of seq, and all before it, is kept.
func (c *Core) Persisted(now time.Time, seq uint64) {
	c.now = now
	if c.starting > 0 && seq >= c.starting {
		c.starting = 0
		c.begun()
	}
	n := 0
	for n < len(c.queue) && c.queue[n].seq <= seq {
		n++
	}
	done := c.queue[:n]
	c.queue = c.queue[n:]
	for _, s := range done {
		if c.rn == nil {
			break
		}
		c.kept(s.msg)
	}
	c.pump()
}

// kept takes into the engine's storage what is on disk, and lets go what waited.
func (c *Core) kept(m *raftpb.Message) {
	if s := m.GetSnapshot(); s != nil {
		c.must(c.ms.ApplySnapshot(s))
		c.install(s)
	}
	if len(m.GetEntries()) > 0 {
		c.must(c.ms.Append(m.GetEntries()))
	}
	if m.Term != nil {
		c.must(c.ms.SetHardState(c.hard))
	}
	for _, r := range m.GetResponses() {
		if c.rn == nil {
			return
		}
		if r.GetTo() == uint64(c.ident.ID) {
			c.step(r)
		} else {
			c.sendRaft(r)
		}
	}
}

// must ends the process on a fault of the engine's storage, which lives in
// memory and has none unless this code is wrong.
func (c *Core) must(err error) {
	if err != nil && !errors.Is(err, raft.ErrSnapOutOfDate) {
		panic("BUG: consensus: " + err.Error())
	}
}

// step gives the engine a message. What it does not want is not for us.
func (c *Core) step(m *raftpb.Message) { _ = c.rn.Step(m) }

// install puts a state that came whole in the place of ours.
func (c *Core) install(s *raftpb.Snapshot) {
	state, err := bus.Restore(s.GetData())
	if err != nil {
		c.broken(fmt.Errorf("the state that %s sent cannot be read: %w", "the leader", err))
		return
	}
	if state.Applied() <= c.state.Applied() {
		return
	}
	c.state = state
	c.tail, c.tailBytes = nil, 0
	c.setConf(s.GetMetadata().GetConfState())
	c.news = true
	c.caughtUp()
	c.grow()
}

func (c *Core) broken(err error) {
	c.effect(Effect{Kind: Broken, Tell: Tell{Text: err.Error()}})
}

// apply applies committed entries of our own log.
func (c *Core) apply(m *raftpb.Message) {
	for _, e := range m.GetEntries() {
		c.applyOne(e)
		if c.rn == nil {
			return
		}
	}
	for _, r := range m.GetResponses() {
		c.step(r)
	}
	c.compact()
}

// applyOne applies the entry that follows what is applied.
func (c *Core) applyOne(e *raftpb.Entry) {
	defer c.refusing(c.Refuses())
	data := e.GetData()
	c.sincesnp += len(data) + entryCost
	switch e.GetType() {
	case raftpb.EntryConfChange, raftpb.EntryConfChangeV2:
		c.applyConf(e)
	case raftpb.EntryNormal:
		if len(data) == 0 {
			c.state.Advance(e.GetIndex(), e.GetTerm(), nil)
			break
		}
		cmd, err := bus.Decode(data)
		if err != nil {
			if errors.Is(err, bus.ErrNewer) {
				c.broken(err)
			}
			c.state.Advance(e.GetIndex(), e.GetTerm(), data)
			break
		}
		r := c.state.Apply(e.GetIndex(), e.GetTerm(), data, &cmd)
		c.onApplied(&cmd, r)
	}
	c.drops = slices.DeleteFunc(c.drops, func(d dropAt) bool { return d.index <= e.GetIndex() })
	c.remember(e)
	c.caughtUp()
	c.grow()
}

// noteDrops keeps in mind which drops are in our log: from then on no older
// particle gets our stamp. What replaces an entry takes its drop away.
func (c *Core) noteDrops(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	defer c.refusing(c.Refuses())
	first := entries[0].GetIndex()
	c.drops = slices.DeleteFunc(c.drops, func(d dropAt) bool { return d.index >= first })
	for _, e := range entries {
		if bus.IsDrop(e.GetData()) && e.GetType() == raftpb.EntryNormal {
			if cmd, err := bus.Decode(e.GetData()); err == nil {
				c.drops = append(c.drops, dropAt{e.GetIndex(), max(cmd.Epoch, cmd.Fence) + 1})
			}
		}
	}
}

// refusing says so if this instance refuses other epochs than it did: the particle goes
// by what it was told last.
func (c *Core) refusing(was uint64) {
	if c.Refuses() != was {
		c.effect(Effect{Kind: Moved})
	}
}

// compact writes the state whole and lets go of the entries behind it.
func (c *Core) compact() {
	if c.sincesnp < max(snapshotAfter, 2*c.state.Size()) {
		return
	}
	c.sincesnp = 0
	index := c.state.Applied()
	s, err := c.ms.CreateSnapshot(index, c.conf, c.state.Encode())
	if err != nil {
		c.must(err)
		return
	}
	if index > keptBehind {
		if err := c.ms.Compact(index - keptBehind); err != nil && !errors.Is(err, raft.ErrCompacted) {
			c.must(err)
		}
	}
	if !c.cfg.Memory {
		c.seq++
		c.effect(Effect{Kind: Persist, Seq: c.seq, Write: &Write{Snapshot: s, Hard: c.hard}})
	}
}

// onTerm goes on to a later term under the leader that the engine had before, if it
// had one: whoever we took for it by hearsay, before our log began, was elected earlier.
func (c *Core) onTerm(t uint64) {
	c.term = t
	if RaftID(c.rn.BasicStatus().Lead).Index() != c.lead {
		c.setLead(-1)
	}
	c.leadTerm = t
}

// onSoft hears from the engine who leads.
func (c *Core) onSoft(s *raft.SoftState) {
	was := c.leading
	c.term = max(c.term, c.rn.BasicStatus().GetTerm())
	c.leadTerm = c.term
	c.leading = s.RaftState == raft.StateLeader
	c.setLead(RaftID(s.Lead).Index())
	if c.leading && !was {
		c.leadAt, c.tickAt = c.now, c.now.Add(c.cfg.Timing.Heartbeat)
		c.campaignAt = time.Time{}
		c.takeOffice()
	}
	if was && !c.leading {
		c.leader = leaderState{}
	}
}

// setLead notes who leads, by the engine or by hearsay.
func (c *Core) setLead(i int) {
	if i == c.lead {
		return
	}
	c.lead = i
	c.effect(Effect{Kind: Moved})
	if i >= 0 {
		c.heard, c.met = c.now, true
		if i != c.wasLead {
			c.wasLead = i
			c.tell(Tell{Kind: Elected, Subject: i, Term: c.reign()})
		}
		c.resendAll()
	} else {
		c.wasLead = -1
	}
	c.schedule()
}

// rank is how many living voters come before this one when nobody leads.
func (c *Core) rank() int {
	n := 0
	for _, v := range c.Voters() {
		if i := v.ID.Index(); i < c.cfg.Self && (v.Votes || v.Leaves) && c.cfg.Fleet.Alive(i) {
			n++
		}
	}
	return n
}

// schedule plans the next campaign: at once and by rank when nobody leads, and
// when the leader is silent for too long.
func (c *Core) schedule() {
	c.campaignAt = time.Time{}
	t := c.cfg.Timing
	switch {
	case c.rn == nil || c.leading:
		return
	case !c.votes(c.ident.ID): // it does not campaign, but must not believe for ever
		if c.lead >= 0 {
			c.campaignAt = c.heard.Add(2 * t.Election)
		}
		return
	}
	wait := time.Duration(c.rank())*t.Step + c.jitter(t.Step/2)
	if c.lead >= 0 {
		wait += t.Election
		c.campaignAt = c.heard.Add(wait)
		return
	}
	c.campaignAt = c.now.Add(wait)
}

func (c *Core) jitter(d time.Duration) time.Duration {
	return time.Duration(c.cfg.Rand.Int64N(int64(d) + 1))
}

// elect campaigns when it is time to.
func (c *Core) elect() {
	if c.rn == nil || c.campaignAt.IsZero() || c.now.Before(c.campaignAt) {
		return
	}
	if !c.votes(c.ident.ID) {
		c.campaignAt = time.Time{}
		_ = c.rn.ForgetLeader()
		c.pump()
		return
	}
	t := c.cfg.Timing
	c.campaignAt = c.now.Add(10*t.Step + c.jitter(10*t.Step))
	if !c.Quorum() || !c.cfg.Fleet.Alive(c.cfg.Self) {
		return // nobody to vote, or out of the ring and no use to it: ask again later
	}
	_ = c.rn.ForgetLeader()
	_ = c.rn.Campaign()
	c.pump()
}

// ViewChanged says that the Fleet answers otherwise than before.
func (c *Core) ViewChanged(now time.Time) {
	c.now = now
	if c.rn != nil && !c.leading && c.lead >= 0 && !c.cfg.Fleet.Alive(c.lead) {
		// Proof needs no timer: whoever voted for the dead one is free again.
		_ = c.rn.ForgetLeader()
		c.pump()
		c.setLead(-1)
	}
	if c.rn == nil && c.lead >= 0 && !c.cfg.Fleet.Alive(c.lead) {
		c.setLead(-1)
	}
	if c.leading && !c.cfg.Fleet.Alive(c.cfg.Self) {
		c.Depart(now) // no particle passes here: somebody in the ring should lead
	}
	if !c.Quorum() {
		c.refuseAll()
		if c.lead >= 0 && !c.leading {
			c.setLead(-1)
		}
	}
	if q := c.Quorum(); q != c.quorate {
		c.quorate = q
		if q && c.lead < 0 {
			c.schedule()
		}
	}
	c.leader.look = true
	c.effect(Effect{Kind: Moved})
}

// sendRaft puts a message of the engine on its way.
func (c *Core) sendRaft(m *raftpb.Message) {
	to := RaftID(m.GetTo())
	if !c.cfg.Fleet.Linked(to.Index()) {
		if m.GetType() == raftpb.MsgSnap {
			c.rn.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		} else if m.GetType() == raftpb.MsgApp {
			c.rn.ReportUnreachable(m.GetTo())
		}
		return
	}
	if m.GetType() == raftpb.MsgSnap {
		// The state itself goes in pieces that nothing else waits behind.
		s := &raftpb.Snapshot{Metadata: m.GetSnapshot().GetMetadata()}
		m = proto.CloneOf(&raftpb.Message{
			Type: m.Type, To: m.To, From: m.From, Term: m.Term, Snapshot: s,
		})
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || len(b) > wire.PayloadMax {
		panic(fmt.Sprintf("BUG: consensus: message %v of %d bytes: %v", m.GetType(), len(b), err))
	}
	c.effect(Effect{
		Kind: Send, To: to.Index(),
		Msg: &wire.Raft{History: c.ident.History, Payload: b},
	})
}

// onRaft takes a message of another's engine. from is who sent it, by its link; false is
// that it speaks in another's name.
func (c *Core) onRaft(from int, m *wire.Raft) (honest bool) {
	if c.rn == nil || m.History != c.ident.History {
		return true
	}
	var msg raftpb.Message
	if proto.Unmarshal(m.Payload, &msg) != nil || !travels(msg.GetType()) {
		return true
	}
	if RaftID(msg.GetFrom()).Index() != from {
		// An engine hands on what it was asked for when somebody else leads. From us it
		// goes to voters themselves (voterToAsk): it is lost, and asked for again.
		return msg.GetType() == raftpb.MsgProp || msg.GetType() == raftpb.MsgReadIndex
	}
	if msg.GetTo() != uint64(c.ident.ID) || !c.saneTerm(msg.GetTerm()) {
		return true // not for this log
	}
	switch msg.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		c.heardLeader(from, &msg)
	case raftpb.MsgPreVote, raftpb.MsgVote:
		if !c.campaignAt.IsZero() { // somebody is at it
			c.campaignAt = later(c.campaignAt, c.now.Add(5*c.cfg.Timing.Step))
		}
	}
	if msg.GetType() == raftpb.MsgSnap && msg.GetSnapshot().GetData() == nil {
		c.fetch(from, &msg)
		return true
	}
	defer c.contain(from)
	c.step(&msg)
	c.pump()
	return true
}

// Terms rise by one, and each costs an election: nobody comes near termSane in a thousand
// years. One lie must not take them where they would wrap.
const (
	termSane = 1 << 54
	termStep = 1 << 20
)

func (c *Core) saneTerm(t uint64) bool { return t <= termSane || t <= c.term+termStep }

// travels reports whether one engine sends messages of this type to another.
func travels(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp,
		raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgSnap, raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp,
		raftpb.MsgTimeoutNow:
		return true
	}
	return false
}

// contain ends this instance, and not the process, where the engine finds its own
// rules broken by what another sent: its storage can no longer be relied on.
func (c *Core) contain(from int) {
	if r := recover(); r != nil {
		c.broken(fmt.Errorf("the log of the bus cannot be what instance %d says of it (%v); start "+
			"this instance again, and find out what runs there", from, r))
		c.rn = nil
	}
}

// heardLeader notes that a leader of a term no older than ours speaks.
func (c *Core) heardLeader(from int, m *raftpb.Message) {
	if m.GetTerm() < c.term {
		return
	}
	c.heard = c.now
	if c.lead == from {
		c.schedule()
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// silent is the engine's log: what it has to say is told by what it does, and a
// broken invariant of its own ends this instance, not the process.
type silent struct{}

func (silent) Debug(...any)            {}
func (silent) Debugf(string, ...any)   {}
func (silent) Info(...any)             {}
func (silent) Infof(string, ...any)    {}
func (silent) Warning(...any)          {}
func (silent) Warningf(string, ...any) {}
func (silent) Error(...any)            {}
func (silent) Errorf(string, ...any)   {}
func (silent) Fatal(v ...any)          { panic("BUG: " + fmt.Sprint(v...)) }
func (silent) Fatalf(f string, v ...any) {
	panic("BUG: " + fmt.Sprintf(f, v...))
}
func (silent) Panic(v ...any)            { panic("BUG: " + fmt.Sprint(v...)) }
func (silent) Panicf(f string, v ...any) { panic("BUG: " + fmt.Sprintf(f, v...)) }
