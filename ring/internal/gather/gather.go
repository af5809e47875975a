package gather

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Kind says what is to be done.
type Kind uint8

// Effects, in the order in which they are to be carried out.
const (
	Send   Kind = iota // Part to the neighbour To
	Answer             // the question Msg is put to this instance: Answered follows
	Fold               // Values, of the question Msg, are to be made one: Folded follows
	Repeat             // Msg is to be broadcast again, with Question
	Result             // what came of a question of ours
)

// Effect is what is to be done.
type Effect struct {
	Kind     Kind
	To       int
	Part     *wire.Part
	Msg      *wire.Cast
	Question *wire.Question
	Values   [][]byte
	Result   Outcome
}

// Outcome is what came of a question.
type Outcome struct {
	ID       wire.CastID // of the first time that it was asked
	Answered Set         // whoever has said something, or has a message with a receipt
	Failed   Set         // who was asked and has nothing to say
	Pieces   []Piece     // what they said
}

// Piece is what some have said, made one.
type Piece struct {
	Who   Set
	Value []byte
}

// Fleet is what a Core knows of the others.
type Fleet interface {
	Linked(dst []int) []int  // neighbours to whom something can be sent now, sorted
	Alive(i int) bool        // in the present view
	Tree(origin int) []int32 // overlay.Live.Tree of the present view
}

const (
	// openMax is how many questions are open at once, and keep how many bytes of answers
	// are kept for them in all: what is beyond that, nobody says.
	openMax = 1024
	keep    = 16 << 20
	// pause is how long the origin waits before those who are missing are asked again;
	// before each time after that it is twice as long, unless the view is another.
	pause = 50 * time.Millisecond
	// early is how long what others say to a question waits for the question.
	early = 2 * time.Second
	// retry is the pause after which somebody to send to is looked for again.
	retry = 100 * time.Millisecond
)

// Core is not safe for concurrent use.
type Core struct {
	self, n int
	fleet   Fleet
	now     time.Time
	fx      []Effect
	open    []*round // the oldest first
	own     []*own   // the oldest first
	bytes   int      // of answers that are kept
}

// own is what this instance says to a question, however often it is asked.
type own struct {
	first wire.CastID
	until time.Time
	in    bool // it has said something
	ok    bool
	value []byte
}

// round is one time that a question is asked.
type round struct {
	id       wire.CastID
	msg      *wire.Cast // nil while only what others say to it has come
	until    time.Time  // when all is over
	limit    time.Time  // when what there is goes up, whoever is missing
	parent   int
	depth    []int16 // of each in the tree, -1 for whom it does not reach
	await    []int   // children that have more to say
	over     []int   // neighbours that have not
	mine     bool    // our own answer is to come
	answered Set     // of parts, and of what went up
	failed   Set     // the same
	fresh    Set     // of failed: what has not gone up
	parts    []Piece // that have not gone up
	folding  int     // how many of parts are being made one
	up       bool    // what there was went up: what comes goes on as it comes
	done     bool    // it was said that nothing more comes
	asked    int     // how often, with this time; at the origin
	waits    bool    // for the next time
}

// New returns the core of instance self of n.
func New(self, n int, fleet Fleet) *Core { return &Core{self: self, n: n, fleet: fleet} }

// Grow makes room for n instances.
func (c *Core) Grow(n int) {
	c.n = n
	for _, r := range c.open {
		r.answered, r.failed, r.fresh = r.answered.grown(n), r.failed.grown(n), r.fresh.grown(n)
		for i := range r.parts {
			r.parts[i].Who = r.parts[i].Who.grown(n)
		}
		for r.depth != nil && len(r.depth) < n {
			r.depth = append(r.depth, -1)
		}
	}
}

// Effects are what is to be done since they were taken last.
func (c *Core) Effects() []Effect {
	fx := c.fx
	c.fx = nil
	return fx
}

// Busy reports whether no question more can be asked.
func (c *Core) Busy() bool { return len(c.open) >= openMax }

// Asked takes a question that was delivered here; m.Question is not nil.
func (c *Core) Asked(now time.Time, m *wire.Cast) {
	c.now = now
	only := Set(m.Question.Only)
	if m.Question.First > m.Seq || !only.fits(c.n) {
		return
	}
	r := c.round(m.CastID)
	if r == nil || r.msg != nil {
		return
	}
	wait := time.Duration(m.Question.WaitMS) * time.Millisecond
	r.msg = m
	if r.asked == 1 { // asked again it is over when it was to be, to the nanosecond
		r.until = now.Add(wait)
	}
	c.place(r, true)
	layers := slices.Max(r.depth) + 2
	r.limit = now.Add(wait * time.Duration(layers-1-max(r.depth[c.self], 0)) / time.Duration(layers))
	r.up = m.Question.How == wire.AskEach && !c.ours(r)
	if len(only) == 0 || only.Has(c.self) {
		c.putToSelf(r)
	}
	c.advance(r)
}

func (c *Core) ours(r *round) bool { return int(r.id.Origin) == c.self }

// round is the one of that name, a new one if it is not known; nil if there is no room.
func (c *Core) round(id wire.CastID) *round {
	for _, r := range c.open {
		if r.id == id {
			return r
		}
	}
	if len(c.open) >= openMax {
		return nil
	}
	r := &round{
		id: id, until: c.now.Add(2 * early), limit: c.now.Add(early), parent: -1,
		answered: NewSet(c.n), failed: NewSet(c.n), fresh: NewSet(c.n), asked: 1,
	}
	c.open = append(c.open, r)
	return r
}

// place finds where this instance is in the tree of the present view, and whom it waits
// for: children, and of those it waited for already who still is one.
func (c *Core) place(r *round, anew bool) {
	tree, origin := c.fleet.Tree(int(r.id.Origin)), int32(r.id.Origin)
	r.parent = int(tree[c.self])
	r.depth = make([]int16, c.n)
	for i := range tree {
		r.depth[i] = -1
	}
	r.depth[origin] = 0
	var way []int32
	for i := range tree {
		way = way[:0]
		at := int32(i)
		for at >= 0 && r.depth[at] < 0 {
			way = append(way, at)
			at = tree[at]
		}
		for k := len(way) - 1; k >= 0 && at >= 0; k-- {
			r.depth[way[k]] = r.depth[at] + 1
			at = way[k]
		}
	}
	was := r.await
	r.await = nil
	for _, i := range c.fleet.Linked(nil) {
		if int(tree[i]) == c.self && !slices.Contains(r.over, i) && (anew || slices.Contains(was, i)) {
			r.await = append(r.await, i)
		}
	}
}

// putToSelf has this instance answer, or say again what it said before.
func (c *Core) putToSelf(r *round) {
	first := r.first()
	receipt := r.msg.Question.How == wire.AskReceipt
	r.mine = true
	at := slices.IndexFunc(c.own, func(o *own) bool { return o.first == first })
	if at < 0 && len(c.own) >= openMax {
		c.fail(r, c.alone())
		r.mine = false
		return
	}
	if at < 0 {
		// What is asked for again may not have been among what came here.
		o := &own{first: first, until: r.until, in: receipt, ok: first == r.id}
		c.own = append(c.own, o)
		at = len(c.own) - 1
		if !receipt {
			c.fx = append(c.fx, Effect{Kind: Answer, Msg: r.msg})
		}
	}
	if o := c.own[at]; o.in {
		c.say(r, o)
	}
}

// first names the question of r, however often it is asked.
func (r *round) first() wire.CastID {
	return wire.CastID{Origin: r.id.Origin, Life: r.id.Life, Seq: r.msg.Question.First}
}

func (c *Core) alone() Set {
	s := NewSet(c.n)
	s.Add(c.self)
	return s
}

// Answered takes what this instance says to an Answer; without ok that is nothing.
func (c *Core) Answered(now time.Time, m *wire.Cast, value []byte, ok bool) {
	c.now = now
	first := wire.CastID{Origin: m.Origin, Life: m.Life, Seq: m.Question.First}
	for _, o := range c.own {
		if o.first != first || o.in {
			continue
		}
		o.in, o.ok, o.value = true, ok, value
		c.bytes += len(value)
		for _, r := range slices.Clone(c.open) {
			if r.mine && r.first() == first {
				c.say(r, o)
				c.advance(r)
			}
		}
	}
}

func (c *Core) say(r *round, o *own) {
	r.mine = false
	if o.ok {
		c.accept(r, Piece{c.alone(), o.value})
		return
	}
	c.fail(r, c.alone())
}

// Part takes what a neighbour says.
func (c *Core) Part(now time.Time, from int, p *wire.Part) {
	c.now = now
	who, failed := Set(p.Answered), Set(p.Failed)
	if int64(p.Origin) >= int64(c.n) || !who.fits(c.n) || !failed.fits(c.n) {
		return
	}
	if int(p.Origin) == c.self && !slices.ContainsFunc(c.open, func(r *round) bool { return r.id == p.CastID }) {
		return // it is over
	}
	r := c.round(p.CastID)
	if r == nil {
		return
	}
	if who.Len() > 0 && !who.meets(r.answered) {
		c.accept(r, Piece{who, p.Value})
	}
	c.fail(r, failed)
	if p.Done && !slices.Contains(r.over, from) {
		r.over = append(r.over, from)
		r.await = slices.DeleteFunc(r.await, func(i int) bool { return i == from })
	}
	c.advance(r)
}

// accept takes a piece of which nothing is in yet.
func (c *Core) accept(r *round, p Piece) {
	if c.bytes+len(p.Value) > keep {
		c.fail(r, p.Who)
		return
	}
	c.bytes += len(p.Value)
	r.answered.join(p.Who)
	r.parts = append(r.parts, p)
}

// fail notes who has nothing to say.
func (c *Core) fail(r *round, who Set) {
	for i, w := range who {
		r.fresh[i] |= w &^ (r.answered[i] | r.failed[i])
		r.failed[i] |= w &^ r.answered[i]
	}
}

// advance sends up what there is, or ends the question, if it is time.
func (c *Core) advance(r *round) {
	complete := r.msg != nil && !r.mine && len(r.await) == 0
	switch {
	case r.folding > 0:
	case c.ours(r):
		c.finish(r, complete)
	case !complete && !r.up && c.now.Before(r.limit):
	case !r.up && r.msg != nil && r.msg.Question.How == wire.AskFold && len(r.parts) > 1:
		r.folding = len(r.parts)
		fx := Effect{Kind: Fold, Msg: r.msg}
		for _, p := range r.parts {
			fx.Values = append(fx.Values, p.Value)
		}
		c.fx = append(c.fx, fx)
	default:
		c.sendUp(r, complete)
	}
}

// Folded takes the one value that came of a Fold; without ok nothing did, and the
// values go up as they are.
func (c *Core) Folded(now time.Time, m *wire.Cast, value []byte, ok bool) {
	c.now = now
	for _, r := range slices.Clone(c.open) {
		if r.msg != m || r.folding == 0 {
			continue
		}
		n := r.folding
		r.folding, r.up = 0, true
		if ok {
			one := Piece{NewSet(c.n), value}
			for _, p := range r.parts[:n] {
				one.Who.join(p.Who)
				c.bytes -= len(p.Value)
			}
			c.bytes += len(value)
			r.parts = append([]Piece{one}, r.parts[n:]...)
		}
		c.advance(r)
	}
}

// sendUp sends on what has not gone up.
func (c *Core) sendUp(r *round, complete bool) {
	to := c.above(r)
	if to < 0 {
		r.limit = c.now.Add(retry)
		return
	}
	r.up = true
	if r.msg != nil && r.msg.Question.How == wire.AskReceipt {
		r.joinParts(c.n)
	}
	var out []*wire.Part
	for _, p := range r.parts {
		out = append(out, &wire.Part{CastID: r.id, Answered: p.Who, Value: p.Value})
		c.bytes -= len(p.Value)
	}
	if r.fresh.Len() > 0 || complete && !r.done && len(out) == 0 {
		out = append(out, &wire.Part{CastID: r.id, Failed: r.fresh})
	}
	for i, p := range out {
		p.Done = complete && i == len(out)-1
		c.fx = append(c.fx, Effect{Kind: Send, To: to, Part: p})
	}
	r.parts, r.fresh, r.done = nil, NewSet(c.n), r.done || complete
}

// joinParts makes one of what has no value.
func (r *round) joinParts(n int) {
	if len(r.parts) < 2 {
		return
	}
	one := Piece{Who: NewSet(n)}
	for _, p := range r.parts {
		one.Who.join(p.Who)
	}
	r.parts = []Piece{one}
}

// above is the parent, or who else is linked and nearer to the origin; -1 for nobody.
func (c *Core) above(r *round) int {
	if r.depth == nil {
		c.place(r, false)
	}
	linked := c.fleet.Linked(nil)
	if slices.Contains(linked, r.parent) {
		return r.parent
	}
	best := -1
	for _, i := range linked {
		d, mine := r.depth[i], r.depth[c.self]
		if d >= 0 && (mine < 0 || d < mine) && (best < 0 || d < r.depth[best]) {
			best = i
		}
	}
	return best
}

// finish ends a question of ours when all that live have answered, or when its time is
// over. Those who are missing when nobody has more to say are asked again.
func (c *Core) finish(r *round, complete bool) {
	missing, any := NewSet(c.n), false
	for i := range c.n {
		if c.fleet.Alive(i) && !r.answered.Has(i) && !r.failed.Has(i) {
			missing.Add(i)
			any = true
		}
	}
	over := !c.now.Before(r.until)
	switch {
	case any && !over && !complete:
		r.limit = r.until
	case any && !over && !r.waits:
		r.waits, r.limit = true, c.now.Add(pause<<min(r.asked-1, 16))
	case any && !over && c.now.Before(r.limit):
	case any && !over:
		c.repeat(r, missing)
	default:
		c.close(r)
		c.fx = append(c.fx, Effect{Kind: Result, Result: Outcome{
			ID: r.first(), Answered: r.answered, Failed: r.failed, Pieces: r.parts,
		}})
	}
}

// repeat asks those who are missing again.
func (c *Core) repeat(r *round, missing Set) {
	left := max(r.until.Sub(c.now).Milliseconds(), 1)
	c.fx = append(c.fx, Effect{Kind: Repeat, Msg: r.msg, Question: &wire.Question{
		How: r.msg.Question.How, First: r.msg.Question.First, WaitMS: uint32(left), Only: missing,
	}})
	r.waits, r.limit = false, r.until
	r.asked++
}

// Again tells under which name a Repeat is asked, before it is delivered here.
func (c *Core) Again(was, id wire.CastID) {
	for _, r := range c.open {
		if r.id == was {
			r.id, r.msg = id, nil
			r.over, r.await = nil, nil
		}
	}
}

// close forgets a round, and that it was to be asked again.
func (c *Core) close(r *round) {
	c.fx = slices.DeleteFunc(c.fx, func(fx Effect) bool {
		return fx.Kind == Repeat && fx.Msg.CastID == r.id
	})
	for _, p := range r.parts {
		c.bytes -= len(p.Value)
	}
	c.open = slices.DeleteFunc(c.open, func(o *round) bool { return o == r })
}

// Changed tells that the view or the links are others.
func (c *Core) Changed(now time.Time) {
	c.now = now
	if len(c.open) == 0 {
		return
	}
	for _, r := range slices.Clone(c.open) {
		if r.msg == nil || r.done && len(r.parts) == 0 {
			continue
		}
		c.place(r, false)
		if soon := now.Add(pause); r.waits && soon.Before(r.limit) {
			r.limit = soon
		}
		c.advance(r)
	}
}

// Turn does what is due.
func (c *Core) Turn(now time.Time) {
	c.now = now
	for _, r := range slices.Clone(c.open) {
		switch {
		case !now.Before(r.until) && !(c.ours(r) && r.msg != nil):
			c.close(r)
		case !now.Before(c.due(r)):
			c.advance(r)
		}
	}
	c.own = slices.DeleteFunc(c.own, func(o *own) bool {
		if now.Before(o.until) {
			return false
		}
		c.bytes -= len(o.value)
		return true
	})
}

// due is when advance may have something to do.
func (c *Core) due(r *round) time.Time {
	if r.folding == 0 && (!r.up || len(r.parts) > 0) && r.limit.Before(r.until) {
		return r.limit
	}
	return r.until
}

// Deadline is when Turn has something to do; zero for never.
func (c *Core) Deadline() time.Time {
	var d time.Time
	for _, r := range c.open {
		if at := c.due(r); d.IsZero() || at.Before(d) {
			d = at
		}
	}
	for _, o := range c.own {
		if d.IsZero() || o.until.Before(d) {
			d = o.until
		}
	}
	return d
}
