package consensus

import (
	"fmt"
	"testing"
	"time"
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
