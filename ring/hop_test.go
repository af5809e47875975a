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
	var before, after runtime.MemStats
	laps := f.rings[0].Status().Laps
	runtime.ReadMemStats(&before)
	<-time.After(500 * time.Millisecond)
	runtime.ReadMemStats(&after)
	laps = f.rings[0].Status().Laps - laps
	allocs := after.Mallocs - before.Mallocs
	t.Logf("%d laps, %d allocations", laps, allocs)
	// A hop allocates nothing; a few entries of the bus are agreed on meanwhile.
	if laps < 10 || allocs > laps/4+4000 {
		t.Errorf("%d laps of 3 hops made %d allocations", laps, allocs)
	}
}
