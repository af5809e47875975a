package consensus

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

// asking is what this process has asked for and not been answered.
type asking struct {
	life    uint32
	wishes  map[uint64]*wish     // by Seq of the request
	tries   map[uint64]*question // by try
	lastTry uint64
}

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
	low := seq
	for s := range c.wishes {
		low = min(low, s)
	}
	cmd.Req = bus.Request{Origin: uint32(c.cfg.Self), Life: c.life, Seq: seq, Low: low}
	w := &wish{data: cmd.Encode()}
	c.wishes[seq] = w
	c.send(w)
	c.pump()
}

// Cancel gives up a request; it may still be done.
func (c *Core) Cancel(seq uint64) {
	delete(c.wishes, seq)
	for try, q := range c.tries {
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
	if c.Stamps() {
		_ = c.rn.Propose(w.data) // without a leader it is sent again when there is one
		return
	}
	if to := c.voterToAsk(); to >= 0 {
		c.effect(Effect{Kind: Send, To: to,
			Msg: &wire.Propose{History: c.ident.History, Command: w.data}})
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
	if err != nil || cmd.Req == (bus.Request{}) || cmd.Check() != nil || cmd.Kind > bus.Release {
		return // only a leader writes the others
	}
	_ = c.rn.Propose(m.Command)
	c.pump()
}

// question asks under a name that was never used.
func (c *Core) question(q *question) {
	c.lastTry++
	q.sent = c.now
	c.tries[c.lastTry] = q
	if c.Stamps() {
		c.rn.ReadIndex(c.readCtx(c.cfg.Self, c.cfg.Boot, c.lastTry))
		return
	}
	if to := c.voterToAsk(); to >= 0 {
		c.effect(Effect{Kind: Send, To: to, Msg: &wire.Ask{History: c.ident.History, Try: c.lastTry}})
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
	wait := c.cfg.Timing.Retry
	for _, seq := range slices.Sorted(maps.Keys(c.wishes)) {
		if w := c.wishes[seq]; c.now.Sub(w.sent) >= wait {
			c.send(w)
		}
	}
	for _, try := range slices.Sorted(maps.Keys(c.tries)) {
		if q := c.tries[try]; q.index == 0 && c.now.Sub(q.sent) >= wait {
			delete(c.tries, try)
			c.question(q)
		}
	}
	c.pump()
}

// retryAt is when the oldest has waited for long enough.
func (c *Core) retryAt() time.Time {
	var at time.Time
	for _, w := range c.wishes {
		if t := w.sent.Add(c.cfg.Timing.Retry); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, q := range c.tries {
		if t := q.sent.Add(c.cfg.Timing.Retry); q.index == 0 && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

// resendAll has everything sent again at once: somebody new leads.
func (c *Core) resendAll() {
	for _, w := range c.wishes {
		w.sent = w.sent.Add(-c.cfg.Timing.Retry)
	}
	for _, q := range c.tries {
		q.sent = q.sent.Add(-c.cfg.Timing.Retry)
	}
}

// refuseAll refuses what is under way: there is no quorum, or another history.
func (c *Core) refuseAll() {
	for _, seq := range slices.Sorted(maps.Keys(c.wishes)) {
		c.effect(Effect{Kind: Refused, Seq: seq, Why: Unknown})
	}
	clear(c.wishes)
	var seqs []uint64
	for _, q := range c.tries {
		seqs = append(seqs, q.seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		c.effect(Effect{Kind: Refused, Seq: seq, Why: NoQuorum})
	}
	clear(c.tries)
}
