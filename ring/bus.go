package ring

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// Bus is what the fleet agrees on: a totally ordered log behind a small map of
// keys. Decisions are consistent: without most of the voters in reach, what
// writes or reads for sure fails with ErrNoQuorum. Its methods may be called by
// several goroutines.
type Bus struct{ r *Ring }

// Bus returns the fleet's bus, as this instance has part in it.
func (r *Ring) Bus() *Bus { return &Bus{r} }

// Limits of the bus.
const (
	KeyMax   = bus.KeyMax   // bytes of a key, or of a lease's name
	ValueMax = bus.ValueMax // bytes of a value
)

// How far a new history leaps over the one before it, so that nothing that may
// have been given there is given again.
const (
	LeapEpoch = consensus.LeapEpoch
	LeapTick  = consensus.LeapTick
	LeapFence = consensus.LeapFence
)

// Entry is a key of the bus, its value, and the revisions that made it and wrote
// it last.
type Entry struct {
	Key      string `json:"key"`
	Value    []byte `json:"value"`
	Created  uint64 `json:"created"`
	Revision uint64 `json:"revision"`
}

// Get returns a key. It is linearizable: it shows every write that was
// acknowledged to anybody before the call. It fails with ErrNotFound.
func (b *Bus) Get(ctx context.Context, key string) (Entry, error) {
	if err := b.r.node.Sync(ctx); err != nil {
		return Entry{}, readError("read "+key, err)
	}
	e, ok := b.Peek(key)
	if !ok {
		return Entry{}, fmt.Errorf("%w: key %q", ErrNotFound, key)
	}
	return e, nil
}

// Peek returns a key as this instance has it now, which may be behind. It asks
// nobody and works without a quorum.
func (b *Bus) Peek(key string) (Entry, bool) {
	e, ok := b.r.node.Get(key)
	return Entry{Key: key, Value: e.Value, Created: e.Created, Revision: e.Modified}, ok
}

// List returns the keys that begin with prefix, in order, as Get would.
func (b *Bus) List(ctx context.Context, prefix string) ([]Entry, error) {
	if err := b.r.node.Sync(ctx); err != nil {
		return nil, readError("list "+prefix, err)
	}
	return b.PeekAll(prefix), nil
}

// PeekAll is List as this instance has it now, which may be behind. It asks nobody and
// works without a quorum.
func (b *Bus) PeekAll(prefix string) []Entry {
	var out []Entry
	for _, k := range b.r.node.Keys(prefix) {
		if e, ok := b.Peek(k); ok {
			out = append(out, e)
		}
	}
	return out
}

// OnChange calls f when keys that begin with prefix have changed here since now, and now
// and then when they have not: f is to look (Peek, PeekAll). It is called in one goroutine,
// which is not the one that applies what was agreed on, so f may take its time. After stop,
// which may be called from within f, no further call begins.
func (b *Bus) OnChange(prefix string, f func()) (stop func()) {
	stop, _ = b.r.node.OnKeys(func(n bus.News) {
		if n.All || slices.ContainsFunc(n.Keys, func(k string) bool { return strings.HasPrefix(k, prefix) }) {
			f()
		}
	})
	return stop
}

// Set writes a key, whatever it was, and returns the revision of that.
func (b *Bus) Set(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.write(ctx, bus.Command{Kind: bus.Put, Key: key, Value: value})
}

// Swap writes a key if it was last written at revision old, or, with old 0, if
// it does not exist. Otherwise it fails with a *ConflictError.
func (b *Bus) Swap(ctx context.Context, key string, value []byte, old uint64) (uint64, error) {
	return b.write(ctx, when(bus.Command{Kind: bus.Put, Key: key, Value: value}, old))
}

// Delete removes a key; with old above 0, only if it was last written at that
// revision. It fails with ErrNotFound or a *ConflictError.
func (b *Bus) Delete(ctx context.Context, key string, old uint64) (uint64, error) {
	c := bus.Command{Kind: bus.Delete, Key: key}
	if old > 0 {
		c = when(c, old)
	}
	return b.write(ctx, c)
}

func when(c bus.Command, old uint64) bus.Command {
	c.If, c.Rev = bus.IfEqual, old
	if old == 0 {
		c.If = bus.IfAbsent
	}
	return c
}

func (b *Bus) write(ctx context.Context, c bus.Command) (uint64, error) {
	if err := c.Check(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	res, err := b.r.node.Propose(ctx, c)
	if err != nil {
		return 0, busError("write "+c.Key, err)
	}
	switch res.Code {
	case bus.Done:
		return res.Rev, nil
	case bus.Conflict:
		return 0, &ConflictError{Key: c.Key, Revision: res.Rev}
	case bus.Gone:
		return 0, fmt.Errorf("%w: key %q", ErrNotFound, c.Key)
	case bus.Full:
		return 0, fmt.Errorf("%w: the bus is full; it holds %d MiB of keys and values: delete some, "+
			"and keep what is large elsewhere", ErrRefused, bus.StateMax>>20)
	}
	return 0, fmt.Errorf("%w: not known to this version", ErrRefused)
}

// ConflictError says that a key was not what a write asked it to be.
type ConflictError struct {
	Key      string
	Revision uint64 // at which it was last written, 0 if it does not exist
}

func (e *ConflictError) Error() string {
	if e.Revision == 0 {
		return fmt.Sprintf("ring: key %q does not exist", e.Key)
	}
	return fmt.Sprintf("ring: key %q was written at revision %d; read it again and decide anew",
		e.Key, e.Revision)
}

// busError turns what the node says into this package's errors.
func busError(what string, err error) error {
	switch {
	case errors.Is(err, node.ErrNoQuorum):
		return fmt.Errorf("%w: %s", ErrNoQuorum, what)
	case errors.Is(err, node.ErrUnknown):
		return fmt.Errorf("%w: %s", ErrUncertain, what)
	case errors.Is(err, node.ErrBusy):
		return fmt.Errorf("%w: %s: %w", ErrRefused, what, err)
	case errors.Is(err, node.ErrEnded):
		return fmt.Errorf("%w: %s", ErrClosed, what)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s: %w", ErrUncertain, what, err)
	}
	return fmt.Errorf("ring: %s: %w", what, err)
}

// readError is busError for what changes nothing.
func readError(what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ring: %s: no answer in time: %w", what, err)
	}
	return busError(what, err)
}

// BusStatus is what `ring bus status` shows.
type BusStatus struct {
	V            int          `json:"v"` // version of this object, 1
	Ring         string       `json:"ring"`
	Self         Name         `json:"self"`
	History      string       `json:"history"`  // empty before this instance has heard of one
	Era          uint32       `json:"era"`      // raised by each recovery and restore
	Leader       Name         `json:"leader"`   // empty without Quorum, or if nobody is known to lead
	Term         uint64       `json:"term"`     // 0 where this instance does not vote
	Quorum       bool         `json:"quorum"`   // most voters are alive, by this instance's view
	Revision     uint64       `json:"revision"` // newest entry applied here
	ViewRevision uint64       `json:"view_revision"`
	Epoch        uint64       `json:"epoch"`
	TickLimit    uint64       `json:"tick_limit"` // first tick that is not reserved
	Fence        uint64       `json:"fence"`      // highest given
	Keys         int          `json:"keys"`
	Voters       []BusVoter   `json:"voters"`
	Leases       []LeaseState `json:"leases"`
}

// BusVoter is one whose vote counts, or will.
type BusVoter struct {
	Name     Name    `json:"name"`
	ID       string  `json:"id"`   // index and generation of its log
	Role     string  `json:"role"` // voter, learner, leaving
	State    State   `json:"state"`
	Revision *uint64 `json:"revision"` // newest it has applied; null where that is not known here
	Lag      *uint64 `json:"lag"`      // entries behind this instance; null where Revision is
}

// LeaseState is a lease that somebody holds.
type LeaseState struct {
	Name   string  `json:"name"`
	Holder Name    `json:"holder"`
	Fence  uint64  `json:"fence"`
	TTLMS  float64 `json:"ttl_ms"`
}

// Status returns it.
func (b *Bus) Status() BusStatus {
	v := b.r.node.Bus()
	s := BusStatus{
		V: 1, Ring: b.r.cfg.Ring, Self: b.r.cfg.Name, Era: v.Era, Term: v.Term,
		Quorum: v.Quorum, Revision: v.Applied, ViewRevision: v.ViewRev, Epoch: v.Epoch.Number,
		TickLimit: v.Epoch.Limit, Fence: v.Fence, Keys: v.Keys,
		Voters: b.voters(v), Leases: []LeaseState{},
	}
	if v.Quorum { // else who led may lead no more, and nobody can begin to
		s.Leader = b.r.name(v.Leader)
	}
	if v.History != (wire.History{}) {
		s.History = hex.EncodeToString(v.History[:])
	}
	for _, l := range v.Leases {
		s.Leases = append(s.Leases, LeaseState{
			Name: l.Name, Holder: b.r.name(int(l.Holder)),
			Fence: l.Fence, TTLMS: float64(l.TTL) / float64(time.Millisecond),
		})
	}
	return s
}

func (b *Bus) voters(v *core.BusView) []BusVoter {
	view := b.r.View()
	rows := make([]BusVoter, 0, len(v.Voters))
	for _, w := range v.Voters {
		i := w.ID.Index()
		row := BusVoter{Name: b.r.name(i), ID: w.ID.String(), Role: "learner"}
		switch {
		case w.Votes:
			row.Role = "voter"
		case w.Leaves:
			row.Role = "leaving"
		}
		in, _ := view.Row(i)
		row.State = in.State
		if w.Applied > 0 {
			row.Revision, row.Lag = new(w.Applied), new(v.Applied-min(v.Applied, w.Applied))
		}
		rows = append(rows, row)
	}
	return rows
}

// Recover is for when most voters are lost for good: it begins a new history at
// this instance, from what it has, with itself as the only voter; the others
// follow when they hear of it, and vote again. What only the lost ones had is
// given up; epochs, ticks and fences leap over all that they may have given, and
// all leases end. It is refused while a quorum is there, unless force. Use it at
// the instance with the newest revision, and at one only.
func (b *Bus) Recover(ctx context.Context, force bool) error {
	return b.renew("recover", b.r.node.Recover(ctx, force, nil))
}

// Restore begins a new history with what a Backup of this ring holds in place of
// what there is. Everybody follows it.
func (b *Bus) Restore(ctx context.Context, backup []byte) error {
	read, err := readBackup(backup)
	if err == nil {
		err = read.info().CheckRing(b.r.cfg.Ring)
	}
	if err == nil {
		err = b.r.node.Recover(ctx, true, read.state)
	}
	return b.renew("restore the backup", err)
}

func (b *Bus) renew(what string, err error) error {
	if err == nil || errors.Is(err, node.ErrEnded) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrRefused, what, err)
}
