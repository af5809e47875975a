package run

import (
	"slices"
	"testing"
	"time"
)

// However many overlap, who may still say how it ended can, and of the others the newest are
// kept.
func TestOpenRunsAreKept(t *testing.T) {
	never := func(Run) bool { return false }
	var r Record
	claim := func(fence uint64) { r, _ = r.claimed(Run{Fence: fence}, "every 1s", never) }
	end := func(fence uint64) {
		t.Helper()
		one := r.find(fence)
		if one == nil {
			t.Fatalf("the end of %d is not kept", fence)
		}
		one.Ended = new(time.Time)
	}
	const overlapping = 3 * runsKept
	for n := range uint64(overlapping) {
		claim(n)
	}
	for n := range uint64(overlapping) {
		end(n)
	}
	claim(overlapping)
	if len(r.Runs) != runsKept || r.Runs[0].Fence != overlapping || r.Runs[1].Fence != overlapping-1 {
		t.Errorf("kept: %+v", r.Runs)
	}
	end(overlapping)
	claim(1000) // which goes on beside many that end
	for n := range uint64(overlapping) {
		claim(2000 + n)
		end(2000 + n)
	}
	end(1000)
	for n := range uint64(2 * runsMax) {
		claim(3000 + n)
	}
	if len(r.Runs) != runsMax || r.Runs[0].Fence != 3000+2*runsMax-1 {
		t.Errorf("%d are kept, the newest %+v", len(r.Runs), r.Runs[0])
	}
	if !slices.IsSortedFunc(r.Runs, func(a, b Run) int { return int(b.Fence) - int(a.Fence) }) {
		t.Error("they are in another order than they were claimed in")
	}
}
