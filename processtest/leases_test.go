//go:build linux

package processtest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// holding is from when until when one holder has seen its lease valid.
type holding struct {
	fence       uint64
	who         string
	first, last time.Duration
}

// resource is what the lease guards: it takes a write only if none of a later
// fence came before, and keeps what holders say of themselves.
type resource struct {
	url string

	mu       sync.Mutex
	trap     func(who string, fence uint64) // called once, while a holder waits for its answer
	highest  uint64
	holdings map[uint64]*holding
	order    []uint64 // fences as they were first accepted
	refused  map[string]int
	broke    []string
}

// newResource serves it on host, whom everybody reaches whatever is cut.
func newResource(t *testing.T, host string) *resource {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &resource{
		url: "http://" + l.Addr().String() + "/", holdings: map[uint64]*holding{},
		refused: map[string]int{},
	}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(l) }() // until Close
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	fence, err1 := strconv.ParseUint(q.Get("fence"), 10, 64)
	first, err2 := strconv.ParseInt(q.Get("first"), 10, 64)
	last, err3 := strconv.ParseInt(q.Get("last"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err1 != nil || err2 != nil || err3 != nil || fence == 0 {
		s.broke = append(s.broke, "a write that makes no sense: "+req.URL.RawQuery)
		return
	}
	s.note(holding{fence, q.Get("instance"), time.Duration(first), time.Duration(last)})
	if s.trap != nil && q.Get("more") != "" {
		s.trap(q.Get("instance"), fence)
		s.trap = nil
	}
	if fence < s.highest {
		s.refused[q.Get("instance")]++
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	if fence > s.highest {
		s.highest = fence
		s.order = append(s.order, fence)
	}
}

// note keeps what a holder says, refused or not. The caller holds mu.
func (s *resource) note(h holding) {
	had := s.holdings[h.fence]
	switch {
	case had == nil:
		s.holdings[h.fence] = &h
	case had.who != h.who:
		s.broke = append(s.broke, fmt.Sprintf("fence %d was given to %s and to %s", h.fence, had.who,
			h.who))
	case had.first == 0:
		*had = h
	default:
		had.last = max(had.last, h.last)
	}
}

// holder is the fence and the name of who wrote last.
func (s *resource) holder() (fence uint64, who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holdings[s.highest]; h != nil {
		return s.highest, h.who
	}
	return 0, ""
}

// refusals is how many writes of an instance were refused.
func (s *resource) refusals(who string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[who]
}

// check says what was wrong: two who were sure of their lease at one moment, or
// a fence that did not grow with time.
func (s *resource) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.broke {
		t.Error(b)
	}
	var all []*holding
	for _, h := range s.holdings {
		if h.first > 0 {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *holding) int { return int(a.first - b.first) })
	who := map[string]int{}
	for i, h := range all {
		who[h.who]++
		if i == 0 {
			continue
		}
		was := all[i-1]
		if was.last >= h.first {
			t.Errorf("%s held %d until %v, and %s held %d from %v", was.who, was.fence, was.last, h.who,
				h.fence, h.first)
		}
		if was.fence >= h.fence {
			t.Errorf("fence %d came behind %d", h.fence, was.fence)
		}
	}
	t.Logf("held %d times, by %v; refused %v", len(all), who, s.refused)
}

// passed waits until somebody has written under a later fence than that.
func (s *resource) passed(t *testing.T, fence uint64, not string) {
	t.Helper()
	await(t, fmt.Sprintf("somebody holds it after fence %d", fence), func() bool {
		now, who := s.holder()
		return now > fence && who != not
	})
}

// newLeasers is a ring of instances that all want one lease.
func newLeasers(t *testing.T, n int) (*kept, *resource) {
	t.Helper()
	k := newKept(t, n, true)
	k.Binary = leaser
	s := newResource(t, k.Net.Host())
	k.Env = append(k.Env, "LEASER_RESOURCE="+s.url)
	k.up(k.All(), k.All())
	s.passed(t, 0, "")
	return k, s
}

// held is who holds the lease, as the resource has it.
func (k *kept) held(s *resource) (i int, fence uint64) {
	fence, who := s.holder()
	return slices.Index(k.Names, who), fence
}

func TestP2LeasesNeverOverlapAndFencesGrow(t *testing.T) {
	t.Parallel()
	k, s := newLeasers(t, 5)
	passed := func([]int) {
		fence, _ := s.holder()
		s.passed(t, fence, "")
	}
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		i, _ := k.held(s)
		k.killed(passed, i)

		k.stoppedHolder(s)

		k.again()
		passed(nil)

		i, _ = k.held(s)
		k.cut(passed, i, k.oneWay())
		k.again() // nobody is hit so often that its return would be held up
		passed(nil)

		// Cut off with one other, the holder has to let go.
		i, fence := k.held(s)
		k.parted(func(few, _ []int) {
			await(t, "the rest holds it", func() bool {
				now, who := s.holder()
				return now > fence && !slices.Contains(few, slices.Index(k.Names, who))
			})
		}, i, (i+1)%5)
		k.again()
		passed(nil)
	}
	s.check(t)
}

// stoppedHolder stops a holder in the middle of a write, wakes it when another
// has written, and waits until what it does then is refused, by the fence.
func (k *kept) stoppedHolder(s *resource) {
	k.t.Helper()
	type held struct {
		i     int
		fence uint64
	}
	caught := make(chan held, 1)
	s.mu.Lock()
	s.trap = func(who string, fence uint64) {
		h := held{slices.Index(k.Names, who), fence}
		if err := k.Proc(h.i).Signal(syscall.SIGSTOP); err != nil {
			k.t.Error(err)
		}
		caught <- h
	}
	s.mu.Unlock()
	h := <-caught
	refused := s.refusals(k.Names[h.i])
	s.passed(k.t, h.fence, k.Names[h.i])
	signal(k.t, k.Ring, h.i, syscall.SIGCONT)
	await(k.t, k.Names[h.i]+" is refused", func() bool { return s.refusals(k.Names[h.i]) > refused })
	k.whole(k.All())
}
