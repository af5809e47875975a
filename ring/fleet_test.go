package ring

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fleet is a ring of instances in this process, with real sockets.
type fleet struct {
	t      *testing.T
	roster Roster
	rings  []*Ring
	change func(i int, c *Config)
}

// patience is how long a test waits for what should take milliseconds, where
// other packages' fleets have the processors.
const patience = time.Minute

// calm is the pace of a fleet of a test: that of LAN, but an instance that is
// silent because other tests have the processors is not taken for dead for
// some seconds, and if it is, it returns at once. A crash is known as fast as
// ever.
func calm() Timing {
	t := LAN()
	t.Patience, t.Answer, t.HoldDown = 5*time.Second, 5*time.Second, time.Second
	return t
}

func newFleet(t *testing.T, n int, change func(i int, c *Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, rings: make([]*Ring, n), change: change}
	listeners := make([]net.Listener, n)
	for i := range n {
		listeners[i] = listener(t, "127.0.0.1:0")
		f.roster.Names = append(f.roster.Names, Name(fmt.Sprintf("dc1/prod/%d", i)))
		f.roster.Addresses = append(f.roster.Addresses, listeners[i].Addr().String())
	}
	for i, l := range listeners {
		f.start(i, l)
	}
	return f
}

func listener(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (f *fleet) start(i int, l net.Listener) {
	f.t.Helper()
	cfg := Config{Ring: "test", Name: f.roster.Names[i], Roster: f.roster, Listener: l, Timing: calm()}
	if f.change != nil {
		f.change(i, &cfg)
	}
	r, err := Join(f.t.Context(), cfg)
	if err != nil {
		f.t.Fatalf("Join %s: %v", cfg.Name, err)
	}
	f.rings[i] = r
	f.t.Cleanup(func() { r.Close() })
}

// restart brings instance i back at its address.
func (f *fleet) restart(i int) {
	f.t.Helper()
	f.start(i, listener(f.t, f.roster.Addresses[i]))
}

func (f *fleet) joined() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for i, r := range f.rings {
		if err := r.Joined(ctx); err != nil {
			f.t.Fatalf("instance %d: Joined: %v\n%s", i, err, story(r))
		}
	}
}

// sees waits until every instance but the excepted says state of instance i.
func (f *fleet) sees(i int, state State, except ...int) {
	f.t.Helper()
	for j, r := range f.rings {
		if contains(except, j) {
			continue
		}
		await(f.t, r, fmt.Sprintf("%d sees %d %s", j, i, state), func(v View) bool {
			return v.Instances[i].State == state
		})
	}
}

func (f *fleet) seeAllAlive() {
	f.t.Helper()
	for i := range f.rings {
		f.sees(i, Alive)
	}
}

// ticks waits until each instance but the excepted has passed on n particles.
func (f *fleet) ticks(n int, except ...int) {
	f.t.Helper()
	var wg sync.WaitGroup
	for i, r := range f.rings {
		if contains(except, i) {
			continue
		}
		wg.Go(func() {
			passed := make(chan struct{}, n)
			stop := r.OnTick(func(Tick) {
				select {
				case passed <- struct{}{}:
				default:
				}
			})
			defer stop()
			deadline := time.After(patience)
			for k := range n {
				select {
				case <-passed:
				case <-deadline:
					f.t.Errorf("instance %d: %d passes, want %d\n%s", i, k, n, story(r))
					return
				}
			}
		})
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// counting waits until a quorum stands behind what each does.
func (f *fleet) counting() {
	f.t.Helper()
	for i, r := range f.rings {
		until(f.t, fmt.Sprint("anchored is ", i), func() bool { return r.Status().Anchored })
	}
}

// await waits for a view.
func await(t *testing.T, r *Ring, what string, ok func(View) bool) {
	t.Helper()
	found := make(chan struct{}, 1)
	stop := r.OnView(func(v View) {
		if ok(v) {
			select {
			case found <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	select {
	case <-found:
	case <-time.After(patience):
		t.Fatalf("waited %v in vain: %s\n%+v\n%s", patience, what, r.View(), story(r))
	}
}

// awaitEvent waits for an event of a kind about a subject.
func awaitEvent(t *testing.T, r *Ring, kind string, subject Name) Event {
	t.Helper()
	found := make(chan Event, 1)
	stop := r.OnEvent(0, func(e Event) {
		if e.Kind == kind && e.Subject == subject {
			select {
			case found <- e:
			default:
			}
		}
	})
	defer stop()
	select {
	case e := <-found:
		return e
	case <-time.After(patience):
		t.Fatalf("no event %s %s\n%s", kind, subject, story(r))
	}
	return Event{}
}

func story(r *Ring) string {
	s := fmt.Sprintf("the story of %s:\n", r.cfg.Name)
	for _, e := range r.Events(0) {
		s += fmt.Sprintf("  %s %-12s %s\n", e.At.Format("05.000"), e.Kind, e.Text)
	}
	return s
}

func contains(list []int, i int) bool {
	for _, v := range list {
		if v == i {
			return true
		}
	}
	return false
}

// When all say goodbye nobody is cut off: who is last has nobody to miss.
func TestGoodbyeOfAll(t *testing.T) {
	var log syncBuffer
	f := newFleet(t, 3, func(i int, c *Config) {
		fast(i, c)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	f.joined()
	f.seeAllAlive()
	f.ticks(5)
	var all sync.WaitGroup
	for _, r := range f.rings {
		all.Go(func() { _ = r.Leave(t.Context()) })
	}
	all.Wait()
	if s := log.String(); strings.Contains(s, "cut off") {
		t.Errorf("somebody is cut off:\n%s", s)
	}
}

// syncBuffer is a log that several write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
