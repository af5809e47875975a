package run

import (
	"context"
	"errors"
	"time"

	"ringofservers.dev/ring"
)

// Fleet is what a runner asks of the ring. Its methods are safe for concurrent use.
type Fleet interface {
	// Self is the name of the instance that this runner stands beside.
	Self() string
	// Instances are all of the roster, in the order of the ring, as this one knows them;
	// none where it does not answer.
	Instances(ctx context.Context) []Instance
	// Tick is the newest tick counted here.
	Tick(ctx context.Context) uint64
	// Peek is a key as this instance has it, which may be behind. Without one the
	// revision is 0.
	Peek(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Get is the same for sure; it needs a quorum.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Swap writes a key if it was last written at that revision, 0 for not at all;
	// else it fails with ErrConflict. After other errors it may have been written.
	Swap(ctx context.Context, key string, value []byte, revision uint64) error
	// Lease waits for a lease until ctx ends.
	Lease(ctx context.Context, name string, ttl time.Duration) (Lease, error)
	// Held are the fences of all leases that are held, as this instance has it, and up to
	// which revision that is.
	Held(ctx context.Context) (fences map[uint64]bool, revision uint64, err error)
}

// Instance is one of the roster, and whether it is in the ring.
type Instance struct {
	Name   string
	Living bool
}

// Living are the names of those in the ring.
func Living(all []Instance) (names []string) {
	for _, i := range all {
		if i.Living {
			names = append(names, i.Name)
		}
	}
	return names
}

// Lease is one that is held; ring.Lease is one.
type Lease interface {
	Fence() uint64
	// Left is for how long its holder may act, by a clock that counts suspension.
	Left() time.Duration
	Release(ctx context.Context) error
}

// ErrConflict is that a key was not what it was thought to be.
var ErrConflict = errors.New("run: the key has been written meanwhile")

// Over is the fleet as r sees it.
func Over(r *ring.Ring) Fleet { return &over{r} }

type over struct{ ring *ring.Ring }

func (o *over) Self() string { return string(o.ring.View().Self) }

func (o *over) Instances(context.Context) []Instance { return InstancesOf(o.ring.View().Instances) }

// InstancesOf are those of a view or a status of the ring, by index. Whoever is retired has
// neither a name nor a part in anything.
func InstancesOf(view []ring.Instance) []Instance {
	all := make([]Instance, 0, len(view))
	for _, i := range view {
		for len(all) < i.Index {
			all = append(all, Instance{}) // retired
		}
		all = append(all, Instance{string(i.Name), i.State == ring.Alive || i.State == ring.Suspect})
	}
	return all
}

func (o *over) Tick(context.Context) uint64 { return o.ring.Status().Tick }

func (o *over) Peek(_ context.Context, key string) ([]byte, uint64, error) {
	e, _ := o.ring.Bus().Peek(key)
	return e.Value, e.Revision, nil
}

func (o *over) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := o.ring.Bus().Get(ctx, key)
	if errors.Is(err, ring.ErrNotFound) {
		err = nil
	}
	return e.Value, e.Revision, err
}

func (o *over) Swap(ctx context.Context, key string, value []byte, revision uint64) error {
	_, err := o.ring.Bus().Swap(ctx, key, value, revision)
	var conflict *ring.ConflictError
	if errors.As(err, &conflict) {
		return ErrConflict
	}
	return err
}

func (o *over) Lease(ctx context.Context, name string, ttl time.Duration) (Lease, error) {
	l, err := o.ring.LeaseFor(ctx, name, ttl)
	if err != nil {
		return nil, err // not a nil *ring.Lease in an interface
	}
	return l, nil
}

func (o *over) Held(context.Context) (map[uint64]bool, uint64, error) {
	fences, revision := HeldOf(o.ring.Bus().Status())
	return fences, revision, nil
}

// HeldOf are those of a status of the bus.
func HeldOf(s ring.BusStatus) (fences map[uint64]bool, revision uint64) {
	fences = make(map[uint64]bool, len(s.Leases))
	for _, l := range s.Leases {
		fences[l.Fence] = true
	}
	return fences, s.Revision
}
