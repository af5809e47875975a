package ring

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Who gives up waiting while the answer is on its way may have been granted the
// lease: nobody would have held it, for as long as it lasts.
func TestLeaseOfWhoNoLongerWaitsIsGivenBack(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	f.counting()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := range 20 {
		name := fmt.Sprint("job ", n)
		short, stop := context.WithTimeout(ctx, time.Duration(n)*100*time.Microsecond)
		l, err := f.rings[0].LeaseFor(short, name, time.Hour)
		stop()
		if err == nil {
			if err := l.Release(ctx); err != nil {
				t.Fatal(err)
			}
		}
		next, err := f.rings[1].LeaseFor(ctx, name, time.Hour)
		if err != nil {
			t.Fatalf("%s, after one that gave up: %v", name, err)
		}
		if err := next.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
