package particle

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// three is what three instances that all vote know of the fleet.
func three(number uint64) Bus {
	return Bus{
		Anchorable: true, Number: number, Limit: 1000, Conf: 1, Stamps: true, Refuses: number,
		Voters: []wire.Stamp{{Voter: 0, Role: wire.Votes}, {Voter: 1, Role: wire.Votes},
			{Voter: 2, Role: wire.Votes}},
	}
}

// ring is three stops that a particle goes round by hand.
func ring(number uint64) [3]*Core {
	var r [3]*Core
	for i := range r {
		r[i] = newCore(i)
		r[i].SetBus(at(0), three(number))
	}
	return r
}

func TestP3LapCountsAfterAQuorumStamped(t *testing.T) {
	r := ring(7)
	p, pass := r[0].Let(at(0), 7, 5, 95, 1000)
	if !pass.Anchored || pass.Tick != 100 {
		t.Fatalf("the first lap: %+v, want tick 100", pass)
	}
	for ms := 1; ms < 30; ms++ {
		i := ms % 3
		from := r[(i+2)%3]
		p = from.Depart(at(ms), i, time.Millisecond)
		pass, ok := r[i].Arrive(at(ms), &p)
		if want := 95 + p.Lap; !ok || !pass.Anchored || pass.Tick != want || pass.Skipped > 0 {
			t.Fatalf("at %d, lap %d: %+v, %v, want tick %d", i, p.Lap, pass, ok, want)
		}
		if i > 0 && pass.Skew < time.Duration(i)*time.Millisecond {
			t.Errorf("at %d: skew %v", i, pass.Skew)
		}
	}
}

func TestP3LapOfAMinorityDoesNotCount(t *testing.T) {
	r := ring(7)
	r[0].Let(at(0), 7, 5, 95, 1000)
	for lap := range 3 { // 0 is on its own
		p := r[0].Depart(at(lap+1), 0, 0)
		pass, ok := r[0].Arrive(at(lap+1), &p)
		if !ok || pass.Anchored || pass.Tick != 100 {
			t.Errorf("lap %d alone: %+v, %v", p.Lap, pass, ok)
		}
	}
	// Back with the others the next lap is stamped, the one after it counts.
	var pass Pass
	for hop := range 6 {
		i := (hop + 1) % 3
		p := r[(i+2)%3].Depart(at(10+hop), i, 0)
		var ok bool
		if pass, ok = r[i].Arrive(at(10+hop), &p); !ok {
			t.Fatalf("hop %d: destroyed", hop)
		}
	}
	if !pass.Anchored {
		t.Errorf("still not counted: %+v", pass)
	}
}

func TestP3NoStampForAnOlderEpoch(t *testing.T) {
	r := ring(7)
	for _, c := range r[1:] {
		b := three(7)
		b.Refuses = 8 // it has a later drop in its log
		c.SetBus(at(0), b)
	}
	r[0].Let(at(0), 7, 5, 95, 1000)
	for hop := range 3 {
		i := (hop + 1) % 3
		p := r[(i+2)%3].Depart(at(hop), i, 0)
		if pass, ok := r[i].Arrive(at(hop), &p); !ok || i == 0 && pass.Anchored {
			t.Errorf("hop %d: %+v, %v", hop, pass, ok)
		}
	}
}

func TestP3NoTickBeyondTheReserved(t *testing.T) {
	r := ring(7)
	r[0].Let(at(0), 7, 5, 95, 101) // 100 is the only one
	for hop := range 3 {
		i := (hop + 1) % 3
		p := r[(i+2)%3].Depart(at(hop), i, 0)
		p.Limit = 101
		pass, _ := r[i].Arrive(at(hop), &p)
		r[i].last.Limit = 101
		if want := i != 0; pass.Anchored != want {
			t.Errorf("at %d: anchored %v", i, pass.Anchored)
		}
	}
}

func TestP1AttachedStopDestroysDetached(t *testing.T) {
	c := newCore(1)
	c.SetBus(at(0), three(7))
	detached := &wire.Particle{Epoch: wire.Epoch{Number: 7, Counter: 1}, Lap: 90}
	if _, ok := c.Arrive(at(0), detached); !ok {
		t.Fatal("not attached yet, and does not let it pass")
	}
	if _, ok := c.Arrive(at(1), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Lap: 5, Anchored: true}); !ok {
		t.Fatal("an anchored one is not let pass after a detached one")
	}
	detached.Lap, detached.Epoch.Counter = 91, 9
	if _, ok := c.Arrive(at(2), detached); ok {
		t.Error("attached, and lets a detached one pass")
	}
	b := three(7)
	b.Anchorable = false // cut off
	c.SetBus(at(3), b)
	if _, ok := c.Arrive(at(4), detached); !ok {
		t.Error("cut off, and does not let a detached one pass")
	}
	if _, ok := c.Arrive(at(5), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Lap: 6}); ok {
		t.Error("one of the bus that nobody counts passes where another took its place")
	}
	c.SetBus(at(6), three(7))
	if _, ok := c.Arrive(at(7), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Lap: 7}); !ok {
		t.Error("back, and does not let the fleet's own pass")
	}
}

func TestP1OlderEpochOfTheBusDies(t *testing.T) {
	c := New(Config{Self: 1, Fast: true, Lap: time.Second, Loss: time.Second}, wire.Epoch{Number: 7})
	if _, ok := c.Arrive(at(0), &wire.Particle{Epoch: wire.Epoch{Number: 6}, Lap: 99, Anchored: true}); ok {
		t.Error("one older than what the disk holds passed")
	}
	if _, ok := c.Arrive(at(1), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Lap: 2}); !ok {
		t.Error("that of the disk's epoch did not")
	}
}

func TestOnlyTheLeaderMissesTheBusesParticle(t *testing.T) {
	c := newCore(0)
	c.Begin(at(0))
	b := three(3)
	c.SetBus(at(0), b)
	if d := c.Deadline(); !d.IsZero() {
		t.Errorf("a follower waits until %v", d)
	}
	b.Leading = true
	c.SetBus(at(5), b)
	if d := c.Deadline(); d.IsZero() || !c.Lost(d) || c.Lost(d.Add(-1)) {
		t.Errorf("the leader waits until %v", d)
	}
}

func TestP3OlderEpochIsMissedThoughItSpins(t *testing.T) {
	c := newCore(0)
	c.Begin(at(0))
	b := three(3)
	b.Leading = true
	c.SetBus(at(0), b)
	old := &wire.Particle{Epoch: wire.Epoch{Number: 3}, Lap: 1}
	c.Arrive(at(1), old)
	b.Number = 4 // agreed on by a leader that did not live to let it go
	c.SetBus(at(2), b)
	d := at(2)
	for lap := 2; lap < 60; lap++ {
		if d = d.Add(100 * time.Millisecond); c.Lost(d) {
			return
		}
		old.Lap = uint64(lap)
		c.Arrive(d, old)
		c.Depart(d, 1, 0)
	}
	t.Error("an older particle that counts nothing is good enough for ever")
}

func TestP3StartedAgainCountsWhatComesRound(t *testing.T) {
	c := New(Config{Self: 1, Fast: true, Lap: time.Second, Loss: time.Second}, wire.Epoch{Number: 7})
	for i, row := range []struct {
		number, lap uint64
		counts      bool
	}{
		{7, 12, false}, // held by one that was stopped while the others went on to 20
		{7, 33, false},
		{7, 34, true},
		{7, 36, true},
		{8, 37, true},
	} {
		p := &wire.Particle{Epoch: wire.Epoch{Number: row.number}, Lap: row.lap, Anchored: true}
		if pass, ok := c.Arrive(at(i), p); !ok || pass.Anchored != row.counts {
			t.Errorf("lap %d of epoch %d: passed %v, counted %v", row.lap, row.number, ok, pass.Anchored)
		}
	}
	c = New(Config{Self: 1, Fast: true, Lap: time.Second, Loss: time.Second}, wire.Epoch{Number: 7})
	p := &wire.Particle{Epoch: wire.Epoch{Number: 8}, Lap: 3, Anchored: true}
	if pass, _ := c.Arrive(at(0), p); !pass.Anchored {
		t.Error("a new epoch's first lap does not count")
	}
}
