package particle

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// three is what three instances that all vote know of the fleet.
func three(number uint64) Bus {
	return Bus{
		Anchorable: true, Number: number, Base: 95, Limit: 1000, Conf: 1, Stamps: true, Refuses: number,
		Voters: []wire.Stamp{
			{Voter: 0, Role: wire.Votes},
			{Voter: 1, Role: wire.Votes},
			{Voter: 2, Role: wire.Votes},
		},
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

// A stop that is just back may see the particle before the entry that reserved its tick.
func TestP3LapBeyondWhatIsKnownToBeReserved(t *testing.T) {
	for _, row := range []struct {
		name   string
		strict bool
		known  uint64 // this stop's limit
		base   uint64 // the particle's
		says   uint64 // the limit it tells of
		counts bool
		behind bool
	}{
		{"nobody signs: the particle is believed", false, 100, 95, 200, true, false},
		{"nobody signs, and it says that there is no such tick", false, 100, 95, 100, false, true},
		{"nobody signs, and the epoch begins elsewhere", false, 1000, 94, 1000, false, false},
		{"signed: only what is agreed on", true, 100, 95, 200, false, true},
		{"signed, and the entry is here", true, 200, 95, 200, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, b := newCore(1), three(7)
			b.Strict, b.Limit = row.strict, row.known
			c.SetBus(at(0), b)
			pass, _ := c.Arrive(at(1), &wire.Particle{
				Epoch: wire.Epoch{Number: 7}, Lap: 5, Base: row.base, Limit: row.says, Anchored: true,
			})
			if pass.Anchored != row.counts || c.Behind() != row.behind {
				t.Errorf("counts %v, behind %v; want %v, %v", pass.Anchored, c.Behind(), row.counts, row.behind)
			}
		})
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

// A disk that answers within a lap is enough for the ceiling never to be met: whoever
// waits for it there would hold the particle up.
func TestP3TicksAreReservedBeforeTheyAreNeeded(t *testing.T) {
	r := ring(7)
	b := three(7)
	b.Limit = 1 << 40
	for _, c := range r {
		c.SetBus(at(0), b)
	}
	r[0].Let(at(0), 7, 5, 95, b.Limit)
	var met, asked int
	for hop := 1; hop < 9000; hop++ { // three milliseconds a lap
		i := hop % 3
		p := r[(i+2)%3].Depart(at(hop), i, 0)
		before := r[i].Ceiling()
		pass, ok := r[i].Arrive(at(hop), &p)
		if !ok || !pass.Anchored || pass.Tick >= before && r[i].Ceiling() == before {
			t.Fatalf("hop %d: %+v, %v, below %d", hop, pass, ok, before)
		}
		if i != 1 {
			continue
		}
		if r[i].Ceiling() != before {
			met++
		}
		if w := r[i].Wants(); w > 0 {
			asked++
			r[i].Reserve(w)
		}
	}
	// The first of all, before its pace was known, and a few while that rose.
	if met > 3 || asked < 5 || asked > 30 {
		t.Errorf("met its ceiling %d times and asked for more %d times in 27 s", met, asked)
	}
	if ahead := r[1].Ceiling() - r[1].tick; ahead > 3*uint64(ceilingAhead/(3*time.Millisecond)) {
		t.Errorf("%d ticks reserved ahead", ahead)
	}
}

func TestP1AttachedStopDestroysDetached(t *testing.T) {
	c := newCore(1)
	c.SetBus(at(0), three(7))
	detached := &wire.Particle{Epoch: wire.Epoch{Number: 7, Counter: 1}, Lap: 90}
	if _, ok := c.Arrive(at(0), detached); !ok {
		t.Fatal("not attached yet, and does not let it pass")
	}
	if _, ok := c.Arrive(at(1), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Base: 95, Lap: 5, Anchored: true}); !ok {
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
	if _, ok := c.Arrive(at(5), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Base: 95, Lap: 6}); ok {
		t.Error("one of the bus that nobody counts passes where another took its place")
	}
	c.SetBus(at(6), three(7))
	if _, ok := c.Arrive(at(7), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Base: 95, Lap: 7}); !ok {
		t.Error("back, and does not let the fleet's own pass")
	}
}

func TestP1OlderEpochOfTheBusDies(t *testing.T) {
	c := New(Config{Self: 1, Fast: true, Lap: time.Second, Loss: time.Second}, wire.Epoch{Number: 7}, 0)
	if _, ok := c.Arrive(at(0), &wire.Particle{Epoch: wire.Epoch{Number: 6}, Lap: 99, Anchored: true}); ok {
		t.Error("one older than what the disk holds passed")
	}
	if _, ok := c.Arrive(at(1), &wire.Particle{Epoch: wire.Epoch{Number: 7}, Base: 95, Lap: 2}); !ok {
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

// A leader that died between the entry and the particle leaves an epoch without
// one, and the particle of the epoch before goes on, which nobody stamps.
func TestP1ParticleOfAnOlderEpochIsAsGoodAsNone(t *testing.T) {
	c := newCore(0)
	c.Begin(at(0))
	b := three(7)
	b.Leading = true
	c.SetBus(at(0), b)
	c.Let(at(0), 7, 5, 95, 1000)
	b.Number, b.Refuses = 8, 8
	c.SetBus(at(10), b)
	for ms := 20; ms < 60_000; ms += 20 {
		p := c.Depart(at(ms), 0, 0)
		if _, ok := c.Arrive(at(ms), &p); !ok {
			t.Fatal("it is still the newest that passed")
		}
		if c.Lost(at(ms)) {
			return
		}
	}
	t.Error("never missed the particle of epoch 8")
}

func TestP3ChangeOfVotersCostsNoTick(t *testing.T) {
	r := ring(7)
	r[0].Let(at(0), 7, 5, 95, 1000)
	for hop := range 6 {
		i := (hop + 1) % 3
		if hop == 3 { // all have stamped the running lap but the one to come
			for _, c := range r {
				b := three(7)
				b.Conf, b.Voters = 2, b.Voters[:2]
				b.Stamps = c.cfg.Self < 2
				c.SetBus(at(hop), b)
			}
		}
		p := r[(i+2)%3].Depart(at(hop), i, 0)
		if pass, ok := r[i].Arrive(at(hop), &p); !ok || !pass.Anchored {
			t.Errorf("hop %d: %+v, %v", hop, pass, ok)
		}
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

// A stop may have reserved ticks at a pace that nobody goes at any more, and
// neither stamps nor counts below them.
func TestP3LeaderReplacesWhatSpinsAndNeverCounts(t *testing.T) {
	c := New(Config{Self: 0, Fast: true, Lap: time.Second, Loss: 400 * time.Millisecond},
		wire.Epoch{}, 900)
	c.SetRing(1, 0)
	c.Begin(at(0))
	b := three(7)
	b.Leading, b.Limit = true, 2000
	c.SetBus(at(0), b)
	c.Let(at(0), 7, 5, 95, 2000)
	asked := 0
	for ms := 10; ms < 30_000; ms += 10 {
		p := c.Depart(at(ms), 0, 0)
		if pass, ok := c.Arrive(at(ms), &p); !ok || pass.Anchored && pass.Tick < 900 {
			t.Fatalf("lap %d: %+v, %v", p.Lap, pass, ok)
		}
		if p = c.Depart(at(ms), 0, 0); c.Lost(at(ms)) {
			c.Asked(at(ms))
			asked++
		}
	}
	if asked < 3 || asked > 8 {
		t.Errorf("asked for a new one %d times in half a minute, want a few", asked)
	}
}
