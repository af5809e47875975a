package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	errGone    = errors.New("this instance is dead")
	errCut     = errors.New("no quorum")
	errUnknown = errors.New("it may or may not have been done")
)

// world is a fleet as runners see it: keys and leases that all agree on, in the virtual
// time of a synctest bubble, and what an observer outside of it has counted.
type world struct {
	seed     uint64
	hunt     bool // it ends when something is seen
	blind    bool // writes ask no condition, so that the observer sees something
	generous bool // leases are given to everybody, likewise
	ttl      time.Duration
	lap      time.Duration // of a tick
	began    time.Time
	mutate   func(*station) Fleet // what runners have of the fleet instead; nil: it itself

	mu        sync.Mutex // guards what follows
	revision  uint64
	values    map[string][]byte
	revisions map[string]uint64
	history   map[string][]version // what the keys were
	down      map[string]bool      // instances that are not in the ring
	leases    map[string]*modelLease
	fence     uint64
	electing  time.Time // until when leaders come and go: half of what is asked is not answered
	starts    map[string][]string
	running   map[*modelLease]string
	alone     bool // no two may run at once
	claimed   map[int64]bool
	fences    map[string]uint64 // of the claims, by slot
	order     []string          // by whom they were
	faults    []fault
	broke     []string
}

// fault is from when until when a slot may be missed for it.
type fault struct {
	what     string
	from, to time.Time
}

func newWorld(seed uint64, ttl time.Duration) *world {
	return &world{
		seed: seed, ttl: ttl, began: time.Now(), values: map[string][]byte{}, revisions: map[string]uint64{},
		leases: map[string]*modelLease{}, starts: map[string][]string{}, running: map[*modelLease]string{},
		claimed: map[int64]bool{}, fences: map[string]uint64{}, history: map[string][]version{},
		down: map[string]bool{}, lap: time.Second,
	}
}

// version is what a key was from when on.
type version struct {
	from     time.Time
	value    []byte
	revision uint64
}

func (w *world) wrong(format string, args ...any) {
	w.broke = append(w.broke, fmt.Sprintf("after %v: ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

// station is one process beside an instance. It implements Fleet.
type station struct {
	w     *world
	name  string
	all   []string
	skew  time.Duration
	gone  chan struct{} // closed when it is killed
	chaos *rand.Rand    // guarded by mu

	mu     sync.Mutex
	paused time.Time
	cut    bool
	lag    time.Duration // by which what is peeked at is behind
	frozen time.Time     // as of when it is, where it does not go on; zero: it does

	stall   time.Duration // for how long it is stopped behind its next lease; 0: it is not
	stallIn int           // and behind how many messages more, once it has that
}

func (s *station) Self() string { return s.name }

func (s *station) Instances(context.Context) (all []Instance) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, name := range s.all {
		all = append(all, Instance{name, !s.w.down[name]})
	}
	return all
}

func (s *station) Tick(context.Context) uint64 { return uint64(1000 + time.Since(s.w.began)/s.w.lap) }

func (s *station) now() time.Time { return time.Now().Add(s.skew) }

func (s *station) dead() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// awake waits while the process is stopped.
func (s *station) awake() {
	for {
		s.mu.Lock()
		d := time.Until(s.paused)
		s.mu.Unlock()
		if d <= 0 || s.dead() {
			return
		}
		time.Sleep(d)
	}
}

// travel is the time of a message, and of the stops on its way.
func (s *station) travel() error {
	s.mu.Lock()
	d := time.Duration(1+s.chaos.IntN(30)) * time.Millisecond
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
	if s.stallIn > 0 {
		if s.stallIn--; s.stallIn == 0 {
			s.paused, s.stall = time.Now().Add(s.stall), 0
		}
	}
	s.mu.Unlock()
	s.awake()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead():
		return errGone
	case s.cut:
		return errCut
	}
	return nil
}

// ask has one thing done by the fleet: it may be done and not answered, or not done.
func (s *station) ask(do func() error) error { return s.askOnce(do, false) }

// askOnce is ask of what may also be done later, behind an answer that says nothing.
func (s *station) askOnce(do func() error, later bool) error {
	if err := s.travel(); err != nil {
		return err
	}
	s.mu.Lock()
	fate, delay := s.chaos.IntN(6), time.Duration(1+s.chaos.IntN(5000))*time.Millisecond
	s.mu.Unlock()
	s.w.mu.Lock()
	if fate < 3 && time.Until(s.w.electing) > 0 {
		defer s.w.mu.Unlock()
		switch {
		case fate == 0:
			_ = do()
		case fate == 1 && later:
			time.AfterFunc(delay, func() {
				s.w.mu.Lock()
				defer s.w.mu.Unlock()
				_ = do()
			})
		}
		return errUnknown
	}
	err := do()
	s.w.mu.Unlock()
	return errors.Join(err, s.travel())
}

func (s *station) Peek(_ context.Context, key string) (value []byte, revision uint64, err error) {
	s.awake()
	s.mu.Lock()
	at := time.Now().Add(-s.lag)
	if !s.frozen.IsZero() && s.frozen.Before(at) {
		at = s.frozen
	}
	s.mu.Unlock()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, v := range slices.Backward(s.w.history[key]) {
		if !v.from.After(at) {
			return v.value, v.revision, nil
		}
	}
	return nil, 0, nil
}

func (s *station) Get(_ context.Context, key string) (value []byte, revision uint64, err error) {
	err = s.ask(func() error {
		value, revision = s.w.values[key], s.w.revisions[key]
		return nil
	})
	return value, revision, err
}

func (s *station) Swap(_ context.Context, key string, value []byte, revision uint64) error {
	return s.askOnce(func() error {
		if s.w.revisions[key] != revision && !s.w.blind {
			return ErrConflict
		}
		s.w.written(s.name, key, value)
		s.w.revision++
		value := slices.Clone(value)
		s.w.values[key], s.w.revisions[key] = value, s.w.revision
		s.w.history[key] = append(s.w.history[key], version{time.Now(), value, s.w.revision})
		return nil
	}, true)
}

// operator is who suspends and resumes.
const operator = "operator"

// written compares a record that is to be written with what it is to replace.
func (w *world) written(who, key string, value []byte) {
	rec, err := ParseRecord(value)
	old, before := ParseRecord(w.values[key])
	switch {
	case strings.HasPrefix(key, rollPrefix):
		return
	case err != nil:
		w.wrong("%s wrote %q", who, value)
	case before != nil:
		return
	case rec.Slot < old.Slot:
		w.wrong("%s claimed %d again after %d", who, rec.Slot, old.Slot)
	case rec.Suspended != old.Suspended && who != operator:
		w.wrong("%s has resumed or suspended it", who)
	}
	if rec.Slot == old.Slot || len(rec.Runs) == 0 {
		return
	}
	one := rec.Runs[0]
	slot := SlotText(rec.Slot, rec.Ticks)
	switch {
	case old.Suspended:
		w.wrong("%s was claimed while it was suspended", slot)
	case len(old.Runs) > 0 && old.Runs[0].Fence >= one.Fence:
		w.wrong("%s was claimed with fence %d, behind %d", slot, one.Fence, old.Runs[0].Fence)
	}
	w.claimed[rec.Slot], w.fences[slot] = true, one.Fence
	w.order = append(w.order, one.By)
}

// modelLease is a lease as the fleet has it, and its holder.
type modelLease struct {
	s     *station
	name  string
	fence uint64
	ttl   time.Duration
	done  chan struct{}
	end   func()

	mu     sync.Mutex
	theirs time.Time // guarded by world.mu: when others may have it
	mine   time.Time // guarded by mu: until when the holder may act
}

func (s *station) Lease(ctx context.Context, name string, ttl time.Duration) (Lease, error) {
	for {
		asked := time.Now()
		var l *modelLease
		err := s.ask(func() error {
			if had := s.w.leases[name]; had != nil && time.Until(had.theirs) > 0 && !s.w.generous {
				return nil
			}
			s.w.fence++
			l = &modelLease{
				s: s, name: name, fence: s.w.fence, ttl: ttl, done: make(chan struct{}),
				mine: asked.Add(ttl), theirs: time.Now().Add(ttl + ttl/64),
			}
			l.end = sync.OnceFunc(func() { close(l.done) })
			s.w.leases[name] = l
			return nil
		})
		if err != nil { // if it was granted, it runs out
			return nil, err
		}
		if l != nil {
			s.mu.Lock()
			if s.stall > 0 {
				s.stallIn = 1 + s.chaos.IntN(6)
			}
			s.mu.Unlock()
			go l.renew()
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// renew asks for more until the lease is over.
func (l *modelLease) renew() {
	for l.Left() > 0 {
		asked, ok := time.Now(), false
		err := l.s.ask(func() error {
			if ok = l.s.w.leases[l.name] == l && time.Until(l.theirs) > 0; ok {
				l.theirs = time.Now().Add(l.ttl + l.ttl/64)
			}
			return nil
		})
		if err == nil && ok && l.Left() > 0 {
			l.mu.Lock()
			l.mine = asked.Add(l.ttl)
			l.mu.Unlock()
		}
		select {
		case <-l.done:
			return
		case <-l.s.gone:
			return
		case <-time.After(l.ttl / 3):
		}
	}
}

func (l *modelLease) Fence() uint64 { return l.fence }

func (l *modelLease) Left() time.Duration {
	select {
	case <-l.done:
		return 0
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, time.Until(l.mine))
}

func (l *modelLease) Release(context.Context) error {
	l.end()
	return l.s.ask(func() error {
		if l.s.w.leases[l.name] == l {
			delete(l.s.w.leases, l.name)
		}
		return nil
	})
}

// exec is the work: it takes that long, ends in time before its lease does, and the
// observer sees all of it.
func (s *station) exec(took func() time.Duration) Exec {
	return func(ctx context.Context, start Start, lease Lease) (int, error) {
		l := lease.(*modelLease)
		s.w.begin(s.name, start.Slot, l)
		defer s.w.ended(l)
		for end := time.Now().Add(took()); time.Until(end) > 0; {
			time.Sleep(300 * time.Millisecond)
			s.awake()
			switch {
			case s.dead():
				return -1, errGone
			case ctx.Err() != nil:
				return -1, context.Cause(ctx)
			case lease.Left() < l.ttl/10:
				return -1, ErrLost
			}
			s.w.look()
		}
		return 0, nil
	}
}

func (w *world) begin(who, slot string, l *modelLease) {
	w.mu.Lock()
	if w.starts[slot] = append(w.starts[slot], who); len(w.starts[slot]) > 1 {
		w.wrong("%s is run by %v", slot, w.starts[slot])
	}
	if w.fences[slot] != l.fence {
		w.wrong("%s is run by %s, which has not claimed it", slot, who)
	}
	if l.Left() <= 0 {
		w.wrong("%s is begun by %s behind the end of its lease", slot, who)
	}
	w.running[l] = slot
	w.mu.Unlock()
	w.look()
}

func (w *world) ended(l *modelLease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, l)
}

// look says if two run at once and both may, where only one does.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var slots []string
	for l, slot := range w.running { // only how many there are matters
		if l.Left() > 0 && !l.s.dead() {
			slots = append(slots, slot)
		}
	}
	if w.alone && len(slots) > 1 && len(w.broke) < 10 {
		w.wrong("%v run at once", slots)
	}
}

func (s *station) Held(context.Context) (map[uint64]bool, uint64, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	fences := map[uint64]bool{}
	for _, l := range s.w.leases {
		if time.Until(l.theirs) > 0 {
			fences[l.fence] = true
		}
	}
	return fences, s.w.revision, nil
}
