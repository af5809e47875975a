package gather

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/wire"
)

const hop = time.Millisecond

// fleet is a virtual one: a hop takes a millisecond, the question takes the shortest
// way there is, and who dies is known dead to all at the same time, later.
type fleet struct {
	t       *testing.T
	rand    *rand.Rand
	o       *overlay.Overlay
	live    *overlay.Live
	nodes   []*node
	q       agenda
	now     time.Time
	order   int
	seq     uint64
	slow    func(i int) time.Duration // until i has an answer
	parts   int                       // sent
	folds   int
	outcome *Outcome
}

type node struct {
	f           *fleet
	i           int
	core        *Core
	dead, known bool // known dead
	answers     int
	wake        time.Time
}

type moment struct {
	at    time.Time
	order int
	do    func()
}

type agenda []moment

func (q agenda) Len() int { return len(q) }
func (q agenda) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q agenda) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *agenda) Push(x any)   { *q = append(*q, x.(moment)) }
func (q *agenda) Pop() any {
	old := *q
	m := old[len(old)-1]
	*q = old[:len(old)-1]
	return m
}

func newFleet(t *testing.T, n int, seed uint64) *fleet {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("prod/%d", i)
	}
	f := &fleet{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), o: overlay.Build(names, "test", 0),
		now: time.Unix(1000, 0), slow: func(int) time.Duration { return 0 },
	}
	for i := range n {
		nd := &node{f: f, i: i}
		nd.core = New(i, n, nd)
		f.nodes = append(f.nodes, nd)
	}
	f.view()
	return f
}

func (f *fleet) view() { f.live = f.o.Live(func(i int) bool { return !f.nodes[i].known }) }

func (nd *node) Linked(dst []int) []int {
	for _, i := range nd.f.live.Near(nd.i) {
		if !nd.f.nodes[i].known {
			dst = append(dst, int(i))
		}
	}
	return dst
}

func (nd *node) Alive(i int) bool        { return !nd.f.nodes[i].known }
func (nd *node) Tree(origin int) []int32 { return nd.f.live.Tree(origin) }

func (f *fleet) after(d time.Duration, do func()) {
	f.order++
	heap.Push(&f.q, moment{f.now.Add(d), f.order, do})
}

func (f *fleet) run(d time.Duration) {
	for end := f.now.Add(d); f.outcome == nil && len(f.q) > 0 && !f.q[0].at.After(end); {
		m := heap.Pop(&f.q).(moment)
		f.now = m.at
		m.do()
	}
}

// publish has origin ask; everybody who lives gets it by the shortest way over those
// who live.
func (f *fleet) publish(origin int, q wire.Question) wire.CastID {
	f.seq++
	if q.First == 0 {
		q.First = f.seq
	}
	m := &wire.Cast{CastID: wire.CastID{Origin: uint32(origin), Life: 1, Seq: f.seq}, Question: &q}
	far := map[int32]int{int32(origin): 0}
	for layer := []int32{int32(origin)}; len(layer) > 0; {
		var next []int32
		for _, i := range layer {
			for _, j := range f.live.Near(int(i)) {
				if _, ok := far[j]; !ok && !f.nodes[j].dead {
					far[j] = far[i] + 1
					next = append(next, j)
				}
			}
		}
		layer = next
	}
	for i, nd := range f.nodes {
		if d, ok := far[int32(i)]; ok {
			f.after(time.Duration(d)*hop, func() { nd.do(func(c *Core) { c.Asked(f.now, m) }) })
		}
	}
	return m.CastID
}

// do has a core do something, and carries out what it wants.
func (nd *node) do(what func(c *Core)) {
	f := nd.f
	if nd.dead {
		return
	}
	what(nd.core)
	for _, fx := range nd.core.Effects() {
		switch fx.Kind {
		case Send:
			f.parts++
			frame := wire.Append(nil, fx.Part) // as it goes over the wire
			to := f.nodes[fx.To]
			f.after(hop, func() {
				var d wire.Decoder
				m, err := d.Decode(frame[wire.HeaderLen:])
				if err != nil {
					f.t.Fatal(err)
				}
				to.do(func(c *Core) { c.Part(f.now, nd.i, m.(*wire.Part)) })
			})
		case Answer:
			nd.answers++
			f.after(f.slow(nd.i), func() {
				nd.do(func(c *Core) { c.Answered(f.now, fx.Msg, one(nd.i), true) })
			})
		case Fold:
			f.folds++
			f.after(0, func() {
				nd.do(func(c *Core) { c.Folded(f.now, fx.Msg, slices.Concat(fx.Values...), true) })
			})
		case Repeat:
			id := f.publish(nd.i, *fx.Question)
			nd.core.Again(fx.Msg.CastID, id)
		case Result:
			o := fx.Result
			f.outcome = &o
		}
	}
	if d := nd.core.Deadline(); !d.IsZero() && !d.Equal(nd.wake) {
		nd.wake = d
		f.after(max(d.Sub(f.now), 0), func() {
			if nd.wake.Equal(d) {
				nd.wake = time.Time{}
				nd.do(func(c *Core) { c.Turn(f.now) })
			}
		})
	}
}

func one(i int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(i)) }

// kill has i die now, and all know it later.
func (f *fleet) kill(i int, known time.Duration) {
	f.nodes[i].dead = true
	f.after(known, func() {
		f.nodes[i].known = true
		f.view()
		for _, nd := range f.nodes {
			nd.do(func(c *Core) { c.Changed(f.now) })
		}
	})
}

// check holds the values against whom they are said to be of: nobody twice.
func (f *fleet) check(o *Outcome) {
	f.t.Helper()
	said := NewSet(len(f.nodes))
	for _, p := range o.Pieces {
		for v := p.Value; len(v) > 0; v = v[2:] {
			i := int(binary.BigEndian.Uint16(v))
			if said.Has(i) {
				f.t.Errorf("%d counts twice", i)
			}
			if !p.Who.Has(i) {
				f.t.Errorf("the value of %d is in a piece that does not speak for it", i)
			}
			said.Add(i)
		}
	}
	for i, nd := range f.nodes {
		if o.Answered.Has(i) != said.Has(i) {
			f.t.Errorf("%d answered: %v, its value is there: %v", i, o.Answered.Has(i), said.Has(i))
		}
		if !nd.dead && !o.Answered.Has(i) {
			f.t.Errorf("%d lives and is missing", i)
		}
		if nd.answers > 1 {
			f.t.Errorf("%d was asked %d times", i, nd.answers)
		}
	}
}

// Nothing wrong: there and back is twice the depth, and each sends one part.
func TestGatherTakesTwiceTheDepth(t *testing.T) {
	for _, tt := range []struct{ n, hops int }{{1, 0}, {2, 2}, {11, 4}, {100, 8}, {1000, 12}} {
		f := newFleet(t, tt.n, 1)
		begun := f.now
		f.publish(tt.n/3, wire.Question{How: wire.AskFold, WaitMS: 60_000})
		f.run(time.Minute)
		if f.outcome == nil {
			t.Fatalf("n=%d: nothing came of it", tt.n)
		}
		f.check(f.outcome)
		if took := int(f.now.Sub(begun) / hop); took > tt.hops {
			t.Errorf("n=%d: %d hops, want at most %d", tt.n, took, tt.hops)
		}
		if f.parts != tt.n-1 {
			t.Errorf("n=%d: %d parts, want %d", tt.n, f.parts, tt.n-1)
		}
	}
}

// Instances die while their children's answers are with them or on the way: nobody who
// lives is missing in the end, and nobody counts twice.
func TestGatherWhileInstancesDie(t *testing.T) {
	for seed := range uint64(300) {
		n := 3 + int(seed)%60
		f := newFleet(t, n, seed)
		f.slow = func(int) time.Duration { return time.Duration(f.rand.IntN(20)) * hop }
		how := wire.AskFold
		if seed%3 == 0 {
			how = wire.AskEach
		}
		f.publish(0, wire.Question{How: how, WaitMS: 60_000})
		for range f.rand.IntN(1 + n/3) {
			f.after(time.Duration(f.rand.IntN(30))*hop, func() {
				if i := 1 + f.rand.IntN(n-1); !f.nodes[i].dead {
					f.kill(i, time.Duration(f.rand.IntN(1500))*hop)
				}
			})
		}
		begun := f.now
		f.run(2 * time.Minute)
		if f.outcome == nil {
			t.Fatalf("seed %d: nothing came of it", seed)
		}
		f.check(f.outcome)
		if took := f.now.Sub(begun); took > 10*time.Second {
			t.Errorf("seed %d: it took %v", seed, took)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// One who takes longer than there is time for holds the others' answers up until the
// origin's time is over, and no longer.
func TestGatherEndsInTime(t *testing.T) {
	f := newFleet(t, 100, 1)
	f.slow = func(i int) time.Duration {
		if i == 50 {
			return time.Hour
		}
		return 0
	}
	begun := f.now
	f.publish(7, wire.Question{How: wire.AskFold, WaitMS: 1000})
	f.run(time.Minute)
	if f.outcome == nil || f.now.Sub(begun) > time.Second {
		t.Fatalf("%+v after %v", f.outcome, f.now.Sub(begun))
	}
	for i := range f.nodes {
		if f.outcome.Answered.Has(i) != (i != 50) {
			t.Errorf("%d answered: %v", i, f.outcome.Answered.Has(i))
		}
	}
	for range 3 { // and all is forgotten
		for _, nd := range f.nodes {
			nd.core.Turn(f.now.Add(2 * time.Hour))
			if len(nd.core.open)+len(nd.core.own) > 0 || nd.core.bytes != 0 {
				t.Fatalf("%d keeps %d rounds, %d answers and %d bytes", nd.i, len(nd.core.open),
					len(nd.core.own), nd.core.bytes)
			}
		}
	}
}

// unlinked is a fleet in which all live and nobody can be sent to.
type unlinked struct{ *node }

func (unlinked) Linked(dst []int) []int { return dst }

// Who asks again and again does not end before its time: what is left of it goes over the
// wire in whole milliseconds.
func TestGatherAskedAgainEndsInTime(t *testing.T) {
	f := newFleet(t, 3, 1)
	nd := f.nodes[0]
	nd.core = New(0, 3, unlinked{nd})
	f.nodes[1].dead, f.nodes[2].dead = true, true
	begun := f.now
	f.publish(0, wire.Question{How: wire.AskReceipt, WaitMS: 3000})
	f.after(600300*time.Microsecond, func() { nd.do(func(c *Core) { c.Changed(f.now) }) })
	f.run(time.Minute)
	if took := f.now.Sub(begun); f.outcome == nil || took != 3*time.Second {
		t.Errorf("%+v after %v, want one after 3s", f.outcome, took)
	}
	if f.seq < 3 {
		t.Errorf("asked %d times, want it again and again", f.seq)
	}
}

// A part that comes twice, or speaks for somebody who has been spoken for, counts once.
func TestGatherCountsNobodyTwice(t *testing.T) {
	f := newFleet(t, 8, 1)
	c := f.nodes[0].core
	m := &wire.Cast{
		CastID:   wire.CastID{Origin: 0, Life: 1, Seq: 1},
		Question: &wire.Question{How: wire.AskFold, First: 1, WaitMS: 1000},
	}
	c.Asked(f.now, m)
	c.Answered(f.now, m, one(0), true)
	for _, who := range []uint64{0b0110, 0b0110, 0b1100, 0b0010, 0b1000} {
		var value []byte
		for i := range 8 {
			if who>>i&1 != 0 {
				value = append(value, one(i)...)
			}
		}
		c.Part(f.now, 1, &wire.Part{CastID: m.CastID, Answered: []uint64{who}, Value: value})
	}
	c.Turn(f.now.Add(time.Second))
	for _, fx := range c.Effects() {
		if fx.Kind == Result {
			o := fx.Result
			f.outcome = &o
		}
	}
	counts := 0
	for _, p := range f.outcome.Pieces {
		counts += len(p.Value) / 2
	}
	if counts != 4 || f.outcome.Answered[0] != 0b1111 {
		t.Errorf("%d count, of %b", counts, f.outcome.Answered[0])
	}
}

// What a peer may say is bounded.
func TestGatherKeepsWithinBounds(t *testing.T) {
	f := newFleet(t, 8, 1)
	c := f.nodes[0].core
	for k := range uint64(2 * openMax) {
		who := NewSet(8)
		who.Add(int(k % 8))
		c.Part(f.now, 1, &wire.Part{
			CastID:   wire.CastID{Origin: 3, Life: 1, Seq: k + 1},
			Answered: who, Value: make([]byte, wire.CastMax),
		})
	}
	c.Part(f.now, 1, &wire.Part{CastID: wire.CastID{Origin: 3, Life: 2, Seq: 1}, Answered: []uint64{1 << 40}})
	c.Part(f.now, 1, &wire.Part{CastID: wire.CastID{Origin: 1 << 20, Life: 2, Seq: 1}, Answered: []uint64{1}})
	if len(c.open) > openMax || c.bytes > keep {
		t.Errorf("%d questions and %d bytes are kept", len(c.open), c.bytes)
	}
}
