package ring

import (
	"runtime"
	"testing"
	"time"
)

// At full speed the whole fleet, detector and histograms included, allocates
// next to nothing: what is left are heartbeats, a few each second.
func TestFullSpeedAllocatesNothing(t *testing.T) {
	f := newFleet(t, 3, fast)
	f.joined()
	f.seeAllAlive()
	f.ticks(20)
	// Other things go on, a few entries of the bus among them, at so many a second:
	// where a hop allocated, there would be more of them than hops in every window.
	for range 50 {
		var before, after runtime.MemStats
		laps := f.rings[0].Status().Laps
		runtime.ReadMemStats(&before)
		<-time.After(100 * time.Millisecond)
		runtime.ReadMemStats(&after)
		hops := 3 * (f.rings[0].Status().Laps - laps)
		allocs := after.Mallocs - before.Mallocs
		t.Logf("%d hops, %d allocations", hops, allocs)
		if allocs < hops/2 {
			return
		}
	}
	t.Error("at least one allocation for two hops, again and again")
}
