package train

import (
	"fmt"
	"slices"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

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
