package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// roll is a rollout over a model fleet, as an observer sees it.
type roll struct {
	w       *world
	names   []string
	mu      sync.Mutex
	done    []string
	now     map[string]bool
	most    int // who did it at once
	results map[string]error
}

func newRoll(names ...string) *roll {
	return &roll{w: newWorld(1, simTTL), names: names, now: map[string]bool{}, results: map[string]error{}}
}

// start begins the rollout beside an instance; do is its work, after a second.
func (r *roll) start(all *sync.WaitGroup, name string, retry bool, do func() error) *station {
	s := &station{
		w: r.w, name: name, all: r.names, gone: make(chan struct{}),
		chaos: rand.New(rand.NewPCG(1, uint64(slices.Index(r.names, name)))),
	}
	exec := func(context.Context, Start, Lease) (int, error) {
		r.mu.Lock()
		r.now[name] = true
		r.most = max(r.most, len(r.now))
		r.mu.Unlock()
		time.Sleep(time.Second)
		err := do()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.now, name)
		if err != nil {
			return 7, err
		}
		r.done = append(r.done, name)
		return 0, nil
	}
	all.Go(func() {
		err := Rollout{
			Fleet: s, Name: "deploy", Parallel: strings.Contains(name, "/"), Retry: retry, Lease: simTTL, Exec: exec,
		}.Run(context.Background())
		r.mu.Lock()
		defer r.mu.Unlock()
		r.results[name] = err
	})
	return s
}

// A rollout goes through the ring in its order whatever the order of start, stops at the
// first failure everywhere, and goes on from there when told to.
func TestRolloutStopsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll("a", "b", "c", "d")
		for round, want := range []string{"a", "a", "abcd"} {
			var all sync.WaitGroup
			for _, name := range []string{"d", "c", "b", "a"} {
				r.start(&all, name, round == 2, func() error {
					if name == "b" && round == 0 {
						return errors.New("on purpose")
					}
					return nil
				})
			}
			all.Wait()
			if got := strings.Join(r.done, ""); got != want || r.most != 1 {
				t.Fatalf("round %d: done %q, want %q; at most %d at once", round, got, want, r.most)
			}
			for name, err := range r.results {
				var failed *FailedError
				switch told := errors.As(err, &failed); {
				case round == 2 || name == "a":
					if err != nil {
						t.Errorf("round %d: %s: %v", round, name, err)
					}
				case !told || failed.Instance != "b" || failed.Exit != 7:
					t.Errorf("round %d: %s is told %v, want that b failed", round, name, err)
				}
			}
		}
		time.Sleep(time.Minute) // what renews leases ends
	})
}

func TestRolloutInEachDataCentre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll("x/1", "y/1", "x/2", "y/2", "z/1")
		var all sync.WaitGroup
		for _, name := range r.names {
			r.start(&all, name, false, func() error { return nil })
		}
		all.Wait()
		for _, centre := range []string{"x", "y"} {
			first := slices.Index(r.done, centre+"/1")
			if first < 0 || first > slices.Index(r.done, centre+"/2") {
				t.Errorf("done in the order %v", r.done)
			}
		}
		if len(r.done) != 5 || r.most != 3 {
			t.Errorf("%v done, %d at once, want 5, in three centres at once", r.done, r.most)
		}
		time.Sleep(time.Minute)
	})
}

// Who dies in the middle is waited for, and does it again when it is back.
func TestRolloutOfOneThatDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll("a", "b")
		var first, all sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		dying := &station{
			w: r.w, name: "a", all: r.names, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, 9)),
		}
		first.Go(func() {
			_ = Rollout{Fleet: dying, Name: "deploy", Lease: simTTL, Exec: func(context.Context, Start, Lease) (int, error) {
				close(dying.gone)
				cancel()
				return -1, errGone
			}}.Run(ctx)
		})
		first.Wait()
		r.start(&all, "b", false, func() error { return nil })
		time.Sleep(time.Minute)
		r.mu.Lock()
		if len(r.done) > 0 {
			t.Errorf("%v went on before the one that had begun", r.done)
		}
		r.mu.Unlock()
		r.start(&all, "a", false, func() error { return nil })
		all.Wait()
		if got := fmt.Sprint(r.done); got != "[a b]" {
			t.Errorf("done in the order %s", got)
		}
		time.Sleep(time.Minute)
	})
}

// Who waits for somebody else to do again what failed there does not wait for ever, in
// whatever order they are started; and without a lease time there is the default.
func TestRolloutRetryDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll("a", "b")
		fails := func() error { return errors.New("on purpose") }
		var all sync.WaitGroup
		for round, names := range []string{"a", "a", "b"} { // a fails, fails again, and then b begins
			r.start(&all, names, round > 0, fails)
			all.Wait()
		}
		var failed *FailedError
		if err := r.results["b"]; !errors.As(err, &failed) || failed.Instance != "a" {
			t.Errorf("b is told %v, want that a failed", err)
		}
		s := &station{
			w: r.w, name: "a", all: r.names, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, 5)),
		}
		err := Rollout{Fleet: s, Name: "other", Exec: func(_ context.Context, _ Start, l Lease) (int, error) {
			if ttl := l.(*modelLease).ttl; ttl != DefaultLease {
				t.Errorf("the lease is for %v", ttl)
			}
			return 0, nil
		}}.Run(t.Context())
		if err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}
