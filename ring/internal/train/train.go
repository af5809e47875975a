// Package train is who is aboard the particle, as one stop sees it: passengers board,
// ride one lap, are delivered at every stop in the order of their numbers, and come home.
//
//	arrive ──► deliver what is new here ──► stations ──► home, leave, board ──► next stop
//
// A passenger is numbered as it boards, and keeps its place. It rides until the particle
// is where its lap began again; there its origin takes it off, and knows from the sets that
// ride along whom the particle has passed meanwhile. If the origin is gone, whoever comes a
// lap later does.
//
// Each stop holds the copy of the particle that it let pass last, and so of its train. A
// new particle has been dropped with the copy of its dropper, and takes over from each stop
// of its first lap what that holds of a later one: so who lives delivers what any of them
// has. Then all aboard begin their lap anew, what stations made of them too, and others may
// board. (Totem does the same when it forms a ring: Amir et al., "The Totem Single-Ring
// Ordering and Membership Protocol", 1995, section 5.)
//
// Where a copy of the particle went past a stop that lived, or in two parts of a fleet, the
// order may fork: then one number has two passengers. A hash over all names, in the
// particle and at each stop, tells; a stop that finds itself in another order is told so
// before it is given what follows, and a passenger that is not where it should be is lost,
// which its origin is told.
package train

import (
	"slices"

	"ringofservers.dev/ring/internal/wire"
)

const (
	// waitingMax is how many passengers wait to board at a stop.
	waitingMax = 4096
	// lineMax is where numbers begin anew: nobody gets there but by a peer that makes one up.
	lineMax = 1 << 60
	// waitingBytes is how many bytes of them do, as wire.RiderSize counts them.
	waitingBytes = 4 << 20
)

// Core is the train at one stop. It is not safe for concurrent use.
type Core struct {
	self uint32
	life uint64
	seq  uint64

	waiting []wire.Rider
	bytes   int
	aboard  []uint64 // ours that have not come home, by sequence number, in order

	line wire.Line // of what was delivered here
	has  bool      // there was a particle
}

// New is the train at the stop self. Life tells its process from earlier ones.
func New(self int, life uint64) *Core {
	return &Core{self: uint32(self), life: life & wire.CounterMax}
}

// Passenger is a rider and its number.
type Passenger struct {
	Number uint64
	wire.Rider
}

// Home is what came of a passenger of this stop.
type Home struct {
	Passenger
	Lost bool     // nobody can say who has seen it; Seen is empty
	Seen []uint64 // a set of the stops that it passed
}

// Visit is what a pass of the particle brought for those who listen here.
type Visit struct {
	// Moved says that what was delivered before is of another order than what follows, of
	// which Missed had gone by, as far as that can be said.
	Moved     bool
	Missed    uint64
	Delivered []Passenger
	Home      []Home
}

// Board has a passenger wait for the particle and returns its sequence number, or 0 if
// there is no room.
func (c *Core) Board(topic string, payload []byte, large bool) uint64 {
	r := wire.Rider{Topic: topic, Payload: payload, Large: large}
	if len(c.waiting) >= waitingMax || c.bytes+wire.RiderSize(&r) > waitingBytes {
		return 0
	}
	c.seq++
	r.CastID = wire.CastID{Origin: c.self, Life: c.life, Seq: c.seq}
	c.waiting = append(c.waiting, r)
	c.bytes += wire.RiderSize(&r)
	return c.seq
}

// Cancel has a passenger that still waits not board. One that rides is not waited for.
func (c *Core) Cancel(seq uint64) {
	for i := range c.waiting {
		if c.waiting[i].Seq == seq {
			c.bytes -= wire.RiderSize(&c.waiting[i])
			c.waiting = slices.Delete(c.waiting, i, i+1)
			return
		}
	}
}

// Roomy reports whether there is so much room for others to wait that it is worth telling.
func (c *Core) Roomy() bool { return len(c.waiting) <= waitingMax/2 && c.bytes <= waitingBytes/2 }

// Waiting is how many wait to board.
func (c *Core) Waiting() int { return len(c.waiting) }

// Aboard is how many of this stop's are on their way.
func (c *Core) Aboard() int { return len(c.aboard) }

// Line is what was delivered here, and whether there was a particle.
func (c *Core) Line() (wire.Line, bool) { return c.line, c.has }

// Idle reports whether a particle with nobody aboard, that comes after mine, is nothing to
// this stop.
func (c *Core) Idle(p, mine *wire.Particle) bool {
	return p.Train == nil && mine.Train == nil && c.has && p.Line == c.line &&
		len(c.waiting) == 0 && len(c.aboard) == 0
}

// Arrive brings the train of p, which has been let pass, up to date and adds to v what is
// delivered here. mine is the particle that was let pass before it, nil if there was none. p's
// train is changed, and mine's is not.
func (c *Core) Arrive(p, mine *wire.Particle, v *Visit) {
	t := c.turn(p)
	if l := t.Level; l != nil {
		if (place{p.Lap, c.self}).before(place{l.Lap, l.Stop}) {
			c.level(p, mine)
			return
		}
		c.open(p)
	}
	came := len(t.Riders)
	c.extend(p, mine)
	c.deliver(p, came, mine, v)
}

// Late readies the train of p, which has arrived some time ago, for Leave.
func (c *Core) Late(p *wire.Particle) { c.turn(p) }

// turn makes the sets those of this lap, and this stop one of them.
func (c *Core) turn(p *wire.Particle) *wire.Train {
	if p.Train == nil {
		p.Train = &wire.Train{Lap: p.Lap}
	}
	t := p.Train
	switch {
	case t.Lap == p.Lap:
	case t.Lap+1 == p.Lap:
		t.Before, t.Seen = t.Seen, nil
		t.Lap, t.SpentUS = p.Lap, 0
	default: // a copy that went past somebody
		t.Before, t.Seen = nil, nil
		t.Lap, t.SpentUS = p.Lap, 0
	}
	t.Seen = with(t.Seen, c.self)
	return t
}

// level has a new particle take along what is held here, if that is newer than what it has.
func (c *Core) level(p, mine *wire.Particle) {
	if mine == nil || !newer(mine, p) {
		return
	}
	e, lap := asOf(mine)
	p.Line, p.Train.Level.Epoch, p.Train.Level.AsLap = mine.Line, e, lap
	p.Train.Riders = nil
	if mine.Train != nil {
		p.Train.Riders = append(p.Train.Riders, mine.Train.Riders...)
	}
}

// asOf is the particle that the riders of p were on when others last could board.
func asOf(p *wire.Particle) (e wire.Epoch, lap uint64) {
	if p.Train != nil && p.Train.Level != nil {
		return p.Train.Level.Epoch, p.Train.Level.AsLap
	}
	return p.Epoch, p.Lap
}

// newer orders what stops hold: by epoch, by lap, by who boarded on that lap.
func newer(a, b *wire.Particle) bool {
	ae, al := asOf(a)
	be, bl := asOf(b)
	switch cmp := ae.Compare(be); {
	case cmp != 0:
		return cmp > 0
	case al != bl:
		return al > bl
	case end(a) != end(b):
		return end(a) > end(b)
	}
	return chainAt(a, end(a)) > chainAt(b, end(b))
}

// open has all aboard begin their lap anew.
func (c *Core) open(p *wire.Particle) {
	t := p.Train
	t.Level, t.Short, t.Before, t.Seen = nil, nil, nil, with(nil, c.self)
	for i := range t.Riders {
		c.seat(p, &t.Riders[i])
	}
}

// seat lets a rider's lap begin where the particle comes to its origin next, which may be
// here: a lap that begins and ends there is one of which its origin knows whom it passed.
func (c *Core) seat(p *wire.Particle, r *wire.Rider) {
	r.Lap, r.Stop, r.Value, r.Folded = p.Lap, r.Origin, nil, 0
	if r.Origin < c.self {
		r.Lap++
	}
}

// extend has those board again who were on the copy held here and are not on the particle,
// where it has nobody in their place: the copy that goes on has come past this stop.
func (c *Core) extend(p, mine *wire.Particle) {
	if mine == nil || mine.Train == nil || mine.Train.Level != nil {
		return
	}
	from := end(p)
	if from == end(mine) || !on(mine, wire.Line{Base: from, Chain: chainAt(p, from)}) {
		return
	}
	size := riderSizes(p.Train.Riders)
	for _, r := range mine.Train.Riders[from-mine.Line.Base:] {
		c.seat(p, &r)
		size += wire.RiderSize(&r)
		if size > wire.TrainMax || len(p.Train.Riders) == wire.RidersMax {
			return
		}
		p.Train.Riders = append(p.Train.Riders, r)
	}
}

// deliver adds to v those of the first came riders that are new here.
func (c *Core) deliver(p *wire.Particle, came int, mine *wire.Particle, v *Visit) {
	at := c.line
	switch {
	case !c.has:
		at = p.Line
	case !on(p, at):
		v.Moved = true
		if p.Line.Base > at.Base {
			v.Missed = p.Line.Base - at.Base
		}
		at = c.common(p, mine)
	}
	if news := p.Line.Base + uint64(came); news > at.Base {
		v.Delivered = slices.Grow(v.Delivered, int(news-at.Base))
	}
	for i := at.Base - p.Line.Base; i < uint64(came); i++ {
		r := &p.Train.Riders[i]
		at = wire.Line{Base: at.Base + 1, Chain: chain(at.Chain, r.CastID)}
		v.Delivered = append(v.Delivered, Passenger{at.Base, *r})
	}
	c.line, c.has = at, true
}

// common is how far the order that is left and the one of p were the same, as far as that
// can be seen by who is aboard.
func (c *Core) common(p, mine *wire.Particle) wire.Line {
	at := p.Line
	if mine == nil || !on(mine, c.line) {
		return at // what was held here last is not what was delivered
	}
	from := max(p.Line.Base, mine.Line.Base)
	to := min(end(p), end(mine), c.line.Base)
	if from > to {
		return at
	}
	for n, a, b := from, chainAt(p, from), chainAt(mine, from); ; n++ {
		if a == b {
			at = wire.Line{Base: n, Chain: a}
		}
		if n == to {
			return at
		}
		a = chain(a, p.Train.Riders[n-p.Line.Base].CastID)
		b = chain(b, mine.Train.Riders[n-mine.Line.Base].CastID)
	}
}

// Leave has those who are home leave the train of p, which has arrived and is about to go
// on, and those who wait board. It adds to v what came of those of this stop.
func (c *Core) Leave(p *wire.Particle, v *Visit) {
	t := p.Train
	if t == nil {
		return
	}
	if t.Level == nil {
		c.home(p, v)
		c.off(p)
		c.let(p)
		if p.Line.Base >= lineMax { // all others move to this order
			p.Line.Base = 0
		}
	}
	if len(t.Riders) == 0 && t.Level == nil && t.Short == nil && t.SpentUS == 0 {
		p.Train = nil
	}
}

// home finds those of this stop whose lap is over, and those who are lost.
func (c *Core) home(p *wire.Particle, v *Visit) {
	if len(c.aboard) == 0 {
		return
	}
	t, here := p.Train, place{p.Lap, c.self}
	var seen []uint64
	ride := c.aboard[:0]
	next := 0
	for _, seq := range c.aboard {
		for next < len(t.Riders) && !c.ours(&t.Riders[next], seq) {
			next++
		}
		if next == len(t.Riders) {
			next = 0 // after a fork they may be in any order
			for next < len(t.Riders) && !c.ours(&t.Riders[next], seq) {
				next++
			}
		}
		if next == len(t.Riders) {
			v.Home = append(v.Home, Home{Lost: true, Passenger: Passenger{
				Rider: wire.Rider{CastID: wire.CastID{Origin: c.self, Life: c.life, Seq: seq}},
			}})
			next = 0
			continue
		}
		r := &t.Riders[next]
		over := place{r.Lap + 1, r.Stop}
		if over.before(here) { // the particle has gone past this stop, and whom it passed before is forgotten
			c.seat(p, r)
		}
		if over != here {
			ride = append(ride, seq)
			continue
		}
		if seen == nil {
			seen = lapSet(t, c.self)
		}
		v.Home = append(v.Home, Home{
			Passenger: Passenger{p.Line.Base + uint64(next) + 1, *r}, Seen: seen,
		})
	}
	c.aboard = ride
}

func (c *Core) ours(r *wire.Rider, seq uint64) bool {
	return r.Seq == seq && r.Origin == c.self && r.Life == c.life
}

// lapSet is the stops of the lap that ends at self.
func lapSet(t *wire.Train, self uint32) []uint64 {
	s := make([]uint64, max(len(t.Before), len(t.Seen)))
	copy(s, t.Before)
	word, bit := int(self/64), self%64
	for i := range s {
		var keep uint64 // of Before: those behind self
		switch {
		case i > word:
			keep = 1<<64 - 1
		case i == word:
			keep = ^(1<<bit | (1<<bit - 1))
		}
		s[i] &= keep
		if i < len(t.Seen) {
			s[i] |= t.Seen[i] &^ keep
		}
	}
	return s
}

// off has those at the front leave whose lap is over: at their origin, or where that has not
// taken them off on the lap after.
func (c *Core) off(p *wire.Particle) {
	t, here := p.Train, place{p.Lap, c.self}
	n := 0
	for n < len(t.Riders) {
		r := &t.Riders[n]
		over := place{r.Lap + 1, r.Stop}
		if here.before(over) || r.Origin != c.self && here.before(place{r.Lap + 2, r.Stop}) {
			break
		}
		p.Line = wire.Line{Base: p.Line.Base + 1, Chain: chain(p.Line.Chain, r.CastID)}
		n++
	}
	t.Riders = t.Riders[n:]
}

// let has those who wait board: as many as take half of the room that is left, so that a
// stop that has much to send leaves as much to each other that has, and at least one. Where
// there is not even room for that, the others keep it free until the particle is here again.
func (c *Core) let(p *wire.Particle) {
	t := p.Train
	room := wire.TrainMax - riderSizes(t.Riders)
	if s := t.Short; s != nil {
		if s.Stop == c.self || (place{s.Lap + 1, s.Stop}).before(place{p.Lap, c.self}) {
			t.Short = nil
		} else {
			room -= int(s.Bytes)
		}
	}
	if len(c.waiting) == 0 {
		return
	}
	seats := wire.RidersMax - len(t.Riders)
	share, n := room/2, 0
	for n < len(c.waiting) && (n == 0 && seats > 0 || n < seats/2) {
		r := &c.waiting[n]
		size := wire.RiderSize(r)
		if size > share && (n > 0 || size > room) {
			break
		}
		share -= size
		c.bytes -= size
		r.Epoch = p.Epoch
		c.seat(p, r)
		t.Riders = append(t.Riders, *r)
		c.aboard = append(c.aboard, r.Seq)
		n++
	}
	if n == 0 && t.Short == nil {
		t.Short = &wire.Short{
			Lap: p.Lap, Stop: c.self, Bytes: uint32(wire.RiderSize(&c.waiting[0])),
		}
	}
	clear(c.waiting[:n]) // what they carry is the train's now
	c.waiting = c.waiting[n:]
}

// Asked reports whether the stations of this stop are to see a rider of the train of p,
// which is here: each does once on the rider's lap.
func (c *Core) Asked(p *wire.Particle, r *wire.Rider) bool {
	here := place{p.Lap, c.self}
	return p.Train.Level == nil && (place{r.Lap, r.Stop}).before(here) &&
		!(place{r.Lap + 1, r.Stop}).before(here)
}

// Value is what stations have made of a passenger.
type Value struct {
	Number uint64
	Value  []byte
}

// Fold changes the values with which passengers go on, each once on a visit. It returns how
// many could not be: those that are not aboard, or of whom the stations of this stop are not
// asked, and those for which there is no room.
func (c *Core) Fold(p *wire.Particle, values []Value) (refused int) {
	t := p.Train
	if t == nil {
		return len(values)
	}
	size, done := riderSizes(t.Riders), make([]bool, len(t.Riders))
	for _, v := range values {
		if v.Number <= p.Line.Base || v.Number > end(p) {
			refused++
			continue
		}
		i := v.Number - p.Line.Base - 1
		r := &t.Riders[i]
		grown := size - len(r.Value) + len(v.Value)
		switch {
		case done[i]:
		case !c.Asked(p, r), len(v.Value) > wire.PassengerMax, grown > wire.TrainWide, r.Folded == wire.FoldedMax:
			refused++
		default:
			size, done[i] = grown, true
			r.Value = v.Value
			r.Folded++
		}
	}
	return refused
}

// Renew gives a particle that was dropped at self the train of the last one that passed
// there, nil if there was none. Whatever other stops hold of a later one it takes along on its first
// lap.
func Renew(p, last *wire.Particle, self int) {
	l := &wire.Level{Lap: p.Lap + 1, Stop: uint32(self)}
	p.Train = &wire.Train{Lap: p.Lap, Level: l}
	if last == nil {
		return
	}
	p.Line = last.Line
	l.Epoch, l.AsLap = asOf(last)
	if last.Train != nil {
		p.Train.Riders = append([]wire.Rider(nil), last.Train.Riders...)
	}
}

// Sound reports whether there can be such a train among n instances: what a peer made up
// must not break the links of those it is sent on to.
func Sound(p *wire.Particle, n int) bool {
	if p.Line.Base >= 2*lineMax || p.Lap >= wire.CounterMax-8 {
		return false
	}
	t := p.Train
	if t == nil {
		return true
	}
	if t.Lap > p.Lap || beyond(t.Seen, n) || beyond(t.Before, n) {
		return false
	}
	if l := t.Level; l != nil && (l.Stop >= uint32(n) || l.Lap > p.Lap+1) {
		return false
	}
	if s := t.Short; s != nil && (s.Stop >= uint32(n) || s.Lap > p.Lap) {
		return false
	}
	for i := range t.Riders {
		r := &t.Riders[i]
		if r.Origin >= uint32(n) || r.Stop >= uint32(n) || t.Level == nil && r.Lap > p.Lap+1 ||
			r.Lap >= wire.CounterMax-4 {
			return false
		}
	}
	return true
}

// beyond reports whether one of a set is not among n.
func beyond(s []uint64, n int) bool {
	words := n / 64
	return len(s) > words && (s[words]>>(n%64) != 0 || len(s) > words+1)
}

// place is a stop on a lap.
type place struct {
	lap  uint64
	stop uint32
}

func (a place) before(b place) bool {
	return a.lap < b.lap || a.lap == b.lap && a.stop < b.stop
}

// end is the number of the newest who boarded.
func end(p *wire.Particle) uint64 {
	if p.Train == nil {
		return p.Line.Base
	}
	return p.Line.Base + uint64(len(p.Train.Riders))
}

// on reports whether the order of p is that of l up to l's number, as far as p tells.
func on(p *wire.Particle, l wire.Line) bool {
	return l.Base >= p.Line.Base && l.Base <= end(p) && chainAt(p, l.Base) == l.Chain
}

// chainAt is the hash over all names up to n, which is between p's Base and its end.
func chainAt(p *wire.Particle, n uint64) uint64 {
	h := p.Line.Chain
	for i := range n - p.Line.Base {
		h = chain(h, p.Train.Riders[i].CastID)
	}
	return h
}

// chain is the hash over one name more.
func chain(h uint64, id wire.CastID) uint64 {
	for _, x := range [...]uint64{uint64(id.Origin), id.Life, id.Seq} {
		h = mix(h ^ x)
	}
	return h
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func riderSizes(riders []wire.Rider) (size int) {
	for i := range riders {
		size += wire.RiderSize(&riders[i])
	}
	return size
}

// with is the set s and i; s may be changed.
func with(s []uint64, i uint32) []uint64 {
	for len(s) <= int(i/64) {
		s = append(s, 0)
	}
	s[i/64] |= 1 << (i % 64)
	return s
}
