package bulk

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Up tells that the connection to a giver stands.
func (c *Core) Up(now time.Time, peer int) {
	c.now = now
	g := c.giver(peer)
	if g.up { // another takes its place
		c.lose(g, 0)
	}
	g.up, g.dialing, g.failed, g.used, g.moved = true, false, false, now, now
	g.holds = map[*transfer]*holding{}
	c.pull()
}

// Down tells that a giver could not be dialled, or that the connection to it is gone.
func (c *Core) Down(now time.Time, peer int) {
	c.now = now
	if g := c.giver(peer); g.up || g.dialing {
		c.lose(g, c.cfg.Retry)
		g.failed = true
	}
	c.pull()
}

func (c *Core) giver(peer int) *giver {
	for _, g := range c.givers {
		if g.at == peer {
			return g
		}
	}
	g := &giver{at: peer}
	c.givers = append(c.givers, g)
	return g
}

// pull follows all that is not whole at all who are to give it, and asks.
func (c *Core) pull() {
	waiting := false
	for _, t := range c.transfers {
		if t.left > 0 {
			waiting = true
			from := c.sources(t)
			c.doubt(t, func(g *giver, w want) bool {
				return !slices.Contains(from, g.at) &&
					(!g.holds[t].bits.Has(w.chunk) || !c.sees(g.at)) // it comes, or not
			})
			for _, at := range from {
				c.takeFrom(t, c.giver(at))
			}
		}
		waiting = waiting || !t.open && c.followed(t)
	}
	c.givers = slices.DeleteFunc(c.givers, func(g *giver) bool {
		return !g.up && !g.dialing && !g.failed && !c.now.Before(g.shunned)
	})
	if waiting || slices.ContainsFunc(c.givers, func(g *giver) bool { return g.up }) {
		c.wake()
	}
}

// sees reports whether a peer lives, as far as this instance needs to know.
func (c *Core) sees(peer int) bool {
	return slices.Contains(c.view.Before, peer) || slices.Contains(c.view.Links, peer)
}

// sources are those that t is to be taken from now.
func (c *Core) sources(t *transfer) (from []int) {
	if !c.view.Chain {
		return c.view.Links
	}
	left := t.reach
	for _, at := range c.view.Before {
		if left == 0 {
			break
		}
		switch g := c.giver(at); {
		case g.up, !g.failed && (g.dialing || !c.now.Before(g.shunned)):
			from = append(from, at)
			left--
		case !c.now.Before(g.shunned): // it is tried again, beside the next
			from = append(from, at)
		}
		if at == t.origin { // behind it they take from this instance
			break
		}
	}
	return from
}

func (c *Core) takeFrom(t *transfer, g *giver) {
	switch {
	case g.up:
		if g.holds[t] == nil {
			g.holds[t] = new(holding)
			g.used = c.now
			c.fx = append(c.fx, Effect{
				Kind: Ask, Peer: g.at, Msg: &wire.Follow{Name: t.name, Bits: t.have.bytes()},
			})
		}
		c.ask(t, g)
	case !g.dialing && !c.now.Before(g.shunned):
		g.dialing = true
		c.fx = append(c.fx, Effect{Kind: Dial, Peer: g.at})
	}
}

// ask asks a giver for as much of t as may be on its way.
func (c *Core) ask(t *transfer, g *giver) {
	holds, room := g.holds[t], c.room(g)
	if holds == nil || room <= 0 || t.left == 0 || !slices.Contains(c.sources(t), g.at) {
		return
	}
	from := holds.bits
	if c.view.Chain && holds.knows {
		from = All(t.count) // what is not there yet will be: that saves two ways
	}
	lacks := from.without(&t.have).without(&t.asked)
	for _, w := range g.wants {
		if w.t == t {
			lacks.remove(w.chunk) // it was given up, and is to come after all
		}
	}
	m := &wire.Fetch{Name: t.name}
	for len(m.Chunks) < min(room, wire.FetchMax) {
		i, ok := lacks.any(c.cfg.Rand)
		if c.view.Chain {
			i, ok = lacks.least()
		}
		if !ok {
			break
		}
		lacks.remove(i)
		t.asked.Add(i)
		g.wants = append(g.wants, want{t: t, chunk: i, at: c.now})
		m.Chunks = append(m.Chunks, uint32(i))
	}
	if len(m.Chunks) > 0 {
		if len(g.wants) == len(m.Chunks) {
			g.moved = c.now // it owed nothing
		}
		g.used = c.now
		c.fx = append(c.fx, Effect{Kind: Ask, Peer: g.at, Msg: m})
	}
}

func (c *Core) room(g *giver) int {
	if c.view.Chain {
		return c.cfg.Deep - len(g.wants)
	}
	return c.cfg.Wide - len(g.wants)
}

// Received takes what a giver says. It returns false for what none says.
func (c *Core) Received(now time.Time, peer int, m wire.Msg) bool {
	c.now = now
	g := c.giver(peer)
	if !g.up {
		return true // it was given up meanwhile
	}
	switch m := m.(type) {
	case *wire.Holds:
		if t := c.find(m.Name); t != nil && g.holds[t] != nil {
			more := bitsAt(int(m.First), m.Bits, t.count)
			g.holds[t].bits.join(&more)
			g.holds[t].knows = true
			c.ask(t, g)
		}
	case *wire.Gone:
		if t := c.find(m.Name); t != nil && g.holds[t] != nil {
			*g.holds[t] = holding{}
			c.unask(g, func(w want) bool { return w.t == t })
			c.pull()
		}
	default:
		return false
	}
	return true
}

// unask takes back what was asked of a giver.
func (c *Core) unask(g *giver, which func(want) bool) {
	g.wants = slices.DeleteFunc(g.wants, func(w want) bool {
		if !which(w) {
			return false
		}
		if !w.late { // else it may be asked of another
			w.t.asked.remove(w.chunk)
		}
		return true
	})
}

// Expects reports whether a chunk that a giver announces was asked for, and whether it
// is still of use.
func (c *Core) Expects(peer int, name Name, chunk int) (asked, useful bool) {
	g, t := c.giver(peer), c.find(name)
	if t == nil {
		return true, false // it was, perhaps
	}
	asked = slices.ContainsFunc(g.wants, func(w want) bool { return w.t == t && w.chunk == chunk })
	return asked, asked && !t.have.Has(chunk)
}

// Got takes a chunk that came, and is kept if it is sound. Of one that was not useful
// sound is true.
func (c *Core) Got(now time.Time, peer int, name Name, chunk int, sound bool) {
	c.now = now
	g, t := c.giver(peer), c.find(name)
	if !sound {
		c.fx = append(c.fx, Effect{Kind: Banned, Peer: peer, Name: name})
		if g.up {
			c.hang(g, c.cfg.Ban)
		}
		g.shunned = now.Add(c.cfg.Ban)
		c.pull()
		return
	}
	g.moved = now
	if t == nil {
		return
	}
	g.wants = slices.DeleteFunc(g.wants, func(w want) bool { return w.t == t && w.chunk == chunk })
	if t.have.Has(chunk) {
		c.ask(t, g)
		return
	}
	t.have.Add(chunk)
	t.asked.remove(chunk)
	t.left--
	t.moved = now
	c.announce(t, chunk)
	c.serve()
	if t.left > 0 {
		c.ask(t, g)
		return
	}
	c.fx = append(c.fx, Effect{Kind: Whole, Name: name})
	c.pull() // there is room for another
}

// hurry lets the last chunks of a transfer be asked of others too, where they are late.
func (c *Core) hurry() {
	for _, g := range c.givers {
		for i := range g.wants {
			w := &g.wants[i]
			if !w.late && c.now.Sub(w.at) > c.cfg.Late && w.t.left == w.t.asked.Count() {
				w.late = true
				w.t.asked.remove(w.chunk)
				g.holds[w.t].bits.remove(w.chunk) // not of it again
			}
		}
	}
}

// doubt lets what was asked for of a transfer be asked of others too.
func (c *Core) doubt(t *transfer, which func(*giver, want) bool) {
	for _, g := range c.givers {
		for i := range g.wants {
			if w := &g.wants[i]; w.t == t && !w.late && which(g, *w) {
				w.late = true
				t.asked.remove(w.chunk)
			}
		}
	}
}

// Quiet reports since when nothing has come of a transfer that is not whole.
func (c *Core) Quiet(name Name) (since time.Time, running bool) {
	if t := c.find(name); t != nil && t.left > 0 {
		return t.moved, true
	}
	return time.Time{}, false
}
