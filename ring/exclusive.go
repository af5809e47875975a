package ring

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// exclusiveNotice is how long before a lease could be given away the work under it is
// told to end.
const exclusiveNotice = LeaseTTL / 5

// Exclusive waits until this instance alone holds the lease name, calls fn, and gives
// the lease back when fn has returned. The context bounds the wait and the work.
//
// The context of fn ends with ctx, and a second before the lease could be given to
// somebody else, with a cause that wraps ErrLeaseLost: fn must return, or at least do
// nothing more, within that second. On a host that was stopped or asleep that comes too late;
// what fn does then is for the resource to refuse, by the fence, which is higher than
// that of whoever held name before. See package fence.
//
// It returns what fn does. If the lease was lost, the error wraps ErrLeaseLost as well,
// also where fn returned nil but only when somebody else might have begun. Without a
// quorum it fails at once with ErrNoQuorum and fn is not called; other errors before fn
// are those of [Ring.Lease].
func (r *Ring) Exclusive(ctx context.Context, name string,
	fn func(ctx context.Context, fence uint64) error,
) error {
	var l *Lease
	for { // until one is granted in time: the answer may have been long under way
		var err error
		if l, err = r.Lease(ctx, name); err != nil {
			return err
		}
		if l.Left() > exclusiveNotice {
			break
		}
		l.letGo(ctx)
	}
	defer l.letGo(ctx) // also where fn panics
	if ctx.Err() != nil {
		return fmt.Errorf("ring: wait for lease %q: %w", name, context.Cause(ctx))
	}
	work, cancel := l.contextUntil(ctx, exclusiveNotice)
	defer cancel()
	err := fn(work, l.Fence())
	switch lost := errors.Is(context.Cause(work), ErrLeaseLost); {
	case err == nil && l.Valid():
		return nil
	case err == nil:
		return fmt.Errorf("%w: %s", ErrLeaseLost, name)
	case lost && !errors.Is(err, ErrLeaseLost):
		return fmt.Errorf("%w: %s: %w", ErrLeaseLost, name, err)
	}
	return err
}

// letGo gives it back, for a while also where ctx is over; if that cannot be done it runs
// out by itself.
func (l *Lease) letGo(ctx context.Context) {
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), LeaseTTL)
	defer cancel()
	_ = l.Release(release)
}

// noticeError is that a lease is about to be lost, and what there is left to end in.
type noticeError struct{ left time.Duration }

func (e *noticeError) Error() string {
	return fmt.Sprintf("%v, in %v", ErrLeaseLost, e.left.Round(time.Millisecond))
}

func (*noticeError) Unwrap() error { return ErrLeaseLost }

// contextUntil is a context that ends notice before the lease does. The clock is looked
// at often, because a timer does not count the time in which the host sleeps.
func (l *Lease) contextUntil(parent context.Context, notice time.Duration) (
	context.Context, context.CancelFunc,
) {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		t := time.NewTicker(leaseLook)
		defer t.Stop()
		left := l.Left()
		for ; left > notice; left = l.Left() {
			select {
			case <-ctx.Done():
				return
			case <-l.done:
				cancel(ErrLeaseLost)
				return
			case <-t.C:
			}
		}
		cancel(&noticeError{left})
	}()
	return ctx, func() { cancel(context.Canceled) }
}
