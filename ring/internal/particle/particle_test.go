package particle

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

func newCore(self int) *Core {
	c := New(Config{Self: self, Fast: true, Lap: time.Second, Loss: 400 * time.Millisecond},
		wire.Epoch{}, 0)
	c.SetRing(3, self)
	return c
}

func at(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }

func TestP1GuardPassesOnlyGreater(t *testing.T) {
	e1, e2 := wire.Epoch{Counter: 1, Dropper: 2}, wire.Epoch{Counter: 1, Dropper: 5}
	c := newCore(1)
	steps := []struct {
		e    wire.Epoch
		lap  uint64
		want bool
	}{
		{e1, 1, true},
		{e1, 1, false},
		{e1, 3, true},
		{e1, 2, false},
		{e2, 1, true},
		{e1, 9, false},
		{e2, 1, false},
		{e2, 2, true},
		{wire.Epoch{Counter: 2}, 1, true},
		{e2, 100, false},
	}
	for i, s := range steps {
		p := wire.Particle{Epoch: s.e, Lap: s.lap}
		if _, ok := c.Arrive(at(i), &p); ok != s.want {
			t.Errorf("step %d: (%v, %d) passed = %v, want %v", i, s.e, s.lap, ok, s.want)
		}
	}
}

func TestLapRisesOnTheHopThatWraps(t *testing.T) {
	for _, tt := range []struct {
		self, next int
		want       uint64
	}{{1, 2, 7}, {2, 0, 8}, {1, 1, 8}, {2, 1, 8}} {
		c := newCore(tt.self)
		c.Arrive(at(0), &wire.Particle{Epoch: wire.Epoch{Counter: 1}, Lap: 7})
		p := c.Depart(at(1), tt.next, 0)
		if p.Lap != tt.want {
			t.Errorf("%d to %d: lap %d, want %d", tt.self, tt.next, p.Lap, tt.want)
		}
		again := c.Depart(at(2), tt.next, 0)
		if again.AgeUS = p.AgeUS; again != p {
			t.Errorf("copy %+v differs from %+v", again, p)
		}
	}
}

func TestP1LostParticleIsReplacedByTheFirstInRank(t *testing.T) {
	a, b := newCore(0), newCore(1)
	a.Begin(at(0))
	b.Begin(at(0))
	if !a.Deadline().Before(b.Deadline()) {
		t.Errorf("rank 0 replaces at %v, rank 1 at %v", a.Deadline(), b.Deadline())
	}
	a.Heard(wire.Epoch{Counter: 41, Dropper: 9})
	if !a.Lost(a.Deadline()) {
		t.Fatal("not lost at its deadline")
	}
	p := a.Drop(a.Deadline())
	if want := (wire.Epoch{Counter: 42, Dropper: 0}); p.Epoch != want {
		t.Errorf("dropped %v, want %v", p.Epoch, want)
	}
}

func TestCirculatingParticleTakesAHigherEpoch(t *testing.T) {
	c := newCore(1)
	c.Arrive(at(0), &wire.Particle{Epoch: wire.Epoch{Counter: 1}, Lap: 7})
	c.Heard(wire.Epoch{Counter: 9, Dropper: 2})
	p := c.Depart(at(1), 2, 0)
	if want := (wire.Epoch{Counter: 10, Dropper: 1}); p.Epoch != want || p.Lap != 7 {
		t.Errorf("left as %+v, want epoch %v and lap 7", p, want)
	}
}

func TestCopyIsSentAgainWithGrowingPauses(t *testing.T) {
	c := newCore(1)
	c.Arrive(at(0), &wire.Particle{Epoch: wire.Epoch{Counter: 1}, Lap: 7})
	c.Depart(at(0), 2, 0)
	first := c.Deadline()
	if c.ResendDue(first.Add(-1)) || !c.ResendDue(first) {
		t.Fatalf("due before its time, or not at it")
	}
	c.Resent(first)
	second := c.Deadline()
	if !second.After(first) {
		t.Errorf("second copy at %v, not after %v", second, first)
	}
	c.Arrive(second, &wire.Particle{Epoch: wire.Epoch{Counter: 1}, Lap: 8})
	if c.Resends() != 0 || c.Sent() {
		t.Errorf("a new lap left %d resends counted", c.Resends())
	}
}

// Where others rest for much longer than this stop knows, it must not replace
// every particle before it has come round.
func TestSlowLapIsWaitedForInTheEnd(t *testing.T) {
	c := New(Config{Hold: time.Millisecond, Lap: time.Second, Loss: 400 * time.Millisecond},
		wire.Epoch{}, 0)
	c.SetRing(3, 0)
	now := at(0)
	c.Begin(now)
	const lap = 9 * time.Second
	for range 20 {
		now = c.lossAt()
		c.Drop(now)
		c.Depart(now, 1, 0)
		if c.lossAt().Sub(now) > lap {
			return
		}
	}
	t.Errorf("after 20 particles, still replaced within %v of a lap of %v", c.lossAt().Sub(now), lap)
}

// A new particle shows itself to everybody at once; its second lap rests.
func TestP1FirstLapOfAnEpochDoesNotRest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hold  time.Duration
		alive int
		rests [3]time.Duration // at the first, second and third pass
	}{
		{"even share", 0, 4, [3]time.Duration{0, 250 * time.Millisecond, 250 * time.Millisecond}},
		{"declared", 40 * time.Millisecond, 4, [3]time.Duration{40e6, 40e6, 40e6}},
		{"alone", 0, 1, [3]time.Duration{1e9, 1e9, 1e9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := New(Config{Hold: tt.hold, Lap: time.Second, Loss: 400 * time.Millisecond},
				wire.Epoch{}, 0)
			c.SetRing(tt.alive, 0)
			for i, want := range tt.rests {
				now := at(2000 * i)
				c.Arrive(now, &wire.Particle{Epoch: wire.Epoch{Counter: 1}, Lap: uint64(i + 1)})
				if got := c.Deadline().Sub(now); got != want {
					t.Errorf("pass %d rests for %v, want %v", i, got, want)
				}
				p := c.Depart(c.Deadline(), 0, 0)
				if got := time.Duration(p.HeldUS) * time.Microsecond; got != want {
					t.Errorf("pass %d: the particle says it was held for %v, want %v", i, got, want)
				}
			}
		})
	}
}

// A lap without rests must not be what this stop expects of the laps to come,
// nor pass for the proof that its particles come round.
func TestFirstLapTeachesNothing(t *testing.T) {
	c := newCore(0) // it does not rest itself, the others do
	now := at(0)
	c.Begin(now)
	const lap = time.Second
	for range 5 {
		now = c.lossAt()
		p := c.Drop(now)
		c.Depart(now, 1, 0)
		now = now.Add(5 * time.Millisecond)
		p.Lap++
		c.Arrive(now, &p)
		c.Depart(now, 1, 0)
		if c.lossAt().Sub(now) > lap {
			return
		}
	}
	t.Errorf("after 5 particles, still replaced within %v of a lap of %v", c.lossAt().Sub(now), lap)
}
