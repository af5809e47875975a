package core

import (
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

// The hop path must cost next to nothing beside the two system calls around it:
// no allocation, and well under a microsecond.
func TestHopDoesNotAllocate(t *testing.T) {
	l, h, in := spinning(t)
	last, _ := h.core.token.Last()
	p := &wire.Particle{Epoch: last.Epoch, Lap: last.Lap}
	ev := Event{Kind: Received, Conn: in, Msg: p}
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

func BenchmarkHop(b *testing.B) {
	l, h, in := spinning(b)
	last, _ := h.core.token.Last()
	p := &wire.Particle{Epoch: last.Epoch, Lap: last.Lap}
	ev := Event{Kind: Received, Conn: in, Msg: p}
	b.ReportAllocs()
	for b.Loop() {
		p.Lap++
		h.core.Step(l.now, ev)
	}
}
