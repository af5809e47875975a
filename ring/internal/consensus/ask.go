package consensus

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

// asking is what this process has asked for and not been answered.
type asking struct {
	life    uint32
	wishes  map[uint64]*wish     // by Seq of the request
	order   []uint64             // their Seqs, which grow, and of some that are done
	tries   map[uint64]*question // by try
	lastTry uint64
	lookAt  time.Time // nothing is sent again before; zero: nothing has been sent

	batch []*raftpb.Entry
	bytes int // of batch

	homeTill time.Time // until then a link with Home is needed, zero if it is not
	stranded bool      // something could not be sent, for want of a link with a voter
}

// batchBytes is where a batch of wishes is full: a frame holds it.
const batchBytes = 32 << 10

// wish is a command on its way.
type wish struct {
	data []byte
	sent time.Time // zero: not yet
}

// question is a read on its way.
type question struct {
	seq   uint64
	sent  time.Time
	index uint64 // what has to be applied, 0 while unknown
}

func newAsking() asking {
	return asking{wishes: map[uint64]*wish{}, tries: map[uint64]*question{}}
}

// Propose asks for a command to be agreed on. life names this process, 0 for
// one that is not in the ring yet; seq is its own, from 1, and greater each time.
// Settled or Refused follows, unless Cancel comes before. However often it has
// to be sent, it is done once.
func (c *Core) Propose(now time.Time, life uint32, seq uint64, cmd bus.Command) {
	c.now = now
	if c.life == 0 {
		c.life = life
	}
	switch {
	case !c.Quorum() || c.life == 0:
		c.effect(Effect{Kind: Refused, Seq: seq, Why: NoQuorum})
		return
	case len(c.wishes) >= bus.PendMax:
		c.effect(Effect{Kind: Refused, Seq: seq, Why: Busy})
		return
	}
	cmd.Req = bus.Request{Origin: uint32(c.cfg.Self), Life: c.life, Seq: seq, Low: c.low(seq)}
	w := &wish{data: cmd.Encode()}
	c.wishes[seq] = w
	c.order = append(c.order, seq)
	c.send(w)
	c.pumpSoon()
}

// low is the lowest Seq that may be asked for again; seq, if there is no other.
func (c *Core) low(seq uint64) uint64 {
	for len(c.order) > 0 && c.wishes[c.order[0]] == nil {
		c.order = c.order[1:]
	}
	if len(c.order) == 0 {
		return seq
	}
	return c.order[0]
}

// pumpSoon pumps at once, unless the disk is busy: then it is pumped when that
// is done, and what was asked for meanwhile goes together, in few messages and
// with one sync. It would have waited for the disk anyway.
func (c *Core) pumpSoon() {
	if len(c.queue) == 0 {
		c.pump()
	}
}

// toEngine puts a command into the next batch.
func (c *Core) toEngine(data []byte) {
	if c.bytes+len(data) > batchBytes {
		c.flush()
	}
	c.batch = append(c.batch, &raftpb.Entry{Data: data})
	c.bytes += len(data)
}

// flush gives the batch to the engine. Without a leader it is lost, and sent
// again when there is one.
func (c *Core) flush() {
	if len(c.batch) == 0 {
		return
	}
	c.step(&raftpb.Message{
		Type: raftpb.MsgProp.Enum(), From: new(uint64(c.ident.ID)), Entries: c.batch,
	})
	c.batch, c.bytes = nil, 0
}

// Cancel gives up a request; it may still be done.
func (c *Core) Cancel(seq uint64) {
	delete(c.wishes, seq)
	for try, q := range c.tries { // whichever it is
		if q.seq == seq {
			delete(c.tries, try)
		}
	}
}

// Read asks for a moment from which on State holds everything that was
// acknowledged to anybody before now. Readable or Refused follows. seq is one of
// the same row as Propose's.
func (c *Core) Read(now time.Time, seq uint64) {
	c.now = now
	if !c.Quorum() {
		c.effect(Effect{Kind: Refused, Seq: seq, Why: NoQuorum})
		return
	}
	c.question(&question{seq: seq})
	c.pump()
}

// send puts a wish on its way: to our own engine, or to a voter's.
func (c *Core) send(w *wish) {
	w.sent = c.now
	c.sentOne()
	if c.Stamps() {
		c.toEngine(w.data)
		return
	}
	c.useHome()
	if to := c.voterToAsk(); to >= 0 {
		c.effect(Effect{
			Kind: Send, To: to,
			Msg: &wire.Propose{History: c.ident.History, Command: w.data},
		})
	} else {
		c.stranded = true
	}
}

// sentOne notes that something may have to be sent again.
func (c *Core) sentOne() {
	if c.lookAt.IsZero() {
		c.lookAt = c.now.Add(c.cfg.Timing.Retry)
	}
}

// voterToAsk is the leader, if we are linked with it, else the voter we follow.
func (c *Core) voterToAsk() int {
	if c.lead >= 0 && c.cfg.Fleet.Linked(c.lead) {
		return c.lead
	}
	if h := c.Home(); h >= 0 && c.cfg.Fleet.Linked(h) {
		return h
	}
	for _, v := range c.Voters() {
		if i := v.ID.Index(); v.Votes && i != c.cfg.Self && c.cfg.Fleet.Linked(i) {
			return i
		}
	}
	return -1
}

// onPropose takes somebody's wish to the engine.
func (c *Core) onPropose(m *wire.Propose) {
	if c.rn == nil || m.History != c.ident.History || len(m.Command) == 0 {
		return
	}
	cmd, err := bus.Decode(m.Command)
	if err != nil || cmd.Req == (bus.Request{}) || cmd.Check() != nil || !cmd.Kind.Asked() {
		return // only a leader writes the others
	}
	c.toEngine(m.Command)
	c.pumpSoon()
}

// question asks under a name that was never used.
func (c *Core) question(q *question) {
	c.lastTry++
	q.sent = c.now
	c.sentOne()
	c.tries[c.lastTry] = q
	if c.Stamps() {
		c.rn.ReadIndex(c.readCtx(c.cfg.Self, c.cfg.Boot, c.lastTry))
		return
	}
	c.useHome()
	if to := c.voterToAsk(); to >= 0 {
		c.effect(Effect{Kind: Send, To: to, Msg: &wire.Ask{History: c.ident.History, Try: c.lastTry}})
	} else {
		c.stranded = true
	}
}

// useHome has a link made with a voter, as long as there is something to ask.
func (c *Core) useHome() {
	if c.homeTill.IsZero() {
		c.effect(Effect{Kind: Moved})
	}
	c.homeTill = c.now.Add(homeKept)
}

// leaveHome gives the link up when nothing was asked for a while.
func (c *Core) leaveHome() {
	if !c.homeTill.IsZero() && !c.now.Before(c.homeTill) {
		c.homeTill = time.Time{}
		c.effect(Effect{Kind: Moved})
	}
}

// onAsk asks the engine for another.
func (c *Core) onAsk(from int, m *wire.Ask) {
	s := c.peers[from]
	if c.rn == nil || m.History != c.ident.History || s == nil {
		return
	}
	c.rn.ReadIndex(c.readCtx(from, s.Boot, m.Try))
	c.pump()
}

// readCtx names a question so that no other is ever taken for it.
func (c *Core) readCtx(origin int, boot uint32, try uint64) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(origin))
	b = binary.BigEndian.AppendUint32(b, boot)
	return binary.BigEndian.AppendUint64(b, try)
}

// onReadState is the engine's answer, to us or to whom we asked for.
func (c *Core) onReadState(index uint64, ctx []byte) {
	if len(ctx) != 16 {
		return
	}
	origin, boot := int(binary.BigEndian.Uint32(ctx)), binary.BigEndian.Uint32(ctx[4:])
	try := binary.BigEndian.Uint64(ctx[8:])
	if origin != c.cfg.Self {
		c.effect(Effect{Kind: Send, To: origin, Msg: &wire.Answer{Try: try, Index: index}})
		return
	}
	if boot == c.cfg.Boot {
		c.onAnswer(&wire.Answer{Try: try, Index: index})
	}
}

// onAnswer is from where on a read of ours may be answered.
func (c *Core) onAnswer(m *wire.Answer) {
	if q := c.tries[m.Try]; q != nil {
		q.index = max(m.Index, 1)
		c.answer()
	}
}

// answer answers what can be answered by now.
func (c *Core) answer() {
	for _, try := range slices.Sorted(maps.Keys(c.tries)) {
		if q := c.tries[try]; q.index > 0 && q.index <= c.state.Applied() {
			delete(c.tries, try)
			c.effect(Effect{Kind: Readable, Seq: q.seq})
		}
	}
}

// settle tells the result of a wish of ours.
func (c *Core) settle(r bus.Result) {
	if r.Req.Origin != uint32(c.cfg.Self) || r.Req.Life != c.life || c.life == 0 {
		return
	}
	if c.wishes[r.Req.Seq] != nil {
		delete(c.wishes, r.Req.Seq)
		c.effect(Effect{Kind: Settled, Seq: r.Req.Seq, Result: r})
	}
}

// retry sends again what is not answered.
func (c *Core) retry() {
	at := c.retryAt()
	if at.IsZero() || c.now.Before(at) {
		return
	}
	c.lookAt = time.Time{} // what is sent again sets it
	wait := c.cfg.Timing.Retry
	next := c.now.Add(wait)
	for _, seq := range c.order {
		w := c.wishes[seq]
		if w == nil {
			continue
		}
		if c.now.Sub(w.sent) >= wait {
			c.send(w)
		}
		next = sooner(next, w.sent.Add(wait))
	}
	for _, try := range slices.Sorted(maps.Keys(c.tries)) {
		q := c.tries[try]
		if q.index > 0 {
			continue
		}
		if c.now.Sub(q.sent) >= wait {
			delete(c.tries, try)
			c.question(q)
		}
		next = sooner(next, q.sent.Add(wait))
	}
	if len(c.wishes)+len(c.tries) > 0 {
		c.lookAt = next
	}
	c.pump()
}

// retryAt is no later than the oldest has waited for long enough.
func (c *Core) retryAt() time.Time {
	if len(c.wishes)+len(c.tries) == 0 {
		return time.Time{}
	}
	return c.lookAt
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// resendAll has everything sent again at once: somebody new leads.
func (c *Core) resendAll() {
	for _, w := range c.wishes { // all alike
		w.sent = w.sent.Add(-c.cfg.Timing.Retry)
	}
	for _, q := range c.tries { // all alike
		q.sent = q.sent.Add(-c.cfg.Timing.Retry)
	}
	c.lookAt = c.now
}

// refuseAll refuses what is under way: there is no quorum, or another history.
func (c *Core) refuseAll() {
	for _, seq := range c.order {
		if c.wishes[seq] != nil {
			c.effect(Effect{Kind: Refused, Seq: seq, Why: Unknown})
		}
	}
	clear(c.wishes)
	var seqs []uint64
	for _, q := range c.tries { // sorted below
		seqs = append(seqs, q.seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		c.effect(Effect{Kind: Refused, Seq: seq, Why: NoQuorum})
	}
	clear(c.tries)
}
