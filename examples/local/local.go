// Package local starts a whole ring in one process, for examples: so many instances, on free
// ports of loopback. On real hosts each process is one instance, and all have the roster of
// their settings file.
package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"ringofservers.dev/ring"
)

// Start joins n instances, stop/0 to stop/(n-1), and returns them once each sees all others
// alive and has counted a lap, so that all have one particle; or it fails with ctx. The
// particle rests at each stop for hold, or not at all if that is 0.
func Start(ctx context.Context, n int, hold time.Duration) (rings []*ring.Ring, err error) {
	var roster ring.Roster
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		roster.Names = append(roster.Names, ring.Name(fmt.Sprintf("stop/%d", i)))
		roster.Addresses = append(roster.Addresses, l.Addr().String())
	}
	for i, l := range listeners {
		r, err := ring.Join(ctx, ring.Config{
			Ring: "example", Name: roster.Names[i], Roster: roster, Listener: l,
			Hold: hold, MaxSpeed: hold == 0,
		})
		if err != nil {
			return nil, errors.Join(err, Close(rings))
		}
		rings = append(rings, r)
	}
	for _, r := range rings {
		if err := awaitAll(ctx, r); err != nil {
			return nil, errors.Join(err, Close(rings))
		}
	}
	return rings, nil
}

// awaitAll waits until r sees nobody who is not alive, and then for a lap that counts.
func awaitAll(ctx context.Context, r *ring.Ring) error {
	whole, counts := make(chan struct{}, 1), make(chan struct{}, 1)
	say := func(what chan struct{}) {
		select {
		case what <- struct{}{}:
		default: // it was said before
		}
	}
	away := func(i ring.Instance) bool { return i.State != ring.Alive }
	defer r.OnView(func(v ring.View) {
		if !slices.ContainsFunc(v.Instances, away) {
			say(whole)
		}
	})()
	if err := await(ctx, whole); err != nil {
		return err
	}
	defer r.OnTick(func(t ring.Tick) {
		if t.Anchored {
			say(counts)
		}
	})()
	return await(ctx, counts)
}

func await(ctx context.Context, what <-chan struct{}) error {
	select {
	case <-what:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until all are in the ring: %w", ctx.Err())
	}
}

// Close ends all of them.
func Close(rings []*ring.Ring) error {
	var errs []error
	for _, r := range rings {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
