package flood

import (
	"testing"
	"time"

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
		{rec(1, 1, 1), true}, {rec(1, 1, 1), false}, {rec(1, 1, 3), true}, {rec(1, 1, 2), false},
		{rec(1, 2, 0), true}, {rec(1, 1, 9), false}, {rec(4, 1, 1), false}, {rec(2, 0, 1), false},
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
	if !ok || got.Seq != 5 || !got.Left || got.Build != "v2" || got.Epoch != in.Epoch ||
		len(got.Accused) != 1 || got.Accused[0] != in.Accused[0] || got.PID != 73 {
		t.Errorf("record = %+v, want %+v", got, *in)
	}
	if _, ok := tb.Record(0); ok {
		t.Error("a record of an origin that never wrote one")
	}
	if got := tb.Accusers(); len(got) != 1 || got[0] != 3 {
		t.Errorf("accusers = %v, want [3]", got)
	}
}

func TestOutboxLetsTheFirstGoAndGathersTheRest(t *testing.T) {
	o := Outbox{Window: 2 * time.Millisecond, Patient: 20 * time.Millisecond}
	now := time.Unix(5, 0)
	o.Add(1, 0, true)
	if got := o.Flush(now); len(got) != 1 {
		t.Fatalf("first flush = %v, want one", got)
	}
	o.Add(2, 0, false)
	o.Add(3, 0, true)
	if got := o.Flush(now.Add(time.Millisecond)); got != nil {
		t.Errorf("flush inside the window = %v, want none", got)
	}
	if got, want := o.Deadline(), now.Add(2*time.Millisecond); !got.Equal(want) {
		t.Errorf("deadline = %v, want %v", got, want)
	}
	if got := o.Flush(o.Deadline()); len(got) != 2 {
		t.Errorf("flush at the deadline = %v, want two", got)
	}
	if !o.Deadline().IsZero() {
		t.Error("a deadline with nothing to send")
	}
}
