package respawn

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// world is a fleet of planners in virtual time: instances that are killed and come back,
// views and notes that come late and in another order at each (but those of one sender), partitions, commands that
// fail, hang or do nothing, and runners that die over them.
type world struct {
	rand  *rand.Rand
	now   time.Time
	rules Rules
	nodes []*node
	queue []happening // by time, then by when it was put there
	wild  bool        // instances die, commands fail, and do nothing at times
	hung  []bool      // whose supervisors take a command's whole time, by index, and do nothing
	held  []letter    // what is told across a partition, until that is healed
	runs  []spawn
	cuts  []time.Time // when the network was cut, or healed, and so on
	met   []meeting   // of those who were never gone
	odd   string      // the first thing that was wrong at once
	seen  map[string]int
}

// node is one instance: what is true of it, and its planner while it lives.
type node struct {
	index       int
	alive       bool
	since       time.Time // alive or dead
	incarnation uint32
	side        int // of a partition
	planner     *planner
	heard       map[int]time.Time // when the last note of each comes: they come in order
	process     uint64            // counts its lives, so that what was for an earlier one is dropped
	notes       []letter          // what its neighbours would give to one that joins: all of its side
}

type happening struct {
	at time.Time
	do func()
}

// letter is a note on its way to an instance that cannot be reached.
type letter struct {
	by   int
	to   *node
	note note
}

// meeting is that one who was alive in a partition is seen again.
type meeting struct {
	at          time.Time
	subject     int
	incarnation uint32
}

// spawn is a run of the command that succeeded.
type spawn struct {
	runner, subject int
	incarnation     uint32
	begun, at       time.Time
	with            []bool // who was on the runner's side, by index, when it succeeded
}

// late is the most that a view or a note takes.
const late = 2 * time.Second

func newWorld(seed uint64, n int) *world {
	w := &world{
		hung: make([]bool, n),
		rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1000, 0), wild: true, seen: map[string]int{},
		rules: Rules{
			Grace: 3 * late, Timeout: 5 * time.Second, Return: 20 * time.Second,
			Backoff: time.Second, Limit: 4, Slow: time.Minute,
		},
	}
	for i := range n {
		w.nodes = append(w.nodes, &node{index: i})
	}
	for i := range n {
		w.start(i)
	}
	return w
}

func (w *world) in(most time.Duration, do func()) {
	w.after(time.Duration(w.rand.Int64N(int64(most))), do)
}

func (w *world) after(d time.Duration, do func()) {
	at := w.now.Add(d)
	i, _ := slices.BinarySearchFunc(w.queue, at, func(h happening, t time.Time) int {
		if h.at.After(t) {
			return 1
		}
		return -1
	})
	w.queue = slices.Insert(w.queue, i, happening{at, do})
}

// until lets things happen up to then, and planners act.
func (w *world) until(end time.Time) {
	for {
		next := end
		if len(w.queue) > 0 && w.queue[0].at.Before(next) {
			next = w.queue[0].at
		}
		for _, n := range w.nodes {
			if n.alive {
				if at := n.planner.deadline(); !at.IsZero() && at.Before(next) {
					next = at
				}
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		for len(w.queue) > 0 && !w.queue[0].at.After(w.now) {
			h := w.queue[0]
			w.queue = w.queue[1:]
			h.do()
		}
		for _, n := range w.nodes {
			if n.alive {
				w.do(n, n.planner.step(w.now))
			}
		}
		if !w.now.Before(end) {
			return
		}
	}
}

// start begins a life of instance i: it is told what there is to know.
func (w *world) start(i int) {
	n := w.nodes[i]
	if n.alive {
		return
	}
	n.alive, n.since = true, w.now
	n.incarnation++
	n.process++
	n.planner, n.heard = newPlanner(w.rules, i), map[int]time.Time{}
	for _, known := range n.notes {
		w.deliver(known.by, n, known.note)
	}
	w.changed()
}

// kill does so while the fleet is not calm.
func (w *world) kill(i int) {
	if !w.wild {
		return
	}
	w.nodes[i].alive, w.nodes[i].since = false, w.now
	w.changed()
}

// changed has everybody see the fleet, each a while later.
func (w *world) changed() {
	for _, n := range w.nodes {
		if process := n.process; n.alive {
			w.in(late, func() {
				if n.alive && n.process == process {
					w.do(n, n.planner.see(w.now, true, w.rowsFor(n)))
				}
			})
		}
	}
}

// rowsFor is what n can see by now.
func (w *world) rowsFor(n *node) []row {
	rows, reach := make([]row, len(w.nodes)), 0
	for _, o := range w.nodes {
		if o.alive && o.side == n.side {
			reach++
		}
	}
	for i, o := range w.nodes {
		reached := o.alive && o.side == n.side
		rows[i] = row{
			alive: reached, gone: !reached, unsure: !reached && 2*reach <= len(w.nodes), incarnation: o.incarnation,
		}
	}
	return rows
}

// tell brings a note to all, across a partition once that is healed.
func (w *world) tell(from *node, x note) {
	for _, n := range w.nodes {
		if n.side != from.side {
			w.held = append(w.held, letter{from.index, n, x})
			continue
		}
		n.notes = append(n.notes, letter{from.index, n, x})
		if n != from {
			w.deliver(from.index, n, x)
		}
	}
}

func (w *world) deliver(by int, n *node, x note) {
	if process := n.process; n.alive {
		at := w.now.Add(time.Duration(w.rand.Int64N(int64(late))))
		if at.Before(n.heard[by]) {
			at = n.heard[by]
		}
		n.heard[by] = at
		w.after(at.Sub(w.now), func() {
			if n.alive && n.process == process {
				n.planner.hear(w.now, by, x)
			}
		})
	}
}

// do carries out what a planner wants.
func (w *world) do(n *node, acts []act) {
	for _, a := range acts {
		switch a.kind {
		case actTell:
			w.tell(n, a.note)
		case actRun:
			w.tell(n, a.note)
			w.run(n, a.note)
		}
	}
}

// run is the command: it takes its time, fails or not, and the runner may die meanwhile.
func (w *world) run(n *node, x note) {
	process, luck, begun, subject := n.process, w.rand.IntN(12), w.now, w.nodes[x.Subject]
	if !w.wild {
		luck = 11
	}
	if subject.alive && subject.side == n.side && w.stable(subject.since.Add(late)) && w.odd == "" {
		w.odd = fmt.Sprintf("%d asks for %d, which everybody knows to live", n.index, x.Subject)
	}
	took := time.Duration(w.rand.Int64N(int64(w.rules.Timeout)))
	hangs := w.hung[x.Subject]
	if hangs {
		took = w.rules.Timeout
	}
	w.after(took, func() {
		if !n.alive || n.process != process {
			w.seen["commands that died with their runner"]++
			return
		}
		ok := luck > 1 && !hangs
		if ok {
			one := spawn{n.index, x.Subject, x.Incarnation, begun, w.now, make([]bool, len(w.nodes))}
			for i, o := range w.nodes {
				one.with[i] = o.side == n.side
			}
			w.runs = append(w.runs, one)
			if w.parted() {
				w.seen["respawns in a part of the fleet"]++
			}
			if luck > 2 { // else whoever took it on forgets it
				w.in(w.rules.Return/2, func() { w.start(x.Subject) })
			}
		}
		if luck == 3 && w.wild {
			w.seen["runners that died over their success"]++
			w.kill(n.index) // before it can say so
			return
		}
		w.do(n, n.planner.ended(w.now, x, ok))
	})
	if luck == 4 {
		w.in(w.rules.Timeout, func() {
			if n.process == process && n.alive {
				w.kill(n.index) // in the middle, or a moment later
			}
		})
	}
}

// cut parts the fleet.
func (w *world) cut(sides int) {
	for _, n := range w.nodes {
		n.side = w.rand.IntN(sides)
	}
	w.cuts = append(w.cuts, w.now)
	w.changed()
}

// heal makes it one, and what could not be told is.
func (w *world) heal() {
	for _, n := range w.nodes {
		n.side = 0
	}
	w.cuts = append(w.cuts, w.now)
	for i, n := range w.nodes {
		if n.alive {
			w.met = append(w.met, meeting{w.now, i, n.incarnation})
		}
	}
	for _, l := range w.held {
		l.to.notes = append(l.to.notes, l)
		w.deliver(l.by, l.to, l.note)
	}
	w.held = nil
	w.changed()
}

// parted says whether the fleet is in parts: cuts and healings take turns.
func (w *world) parted() bool { return len(w.cuts)%2 == 1 }

// stable says whether that moment is past, and the network has not changed for as long
// as a view takes.
func (w *world) stable(at time.Time) bool {
	n := len(w.cuts)
	return w.now.After(at) && (n == 0 || w.now.Sub(w.cuts[n-1]) > late)
}

// twice is the first incarnation that was respawned twice within a component, "" for none.
func (w *world) twice() string {
	for k, b := range w.runs {
		for _, a := range w.runs[:k] {
			if a.subject == b.subject && a.incarnation == b.incarnation &&
				b.at.Sub(a.at) < w.rules.Return && w.knew(a, b) {
				return fmt.Sprintf("instance %d, incarnation %d: by %d, and %v later by %d",
					a.subject, a.incarnation, a.runner, b.at.Sub(a.at), b.runner)
			}
		}
	}
	return ""
}

// knew says whether who ran b had to know of a when it began: it was in one component with
// that, from a grace before it until the word of its end had come, or has been since. Where
// the instance was met alive between the two, it is another death that b is for.
func (w *world) knew(a, b spawn) bool {
	if slices.ContainsFunc(w.met, func(m meeting) bool {
		return m.subject == a.subject && m.incarnation == a.incarnation && m.at.After(a.begun) && m.at.Before(b.begun)
	}) {
		return false
	}
	quiet := !slices.ContainsFunc(w.cuts, func(at time.Time) bool {
		return at.After(a.begun.Add(-w.rules.Grace-late)) && at.Before(a.at.Add(late))
	})
	if quiet && a.with[b.runner] {
		return true
	}
	for i, at := range w.cuts {
		healed := i%2 == 1
		if healed && at.After(a.at) && b.begun.After(at.Add(late)) {
			return true
		}
	}
	return false
}

// outcome is what became of a seed.
type outcome struct {
	failed *failure // nil: all is well
	runs   int
	seen   map[string]int // what has happened in it that is worth trying
}

type failure struct{ invariant, text string }

// scene is one seed from its beginning to its end.
func scene(seed uint64) outcome {
	w := newWorld(seed, 3+int(seed%9))
	w.until(w.now.Add(10 * time.Second))
	for range 12 {
		w.harm()
		if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.alive }) {
			w.start(0) // nobody is left who could
		}
		w.until(w.now.Add(time.Duration(w.rand.IntN(60)) * time.Second))
	}
	w.wild = false
	if w.parted() {
		w.heal()
	}
	if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.alive }) {
		w.start(0)
	}
	w.until(w.now.Add(20 * time.Minute))
	o := outcome{runs: len(w.runs), seen: w.seen}
	if text := cmp.Or(w.odd, w.twice()); text != "" {
		o.failed = &failure{"H3", text}
	}
	for _, n := range w.nodes {
		if !n.alive && o.failed == nil {
			o.failed = &failure{"progress", fmt.Sprintf("instance %d is not back", n.index)}
		}
	}
	if text := w.queued(); text != "" && o.failed == nil {
		o.failed = &failure{"fair", text}
	}
	return o
}

// queued has all but one die at once in a fleet where all is well, and the supervisors of all but the
// last behind it hang. It says what is wrong where that is not back when each before it has
// been asked for once.
func (w *world) queued() string {
	first := w.rand.IntN(len(w.nodes))
	last := (first + len(w.nodes) - 1) % len(w.nodes)
	w.wild = true
	for i := range w.nodes {
		if w.hung[i] = i != last; i != first {
			w.kill(i)
		}
	}
	w.wild = false
	once := time.Duration(len(w.nodes)-1) * w.rules.Timeout
	w.until(w.now.Add(w.rules.Grace + late + once + w.rules.Return/2 + time.Second))
	if !w.nodes[last].alive {
		return fmt.Sprintf("%d waits behind those whose supervisors hang, beside %d", last, first)
	}
	return ""
}

// harm does one thing to the fleet.
func (w *world) harm() {
	i := w.rand.IntN(len(w.nodes))
	before := (i + len(w.nodes) - 1) % len(w.nodes)
	soon := func(from time.Duration) time.Duration {
		return from + time.Duration(w.rand.IntN(5000))*time.Millisecond
	}
	switch w.rand.IntN(8) {
	case 0: // a partition, which the next of these ends: others happen within it
		if w.parted() {
			w.heal()
		} else {
			w.cut(2)
		}
	case 1: // one that nobody has died in
		if !w.parted() {
			w.cut(2)
			w.until(w.now.Add(time.Duration(w.rand.IntN(90)) * time.Second))
			w.heal()
		}
	case 2: // more than half at once
		for _, i := range w.rand.Perm(len(w.nodes))[:len(w.nodes)/2+1] {
			w.kill(i)
		}
	case 3: // one, and whoever stands before it about when it asks for that
		w.kill(i)
		w.after(soon(w.rules.Grace), func() { w.kill(before) })
	case 4: // both at once, and one before them while that asks
		w.kill(i)
		w.kill(before)
		w.after(soon(w.rules.Grace), func() { w.kill((before + len(w.nodes) - 1) % len(w.nodes)) })
	case 5: // one whose own host starts it again, about when it is asked for
		w.kill(i)
		w.after(soon(w.rules.Grace-2*time.Second), func() {
			if !w.nodes[i].alive {
				w.seen["returns by themselves"]++
				w.start(i)
			}
		})
	default:
		w.kill(i)
	}
}

// Whatever dies, each incarnation is respawned once in its component, and all come back.
func TestH3OnceForAnIncarnation(t *testing.T) {
	total, seen := 0, map[string]int{}
	for seed := range uint64(240) {
		o := scene(seed)
		total += o.runs
		for what, n := range o.seen {
			seen[what] += n
		}
		if o.failed != nil {
			t.Errorf("seed %d: %s", seed, o.failed.text)
		}
	}
	t.Logf("%d respawns; %v", total, seen)
	if total < 1000 || len(seen) < 4 {
		t.Errorf("only %d respawns, and %v: the scenes try too little", total, seen)
	}
}

// TestHunt is how the mutants program (ring/ringtest/mutants) looks for what it has broken
// in the planner. RINGTEST_HUNT says what for and in which seeds.
func TestHunt(t *testing.T) {
	var want string
	var from, seeds uint64
	text := os.Getenv("RINGTEST_HUNT")
	if text == "" {
		t.Skip("SKIPPED: RINGTEST_HUNT is not set; the mutants program, which CI runs, sets it")
	}
	if _, err := fmt.Sscan(text, &want, &from, &seeds); err != nil {
		t.Fatalf("RINGTEST_HUNT is %q: %v", text, err)
	}
	for seed := from; seed < from+seeds; seed++ {
		if f := scene(seed).failed; f != nil && f.invariant == want {
			fmt.Printf("FOUND %s with seed %d: %s\n", f.invariant, seed, f.text)
			return
		}
	}
	fmt.Printf("LIVES after %d seeds\n", seeds)
}
