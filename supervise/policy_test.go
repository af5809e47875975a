package supervise

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// scene drives a keeper through virtual time.
type scene struct {
	t      *testing.T
	k      *keeper
	now    time.Time
	starts []time.Duration // since the beginning
	begin  time.Time
	fx     []effect
}

func newScene(t *testing.T, p Policy, checks bool) *scene {
	begin := time.Unix(1000, 0)
	return &scene{
		t: t, now: begin, begin: begin, k: newKeeper(begin, p, checks, rand.New(rand.NewPCG(1, 2))),
	}
}

func (s *scene) step(ev event) []effect {
	s.fx = s.k.step(s.now, ev)
	for _, fx := range s.fx {
		if fx == fxStart {
			s.starts = append(s.starts, s.now.Sub(s.begin))
		}
	}
	return s.fx
}

// wait lets time pass to the next deadline.
func (s *scene) wait() []effect {
	s.t.Helper()
	if s.k.deadline().IsZero() {
		s.t.Fatalf("nothing is due in state %s", s.k.state)
	}
	if s.k.deadline().After(s.now) {
		s.now = s.k.deadline()
	}
	return s.step(event{kind: evTimer})
}

func (s *scene) start() {
	s.t.Helper()
	if fx := s.wait(); len(fx) != 1 || fx[0] != fxStart {
		s.t.Fatalf("at the deadline of a start came %v", fx)
	}
	s.step(event{kind: evStarted, run: s.k.run})
}

func (s *scene) exit(ok bool, why string) {
	s.step(event{kind: evEnded, run: s.k.run, ok: ok, why: why})
}

// look makes the next check and gives its result.
func (s *scene) look(ok bool) {
	s.t.Helper()
	if fx := s.wait(); len(fx) != 1 || fx[0] != fxCheck {
		s.t.Fatalf("at the deadline of a check came %v in state %s", fx, s.k.state)
	}
	s.step(event{kind: evChecked, run: s.k.run, ok: ok, why: "503"})
}

func (s *scene) is(want State) {
	s.t.Helper()
	if s.k.state != want {
		s.t.Fatalf("state %s (%s), want %s", s.k.state, s.k.why, want)
	}
}

func (s *scene) did(want ...effect) {
	s.t.Helper()
	if len(s.fx) != len(want) {
		s.t.Fatalf("effects %v, want %v", s.fx, want)
	}
	for i := range want {
		if s.fx[i] != want[i] {
			s.t.Fatalf("effects %v, want %v", s.fx, want)
		}
	}
}

func TestWhatBecomesOfAnExit(t *testing.T) {
	for _, c := range []struct {
		restart Restart
		ok      bool
		want    State
	}{
		{Always, true, Waiting},
		{Always, false, Waiting},
		{OnFailure, true, Stopped},
		{OnFailure, false, Waiting},
		{Never, true, Stopped},
		{Never, false, Failed},
	} {
		s := newScene(t, Policy{Restart: c.restart}, false)
		s.start()
		s.is(Healthy)
		s.exit(c.ok, "why")
		if s.k.state != c.want {
			t.Errorf("restart %s after an exit with ok %v: %s, want %s", c.restart, c.ok, s.k.state, c.want)
		}
	}
}

// What fails at once is started again later and later, and given up in the end.
func TestIntensityLimit(t *testing.T) {
	s := newScene(t, Policy{
		Limit: 4, Period: time.Minute, BackoffMin: time.Second, BackoffMax: 4 * time.Second,
	}, false)
	for range 5 {
		s.start()
		s.exit(false, "exit code 7")
	}
	s.is(Failed)
	if !strings.Contains(s.k.why, "given up after 4 restarts") || !strings.Contains(s.k.why, "exit code 7") {
		t.Errorf("why = %q, want how often and how it ended", s.k.why)
	}
	most := []time.Duration{1, 2, 4, 4} // seconds
	for i, at := range s.starts[1:] {
		pause := at - s.starts[i]
		if top := most[i] * time.Second; pause < top/2 || pause > top {
			t.Errorf("pause %d is %v, want %v to %v", i, pause, top/2, top)
		}
	}
	if fx := s.step(event{kind: evTimer}); fx != nil || !s.k.deadline().IsZero() {
		t.Error("a failed application goes on")
	}
}

// Restarts that lie far apart are each the first.
func TestOldRestartsAreForgotten(t *testing.T) {
	s := newScene(t, Policy{Limit: 1, Period: time.Minute, BackoffMin: time.Second}, false)
	for range 50 {
		s.start()
		s.now = s.now.Add(time.Minute)
		s.exit(false, "")
		s.is(Waiting)
		if pause := s.k.deadline().Sub(s.now); pause > time.Second {
			t.Fatalf("pause %v after a minute of running, want at most a second", pause)
		}
	}
	s.start()
	s.exit(false, "")
	s.is(Failed)
}

func TestUnlimitedRestartsAreBounded(t *testing.T) {
	s := newScene(t, Policy{Limit: Unlimited, Period: 1000 * time.Hour, BackoffMax: time.Second}, false)
	for range 3 * restartsKept {
		s.start()
		s.exit(false, "")
		s.is(Waiting)
	}
	if len(s.k.restarts) > restartsKept {
		t.Errorf("%d restarts are remembered", len(s.k.restarts))
	}
	if s.k.count != 3*restartsKept {
		t.Errorf("%d restarts counted", s.k.count)
	}
}

// Checks count once the grace is over, and only so many in a row are a verdict.
func TestHealth(t *testing.T) {
	s := newScene(t, Policy{Interval: time.Second, Failures: 3, Grace: 10 * time.Second}, true)
	s.start()
	s.is(Starting)
	for s.now.Before(s.k.began.Add(9 * time.Second)) {
		s.look(false)
		s.is(Starting)
	}
	s.look(true)
	s.is(Healthy)
	s.look(false)
	s.is(Unhealthy)
	s.look(false)
	s.look(true)
	s.is(Healthy)
	if s.k.why != "" {
		t.Errorf("healthy, but why = %q", s.k.why)
	}
	s.look(false)
	s.look(false)
	s.is(Unhealthy)
	s.look(false)
	s.is(Stopping)
	s.did(fxSignal)
	if !strings.Contains(s.k.why, "3 checks in a row failed: 503") {
		t.Errorf("why = %q", s.k.why)
	}
	s.exit(true, "it ended")
	s.is(Waiting)
	if !strings.Contains(s.k.why, "503") {
		t.Errorf("why = %q, want the health and not the exit that followed", s.k.why)
	}
}

// One that never becomes healthy is restarted once its grace and the failures are over.
func TestNeverHealthy(t *testing.T) {
	s := newScene(t, Policy{Interval: time.Second, Failures: 2, Grace: 5 * time.Second}, true)
	s.start()
	for s.k.state == Starting {
		s.look(false)
	}
	if at := s.now.Sub(s.k.began); at < 5*time.Second {
		t.Errorf("unhealthy after %v, within its grace", at)
	}
	s.look(false)
	s.is(Stopping)
	s.wait()
	s.did(fxKill)
	if !s.k.deadline().IsZero() {
		t.Error("something is due after SIGKILL")
	}
	s.exit(false, "killed")
	s.is(Waiting)
}

func TestUnhealthyIsAFailureWithoutRestarts(t *testing.T) {
	s := newScene(t, Policy{Restart: Never, Failures: 1, Grace: time.Nanosecond}, true)
	s.start()
	s.look(false)
	s.is(Stopping)
	s.exit(true, "")
	s.is(Failed)
}

// Asked to stop in each state.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		name string
		to   func(*scene)
		fx   []effect
		runs bool
	}{
		{"before it was started", func(*scene) {}, nil, false},
		{"starting", func(s *scene) { s.start() }, []effect{fxSignal}, true},
		{"healthy", func(s *scene) { s.start(); s.look(true) }, []effect{fxSignal}, true},
		{"waiting", func(s *scene) { s.start(); s.exit(false, "") }, nil, false},
		{"on its way out", func(s *scene) {
			s.start()
			s.look(true)
			s.look(false)
			s.is(Stopping)
		}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, Policy{Failures: 1, StopTimeout: time.Second}, true)
			c.to(s)
			s.step(event{kind: evStop})
			s.did(c.fx...)
			if !c.runs {
				s.is(Stopped)
				return
			}
			s.is(Stopping)
			s.step(event{kind: evStop}) // again changes nothing
			s.did()
			s.wait()
			s.did(fxKill)
			s.step(event{kind: evKill}) // it was already
			s.did()
			s.exit(false, "killed")
			s.is(Stopped)
		})
	}
}

func TestKillIsAtOnce(t *testing.T) {
	s := newScene(t, Policy{}, false)
	s.start()
	s.step(event{kind: evKill})
	s.did(fxSignal, fxKill)
	s.exit(false, "")
	s.is(Stopped)
}

// Whatever comes late, early or twice, and in whatever order: nothing is done to a
// process that is not there, there is never more than one, and a stop ends all.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := newScene(t, Policy{
			Restart: []Restart{Always, OnFailure, Never}[r.IntN(3)], Limit: 1 + r.IntN(6), Failures: 1 + r.IntN(3),
			Interval: time.Second, Grace: time.Duration(r.IntN(5)) * time.Second,
		}, r.IntN(2) == 0)
		s.k.rand = r
		running, killed := false, false
		do := func(ev event) {
			for _, fx := range s.step(ev) {
				switch {
				case fx == fxStart && running:
					t.Fatalf("seed %d: two at once", seed)
				case fx != fxStart && !running:
					t.Fatalf("seed %d: effect %d without a process", seed, fx)
				case fx == fxKill && killed:
					t.Fatalf("seed %d: killed twice", seed)
				}
				running = running || fx == fxStart
				killed = fx != fxStart && (killed || fx == fxKill)
			}
			if ev.kind == evEnded && ev.run == s.k.run {
				running = false
			}
		}
		for range 200 {
			s.now = s.now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			run := s.k.run - uint64(r.IntN(2))
			switch r.IntN(6) {
			case 0:
				do(event{kind: evTimer})
			case 1:
				do(event{kind: evStarted, run: run})
			case 2:
				if running || run != s.k.run {
					do(event{kind: evEnded, run: run, ok: r.IntN(2) == 0})
				}
			case 3:
				do(event{kind: evChecked, run: run, ok: r.IntN(3) > 0})
			case 4:
				if r.IntN(50) == 0 {
					do(event{kind: evStop})
				}
			case 5:
				if at := s.k.deadline(); at.After(s.now) {
					s.now = at
				}
				do(event{kind: evTimer})
			}
		}
		do(event{kind: evStop})
		for i := 0; !s.k.state.Final(); i++ {
			if i > 10 {
				t.Fatalf("seed %d: does not end: %s", seed, s.k.state)
			}
			if !s.k.deadline().IsZero() {
				s.now = s.k.deadline()
				do(event{kind: evTimer})
			}
			if running && killed {
				do(event{kind: evEnded, run: s.k.run})
			}
		}
		if running {
			t.Fatalf("seed %d: %s, and a process runs", seed, s.k.state)
		}
	}
}
