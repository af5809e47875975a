package spread

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/overlay"
)

// hop is how long everything takes between two neighbours.
const hop = time.Millisecond

// net is a fleet on a played network.
type net struct {
	t       testing.TB
	dice    *rand.Rand
	now     time.Time
	agenda  agenda
	order   int
	o       *overlay.Overlay
	live    *overlay.Live
	view    uint64
	nodes   []*node
	known   []bool // alive, as all know
	loss    float64
	cut     func(a, b int) bool
	copies  int // of payloads that arrived
	names   int
	digests int
	small   int
	keep    int
	every   time.Duration
}

type node struct {
	net   *net
	i     int
	core  *Core
	up    bool
	life  uint32
	wake  time.Time
	slow  map[int]bool
	got   map[ID]time.Time
	last  map[uint32]ID // by origin
	gaps  []Range
	trees map[int][]int32
	seen  uint64
}

type moment struct {
	at    time.Time
	order int
	do    func()
}

type agenda []moment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(moment)) }
func (a *agenda) Pop() any {
	m := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return m
}

func newNet(t testing.TB, n, degree int, seed uint64) *net {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i)
	}
	f := &net{
		t: t, dice: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1000, 0),
		o: overlay.Build(names, "prod", degree), small: 1 << 10, keep: 1 << 20,
		every: 20 * hop,
	}
	f.known = make([]bool, n)
	for i := range n {
		f.known[i] = true
		f.nodes = append(f.nodes, &node{net: f, i: i, slow: map[int]bool{}})
	}
	f.look()
	for i := range n {
		f.start(i)
	}
	return f
}

// look has everybody see who lives.
func (f *net) look() {
	f.view++
	f.live = f.o.Live(func(i int) bool { return f.known[i] })
}

func (f *net) start(i int) {
	n := f.nodes[i]
	n.life++
	n.up, n.wake = true, time.Time{}
	n.got, n.last, n.gaps = map[ID]time.Time{}, map[uint32]ID{}, nil
	n.core = New(f.now, Config{
		Self: i, N: len(f.nodes), Life: uint64(n.life), Fleet: n, Small: f.small, Keep: f.keep,
		Every: f.every, Turn: 3, Rand: f.dice,
	})
	f.carry(n)
}

// link has i and its neighbours meet, anew or again.
func (f *net) link(i int) {
	for _, j := range f.nodes[i].Linked(nil) {
		f.nodes[i].core.Up(f.now, j)
		f.nodes[j].core.Up(f.now, i)
		f.carry(f.nodes[j])
	}
	f.carry(f.nodes[i])
}

func (n *node) Linked(dst []int) []int {
	for _, j := range n.net.live.Near(n.i) {
		dst = append(dst, int(j))
	}
	return dst
}

func (n *node) Clear(i int) bool      { return !n.slow[i] }
func (n *node) Waits(int) bool        { return false }
func (n *node) View() uint64          { return n.net.view }
func (n *node) Alive(i int) bool      { return n.net.known[i] }
func (n *node) RTT(int) time.Duration { return 2 * hop }
func (n *node) Tree(origin int) []int32 {
	if n.net.nodes[0].seen != n.net.view {
		n.net.nodes[0].seen, n.net.nodes[0].trees = n.net.view, map[int][]int32{}
	}
	all := n.net.nodes[0].trees
	if all[origin] == nil {
		all[origin] = n.net.live.Tree(origin)
	}
	return all[origin]
}

func (f *net) after(d time.Duration, do func()) {
	f.order++
	heap.Push(&f.agenda, moment{f.now.Add(d), f.order, do})
}

func (f *net) run(d time.Duration) {
	end := f.now.Add(d)
	for len(f.agenda) > 0 && !f.agenda[0].at.After(end) {
		m := heap.Pop(&f.agenda).(moment)
		f.now = m.at
		m.do()
	}
	f.now = end
}

// carry carries out what a core wants.
func (f *net) carry(n *node) {
	for _, fx := range n.core.Effects() {
		switch fx.Kind {
		case Deliver:
			n.deliver(fx.Msg)
			continue
		case Missed:
			n.gap(fx.Ranges[0])
			continue
		}
		if f.dice.Float64() < f.loss || f.cut != nil && f.cut(n.i, fx.To) {
			continue
		}
		from, to, life := n.i, f.nodes[fx.To], f.nodes[fx.To].life
		f.after(hop, func() {
			if !to.up || to.life != life {
				return
			}
			switch fx.Kind {
			case Send:
				f.copies++
				to.core.Receive(f.now, from, fx.Msg)
			case Have:
				f.names++
				to.core.Has(f.now, from, fx.Names)
			case Want:
				to.core.Wanted(f.now, from, fx.Ranges)
			case Digest:
				f.digests++
				to.core.Compare(f.now, from, fx.Ranges, fx.Ask)
			}
			f.carry(to)
		})
	}
	if d := n.core.Deadline(); !d.IsZero() && (n.wake.IsZero() || d.Before(n.wake)) {
		n.wake = d
		life := n.life
		f.after(max(d.Sub(f.now), 0), func() {
			if n.up && n.life == life && n.wake.Equal(d) {
				n.wake = time.Time{}
				n.core.Turn(f.now)
				f.carry(n)
			}
		})
	}
}

// B1: each once, in order per origin; what does not come is told.
func (n *node) deliver(m *Message) {
	if _, ok := n.got[m.CastID]; ok {
		n.net.t.Errorf("B1: %d gets %+v twice", n.i, m.CastID)
	}
	last := n.last[m.Origin]
	if m.Life < last.Life || m.Life == last.Life && m.Seq != last.Seq+1 ||
		m.Life > last.Life && m.Seq != 1 {
		n.net.t.Errorf("B1: %d gets %+v after %+v", n.i, m.CastID, last)
	}
	n.got[m.CastID], n.last[m.Origin] = n.net.now, m.CastID
}

func (n *node) gap(r Range) {
	last := n.last[r.Origin]
	if r.Life == last.Life && r.From != last.Seq+1 || r.To < r.From {
		n.net.t.Errorf("B1: %d misses %+v after %+v", n.i, r, last)
	}
	n.gaps = append(n.gaps, r)
	n.last[r.Origin] = ID{Origin: r.Origin, Life: r.Life, Seq: r.To}
}

func (f *net) publish(i, bytes int) ID {
	id := f.nodes[i].core.Publish(f.now, &Message{Topic: "t", Payload: make([]byte, bytes)})
	f.carry(f.nodes[i])
	return id
}

// reached says how many of those who are up have it, and after how many hops the last.
func (f *net) reached(id ID, since time.Time) (got, of, hops int) {
	for _, n := range f.nodes {
		if !n.up {
			continue
		}
		of++
		if at, ok := n.got[id]; ok {
			got++
			hops = max(hops, int((at.Sub(since)+hop-1)/hop))
		}
	}
	return got, of, hops
}

func TestB1ReachesAllOnce(t *testing.T) {
	for _, n := range []int{1, 2, 3, 11, 100, 1000} {
		for _, bytes := range []int{100, 10_000} {
			f := newNet(t, n, 6, 1)
			f.run(100 * hop)
			f.copies, f.names = 0, 0
			at := f.now
			id := f.publish(n/2, bytes)
			f.run(30 * hop)
			got, of, hops := f.reached(id, at)
			per := float64(f.copies) / float64(max(n-1, 1))
			if got != of || n == 1000 && hops != 6 || n == 11 && hops != 2 {
				t.Errorf("n=%d %d bytes: %d of %d after %d hops", n, bytes, got, of, hops)
			}
			if most := 5.1; bytes < 1000 && n > 11 && per > most || bytes > 1000 && per != 1 && n > 1 {
				t.Errorf("n=%d %d bytes: %.3f copies", n, bytes, per)
			}
		}
	}
}

func TestB1LossAndDeath(t *testing.T) {
	for _, n := range []int{11, 100, 1000} {
		for _, bytes := range []int{100, 10_000} {
			f := newNet(t, n, 6, 2)
			f.run(100 * hop)
			f.loss = 0.05
			for i := range n { // a tenth is dead, and nobody knows
				if i%10 == 3 {
					f.nodes[i].up = false
				}
			}
			f.copies = 0
			at := f.now
			id := f.publish(0, bytes)
			f.run(12 * hop)
			got, of, _ := f.reached(id, at)
			before := float64(f.copies) / float64(of)
			t.Logf("n=%d %d bytes: %d of %d after 12 hops, %.2f copies", n, bytes, got, of, before)
			f.run(300 * hop)
			if got, of, hops := f.reached(id, at); got != of {
				t.Errorf("n=%d %d bytes: %d of %d", n, bytes, got, of)
			} else {
				t.Logf("all after %d hops, %.2f copies", hops, float64(f.copies)/float64(of))
			}
		}
	}
}

// Many origins at once over a network that loses a tenth.
func TestB1OrderPerOrigin(t *testing.T) {
	for seed := range uint64(20) {
		f := newNet(t, 20, 6, seed)
		f.run(50 * hop)
		f.loss = 0.1
		ids := []ID{}
		for range 300 {
			ids = append(ids, f.publish(f.dice.IntN(20), 1+f.dice.IntN(3000)))
			f.run(time.Duration(f.dice.IntN(3)) * hop)
		}
		f.loss = 0
		f.run(500 * hop)
		for _, id := range ids {
			if got, of, _ := f.reached(id, f.now); got != of {
				t.Errorf("seed %d: %+v at %d of %d", seed, id, got, of)
			}
		}
		for _, n := range f.nodes {
			if len(n.gaps) > 0 || n.core.waiting != 0 {
				t.Errorf("seed %d: %d misses %v, %d bytes wait", seed, n.i, n.gaps, n.core.waiting)
			}
		}
	}
}

// Who was cut off catches up, or is told what nobody has any more.
func TestB1CutOffCatchesUp(t *testing.T) {
	for _, many := range []int{50, 2000} {
		f := newNet(t, 20, 6, 5)
		f.keep = 1 << 20
		f.run(50 * hop)
		f.publish(1, 100)
		f.run(10 * hop)
		f.cut = func(a, b int) bool { return a == 7 || b == 7 }
		for range many {
			f.publish(1, 1000)
			f.run(hop)
		}
		f.cut = nil
		id := f.publish(1, 1000)
		f.run(600 * hop)
		n := f.nodes[7]
		_, ok := n.got[id]
		missed := uint64(0)
		for _, g := range n.gaps {
			missed += g.To - g.From + 1
		}
		if !ok || uint64(len(n.got))+missed != uint64(many)+2 || (missed > 0) != (many > 1000) {
			t.Errorf("%d: has the last %v, %d in all, missed %d", many, ok, len(n.got), missed)
		}
	}
}

// What an origin that lives keeps is waited for, though nobody whom one reaches has it: it
// is late, not gone. (Where links were bad for some seconds, because the machine was busy,
// a fleet told itself that it had missed what everybody got in the end.)
func TestB1WhatTheOriginKeepsIsWaitedFor(t *testing.T) {
	for _, alive := range []bool{true, false} {
		f := newNet(t, 20, 6, 9)
		f.run(50 * hop)
		f.publish(0, 10)
		f.run(50 * hop)
		away := func(i int) bool { return i >= 10 }
		f.cut = func(a, b int) bool { return away(a) != away(b) }
		id := f.publish(0, 10)
		behind := &Message{CastID: ID{Origin: 0, Life: id.Life, Seq: id.Seq + 1}, Topic: "t"}
		f.nodes[15].core.Receive(f.now, 16, behind)
		f.carry(f.nodes[15])
		f.known[0], f.nodes[0].up = alive, alive
		f.live = f.o.Live(away) // each reaches its own side
		f.run(30 * f.every)
		for i, n := range f.nodes[10:] {
			if told := len(n.gaps) > 0; told == alive {
				t.Errorf("the origin lives %v: %d is told of %v", alive, 10+i, n.gaps)
			}
		}
		f.cut = nil
		f.look()
		f.run(30 * f.every)
		if got, of, _ := f.reached(id, f.now); alive && got != of {
			t.Errorf("%d of %d have it", got, of)
		}
	}
}

// What an earlier process of an origin had, and its present one has not, is given up soon,
// and what nobody has in the end though its origin lives: the first as soon as the present
// process says so, the other while there still are digests.
func TestB1WhatIsGoneIsTold(t *testing.T) {
	for _, restart := range []bool{true, false} {
		f := newNet(t, 20, 6, 9)
		f.run(50 * hop)
		id := f.publish(0, 10)
		f.run(50 * hop)
		behind := &Message{CastID: ID{Origin: 0, Life: id.Life, Seq: id.Seq + 2}, Topic: "t"}
		f.nodes[15].core.Receive(f.now, 16, behind)
		f.carry(f.nodes[15])
		span := (trust + 20) * f.every
		if restart {
			f.start(0)
			f.link(0)
			span = (patience + 25) * f.every
		}
		f.run(span)
		for i, n := range f.nodes[1:] {
			if len(n.gaps) != 1 || n.last[0].Seq != id.Seq+2 {
				t.Errorf("restart %v: %d is told of %v, and has %+v", restart, i+1, n.gaps, n.last[0])
			}
		}
	}
}

// A restarted process is a new life, and catches up on the others'.
func TestB1Restart(t *testing.T) {
	f := newNet(t, 20, 6, 6)
	f.run(50 * hop)
	for range 30 {
		f.publish(4, 100)
		f.publish(9, 100)
		f.run(hop)
	}
	f.nodes[4].up = false
	f.run(5 * hop)
	f.publish(9, 100)
	f.start(4)
	for _, j := range f.nodes[4].Linked(nil) {
		f.nodes[4].core.Up(f.now, j)
	}
	f.carry(f.nodes[4])
	id := f.publish(4, 100)
	last := f.publish(9, 100)
	f.run(300 * hop)
	for _, id := range []ID{id, last} {
		if got, of, _ := f.reached(id, f.now); got != of || id.Life == 0 {
			t.Errorf("%+v at %d of %d", id, got, of)
		}
	}
	if len(f.nodes[4].got) != 33 {
		t.Errorf("the new process has %d messages, missed %v", len(f.nodes[4].got), f.nodes[4].gaps)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	f := newNet(t, 11, 6, 8)
	f.keep = 1_000_000
	for i := range f.nodes {
		f.start(i)
	}
	f.loss = 0.2
	for range 3000 {
		f.publish(f.dice.IntN(11), 5000)
		f.run(hop / 2)
		for _, n := range f.nodes {
			if n.core.bytes > f.keep+6000 || n.core.waiting > f.keep/2+6000 || len(n.core.wants) > wantsMax {
				t.Fatalf("%d keeps %d bytes, %d wait, %d names", n.i, n.core.bytes, n.core.waiting, len(n.core.wants))
			}
		}
	}
	f.loss = 0
	f.run(3000 * hop)
	for _, n := range f.nodes {
		held := 0
		for _, s := range n.core.streams {
			held += len(s.held)
			if s.done != s.high || len(s.held) != int(s.done+1-s.first) {
				t.Errorf("%d: %+v", n.i, s)
			}
		}
		if n.core.waiting != 0 || held != len(n.core.kept) || !slices.Contains([]int{0, n.core.bytes}, held*(5000+1+overhead)) {
			t.Errorf("%d keeps %d messages, %d bytes, %d wait", n.i, held, n.core.bytes, n.core.waiting)
		}
	}
}
