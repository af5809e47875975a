package roster

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func three(t *testing.T) *Roster {
	t.Helper()
	r, err := New("prod", []string{"a", "b", "c"}, []string{"h:1", "h:2", "h:3"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func with(t *testing.T, r *Roster, changes ...Change) *Roster {
	t.Helper()
	n, err := r.With(changes)
	if err != nil {
		t.Fatalf("With(%v): %v", changes, err)
	}
	return n
}

// Indexes never move, none is used again, and every version knows those that it came from.
func TestVersions(t *testing.T) {
	first := three(t)
	second := with(t, first, Change{Add, "d", "h:4"}, Change{Retire, "b", ""})
	third := with(t, second, Change{Add, "b", "h:2"}, Change{Move, "a", "h:9"}, Change{Demote, "c", ""})
	if got := third.Names; !reflect.DeepEqual(got, []string{"a", "b", "c", "d", "b"}) {
		t.Errorf("names are %v", got)
	}
	if !third.Retired(1) || third.Index("b") != 4 || third.Members() != 4 || third.Version != 3 {
		t.Errorf("b is at %d of %d members in version %d", third.Index("b"), third.Members(), third.Version)
	}
	if third.Addr(0) != "h:9" || !third.Moved(0) || third.Moved(2) || third.Wish(2) != NotToVote {
		t.Errorf("a is at %s, c wishes %d", third.Addr(0), third.Wish(2))
	}
	if !third.Follows(first) || !third.Follows(second) || second.Follows(third) || !third.Knows(first.Hash()) {
		t.Error("the third version does not know where it came from")
	}
	other := with(t, first, Change{Add, "e", "h:4"})
	if third.Follows(other) || other.Follows(second) {
		t.Error("one version follows another that it did not come from")
	}
	local, _ := New("prod", []string{"a", "b", "c"}, []string{"x:1", "x:2", "x:3"}, 0)
	if got := third.WithAddrs(local); got.Addr(0) != "h:9" || got.Addr(2) != "x:3" || got.Chain() != third.Chain() {
		t.Errorf("with the addresses of here: %v", got.Addrs)
	}
	again, err := Decode(third.Encode())
	if err != nil || !reflect.DeepEqual(again, third) {
		t.Errorf("Decode(Encode) = %+v, %v, want %+v", again, err, third)
	}
}

func TestWithRefuses(t *testing.T) {
	r := with(t, three(t), Change{Retire, "b", ""})
	for _, test := range []struct {
		changes []Change
		want    string
	}{
		{nil, "give 1 to"},
		{[]Change{{Add, "a", "h:5"}}, "choose another name"},
		{[]Change{{Add, "d", "h:1"}}, "in use by"},
		{[]Change{{Add, "d", "h"}}, "no port"},
		{[]Change{{Add, "d", strings.Repeat("h", AddrMax) + ":1"}}, "shorten it"},
		{[]Change{{Retire, "b", ""}}, "retired already"},
		{[]Change{{Retire, "x", ""}}, "no instance is named"},
		{[]Change{{Retire, "a", ""}, {Retire, "c", ""}}, "the last instance"},
		{[]Change{{Move, "a", "h:1"}}, "already"},
		{[]Change{{Move, "a", "h:3"}}, "in use by"},
		{[]Change{{9, "a", ""}}, "no kind"},
	} {
		if _, err := r.With(test.changes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("With(%v) = %v, want %q", test.changes, err, test.want)
		}
	}
	if n, err := r.With([]Change{{Add, "d", "h:2"}}); err != nil || n.Index("d") != 3 {
		t.Errorf("the address of who is retired is free: %v", err)
	}
}

// Nothing that decodes is other than what it encodes to.
func FuzzDecode(f *testing.F) {
	r, _ := New("prod", []string{"a", "b"}, []string{"h:1", "h:2"}, 0)
	f.Add(r.Encode())
	n, _ := r.With([]Change{{Add, "c", "h:3"}, {Retire, "a", ""}})
	f.Add(n.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(r.Encode())
		if err != nil || again.Hash() != r.Hash() || !bytes.Equal(again.Encode(), r.Encode()) {
			t.Fatalf("%x decodes, and what comes of it does not: %v", b, err)
		}
	})
}

func FuzzDecodeChanges(f *testing.F) {
	f.Add(AppendChanges(nil, []Change{{Add, "c", "h:3"}, {Retire, "a", ""}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		changes, err := DecodeChanges(b)
		if err != nil {
			return
		}
		if again, err := DecodeChanges(AppendChanges(nil, changes)); err != nil || !reflect.DeepEqual(again, changes) {
			t.Fatalf("%v comes back as %v, %v", changes, again, err)
		}
	})
}
