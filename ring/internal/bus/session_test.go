package bus

import (
	"bytes"
	"testing"
)

// apply applies a put of value by one process of instance 3, as entry index.
func apply(s *State, index uint64, life uint32, seq uint64, value string) Result {
	c := Command{
		Kind: Put, Key: "k", Value: []byte(value),
		Req: Request{Origin: 3, Life: life, Seq: seq, Low: seq},
	}
	return s.Apply(index, 1, c.Encode(), &c)
}

// TestS1RequestsAreDoneOnce is that a request that comes again does nothing, is
// answered as it was, and is not taken for one of another process, whichever of
// them began first, also by a State that was restored.
func TestS1RequestsAreDoneOnce(t *testing.T) {
	s := New()
	apply(s, 1, 900, 1, "first process")
	if r := apply(s, 2, 17, 1, "second process"); r.Code != Done || r.Rev != 2 {
		t.Errorf("a later process's first request: %+v, want it done at revision 2", r)
	}
	if r := apply(s, 3, 900, 1, "first process"); r.Code != Done || r.Rev != 1 {
		t.Errorf("the first process's request again: %+v, want its answer of revision 1", r)
	}
	again, err := Restore(s.Encode())
	if err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
		t.Fatalf("restored otherwise: %v", err)
	}
	apply(again, 4, 17, 1, "second process")
	if e, _ := again.Get("k"); e.Modified != 2 || string(e.Value) != "second process" {
		t.Errorf("key is %q of revision %d, want what revision 2 wrote", e.Value, e.Modified)
	}
}
