package bulk

import (
	"math/rand/v2"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Name is that of a transfer.
type Name = wire.BulkName

// Kind is that of an effect.
type Kind uint8

// Effects, in the order in which they are to be carried out.
const (
	Dial   Kind = iota // Peer, to be given something: Up or Down follows
	Hang               // the connection to Peer, which gives; no Down follows
	Ask                // Msg to Peer, which gives
	Tell               // Msg to Taker
	Give               // chunk Chunk of Name to Taker: Gave follows, or Left
	Expel              // Taker
	Whole              // Name is there
	Banned             // Peer gave a wrong chunk of Name
)

// Effect is what is to be done.
type Effect struct {
	Kind  Kind
	Peer  int
	Taker int
	Msg   wire.Msg
	Name  Name
	Chunk int
}

// View is who lives, as far as it matters here.
type View struct {
	Chain  bool  // few enough for one
	Before []int // those before this instance on ring 0, the nearest first; some are enough
	Links  []int // neighbours on the overlay
}

// Config is what a Core needs. The zero value of all but Self and Rand is what Defaults
// says.
type Config struct {
	Self    int
	Deep    int // chunks asked for and not come, in a chain
	Wide    int // the same for each neighbour in a swarm
	Writes  int // chunks given at a time, if none of them takes longer than Slow
	Slow    time.Duration
	Help    time.Duration // without a chunk, until one more is asked in a chain
	Late    time.Duration // for a chunk, until another is asked for it too, when none else is left
	Stall   time.Duration // without what was asked for, until a giver is given up
	Retry   time.Duration // until one that could not be dialled, or broke, is dialled again
	Ban     time.Duration // for a wrong chunk
	Idle    time.Duration // until a connection that nothing is asked on is closed
	Shy     time.Duration // that an origin waits to be asked, until it tells all of all
	Follows int           // transfers that one taker may follow
	Rand    *rand.Rand
}

// Defaults fills in what is zero.
func (c Config) Defaults() Config {
	number := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	span := func(v *time.Duration, otherwise time.Duration) {
		if *v == 0 {
			*v = otherwise
		}
	}
	number(&c.Deep, 64)
	number(&c.Wide, 4)
	number(&c.Writes, 2)
	number(&c.Follows, 64)
	span(&c.Slow, time.Second)
	span(&c.Help, 2*time.Second)
	span(&c.Late, 2*time.Second)
	span(&c.Stall, time.Minute) // for six of the largest chunks, at a megabit a second
	span(&c.Retry, 500*time.Millisecond)
	span(&c.Ban, time.Minute)
	span(&c.Idle, 30*time.Second)
	span(&c.Shy, 500*time.Millisecond) // more than two round trips anywhere
	return c
}

// tick is how often a Core that has something to do looks at its times.
const tick = 50 * time.Millisecond

// Core is not safe for concurrent use.
type Core struct {
	cfg       Config
	now       time.Time
	fx        []Effect
	view      View
	transfers []*transfer // the oldest first
	givers    []*giver
	takers    []*taker
	turn      int // the taker that is served next
	next      time.Time
}

// transfer is a payload, on its way or whole.
type transfer struct {
	name  Name
	count int // chunks
	left  int // of these, to come
	have  Bits
	asked Bits
	moved time.Time // when the newest chunk came
	reach int       // how many are asked in a chain

	origin int
	lent   Bits // told to one taker only, or given
	open   bool // told of to all; at first not, where it began
}

// giver is somebody this instance takes from, or would.
type giver struct {
	at      int
	up      bool
	dialing bool
	failed  bool      // when it was last dialled, or since
	shunned time.Time // not dialled before
	used    time.Time // when something was last asked of it
	moved   time.Time // when it last gave something that was asked for
	holds   map[*transfer]*holding
	wants   []want
}

// holding is what a giver is known to have of a transfer that is followed there.
type holding struct {
	bits  Bits
	knows bool // it has said something of it
}

// want is a chunk that was asked for.
type want struct {
	t     *transfer
	chunk int
	at    time.Time
	late  bool // another may be asked for it
}

// taker is somebody who takes from this instance.
type taker struct {
	id      int
	peer    int
	follows []*following
	queue   []order
	since   time.Time // when what it is being given began, zero for nothing
}

type order struct {
	name  Name
	chunk int
}

type following struct {
	name Name
	told Bits // of what it knows that it is here, or that it has
	lent Bits // of what only it knows
}

// New returns a Core that knows of nobody.
func New(now time.Time, cfg Config) *Core {
	return &Core{cfg: cfg.Defaults(), now: now}
}

// Effects are what is to be done since they were taken last.
func (c *Core) Effects() []Effect {
	fx := c.fx
	c.fx = nil
	return fx
}

// Deadline is when Turn is to be called, zero for not at all.
func (c *Core) Deadline() time.Time { return c.next }

// See takes the view.
func (c *Core) See(now time.Time, v View) {
	c.now, c.view = now, v
	c.pull()
}

// Add begins a transfer of count chunks, of which have are here. It began at origin.
func (c *Core) Add(now time.Time, name Name, count int, have Bits, origin int) {
	c.now = now
	if c.find(name) != nil {
		return
	}
	t := &transfer{
		name: name, count: count, have: have, left: count - have.Count(), moved: now, reach: 1,
		origin: origin, open: origin != c.cfg.Self,
	}
	c.transfers = append(c.transfers, t)
	for _, k := range c.takers {
		if f := k.following(name); f != nil {
			c.tell(t, k, f)
		}
	}
	c.pull()
}

// Remove forgets a transfer: what it has is not here any more.
func (c *Core) Remove(now time.Time, name Name) {
	c.now = now
	t := c.find(name)
	if t == nil {
		return
	}
	c.transfers = slices.DeleteFunc(c.transfers, func(o *transfer) bool { return o == t })
	for _, g := range c.givers {
		delete(g.holds, t)
		g.wants = slices.DeleteFunc(g.wants, func(w want) bool { return w.t == t })
	}
	for _, k := range c.takers {
		k.queue = slices.DeleteFunc(k.queue, func(o order) bool { return o.name == name })
		if f := k.following(name); f != nil {
			*f = following{name: name}
			c.fx = append(c.fx, Effect{Kind: Tell, Taker: k.id, Msg: &wire.Gone{Name: name}})
		}
	}
	c.pull()
}

func (c *Core) find(name Name) *transfer {
	for _, t := range c.transfers {
		if t.name == name {
			return t
		}
	}
	return nil
}

// Progress is how far a transfer is, whom it is taken from, and how many take it.
func (c *Core) Progress(name Name) (have Bits, from []int, takers int, ok bool) {
	t := c.find(name)
	if t == nil {
		return Bits{}, nil, 0, false
	}
	for _, g := range c.givers {
		if t.left > 0 && slices.ContainsFunc(g.wants, func(w want) bool { return w.t == t }) {
			from = append(from, g.at)
		}
	}
	for _, k := range c.takers {
		if k.following(name) != nil {
			takers++
		}
	}
	slices.Sort(from)
	return t.have, from, takers, true
}

// Turn does what has become due.
func (c *Core) Turn(now time.Time) {
	if c.now = now; c.next.IsZero() || now.Before(c.next) {
		return
	}
	c.next = time.Time{}
	for _, g := range c.givers {
		switch {
		case g.up && len(g.wants) > 0 && now.Sub(g.moved) > c.cfg.Stall:
			c.hang(g, c.cfg.Retry)
		case g.up && len(g.wants) == 0 && now.Sub(g.used) > c.cfg.Idle:
			c.hang(g, 0)
		}
	}
	for _, t := range c.transfers {
		if t.left > 0 && now.Sub(t.moved) > time.Duration(t.reach)*c.cfg.Help {
			t.reach++
			c.doubt(t, func(*giver, want) bool { return true })
		}
		if !t.open && now.Sub(t.moved) > c.cfg.Shy && c.followed(t) {
			c.openUp(t)
		}
	}
	c.hurry()
	c.pull()
	c.serve()
}

// hang ends the connection to a giver, which is not dialled again for a while.
func (c *Core) hang(g *giver, shun time.Duration) {
	c.fx = append(c.fx, Effect{Kind: Hang, Peer: g.at})
	c.lose(g, shun)
}

func (c *Core) lose(g *giver, shun time.Duration) {
	g.up, g.dialing, g.shunned = false, false, c.now.Add(shun)
	g.holds = nil
	c.unask(g, func(want) bool { return true })
}

// wake sees to it that Turn is called.
func (c *Core) wake() {
	if c.next.IsZero() {
		c.next = c.now.Add(tick)
	}
}
