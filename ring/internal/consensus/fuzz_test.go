package consensus

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/wire"
)

// crowd is a fleet in which all live and are linked.
type crowd struct{ self int }

func (crowd) Alive(int) bool          { return true }
func (crowd) Left(int) bool           { return false }
func (crowd) Since(int) time.Time     { return time.Time{} }
func (c crowd) Linked(i int) bool     { return i != c.self }
func (c crowd) Alike(i int) bool      { return c.Linked(i) }
func (crowd) Member(int) (Seen, bool) { return Seen{State: uint8(wire.Alive), Incarnation: 1}, true }

// agreeing is a fleet that has agreed on something; each sees what arrives.
func agreeing(seen func(envelope)) *fleet {
	fl := newFleet(&testing.T{}, 9) // FirstVoters(9) are 0, 1, 2, 3, 5, 6, 7
	fl.seen = seen
	fl.run(3 * time.Second)
	lead := fl.nodes[fl.leader()]
	for range 20 {
		lead.propose(bus.Command{Kind: bus.Put, Key: "k", Value: []byte("v")})
		fl.run(100 * time.Millisecond)
	}
	fl.run(3 * time.Second)
	return fl
}

// again is the core of a process that comes back to that fleet.
func (f *fleet) again(t *testing.T, self int) *Core {
	core, err := New(Config{
		Self: self, N: len(f.nodes), Fleet: crowd{self}, Boot: 77, Saved: f.nodes[self].disk.Clone(),
		Timing: testTiming, Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	core.Start(f.now)
	return core
}

// hears lets core take m from another; false says that it ended for that.
func hears(t *testing.T, core *Core, now time.Time, from int, m wire.Msg) bool {
	core.Receive(now, from, m)
	core.Turn(now)
	for done := 0; core.Pending(); done++ {
		if done > 1000 {
			t.Fatal("effects without end")
		}
		for _, e := range core.Effects() {
			switch e.Kind {
			case Persist:
				core.Persisted(now, e.Seq)
			case Broken:
				return false
			}
		}
	}
	return true
}

// What a neighbour sends may end this instance, with a reason, but never panics, and
// never makes it answer without end. The input is who they are, and a row of frames.
func FuzzReceive(f *testing.F) {
	rows := map[[2]int][]byte{}
	fl := agreeing(func(e envelope) {
		way := [2]int{e.to, e.from}
		if rows[way] = wire.Append(rows[way], e.m); len(rows[way]) > 1<<10 {
			f.Add(byte(e.to), byte(e.from), rows[way])
			delete(rows, way)
		}
	})
	f.Fuzz(func(t *testing.T, to, by byte, b []byte) {
		self, from := int(to)%len(fl.nodes), int(by)%len(fl.nodes)
		if self == from {
			return
		}
		core, now := fl.again(t, self), fl.now
		core.Opened(now, from)
		var dec wire.Decoder
		for len(b) > 0 {
			frame, rest, err := wire.Split(b)
			if err != nil {
				return
			}
			b = rest
			m, err := dec.Decode(frame)
			if err != nil {
				return
			}
			now = now.Add(10 * time.Millisecond)
			if !hears(t, core, now, from, m) {
				return
			}
		}
	})
}

// The same of two messages of the engine, which few changes of bytes lead to.
func FuzzRaft(f *testing.F) {
	f.Add(byte(1), byte(0), int32(raftpb.MsgApp), uint64(2), uint64(2), uint64(20), uint64(20),
		[]byte("entry"), int32(raftpb.MsgHeartbeat), uint64(30))
	f.Add(byte(1), byte(0), int32(raftpb.MsgVote), uint64(3), uint64(2), uint64(40), uint64(0),
		[]byte(nil), int32(raftpb.MsgApp), uint64(3))
	f.Add(byte(0), byte(1), int32(raftpb.MsgSnap), uint64(2), uint64(2), uint64(50), uint64(50),
		[]byte("state"), int32(raftpb.MsgAppResp), uint64(50))
	fl := agreeing(nil)
	f.Fuzz(func(t *testing.T, to, by byte, kind int32, term, logTerm, index, commit uint64,
		data []byte, next int32, at uint64,
	) {
		self, from := int(to)%len(fl.nodes), int(by)%len(fl.nodes)
		if self == from {
			return
		}
		core := fl.again(t, self)
		core.Opened(fl.now, from)
		id := func(i int) uint64 { return uint64(NewRaftID(i, 1)) }
		m := &raftpb.Message{
			Type: raftpb.MessageType(kind).Enum(), To: new(id(self)), From: new(id(from)), Term: &term,
			LogTerm: &logTerm, Index: &index, Commit: &commit,
		}
		if len(data) > 0 {
			m.Entries = []*raftpb.Entry{{Index: new(index + 1), Term: &logTerm, Data: data}}
		}
		if kind == int32(raftpb.MsgSnap) {
			m.Snapshot = &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{
				Index: &index, Term: &logTerm, ConfState: &raftpb.ConfState{Voters: []uint64{id(from)}},
			}}
		}
		second := proto.CloneOf(m)
		second.Type, second.Index, second.Commit = raftpb.MessageType(next).Enum(), &at, &at
		for _, m := range []*raftpb.Message{m, second} {
			b, err := proto.Marshal(m)
			if err != nil || len(b) > wire.PayloadMax {
				return
			}
			if !hears(t, core, fl.now, from, &wire.Raft{History: core.Identity().History, Payload: b}) {
				return
			}
		}
	})
}
