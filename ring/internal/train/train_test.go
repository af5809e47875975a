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
				s.core.Fold(p, p.Line.Base+uint64(k)+1, value)
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

func TestP4ALapIsTheReceipt(t *testing.T) {
	r := begun(t, 4)
	r.goOn(0, 1) // at 1
	a := r.board(2, "t", []byte("a"))
	b := r.board(3, "t", []byte("b"))
	c := r.board(2, "t", []byte("c"))
	r.goOn(1, 4)
	if len(r.homes) > 0 {
		t.Fatalf("%v is home before its lap is over", r.homes)
	}
	r.wantSame([]wire.CastID{a, c, b}, 0, 1)
	r.wantSame([]wire.CastID{a, c}, 3)
	r.wantSame(nil, 2)
	r.goOn(1, 2)
	r.wantHome(a, 0, 1, 2, 3)
	r.wantHome(b, 0, 1, 2, 3)
	r.wantHome(c, 0, 1, 2, 3)
	r.wantSame([]wire.CastID{a, c, b}, 0, 1, 2, 3)
	r.wantMoved(0, 0, 1, 2, 3)
	for _, id := range []wire.CastID{a, b, c} {
		if h := r.homes[id]; h.Folded != 4 {
			t.Errorf("%v was changed by %v, want all four", id, h.Value)
		}
	}
	if p := r.stops[3].held; p.Train != nil || p.Line.Base != 3 {
		t.Errorf("all are home, and the particle has %+v and %+v", p.Line, p.Train)
	}
}

func TestP4OneAlone(t *testing.T) {
	r := begun(t, 1)
	a := r.board(0, "t", nil)
	r.goOn(0, 1)
	r.goOn(0, 1)
	r.wantHome(a, 0)
	r.wantSame([]wire.CastID{a}, 0)
}

// Who dies while a passenger rides is not on its receipt.
func TestP4TheReceiptLeavesOutWhoDied(t *testing.T) {
	r := begun(t, 4)
	a := r.board(1, "t", nil)
	r.goOn(0, 1)
	r.kill(2)
	r.goOn(1, 3)
	r.wantHome(a, 0, 1, 3)
}

// The passengers of a stop that died ride on until somebody comes a lap late.
func TestP4WhoDiedTakesNobodyOff(t *testing.T) {
	r := begun(t, 4)
	a := r.board(1, "t", nil)
	r.goOn(0, 2) // at 2
	r.kill(1)
	r.goOn(2, 3) // at 2 again, a lap is over
	b := r.board(2, "t", nil)
	r.goOn(2, 1) // 3
	r.goOn(3, 3)
	r.wantSame([]wire.CastID{a}, 0)
	r.wantSame([]wire.CastID{a, b}, 3)
	if got := len(r.stops[2].held.Train.Riders); got != 1 {
		t.Errorf("%d aboard, want one: a has left at the first stop that came a lap late", got)
	}
	r.goOn(3, 2)
	r.wantHome(b, 0, 2, 3)
	if _, ok := r.homes[a]; ok {
		t.Error("somebody was told of a, whose origin is dead")
	}
}

// A process in place of its origin takes a passenger off, and is told nothing.
func TestP4ANewProcessIsNotToldOfTheOldOnes(t *testing.T) {
	r := begun(t, 3)
	a := r.board(1, "t", nil)
	r.goOn(0, 2)
	r.start(1)
	r.goOn(2, 2)
	r.wantSame([]wire.CastID{a}, 0, 1, 2)
	if p := r.stops[1].held; len(r.homes) > 0 || p.Train != nil {
		t.Errorf("homes %v, and %+v is aboard", r.homes, p.Train)
	}
}

// What any survivor has been given all survivors are, whoever drops the new particle.
func TestP4ANewParticleLevels(t *testing.T) {
	for dropper := range 5 {
		t.Run(fmt.Sprint(dropper), func(t *testing.T) {
			r := begun(t, 5)
			a := r.board(1, "t", nil)
			b := r.board(2, "t", nil)
			r.goOn(0, 3) // 3 has it, and it is lost on its way to 4
			r.drop(dropper)
			c := r.board(0, "t", nil)
			r.goOn(dropper, 5)
			at := r.goOn(dropper, 12)
			r.wantHome(a, 0, 1, 2, 3, 4)
			r.wantHome(b, 0, 1, 2, 3, 4)
			r.wantHome(c, 0, 1, 2, 3, 4)
			r.goOn(at, 5)
			r.wantSame([]wire.CastID{a, b, c}, 0, 1, 2, 3, 4)
			r.wantMoved(0, 0, 1, 2, 3, 4)
			for _, id := range []wire.CastID{a, b, c} {
				if h := r.homes[id]; h.Folded != 5 {
					t.Errorf("%v was changed by %v, want each once", id, h.Value)
				}
			}
		})
	}
}

// Nobody boards a new particle on its first lap: what others hold may come before.
func TestP4NobodyBoardsWhileItLevels(t *testing.T) {
	r := begun(t, 4)
	a := r.board(3, "t", nil)
	r.goOn(0, 3)
	r.drop(0) // 3 alone has a
	b := r.board(1, "t", nil)
	r.goOn(0, 4)
	if p := r.stops[0].held; len(p.Train.Riders) != 1 || p.Train.Riders[0].CastID != a {
		t.Fatalf("aboard after the first lap: %+v, want %v alone", p.Train.Riders, a)
	}
	r.goOn(0, 9)
	r.wantSame([]wire.CastID{a, b}, 0, 1, 2, 3)
}

// If its dropper dies, the first stop behind opens it.
func TestP4TheDropperDies(t *testing.T) {
	r := begun(t, 4)
	a := r.board(1, "t", nil)
	r.goOn(0, 2)
	r.drop(3)
	r.goOn(3, 2) // at 1
	r.kill(3)
	r.goOn(1, 12)
	r.wantHome(a, 0, 1, 2)
	r.wantSame([]wire.CastID{a}, 0, 1, 2)
}

// A copy that goes past a stop that lives leaves behind who boarded there; when the particle
// comes, they board again, if nobody is in their place, and are lost otherwise.
func TestP4ACopyGoesPastTheLiving(t *testing.T) {
	for _, tt := range []struct {
		name  string
		other int // who boards meanwhile, -1 for nobody
		lost  bool
		moved int
	}{
		{"and nobody boards", -1, false, 0},
		{"and another boards", 3, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := begun(t, 4)
			a := r.board(2, "t", nil)
			r.goOn(0, 2) // 2 has it, and its frame is lost
			var b wire.CastID
			if tt.other >= 0 {
				b = r.board(tt.other, "t", nil)
			}
			if !r.arrive(3, r.after(1, 3), everything) {
				t.Fatal("3 destroys the copy")
			}
			at := r.goOn(3, 12)
			if tt.lost {
				r.wantLost(a)
				r.wantHome(b, 0, 1, 2, 3)
				r.wantSame([]wire.CastID{b}, 0, 1, 2, 3)
			} else {
				r.wantHome(a, 0, 1, 2, 3)
				r.wantSame([]wire.CastID{a}, 0, 1, 2, 3)
			}
			r.goOn(at, 4)
			r.wantMoved(0, 0, 1, 2, 3)
		})
	}
}

// The same of who was given what boarded: it keeps it where nobody is in that place, and is
// told otherwise that it is in another order.
func TestP4ACopyGoesPastWhoWasGiven(t *testing.T) {
	for _, boards := range []bool{false, true} {
		r := begun(t, 5)
		a := r.board(1, "t", nil)
		r.goOn(0, 2) // 1 and 2 have a, and the frame of 2 is lost
		var b wire.CastID
		if boards {
			b = r.board(4, "t", nil)
		}
		for _, to := range []int{3, 4} { // 0 takes 1 and 2 for dead
			from := 0
			if to == 4 {
				from = 3
			}
			if !r.arrive(to, r.after(from, to), everything) {
				t.Fatalf("%d destroys the copy", to)
			}
		}
		to := 0
		if !r.arrive(to, r.after(4, to), everything) {
			t.Fatal("0 destroys the copy")
		}
		p := r.after(0, 2) // and still takes 1 for dead
		if !r.arrive(2, p, everything) {
			t.Fatal("2 destroys the particle")
		}
		r.goOn(2, 14)
		if boards {
			r.wantMoved(1, 1, 2) // b has gone home before the particle comes to 1
			r.wantMoved(0, 0, 3, 4)
			r.wantLost(a)
			r.wantHome(b, 0, 2, 3, 4)
		} else {
			r.wantMoved(0, 0, 1, 2, 3, 4)
			r.wantHome(a, 0, 1, 2, 3, 4)
			r.wantSame([]wire.CastID{a}, 0, 1, 2, 3, 4)
		}
	}
}

// Two parts that meet again are told; what both had had is not given again.
func TestP4TwoPartsMeet(t *testing.T) {
	r := begun(t, 4)
	a := r.board(0, "t", nil)
	r.goOn(0, 8) // all have a
	r.drop(1)
	r.drop(3)
	b := r.board(0, "t", nil)
	c := r.board(2, "t", nil)
	d := r.board(3, "t", nil)
	hop := func(from, to int) {
		t.Helper()
		if !r.arrive(to, r.after(from, to), everything) {
			t.Fatalf("s%d destroys what s%d sent", to, from)
		}
	}
	for range 5 {
		hop(1, 0)
		hop(0, 1)
		hop(3, 2)
		hop(2, 3)
	}
	r.wantHome(b, 0, 1)
	r.wantHome(c, 2, 3)
	r.wantHome(d, 2, 3)
	r.wantMoved(0, 0, 1, 2, 3)
	e := r.board(1, "t", nil)
	at := 3
	for range 12 {
		at = r.goOn(at, 1)
	}
	r.wantMoved(1, 0, 1)
	r.wantMoved(0, 2, 3)
	r.wantHome(e, 0, 1, 2, 3)
	r.wantSame([]wire.CastID{a, d, c, e}, 2, 3)
	if got := r.stops[0].missed; got != 1 { // d and c had left; b was in the place of one
		t.Errorf("s0 has missed %d, want 1", got)
	}
}

// One that cancels does not board, one that rides is not called back.
func TestCancel(t *testing.T) {
	r := begun(t, 2)
	c := r.stops[1].core
	a, b := r.board(1, "t", nil), r.board(1, "t", []byte("b"))
	c.Cancel(a.Seq)
	c.Cancel(77)
	if c.Waiting() != 1 || c.bytes != wire.RiderSize(&c.waiting[0]) {
		t.Errorf("%d wait with %d bytes", c.Waiting(), c.bytes)
	}
	r.goOn(0, 1)
	c.Cancel(b.Seq)
	r.goOn(1, 2)
	r.wantHome(b, 0, 1)
	r.wantSame([]wire.CastID{b}, 0, 1)
}

// There is room for so many who wait, and it is worth telling when half of it is free.
func TestRoomToWait(t *testing.T) {
	c := New(0, 1)
	n := 0
	for ; c.Board("t", nil, false) != 0; n++ {
	}
	if n != waitingMax || c.Roomy() {
		t.Errorf("%d wait, want %d", n, waitingMax)
	}
	c = New(0, 1)
	for n = 0; c.Board("t", make([]byte, wire.PassengerMax), false) != 0; n++ {
	}
	if c.bytes > waitingBytes || n < waitingBytes/wire.PassengerMax*9/10 || c.Roomy() {
		t.Errorf("%d of %d bytes wait", n, c.bytes)
	}
	for seq := range uint64(n) {
		c.Cancel(seq + 1)
	}
	if c.bytes != 0 || !c.Roomy() {
		t.Errorf("nobody waits, with %d bytes", c.bytes)
	}
}

// Stops that always have passengers get equal shares of the train, whatever the size.
func TestSharesAreFair(t *testing.T) {
	for _, size := range []int{0, 100, 1000, 4000, wire.PassengerMax} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const n = 6
			r := begun(t, n)
			at := 0
			for range 100 * n {
				for i := range n {
					if c := r.stops[i].core; c.Waiting() < 1000 && c.Waiting()*size < waitingBytes/2 {
						for range 20 {
							r.board(i, "t", make([]byte, size))
						}
					}
				}
				at = r.goOn(at, 1)
			}
			least, most := len(r.stops[0].home), 0
			for _, s := range r.stops {
				least, most = min(least, len(s.home)), max(most, len(s.home))
				if !slices.Equal(s.home, s.board[:len(s.home)]) {
					t.Errorf("those of s%d come home in another order", s.i)
				}
			}
			if most > 2*least+n {
				t.Errorf("at one stop %d have come home, at another %d", least, most)
			}
			each := 68 + 1 + size
			if full := 50 * wire.TrainMax / each; least*n < full {
				t.Errorf("%d or more of each of %d came home in 100 laps, want %d of all", least, n, full)
			}
		})
	}
}

// The largest train there can be fits into a frame that is relayed.
func TestTheLargestTrainFitsIntoARelay(t *testing.T) {
	const n = wire.RosterMax
	p := &wire.Particle{
		Epoch: wire.Epoch{Number: wire.CounterMax, Counter: wire.CounterMax, Dropper: 1<<32 - 1},
		Lap:   wire.CounterMax - 9, Voters: wire.VotersMax,
		Line: wire.Line{Base: wire.CounterMax/2 - 1, Chain: 1<<64 - 1},
	}
	full := make([]uint64, n/64)
	for i := range full {
		full[i] = 1<<64 - 1
	}
	for _, payload := range []int{0, 9, 100, wire.PassengerMax} {
		p.Train = &wire.Train{
			Lap: p.Lap, Seen: full, Before: full, SpentUS: 1<<32 - 1,
			Level: &wire.Level{Lap: p.Lap + 1, Stop: n - 1, Epoch: p.Epoch, AsLap: wire.CounterMax},
			Short: &wire.Short{Lap: p.Lap, Stop: n - 1, Bytes: wire.TrainMax},
		}
		rider := wire.Rider{
			CastID: wire.CastID{Origin: n - 1, Life: wire.CounterMax, Seq: wire.CounterMax},
			Epoch:  p.Epoch, Lap: wire.CounterMax - 5, Stop: n - 1, Folded: wire.FoldedMax, Large: true,
			Payload: make([]byte, payload),
		}
		size := wire.RiderSize(&rider)
		if took := len(wire.Append(nil, &wire.Particle{Train: &wire.Train{Riders: []wire.Rider{rider}}})) -
			len(wire.Append(nil, &wire.Particle{Train: &wire.Train{}})); took > size {
			t.Errorf("a rider takes %d bytes, and counts for %d", took, size)
		}
		for k := 1; k*size <= wire.TrainWide && k <= wire.RidersMax; k++ {
			p.Train.Riders = append(p.Train.Riders, rider)
		}
		if !Sound(p, n) {
			t.Error("not sound")
		}
		frame := wire.Append(nil, p)[wire.HeaderLen:]
		relay := wire.Append(nil, &wire.Relay{From: n - 1, To: n - 2, Frame: frame})
		var d wire.Decoder
		m, err := d.Decode(relay[wire.HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(m.(*wire.Relay).Frame); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be is refused.
func TestSound(t *testing.T) {
	const n = 70
	for _, tt := range []struct {
		name string
		make func(p *wire.Particle, r *wire.Rider)
		want bool
	}{
		{"all is well", func(*wire.Particle, *wire.Rider) {}, true},
		{"a number without successors", func(p *wire.Particle, _ *wire.Rider) { p.Line.Base = 2 * lineMax }, false},
		{"the same of nobody", func(p *wire.Particle, _ *wire.Rider) { p.Train, p.Line.Base = nil, 2*lineMax }, false},
		{"a lap without successors", func(p *wire.Particle, _ *wire.Rider) { p.Lap = wire.CounterMax - 1 }, false},
		{"the same of nobody", func(p *wire.Particle, _ *wire.Rider) { p.Train, p.Lap = nil, wire.CounterMax-1 }, false},
		{"sets of a later lap", func(p *wire.Particle, _ *wire.Rider) { p.Train.Lap = p.Lap + 1 }, false},
		{"seen by the last", func(p *wire.Particle, _ *wire.Rider) { p.Train.Seen = []uint64{0, 1 << 5} }, true},
		{"seen by one too many", func(p *wire.Particle, _ *wire.Rider) { p.Train.Seen = []uint64{0, 1 << 6} }, false},
		{"seen by one far away", func(p *wire.Particle, _ *wire.Rider) { p.Train.Before = []uint64{0, 0, 1} }, false},
		{"leveling", func(p *wire.Particle, r *wire.Rider) {
			p.Train.Level, r.Lap = &wire.Level{Lap: p.Lap + 1}, 1000
		}, true},
		{"leveling for ever", func(p *wire.Particle, _ *wire.Rider) {
			p.Train.Level = &wire.Level{Lap: p.Lap + 2}
		}, false},
		{"until nowhere", func(p *wire.Particle, _ *wire.Rider) {
			p.Train.Level = &wire.Level{Lap: p.Lap, Stop: n}
		}, false},
		{"kept for nobody", func(p *wire.Particle, _ *wire.Rider) { p.Train.Short = &wire.Short{Stop: n} }, false},
		{"kept for ever", func(p *wire.Particle, _ *wire.Rider) { p.Train.Short = &wire.Short{Lap: p.Lap + 1} }, false},
		{"from nowhere", func(_ *wire.Particle, r *wire.Rider) { r.Origin = n }, false},
		{"to nowhere", func(_ *wire.Particle, r *wire.Rider) { r.Stop = n }, false},
		{"on its way soon", func(p *wire.Particle, r *wire.Rider) { r.Lap = p.Lap + 1 }, true},
		{"not on its way yet", func(p *wire.Particle, r *wire.Rider) { r.Lap = p.Lap + 2 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &wire.Particle{Lap: 7, Train: &wire.Train{Lap: 7, Riders: make([]wire.Rider, 1)}}
			tt.make(p, &p.Train.Riders[0])
			if got := Sound(p, n); got != tt.want {
				t.Errorf("Sound = %v, want %v", got, tt.want)
			}
		})
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
					c.Fold(p, p.Line.Base+uint64(k)+1, make([]byte, 100*k))
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
