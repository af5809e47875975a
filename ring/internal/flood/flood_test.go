package flood

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"ringofservers.dev/ring/internal/wire"
)

func rec(o, inc, seq uint32) *wire.Record {
	return &wire.Record{Origin: o, Incarnation: inc, Seq: seq, Boot: 7, PID: 70 + o, Build: "v1"}
}

func TestNewestWins(t *testing.T) {
	tb := NewTable(4, "v1")
	for i, s := range []struct {
		r    *wire.Record
		want bool
	}{
		{rec(1, 1, 1), true},
		{rec(1, 1, 1), false},
		{rec(1, 1, 3), true},
		{rec(1, 1, 2), false},
		{rec(1, 2, 0), true},
		{rec(1, 1, 9), false},
		{rec(4, 1, 1), false},
		{rec(2, 0, 1), false},
	} {
		if got := tb.Merge(s.r); got != s.want {
			t.Errorf("step %d: merged = %v, want %v", i, got, s.want)
		}
	}
}

func TestDigestIsOfTheRecordsNotOfTheirOrder(t *testing.T) {
	a, b := NewTable(4, "v1"), NewTable(4, "v2")
	for _, r := range []*wire.Record{rec(1, 1, 1), rec(2, 1, 4), rec(1, 1, 2)} {
		a.Merge(r)
	}
	b.Merge(rec(1, 1, 2))
	if a.Digest() == b.Digest() {
		t.Error("tables differ, digests do not")
	}
	b.Merge(rec(2, 1, 4))
	if a.Digest() != b.Digest() {
		t.Error("tables hold the same, digests differ")
	}
	a.SetState(1, wire.Down)
	if a.Digest() != b.Digest() || a.State(1) != wire.Down || a.PID(1) != 71 {
		t.Error("a note on an origin changed its record")
	}
}

func TestRecordComesBackWhole(t *testing.T) {
	tb := NewTable(4, "v1")
	in := rec(3, 2, 5)
	in.Left, in.Build = true, "v2"
	in.Epoch = wire.Epoch{Counter: 9, Dropper: 1}
	in.Accused = []wire.Accusation{{Subject: 1, Incarnation: 4, Proof: true}}
	tb.Merge(in)
	got, ok := tb.Record(3)
	got.Accused = tb.Accused(nil, 3)
	if !ok || got.Seq != 5 || !got.Left || got.Build != "v2" || got.Epoch != in.Epoch ||
		len(got.Accused) != 1 || got.Accused[0] != in.Accused[0] || got.PID != 73 {
		t.Errorf("record = %+v, want %+v", got, *in)
	}
	if _, ok := tb.Record(0); ok {
		t.Error("a record of an origin that never wrote one")
	}
	if !tb.Accuses(3) || tb.Accuses(1) {
		t.Error("only 3 accuses somebody")
	}
}

func TestOutboxLetsTheFirstGoAndGathersTheRest(t *testing.T) {
	o := Outbox{Window: 2 * time.Millisecond, Patient: 20 * time.Millisecond}
	now := time.Unix(5, 0)
	o.Add(1, true)
	if got, _ := o.Flush(now); len(got) != 1 {
		t.Fatalf("first flush = %v, want one", got)
	}
	o.Add(2, false)
	o.Add(3, true)
	if got, _ := o.Flush(now.Add(time.Millisecond)); got != nil {
		t.Errorf("flush inside the window = %v, want none", got)
	}
	if got, want := o.Deadline(), now.Add(2*time.Millisecond); !got.Equal(want) {
		t.Errorf("deadline = %v, want %v", got, want)
	}
	if got, _ := o.Flush(o.Deadline()); len(got) != 2 {
		t.Errorf("flush at the deadline = %v, want two", got)
	}
	if !o.Deadline().IsZero() {
		t.Error("a deadline with nothing to send")
	}
}

// What every instance keeps of every other is what a large fleet's memory is
// made of.
func TestSlotIsSixteenBytes(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size > 16 {
		t.Errorf("a remote instance takes %d bytes of the table, want at most 16", size)
	}
	if size := unsafe.Sizeof(word{}); size > 8 {
		t.Errorf("an accusation takes %d bytes of the table, want at most 8", size)
	}
}

func TestWordsAreReplacedWhole(t *testing.T) {
	tb := NewTable(9, "v1")
	says := func(o, seq uint32, subjects ...uint32) {
		r := rec(o, 1, seq)
		for _, s := range subjects {
			r.Accused = append(r.Accused, wire.Accusation{Subject: s, Incarnation: s, Proof: s%2 == 1})
		}
		tb.Merge(r)
	}
	says(5, 1, 8, 3)
	says(2, 1, 4)
	says(7, 1, 1, 0, 6)
	says(5, 2, 3, 0, 1)
	says(7, 2)
	says(2, 2, 6)
	var got []uint32
	for o, list := range tb.Accusers() {
		for _, a := range list {
			if a.Incarnation != a.Subject || a.Proof != (a.Subject%2 == 1) {
				t.Errorf("%d says %+v", o, a)
			}
			got = append(got, uint32(o), a.Subject)
		}
	}
	if want := []uint32{2, 6, 5, 3, 5, 0, 5, 1}; !slices.Equal(got, want) {
		t.Errorf("accuser, accused, … = %v, want %v", got, want)
	}
	if tb.Accuses(7) || !tb.Accuses(5) {
		t.Error("7 took its words back, 5 did not")
	}
}

// TestWordsInManyBuckets compares the words with a plain map, whatever comes.
func TestWordsInManyBuckets(t *testing.T) {
	const n = 1000
	r := rand.New(rand.NewPCG(1, 2))
	tb, want := NewTable(n, "v1"), map[int][]wire.Accusation{}
	for seq := range uint32(5000) {
		o := r.IntN(n)
		var list []wire.Accusation
		for range r.IntN(5) {
			list = append(list, wire.Accusation{
				Subject: r.Uint32N(n), Incarnation: 1 + r.Uint32N(9),
				Proof: r.IntN(2) == 0,
			})
		}
		in := rec(uint32(o), 1, seq+1)
		in.Accused = list
		tb.Merge(in)
		if want[o] = list; list == nil {
			delete(want, o)
		}
	}
	last, seen := -1, 0
	for o, list := range tb.Accusers() {
		if o <= last || !slices.Equal(list, want[o]) || !slices.Equal(tb.Accused(nil, o), list) {
			t.Errorf("%d, after %d, says %v, want %v", o, last, list, want[o])
		}
		last = o
		seen++
	}
	if seen != len(want) {
		t.Errorf("%d accuse, want %d", seen, len(want))
	}
}
