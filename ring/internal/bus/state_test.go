package bus

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// machine applies commands one after the other.
type machine struct {
	*State
	index uint64
}

func newMachine() *machine { return &machine{State: New()} }

func (m *machine) do(c Command) Result {
	m.index++
	return m.Apply(m.index, 1, c.Encode(), &c)
}

func req(origin, life uint32, seq, low uint64) Request {
	return Request{Origin: origin, Life: life, Seq: seq, Low: low}
}

func TestCompareAndSet(t *testing.T) {
	m := newMachine()
	one := m.do(Command{Kind: Put, Key: "a", Value: []byte("1"), If: IfAbsent})
	if one.Code != Done || one.Rev != 1 {
		t.Fatalf("first: %+v", one)
	}
	if r := m.do(Command{Kind: Put, Key: "a", If: IfAbsent}); r.Code != Conflict || r.Rev != 1 {
		t.Errorf("if absent, and is there: %+v", r)
	}
	if r := m.do(Command{Kind: Put, Key: "a", Value: []byte("2"), If: IfEqual, Rev: 1}); r.Rev != 3 {
		t.Errorf("if at 1: %+v", r)
	}
	if r := m.do(Command{Kind: Put, Key: "a", If: IfEqual, Rev: 1}); r.Code != Conflict || r.Rev != 3 {
		t.Errorf("if at 1, and at 3: %+v", r)
	}
	if r := m.do(Command{Kind: Delete, Key: "a", If: IfEqual, Rev: 3}); r.Code != Done {
		t.Errorf("delete at 3: %+v", r)
	}
	if r := m.do(Command{Kind: Delete, Key: "a"}); r.Code != Gone {
		t.Errorf("delete what is gone: %+v", r)
	}
	if m.bytes != 0 {
		t.Errorf("%d bytes in an empty state", m.bytes)
	}
}

// Which keys have changed is told once; of a new State, and of too many, that any may have.
func TestNews(t *testing.T) {
	m := newMachine()
	if n := m.TakeNews(); !n.All {
		t.Errorf("a new state tells %+v", n)
	}
	m.do(Command{Kind: Put, Key: "a", Value: []byte("1")})
	m.do(Command{Kind: Put, Key: "b", If: IfEqual, Rev: 7})
	m.do(Command{Kind: Delete, Key: "a"})
	m.do(Command{Kind: Delete, Key: "a"})
	if n := m.TakeNews(); n.All || !slices.Equal(n.Keys, []string{"a", "a"}) {
		t.Errorf("written and deleted: %+v", n)
	}
	if n := m.TakeNews(); n.All || n.Keys != nil {
		t.Errorf("nothing has changed since: %+v", n)
	}
	for range 3 * newsMax {
		m.do(Command{Kind: Put, Key: "a"})
	}
	if n := m.TakeNews(); !n.All || n.Keys != nil {
		t.Errorf("too many: %+v", n)
	}
}

func TestS1RepeatedRequestIsDoneOnce(t *testing.T) {
	m := newMachine()
	put := Command{Kind: Put, Key: "a", Value: []byte("1"), If: IfAbsent, Req: req(3, 7, 5, 5)}
	first := m.do(put)
	m.do(Command{Kind: Put, Key: "a", Value: []byte("2"), Req: req(4, 1, 1, 1)})
	if again := m.do(put); !reflect.DeepEqual(again, first) {
		t.Errorf("again: %+v, want %+v", again, first)
	}
	if e, _ := m.Get("a"); string(e.Value) != "2" {
		t.Errorf("a = %q after a repeated request", e.Value)
	}
	// What was given up as answered is not remembered, and not done either.
	m.do(Command{Kind: Put, Key: "b", Req: req(3, 7, 6, 6)})
	if r := m.do(put); r.Code != Gone {
		t.Errorf("after it was answered: %+v", r)
	}
	// Another process of that instance asks for something of its own.
	if r := m.do(Command{Kind: Put, Key: "c", Req: req(3, 8, 5, 5)}); r.Code != Done {
		t.Errorf("of a new process: %+v", r)
	}
	if r := m.do(put); r.Code != Gone {
		t.Errorf("of the one before, again: %+v", r)
	}
}

func TestP2FencesOnlyGrow(t *testing.T) {
	m := newMachine()
	grant := func(origin uint32, seq uint64, name string) Result {
		return m.do(Command{Kind: Grant, Key: name, TTL: time.Second, Req: req(origin, 1, seq, seq)})
	}
	a := grant(1, 1, "x")
	if r := grant(2, 1, "x"); r.Code != Held || r.Holder != 1 || r.Fence != a.Fence {
		t.Errorf("held: %+v", r)
	}
	b := grant(2, 2, "y")
	if r := m.do(Command{Kind: Expire, Key: "x", Fence: a.Fence, Rev: 99}); r.Code != Conflict {
		t.Errorf("expired though renewed since: %+v", r)
	}
	l, _ := m.Lease("x")
	if r := m.do(Command{Kind: Expire, Key: "x", Fence: a.Fence, Rev: l.Renewed}); r.Code != Done {
		t.Errorf("expire: %+v", r)
	}
	if r := m.do(Command{Kind: Renew, Key: "x", Fence: a.Fence, Req: req(1, 1, 2, 2)}); r.Code != Gone {
		t.Errorf("renewed what had run out: %+v", r)
	}
	c := grant(3, 1, "x")
	if !(a.Fence < b.Fence && b.Fence < c.Fence) {
		t.Errorf("fences %d, %d, %d", a.Fence, b.Fence, c.Fence)
	}
	if r := m.do(Command{Kind: Release, Key: "x", Fence: a.Fence, Req: req(1, 1, 3, 3)}); r.Code != Gone {
		t.Errorf("released another's: %+v", r)
	}
}

func TestP3NoTickIsReservedTwice(t *testing.T) {
	m := newMachine()
	top := uint64(0)
	check := func() {
		t.Helper()
		e := m.Epoch()
		if first := e.Tick(e.Lap); first < top || e.Limit <= first {
			t.Fatalf("epoch %+v begins at tick %d, %d was reserved", e, first, top)
		}
		top = e.Limit
	}
	for n, lap := range []uint64{1, 90, 3, 1 << 40} {
		if r := m.do(Command{Kind: Drop, Epoch: uint64(n), Lap: lap, Limit: 16}); r.Code != Done {
			t.Fatalf("drop %d: %+v", n, r)
		}
		check()
		if r := m.do(Command{Kind: Drop, Epoch: uint64(n), Lap: lap, Limit: 16}); r.Code != Conflict {
			t.Errorf("dropped twice in place of %d", n)
		}
		e := m.Epoch()
		if r := m.do(Command{Kind: Extend, Epoch: e.Number, Limit: e.Limit + 16}); r.Code != Done {
			t.Errorf("extend: %+v", r)
		}
		if r := m.do(Command{Kind: Extend, Epoch: e.Number, Limit: e.Limit}); r.Code != Conflict {
			t.Errorf("extended downwards: %+v", r)
		}
		top = m.Epoch().Limit
	}
	m.do(Command{Kind: Drop, Epoch: 4, Lap: 1, Limit: 16, Fence: 70, Rev: 1 << 50})
	if e := m.Epoch(); e.Number != 71 || e.Tick(1) < 1<<50 {
		t.Errorf("above what was seen elsewhere: %+v", e)
	}
	check()
	m.do(Command{Kind: Leap, Epoch: 10, Limit: 1000, Fence: 5})
	m.do(Command{Kind: Drop, Epoch: 81, Lap: 1, Limit: 16})
	check()
}

func TestViewKeepsTheNewest(t *testing.T) {
	m := newMachine()
	m.do(Command{Kind: View, Changes: []Change{{Index: 1, State: 1, Incarnation: 2}}})
	r := m.do(Command{Kind: View, Changes: []Change{
		{Index: 1, State: 2, Incarnation: 1},
		{Index: 1, State: 1, Incarnation: 2},
		{Index: 2, State: 1, Incarnation: 1},
	}})
	if len(r.Changed) != 1 || r.Changed[0].Index != 2 || m.Member(1).State != 1 {
		t.Errorf("changed %+v, member %+v", r.Changed, m.Member(1))
	}
	if m.ViewRevision() != 2 {
		t.Errorf("revision %d", m.ViewRevision())
	}
}

func TestStateIsBounded(t *testing.T) {
	m := newMachine()
	value := make([]byte, ValueMax)
	for n := range StateMax/ValueMax + 1 {
		if r := m.do(Command{Kind: Put, Key: fmt.Sprint(n), Value: value}); r.Code == Full {
			if n < StateMax/ValueMax-1 {
				t.Errorf("full after %d values", n)
			}
			return
		}
	}
	t.Error("never full")
}

// Two machines that apply the same are the same, also if one of them was written
// and read back on the way.
func TestS1SameEntriesSameState(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		a, b := newMachine(), newMachine()
		for n := range 400 {
			c := randomCommand(r)
			x, y := a.do(c), b.do(c)
			if !reflect.DeepEqual(x, y) {
				t.Fatalf("seed %d, entry %d: %+v and %+v", seed, n, x, y)
			}
			if r.IntN(40) == 0 {
				s, err := Restore(b.Encode())
				if err != nil {
					t.Fatal(err)
				}
				b.State = s
			}
		}
		if !bytes.Equal(a.Encode(), b.Encode()) || a.Chain() != b.Chain() {
			t.Fatalf("seed %d: states differ", seed)
		}
		a.do(Command{Kind: Put, Key: "one more"})
		if a.Chain() == b.Chain() {
			t.Error("an entry more, and the same chain")
		}
	}
}

func randomCommand(r *rand.Rand) Command {
	origin, seq := uint32(r.IntN(4)), uint64(r.IntN(30))+1
	c := Command{
		Kind: Kind(r.IntN(int(Leap))) + 1, Key: fmt.Sprint("k", r.IntN(5)),
		Value: []byte(fmt.Sprint(r.IntN(100))), If: Condition(r.IntN(3)), Rev: uint64(r.IntN(300)),
		TTL: TTLMin, Fence: uint64(r.IntN(20)), Epoch: uint64(r.IntN(3)), Lap: uint64(r.IntN(50)),
		Limit: uint64(r.IntN(100)), Boot: r.Uint32(),
	}
	if c.Kind <= Release {
		c.Req = req(origin, uint32(r.IntN(3))+1, seq, max(seq, 10)-9)
	}
	for range r.IntN(3) {
		c.Changes = append(c.Changes, Change{
			Index: uint32(r.IntN(5)), State: uint8(r.IntN(4)), Incarnation: uint32(r.IntN(4)),
			Proof: r.IntN(2) == 0, Boot: r.Uint32(), By: []uint32{1, 2},
		})
	}
	return c
}

func TestCommandRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 500 {
		c := randomCommand(r)
		got, err := Decode(c.Encode())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("Decode = %+v, %v, want %+v", got, err, c)
		}
	}
	if _, err := Decode([]byte{format + 1, 1}); !errors.Is(err, ErrNewer) {
		t.Errorf("of a newer version: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, row := range []struct {
		c    Command
		want string
	}{
		{Command{Kind: Put, Key: "a"}, ""},
		{Command{Kind: Put}, "empty"},
		{Command{Kind: Put, Key: strings.Repeat("a", KeyMax+1)}, "256 bytes"},
		{Command{Kind: Put, Key: "\xff"}, "UTF-8"},
		{Command{Kind: Put, Key: "a", Value: make([]byte, ValueMax+1)}, "at most 32768"},
		{Command{Kind: Grant, Key: "a", TTL: time.Millisecond}, "1s to 1h"},
		{Command{Kind: Grant, Key: "a", TTL: time.Minute}, ""},
	} {
		err := row.c.Check()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v %q: %v, want %q", row.c.Kind, row.c.Key, err, row.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		c := randomCommand(r)
		f.Add(c.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(c.Encode())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v came back as %+v, %v", c, again, err)
		}
		m := newMachine()
		m.do(c)
	})
}

func TestMembers(t *testing.T) {
	var m members
	want := map[uint32]Member{}
	r := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		i := uint32(r.IntN(600))
		to := Member{State: uint8(r.IntN(6)), Incarnation: 1 + r.Uint32N(1<<r.IntN(32))}
		m.set(i, to)
		want[i] = to
	}
	for i := range uint32(4 * membersStep) {
		if m.get(i) != want[i] {
			t.Errorf("member %d is %+v, want %+v", i, m.get(i), want[i])
		}
	}
	if m.known != len(want) {
		t.Errorf("%d known, want %d", m.known, len(want))
	}
}

// A forged state with an instance's sessions in two parts was taken, and then
// could not be read again.
func TestRestoreTakesNothingTwice(t *testing.T) {
	s := New()
	for i := range uint32(sessionsKept) {
		s.session(Request{Origin: 7, Life: i + 1})
	}
	b := s.Encode()
	own := b[len(New().Encode()):] // after the number of origins, which is one byte
	b[len(New().Encode())-1] = 2
	if _, err := Restore(append(b, own...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("an instance's sessions twice: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	m := newMachine()
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		m.do(randomCommand(r))
	}
	f.Add(m.Encode())
	f.Add(New().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Restore(b)
		if err != nil {
			return
		}
		again, err := Restore(s.Encode())
		if err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
			t.Fatalf("came back otherwise: %v", err)
		}
	})
}
