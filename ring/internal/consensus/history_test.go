package consensus

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/wire"
)

// Those who have nothing but the name of a history begin another only if nobody in
// reach has ever known more of it.
func TestAnotherHistoryBeginsOnlyWhereNothingWasAgreed(t *testing.T) {
	for grown := range 3 {
		t.Run(fmt.Sprintf("%d of 3 have known more", grown), func(t *testing.T) {
			named := Identity{History: History{9, 9}}
			f := &fleet{t: t, now: time.Unix(1000, 0)}
			for i := range 3 {
				n := &node{f: f, i: i, down: true, has: true, disk: Saved{Identity: named}}
				n.disk.Identity.Grown = i < grown
				f.nodes = append(f.nodes, n)
			}
			for i := range f.nodes {
				f.start(i)
			}
			f.run(time.Minute)
			lead := f.leader()
			if again := lead >= 0; again != (grown == 0) {
				t.Fatalf("leader %d", lead)
			}
			for _, n := range f.nodes {
				if id := n.core.Identity(); (id.History != named.History) != (lead >= 0) {
					t.Errorf("%d goes by history %x", n.i, id.History)
				}
			}
			if lead >= 0 {
				f.put(2, "k", "v")
				f.same()
			}
		})
	}
}

// That more is known than the beginning is on the disk of whoever has no log, too:
// of one who never had one, and of one whose log was given to another.
func TestWhoHasKnownMoreRemembersIt(t *testing.T) {
	f := newFleet(t, 9)
	f.run(5 * time.Second)
	f.put(0, "k", "v")
	without := -1
	for _, n := range f.nodes {
		if n.core.generation(n.i) == 0 {
			without = n.i
		}
	}
	if id := f.nodes[without].disk.Identity; id.ID != 0 || !id.Grown {
		t.Errorf("%d never voted, its disk says %+v", without, id)
	}
	const gone = 2
	f.kill(gone, false)
	f.run(time.Minute)
	f.start(gone)
	f.run(time.Minute)
	if id := f.nodes[gone].disk.Identity; id.ID != 0 || !id.Grown {
		t.Errorf("%d was replaced, its disk says %+v", gone, id)
	}
}

// One is away with nothing but the name of the history; the two others agree on
// something. Then one of these loses its disk while the other is away: whoever is left
// does not know what there was.
func TestNoOtherHistoryWhileAFirstVoterIsAway(t *testing.T) {
	f := &fleet{t: t, now: time.Unix(1000, 0)}
	for i := range 3 {
		f.nodes = append(f.nodes, &node{f: f, i: i, down: true})
	}
	f.seen = func(envelope) {
		if n := f.nodes[2]; n.disk.Identity.History != (History{}) {
			n.down = true
		}
	}
	for i := range 3 {
		f.start(i)
	}
	f.run(time.Second)
	f.kill(2, false)
	f.seen = nil
	f.run(10 * time.Second)
	f.put(0, "k", "agreed")
	had := f.nodes[0].core.Identity().History
	f.kill(0, false)
	f.kill(1, true)
	f.run(time.Second)
	f.start(1)
	f.start(2)
	f.run(time.Minute)
	if l := f.leader(); l >= 0 {
		t.Fatalf("%d leads a history of two that know nothing", l)
	}
	// It is back, and alone has a log: an operator has to say that this is all there is.
	f.start(0)
	f.run(time.Minute)
	if l := f.leader(); l >= 0 || f.nodes[2].core.Identity().History != had {
		t.Fatalf("%d leads, and one of three has a log", l)
	}
	if err := f.nodes[0].core.Recover(false); err != nil {
		t.Fatal(err)
	}
	f.carry(f.nodes[0])
	f.run(time.Minute)
	for _, n := range f.nodes {
		e, ok := n.core.State().Get("k")
		if string(e.Value) != "agreed" {
			t.Errorf("%d has %q (%v) in history %s", n.i, e.Value, ok, short(n.core.Identity().History))
		}
	}
}

// Two recoveries from the same state, at instances that do not know of each other.
func TestRecoveriesGiveNothingTwice(t *testing.T) {
	f := newFleet(t, 3)
	f.now = time.Unix(1_700_000_000, 0)
	f.run(3 * time.Second)
	f.put(0, "k", "v")
	for i := range 3 {
		f.kill(i, false)
	}
	type given struct{ epoch, limit, fence, era uint64 }
	var last given
	for i := range 3 {
		f.start(i)
		if err := f.nodes[i].core.Recover(false); err != nil {
			t.Fatal(err)
		}
		f.carry(f.nodes[i])
		s := f.nodes[i].core.State()
		g := given{s.Epoch().Number, s.Epoch().Limit, s.Fence(), uint64(f.nodes[i].core.Identity().Era)}
		const most = 1000 // what is given in between
		if g.epoch <= last.epoch || g.limit <= last.limit+most || g.fence <= last.fence+most ||
			g.era <= last.era {
			t.Errorf("recovery %d gives %+v, the one before %+v", i, g, last)
		}
		last = g
		f.kill(i, false)
		f.run(10 * time.Second)
	}
}

// A backup says who was in the ring it is of, which is nothing to the one it comes to.
func TestRestoredViewIsNumberedAnew(t *testing.T) {
	f := newFleet(t, 3)
	f.run(3 * time.Second)
	for range 3 {
		f.kill(1, false)
		f.run(3 * time.Second)
		f.start(1)
		f.run(3 * time.Second)
	}
	backup := f.nodes[0].core.Backup()
	f = newFleet(t, 3)
	f.run(3 * time.Second)
	if err := f.nodes[0].core.Restore(backup); err != nil {
		t.Fatal(err)
	}
	f.carry(f.nodes[0])
	f.run(10 * time.Second)
	for i := range 3 {
		m := f.nodes[2].core.State().Member(i)
		if m.State != uint8(wire.Alive) || m.Incarnation != f.nodes[i].boot {
			t.Errorf("%d is agreed to be in state %d, incarnation %d", i, m.State, m.Incarnation)
		}
	}
}

// The answer to the first question of a process comes to the next process of its name.
func TestAnswerToAnEarlierProcess(t *testing.T) {
	f := newFleet(t, 8) // 7 does not vote
	f.run(3 * time.Second)
	lead, n := f.leader(), f.nodes[7]
	f.put(0, "k", "old")
	var late []envelope
	f.hold = func(e envelope) bool {
		if m, ok := e.m.(*wire.Raft); ok && e.from == lead && len(late) == 0 {
			var msg raftpb.Message
			if proto.Unmarshal(m.Payload, &msg) == nil && msg.GetType() == raftpb.MsgReadIndexResp {
				late = append(late, e)
				return true
			}
		}
		_, entries := e.m.(*wire.Entries)
		return e.to == 7 && (e.from == lead || entries && len(late) > 0)
	}
	ask := func() uint64 {
		n.seq++
		n.core.lead = -1 // it is not linked with the leader: it asks its home
		n.core.Read(f.now, n.seq)
		f.carry(n)
		return n.seq
	}
	ask()
	f.run(10 * time.Millisecond)
	if len(late) == 0 {
		t.Fatal("no answer was on its way")
	}
	f.kill(7, false)
	f.start(7)
	f.run(200 * time.Millisecond)
	f.put(0, "k", "new")
	seq := ask()
	f.queue = append(late, f.queue...)
	f.run(time.Millisecond)
	if e, _ := n.core.State().Get("k"); n.ready[seq] && string(e.Value) != "new" {
		t.Errorf("a read after the write of new gives %q", e.Value)
	}
}

// An instance whose log was lost, and which finds nobody who has one, begins with
// nothing when it is told to.
func TestRecoverFromNothing(t *testing.T) {
	f := &fleet{t: t, now: time.Unix(1_700_000_000, 0), nodes: []*node{{i: 0, down: true, lost: true}}}
	f.nodes[0].f = f
	f.start(0)
	f.run(10 * time.Second)
	core := f.nodes[0].core
	if f.leader() >= 0 || !core.Bereft() || core.Recover(false) == nil {
		t.Fatalf("leader %d, bereft %v: it began by itself", f.leader(), core.Bereft())
	}
	if err := core.Recover(true); err != nil {
		t.Fatal(err)
	}
	f.carry(f.nodes[0])
	f.run(3 * time.Second)
	f.put(0, "k", "v")
	if l := core.State().Epoch().Limit; l < 1_700_000_000<<20 {
		t.Errorf("ticks go on from %d", l)
	}
}
