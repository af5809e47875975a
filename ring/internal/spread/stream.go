package spread

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// stream is what is known of one life of an origin.
type stream struct {
	origin           uint32
	life             uint64
	done             uint64              // delivered, or told as missed, up to here
	first            uint64              // the lowest that is kept, done+1 if nothing is
	high             uint64              // heard of
	risen            time.Time           // when that was heard
	gone             uint64              // the origin keeps nothing below that, as others said
	void             uint64              // below that no neighbour has what is lacking
	held             map[uint64]*Message // what is kept, and what waits
	lacks            time.Time           // since when what comes next has not come, while high > done
	floors           []floor             // what neighbours said they have
	asked            time.Time           // when they were asked for that
	wanted           time.Time           // when source was asked for what comes next
	source           int
	wantFrom, wantTo uint64 // of that
	pace             pace
	past             []Range // its earlier lives, up to what is known of them
}

// pace is how much somebody has sent of late.
type pace struct {
	sum  int64 // fades away, by a part of it in each part of paceSpan
	when time.Time
}

func (p pace) at(now time.Time) int64 {
	return p.sum - p.sum*int64(min(now.Sub(p.when), paceSpan))/int64(paceSpan)
}

func (p *pace) add(now time.Time, n int64) {
	*p = pace{p.at(now) + n, now}
}

// pace is that of an origin.
func (c *Core) pace(origin uint32) pace {
	if s := c.streams[origin]; s != nil {
		return s.pace
	}
	return pace{}
}

// floor is from where on a neighbour has what we lack; nothing for not at all.
type floor struct {
	at    int
	first uint64
	said  time.Time
}

const nothing = 1<<64 - 1

// heard notes that there is a message of that number.
func (c *Core) heard(s *stream, seq uint64) {
	if s.done == s.high && seq > s.high {
		s.lacks = c.now
		c.news()
	}
	if seq > s.high {
		s.high, s.risen = seq, c.now
	}
}

// news keeps the digests going: there was something new, or it is known that there is.
func (c *Core) news() {
	if c.fresh = c.now; c.digest.Before(c.now) {
		c.planDigest()
	}
}

// stream is what is known of that life of origin; nil if a later one is known.
func (c *Core) stream(origin uint32, life uint64) *stream {
	s := c.streams[origin]
	switch {
	case s == nil:
		s = &stream{}
		c.streams[origin] = s
		c.order = append(c.order, origin)
	case life < s.life:
		return nil
	case life == s.life:
		return s
	default:
		c.end(s)
	}
	*s = stream{
		origin: origin, life: life, first: 1, held: map[uint64]*Message{}, past: s.past,
	}
	return s
}

// end gives a life of an origin up: a later one is known. How long it was is kept for
// whoever was away when it ended.
func (c *Core) end(s *stream) {
	if len(s.past) == pastMax {
		s.past = s.past[1:]
	}
	s.past = append(s.past, s.span(s.high+1, s.high))
	left := c.quota
	c.quota = len(s.held) // all that can be
	c.deliver(s)
	c.quota = left
	if s.high > s.done {
		c.missed(s, s.high)
	}
	c.drop(s, nothing)
	for _, m := range s.held { // a sum: order does not matter
		c.waiting -= size(m)
	}
}

// drop keeps nothing more of what was delivered of s below that number.
func (c *Core) drop(s *stream, below uint64) {
	c.kept = slices.DeleteFunc(c.kept, func(id stored) bool {
		if id.Origin != s.origin || id.Seq >= below {
			return false
		}
		c.bytes -= size(s.held[id.Seq])
		delete(s.held, id.Seq)
		return true
	})
}

// missed tells that nothing more will come up to last.
func (c *Core) missed(s *stream, last uint64) {
	c.fx = append(c.fx, Effect{Kind: Missed, Ranges: []Range{s.span(s.done+1, last)}})
}

// deliver gives what comes next of s to those who follow, as far as that is one Turn's.
func (c *Core) deliver(s *stream) {
	for m := s.held[s.done+1]; m != nil; m = s.held[s.done+1] {
		if c.turns(s) {
			break
		}
		s.done++
		s.lacks = c.now
		if s.done >= s.wantTo { // what was asked for is here: behind it the next may be lacking
			s.wanted = time.Time{}
		}
		c.waiting -= size(m)
		c.bytes += size(m)
		c.kept = append(c.kept, stored{m.CastID, c.now})
		c.fx = append(c.fx, Effect{Kind: Deliver, Msg: m})
	}
	for c.bytes > c.cfg.Keep && len(c.kept) > 1 {
		id := c.kept[0]
		c.kept = c.kept[1:]
		o := c.streams[id.Origin]
		c.bytes -= size(o.held[id.Seq])
		delete(o.held, id.Seq)
		o.first = max(o.first, id.Seq+1)
	}
}

// turns reports whether what is still to be done about s is for the next Turn. When a
// hole is filled there may be tens of thousands of messages behind it, and a heartbeat
// waits for whatever is done at once.
func (c *Core) turns(s *stream) bool {
	if c.quota--; c.quota >= 0 {
		return false
	}
	if !slices.Contains(c.ripe, s) {
		c.ripe = append(c.ripe, s)
	}
	return true
}

// ripen goes on with what was too much for one Turn, with the next origin each time.
func (c *Core) ripen() {
	ripe := c.ripe
	c.ripe = nil
	for i, s := range ripe {
		c.deliver(s)
		c.skip(s)
		if c.quota < 0 {
			c.ripe = append(slices.Clone(ripe[i+1:]), c.ripe...)
			break
		}
	}
}

// offer is what can be had of s, and what is known of what can be had of its origin.
func (c *Core) offer(s *stream) Range {
	r := s.span(s.first, s.done)
	r.Gone = c.gone(s)
	return r
}

// gone is below what number the origin of s keeps nothing, as far as is known. What an
// earlier process of this instance sent this one does not have for it.
func (c *Core) gone(s *stream) uint64 {
	switch {
	case int(s.origin) != c.cfg.Self:
		return s.gone
	case s.life != c.cfg.Life:
		return wire.CounterMax - 1
	}
	return s.first
}

// span is some of its messages.
func (s *stream) span(from, to uint64) Range {
	return Range{Origin: s.origin, Life: s.life, From: from, To: to}
}
