package train

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

// railway is a ring of cores that a test drives by hand. Each hop is written and read as on
// a link.
type railway struct {
	t     *testing.T
	stops []*stop
	lives uint64
	epoch uint64 // newest

	ids   map[at]wire.CastID // the passenger before this one in the order, see deliver
	saw   map[at]map[int]bool
	homes map[wire.CastID]Home
}

// stop is one of them.
type stop struct {
	i      int
	core   *Core
	dead   bool
	held   *wire.Particle // let pass last
	next   uint64         // the number that is delivered next, 0 for any
	last   wire.CastID    // delivered last, if next is not 0
	had    map[wire.CastID]bool
	list   []Passenger
	moved  int
	missed uint64
	board  []wire.CastID // in this order
	home   []wire.CastID // the same
}

type at struct {
	number uint64
	id     wire.CastID
}

func newRailway(t *testing.T, n int) *railway {
	r := &railway{
		t: t, ids: map[at]wire.CastID{}, saw: map[at]map[int]bool{}, homes: map[wire.CastID]Home{},
	}
	for i := range n {
		r.stops = append(r.stops, &stop{i: i})
		r.start(i)
	}
	return r
}

// start has a new process at a stop.
func (r *railway) start(i int) {
	r.lives++
	*r.stops[i] = stop{i: i, core: New(i, r.lives), had: map[wire.CastID]bool{}}
}

func (r *railway) kill(i int) { r.stops[i].dead = true }

// board has a passenger wait at a stop.
func (r *railway) board(i int, topic string, payload []byte) (id wire.CastID) {
	c := r.stops[i].core
	seq := c.Board(topic, payload, false)
	if seq == 0 {
		return id
	}
	id = wire.CastID{Origin: uint32(i), Life: c.life, Seq: seq}
	r.stops[i].board = append(r.stops[i].board, id)
	return id
}

// drop is a new particle at a stop, as it leaves.
func (r *railway) drop(i int) *wire.Particle {
	s := r.stops[i]
	r.epoch++
	p := &wire.Particle{Epoch: wire.Epoch{Number: r.epoch, Dropper: uint32(i)}, Lap: 1}
	if s.held != nil {
		p.Lap = s.held.Lap + 1
	}
	Renew(p, s.held, i)
	s.held = r.over(p)
	return r.over(p)
}

// over is what comes out at the other end of a link.
func (r *railway) over(p *wire.Particle) *wire.Particle {
	var d wire.Decoder
	m, err := d.Decode(wire.Append(nil, p)[wire.HeaderLen:])
	if err != nil {
		r.t.Fatalf("%+v does not arrive: %v", p, err)
	}
	q := *m.(*wire.Particle)
	return &q
}

// after is the particle that left a stop, on its way to another.
func (r *railway) after(from, to int) *wire.Particle {
	p := r.over(r.stops[from].held)
	if to <= from {
		p.Lap++
	}
	return p
}

// passes reports whether the guard of a stop lets p pass.
func (r *railway) passes(s *stop, p *wire.Particle) bool {
	h := s.held
	return h == nil || p.Epoch.Number > h.Epoch.Number ||
		p.Epoch.Number == h.Epoch.Number && p.Lap > h.Lap
}

// arrive has p arrive at a stop and leave it. Stations there put their index to the value of
// each passenger that folds wants.
func (r *railway) arrive(i int, p *wire.Particle, folds func(*wire.Rider) bool) bool {
	s := r.stops[i]
	if s.dead || !r.passes(s, p) {
		return false
	}
	if !Sound(p, len(r.stops)) {
		r.t.Fatalf("%+v with %+v is not sound", p, p.Train)
	}
	var v Visit
	if s.core.Idle(p, before(s.held, p)) {
		q := r.over(p)
		s.core.Arrive(q, s.held, &v)
		s.core.Leave(q, &v)
		if q.Train != nil || v.Moved || len(v.Delivered)+len(v.Home) > 0 {
			r.t.Fatalf("%+v was idle at s%d, and brought %+v", p, i, v)
		}
	}
	s.core.Arrive(p, s.held, &v)
	if t := p.Train; t != nil && folds != nil {
		for k := range t.Riders {
			if m := &t.Riders[k]; s.core.Asked(p, m) && folds(m) {
				value := append(slices.Clone(m.Value), byte(i))
				s.core.Fold(p, []Value{{p.Line.Base + uint64(k) + 1, value}})
			}
		}
	}
	s.core.Leave(p, &v)
	s.held = r.over(p)
	r.visit(s, &v)
	return true
}

// before is what a stop holds as p comes, for Idle.
func before(held, p *wire.Particle) *wire.Particle {
	if held == nil {
		return &wire.Particle{Line: p.Line}
	}
	return held
}

// visit is P4 as one stop sees it.
func (r *railway) visit(s *stop, v *Visit) {
	t := r.t
	if v.Moved {
		s.moved++
		s.missed += v.Missed
		s.next, s.had = 0, map[wire.CastID]bool{}
	}
	for _, p := range v.Delivered {
		if s.next != 0 && p.Number != s.next {
			t.Fatalf("s%d is given %d %v, want number %d", s.i, p.Number, p.CastID, s.next)
		}
		if s.had[p.CastID] {
			t.Fatalf("s%d is given %v twice", s.i, p.CastID)
		}
		s.had[p.CastID] = true
		key := at{p.Number, p.CastID}
		if s.next != 0 {
			if was, ok := r.ids[key]; ok && was != s.last {
				t.Fatalf("s%d is given %v as number %d after %v, another was after %v", s.i, p.CastID,
					p.Number, s.last, was)
			}
			r.ids[key] = s.last
		}
		if r.saw[key] == nil {
			r.saw[key] = map[int]bool{}
		}
		r.saw[key][s.i] = true
		s.next, s.last = p.Number+1, p.CastID
		s.list = append(s.list, p)
	}
	for _, h := range v.Home {
		if _, twice := r.homes[h.CastID]; twice || int(h.Origin) != s.i || h.Life != s.core.life {
			t.Fatalf("s%d is told of %v: twice, or not its own", s.i, h.CastID)
		}
		r.homes[h.CastID] = h
		if h.Lost {
			continue
		}
		s.home = append(s.home, h.CastID)
		seen := members(h.Seen)
		for _, i := range seen {
			if !r.saw[at{h.Number, h.CastID}][i] {
				t.Fatalf("s%d is said to have seen %v as number %d", i, h.CastID, h.Number)
			}
		}
		if int(h.Folded) != len(h.Value) {
			t.Fatalf("%v was changed %d times, and its value is %v", h.CastID, h.Folded, h.Value)
		}
		for k, b := range h.Value {
			if !slices.Contains(seen, int(b)) || slices.Contains(h.Value[:k], b) {
				t.Fatalf("%v was changed by s%v, and seen by %v", h.CastID, h.Value, seen)
			}
		}
	}
}

func members(set []uint64) (out []int) {
	for i := range 64 * len(set) {
		if set[i/64]>>(i%64)&1 != 0 {
			out = append(out, i)
		}
	}
	return out
}

// next is the first stop after i that lives.
func (r *railway) next(i int) int {
	for k := 1; ; k++ {
		if j := (i + k) % len(r.stops); !r.stops[j].dead {
			return j
		}
	}
}

// go on lets the particle that left a stop make so many hops, and returns where it is.
func (r *railway) goOn(from, hops int) int {
	for range hops {
		to := r.next(from)
		if !r.arrive(to, r.after(from, to), everything) {
			r.t.Fatalf("s%d destroys what s%d sent", to, from)
		}
		from = to
	}
	return from
}

func everything(*wire.Rider) bool { return true }

// begun is a ring that its first particle has gone round.
func begun(t *testing.T, n int) *railway {
	r := newRailway(t, n)
	r.drop(0)
	r.goOn(0, n)
	return r
}

func (r *railway) wantHome(id wire.CastID, seen ...int) {
	r.t.Helper()
	h, ok := r.homes[id]
	switch {
	case !ok:
		r.t.Errorf("%v is not home", id)
	case h.Lost:
		r.t.Errorf("%v is lost", id)
	case !slices.Equal(members(h.Seen), seen):
		r.t.Errorf("%v was seen by %v, want %v", id, members(h.Seen), seen)
	}
}

func (r *railway) wantLost(id wire.CastID) {
	r.t.Helper()
	if h, ok := r.homes[id]; !ok || !h.Lost || h.Seen != nil {
		r.t.Errorf("of %v came %+v, want that it is lost", id, h)
	}
}

// wantSame is that some stops have had the same passengers.
func (r *railway) wantSame(want []wire.CastID, stops ...int) {
	r.t.Helper()
	for _, i := range stops {
		var got []wire.CastID
		for _, p := range r.stops[i].list {
			got = append(got, p.CastID)
		}
		if !slices.Equal(got, want) {
			r.t.Errorf("s%d was given %v, want %v", i, got, want)
		}
	}
}

func (r *railway) wantMoved(times int, stops ...int) {
	r.t.Helper()
	for _, i := range stops {
		if got := r.stops[i].moved; got != times {
			r.t.Errorf("s%d was moved %d times, want %d", i, got, times)
		}
	}
}

// network is a railway of which anything may happen: particles on their way in any number,
// lost and sent again past whom they should meet.
type network struct {
	*railway
	rng  *rand.Rand
	away []hop
}

type hop struct {
	to int
	p  *wire.Particle
}

func (w *network) step() {
	n := len(w.stops)
	switch x := w.rng.IntN(100); {
	case x < 4: // a copy, perhaps past some
		from := w.rng.IntN(n)
		if s := w.stops[from]; s.held != nil && !s.dead {
			to := (from + 1 + w.rng.IntN(n)) % n
			w.away = append(w.away, hop{to, w.after(from, to)})
		}
	case x < 7 && len(w.away) > 0: // one is lost
		k := w.rng.IntN(len(w.away))
		w.away = slices.Delete(w.away, k, k+1)
	case x < 8:
		i := w.rng.IntN(n)
		if w.stops[i].dead || w.rng.IntN(2) == 0 {
			w.start(i)
		} else if w.alive() > 1 {
			w.kill(i)
		}
	case x < 10:
		if i := w.rng.IntN(n); !w.stops[i].dead {
			w.drop(i)
			w.send(i)
		}
	case x < 25:
		if i := w.rng.IntN(n); !w.stops[i].dead {
			size := w.rng.IntN(40)
			if w.rng.IntN(4) == 0 {
				size = w.rng.IntN(wire.PassengerMax + 1)
			}
			for range 1 + w.rng.IntN(3) {
				w.board(i, "t", make([]byte, size))
			}
		}
	case len(w.away) > 0:
		k := w.rng.IntN(len(w.away))
		if w.rng.IntN(4) > 0 {
			k = len(w.away) - 1 // as a rule the newest goes on
		}
		h := w.away[k]
		w.away = slices.Delete(w.away, k, k+1)
		if w.arrive(h.to, h.p, func(*wire.Rider) bool { return w.rng.IntN(8) > 0 }) {
			w.send(h.to)
		}
	}
}

func (w *network) send(from int) {
	to := w.next(from)
	w.away = append(w.away, hop{to, w.after(from, to)})
}

func (w *network) alive() (n int) {
	for _, s := range w.stops {
		if !s.dead {
			n++
		}
	}
	return n
}

// settle is that nothing is the matter any more: all are home or told of, and all stops are
// of one order.
func (w *network) settle() {
	at := w.next(w.rng.IntN(len(w.stops)))
	w.drop(at)
	at = w.goOn(at, 40*w.alive())
	for _, s := range w.stops {
		if s.dead {
			continue
		}
		if k, n := s.core.Waiting(), s.core.Aboard(); k+n > 0 {
			w.t.Errorf("at s%d %d wait, and %d are on their way for ever", s.i, k, n)
		}
		for _, id := range s.board {
			if _, ok := w.homes[id]; !ok {
				w.t.Errorf("nothing came of %v", id)
			}
		}
		if !slices.IsSortedFunc(s.home, func(a, b wire.CastID) int { return int(a.Seq) - int(b.Seq) }) {
			w.t.Errorf("those of s%d came home out of order: %v", s.i, s.home)
		}
	}
	for _, s := range w.stops {
		s.moved, s.list = 0, nil
	}
	var want []wire.CastID
	for _, s := range w.stops {
		if !s.dead {
			w.board(s.i, "t", nil)
		}
	}
	w.goOn(at, 3*w.alive())
	for _, s := range w.stops {
		if s.dead {
			continue
		}
		if want == nil {
			for _, p := range s.list {
				want = append(want, p.CastID)
			}
			if len(want) != w.alive() {
				w.t.Errorf("s%d was given %v, want one of each", s.i, want)
			}
		}
		w.wantSame(want, s.i)
		w.wantMoved(0, s.i)
	}
	var all []int
	for _, s := range w.stops {
		if !s.dead {
			all = append(all, s.i)
		}
	}
	for _, id := range want {
		w.wantHome(id, all...)
	}
}

func TestP4WhateverHappens(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 4))
			w := &network{railway: newRailway(t, 1+int(seed%7)), rng: rng}
			w.drop(0)
			w.send(0)
			for range 600 {
				w.step()
			}
			w.settle()
		})
	}
}

// Whatever a peer sends, nothing that follows from it breaks the link of who gets it next.
func FuzzTrain(f *testing.F) {
	r := begun(&testing.T{}, 5)
	r.board(1, "t", []byte("payload"))
	r.board(2, "t", nil)
	r.goOn(0, 3)
	f.Add(wire.Append(nil, r.stops[3].held)[wire.HeaderLen:])
	r.goOn(3, 1)
	r.drop(4)
	f.Add(wire.Append(nil, r.stops[4].held)[wire.HeaderLen:])
	f.Add(wire.Append(nil, &wire.Particle{Lap: 3})[wire.HeaderLen:])
	f.Add(wire.Append(nil, &wire.Particle{Lap: 3, Line: wire.Line{Base: 2*lineMax - 1}})[wire.HeaderLen:])
	f.Fuzz(func(t *testing.T, frame []byte) {
		const n = 5
		var d wire.Decoder
		m, err := d.Decode(frame)
		p, ok := m.(*wire.Particle)
		if err != nil || !ok || !Sound(p, n) {
			return
		}
		cores := []*Core{New(2, 7), New(3, 1), New(4, 1), New(0, 1), New(1, 2)}
		for _, c := range cores {
			for range 3 {
				c.Board("t", make([]byte, 3000), false)
			}
		}
		held := make([]*wire.Particle, n)
		for hop := range 3 * n {
			var next wire.Decoder
			at := hop % n
			c := cores[at]
			m, err := next.Decode(wire.Append(nil, p)[wire.HeaderLen:])
			if err != nil {
				t.Fatalf("after %d hops, on lap %d at %+v, it does not arrive: %v", hop, p.Lap, p.Line, err)
			}
			p = m.(*wire.Particle)
			if !Sound(p, n) {
				t.Fatalf("after %d hops, on lap %d at %+v, it is not sound", hop, p.Lap, p.Line)
			}
			var v Visit
			c.Arrive(p, held[at], &v)
			if p.Train != nil && hop%2 == 0 {
				for k := range p.Train.Riders {
					c.Fold(p, []Value{{p.Line.Base + uint64(k) + 1, make([]byte, 100*k)}})
				}
			}
			c.Leave(p, &v)
			q := *p
			held[at] = &q
			if hop == n+2 {
				Renew(p, held[at], int(c.self))
			}
			if c.self == n-1 {
				p.Lap++
			}
		}
	})
}
