package admin

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ringofservers.dev/ring"
)

// LeasesMax is how many leases one instance holds for others at a time, those that are
// waited for included; the next one is answered 503.
const LeasesMax = 256

// sessions are the leases that are held for others. Their methods are safe for
// concurrent use.
type sessions struct {
	room chan struct{} // holds one token for each lease that is held or waited for

	mu   sync.Mutex // guards held
	held map[string]*session
}

func newSessions() *sessions {
	return &sessions{room: make(chan struct{}, LeasesMax), held: map[string]*session{}}
}

// session is one lease of somebody who has to say now and then that he is there.
type session struct {
	id    string
	lease *ring.Lease
	ttl   time.Duration

	mu    sync.Mutex // guards what follows
	quiet *time.Timer
	until time.Time // let go if nothing is heard till then
	over  bool
}

// leaseObject is what a client is told. The client counts RemainingMS from before it
// sent its request: then it stops before this instance lets go, however long either
// was under way.
type leaseObject struct {
	V           int     `json:"v"`
	Name        string  `json:"name"`
	ID          string  `json:"id"` // of this holding of it; whoever knows it may keep and release
	Fence       uint64  `json:"fence"`
	RemainingMS float64 `json:"remaining_ms"` // to act in, unless it is kept
	TTLMS       float64 `json:"ttl_ms"`
}

// leaseTake waits for a lease within ?timeout= and holds it, for ?ttl= at a time.
func (a *api) leaseTake(w http.ResponseWriter, req *http.Request) {
	ttl := ring.LeaseTTL
	if text := req.URL.Query().Get("ttl"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("ttl=%q is no duration: write it as 10s", text))
			return
		}
		ttl = d
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		select {
		case a.leases.room <- struct{}{}:
		default: // which is answered 503
			return nil, fmt.Errorf("%d leases are held or waited for here already; release one", LeasesMax)
		}
		l, err := a.ring.LeaseFor(ctx, req.PathValue("name"), ttl)
		if err != nil {
			<-a.leases.room
			return nil, late(err, "somebody else holds it")
		}
		one := a.leases.add(l, ttl)
		if err := req.Context().Err(); err != nil { // who asked is gone, and would not keep it
			a.leases.forsake(one)
			return nil, err
		}
		return one.object(), nil
	})
}

// leaseKeep says that the holder is there, and for how long it may go on.
func (a *api) leaseKeep(w http.ResponseWriter, req *http.Request) {
	s := a.leases.find(req)
	if s == nil || !s.keep() {
		refuse(w, http.StatusNotFound, "this lease is over")
		return
	}
	writeJSON(w, http.StatusOK, s.object())
}

// leaseDrop gives it back, and answers when others may have it.
func (a *api) leaseDrop(w http.ResponseWriter, req *http.Request) {
	s := a.leases.find(req)
	if s == nil || !s.end() {
		refuse(w, http.StatusNotFound, "this lease is over")
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		err := a.leases.release(ctx, s)
		return map[string]any{"v": 1, "released": s.lease.Name()}, err
	})
}

// leaseEnd gives back what was held for a program by this instance before it was started again,
// which is where its session is gone.
func (a *api) leaseEnd(w http.ResponseWriter, req *http.Request) {
	fence, err := strconv.ParseUint(req.URL.Query().Get("fence"), 10, 64)
	if err != nil || fence == 0 {
		refuse(w, http.StatusBadRequest, "fence= is missing: give that of the lease")
		return
	}
	if a.leases.holds(fence) {
		refuse(w, http.StatusConflict, "that lease is held here, for somebody who is there: release it by its id")
		return
	}
	name := req.PathValue("name")
	a.within(w, req, func(ctx context.Context) (any, error) {
		return map[string]any{"v": 1, "released": name}, a.ring.EndLease(ctx, name, fence)
	})
}

// holds says whether there is a session of a lease with that fence.
func (s *sessions) holds(fence uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.held { // in any order: any will do
		if one.lease.Fence() == fence {
			return true
		}
	}
	return false
}

// add begins a session. The room for it is taken.
func (s *sessions) add(l *ring.Lease, ttl time.Duration) *session {
	one := &session{id: rand.Text(), lease: l, ttl: ttl, until: time.Now().Add(ttl)}
	one.quiet = time.AfterFunc(ttl, func() {
		if one.silent() {
			s.letGo(one)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[one.id] = one
	return one
}

// forsake ends a session that nobody has heard of.
func (s *sessions) forsake(one *session) {
	if one.end() {
		s.letGo(one)
	}
}

// letGo is release where nobody waits for it.
func (s *sessions) letGo(one *session) {
	ctx, cancel := context.WithTimeout(context.Background(), ring.LeaseTTL)
	defer cancel()
	_ = s.release(ctx, one) // if not, it runs out by itself
}

func (s *sessions) find(req *http.Request) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.held[req.PathValue("id")]
	if one == nil || one.lease.Name() != req.PathValue("name") {
		return nil
	}
	return one
}

// release gives back the lease of a session that was ended, once.
func (s *sessions) release(ctx context.Context, one *session) error {
	err := one.lease.Release(ctx)
	s.mu.Lock()
	delete(s.held, one.id)
	s.mu.Unlock()
	<-s.room
	return err
}

// object is what the session is worth now.
func (s *session) object() leaseObject {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := max(0, min(s.lease.Left(), time.Until(s.until)))
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return leaseObject{
		V: 1, Name: s.lease.Name(), ID: s.id, Fence: s.lease.Fence(), RemainingMS: ms(left),
		TTLMS: ms(s.ttl),
	}
}

// keep puts off the end of the session, unless it has come.
func (s *session) keep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || !s.lease.Valid() {
		return false
	}
	s.until = time.Now().Add(s.ttl)
	s.quiet.Reset(s.ttl)
	return true
}

// silent ends the session if its holder was not heard for long enough: it may have
// spoken while the timer fired.
func (s *session) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || time.Until(s.until) > 0 {
		return false
	}
	s.over = true
	return true
}

// end ends the session; only the first call of it or of silent returns true.
func (s *session) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.over = true
	s.quiet.Stop()
	return true
}
