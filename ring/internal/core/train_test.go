package core

import (
	"bytes"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// board has a passenger wait at a host and returns what it is called, 0 if there is no room.
func (l *lan) board(h *host, topic string) (seq uint64) {
	ev := Event{Kind: Board, Riders: []wire.Rider{{Topic: topic, Payload: []byte("p")}}}
	for _, fx := range h.core.Step(l.now, ev) {
		if fx.Kind == Boarding {
			seq = fx.Seq
		}
		l.carryOut(h, fx)
	}
	l.step(h, Event{Kind: Timer})
	return seq
}

// home is what came of a passenger that was on its way, and when.
func (l *lan) home(i int, seq uint64) *train.Home {
	for _, h := range l.homes[i] {
		if h.Seq == seq {
			return &h
		}
	}
	return nil
}

// A passenger is home in a lap of hops, wherever the particle rests.
func TestP4APassengerDoesNotWaitForRests(t *testing.T) {
	l := newLAN(t, 5)
	l.run(5 * time.Second)
	for i, h := range l.hosts {
		l.run(lanTiming.Lap + 130*time.Millisecond)
		seq := l.board(h, "t")
		l.run(20 * hop)
		switch home := l.home(i, seq); {
		case home == nil:
			t.Errorf("the passenger of %d is not home", i)
		case home.Lost || len(home.Seen) != 1 || home.Seen[0] != 1<<5-1:
			t.Errorf("what came of the passenger of %d: %+v", i, home)
		}
	}
}

// Who cannot wait is told when it can, also if all who waited cancel.
func TestRoomToWaitIsTold(t *testing.T) {
	l := newLAN(t, 1)
	h := l.hosts[0]
	var seqs []uint64
	for {
		seq := l.board(h, "t")
		if seq == 0 {
			break
		}
		seqs = append(seqs, seq)
	}
	if l.seats > 0 {
		t.Error("told of room before there is any")
	}
	for _, seq := range seqs {
		l.step(h, Event{Kind: Unboard, Seq: seq})
	}
	if l.seats != 1 {
		t.Errorf("told %d times that there is room, want once", l.seats)
	}
	l.run(5 * time.Second)
	if n := len(l.homes[0]); n != 0 {
		t.Errorf("%d have ridden who had cancelled", n)
	}
}

// A station has its budget, and what it says of one pass is nothing to the next.
func TestP5AStationHoldsTheParticleForItsBudget(t *testing.T) {
	const budget = 30 * time.Millisecond
	l := newLAN(t, 3)
	l.run(5 * time.Second)
	slow := l.hosts[1]
	l.step(slow, Event{Kind: Stations, Stations: &StationSet{Holds: map[string]time.Duration{"t": budget}}})
	for _, tt := range []struct {
		name   string
		after  time.Duration // until it answers, 0 for never
		twice  bool
		folded uint32
		least  time.Duration
	}{
		{"at once", 2 * hop, false, 1, 0},
		{"with one word too many", 2 * hop, true, 1, 0},
		{"late", budget + hop, false, 0, budget},
		{"never", 0, false, 0, budget},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.run(lanTiming.Lap + 130*time.Millisecond)
			l.works = nil
			began := l.now
			seq := l.board(l.hosts[0], "t")
			for len(l.works) == 0 {
				l.run(hop)
			}
			w := l.works[0]
			if tt.after > 0 {
				values := []Value{{Number: w.Visit.Delivered[0].Number, Value: []byte("v")}}
				if tt.twice {
					values = append(values, values[0])
				}
				l.after(tt.after, func() { l.step(slow, Event{Kind: Worked, Seq: w.Seq, Values: values}) })
			}
			var home *train.Home
			for ; home == nil; home = l.home(0, seq) {
				l.run(hop)
			}
			if home.Folded != tt.folded || bytes.Equal(home.Value, []byte("v")) != (tt.folded == 1) {
				t.Errorf("folded %d, value %q", home.Folded, home.Value)
			}
			if took := l.now.Sub(began); took < tt.least || took > tt.least+30*hop {
				t.Errorf("it took %v, want %v and some hops", took, tt.least)
			}
			if w.Within != budget || len(w.Visit.Delivered) != 1 {
				t.Errorf("it had %v for %d passengers", w.Within, len(w.Visit.Delivered))
			}
		})
	}
}

// Who wants the particle on a lap that is far away does not keep it from resting for ever.
func TestHurryOfALapThatIsFarAway(t *testing.T) {
	l := newLAN(t, 3)
	l.run(3 * time.Second)
	h := l.hosts[1]
	p := h.core.token.Here()
	for _, cn := range h.core.open {
		if !cn.up {
			continue
		}
		for lap, want := range map[uint64]int{p.Lap + 2: 0, wire.CounterMax - 1: 0, p.Lap: 1} {
			h.core.rides.hurries = nil
			l.step(h, Event{Kind: Received, Conn: cn.id, Msg: &wire.Hurry{Epoch: p.Epoch, Lap: lap, Stop: 2}})
			if got := len(h.core.rides.hurries); got != want {
				t.Errorf("lap %d beside %d: %d wait, want %d", lap, p.Lap, got, want)
			}
		}
		return
	}
	t.Fatal("no link")
}
