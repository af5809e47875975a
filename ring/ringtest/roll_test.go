package ringtest

import (
	"fmt"
	"testing"
	"time"
)

// TestR1RosterChanges changes the roster while faults happen, by whomever, now and then two
// at once: all versions form one chain, nobody's index changes, and after calm all who live
// go by the newest and are whole by that, and nobody who is retired lives on.
func TestR1RosterChanges(t *testing.T) {
	for _, row := range []struct {
		nodes  int
		rolls  int
		faults string
		seeds  uint64
	}{
		{3, 8, "none", 10},
		{1, 6, "none", 4},
		{5, 10, "none", 10},
		{5, 8, "crash,third,torn,leave", 20},
		{5, 8, "silent", 10},
		{5, 8, "links", 10},
		{7, 8, "mild,partition,starve", 10},
		{11, 12, "crash,restart,partition,pause", 6},
	} {
		for seed := range few(row.seeds) {
			t.Run(fmt.Sprintf("nodes=%d/faults=%s/seed=%d", row.nodes, row.faults, seed), func(t *testing.T) {
				check(t, Options{
					Seed: seed, Nodes: row.nodes, Faults: row.faults, Duration: 40 * time.Second, rolls: row.rolls,
				})
			})
		}
	}
}

// everyFault is all that may happen to a fleet whose roster changes: one that is started
// with another roster altogether is of no concern here.
const everyFault = "crash,blank,torn,power,third,restart,leave,silent,links,mild,partition,starve,flap"

// TestRollSoak runs RINGTEST_ROLLS seeds of changes under every fault, as TestSoak does.
func TestRollSoak(t *testing.T) {
	soak(t, "RINGTEST_ROLLS", func(n uint64) Options {
		return Options{
			Nodes: 1 + int(n%11), rolls: 4 + int(n%9), Faults: everyFault, Duration: 40 * time.Second,
		}
	})
}
