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
	look    func(Progress) // of those that are started from now on
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
	look := r.look
	all.Go(func() {
		err := Rollout{
			Fleet: s, Name: "deploy", Parallel: strings.Contains(name, "/"), Retry: retry, Lease: simTTL,
			Exec: exec, Look: look,
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
				case round == 2 || name == "a" && round == 0:
					if err != nil { // a was done before b failed
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

// What nobody can read is told at once, and not waited for.
func TestRolloutThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, value := range []string{"{", "[]", `{"v":2}`} {
			r := newRoll("a", "b")
			r.w.values[RolloutKey("deploy")] = []byte(value)
			r.w.revisions[RolloutKey("deploy")] = 1
			var all sync.WaitGroup
			r.start(&all, "a", false, func() error { return nil })
			all.Wait()
			if err := r.results["a"]; err == nil || len(r.done) > 0 {
				t.Errorf("of %s it is told %v, and %v is done", value, err, r.done)
			}
		}
		time.Sleep(time.Minute)
	})
}

// What a watcher is told is what has happened: who runs, who is done, who has failed.
func TestRolloutTellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoll("a", "b", "c")
		var all sync.WaitGroup
		var mu sync.Mutex
		var seen []string
		r.look = func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			text := fmt.Sprintf("%s %d", p.State(), p.Done)
			for _, one := range p.Parts {
				text += " " + one.Instance + ":" + string(one.State)
				if (one.Started != nil) != (one.State == Running || one.State == Failed) {
					t.Errorf("%s is %s since %v", one.Instance, one.State, one.Started)
				}
			}
			if len(seen) == 0 || seen[len(seen)-1] != text {
				seen = append(seen, text)
			}
		}
		r.start(&all, "c", false, func() error { return nil })
		r.look = nil
		r.start(&all, "b", false, func() error { return errors.New("on purpose") })
		time.Sleep(2 * time.Second)
		r.start(&all, "a", false, func() error { return nil })
		all.Wait()
		want := []string{
			"waiting 0 a:waiting b:waiting c:waiting", "running 0 a:running b:waiting c:waiting",
			"running 1 a:done b:running c:waiting", "failed 1 a:done b:failed c:waiting",
		}
		seen = slices.DeleteFunc(seen, func(s string) bool { return strings.HasPrefix(s, "waiting 1") }) // between two
		if !slices.Equal(seen, want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
		p, err := ParseProgress(r.w.values[RolloutKey("deploy")], []Instance{{"a", true}, {"b", true}, {"c", false}, {"new", true}})
		if err != nil || p.Began == nil || p.Changed == nil || !p.Began.Before(*p.Changed) ||
			p.Parts[1].Exit != 7 || p.Parts[1].Error != "on purpose" || p.Parts[2].Living || p.Parts[3].State != Waiting {
			t.Errorf("%+v, %v", p, err)
		}
		time.Sleep(time.Minute)
	})
}

// Who says that it runs and holds no lease any more is lost, and nobody else is.
func TestProgressJudge(t *testing.T) {
	value := []byte(`{"v":1,"states":"drrf","open":[
		{"instance":"b","fence":3},{"instance":"c","fence":4},{"instance":"d","fence":2,"exit":1}]}`)
	all := []Instance{{"a", true}, {"b", true}, {"c", true}, {"d", true}}
	p, err := ParseProgress(value, all)
	if err != nil {
		t.Fatal(err)
	}
	p.Judge(map[uint64]bool{4: true})
	for i, want := range []PartState{Done, Lost, Running, Failed} {
		if got := p.Parts[i].State; got != want {
			t.Errorf("%s is %s, want %s", p.Parts[i].Instance, got, want)
		}
	}
	for _, text := range []string{"{", `{"v":2}`} {
		if _, err := ParseProgress([]byte(text), all); err == nil {
			t.Errorf("%s is read as a rollout", text)
		}
	}
}
