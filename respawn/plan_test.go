package respawn

import (
	"math/rand/v2"
	"testing"
	"time"
)

// other is an instance that has told something.
const other = 2

// table steps one planner by hand: instance 0 of n.
type table struct {
	t    *testing.T
	p    *planner
	now  time.Time
	rows []row
}

func newTable(t *testing.T, n int, rules Rules) *table {
	s := &table{t: t, p: newPlanner(rules, 0), now: time.Unix(1000, 0), rows: make([]row, n)}
	for i := range s.rows {
		s.rows[i] = row{alive: true, incarnation: 1}
	}
	s.look()
	return s
}

func (s *table) look() []act {
	return append(s.p.see(s.now, true, append([]row(nil), s.rows...)), s.p.step(s.now)...)
}

func (s *table) die(who ...int) []act {
	for _, i := range who {
		s.rows[i].alive, s.rows[i].gone = false, true
	}
	return s.look()
}

func (s *table) back(i int) []act {
	s.rows[i] = row{alive: true, incarnation: s.rows[i].incarnation + 1}
	return s.look()
}

// quiet lets so much time pass, in which nothing must happen.
func (s *table) quiet(d time.Duration) {
	s.t.Helper()
	if acts := s.p.step(s.now.Add(d - 1)); len(acts) > 0 {
		s.t.Fatalf("within %v: %+v", d, acts)
	}
	s.now = s.now.Add(d)
}

func (s *table) want(acts []act, want ...act) {
	s.t.Helper()
	if len(acts) != len(want) {
		s.t.Fatalf("acts %+v, want %+v", acts, want)
	}
	for i := range want {
		if acts[i] != want[i] {
			s.t.Fatalf("acts %+v, want %+v", acts, want)
		}
	}
}

func run(subject int, incarnation uint32, attempt int) act {
	return act{actRun, note{subject, incarnation, attempt, noteStarted}}
}

var rules = Rules{
	Grace: 10 * time.Second, Timeout: 30 * time.Second, Return: time.Minute,
	Backoff: 5 * time.Second, Limit: 3, Slow: 20 * time.Minute,
}

func TestOnceAfterTheGrace(t *testing.T) {
	s := newTable(t, 3, rules)
	s.want(s.die(1))
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
	s.quiet(time.Second)
	s.want(s.p.ended(s.now, note{1, 1, 1, noteStarted}, true), act{actTell, note{1, 1, 1, noteSucceeded}})
	s.quiet(rules.Return - 1)
	s.want(s.back(1), act{actReturned, note{1, 2, 1, ""}})
	s.quiet(time.Hour)
	if !s.p.deadline().IsZero() {
		t.Errorf("something is due at %v", s.p.deadline())
	}
}

// Who comes back within the grace, was told to leave, or is nobody's to respawn here.
func TestNotRespawned(t *testing.T) {
	s := newTable(t, 4, rules)
	s.die(1)
	s.quiet(rules.Grace - 1)
	s.want(s.back(1))
	s.quiet(time.Hour)

	s.rows[1] = row{incarnation: 2} // left
	s.want(s.look())
	s.quiet(time.Hour)
	s.die(3) // behind 2, who lives
	s.quiet(time.Hour)
	s.die(2) // now it is this one's, and so is 3
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(2, 1, 1))
	s.want(append(s.p.ended(s.now, note{2, 1, 1, noteStarted}, true), s.p.step(s.now)...),
		act{actTell, note{2, 1, 1, noteSucceeded}}, run(3, 1, 1))

	s = newTable(t, 2, rules)
	s.rows[1] = row{gone: false, incarnation: 0} // never was there
	s.look()
	s.quiet(time.Hour)
	s = newTable(t, 2, rules)
	s.p.see(s.now, false, []row{{alive: true, incarnation: 1}, {gone: true, incarnation: 1}})
	s.quiet(time.Hour) // not in the ring itself
}

func TestFailuresAreRepeatedAndGivenUp(t *testing.T) {
	s := newTable(t, 2, rules)
	s.die(1)
	s.quiet(rules.Grace)
	for attempt := 1; attempt <= rules.Limit; attempt++ {
		s.want(s.p.step(s.now), run(1, 1, attempt))
		s.want(s.p.ended(s.now, note{1, 1, attempt, noteStarted}, false),
			act{actTell, note{1, 1, attempt, noteFailed}})
		s.quiet(rules.Backoff << (attempt - 1))
	}
	s.want(s.p.step(s.now), act{actTell, note{1, 1, rules.Limit, noteGivenUp}})
	s.quiet(rules.Slow) // a host may be back after hours
	s.want(s.p.step(s.now), run(1, 1, rules.Limit+1))
	s.p.ended(s.now, note{1, 1, rules.Limit + 1, noteStarted}, false)
	s.quiet(rules.Slow)
	s.want(s.p.step(s.now), run(1, 1, rules.Limit+2))
	s.p.ended(s.now, note{1, 1, rules.Limit + 2, noteStarted}, true)
	s.back(1)
	s.die(1) // another incarnation is another matter
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 2, 1))
}

// A command that succeeded, and nobody came.
func TestNotBackInTime(t *testing.T) {
	s := newTable(t, 2, rules)
	s.die(1)
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
	s.p.ended(s.now, note{1, 1, 1, noteStarted}, true)
	s.quiet(rules.Return)
	s.want(s.p.step(s.now), run(1, 1, 2))
}

// The runner dies: who takes over goes by what it has told.
func TestTakeOver(t *testing.T) {
	begin := func() *table {
		s := newTable(t, 4, rules)
		s.die(2)
		s.quiet(time.Hour)
		return s
	}
	for _, c := range []struct {
		kind noteKind
		wait time.Duration
	}{
		{noteStarted, rules.Timeout + rules.Return},
		{noteSucceeded, rules.Return},
		{noteFailed, rules.Grace}, // longer than the backoff
	} {
		s := begin()
		s.p.hear(s.now, other, note{2, 1, 1, c.kind})
		s.die(1)
		s.quiet(rules.Grace)
		if c.wait > rules.Grace {
			s.want(s.p.step(s.now), run(1, 1, 1))
			s.p.ended(s.now, note{1, 1, 1, noteStarted}, true)
			s.p.hear(s.now, other, note{1, 1, 3, noteGivenUp}) // for the sake of this test
			s.quiet(c.wait - rules.Grace)
		} else {
			s.p.hear(s.now, other, note{1, 1, 3, noteGivenUp})
		}
		s.want(s.p.step(s.now), run(2, 1, 2))
	}
	s := begin()
	s.p.hear(s.now, other, note{2, 1, 3, noteGivenUp})
	s.p.hear(s.now, other+1, note{2, 1, 2, noteFailed}) // late
	s.p.hear(s.now, other, note{1, 1, 3, noteGivenUp})
	s.die(1)
	s.quiet(rules.Slow - 1)
	s.p.hear(s.now, other, note{-1, 1, 3, noteFailed}) // nonsense harms nobody
	s.p.hear(s.now, other, note{77, 1, 3, noteFailed})
	s.want(s.p.step(s.now))
}

// After a partition somebody is back who was never gone: when he dies at last, what was
// tried for him meanwhile, or is heard of it now, counts no more.
func TestPartitionIsForgotten(t *testing.T) {
	s := newTable(t, 2, rules)
	s.die(1)
	s.rows[1].unsure = true
	s.look()
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
	s.want(s.p.ended(s.now, note{1, 1, 1, noteStarted}, true), act{actTell, note{1, 1, 1, noteSucceeded}})
	s.quiet(rules.Slow) // it most likely runs, in the other part
	s.want(s.p.step(s.now), run(1, 1, 2))
	s.p.ended(s.now, note{1, 1, 2, noteStarted}, true)
	s.p.hear(s.now, other, note{1, 1, 9, noteGivenUp})
	s.rows[1] = row{alive: true, incarnation: 1}
	s.want(s.look())
	s.p.hear(s.now, other, note{1, 1, 9, noteGivenUp}) // what is kept of it
	s.quiet(time.Hour)
	s.want(s.die(1))
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
}

// Nobody is kept from being respawned by what is said of incarnations that nobody has met.
func TestNoteOfTheFuture(t *testing.T) {
	s := newTable(t, 2, rules)
	s.p.hear(s.now, other, note{1, 4_000_000_000, 99, noteGivenUp})
	s.die(1)
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))

	p := newPlanner(rules, 0) // who has no view yet takes it, until it has
	p.hear(s.now, other, note{1, 4_000_000_000, 99, noteGivenUp})
	p.see(s.now, true, []row{{alive: true, incarnation: 1}, {alive: true, incarnation: 1}})
	s = &table{t: t, p: p, now: s.now.Add(time.Hour), rows: p.rows}
	s.die(1)
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
}

// Whose return is damped may run: it is given until then, and the grace.
func TestDampedIsWaitedFor(t *testing.T) {
	s := newTable(t, 2, rules)
	s.rows[1].damped = s.now.Add(time.Minute)
	s.want(s.die(1))
	s.quiet(time.Minute + rules.Grace)
	s.want(s.p.step(s.now), run(1, 1, 1))
}

func BenchmarkStep(b *testing.B) {
	p := newPlanner(rules, 0)
	rows := make([]row, 1000)
	for i := range rows {
		rows[i] = row{alive: i%2 == 0, gone: i%2 == 1, incarnation: uint32(1 + rand.IntN(5))}
	}
	now := time.Unix(1000, 0)
	for b.Loop() {
		p.see(now, true, rows)
		p.step(now)
	}
}

// Without a command it only remembers: when one comes, the dead have their grace from then
// on, and what others have done meanwhile counts.
func TestIdleRemembers(t *testing.T) {
	s := newTable(t, 3, Rules{Grace: time.Second, Return: time.Minute})
	s.p.change(s.now, s.p.rules, true)
	s.want(s.die(1, 2))
	if at := s.p.deadline(); !at.IsZero() {
		t.Errorf("an idle planner wants to be called at %v", at)
	}
	s.quiet(time.Hour)
	s.p.hear(s.now, other, note{2, 1, 1, noteSucceeded})
	s.p.change(s.now, s.p.rules, false)
	s.quiet(time.Second)
	s.want(s.p.step(s.now), act{actRun, note{1, 1, 1, noteStarted}})
	s.p.ended(s.now, note{1, 1, 1, noteStarted}, true)
	s.quiet(59 * time.Second)
	s.want(s.p.step(s.now), act{actRun, note{2, 1, 2, noteStarted}})
}

// What was asked for in another part of the fleet counts when the parts are one again,
// whatever number each gave its attempts; what the same one said before does not.
func TestOthersCountFromOneToo(t *testing.T) {
	rules := Rules{Grace: time.Second, Timeout: 10 * time.Second, Return: time.Minute, Backoff: time.Second}
	for kind, wait := range map[noteKind]time.Duration{
		noteStarted: 70 * time.Second, noteSucceeded: time.Minute, noteFailed: 0,
	} {
		s := newTable(t, 4, rules)
		s.die(1)
		for attempt := 1; attempt <= 2; attempt++ {
			s.quiet(max(rules.Grace, rules.Return*time.Duration(attempt-1)))
			s.want(s.p.step(s.now), act{actRun, note{1, 1, attempt, noteStarted}})
			s.p.ended(s.now, note{1, 1, attempt, noteStarted}, true)
		}
		s.quiet(rules.Return - time.Nanosecond)
		s.p.hear(s.now, 0, note{1, 1, 2, noteSucceeded}) // its own word
		s.p.hear(s.now, other, note{1, 1, 1, kind})
		s.quiet(max(wait, time.Nanosecond))
		s.want(s.p.step(s.now), act{actRun, note{1, 1, 3, noteStarted}})
	}

	// The higher number need not be the later: its own success is not forgotten over it.
	s := newTable(t, 4, rules)
	s.die(1)
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), act{actRun, note{1, 1, 1, noteStarted}})
	s.p.ended(s.now, note{1, 1, 1, noteStarted}, true)
	s.p.hear(s.now, other, note{1, 1, 7, noteStarted})
	s.p.hear(s.now, other, note{1, 1, 7, noteFailed})
	s.quiet(rules.Return)
	s.want(s.p.step(s.now), act{actTell, note{1, 1, 7, noteGivenUp}})

	// What comes of one sender is what it did last, whatever its number.
	s = newTable(t, 4, rules)
	s.die(1)
	s.p.hear(s.now, other, note{1, 1, 2, noteFailed})
	s.p.hear(s.now, other, note{1, 1, 1, noteStarted})
	s.quiet(rules.Timeout + rules.Return)
	s.want(s.p.step(s.now), act{actRun, note{1, 1, 2, noteStarted}})

	// Its own run may end behind another's beginning.
	s = newTable(t, 4, rules)
	s.die(1)
	s.quiet(rules.Grace)
	s.want(s.p.step(s.now), act{actRun, note{1, 1, 1, noteStarted}})
	s.p.hear(s.now, other, note{1, 1, 2, noteStarted})
	s.p.hear(s.now, other, note{1, 1, 2, noteFailed})
	s.now = s.now.Add(15 * time.Second)
	s.p.ended(s.now, note{1, 1, 1, noteStarted}, true)
	s.quiet(rules.Return)
	s.want(s.p.step(s.now), act{actRun, note{1, 1, 3, noteStarted}})
}
