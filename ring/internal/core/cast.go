package core

import (
	"cmp"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/spread"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// CastSmall is up to how many bytes a message is flooded: one packet.
	CastSmall = 1 << 10
	// castKeep is how many bytes of messages are kept for who missed them.
	castKeep = 8 << 20
	// castEvery is the pause between two comparisons with a random neighbour.
	castEvery = time.Second
	// castWindow is how many bytes of messages, as wire.CastSize counts them, may be on
	// their way to a neighbour that has not taken them yet: 128 small ones. Each instance
	// gets as much from each neighbour, and its heartbeats behind that.
	castWindow = 256 << 10
	// castAtOnce is how many messages are delivered in a Step: heartbeats wait for it.
	castAtOnce = 256
)

// credit is how far one end of a link is behind the other with what is broadcast.
type credit struct {
	sent, acked uint64    // by us, and taken by the other end
	took, told  uint64    // by us, and what it knows of that
	full        bool      // something had to wait
	waits       time.Time // when the other end said that it waits to publish, zero if it does not
}

func (k *credit) clear() bool { return k.sent-k.acked < castWindow }

// crew is what the broadcast asks its instance.
type crew struct{ c *Core }

// Linked are the neighbours on the rings of the living to whom a link works.
func (f crew) Linked(dst []int) []int {
	for _, p := range f.c.peers {
		if p.watched && p.healthy() != nil && f.c.isAlive(p.i) {
			dst = append(dst, p.i)
		}
	}
	return dst
}

func (f crew) Clear(i int) bool {
	cn := f.c.linkTo(i)
	if cn == nil || cn.credit.clear() {
		return cn != nil
	}
	cn.credit.full = true
	return false
}

// Waits goes by what a neighbour has said of late: it says so with what it takes.
func (f crew) Waits(i int) bool {
	cn := f.c.linkTo(i)
	return cn != nil && f.c.now.Sub(cn.credit.waits) < castEvery
}

func (f crew) Tree(origin int) []int32 {
	c := f.c
	g := c.room.grove(c.overlay, c.viewID, c.isAlive, c.cfg.Room != nil)
	t := g.trees[origin]
	if t == nil {
		if len(g.trees) >= treesMax {
			clear(g.trees)
		}
		t = g.live.Tree(origin)
		g.trees[origin] = t
	}
	return t
}

// grove is the links of the living by one view, and trees in them. Who lives is all that
// a view says, so whoever shares a Room shares these: a fleet in a simulation would
// compute the same tree once for each instance.
type grove struct {
	overlay *overlay.Overlay
	view    uint64
	live    *overlay.Live
	trees   map[int][]int32
}

const (
	// grovesMax is how many views those who share a Room may have while one takes over
	// from another.
	grovesMax = 8
	// treesMax is how many trees of one view are remembered.
	treesMax = 64
)

// grove is that of a view, of those remembered or new.
func (r *Room) grove(o *overlay.Overlay, view uint64, alive func(i int) bool, shared bool) *grove {
	for i := range r.groves {
		if g := &r.groves[i]; g.view == view && g.overlay == o {
			return g
		}
	}
	if n := len(r.groves); n > 0 && (!shared || n == grovesMax) {
		r.groves = slices.Delete(r.groves, 0, 1)
	}
	r.groves = append(r.groves, grove{o, view, o.Live(alive), map[int][]int32{}})
	return &r.groves[len(r.groves)-1]
}

func (f crew) Alive(i int) bool { return f.c.isAlive(i) }

func (f crew) View() uint64 { return f.c.viewID }

func (f crew) RTT(i int) time.Duration {
	if cn := f.c.linkTo(i); cn != nil {
		return cn.pulse.Least()
	}
	return f.c.cfg.Timing.Patience
}

// linkTo is a link that works, or nil.
func (c *Core) linkTo(i int) *conn {
	if p := c.byIdx[i]; p != nil {
		return p.healthy()
	}
	return nil
}

// startCast begins this process's life as an origin, by its first incarnation. An
// earlier process may have had the same, if it lost its disk and met nobody who knew of
// that: hence the rest, which is random.
func (c *Core) startCast() {
	if c.cast != nil {
		return
	}
	c.cast = spread.New(c.now, spread.Config{
		Self: c.self, N: c.n, Life: uint64(c.inc)<<lifeBits | uint64(c.cfg.Boot>>1), Fleet: crew{c},
		Small: CastSmall, Keep: cmp.Or(c.cfg.Keep, castKeep),
		Every: max(castEvery, c.cfg.Timing.Beat), Turn: castAtOnce, Rand: c.cfg.Rand,
	})
	c.answers = gather.New(c.self, c.n, crew{c})
	c.cast.Begin(c.now)
}

// publishCast takes a message of ours, or says that there is no room for it yet.
func (c *Core) publishCast(ev *Event) {
	busy := c.cast != nil && ev.Cast.Question != nil && c.answers.Busy()
	if c.cast == nil || busy || !c.cast.Ready(c.now) {
		c.wantsRoom, c.wantsAsk = c.wantsRoom || !busy, c.wantsAsk || busy
		c.fx = append(c.fx, Effect{Kind: Crowded, Seq: ev.Seq})
		return
	}
	c.cast.Publish(c.now, ev.Cast)
	c.fx = append(c.fx, Effect{Kind: Published, Seq: ev.Seq, Cast: ev.Cast})
}

// onCast takes what a neighbour says of what is broadcast.
func (c *Core) onCast(cn *conn, m wire.Msg) bool {
	switch m := m.(type) {
	case *wire.Credit:
		c.onCredit(cn, m)
		return true
	case *wire.Cast, *wire.Have, *wire.Want, *wire.Digest, *wire.Part:
	default:
		return false
	}
	k := &cn.credit
	k.took += wire.CastSize(m)
	if k.took-k.told >= castWindow/4 {
		k.told = k.took
		c.send(cn, &wire.Credit{Bytes: k.took, Waits: c.wantsRoom && c.cast != nil})
	}
	if c.cast == nil {
		return true // when it begins it compares
	}
	switch i := cn.peer.i; m := m.(type) {
	case *wire.Cast:
		if c.soundCast(m.CastID) {
			c.cast.Receive(c.now, i, m)
		}
	case *wire.Have:
		if !slices.ContainsFunc(m.Names, func(id wire.CastID) bool { return !c.soundCast(id) }) {
			c.cast.Has(c.now, i, m.Names)
		}
	case *wire.Want:
		if c.soundRanges(m.Ranges) {
			c.cast.Wanted(c.now, i, m.Ranges)
		}
	case *wire.Digest:
		if c.soundRanges(m.Ranges) {
			c.cast.Compare(c.now, i, m.Ranges, m.Ask)
		}
	case *wire.Part:
		c.answers.Part(c.now, i, m)
	}
	return true
}

// lifeBits are those of a life below its incarnation.
const lifeBits = 31

// soundCast reports whether there can be such a message. Life and number are followed by
// others, which the wire must carry, too: else one lie would break all our links.
func (c *Core) soundCast(id wire.CastID) bool {
	if id.Origin >= uint32(c.n) || id.Seq == 0 || id.Seq >= wire.CounterMax || id.Life >= wire.CounterMax {
		return false
	}
	inc := c.table.Incarnation(int(id.Origin))
	known := uint64(inc) << lifeBits
	if inc == 0 { // nothing is known of it yet
		known = saneIncarnation << lifeBits
	}
	if int(id.Origin) == c.self {
		known = uint64(c.inc) << lifeBits
	}
	return id.Life <= known+saneLives || c.cast != nil && id.Life <= c.cast.Life(id.Origin)+saneLives
}

func (c *Core) soundRanges(ranges []wire.CastRange) bool {
	return !slices.ContainsFunc(ranges, func(r wire.CastRange) bool {
		return !c.soundCast(wire.CastID{Origin: r.Origin, Life: r.Life, Seq: r.From}) ||
			r.From > r.To+1 || r.To >= wire.CounterMax || r.Gone >= wire.CounterMax
	})
}

func (c *Core) onCredit(cn *conn, m *wire.Credit) {
	k := &cn.credit
	if m.Bytes > k.sent || m.Bytes < k.acked {
		return
	}
	k.acked = m.Bytes
	if k.waits = (time.Time{}); m.Waits {
		k.waits = c.now
	}
	if k.full && k.sent-k.acked < castWindow/2 {
		k.full = false
		if c.cast != nil {
			c.cast.Room(c.now, cn.peer.i)
		}
	}
}

// emptied tells who waits to publish that it may: a link has room again, or is gone.
func (c *Core) emptied() {
	if (c.wantsRoom || c.wantsAsk && !c.answers.Busy()) && c.cast.Ready(c.now) {
		c.wantsRoom, c.wantsAsk = false, false
		c.fx = append(c.fx, Effect{Kind: Emptied})
	}
}

// castTurn does what is due of what is broadcast, and carries out what that wants.
func (c *Core) castTurn() {
	if c.cast == nil {
		return
	}
	if d := c.cast.Deadline(); !d.IsZero() && !c.now.Before(d) {
		c.cast.Turn(c.now)
	}
	if c.answersView != c.viewID {
		c.answersView = c.viewID
		c.answers.Changed(c.now)
	}
	if d := c.answers.Deadline(); !d.IsZero() && !c.now.Before(d) {
		c.answers.Turn(c.now)
	}
	for again := true; again; { // a question that is delivered may have an answer at once
		c.castEffects()
		again = c.gatherEffects()
	}
	c.emptied()
}

func (c *Core) castEffects() {
	for _, fx := range c.cast.Effects() {
		switch fx.Kind {
		case spread.Deliver:
			if fx.Msg.Question != nil && !c.cast.Earlier(fx.Msg.CastID) {
				c.answers.Asked(c.now, fx.Msg)
			}
			c.fx = append(c.fx, Effect{Kind: Delivered, Cast: fx.Msg})
		case spread.Missed:
			c.fx = append(c.fx, Effect{Kind: Missed, Range: fx.Ranges[0]})
		case spread.Send:
			c.sendCast(fx.To, fx.Msg)
		case spread.Have:
			c.sendCast(fx.To, &wire.Have{Names: fx.Names})
		case spread.Want:
			c.sendCast(fx.To, &wire.Want{Ranges: fx.Ranges})
		case spread.Digest:
			c.sendCast(fx.To, &wire.Digest{Ranges: fx.Ranges, Ask: fx.Ask})
		}
	}
}

// gatherEffects carries out what the questions want, and reports whether there is more.
func (c *Core) gatherEffects() bool {
	effects := c.answers.Effects()
	for i := range effects {
		switch fx := &effects[i]; fx.Kind {
		case gather.Send:
			c.sendCast(fx.To, fx.Part)
		case gather.Answer:
			c.fx = append(c.fx, Effect{Kind: Answer, Cast: fx.Msg})
		case gather.Fold:
			c.fx = append(c.fx, Effect{Kind: Fold, Cast: fx.Msg, Values: fx.Values})
		case gather.Repeat:
			if c.cast.Earlier(fx.Msg.CastID) {
				continue // its number is of another life now: it ends with what has come
			}
			again := &wire.Cast{Topic: fx.Msg.Topic, Payload: fx.Msg.Payload, Question: fx.Question}
			if fx.Question.How == wire.AskReceipt {
				again.Topic, again.Payload = "", nil // who has it knows it by its number
			}
			c.answers.Again(fx.Msg.CastID, c.cast.Publish(c.now, again))
		case gather.Result:
			c.fx = append(c.fx, Effect{Kind: Gathered, Outcome: &fx.Result})
		}
	}
	return len(effects) > 0
}

func (c *Core) sendCast(to int, m wire.Msg) {
	if cn := c.linkTo(to); cn != nil {
		cn.credit.sent += wire.CastSize(m)
		c.send(cn, m)
	}
}
