package ring

import (
	"context"
	"errors"
	"testing"
	"time"
)

// P2: where the quorum is lost, the work is told to end while nobody else can have the
// lease yet, and its end is called what it is. How much is left is looked at by whoever
// tells it; that one comes late on a machine that is busy, but not three times.
func TestP2ExclusiveEndsBeforeTheLeaseDoes(t *testing.T) {
	left := time.Duration(0)
	for range 3 {
		if left = exclusiveUntilLost(t); left > 0 {
			break
		}
	}
	if left <= 0 || left > exclusiveNotice {
		t.Errorf("told when %v of the lease is left, want up to %v", left, exclusiveNotice)
	}
}

// exclusiveUntilLost is what is left of a lease when the work under it is told to end.
func exclusiveUntilLost(t *testing.T) (left time.Duration) {
	t.Helper()
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	f.counting()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	broken := errors.New("what fn says")
	err := f.rings[0].Exclusive(ctx, "job", func(ctx context.Context, fence uint64) error {
		f.rings[1].Close()
		f.rings[2].Close()
		<-ctx.Done()
		if fence == 0 || !errors.Is(context.Cause(ctx), ErrLeaseLost) {
			t.Errorf("fence %d, ended by %v", fence, context.Cause(ctx))
		}
		var notice *noticeError
		if errors.As(context.Cause(ctx), &notice) {
			left = notice.left
		}
		return broken
	})
	if !errors.Is(err, ErrLeaseLost) || !errors.Is(err, broken) {
		t.Errorf("got %v, want ErrLeaseLost and what fn returned", err)
	}
	if err := f.rings[0].Exclusive(ctx, "job", nil); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("without a quorum: %v, want ErrNoQuorum", err)
	}
	return left
}

// ended is a context that is over, and of which nobody who waits for it has heard yet.
type ended struct{ context.Context }

func (ended) Done() <-chan struct{} { return nil }
func (ended) Err() error            { return context.Canceled }

// Work is not begun where its caller ended while the grant was under way.
func TestExclusiveDoesNotBeginWhatIsOver(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	f.counting()
	err := f.rings[0].Exclusive(ended{t.Context()}, "job", func(context.Context, uint64) error {
		t.Error("it is begun")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want what ended the wait", err)
	}
}

func TestExclusiveReturnsWhatTheWorkDoes(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	f.counting()
	r := f.rings[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	broken := errors.New("what fn says")
	fail := func(context.Context, uint64) error { return broken }
	if err := r.Exclusive(ctx, "job", fail); !errors.Is(err, broken) || errors.Is(err, ErrLeaseLost) {
		t.Errorf("got %v, want what fn returned alone", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = r.Exclusive(ctx, "job", func(context.Context, uint64) error { panic("on purpose") })
	}()
	// Whoever holds it ends with the caller, and the lease is free after each of those.
	short, stop := context.WithCancel(ctx)
	err := r.Exclusive(short, "job", func(ctx context.Context, _ uint64) error {
		stop()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrLeaseLost) {
		t.Errorf("ended by its caller: %v", err)
	}
	l, err := r.LeaseFor(ctx, "job", time.Hour)
	if err != nil || l.Left() <= 0 || l.Left() > time.Hour {
		t.Fatalf("got %v, with %v left", err, l.Left())
	}
	if err := l.Release(ctx); err != nil || l.Left() != 0 {
		t.Errorf("released: %v, with %v left", err, l.Left())
	}
}
