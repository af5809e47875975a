package spread

import (
	"math/rand/v2"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// What travels, see there.
type (
	ID      = wire.CastID
	Message = wire.Cast
	Range   = wire.CastRange
)

// size is what a message counts for in budgets.
func size(m *Message) int { return len(m.Topic) + len(m.Payload) + overhead }

// overhead is what a message takes beside its bytes, measured with the smallest.
const overhead = 144

// Kinds of effects.
type Kind uint8

// Effects, in the order in which they are to be carried out.
const (
	Send    Kind = iota // Msg to the neighbour To
	Have                // Names to To
	Want                // Ranges to To
	Digest              // Ranges, of what is kept, to To; Ask: it is to answer with its own
	Deliver             // Msg to those who follow its topic
	Missed              // Ranges[0] of one origin, which nobody has any more
)

// Effect is what is to be done.
type Effect struct {
	Kind   Kind
	To     int
	Msg    *Message
	Names  []ID
	Ranges []Range
	Ask    bool
}

// Fleet is what a Core knows of the others.
type Fleet interface {
	Linked(dst []int) []int  // neighbours to whom something can be sent now, sorted
	Clear(i int) bool        // the link to i has room: large messages may go there
	Waits(i int) bool        // i has something to publish and no room for it
	Tree(origin int) []int32 // overlay.Live.Tree of the present view
	View() uint64            // changes with it
	Alive(i int) bool        // in it
	RTT(i int) time.Duration // to a neighbour, about
}

// Config is what a Core needs.
type Config struct {
	Self, N int
	Life    uint64 // higher than that of any process of this name before, as far as is known
	Fleet   Fleet
	Small   int           // bytes up to which a message is flooded
	Keep    int           // bytes of messages kept for who comes late
	Every   time.Duration // between two digests to a random neighbour
	Turn    int           // how many messages, or gaps, are told of at once
	Rand    *rand.Rand
}

// Core is not safe for concurrent use.
type Core struct {
	cfg     Config
	now     time.Time
	fx      []Effect
	seq     uint64
	streams map[uint32]*stream // by origin
	order   []uint32           // origins of streams, as they came
	turn    int                // where in order the next digest begins
	quota   int                // how many messages may still be told of before Effects are taken
	ripe    []*stream          // for more than that
	wants   []want
	kept    []stored  // what is kept and was delivered, the oldest first
	bytes   int       // of these
	roomAt  time.Time // when Ready may be true again, zero if that is not a matter of time
	waiting int       // bytes of what others before it keep from being delivered
	digest  time.Time
	trees   map[uint32]*tree
	behind  map[int]bool // neighbours whose links had no room
	fresh   time.Time    // when the newest message came
	linked  []int
	wait    []int64       // in Ready: how much they sent of late who have no room for more
	lag     time.Duration // by which messages of late came down their tree behind their name
}

// stored is a message that was delivered at that time.
type stored struct {
	ID
	at time.Time
}

// tree is our place in the tree of an origin.
type tree struct {
	view     uint64
	parent   int
	children []int
}

// want is a message that was announced and has not come.
type want struct {
	id    ID
	born  time.Time
	due   time.Time
	pause time.Duration
	from  []int // who has it
	asked int   // how many of those were asked for it
}

const (
	// treesMax is how many origins' trees are remembered.
	treesMax = 1024
	// digestMax is how many streams one digest tells of; the next goes on behind.
	digestMax = wire.RangesMax
	// batch is how many bytes answer one Want, as wire.CastSize counts them.
	batch = 256 << 10
	// span is how many messages are asked for at once: more of them are no batch.
	span = batch / wire.CastWork
	// pastMax is how many earlier lives of an origin are told of.
	pastMax = 4
	// paceSpan is how long it counts what somebody has sent.
	paceSpan = time.Second
	// paceLeast is how much anybody may send in that, as wire.CastSize counts it.
	paceLeast = 64 * wire.CastWork
	// wantsMax bounds what is waited for by name; digests find the rest.
	wantsMax = 4096
)

// New returns the core of an instance that has sent nothing in this life.
func New(now time.Time, cfg Config) *Core {
	c := &Core{
		cfg: cfg, now: now, streams: map[uint32]*stream{}, trees: map[uint32]*tree{},
		behind: map[int]bool{}, quota: cfg.Turn,
	}
	c.planDigest()
	return c
}

// Effects are what is to be done since they were taken last. Config.Turn messages and
// gaps are told of at most between two calls: what is more is for the next Turn.
func (c *Core) Effects() []Effect {
	fx := c.fx
	c.fx, c.quota = nil, c.cfg.Turn
	return fx
}

// Ready reports whether there is room for a message of this instance. At least half of
// the links have some: whoever has something to publish waits for that, and not for the
// slowest. What is kept reaches as far back as the time between two digests: if all
// together send faster, what a link had no room for would be gone before its other end
// could ask for it. And while half of the neighbours wait for room no more is sent than
// twice what the one in their middle sends, and paceLeast: what passes by goes before what
// one has oneself, so whoever sends freely would leave none to the others.
func (c *Core) Ready(now time.Time) bool {
	c.roomAt = time.Time{}
	if c.waiting > c.cfg.Keep/8 {
		return false
	}
	if c.bytes > c.cfg.Keep/4*3 {
		if at := c.kept[0].at.Add(c.cfg.Every); now.Before(at) {
			c.roomAt = at
			return false
		}
	}
	c.linked = c.cfg.Fleet.Linked(c.linked[:0])
	room, wait := 0, c.wait[:0]
	for _, i := range c.linked {
		if c.cfg.Fleet.Clear(i) {
			room++
		}
		if c.cfg.Fleet.Waits(i) {
			wait = append(wait, c.pace(uint32(i)).at(now))
		}
	}
	c.wait = wait
	if 2*room < len(c.linked) {
		return false
	}
	if len(wait) > 0 && 2*len(wait) >= len(c.linked) {
		slices.Sort(wait)
		if c.pace(uint32(c.cfg.Self)).at(now) > 2*wait[len(wait)/2]+paceLeast {
			c.roomAt = now.Add(paceSpan / 64)
			return false
		}
	}
	return true
}

// Kept is how many bytes of messages are kept for who comes late, overheads included.
func (c *Core) Kept() int { return c.bytes }

// Publish sends a message of this instance, which has no name yet, to all, itself
// included. It is the core's from now on.
func (c *Core) Publish(now time.Time, m *Message) ID {
	c.now = now
	c.seq++
	m.CastID = ID{Origin: uint32(c.cfg.Self), Life: c.cfg.Life, Seq: c.seq}
	if q := m.Question; q != nil && q.First == 0 {
		q.First = c.seq
	}
	c.accept(c.cfg.Self, m)
	return m.CastID
}

// Receive takes a message from a neighbour.
func (c *Core) Receive(now time.Time, from int, m *Message) {
	c.now = now
	if !c.own(m.Origin, m.Life) {
		c.accept(from, m)
	}
}

// Earlier reports whether a message is of an earlier process of this instance.
func (c *Core) Earlier(id ID) bool {
	return int(id.Origin) == c.cfg.Self && id.Life != c.cfg.Life
}

// own reports whether a message is of this process. Should there be one of a later life
// of its name it was an earlier process of which nobody knew when this one began: this
// one begins another life above that, and not just above: so may a third one have done.
func (c *Core) own(origin uint32, life uint64) bool {
	if int(origin) != c.cfg.Self {
		return false
	}
	if life > c.cfg.Life {
		c.cfg.Life, c.seq = life+1+c.cfg.Rand.Uint64N(1<<20), 0
	}
	return life == c.cfg.Life
}

// Life is the latest that is known of origin, 0 for none.
func (c *Core) Life(origin uint32) uint64 {
	if int(origin) == c.cfg.Self {
		return c.cfg.Life
	}
	if s := c.streams[origin]; s != nil {
		return s.life
	}
	return 0
}

func (c *Core) accept(from int, m *Message) {
	s := c.stream(m.Origin, m.Life)
	if s == nil || m.Seq <= s.done || s.held[m.Seq] != nil {
		return
	}
	c.heard(s, m.Seq)
	if m.Seq != s.done+1 && from != c.cfg.Self && c.waiting+size(m) > c.cfg.Keep/2 {
		return // it is asked for when its turn comes
	}
	s.held[m.Seq] = m
	s.pace.add(c.now, int64(wire.CastSize(m)))
	c.news()
	c.waiting += size(m)
	c.handOn(from, m)
	c.deliver(s)
	if s.done < s.high && from != c.cfg.Self {
		c.lack(s, from)
	}
}

// handOn gives a message that is new to whoever else is to have it.
func (c *Core) handOn(from int, m *Message) {
	var have []int // have told that they have it
	born := c.now
	c.wants = slices.DeleteFunc(c.wants, func(w want) bool {
		if w.id == m.CastID {
			have, born = w.from, w.born
		}
		return w.id == m.CastID
	})
	c.linked = c.cfg.Fleet.Linked(c.linked[:0])
	flood := len(m.Payload) <= c.cfg.Small
	var children []int
	if !flood {
		t := c.tree(int(m.Origin))
		if children = t.children; from == t.parent {
			late := c.now.Sub(born)
			c.lag += (late - c.lag) / 8
		}
	}
	for _, i := range c.linked {
		switch {
		case i == from || i == int(m.Origin) || slices.Contains(have, i):
		case !c.cfg.Fleet.Clear(i): // it is told of all at once when it has caught up
			c.behind[i] = true
		case flood || slices.Contains(children, i):
			c.fx = append(c.fx, Effect{Kind: Send, To: i, Msg: m})
		default:
			c.fx = append(c.fx, Effect{Kind: Have, To: i, Names: []ID{m.CastID}})
		}
	}
}

// tree is our place in the tree of origin, by the present view.
func (c *Core) tree(origin int) *tree {
	view := c.cfg.Fleet.View()
	t := c.trees[uint32(origin)]
	if t != nil && t.view == view {
		return t
	}
	if len(c.trees) >= treesMax {
		clear(c.trees)
	}
	t = &tree{view: view, parent: -1}
	for i, p := range c.cfg.Fleet.Tree(origin) {
		switch {
		case i == c.cfg.Self:
			t.parent = int(p)
		case int(p) == c.cfg.Self:
			t.children = append(t.children, i)
		}
	}
	c.trees[uint32(origin)] = t
	return t
}

// Has takes the names of messages that a neighbour has.
func (c *Core) Has(now time.Time, from int, ids []ID) {
	c.now = now
	for _, id := range ids {
		s := c.stream(id.Origin, id.Life)
		if s == nil || c.own(id.Origin, id.Life) || id.Seq <= s.done || s.held[id.Seq] != nil {
			continue
		}
		c.heard(s, id.Seq)
		at := slices.IndexFunc(c.wants, func(w want) bool { return w.id == id })
		switch {
		case at >= 0:
			if w := &c.wants[at]; !slices.Contains(w.from, from) {
				w.from = append(w.from, from)
			}
		case len(c.wants) < wantsMax:
			w := want{id: id, born: now, pause: c.pause(from), from: []int{from}}
			w.due = now.Add(w.pause)
			if !slices.Contains(c.cfg.Fleet.Linked(nil), c.tree(int(id.Origin)).parent) {
				w.due = now // it cannot come as it should
			}
			c.wants = append(c.wants, w)
		}
	}
	c.ask()
}

// pause is how long a message is waited for that from has announced: for a round trip, or
// twice as long as messages come behind their names now. Where all are slow because all
// are busy, to ask for each would be to carry each several times.
func (c *Core) pause(from int) time.Duration {
	return max(c.cfg.Fleet.RTT(from)+time.Millisecond, min(2*c.lag, c.cfg.Every))
}

// ask asks for what is due.
func (c *Core) ask() {
	for i := 0; i < len(c.wants); i++ {
		w := &c.wants[i]
		if c.now.Before(w.due) {
			continue
		}
		if w.asked == len(w.from) {
			c.wants = slices.Delete(c.wants, i, i+1) // the digests will do it
			i--
			continue
		}
		to := w.from[w.asked]
		w.asked++
		w.due = c.now.Add(2 * w.pause)
		c.fx = append(c.fx, Effect{
			Kind: Want, To: to,
			Ranges: []Range{{
				Origin: w.id.Origin, Life: w.id.Life, From: w.id.Seq, To: w.id.Seq,
			}},
		})
	}
}

// lack asks for what comes before what from has just sent.
func (c *Core) lack(s *stream, from int) {
	if c.awaited(s) || s.held[s.done+1] != nil {
		return
	}
	if s.wantTo > 0 && s.done >= s.wantTo && slices.Contains(c.cfg.Fleet.Linked(nil), s.source) {
		from = s.source // it had what was asked for last
	}
	c.want(s, from, s.high)
}

// want asks for what comes next, up to last or to what is here already.
func (c *Core) want(s *stream, from int, last uint64) {
	s.wanted, s.source = c.now, from
	to := s.done + 1
	for to < min(last, s.done+span) && s.held[to+1] == nil {
		to++
	}
	s.wantFrom, s.wantTo = s.done+1, to
	c.fx = append(c.fx, Effect{Kind: Want, To: from, Ranges: []Range{s.span(s.done+1, to)}})
}

// awaited reports whether somebody else has just been asked for what comes next.
func (c *Core) awaited(s *stream) bool {
	return !s.wanted.IsZero() && c.now.Sub(s.wanted) < c.cfg.Every
}

// Wanted answers a neighbour that asks for messages with as many of them as are a
// batch, and with what is kept where some are not, or more follows.
func (c *Core) Wanted(now time.Time, from int, ranges []Range) {
	c.now = now
	left := batch
	if !c.cfg.Fleet.Clear(from) {
		c.behind[from] = true
		return
	}
	for _, r := range ranges {
		s := c.streams[r.Origin]
		if s == nil || s.life != r.Life {
			continue
		}
		had := left
		begin := max(r.From, s.first)
		end := min(r.To, s.high, begin+span)
		for seq := begin; seq <= end && left > 0; seq++ {
			if m := s.held[seq]; m != nil {
				c.fx = append(c.fx, Effect{Kind: Send, To: from, Msg: m})
				left -= int(wire.CastSize(m))
			}
		}
		if r.From < s.first || left <= 0 || r.To >= r.From+span-1 || left == had {
			c.fx = append(c.fx, Effect{Kind: Digest, To: from, Ranges: []Range{c.offer(s)}})
		}
	}
}

// Turn does what is due.
func (c *Core) Turn(now time.Time) {
	c.now = now
	c.ripen()
	c.ask()
	if !now.Before(c.roomAt) {
		c.roomAt = time.Time{} // who waits asks whether it is Ready
	}
	if !now.Before(c.digest) {
		c.planDigest()
		if len(c.order) == 0 || now.Sub(c.fresh) > quiet*c.cfg.Every {
			return
		}
		if l := c.cfg.Fleet.Linked(nil); len(l) > 0 {
			c.tell(l[c.cfg.Rand.IntN(len(l))], true)
		}
	}
}

// Deadline is when Turn has something to do; zero for never.
func (c *Core) Deadline() time.Time {
	d := c.digest
	if len(c.order) == 0 || c.now.Sub(c.fresh) > quiet*c.cfg.Every {
		d = time.Time{}
	}
	for _, w := range c.wants {
		if d.IsZero() || w.due.Before(d) {
			d = w.due
		}
	}
	if len(c.ripe) > 0 {
		d = c.now
	}
	if !c.roomAt.IsZero() && (d.IsZero() || c.roomAt.Before(d)) {
		d = c.roomAt
	}
	return d
}
