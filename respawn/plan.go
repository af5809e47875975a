package respawn

import (
	"slices"
	"time"
)

// Rules are how patient a planner is. Zero values are the defaults.
type Rules struct {
	Grace   time.Duration // from a death to the first attempt, 10 s
	Timeout time.Duration // for one run of the command, 30 s
	Return  time.Duration // for the instance to be back after a run that succeeded, 1 minute
	Backoff time.Duration // after the first attempt in vain; it doubles, up to 16 times this; 5 s
	Limit   int           // attempts for one death until it is told as given up, 5
	Slow    time.Duration // between two after that, 15 minutes: a host may come back much later
}

func (r Rules) withDefaults() Rules {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&r.Grace, 10*time.Second)
	def(&r.Timeout, 30*time.Second)
	def(&r.Return, time.Minute)
	def(&r.Backoff, 5*time.Second)
	def(&r.Slow, 15*time.Minute)
	if r.Limit <= 0 {
		r.Limit = 5
	}
	return r
}

// backoff is the pause after so many attempts in vain.
func (r Rules) backoff(attempts int) time.Duration {
	return r.Backoff << min(max(attempts-1, 0), 4)
}

// row is one instance of a view, by its index.
type row struct {
	alive       bool
	gone        bool      // dead or out of reach
	unsure      bool      // out of reach, and there is no quorum here to call it dead
	damped      time.Time // not back before, also where it runs; zero if it may be
	incarnation uint32
}

// noteKind says what became of an attempt.
type noteKind string

const (
	noteStarted   noteKind = "started"
	noteSucceeded noteKind = "succeeded"
	noteFailed    noteKind = "failed"
	noteGivenUp   noteKind = "given_up"
)

// note is what a runner tells all.
type note struct {
	Subject     int      `json:"subject"` // index
	Incarnation uint32   `json:"incarnation"`
	Attempt     int      `json:"attempt"`
	Kind        noteKind `json:"kind"`
}

// death is one incarnation of an instance that is gone, and what was done about it.
type death struct {
	seen        bool      // the view has it; else it is but heard of
	since       time.Time // seen here as gone, and as this instance's to respawn, without a break
	incarnation uint32
	attempts    int // begun, by anybody
	last        noteKind
	at          time.Time // of last, here
	by          int       // whose attempt that was
	held        time.Time // not before then: another, who counts attempts by himself, has asked too
	mine        bool      // the last attempt was made here
	told        bool      // that it is given up
}

// actKind says what a planner wants done.
type actKind uint8

const (
	actRun      actKind = iota + 1 // tell note, then run the command; ended follows
	actTell                        // note
	actReturned                    // an instance that was respawned here is back; nothing to do but to say so
)

// act is one thing to be done.
type act struct {
	kind actKind
	note note
}

// planner decides who is respawned when. It is told the time and what happens; it has no
// clock and does nothing itself.
type planner struct {
	rules  Rules
	self   int
	rows   []row
	joined bool
	deaths map[int]*death // whom it misses, by index
	busy   int            // the subject of the command that runs, or -1
	idle   bool           // there is no command: it only remembers
}

func newPlanner(rules Rules, self int) *planner {
	return &planner{rules: rules.withDefaults(), self: self, deaths: map[int]*death{}, busy: -1}
}

// change takes other rules. Who was idle gives all whom it misses their grace from now on.
func (p *planner) change(now time.Time, rules Rules, idle bool) {
	p.rules, p.idle = rules.withDefaults(), idle
	p.count(now)
}

// see takes a view. It returns what there is to say of those who are back.
func (p *planner) see(now time.Time, joined bool, rows []row) (acts []act) {
	p.rows, p.joined = rows, joined
	for i, r := range rows {
		d := p.deaths[i]
		if d != nil && p.over(now, d, r) {
			if d.mine && r.incarnation > d.incarnation {
				acts = append(acts, act{actReturned, note{i, r.incarnation, d.attempts, ""}})
			}
			delete(p.deaths, i)
			d = nil
		}
		if r.gone && d == nil {
			d = &death{incarnation: r.incarnation}
			p.deaths[i] = d
		}
		if d != nil && r.gone {
			d.seen = true
		}
	}
	p.count(now)
	return acts
}

// over is whether a death is none any more, or not the one that the view has. After a
// partition an instance is back that was never gone, with the incarnation that it had:
// what was tried for it meanwhile says nothing of the day on which it dies. What was only
// heard of counts for as long as the view may be behind.
func (p *planner) over(now time.Time, d *death, r row) bool {
	switch hearsay := !d.seen && now.Sub(d.at) > p.rules.Grace+p.rules.Timeout; {
	case d.incarnation != r.incarnation:
		return d.incarnation < r.incarnation || hearsay || d.seen
	case r.alive:
		return d.seen || hearsay
	default:
		return hearsay
	}
}

// count begins the grace of those who are this instance's to respawn from now on. Who
// takes over from a runner that died gives its last note time to come.
func (p *planner) count(now time.Time) {
	mine := map[int]bool{}
	for i := range p.mine() {
		mine[i] = true
	}
	for i, d := range p.deaths { // order does not matter: each is on its own
		switch {
		case !mine[i]:
			d.since = time.Time{} // what is known of the attempts stays, should it go again
		case d.since.IsZero():
			d.since = now
		}
	}
}

// hear takes a note of instance by, which may be this one. One of an incarnation that is known to
// be over says nothing any more, nor does one that nobody here has met; one of an
// instance that is not missed yet is kept.
func (p *planner) hear(now time.Time, by int, n note) {
	d := p.deaths[n.Subject]
	switch {
	case n.Subject < 0 || n.Incarnation == 0 || len(p.rows) > 0 && n.Subject >= len(p.rows):
		return
	case n.Subject < len(p.rows) && p.rows[n.Subject].incarnation != n.Incarnation:
		return
	case d == nil || d.incarnation < n.Incarnation:
		d = &death{incarnation: n.Incarnation} // the view will follow
		p.deaths[n.Subject] = d
		p.count(now)
	case d.incarnation > n.Incarnation:
		return
	}
	switch known := n.Attempt < d.attempts || n.Attempt == d.attempts && rank(n.Kind) <= rank(d.last); {
	case by == d.by && d.mine:
		return // this process has said so itself
	case by == d.by || d.attempts == 0: // what one says comes in order: this is what it did last
	case known:
		p.hold(d, now, n.Kind)
		return
	default:
		p.hold(d, d.at, d.last)
	}
	d.attempts, d.last, d.at, d.by, d.mine = n.Attempt, n.Kind, now, by, false
	d.told = n.Kind == noteGivenUp
}

// hold has whatever comes next wait for what was done at that time, which will not be the
// last that is known of. In a partition each part counts its attempts from one, so that
// of two runners the one with the higher number need not be the later. At worst the other
// is long over, and this waits in vain.
func (p *planner) hold(d *death, at time.Time, kind noteKind) {
	switch kind {
	case noteStarted:
		d.held = later(d.held, at.Add(p.rules.Timeout+p.rules.Return))
	case noteSucceeded:
		d.held = later(d.held, at.Add(p.rules.Return))
	}
}

// rank orders what is said of one attempt.
func rank(k noteKind) int {
	return slices.Index([]noteKind{noteStarted, noteFailed, noteSucceeded, noteGivenUp}, k)
}

// ended takes the end of the command that actRun has asked for.
func (p *planner) ended(now time.Time, n note, ok bool) (acts []act) {
	p.busy = -1
	n.Kind = noteFailed
	if ok {
		n.Kind = noteSucceeded
	}
	switch d := p.deaths[n.Subject]; {
	case d == nil || d.incarnation != n.Incarnation:
	case d.mine && d.attempts == n.Attempt:
		d.last, d.at = n.Kind, now
	default: // somebody else has begun meanwhile
		p.hold(d, now, n.Kind)
	}
	return []act{{actTell, n}}
}

// step says what is due. One command runs at a time: of those that are due for the one with
// the fewest attempts, and of several such for the nearest. So nobody whose supervisor hangs
// keeps those behind from being asked for.
func (p *planner) step(now time.Time) []act {
	var acts []act
	next := -1
	for i := range p.mine() {
		d := p.deaths[i]
		if d == nil || d.since.IsZero() || now.Before(p.due(i, d)) {
			continue
		}
		n := note{i, d.incarnation, d.attempts, noteGivenUp}
		if d.attempts >= p.rules.Limit && !d.told {
			d.told, d.last, d.at = true, noteGivenUp, now
			acts = append(acts, act{actTell, n})
			continue
		}
		if next < 0 || d.attempts < p.deaths[next].attempts {
			next = i
		}
	}
	if p.busy >= 0 || next < 0 {
		return acts
	}
	d := p.deaths[next]
	d.attempts++
	d.last, d.at, d.by, d.mine = noteStarted, now, p.self, true
	p.busy = next
	return append(acts, act{actRun, note{next, d.incarnation, d.attempts, noteStarted}})
}

// deadline is when step has something to do, zero for never.
func (p *planner) deadline() time.Time {
	var first time.Time
	for i := range p.mine() {
		d := p.deaths[i]
		if d == nil || d.since.IsZero() || p.busy >= 0 && (d.told || d.attempts < p.rules.Limit) {
			continue
		}
		if at := p.due(i, d); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// mine are the indexes behind this one, up to the next that lives: whose nearest live
// predecessor it is, and who are gone.
func (p *planner) mine() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if !p.joined || p.idle {
			return
		}
		for k := 1; k < len(p.rows); k++ {
			i := (p.self + k) % len(p.rows)
			if p.rows[i].alive {
				return
			}
			if p.rows[i].gone && !yield(i) {
				return
			}
		}
	}
}

// due is when the next attempt for i may begin, or be given up.
func (p *planner) due(i int, d *death) time.Time {
	at := d.since.Add(p.rules.Grace)
	if damped := p.rows[i].damped; !damped.IsZero() { // it may run, and wait to return
		at = later(at, damped.Add(p.rules.Grace))
	}
	var again time.Time
	switch d.last {
	case noteStarted:
		// Made here it is still under way. Of another's, who may have died over it, nobody
		// can know: the command may have succeeded.
		again = d.at.Add(p.rules.Timeout + p.rules.Return)
	case noteSucceeded:
		again = d.at.Add(p.rules.Return)
		if p.rows[i].unsure { // most likely it runs, in the other part
			again = d.at.Add(p.rules.Slow)
		}
	case noteFailed:
		again = d.at.Add(p.rules.backoff(d.attempts))
	}
	if d.told {
		again = later(again, d.at.Add(p.rules.Slow))
	}
	return later(later(at, again), d.held)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
