package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/roster"
)

// What Propose and Read fail with.
var (
	ErrNoQuorum = errors.New("most of those who vote are out of reach")
	ErrUnknown  = errors.New("the quorum was lost meanwhile: it may or may not have been done")
	ErrBusy     = errors.New("too many requests are under way")
	ErrEnded    = errors.New("the instance has ended")
)

// asks are the requests that callers wait for. The baton guards it.
type asks struct {
	last    uint64
	waiting map[uint64]chan outcome
}

// outcome is what became of one.
type outcome struct {
	result bus.Result
	err    error
}

func newAsks() asks { return asks{waiting: map[uint64]chan outcome{}} }

// answer gives a caller what it waits for.
func (a *asks) answer(fx *core.Effect) {
	ch := a.waiting[fx.Seq]
	if ch == nil {
		return
	}
	delete(a.waiting, fx.Seq)
	o := outcome{result: fx.Result}
	switch {
	case fx.Kind == core.Denied:
		o.err = map[consensus.Why]error{
			consensus.NoQuorum: ErrNoQuorum,
			consensus.Unknown:  ErrUnknown, consensus.Busy: ErrBusy,
		}[fx.Why]
	case fx.Kind == core.Recovered && fx.Text != "":
		o.err = errors.New(fx.Text)
	}
	ch <- o
}

// end tells all callers that nothing will come. What they asked for is on its
// way and may still be done.
func (a *asks) end() {
	for seq, ch := range a.waiting {
		delete(a.waiting, seq)
		ch <- outcome{err: fmt.Errorf("%w: %w", ErrEnded, ErrUnknown)}
	}
}

// ask feeds the core an event that will be answered, and waits for that.
func (n *Node) ask(ctx context.Context, ev core.Event) (bus.Result, error) {
	ch := make(chan outcome, 1)
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return bus.Result{}, ErrEnded
	}
	n.asks.last++
	ev.Seq = n.asks.last
	n.asks.waiting[ev.Seq] = ch
	n.step(time.Now(), ev)
	n.mu.Unlock()
	select {
	case o := <-ch:
		return o.result, o.err
	case <-ctx.Done():
	}
	n.mu.Lock()
	delete(n.asks.waiting, ev.Seq)
	n.step(time.Now(), core.Event{Kind: core.Cancel, Seq: ev.Seq})
	n.mu.Unlock()
	return bus.Result{}, context.Cause(ctx)
}

// Propose has a command agreed on and returns what came of it. If ctx ends
// before, it may still be done.
func (n *Node) Propose(ctx context.Context, c bus.Command) (bus.Result, error) {
	begun := time.Now()
	res, err := n.ask(ctx, core.Event{Kind: core.Propose, Command: c})
	n.mu.Lock()
	n.stats.proposal(res, err, time.Since(begun))
	n.mu.Unlock()
	return res, err
}

// Sync returns when this instance has applied everything that was acknowledged
// to anybody before the call.
func (n *Node) Sync(ctx context.Context) error {
	_, err := n.ask(ctx, core.Event{Kind: core.Read})
	return err
}

// Roster is the one that was agreed on, as far as this instance has heard; nil before the
// first change. It must not be written to.
func (n *Node) Roster() *roster.Roster {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.State().Roster()
}

// LeastProtocol is the oldest protocol that an instance speaks which has not left, and who.
func (n *Node) LeastProtocol() (protocol, who int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.unseen()
	return n.core.LeastProtocol()
}

// Recover begins another history here: see consensus.Core.
func (n *Node) Recover(ctx context.Context, force bool, backup []byte) error {
	_, err := n.ask(ctx, core.Event{Kind: core.Recover, Force: force, Backup: backup})
	return err
}

// Get returns a key as this instance has it.
func (n *Node) Get(key string) (bus.Entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.State().Get(key)
}

// Keys lists the keys with that prefix, as this instance has them.
func (n *Node) Keys(prefix string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.State().Keys(prefix)
}

// Leased reports whether somebody holds the lease of that name, as this instance
// has it.
func (n *Node) Leased(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, held := n.core.State().Lease(name)
	return held
}

// Bus is what this instance knows of what the fleet agrees on.
func (n *Node) Bus() (b *core.BusView) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b = &core.BusView{Leader: -1}
	defer n.unseen()
	return n.core.BusView()
}

// Backup is the whole state.
func (n *Node) Backup() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Backup()
}
