package bulk

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Joined tells of a taker; id is that of its connection, and of no other before.
func (c *Core) Joined(id, peer int) {
	c.takers = append(c.takers, &taker{id: id, peer: peer})
}

// Left tells that a taker is gone.
func (c *Core) Left(now time.Time, id int) {
	c.now = now
	at := slices.IndexFunc(c.takers, func(k *taker) bool { return k.id == id })
	if at < 0 {
		return
	}
	k := c.takers[at]
	c.takers = slices.Delete(c.takers, at, at+1)
	for _, f := range k.follows {
		if t := c.find(f.name); t != nil && !t.open {
			t.lent = t.lent.without(&f.lent) // others are told of them now
			for _, o := range c.takers {
				if of := o.following(f.name); of != nil {
					c.lend(t, o, of)
				}
			}
		}
	}
	c.serve()
}

func (k *taker) following(name Name) *following {
	for _, f := range k.follows {
		if f.name == name {
			return f
		}
	}
	return nil
}

// Hear takes what a taker says. It returns false for what none says.
func (c *Core) Hear(now time.Time, id int, m wire.Msg) bool {
	c.now = now
	at := slices.IndexFunc(c.takers, func(k *taker) bool { return k.id == id })
	if at < 0 {
		return true
	}
	k := c.takers[at]
	switch m := m.(type) {
	case *wire.Follow:
		return c.follow(k, m)
	case *wire.Fetch:
		return c.fetch(k, m)
	}
	return false
}

func (c *Core) followed(t *transfer) bool {
	return slices.ContainsFunc(c.takers, func(k *taker) bool { return k.following(t.name) != nil })
}

func (c *Core) follow(k *taker, m *wire.Follow) bool {
	f := k.following(m.Name)
	if f == nil {
		if len(k.follows) >= c.cfg.Follows {
			k.follows = slices.Delete(k.follows, 0, 1) // it goes by the newest
		}
		f = &following{name: m.Name}
		k.follows = append(k.follows, f)
	}
	f.told = bitsAt(0, m.Bits, wire.BulkChunks)
	if t := c.find(m.Name); t != nil {
		c.tell(t, k, f)
	}
	return true
}

// tell tells a taker of all that is here and that it is to know of.
func (c *Core) tell(t *transfer, k *taker, f *following) {
	if c.view.Chain {
		t.open = true
	}
	if !t.open {
		t.lent.join(&f.told)
		t.moved = c.now
		c.lend(t, k, f)
		c.wake()
		return
	}
	news := t.have.without(&f.told)
	f.told.join(&news)
	c.fx = append(c.fx, Effect{
		Kind: Tell, Taker: k.id, Msg: &wire.Holds{Name: t.name, Bits: news.bytes()},
	})
}

// announce tells all who follow t of a chunk, but those who have it by their own word,
// or have asked for it already.
func (c *Core) announce(t *transfer, chunk int) {
	var m *wire.Holds
	for _, k := range c.takers {
		f := k.following(t.name)
		if f == nil || f.told.Has(chunk) {
			continue
		}
		f.told.Add(chunk)
		if c.hasItself(k.peer, t, chunk) || slices.Contains(k.queue, order{t.name, chunk}) {
			continue
		}
		if m == nil {
			m = &wire.Holds{
				Name: t.name, First: uint32(chunk) &^ 7, Bits: []byte{1 << (chunk & 7)},
			}
		}
		c.fx = append(c.fx, Effect{Kind: Tell, Taker: k.id, Msg: m})
	}
}

func (c *Core) hasItself(peer int, t *transfer, chunk int) bool {
	for _, g := range c.givers {
		if g.at == peer {
			return g.holds[t] != nil && g.holds[t].bits.Has(chunk)
		}
	}
	return false
}

// lend tells a taker of chunks that nobody else is told of, so many that it always has
// some to ask for; when there are none left, everybody is told of all.
func (c *Core) lend(t *transfer, k *taker, f *following) {
	fresh := t.have.without(&t.lent)
	var news Bits
	for n := f.lent.Count(); n < 2*c.cfg.Wide; n++ {
		i, ok := fresh.least()
		if !ok {
			c.openUp(t)
			return
		}
		fresh.remove(i)
		news.Add(i)
		t.lent.Add(i)
		f.lent.Add(i)
		f.told.Add(i)
	}
	if b := news.bytes(); b != nil {
		c.fx = append(c.fx, Effect{Kind: Tell, Taker: k.id, Msg: &wire.Holds{Name: t.name, Bits: b}})
	}
}

func (c *Core) openUp(t *transfer) {
	t.open = true
	for _, k := range c.takers {
		if f := k.following(t.name); f != nil {
			f.told = f.told.without(&f.lent) // what was to be told and was not
			f.lent = Bits{}
			c.tell(t, k, f)
		}
	}
}

// fetch takes what a taker asks for. What is not here yet is given when it comes.
func (c *Core) fetch(k *taker, m *wire.Fetch) bool {
	t := c.find(m.Name)
	if t == nil {
		c.fx = append(c.fx, Effect{Kind: Tell, Taker: k.id, Msg: &wire.Gone{Name: m.Name}})
		return true
	}
	if len(k.queue)+len(m.Chunks) > 2*wire.FetchMax {
		return false
	}
	for _, i := range m.Chunks {
		if int(i) >= t.count {
			return false
		}
		k.queue = append(k.queue, order{t.name, int(i)})
	}
	if t.origin == c.cfg.Self {
		t.moved = c.now
	}
	c.serve()
	return true
}

// Gave tells that a chunk has been given: the taker's connection has room.
func (c *Core) Gave(now time.Time, id int) {
	c.now = now
	for _, k := range c.takers {
		if k.id == id {
			k.since = time.Time{}
		}
	}
	c.serve()
}

// serve gives to one taker after the other, a chunk at a time. Few are given at once, so
// that each is there soon and can be handed on, but one that is slow keeps none waiting.
func (c *Core) serve() {
	busy := 0
	for _, k := range c.takers {
		if !k.since.IsZero() {
			if c.now.Sub(k.since) < c.cfg.Slow {
				busy++
			}
			c.wake()
		}
	}
	for range c.takers {
		if busy >= c.cfg.Writes {
			return
		}
		c.turn = (c.turn + 1) % len(c.takers)
		if k := c.takers[c.turn]; k.since.IsZero() && c.give(k) {
			busy++
		}
	}
}

// give gives a taker the first of what it waits for that is here.
func (c *Core) give(k *taker) bool {
	at := slices.IndexFunc(k.queue, func(o order) bool {
		t := c.find(o.name)
		return t.have.Has(o.chunk)
	})
	if at < 0 {
		return false
	}
	o := k.queue[at]
	k.queue = slices.Delete(k.queue, at, at+1)
	k.since = c.now
	c.fx = append(c.fx, Effect{Kind: Give, Taker: k.id, Name: o.name, Chunk: o.chunk})
	t := c.find(o.name)
	if t.open {
		return true
	}
	t.moved = c.now
	f := k.following(o.name)
	if f != nil && f.lent.Has(o.chunk) {
		f.lent.remove(o.chunk)
		c.lend(t, k, f)
	}
	return true
}
