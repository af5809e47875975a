package lap

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringofservers.dev/ring"
)

// fleet is a fake of a ring: it notes what boards, and is told what to deliver.
type fleet struct {
	mu      sync.Mutex
	boarded []string // states
	at      []time.Time
	lost    bool // no passenger comes home
	takes   time.Duration
	view    func(ring.View)
	pass    func(ring.Passenger)
	stopped int
}

func (f *fleet) Lap(ctx context.Context, topic string, payload []byte) (ring.Lapped, error) {
	var one rode
	if err := json.Unmarshal(payload, &one); err != nil || topic != AppTopic {
		return ring.Lapped{}, errors.New("strange passenger")
	}
	f.mu.Lock()
	f.boarded, f.at = append(f.boarded, one.State), append(f.at, time.Now())
	lost, takes := f.lost, f.takes
	f.mu.Unlock()
	if lost {
		<-ctx.Done()
		return ring.Lapped{}, context.Cause(ctx)
	}
	time.Sleep(takes)
	return ring.Lapped{}, nil
}

func (f *fleet) OnPassenger(_ string, pass func(ring.Passenger)) (stop func()) {
	f.pass = pass
	return func() { f.stopped++ }
}

func (f *fleet) OnView(view func(ring.View)) (stop func()) {
	f.view = view
	return func() { f.stopped++ }
}

func (f *fleet) states() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.boarded)
}

// views is a view of a, b and c, with these states and incarnations.
func views(states [3]ring.State, incarnations ...uint32) ring.View {
	v := ring.View{Self: "a"}
	for i, name := range []ring.Name{"a", "b", "c"} {
		v.Instances = append(v.Instances, ring.Instance{
			Index: i, Name: name, State: states[i], Incarnation: incarnations[i],
		})
	}
	return v
}

var whole = [3]ring.State{ring.Alive, ring.Alive, ring.Alive}

// running runs a Health over a fake within a bubble.
func running(t *testing.T, f *fleet, do func(h *Health)) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHealth(f, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended, enough := make(chan error), errors.New("enough")
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		f.view(views(whole, 1, 1, 1))
		do(h)
		cancel(enough)
		if err := <-ended; !errors.Is(err, enough) || f.stopped != 2 {
			t.Errorf("ended with %v, and %d of 2 callbacks stopped", err, f.stopped)
		}
	})
}

// What changes rides at once, but at most once a second and then the newest of it.
func TestHealthRidesWhenItChanges(t *testing.T) {
	f := &fleet{}
	running(t, f, func(h *Health) {
		time.Sleep(time.Hour)
		if got := f.states(); len(got) > 0 {
			t.Errorf("without an application %v rode", got)
		}
		h.Set(App{State: "starting"})
		synctest.Wait()
		if got := f.states(); !slices.Equal(got, []string{"starting"}) {
			t.Errorf("%v rode, want what has changed", got)
		}
		for range 100 { // it flaps
			time.Sleep(20 * time.Millisecond)
			h.Set(App{State: "unhealthy"})
			time.Sleep(20 * time.Millisecond)
			h.Set(App{State: "healthy"})
		}
		time.Sleep(2 * time.Second)
		got := f.states()
		if len(got) < 4 || len(got) > 6 || got[len(got)-1] != "healthy" {
			t.Errorf("in 4 s of flapping %v rode, want one a second, the last healthy", got)
		}
		for i := 1; i < len(f.at); i++ {
			if d := f.at[i].Sub(f.at[i-1]); d < rideApart {
				t.Errorf("two rode within %v", d)
			}
		}
	})
}

// What does not change rides now and then, and after it did not come home.
func TestHealthRidesAgain(t *testing.T) {
	f := &fleet{takes: 300 * time.Millisecond}
	running(t, f, func(h *Health) {
		h.Set(App{State: "healthy"})
		time.Sleep(10 * time.Minute)
		if n := len(f.states()); n < 17 || n > 25 {
			t.Errorf("%d times in 10 minutes, want 20, give or take a fifth", n)
		}
		f.mu.Lock()
		f.lost = true
		f.mu.Unlock()
		h.Set(App{State: "failed"})
		before := len(f.states())
		time.Sleep(time.Minute)
		if n := len(f.states()) - before; n < 5 || n > 8 {
			t.Errorf("%d attempts in a minute in which none comes home, want one each 10 s", n)
		}
	})
}

// That there is none any more rides as a state does, and none is known then.
func TestHealthIsCleared(t *testing.T) {
	f := &fleet{}
	running(t, f, func(h *Health) {
		h.Clear()
		time.Sleep(time.Minute)
		if got := f.states(); len(got) > 0 {
			t.Errorf("where there never was an application %v rode", got)
		}
		h.Set(App{State: "healthy"})
		time.Sleep(2 * time.Second)
		h.Clear()
		h.Clear()
		time.Sleep(2 * time.Second)
		if got := f.states(); !slices.Equal(got, []string{"healthy", none}) || len(h.All()) > 0 {
			t.Errorf("%v rode, and %v is known, want none", got, h.All())
		}
		time.Sleep(time.Minute)
		if got := f.states(); len(got) < 3 || got[len(got)-1] != none {
			t.Errorf("%v rode, want it again for who has not had it", got)
		}
		h.Set(App{State: "starting"})
		if got := h.All()["a"].State; got != "starting" {
			t.Errorf("of a new one %q is known", got)
		}
	})
}

// Whoever comes back is told soon, and whoever is gone is no reason.
func TestHealthRidesForWhoIsBack(t *testing.T) {
	f := &fleet{}
	running(t, f, func(h *Health) {
		h.Set(App{State: "healthy"})
		time.Sleep(2 * time.Second)
		for _, c := range []struct {
			what string
			view ring.View
			want int
		}{
			{"b dies", views([3]ring.State{ring.Alive, ring.Dead, ring.Alive}, 1, 1, 1), 0},
			{"b is back", views(whole, 1, 2, 1), 1},
			{"b is suspected", views([3]ring.State{ring.Alive, ring.Suspect, ring.Alive}, 1, 2, 1), 0},
			{"b is not", views(whole, 1, 2, 1), 0},
			{"c is another, as nobody has noticed", views(whole, 1, 2, 5), 1},
			{"we were thought dead", views(whole, 2, 2, 5), 1},
		} {
			before := len(f.states())
			f.view(c.view)
			time.Sleep(1500 * time.Millisecond)
			if n := len(f.states()) - before; n != c.want {
				t.Errorf("%s: %d rode, want %d", c.what, n, c.want)
			}
		}
	})
}

// Of others the newest that rode by is kept, while they live that life.
func TestHealthOfOthers(t *testing.T) {
	f := &fleet{}
	running(t, f, func(h *Health) {
		rides := func(from ring.Name, incarnation uint32, state string) {
			payload, err := json.Marshal(rode{App{State: state}, incarnation})
			if err != nil {
				t.Fatal(err)
			}
			f.pass(ring.Passenger{From: from, Topic: AppTopic, Payload: payload})
		}
		check := func(what string, want map[ring.Name]string) {
			t.Helper()
			got := map[ring.Name]string{}
			for name, app := range h.All() {
				got[name] = app.State
			}
			if len(got) != len(want) || got["a"] != want["a"] || got["b"] != want["b"] || got["c"] != want["c"] {
				t.Errorf("%s: %v is known, want %v", what, got, want)
			}
		}
		dead := views([3]ring.State{ring.Alive, ring.Dead, ring.Alive}, 1, 1, 1)
		check("nobody has told", nil)
		rides("b", 1, "starting")
		rides("b", 1, "healthy")
		rides("c", 1, "unhealthy")
		rides("x", 1, "healthy") // is not in the roster
		rides("a", 1, "failed")  // an older process of ours
		h.Set(App{State: "waiting"})
		check("all have told", map[ring.Name]string{"a": "waiting", "b": "healthy", "c": "unhealthy"})
		f.pass(ring.Passenger{From: "c", Payload: []byte("{"), Topic: AppTopic})
		f.pass(ring.Passenger{From: "c", Payload: []byte("{}"), Topic: AppTopic})
		f.pass(ring.Passenger{Moved: true})
		check("what cannot be read changes nothing",
			map[ring.Name]string{"a": "waiting", "b": "healthy", "c": "unhealthy"})
		rides("c", 1, none)
		check("that of c was taken away", map[ring.Name]string{"a": "waiting", "b": "healthy"})
		rides("c", 1, "unhealthy")
		f.view(dead)
		check("b is dead", map[ring.Name]string{"a": "waiting", "c": "unhealthy"})
		rides("b", 1, "stopping") // was on its way
		check("a dead one says nothing", map[ring.Name]string{"a": "waiting", "c": "unhealthy"})
		rides("b", 2, "starting") // before it is seen to be back
		f.view(dead)
		f.view(views(whole, 1, 2, 2))
		check("b is back, and c another", map[ring.Name]string{"a": "waiting", "b": "starting"})
	})
}
