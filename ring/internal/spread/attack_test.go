package spread

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// crowd is what one core knows of others that are not played.
type crowd struct {
	n     int
	links []int
	stuck map[int]bool
	waits map[int]bool
	view  uint64
}

func (c *crowd) Linked(dst []int) []int { return append(dst, c.links...) }
func (c *crowd) Clear(i int) bool       { return !c.stuck[i] }
func (c *crowd) Waits(i int) bool       { return c.waits[i] }
func (c *crowd) View() uint64           { return c.view }
func (c *crowd) Alive(int) bool         { return true }
func (c *crowd) RTT(int) time.Duration  { return 2 * hop }
func (c *crowd) Tree(origin int) []int32 {
	parent := make([]int32, c.n)
	for i := range parent {
		parent[i] = int32(origin)
	}
	parent[origin] = -1
	return parent
}

// lone is a core 0 of n, linked with 1 to links.
func lone(n, links, keep int) (*Core, *crowd, time.Time) {
	f, now := &crowd{n: n, stuck: map[int]bool{}}, time.Unix(1000, 0)
	for i := range links {
		f.links = append(f.links, i+1)
	}
	return New(now, Config{
		N: n, Life: 10, Fleet: f, Small: 1 << 10, Keep: keep, Every: 20 * hop, Turn: 256,
		Rand: rand.New(rand.NewPCG(1, 2)),
	}), f, now
}

func message(origin uint32, life, seq uint64, bytes int) *Message {
	return &Message{
		CastID: ID{Origin: origin, Life: life, Seq: seq}, Topic: "t",
		Payload: make([]byte, bytes),
	}
}

// A number far ahead, by a fault or a lie, is no work: looking for what lies between
// one by one would take years.
func TestHugeNumbersAreNoWork(t *testing.T) {
	const huge = wire.CounterMax - 1
	for name, attack := range map[string]func(c *Core, now time.Time){
		"message": func(c *Core, now time.Time) { c.Receive(now, 1, message(2, 1, huge, 1)) },
		"name":    func(c *Core, now time.Time) { c.Has(now, 1, []ID{{Origin: 2, Life: 1, Seq: huge}}) },
		"digest": func(c *Core, now time.Time) {
			c.Compare(now, 1, []Range{{Origin: 2, Life: 1, From: 1, To: huge}}, true)
		},
		"question": func(c *Core, now time.Time) {
			c.Receive(now, 1, message(2, 1, 1, 1))
			c.Has(now, 1, []ID{{Origin: 2, Life: 1, Seq: huge}})
			c.Wanted(now, 1, []Range{{Origin: 2, Life: 1, From: 1, To: huge}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, now := lone(5, 4, 1<<20)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for k := range 100 {
					attack(c, now.Add(time.Duration(k)*hop))
				}
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it still counts")
			}
			for _, fx := range c.Effects() {
				for _, r := range fx.Ranges {
					if fx.Kind == Want && r.To-r.From > span {
						t.Fatalf("it asks for %v at once", r)
					}
				}
			}
		})
	}
}

// Both of a link lack the same, and nobody sends anything any more: all are told what
// they missed all the same.
func TestB1HalfMissedIsTold(t *testing.T) {
	for _, quietly := range []bool{false, true} {
		f := newNet(t, 20, 6, 5)
		f.keep = 1 << 18
		for i := range f.nodes {
			f.start(i)
		}
		f.run(50 * hop)
		first := f.publish(1, 100)
		f.run(10 * hop)
		away := func(i int) bool { return i >= 10 }
		f.cut = func(a, b int) bool { return away(a) != away(b) }
		for range 1000 {
			f.publish(1, 1000)
			f.run(hop)
		}
		if quietly { // longer than anybody compares
			f.run(2 * quiet * 20 * hop)
		}
		f.cut = nil
		for i, n := range f.nodes {
			for _, j := range n.Linked(nil) {
				if away(i) != away(j) {
					n.core.Up(f.now, j)
				}
			}
			f.carry(n)
		}
		f.run(100 * 20 * hop)
		for _, n := range f.nodes {
			last := n.last[1]
			if last.Seq != 1001 {
				t.Errorf("quietly %v: %d knows of %+v, the newest is 1001", quietly, n.i, last)
			}
			if _, ok := n.got[first]; !ok {
				t.Errorf("%d has not the first", n.i)
			}
		}
	}
}

// Whoever has no neighbours at the moment does not know that nobody has it any more.
func TestB1NothingIsGivenUpAlone(t *testing.T) {
	c, f, now := lone(5, 4, 1<<20)
	c.Receive(now, 1, message(2, 1, 1, 1))
	f.links = nil
	for k := range 100 {
		c.Compare(now.Add(time.Duration(k)*20*hop), 3, []Range{{Origin: 2, Life: 1, From: 50, To: 60}}, false)
	}
	for _, fx := range c.Effects() {
		if fx.Kind == Missed {
			t.Fatalf("it gives up %v, and has no neighbour it could have asked", fx.Ranges)
		}
	}
}

// Who lacks much is given it a batch per round trip, not one per comparison, and by one
// neighbour, not by all.
func TestB1CatchesUpAtOnce(t *testing.T) {
	f := newNet(t, 11, 6, 5)
	f.keep = 8 << 20
	for i := range f.nodes {
		f.start(i)
	}
	f.run(50 * hop)
	f.publish(1, 100)
	f.run(10 * hop)
	f.cut = func(a, b int) bool { return a == 7 || b == 7 }
	const many = 3000
	for range many {
		f.publish(1, 2000)
		f.run(hop)
	}
	f.cut = nil
	at, before := f.now, f.copies
	for _, j := range f.nodes[7].Linked(nil) {
		f.nodes[j].core.Up(f.now, 7)
		f.carry(f.nodes[j])
	}
	for len(f.nodes[7].got) < many+1 && f.now.Sub(at) < 1000*hop {
		f.run(hop)
	}
	batches := many * 2065 / batch
	if took, most := int(f.now.Sub(at)/hop), 10*batches+40; took > most {
		t.Errorf("%d messages after %d hops, want all %d within %d", len(f.nodes[7].got), took, many+1, most)
	}
	if copies := f.copies - before; copies > many*3/2 {
		t.Errorf("%d copies of %d messages", copies, many)
	}
}

// What asks again and again and takes nothing is not answered: all that waits for it
// would lie in memory.
func TestAStuckNeighbourIsNotAnswered(t *testing.T) {
	c, f, now := lone(600, 4, 1<<20)
	for i := range uint32(599) {
		c.Receive(now, 1, message(i+1, 1, 1, 100))
	}
	c.Effects()
	f.stuck[2] = true
	for range 100 {
		c.Compare(now, 2, nil, true)
		c.Compare(now, 2, []Range{{Origin: 3, Life: 1, From: 1, To: 0}}, true)
		c.Wanted(now, 2, []Range{{Origin: 3, Life: 1, From: 1, To: 1}})
	}
	if fx := c.Effects(); len(fx) > 0 {
		t.Errorf("%d effects, the first is %+v", len(fx), fx[0])
	}
	f.stuck[2] = false
	c.Room(now, 2)
	told := 0
	for _, fx := range c.Effects() {
		if fx.Kind == Digest && fx.To == 2 {
			told += len(fx.Ranges)
		}
	}
	if told < 599 {
		t.Errorf("a neighbour that has room again is told of %d origins, of 599", told)
	}
}

// The smallest messages take no more than what is kept is said to take, twice over:
// what is counted for each is what it costs.
func TestSmallMessagesAreCountedInFull(t *testing.T) {
	const keep = 8 << 20
	c, _, now := lone(5, 0, keep)
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	for k := range uint64(300_000) {
		m := message(1, 1, k+1, 1)
		m.Topic = fmt.Sprint(k % 100) // of its own, as a decoder makes it
		c.Receive(now, 2, m)
		c.Effects()
	}
	took := heap() - before
	t.Logf("%d messages of a byte take %d bytes, counted as %d", len(c.kept), took, c.bytes)
	if took > 2*keep {
		t.Errorf("%d messages take %d bytes, twice what is to be kept (%d) and more", len(c.kept), took, keep)
	}
	runtime.KeepAlive(c)
}

// Who was away when an origin went and came back is told how much of its earlier life it
// missed.
func TestB1MissedOfAnEarlierLifeIsTold(t *testing.T) {
	f := newNet(t, 20, 6, 5)
	f.run(50 * hop)
	for range 5 {
		f.publish(1, 100)
	}
	f.run(10 * hop)
	f.cut = func(a, b int) bool { return a == 7 || b == 7 }
	for range 3 { // three lives with five messages each
		for range 5 {
			f.publish(1, 100)
		}
		f.run(10 * hop)
		f.nodes[1].up = false
		f.run(10 * hop)
		f.start(1)
		f.link(1)
		f.run(50 * hop)
	}
	id := f.publish(1, 100)
	f.run(10 * hop)
	f.cut = nil
	f.link(7)
	f.run(300 * hop)
	n, missed := f.nodes[7], uint64(0)
	for _, g := range n.gaps {
		missed += g.To - g.From + 1
	}
	if _, ok := n.got[id]; !ok || len(n.got) != 6 || missed != 15 {
		t.Errorf("7 has %d messages and misses %v, want 6 of 21 and 15 missed", len(n.got), n.gaps)
	}
}

// Whose way in the tree is dead, and nobody knows, asks those who have announced it; no
// comparison helps.
func TestB1AnnouncedIsAskedFor(t *testing.T) {
	f := newNet(t, 60, 6, 3)
	f.every = time.Hour
	for i := range f.nodes {
		f.start(i)
	}
	tree := f.live.Tree(0)
	for i, p := range tree { // each between the origin and others
		if p == 0 {
			f.nodes[i].up = false
			break
		}
	}
	at := f.now
	id := f.publish(0, 10_000)
	f.run(100 * hop)
	if got, of, hops := f.reached(id, at); got != of || f.names == 0 || f.digests > 0 {
		t.Errorf("%d of %d have it after %d hops, by %d names and %d digests", got, of, hops, f.names,
			f.digests)
	}
}

// What nobody has any more is given up after one wait, however many holes there are.
func TestB1ManyHolesAreOneWait(t *testing.T) {
	c, _, now := lone(5, 4, 1<<20)
	every := c.cfg.Every
	for seq := uint64(1); seq <= 41; seq += 2 {
		c.Receive(now, 1, message(0, 9, seq, 10)) // of an earlier process of ours
	}
	end := now.Add((patience + 10) * every)
	for ; now.Before(end); now = now.Add(every / 2) {
		for i := range 4 {
			c.Compare(now, i+1, []Range{{Origin: 0, Life: 9, From: 42, To: 41}}, false)
		}
	}
	got, missed := 0, uint64(0)
	for _, fx := range c.Effects() {
		switch fx.Kind {
		case Deliver:
			got++
		case Missed:
			missed += fx.Ranges[0].To - fx.Ranges[0].From + 1
		}
	}
	if got != 21 || missed != 20 {
		t.Errorf("after %d comparisons it has %d messages and misses %d, want 21 and 20",
			2*(patience+10), got, missed)
	}
}

// Who comes when all its neighbours have let go of what it lacks waits for nothing: they
// will not have it again. One that has not had it yet may still get it.
func TestB1WhatAllHaveLetGoIsNotWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		name   string
		other  Range
		missed bool
	}{
		{"all let it go", Range{Origin: 5, Life: 1, From: 12, To: 14}, true},
		{"one has not had it", Range{Origin: 5, Life: 1, From: 1, To: 0}, false},
	} {
		c, _, now := lone(8, 2, 1<<20)
		c.Compare(now, 1, []Range{{Origin: 5, Life: 1, From: 10, To: 14}}, false)
		c.Compare(now, 2, []Range{tt.other}, false)
		missed := false
		for _, fx := range c.Effects() {
			if fx.Kind == Missed {
				missed = true
				if r := fx.Ranges[0]; r.From != 1 || r.To != 9 {
					t.Errorf("%s: missed %+v, want 1 to 9", tt.name, r)
				}
			}
		}
		if missed != tt.missed {
			t.Errorf("%s: told at once %v, want %v", tt.name, missed, tt.missed)
		}
	}
}
