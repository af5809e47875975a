package node

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// Who is too slow is told how many it was not given: from its first on, and where some
// of them were themselves word of others that will not come.
func TestASlowListenerIsToldHowMany(t *testing.T) {
	n := &Node{casts: newFeed[Cast](4)}
	push := func(seq uint64) {
		n.carryCast(time.Now(), &core.Effect{Kind: core.Delivered, Cast: &wire.Cast{
			CastID: wire.CastID{Life: 1, Seq: seq},
		}})
	}
	for k := range uint64(3) {
		push(k + 1)
	}
	type told struct{ missed, seq uint64 }
	got := make(chan told, 20)
	stop, ended := n.OnCast(func(missed uint64, c Cast) {
		if c.Msg == nil {
			got <- told{missed, 0}
			return
		}
		got <- told{missed, c.Msg.Seq}
	})
	defer stop()
	push(4) // it begins with this, but has not been called when it is gone
	n.carryCast(time.Now(), &core.Effect{Kind: core.Missed, Range: wire.CastRange{Life: 1, From: 5, To: 104}})
	for k := range uint64(4) {
		push(105 + k)
	}
	n.casts.close()
	<-ended
	close(got)
	want := []told{{101, 105}, {0, 106}, {0, 107}, {0, 108}}
	for k := 0; ; k++ {
		m, ok := <-got
		if !ok {
			if k != len(want) {
				t.Errorf("it was called %d times, want %d", k, len(want))
			}
			if s := &n.stats; s.delivered != 8 || s.gone != 100 || n.cast.slow.Load() != 101 {
				t.Errorf("counted %d delivered, %d gone, %d for which it was too slow; want 8, 100, 101",
					s.delivered, s.gone, n.cast.slow.Load())
			}
			return
		}
		if k >= len(want) || m != want[k] {
			t.Errorf("call %d is %+v, want one of %+v", k, m, want)
		}
	}
}

// Who waits for room is counted for as long.
func TestWaitingPublishersAreCounted(t *testing.T) {
	const publishers = 3
	full, asked := true, make(chan struct{}, 2*publishers)
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		switch {
		case ev.Kind == core.Answered: // as good as any: there is room now
			full = false
			return []core.Effect{{Kind: core.Emptied}}
		case ev.Kind != core.Publish:
			return nil
		case full:
			asked <- struct{}{}
			return []core.Effect{{Kind: core.Crowded}}
		}
		return []core.Effect{{Kind: core.Published, Cast: ev.Cast}}
	}}, nil)
	ended := make(chan error, publishers)
	for range publishers {
		go func() {
			_, err := n.Broadcast(t.Context(), "t", nil)
			ended <- err
		}()
	}
	for range publishers {
		<-asked
	}
	for late := time.Now().Add(patience); n.Counts().Casts.Waiting != publishers; {
		if time.Now().After(late) {
			t.Fatalf("%d wait, want %d", n.Counts().Casts.Waiting, publishers)
		}
		time.Sleep(time.Millisecond)
	}
	n.do(core.Event{Kind: core.Answered})
	for range publishers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if c := n.Counts().Casts; c.Waiting != 0 || c.Published != publishers || c.Kept != 17 {
		t.Errorf("counted %+v, want none that waits and %d published", c, publishers)
	}
}
