package spread

import (
	"slices"
	"time"
)

// What two neighbours that compare tell each other, and what follows from it: what one
// lacks is asked for, and what nobody has is given up.

// quiet is for how many digests after the last message there still are some: what does
// not come is given up when a digest says so, see trust.
const quiet = 2 * trust

// Up tells that a link to i stands, new or again: it is told of everything. Who has
// nothing to tell hears from the other side.
func (c *Core) Up(now time.Time, i int) {
	c.now = now
	c.tellAll(i, true)
}

// Begin asks all neighbours for what they have: what they told before was for nobody.
func (c *Core) Begin(now time.Time) {
	c.now = now
	for _, i := range c.cfg.Fleet.Linked(nil) {
		c.fx = append(c.fx, Effect{Kind: Digest, To: i, Ask: true})
	}
}

func (c *Core) tellAll(to int, ask bool) {
	for told := 0; told < len(c.order); {
		told += c.tell(to, ask)
	}
}

// Down tells that the last link to i is gone.
func (c *Core) Down(i int) {
	delete(c.behind, i)
	for k := range c.wants { // who comes back may be another process, which has nothing
		w := &c.wants[k]
		if at := slices.Index(w.from, i); at >= 0 {
			w.from = slices.Delete(w.from, at, at+1)
			if at < w.asked {
				w.asked--
			}
		}
	}
}

// Room tells that the link to i has room again.
func (c *Core) Room(now time.Time, i int) {
	if c.now = now; c.behind[i] {
		delete(c.behind, i)
		c.tellAll(i, true)
	}
}

// tell sends a digest of what is kept, and returns of how many streams.
func (c *Core) tell(to int, ask bool) (told int) {
	var ranges []Range
	for ; told < len(c.order); told++ {
		next := (c.turn + 1) % len(c.order)
		s := c.streams[c.order[next]]
		if len(ranges)+len(s.past)+1 > digestMax {
			break
		}
		c.turn = next
		ranges = append(append(ranges, s.past...), c.offer(s))
	}
	c.fx = append(c.fx, Effect{Kind: Digest, To: to, Ranges: ranges, Ask: ask})
	return told
}

// Compare takes a neighbour's digest, and answers one that asks.
func (c *Core) Compare(now time.Time, from int, ranges []Range, ask bool) {
	c.now = now
	if !c.cfg.Fleet.Clear(from) { // it is told of all at once when it has caught up
		c.behind[from], ask = true, false
	}
	var more []Range
	for k, r := range ranges {
		s := c.stream(r.Origin, r.Life)
		if s == nil {
			s = c.streams[r.Origin]
		}
		if s.life == r.Life && !c.own(r.Origin, r.Life) {
			c.compare(s, from, r)
		}
		switch {
		case !ask || k+1 < len(ranges) && ranges[k+1].Origin == r.Origin: // an earlier life
		case s.life > r.Life:
			more = append(append(more, s.past...), c.offer(s))
		case s.done > r.To || len(ranges) == 1:
			more = append(more, c.offer(s))
		}
		if len(more) >= digestMax-pastMax {
			c.fx = append(c.fx, Effect{Kind: Digest, To: from, Ranges: more})
			more = nil
		}
	}
	if len(more) > 0 {
		c.fx = append(c.fx, Effect{Kind: Digest, To: from, Ranges: more})
	}
	switch {
	case !ask || len(ranges) == 1: // about one stream
	case len(ranges) == 0:
		c.tellAll(from, false)
	default:
		c.tell(from, false)
	}
}

func (c *Core) compare(s *stream, from int, r Range) {
	c.heard(s, r.To)
	if s.gone = max(s.gone, r.Gone); uint32(from) == r.Origin {
		s.gone = r.Gone // it should know
	}
	if s.done == s.high || s.held[s.done+1] != nil { // that is for the next Turn
		return
	}
	f := floor{from, r.From, c.now}
	if r.To <= s.done {
		f.first = nothing
	}
	s.floors = append(slices.DeleteFunc(s.floors, func(f floor) bool { return f.at == from }), f)
	if s.source == from && f.first > s.done+1 { // it was asked in vain
		s.wanted = time.Time{}
		for _, o := range s.floors {
			if o.first <= s.done+1 && c.now.Sub(o.said) <= 2*c.cfg.Every {
				c.want(s, o.at, s.high)
				return
			}
		}
	}
	if f.first <= s.done+1 { // it has what comes next
		if !c.awaited(s) || s.source == from && s.done >= s.wantFrom { // more of it, after a batch
			c.want(s, from, r.To)
		}
		return
	}
	c.giveUp(s)
}

const (
	// patience is for how many digests something is waited for that some neighbour has
	// not had yet: it may be on its way there.
	patience = 5
	// trust is for how many, where the origin lives and has not said that it keeps it no
	// more: where links are bad or everybody is busy it may be long on its way. Should all
	// whom we reach have let it go it does not come all the same.
	trust = 60
)

// giveUp goes on behind what no neighbour has any more. Those that have not said so of
// late are asked.
func (c *Core) giveUp(s *stream) {
	least, all, ask := uint64(nothing), true, c.now.Sub(s.asked) >= c.cfg.Every
	had := true // all have had it, and let it go
	c.linked = c.cfg.Fleet.Linked(c.linked[:0])
	if len(c.linked) == 0 {
		return
	}
	for _, i := range c.linked {
		at := slices.IndexFunc(s.floors, func(f floor) bool { return f.at == i })
		if at >= 0 && c.now.Sub(s.floors[at].said) <= 2*c.cfg.Every {
			least = min(least, s.floors[at].first)
			had = had && s.floors[at].first != nothing
			continue
		}
		if all = false; ask {
			s.asked = c.now
			c.fx = append(c.fx, Effect{Kind: Digest, To: i, Ranges: []Range{c.offer(s)}, Ask: true})
		}
	}
	wait := patience * c.cfg.Every
	if s.done+1 >= c.gone(s) && c.cfg.Fleet.Alive(int(s.origin)) {
		wait = trust * c.cfg.Every
	}
	if !all || !had && c.now.Sub(s.lacks) <= wait {
		return
	}
	if s.void = least; least == nothing { // who had more is gone, and it was nowhere else
		s.high = s.done
		for seq := range s.held { // a maximum: order does not matter
			s.high = max(s.high, seq)
		}
		s.void = s.high
	}
	c.skip(s)
}

// skip goes on behind all holes in s below void, where no neighbour has anything: what
// is here of it is delivered, and what is not told as missed.
func (c *Core) skip(s *stream) {
	if s.void <= s.done+1 || s.held[s.done+1] != nil {
		return
	}
	if c.quota <= 0 {
		c.turns(s)
		return
	}
	first := s.first
	var here []uint64
	for seq := range s.held { // they are sorted then: order does not matter
		if seq > s.done && seq < s.void {
			here = append(here, seq)
		}
	}
	slices.Sort(here)
	for _, next := range append(here, s.void) {
		if next <= s.done+1 { // it came with the one before, or is to be had
			continue
		}
		if c.turns(s) {
			break
		}
		c.missed(s, next-1)
		s.done, s.first = next-1, next
		c.deliver(s)
		s.lacks = s.risen // of many holes each would take as long as the first
	}
	if s.first > first {
		c.drop(s, s.first) // what is kept has no holes
	}
}

func (c *Core) planDigest() {
	c.digest = c.now.Add(c.cfg.Every/2 + time.Duration(c.cfg.Rand.Int64N(int64(c.cfg.Every))))
}
