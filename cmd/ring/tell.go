package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

const (
	// fastPace is how often a stop of `ring up` prints a tick where laps are fast. A
	// ring at full speed makes thousands of them a second; nobody reads more than ten.
	fastPace = 100 * time.Millisecond
	// fastBurst is how many more it prints before it does so: the first lap of an
	// epoch does not rest, and no tick is left out for that.
	fastBurst = 20
)

// What words for the starter begin with that tell a tick, or a lap that is none. See
// tellTick; no line of the story begins so.
const (
	tickWord = "tick: "
	lapWord  = "lap: "
)

// tell writes a line for the starter. In front of the words stands when that was of
// which they tell: the starter hears of it from many, and has to know what was first.
func tell(out io.Writer, at time.Time, words string) {
	fmt.Fprintf(out, "%d %s\n", at.UnixNano(), words)
}

// readTold is the starter's half of tell. What nobody has told so is without a time.
func readTold(told string) screenLine {
	l := screenLine{text: told}
	if at, words, ok := strings.Cut(told, " "); ok {
		if n, err := strconv.ParseInt(at, 10, 64); err == nil {
			l.at, l.text = n, words
		}
	}
	for word, kind := range map[string]int{tickWord: ofTick, lapWord: ofLap} {
		if tick, ok := strings.CutPrefix(l.text, word); ok {
			l.kind, l.text = kind, tick
		}
	}
	return l
}

// tells is which lines an instance of `ring up` prints for its starter.
type tells struct {
	ticks, story bool
}

// parseTells reads the hidden flag --tell, such as "story,ticks".
func parseTells(text string) (tells, error) {
	var t tells
	for word := range strings.SplitSeq(text, ",") {
		switch word {
		case "ticks":
			t.ticks = true
		case "story":
			t.story = true
		case "":
		default:
			return tells{}, usageError("--tell %q: only story and ticks can be told", word)
		}
	}
	return t, nil
}

// forming is how long an instance of `ring up` says nothing of others after its
// start, if they are not all there sooner: eleven that start at once meet in
// more than a hundred events, which are no story.
const forming = 2 * time.Second

// teller picks the lines that this instance tells, so that eleven on one
// screen tell one story: of a neighbour's death tells whoever held its hand, of
// a return the one who comes back and whoever takes its hand. It sees all
// events of one instance in order, from one goroutine.
type teller struct {
	out     io.Writer
	self    ring.Name
	view    func() ring.View // the newest
	index   map[ring.Name]int
	there   map[ring.Name]bool
	mine    bool      // the incident that a view change will sum up is this one's to tell
	started time.Time // when the first event was
	formed  bool      // the time of meeting is over
	met     bool      // all were there at once
}

func newTeller(out io.Writer, view func() ring.View) *teller {
	t := &teller{out: out, view: view, self: view().Self, there: make(map[ring.Name]bool)}
	t.enumerate()
	return t
}

// enumerate takes the roster from the view: who is retired is not there any more. This
// instance itself has its place until it has ended.
func (t *teller) enumerate() {
	t.index = map[ring.Name]int{t.self: t.index[t.self]}
	for _, i := range t.view().Instances {
		t.index[i.Name] = i.Index
	}
	maps.DeleteFunc(t.there, func(name ring.Name, _ bool) bool {
		_, known := t.index[name]
		return !known
	})
}

// hear prints an event if it is this instance's to tell.
func (t *teller) hear(e ring.Event) {
	if t.started.IsZero() {
		t.started = e.At
	}
	t.formed = t.formed || e.At.Sub(t.started) > forming
	switch e.Kind {
	case "joined":
		t.there[t.self] = true
	case "returned":
		t.there[e.Subject] = true
	case "died", "unreachable", "left":
		t.there[e.Subject] = false
	case "roster_changed":
		t.enumerate()
	}
	if t.worth(e) {
		tell(t.out, e.At, shown(e.Text))
	}
}

func (t *teller) worth(e ring.Event) bool {
	switch e.Kind {
	case "joined", "refused", "cut_off", "whole", "starved", "detour_on", "detour_off", "retired":
		return true
	case "dropped":
		return e.Subject == t.self
	case "elected":
		return e.Subject == t.self
	case "anchored", "unanchored", "ticks_skipped", "roster_changed", "roster_shown":
		return t.first()
	case "view_changed":
		return t.sumsUp()
	}
	if !t.formed {
		return false
	}
	switch e.Kind {
	case "next_changed", "resent":
		return true
	case "respawn_started", "respawn_failed", "respawn_given_up", "respawned":
		return true
	case "waiting", "link_lost", "suspected":
		return t.besideMe(e.Subject)
	case "accused", "cleared":
		return t.besideMe(e.Subject) && slices.Contains(e.By, t.self)
	case "history_changed", "history_conflict":
		return true
	case "view_numbered":
		return e.Confirmed == t.self
	case "bad_link", "good_link":
		return slices.Contains(e.By, t.self)
	case "died", "unreachable", "left", "returned", "damped":
		beside := t.besideMe(e.Subject)
		t.mine = t.mine || beside
		return beside
	}
	return false
}

// sumsUp says whether this instance tells how many are alive: who told of the
// incident does, and of the first meeting the first of the roster, however long that
// takes: on a busy machine some may have met in time, and others not.
func (t *teller) sumsUp() bool {
	tell := t.mine
	t.mine = false
	if t.met || len(t.there) < len(t.index) ||
		slices.Contains(slices.Collect(maps.Values(t.there)), false) {
		return tell
	}
	t.met, t.formed = true, true
	return tell || t.first()
}

// first says whether this instance tells what all see alike: nobody who is there
// stands before it in the roster.
func (t *teller) first() bool {
	for other, there := range t.there {
		if there && t.index[other] < t.index[t.self] {
			return false
		}
	}
	return true
}

// besideMe says whether somebody is, or was until now, the one whose hand this
// instance holds: nobody who is there stands between them in the roster.
func (t *teller) besideMe(name ring.Name) bool {
	n := 1 // beyond the highest index: those of who is retired are left out
	for _, i := range t.index {
		n = max(n, i+1)
	}
	ahead := func(to ring.Name) int { return (t.index[to] - t.index[t.self] + n) % n }
	for other, there := range t.there {
		if there && other != t.self && ahead(other) < ahead(name) {
			return false
		}
	}
	return name != t.self
}

// tellTicks prints the passes of the particle, all unless laps are fast for long. At
// full speed it looks instead of being woken for each of thousands.
func tellTicks(out io.Writer, r *ring.Ring, fast bool) (stop func()) {
	if fast {
		return lookForTicks(out, r)
	}
	var pace pace
	return r.OnTick(func(t ring.Tick) {
		if pace.allows(t.At) {
			tellTick(out, t)
		}
	})
}

// pace allows one tick each fastPace, and fastBurst more at once after as much rest.
type pace struct {
	next time.Time // when the next one is due, or was: in the past lies what is saved
}

func (p *pace) allows(at time.Time) bool {
	if saved := at.Add(-fastBurst * fastPace); p.next.Before(saved) {
		p.next = saved
	}
	if at.Before(p.next) {
		return false
	}
	p.next = p.next.Add(fastPace)
	return true
}

// tellTick tells one pass: its number, or that it has none.
func tellTick(out io.Writer, t ring.Tick) {
	if t.Anchored {
		tell(out, t.At, tickWord+strconv.FormatUint(t.Tick, 10))
		return
	}
	tell(out, t.At, fmt.Sprintf("%s- lap %d goes by uncounted", lapWord, t.Lap))
}

func lookForTicks(out io.Writer, r *ring.Ring) (stop func()) {
	quit := make(chan struct{})
	go func() {
		look := time.NewTicker(fastPace)
		defer look.Stop()
		var last ring.Tick
		for {
			select {
			case <-quit:
				return
			case <-look.C:
			}
			if t, ok := r.LastTick(); ok && t.At != last.At {
				last = t
				tellTick(out, t)
			}
		}
	}()
	return func() { close(quit) }
}
