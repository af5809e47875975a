package ring

import (
	"context"
	"testing"
	"time"
)

// Who follows a prefix is called when what is below it changes, also where somebody else
// has written it, and finds what has changed.
func TestOnChange(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.counting()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	here, there := f.rings[0].Bus(), f.rings[2].Bus()
	changes, others := make(chan int), make(chan struct{}, 1)
	stop := there.OnChange("a/", func() {
		select {
		case changes <- len(there.PeekAll("a/")):
		case <-ctx.Done():
		}
	})
	defer stop()
	defer there.OnChange("b/", func() {
		select {
		case others <- struct{}{}:
		default:
		}
	})()
	await := func(n int) {
		t.Helper()
		for {
			select {
			case got := <-changes:
				if got == n {
					return
				}
			case <-time.After(patience):
				t.Fatalf("nobody says that there are %d keys", n)
			}
		}
	}
	for n, write := range []struct {
		at  *Bus
		key string
	}{{here, "a/1"}, {there, "a/2"}, {here, "a/3"}} {
		if _, err := write.at.Set(ctx, write.key, nil); err != nil {
			t.Fatal(err)
		}
		await(n + 1)
	}
	if _, err := here.Delete(ctx, "a/1", 0); err != nil {
		t.Fatal(err)
	}
	await(2)
	select {
	case <-others: // of a whole state that was taken over
	default:
	}
	if _, err := here.Set(ctx, "b/1", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-others:
	case <-time.After(patience):
		t.Error("nobody says that b/1 was written")
	}
}
