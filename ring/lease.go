package ring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/lease"
)

// LeaseTTL is how long a lease lasts that its holder can no longer renew.
const LeaseTTL = 5 * time.Second

// leaseLook is how often a waiter looks whether the lease is free; it looks at
// what this instance has, and asks nobody.
const leaseLook = 50 * time.Millisecond

// askKept is how long a question is kept up that nobody waits for any more.
const askKept = time.Minute

// Lease is the right to do something alone in the fleet, until Done. It is
// renewed by itself as long as a quorum can be reached. At any moment at most
// one Lease of a name is valid, as long as clocks differ in speed by less than a
// hundredth; what a holder that was stopped or suspended still does afterwards
// is for the resource to refuse, by the Fence.
type Lease struct {
	r    *Ring
	name string
	done chan struct{} // closed when it is over
	gone chan struct{} // closed when nothing of it runs any more
	end  func()        // closes done; Release and the renewer may both come to it
	stop context.CancelFunc

	mu     sync.Mutex // guards holder
	holder *lease.Holder
}

// Lease waits until this instance alone holds name, and returns it, for LeaseTTL
// at a time. The context bounds the wait only. It fails with ErrNoQuorum at
// once, where there is none.
func (r *Ring) Lease(ctx context.Context, name string) (*Lease, error) {
	return r.LeaseFor(ctx, name, LeaseTTL)
}

// LeaseFor is Lease with another time: 1 s to 1 h.
func (r *Ring) LeaseFor(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	check := bus.Command{Kind: bus.Grant, Key: name, TTL: ttl}
	if err := check.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	l := &Lease{r: r, name: name, done: make(chan struct{}), gone: make(chan struct{})}
	l.end = sync.OnceFunc(func() { close(l.done) })
	for {
		l.holder = lease.New(name, ttl)
		if err := l.acquire(ctx); err != nil {
			return nil, err
		}
		if l.holder.Valid(bootTime()) {
			break
		}
		if err := r.waitFree(ctx, name); err != nil {
			return nil, err
		}
	}
	keep, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go l.keep(keep)
	return l, nil
}

// acquire asks for the lease. The question outlives ctx, because it may be granted
// all the same: then it is given back, and nobody waits for ttl.
func (l *Lease) acquire(ctx context.Context) error {
	ask, cancel := context.WithTimeout(context.Background(), askKept)
	c := l.holder.Turn(bootTime())
	answer := make(chan error, 1)
	go func() {
		defer cancel()
		answer <- l.propose(ask, c)
	}()
	select {
	case err := <-answer:
		if err != nil {
			return busError("lease "+l.name, err)
		}
		return nil
	case <-ctx.Done():
		go l.giveBack(answer)
		return fmt.Errorf("ring: ask for lease %q: %w", l.name, context.Cause(ctx))
	}
}

// giveBack lets go what was granted to somebody who no longer waited.
func (l *Lease) giveBack(answer <-chan error) {
	if <-answer != nil {
		return
	}
	l.mu.Lock()
	c := l.holder.Release()
	l.mu.Unlock()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askKept)
	defer cancel()
	_, _ = l.r.node.Propose(ctx, *c) // if not, it runs out by itself
}

// waitFree waits until nobody holds name, as this instance has it.
func (r *Ring) waitFree(ctx context.Context, name string) error {
	t := time.NewTicker(leaseLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("ring: wait for lease %q: %w", name, context.Cause(ctx))
		case <-r.done:
			return ErrClosed
		case <-t.C:
			if !r.node.Leased(name) {
				return nil
			}
		}
	}
}

// propose has a command of the holder's agreed on.
func (l *Lease) propose(ctx context.Context, c *bus.Command) error {
	res, err := l.r.node.Propose(ctx, *c)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder.Answer(bootTime(), res, err == nil)
	return err
}

// keep renews it until it is over. The clock is looked at often, because a timer
// does not count the time in which the host sleeps.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.gone)
	defer l.end()
	t := time.NewTicker(leaseLook)
	defer t.Stop()
	renewed := make(chan struct{}, 1)
	for {
		l.mu.Lock()
		now := bootTime()
		c, over := l.holder.Turn(now), l.holder.Over(now)
		until := l.holder.Until().Sub(now)
		l.mu.Unlock()
		switch {
		case over:
			return
		case c != nil:
			go func() {
				ask, cancel := context.WithTimeout(ctx, until)
				defer cancel()
				_ = l.propose(ask, c) // what is not known is not renewed
				renewed <- struct{}{}
			}()
		}
		select {
		case <-ctx.Done():
			return
		case <-l.r.done:
			return
		case <-renewed:
		case <-t.C:
		}
	}
}

// Name is what it is a lease of.
func (l *Lease) Name() string { return l.name }

// Fence is greater than that of every earlier lease in the fleet. Everything
// done under the lease should carry it, and a resource refuse what carries less
// than the highest it has seen.
func (l *Lease) Fence() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder.Fence()
}

// Valid reports whether the holder may still act. It reads a clock that counts
// time in which the host slept.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder.Valid(bootTime())
}

// Left is for how long the holder may still act, unless the lease is renewed
// meanwhile; 0 when it is over. It reads the clock that Valid does.
func (l *Lease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := bootTime()
	if !l.holder.Valid(now) {
		return 0
	}
	return l.holder.Until().Sub(now)
}

// Done is closed when the lease is over: released, or no longer renewed. It may
// come some time late on a host that was stopped; Valid does not.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Release gives the lease back and returns when others may have it. Without a
// quorum it fails, and the lease runs out by itself.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	c := l.holder.Release()
	l.mu.Unlock()
	l.end()
	l.stop()
	<-l.gone
	if c == nil {
		return nil
	}
	if _, err := l.r.node.Propose(ctx, *c); err != nil {
		return busError("release "+l.name, err)
	}
	return nil
}

// EndLease gives back a lease that an earlier life of this instance held, for whoever knows
// that nothing is done under it any more: without, others wait until it runs out. It fails with
// ErrNotFound where nobody holds name under that fence (any more).
func (r *Ring) EndLease(ctx context.Context, name string, fence uint64) error {
	c := bus.Command{Kind: bus.Release, Key: name, Fence: fence}
	if err := c.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	res, err := r.node.Propose(ctx, c)
	switch {
	case err != nil:
		return busError("release "+name, err)
	case res.Code != bus.Done:
		return fmt.Errorf("%w: nobody holds lease %q under fence %d", ErrNotFound, name, fence)
	}
	return nil
}

// Context returns a context that ends with the lease, or with parent. If it was the
// lease, released or lost, the cause is ErrLeaseLost.
func (l *Lease) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		select {
		case <-l.done:
			cancel(ErrLeaseLost)
		case <-ctx.Done():
		}
	}()
	return ctx
}
