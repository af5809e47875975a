package core

import (
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/particle"
	"ringofservers.dev/ring/internal/wire"
)

// busTiming is the pace of consensus that goes with t.
func busTiming(t Timing) consensus.Timing {
	detection := t.Beat + t.Patience + t.Answer
	return consensus.Timing{
		Heartbeat: t.Beat,
		Election:  3 * t.Beat,   // the detector is faster, and this is for when it is wrong
		Step:      2 * t.Settle, // some round trips
		Retry:     2 * t.Patience,
		Gather:    t.Gather,
		// The restart of a process costs no change of voters, nor does a return that
		// is held down (fleet.Since).
		HoldOff: 8 * detection,
		Status:  100 * time.Millisecond,
	}
}

// fleet is what consensus asks of the view. It may ask for whom a peer has made up.
type fleet struct{ c *Core }

func (f fleet) has(i int) bool { return i >= 0 && i < f.c.n }

func (f fleet) Alive(i int) bool { return f.has(i) && f.c.isAlive(i) }

func (f fleet) Left(i int) bool {
	return f.has(i) && (f.c.table.State(i) == wire.Left || f.c.retired(i))
}

func (f fleet) Alike(i int) bool {
	p := f.c.byIdx[i]
	return p != nil && p.healthy() != nil && p.roster == f.c.roster.Hash()
}

// Since is in the future for one that has to wait for its return: it lives, and
// would come if it were let in.
func (f fleet) Since(i int) time.Time {
	if d := f.c.dampedFor(i); d > 0 {
		return f.c.now.Add(d)
	}
	return f.c.downAt[i]
}

func (f fleet) Linked(i int) bool {
	if !f.has(i) || i == f.c.self {
		return false
	}
	p := f.c.byIdx[i]
	return p != nil && p.healthy() != nil || f.c.voterRelay(i) != nil
}

func (f fleet) Member(i int) (consensus.Seen, bool) {
	if !f.has(i) {
		return consensus.Seen{}, false
	}
	s := consensus.Seen{
		State: uint8(f.c.table.State(i)), Incarnation: f.c.table.Incarnation(i),
	}
	if said := f.c.said[i]; said.incarnation == s.Incarnation && s.State == uint8(wire.Down) {
		s.Proof, s.By = said.proof, said.by
	}
	return s, s.Incarnation > 0 && s.State != uint8(wire.Unknown)
}

// said is who accused an instance that was cut.
type said struct {
	incarnation uint32
	proof       bool
	by          []uint32
}

// noteDown keeps when an instance went that consensus needs: of no other does it
// ask for how long.
func (c *Core) noteDown(i int, was, now wire.State) {
	switch {
	case now == wire.Alive:
		delete(c.downAt, i)
	case was == wire.Alive && slices.Contains(c.busPeers, i):
		c.downAt[i] = c.now
	}
}

// noteSaid keeps who accused whom, at those who may come to number it.
func (c *Core) noteSaid(r *Report) {
	if !c.bus.Stamps() {
		return
	}
	s := said{incarnation: r.Incarnation, proof: r.Proof}
	for _, by := range r.By[:min(len(r.By), bus.ByMax)] {
		s.by = append(s.by, uint32(by))
	}
	c.said[r.Subject] = s
}

// voterRelay is a link to somebody who can pass a frame on to voter i, where the
// direct one is bad; nil where that is not needed, or not to be had.
func (c *Core) voterRelay(i int) *conn {
	if !c.isAlive(i) || !slices.Contains(c.busPeers, i) {
		return nil
	}
	for _, r := range c.busPeers {
		if r == i || c.badLink(r, i) || c.badLink(c.self, r) {
			continue
		}
		if p := c.byIdx[r]; p != nil && p.healthy() != nil {
			return p.healthy()
		}
	}
	return nil
}

// sendTo sends a frame of the bus to instance i, by a relay if need be and it is
// one that may ride.
func (c *Core) sendTo(i int, m wire.Msg) {
	if p := c.byIdx[i]; p != nil {
		if cn := p.healthy(); cn != nil {
			c.send(cn, m)
			return
		}
	}
	if _, ok := m.(*wire.Raft); !ok {
		return
	}
	if cn := c.voterRelay(i); cn != nil {
		frame := wire.Append(nil, m)
		c.sendRelay(cn, &wire.Relay{From: uint32(c.self), To: uint32(i), Frame: frame[wire.HeaderLen:]})
	}
}

// turnBus lets consensus do what is due, and carries out what it wants.
func (c *Core) turnBus() {
	if d := c.bus.Deadline(); !d.IsZero() && !c.now.Before(d) {
		c.bus.Turn(c.now)
	}
	c.busEffects()
}

func (c *Core) busEffects() {
	for c.bus.Pending() {
		for _, e := range c.bus.Effects() {
			c.busEffect(&e)
		}
	}
	c.agreed()
	if c.moved {
		c.moved = false
		c.busMoved()
	}
}

func (c *Core) busEffect(e *consensus.Effect) {
	switch e.Kind {
	case consensus.Send:
		c.sendTo(e.To, e.Msg)
	case consensus.Persist:
		c.fx = append(c.fx, Effect{Kind: Persist, Seq: e.Seq, Write: e.Write})
	case consensus.Settled:
		c.fx = append(c.fx, Effect{Kind: Settled, Seq: e.Seq, Result: e.Result})
	case consensus.Readable:
		c.fx = append(c.fx, Effect{Kind: Readable, Seq: e.Seq})
	case consensus.Refused:
		c.fx = append(c.fx, Effect{Kind: Denied, Seq: e.Seq, Why: e.Why})
	case consensus.DropNow:
		c.letGo(e.Epoch)
	case consensus.Numbered:
		c.numbered(e)
	case consensus.Moved:
		c.moved = true
	case consensus.Told:
		c.tellBus(&e.Tell)
	case consensus.Broken:
		c.fatal(e.Tell.Text)
	}
}

// busMoved brings what hangs on voters, leader and epoch up to date.
func (c *Core) busMoved() {
	c.version++
	peers := slices.DeleteFunc(c.bus.Peers(), func(i int) bool { return i >= c.n })
	if !slices.Equal(peers, c.busPeers) {
		c.busPeers = peers
		c.look = true
	}
	e := c.bus.State().Epoch()
	b := particle.Bus{
		Anchorable: c.bus.Anchorable() && c.joined, Leading: c.bus.Leading(),
		Number: e.Number, Base: e.Base, Limit: e.Limit, Strict: c.signs(), Conf: c.bus.VotersAt(), Stamps: c.bus.Stamps(),
		Refuses: c.bus.Refuses(),
	}
	for _, v := range c.bus.Voters() {
		if v.ID.Generation() == 0 || !v.Votes && !v.Leaves || len(b.Voters) == wire.VotersMax {
			continue
		}
		s := wire.Stamp{Voter: uint16(v.ID.Index())}
		if v.Votes {
			s.Role |= wire.Votes
		}
		if v.Leaves {
			s.Role |= wire.Leaves
		}
		b.Voters = append(b.Voters, s)
	}
	c.token.SetBus(c.now, b)
	c.tellAnchor()
}

// letGo lets the bus's particle go at this stop.
func (c *Core) letGo(e bus.Epoch) {
	p, pass := c.token.Let(c.now, e.Number, e.Lap, e.Base, e.Limit)
	if pass.Lap != p.Lap { // a later one has passed since it was asked for
		return
	}
	c.dropped()
	c.tell(Report{Kind: Dropped, Subject: c.self, Epoch: p.Epoch, Lap: p.Lap})
	c.passed(&p, pass)
	c.forward()
}

// lostToken sees to a new particle: the bus agrees on one, or where it cannot,
// this stop drops its own, which counts nothing.
func (c *Core) lostToken() {
	last, _ := c.token.Last()
	if c.bus.Anchorable() {
		// Ticks that a process before this one may have seen, perhaps in a history
		// that was lost, are not given out again.
		tick, _ := c.token.Tick()
		tick = max(tick+1, c.token.Ceiling(), c.floor) - 1
		c.bus.Drop(c.now, last.Lap+1, c.token.Top().Number, tick, c.token.LapTime())
		c.token.Asked(c.now)
		return
	}
	p := c.token.Drop(c.now)
	c.dropped()
	c.tell(Report{Kind: Dropped, Subject: c.self, Epoch: p.Epoch, Lap: p.Lap})
	tick, _ := c.token.Tick()
	c.passed(&p, particle.Pass{Lap: p.Lap, Tick: tick})
	c.forward()
}

// tellAnchor tells when laps begin to count, and when they stop.
func (c *Core) tellAnchor() {
	tick, anchored := c.token.Tick()
	if anchored == c.anchored {
		return
	}
	c.anchored = anchored
	c.version++
	r := Report{Kind: Unanchored, Subject: c.self, Tick: tick, Text: c.unanchored()}
	if anchored {
		r.Kind = Anchored
	}
	c.tell(r)
}

// unanchored is why laps do not count, empty while they do.
func (c *Core) unanchored() string {
	switch _, anchored := c.token.Tick(); {
	case anchored:
		return ""
	case c.waits():
		return "this instance died too often in a short time and waits to return"
	case c.exiled():
		return "this instance was cut from the ring and waits to return"
	case c.bus.Bereft():
		return "the log of this instance was damaged and put aside, and nobody in reach has one"
	case c.bus.Identity().History == (wire.History{}):
		return "too few of those who vote first have met yet"
	case !c.bus.Quorum():
		return "most of those who vote are out of reach"
	case c.bus.Leader() < 0:
		return "nobody leads those who vote"
	}
	return "too few of those who vote have stamped the last lap"
}

// numbered tells a change of the view that has its number: one report for all
// who are there as they were met, since a fleet that starts is one story. Of those
// from before this process came only its own coming is news.
func (c *Core) numbered(e *consensus.Effect) {
	var met *Report
	var out []*Report
	for _, h := range e.View {
		if int64(h.Index) >= int64(c.n) || c.retired(int(h.Index)) {
			continue
		}
		if c.said[int(h.Index)].incarnation <= h.Incarnation {
			delete(c.said, int(h.Index))
		}
		c.lostIsDead(h)
		if mine := int(h.Index) == c.self && h.Incarnation == c.inc; e.Old && !mine {
			continue
		}
		r := &Report{
			Kind: ViewNumbered, Subject: int(h.Index), Incarnation: h.Incarnation,
			Revision: e.Rev, Proof: h.Proof, State: wire.State(h.State), Leader: c.bus.Leader(),
		}
		for _, by := range h.By {
			r.By = append(r.By, int(by))
		}
		switch {
		case r.State != wire.Alive || r.Incarnation != 1:
		case met != nil:
			met.Also = append(met.Also, r.Subject)
			continue
		default:
			met = r
		}
		out = append(out, r)
	}
	for _, r := range out {
		c.tell(*r)
	}
}

// lostIsDead tells that who was only out of reach here is dead: the quorum that
// was not here, or not yet, says so.
func (c *Core) lostIsDead(h bus.Change) {
	i := int(h.Index)
	r, ok := c.lost[i]
	if !ok || wire.State(h.State) != wire.Down || r.Incarnation != h.Incarnation {
		return
	}
	delete(c.lost, i)
	r.Kind, r.Proof = Died, r.Proof || h.Proof
	if len(h.By) > 0 {
		r.By = r.By[:0:0]
		for _, by := range h.By {
			r.By = append(r.By, int(by))
		}
	}
	c.tell(r)
}

var busKinds = map[consensus.TellKind]ReportKind{
	consensus.Elected: Elected, consensus.Begun: HistoryBegun, consensus.Followed: HistoryChanged,
	consensus.Voting: Voting, consensus.Conflict: HistoryConflict,
}

func (c *Core) tellBus(t *consensus.Tell) {
	c.tell(Report{
		Kind: busKinds[t.Kind], Subject: t.Subject, Text: t.Text, Revision: t.Rev,
		Lap: t.Term,
	})
}

// BusView is what this instance knows of what the fleet agrees on.
type BusView struct {
	History  wire.History
	Era      uint32
	Self     consensus.RaftID // 0: this instance has no log
	Leader   int              // index, -1 for none
	Leading  bool
	Term     uint64
	Quorum   bool
	Applied  uint64
	Voters   []consensus.VoterView
	Epoch    bus.Epoch
	Fence    uint64
	ViewRev  uint64
	Keys     int
	Leases   []bus.Lease
	Tick     uint64
	Anchored bool
	Why      string // laps do not count, empty while they do
}

// BusView returns it. It allocates.
func (c *Core) BusView() *BusView {
	id, s := c.bus.Identity(), c.bus.State()
	tick, anchored := c.token.Tick()
	return &BusView{
		History: id.History, Era: id.Era, Self: id.ID, Leader: c.bus.Leader(),
		Leading: c.bus.Leading(), Term: c.bus.Term(), Quorum: c.bus.Quorum(), Applied: s.Applied(),
		Voters: c.bus.VoterViews(), Epoch: s.Epoch(), Fence: s.Fence(), ViewRev: s.ViewRevision(),
		Keys: s.Len(), Leases: s.Leases(), Tick: tick, Anchored: anchored,
		Why: c.unanchored(),
	}
}

// State is all that this instance has applied. It must not be changed, and is
// valid until the next Step.
func (c *Core) State() *bus.State { return c.bus.State() }

// TakeNews returns which keys may be other than at the last call.
func (c *Core) TakeNews() bus.News { return c.bus.State().TakeNews() }

// Backup is the whole state, for Restore.
func (c *Core) Backup() []byte { return c.bus.Backup() }

// recover begins another history from what this instance has.
func (c *Core) recover(ev *Event) {
	var err error
	if ev.Backup != nil {
		err = c.bus.Restore(ev.Backup)
	} else {
		err = c.bus.Recover(ev.Force)
	}
	if err != nil {
		c.fx = append(c.fx, Effect{Kind: Recovered, Seq: ev.Seq, Text: err.Error()})
		return
	}
	c.fx = append(c.fx, Effect{Kind: Recovered, Seq: ev.Seq})
}

// propose hands a wish to consensus.
func (c *Core) propose(ev *Event) {
	life := c.cfg.Boot
	if !c.joined {
		life = 0
	}
	c.bus.Propose(c.now, life, ev.Seq, ev.Command)
}

func quorumText(alive, all int) string { return fmt.Sprintf("%d of %d in reach", alive, all) }

// Revision is how far this instance has applied which history, and a hash over
// all of it.
func (c *Core) Revision() (h wire.History, applied uint64, chain [32]byte) {
	s := c.bus.State()
	return c.bus.Identity().History, s.Applied(), s.Chain()
}

// Voters lists who votes, as far as this instance knows.
func (c *Core) Voters() []consensus.Voter { return c.bus.Voters() }
