package core

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// spinning is the middle one of three, linked, with a particle on its way.
func spinning(t testing.TB) (l *lan, h *host, in ConnID) {
	tt, ok := t.(*testing.T)
	if !ok {
		tt = &testing.T{}
	}
	l = newLAN(tt, 3)
	for _, h := range l.hosts {
		l.step(h, Event{Kind: SetPace, Fast: true})
	}
	l.run(3 * time.Second)
	h = l.hosts[1]
	for _, cn := range h.core.open {
		if cn.up && cn.peer.i == 0 {
			return l, h, cn.id
		}
	}
	t.Fatal("no link")
	return nil, nil, 0
}

// nextHop is the particle as it came last, and that it comes; each time its lap is one more.
func nextHop(h *host, in ConnID) (*wire.Particle, Event) {
	last, _ := h.core.token.Last()
	p := &wire.Particle{Epoch: last.Epoch, Lap: last.Lap}
	return p, Event{Kind: Received, Conn: in, Msg: p}
}

// The hop path must cost next to nothing beside the two system calls around it:
// no allocation, and well under a microsecond.
func TestHopDoesNotAllocate(t *testing.T) {
	l, h, in := spinning(t)
	p, ev := nextHop(h, in)
	sent := 0
	if n := testing.AllocsPerRun(1000, func() {
		p.Lap++
		for _, fx := range h.core.Step(l.now, ev) {
			if fx.Kind == Send {
				sent++
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a hop, want none", n)
	}
	if sent < 1000 {
		t.Errorf("%d of 1000 hops sent the particle on", sent)
	}
}

// BenchmarkHop is a hop past stations that hold the particle for topics of which nobody is
// aboard: what a station costs that does nothing, and without any the hop itself.
func BenchmarkHop(b *testing.B) {
	for _, n := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("stations=%d", n), func(b *testing.B) {
			l, h, in := spinning(b)
			set := &StationSet{Holds: map[string]time.Duration{}}
			for i := range n {
				set.Holds["topic/"+strconv.Itoa(i)] = time.Second
			}
			l.step(h, Event{Kind: Stations, Stations: set})
			p, ev := nextHop(h, in)
			b.ReportAllocs()
			for b.Loop() {
				p.Lap++
				h.core.Step(l.now, ev)
			}
		})
	}
}

// BenchmarkHopWithPassengers is a hop with passengers of others aboard, from the frame that
// came to the frame that goes: each is delivered here.
func BenchmarkHopWithPassengers(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			l, h, in := spinning(b)
			last, _ := h.core.token.Last()
			var dec wire.Decoder
			var frame, out []byte
			lap, line := last.Lap, last.Line
			b.ReportAllocs()
			for b.Loop() {
				lap++
				p := &wire.Particle{Epoch: last.Epoch, Lap: lap, Line: line, Train: &wire.Train{Lap: lap}}
				for i := range n {
					p.Train.Riders = append(p.Train.Riders, wire.Rider{
						CastID: wire.CastID{Life: 1, Seq: line.Base + uint64(i) + 1}, Lap: lap, Topic: "bench",
						Payload: make([]byte, 64), Stop: uint32(i % 2),
					})
				}
				frame = wire.Append(frame[:0], p)
				m, err := dec.Decode(frame[wire.HeaderLen:])
				if err != nil {
					b.Fatal(err)
				}
				for _, fx := range h.core.Step(l.now, Event{Kind: Received, Conn: in, Msg: m}) {
					if fx.Kind == Send {
						out = wire.Append(out[:0], fx.Msg)
					}
				}
				line, _ = h.core.train.Line()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/passenger")
		})
	}
}
