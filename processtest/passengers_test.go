//go:build linux

package processtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// rider is one line of what `ring events --passengers --json` prints.
type rider struct {
	Number struct {
		N uint64 `json:"n"`
	} `json:"number"`
	From    string `json:"from"`
	Payload []byte `json:"payload"`
}

// receipt is what came of a lap.
type receipt struct {
	Number struct {
		N uint64 `json:"n"`
	} `json:"number"`
	Value []byte   `json:"value"`
	Seen  []string `json:"seen"`
}

// stretch is what was delivered at one stop without word of a move: payloads, which are
// names here, by number.
type stretch struct {
	stop  string
	first uint64
	names []string
}

// tram is all that rides in a test, and where it was seen.
type tram struct {
	t *testing.T
	r *fleet.Ring

	mu        sync.Mutex
	stretches []*stretch
	seen      map[string]map[string]bool // by payload: at which stops
	home      map[string]receipt         // by payload
	lost      int
	moves     int
	broke     []string
}

func newTram(t *testing.T, r *fleet.Ring) *tram {
	return &tram{t: t, r: r, seen: map[string]map[string]bool{}, home: map[string]receipt{}}
}

// fault notes what must not be. The caller holds mu.
func (s *tram) fault(format string, args ...any) {
	if len(s.broke) < 20 {
		s.broke = append(s.broke, fmt.Sprintf(format, args...))
	}
}

// watch follows what passes instance i, until that ends.
func (s *tram) watch(i int) *fleet.Proc {
	s.t.Helper()
	var here *stretch
	spec := fleet.Spec{
		Name: "passengers at " + s.r.Names[i], Path: program,
		Args: []string{"events", "--passengers", "", "--json", "--addr", s.r.Addrs[i]},
		Line: func(_ time.Time, line string) {
			if strings.HasPrefix(line, "{") {
				here = s.deliver(s.r.Names[i], here, []byte(line))
			}
		},
	}
	if s.r.Net != nil {
		spec.Netns = s.r.Net.Namespace(i)
	}
	p, err := s.r.Group.Start(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// deliver is P4 at one stop: between two moves the numbers follow each other.
func (s *tram) deliver(stop string, here *stretch, line []byte) *stretch {
	var r rider
	err := json.Unmarshal(line, &r)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.fault("%s prints %.80q: %v", stop, line, err)
		return here
	case r.From == "": // it has moved, or who watches was too slow
		s.moves++
		return nil
	case here == nil:
		here = &stretch{stop: stop, first: r.Number.N}
		s.stretches = append(s.stretches, here)
	case r.Number.N != here.first+uint64(len(here.names)):
		s.fault("%s is given %d after %d", stop, r.Number.N, here.first+uint64(len(here.names))-1)
		return nil
	}
	name, _, _ := strings.Cut(string(r.Payload), " ")
	here.names = append(here.names, name) // empty for one whose payload it lacks
	if s.seen[name] == nil {
		s.seen[name] = map[string]bool{}
	}
	s.seen[name][stop] = true
	return here
}

// ride has a passenger board at instance i.
func (s *tram) ride(i int, name string, size int) (receipt, error) {
	api, addr := s.r.Local(i, 10*time.Second)
	body := append([]byte(name+" "), bytes.Repeat([]byte("x"), size)...)
	a, err := api.Do("POST", addr, "/v1/lap/tram", body)
	switch {
	case err != nil:
		return receipt{}, err
	case a.Code == http.StatusGatewayTimeout: // lost, or late
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost++
		return receipt{}, fmt.Errorf("%s", a.Error)
	case a.Code != http.StatusOK:
		return receipt{}, fmt.Errorf("%d: %s", a.Code, a.Error)
	}
	var r receipt
	if err := json.Unmarshal(a.Body, &r); err != nil {
		return r, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.home[name] = r
	return r, nil
}

// check is P4 over all stops: two that were given one passenger under one number were given
// the same before it, and who is named by a receipt was given the passenger.
//
// broken are the stops whose watcher has not seen all.
func (s *tram) check(broken map[string]bool) {
	s.t.Helper()
	s.mu.Lock() // the watchers go on
	defer s.mu.Unlock()
	watched := map[string]uint64{} // the others, and the number from which on
	for _, one := range s.stretches {
		if !broken[one.stop] && watched[one.stop] == 0 {
			watched[one.stop] = one.first
		}
	}
	for i, a := range s.stretches {
		for _, b := range s.stretches[:i] {
			if n, differs := disagree(a, b); differs {
				s.fault("number %d is %q at %s and %q at %s, who share a later one", n, a.names[n-a.first], a.stop,
					b.names[n-b.first], b.stop)
			}
		}
	}
	for name, r := range s.home { // each is held against what was seen: order does not matter
		for _, stop := range r.Seen {
			if since := watched[stop]; since > 0 && r.Number.N > since && !s.seen[name][stop] {
				s.fault("the receipt of %s (number %d) names %s, which was not given it", name, r.Number.N, stop)
			}
		}
	}
	s.t.Logf("%d came home, %d lost or late, %d moves, %d stretches", len(s.home), s.lost, s.moves,
		len(s.stretches))
	for _, b := range s.broke {
		s.t.Error(b)
	}
}

// disagree finds a number that two stretches give to different passengers, though they give a
// later one to the same. An order may fork, but not come together again.
func disagree(a, b *stretch) (n uint64, again bool) {
	from := max(a.first, b.first)
	to := min(a.first+uint64(len(a.names)), b.first+uint64(len(b.names)))
	for k := from; k < to; k++ {
		an, bn := a.names[k-a.first], b.names[k-b.first]
		if an == "" || bn == "" {
			continue // one of them cannot say
		}
		same := an == bn
		switch {
		case !same && n == 0:
			n = k
		case same && n > 0:
			return n, true
		}
	}
	return 0, false
}

// P4 with real processes, kills, stops and cuts: all instances have somebody ride all the
// time.
func TestP4OneOrderAndReceiptsUnderFaults(t *testing.T) {
	t.Parallel()
	k := newKept(t, 5, true)
	k.up(k.All(), k.All())
	s := newTram(t, k.Ring)
	watchers := make([]*fleet.Proc, 5)
	broken := map[string]bool{} // whose watcher has ended in between
	done, stopped := make(chan struct{}), sync.WaitGroup{}
	hang := sync.OnceFunc(func() { close(done) })
	defer stopped.Wait()
	defer hang()
	for i := range k.Names {
		watchers[i] = s.watch(i)
		stopped.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				size := []int{0, 500, 5000, 20_000}[n%4]           // the last goes over the overlay
				_, _ = s.ride(i, fmt.Sprintf("%d/%d", i, n), size) // it may be down
			}
		})
	}
	ride := func(who []int) {
		t.Helper()
		for _, i := range who {
			await(t, k.Names[i]+" has somebody come home", func() bool {
				_, err := s.ride(i, fmt.Sprintf("%d/at/%d", i, time.Now().UnixNano()), 0)
				return err == nil
			})
		}
	}
	ride(k.All())
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		if n > 0 {
			k.again() // nobody is hit so often that its return would be held up
			for i, name := range k.Names {
				<-watchers[i].Done()
				watchers[i], broken[name] = s.watch(i), true
			}
		}
		order := k.rand.Perm(5)
		faults := []func(){
			func() {
				i := order[0]
				broken[k.Names[i]] = true
				k.killed(func(rest []int) {
					<-watchers[i].Done()
					ride(rest)
				}, i)
				watchers[i] = s.watch(i)
			},
			func() { k.stopped(ride, order[1]) },
			func() { k.cut(ride, order[2], k.oneWay()) },
			func() { k.cut(ride, order[3], k.Net.Mute, k.Net.Deafen) },
		}
		for _, f := range k.rand.Perm(len(faults)) {
			faults[f]()
			ride(k.All())
		}
	}
	hang()
	stopped.Wait()
	// The last of each comes to all, and all have them in one order.
	for i := range k.Names {
		name := fmt.Sprintf("last/%d", i)
		await(t, name+" comes home with all", func() bool {
			r, err := s.ride(i, name, 0)
			return err == nil && len(r.Seen) == 5
		})
		await(t, name+" is heard of everywhere", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.seen[name]) == 5
		})
	}
	s.check(broken)
}

// P5 with real processes: filters that hang, end at once or write too much cost their own part
// and hold the particle within their budget: it is never taken for lost.
func TestP5FiltersThatFailHoldNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRing(t, 5)
	filters := []string{"sed -u s/$/a/", "sed -u s/$/b/", "sleep 1000", "exit 3", "sed -u 's/$/+/;p'"}
	for i, f := range filters {
		start(t, r, i, "--station", "tram="+f, "--hold", shortHold)
	}
	whole(t, r, r.All())
	laps(t, r, 0, 2)
	s := newTram(t, r)
	from := time.Now()
	var got receipt
	await(t, "both good filters have folded", func() bool {
		var err error
		got, err = s.ride(0, "1", 1)
		return err == nil && strings.Contains(string(got.Value), "a") && strings.Contains(string(got.Value), "b")
	})
	if len(got.Seen) != 5 {
		t.Errorf("seen by %v", got.Seen)
	}
	for n := range 20 {
		if _, err := s.ride(n%5, fmt.Sprint("2/", n), 1); err != nil {
			t.Errorf("lap %d: %v", n, err)
		}
	}
	laps(t, r, 0, 5)
	never(t, r, r.All(), from, "dropped", "")
}
