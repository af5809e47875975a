package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
	runner "ringofservers.dev/run"
)

const (
	leasePatience   = time.Minute     // for the answer to a request that waits for a lease
	keepPart        = 5               // a lease is kept so often in its time
	tickPace        = "100ms"         // between two ticks that are followed
	again           = time.Second     // until an instance that does not answer is asked again
	findPatience    = 2 * time.Second // for an instance to say who it is
	forsakePatience = 2 * time.Second // for it to hear that a lease is not wanted
)

// beside is the fleet as the instance at an address has it, over HTTP. It implements
// runner.Fleet.
type beside struct {
	client *client
	self   string
	ticks  bool          // they are followed
	tick   atomic.Uint64 // the newest that was seen
}

// newBeside asks the instance who it is.
func newBeside(ctx context.Context, addr target) (*beside, error) {
	c, err := addr.client(leasePatience)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, findPatience)
	defer cancel()
	var s ring.Status
	if err := c.get(ctx, "/v1/status", &s); err != nil {
		return nil, err
	}
	b := &beside{client: c, self: string(s.Self)}
	b.tick.Store(s.Tick)
	return b, nil
}

// awaitBeside waits for the instance: who starts first does not matter.
func awaitBeside(ctx context.Context, addr target, log *slog.Logger) (*beside, error) {
	for told := false; ; told = true {
		b, err := newBeside(ctx, addr)
		var exit *exitError
		if err == nil || ctx.Err() != nil || !errors.As(err, &exit) || exit.code == exitUsage {
			return b, err
		}
		if !told {
			log.Warn("waiting for the instance", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(again):
		}
	}
}

// follow keeps the newest tick until ctx ends.
func (b *beside) follow(ctx context.Context) {
	for ctx.Err() == nil {
		_ = b.client.follow(ctx, "/v1/ticks?follow=1&every="+tickPace, func(line json.RawMessage) error {
			var t ring.Tick
			if err := json.Unmarshal(line, &t); err == nil && t.Anchored {
				b.tick.Store(t.Tick)
			}
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (b *beside) Self() string { return b.self }

func (b *beside) Instances(ctx context.Context) []runner.Instance {
	var s ring.Status
	if b.client.get(ctx, "/v1/status", &s) != nil {
		return nil
	}
	return runner.InstancesOf(s.Instances)
}

func (b *beside) Tick(ctx context.Context) uint64 {
	var s ring.Status
	if !b.ticks && b.client.get(ctx, "/v1/status", &s) == nil {
		b.tick.Store(s.Tick)
	}
	return b.tick.Load()
}

func (b *beside) Held(ctx context.Context) (map[uint64]bool, uint64, error) {
	var s ring.BusStatus
	if err := b.client.get(ctx, "/v1/bus", &s); err != nil {
		return nil, 0, err
	}
	fences, revision := runner.HeldOf(s)
	return fences, revision, nil
}

func (b *beside) Peek(ctx context.Context, key string) ([]byte, uint64, error) {
	return b.read(ctx, key, url.Values{"local": {""}})
}

func (b *beside) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	return b.read(ctx, key, within(ctx))
}

func (b *beside) read(ctx context.Context, key string, query url.Values) ([]byte, uint64, error) {
	text, err := b.client.ask(ctx, http.MethodGet, keyPath(key, query), nil)
	if codeIs(err, exitFalse) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var e ring.Entry
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, 0, b.client.strange(err)
	}
	return e.Value, e.Revision, nil
}

func (b *beside) Swap(ctx context.Context, key string, value []byte, revision uint64) error {
	query := within(ctx)
	query.Set("if_revision", strconv.FormatUint(revision, 10))
	_, err := b.client.ask(ctx, http.MethodPut, keyPath(key, query), strings.NewReader(string(value)))
	if codeIs(err, exitFalse) {
		return runner.ErrConflict
	}
	return err
}

// within is the query of a request that may take as long as ctx does.
func within(ctx context.Context) url.Values {
	wait := answerTime
	if at, ok := ctx.Deadline(); ok {
		wait = min(max(time.Until(at), time.Millisecond), leasePatience/2)
	}
	return url.Values{"timeout": {wait.String()}}
}

func codeIs(err error, code int) bool {
	var exit *exitError
	return errors.As(err, &exit) && exit.code == code
}

// Lease asks again and again until ctx ends.
func (b *beside) Lease(ctx context.Context, name string, ttl time.Duration) (runner.Lease, error) {
	query := within(ctx)
	query.Set("ttl", ttl.String())
	path := "/v1/leases/" + pathPart(name)
	for {
		l, err := b.lease(ctx, path+"?"+query.Encode())
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, ctx.Err()
		case codeIs(err, exitTimeout):
			continue
		case err != nil:
			return nil, err
		}
		l.path, l.name = path+"/"+pathPart(l.ID), name
		// The request may have waited for longer than the lease lasts: what counts is how
		// long it is from a question that is answered at once.
		if err := l.ask(ctx); err != nil {
			l.forsake(ctx)
			return nil, err
		}
		keep, stop := context.WithCancel(context.Background())
		l.stop = stop
		l.kept.Go(func() { l.keep(keep, ttl/keepPart) })
		return l, nil
	}
}

func (b *beside) lease(ctx context.Context, path string) (*lentLease, error) {
	text, err := b.client.ask(ctx, http.MethodPost, path, nil)
	if err != nil {
		return nil, err
	}
	l := &lentLease{client: b.client}
	if err := l.read(text); err != nil {
		return nil, err
	}
	return l, nil
}

// lentLease is a lease that the instance holds for this process. It implements runner.Lease.
type lentLease struct {
	client *client
	path   string
	name   string
	stop   func()         // ends keep
	kept   sync.WaitGroup // of keep

	ID    string
	Given uint64        // its fence
	left  time.Duration // as it was told last

	mu    sync.Mutex    // guards until
	until time.Duration // by the boot clock; 0 before it was asked how long
}

func (l *lentLease) read(text []byte) error {
	var answer struct {
		ID        string  `json:"id"`
		Fence     uint64  `json:"fence"`
		Remaining float64 `json:"remaining_ms"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.ID == "" || answer.Fence == 0 {
		return l.client.strange(errors.Join(err, errors.New("no lease")))
	}
	l.ID, l.Given = answer.ID, answer.Fence
	l.left = time.Duration(answer.Remaining * float64(time.Millisecond))
	return nil
}

// keep says that this process is there, until ctx ends or the lease is over.
func (l *lentLease) keep(ctx context.Context, pace time.Duration) {
	t := time.NewTicker(pace)
	defer t.Stop()
	for l.Left() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ask, cancel := context.WithTimeout(ctx, pace)
		_ = l.ask(ask) // it may have been heard; what is known stands
		cancel()
	}
}

// ask keeps the lease once. The time it is told counts from before it has asked.
func (l *lentLease) ask(ctx context.Context) error {
	asked := guard.BootTime()
	text, err := l.client.ask(ctx, http.MethodPost, l.path, nil)
	if err != nil {
		return err
	}
	next := lentLease{client: l.client}
	if err := next.read(text); err != nil {
		return err
	}
	if next.Given != l.Given {
		return l.client.strange(errors.New("another fence"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == 0 || asked < l.until { // one that was over is not taken up again
		l.until = asked + next.left
	}
	return nil
}

// forsake gives back what will not be kept, also where ctx is why; if it is not heard,
// the lease runs out.
func (l *lentLease) forsake(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), forsakePatience)
	defer cancel()
	_, _ = l.client.ask(last, http.MethodDelete, l.path, nil)
}

func (l *lentLease) Fence() uint64 { return l.Given }

func (l *lentLease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.until-guard.BootTime())
}

func (l *lentLease) Release(ctx context.Context) error {
	l.stop()
	l.kept.Wait()
	l.mu.Lock()
	l.until = 1 // long ago
	l.mu.Unlock()
	_, err := l.client.ask(ctx, http.MethodDelete, l.path, nil)
	if codeIs(err, exitFalse) && l.name != "" { // the instance was started again under it
		path := "/v1/leases/" + pathPart(l.name) + "?fence=" + strconv.FormatUint(l.Given, 10)
		_, err = l.client.ask(ctx, http.MethodDelete, path, nil)
	}
	return err
}
