package respawn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a fleet of planners in virtual time: instances that are killed, views and
// notes that come late and in another order at each, partitions, commands that fail, hang
// or do nothing, and runners that die over them.
type world struct {
	rand   *rand.Rand
	now    time.Time
	rules  Rules
	mutant string
	nodes  []*node
	queue  []happening // by time, then by when it was put there
	wild   bool        // commands fail, and do nothing at times
	runs   []spawn
	cuts   []time.Time // when the network was cut or healed last
}

// node is one instance: what is true of it, and its planner while it lives.
type node struct {
	index       int
	alive       bool
	incarnation uint32
	side        int // of a partition
	planner     *planner
	process     uint64 // counts its lives, so that what was for an earlier one is dropped
	notes       []note // what its neighbours would give to one that joins: all there were
}

type happening struct {
	at time.Time
	do func()
}

// spawn is a run of the command that succeeded.
type spawn struct {
	runner, subject int
	incarnation     uint32
	at              time.Time
}

// late is the most that a view or a note takes.
const late = 2 * time.Second

func newWorld(seed uint64, n int, mutant string) *world {
	w := &world{
		rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1000, 0), mutant: mutant, wild: true,
		rules: Rules{
			Grace: 3 * late, Timeout: 5 * time.Second, Return: 20 * time.Second,
			Backoff: time.Second, Limit: 4, Slow: time.Minute,
		},
	}
	if mutant == "hasty" {
		w.rules.Grace = 1
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
	n.alive = true
	n.incarnation++
	n.process++
	n.planner = newPlanner(w.rules, i)
	for _, known := range n.notes {
		w.deliver(n, known)
	}
	w.changed()
}

func (w *world) kill(i int) {
	w.nodes[i].alive = false
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
	rows := make([]row, len(w.nodes))
	for i, o := range w.nodes {
		reached := o.alive && o.side == n.side
		rows[i] = row{alive: reached, gone: !reached, incarnation: o.incarnation}
		if w.mutant == "everybody" && i != n.index {
			rows[i].alive = false // thinks itself the nearest of all
		}
	}
	return rows
}

// tell brings a note to all, across a partition once that is healed.
func (w *world) tell(from *node, x note) {
	for _, n := range w.nodes {
		n.notes = append(n.notes, x)
		if n != from {
			w.deliver(n, x)
		}
	}
}

func (w *world) deliver(n *node, x note) {
	if process := n.process; n.alive && w.mutant != "deaf" {
		w.in(late, func() {
			if n.alive && n.process == process {
				n.planner.hear(w.now, x)
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
	process, luck := n.process, w.rand.IntN(10)
	if !w.wild {
		luck = 9
	}
	w.in(w.rules.Timeout, func() {
		if !n.alive || n.process != process {
			return // the command died with it
		}
		ok := luck > 1
		if ok {
			w.runs = append(w.runs, spawn{n.index, x.Subject, x.Incarnation, w.now})
			if luck > 2 { // else whoever took it on forgets it
				w.in(w.rules.Return/2, func() { w.start(x.Subject) })
			}
		}
		if luck == 3 {
			w.kill(n.index) // before it can say so
			return
		}
		w.do(n, n.planner.ended(w.now, x, ok))
	})
}

// cut parts the fleet, or heals it.
func (w *world) cut(sides int) {
	for _, n := range w.nodes {
		n.side = w.rand.IntN(sides)
	}
	w.cuts = append(w.cuts, w.now)
	w.changed()
}

// wrong is the first incarnation that was respawned twice within a component, "" for none.
func (w *world) wrong() string {
	for k, b := range w.runs {
		for _, a := range w.runs[:k] {
			if a.subject != b.subject || a.incarnation != b.incarnation {
				continue
			}
			// Whoever ran it first can be known only to those who were with it.
			parted := slices.ContainsFunc(w.cuts, func(at time.Time) bool {
				return at.After(a.at.Add(-w.rules.Grace-late)) && !at.After(b.at)
			})
			if b.at.Sub(a.at) < w.rules.Return && !parted && !w.parted(a) {
				return fmt.Sprintf("instance %d, incarnation %d: by %d, and %v later by %d",
					a.subject, a.incarnation, a.runner, b.at.Sub(a.at), b.runner)
			}
		}
	}
	return ""
}

// parted says whether the fleet was in parts when that ran: then each has its own.
func (w *world) parted(a spawn) bool {
	before := 0
	for _, at := range w.cuts {
		if !at.After(a.at) {
			before++
		}
	}
	return before%2 == 1 // cuts and healings take turns
}

// scene is one seed from its beginning to its end. It returns what was wrong.
func scene(seed uint64, mutant string) (wrong string, runs int) {
	w := newWorld(seed, 3+int(seed%9), mutant)
	w.until(w.now.Add(10 * time.Second))
	for range 12 {
		switch w.rand.IntN(6) {
		case 0:
			w.cut(2)
			w.until(w.now.Add(time.Duration(w.rand.IntN(90)) * time.Second))
			for _, n := range w.nodes {
				n.side = 0
			}
			w.cuts = append(w.cuts, w.now)
			w.changed()
		case 1: // more than half at once
			for _, i := range w.rand.Perm(len(w.nodes))[:len(w.nodes)/2+1] {
				w.kill(i)
			}
		case 2: // one, and whoever stands before it a moment later
			i := w.rand.IntN(len(w.nodes))
			w.kill(i)
			w.after(w.rules.Grace+time.Duration(w.rand.IntN(5000))*time.Millisecond, func() {
				w.kill((i + len(w.nodes) - 1) % len(w.nodes))
			})
		default:
			w.kill(w.rand.IntN(len(w.nodes)))
		}
		if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.alive }) {
			w.start(0) // nobody is left who could
		}
		w.until(w.now.Add(time.Duration(w.rand.IntN(60)) * time.Second))
	}
	w.wild = false
	if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.alive }) {
		w.start(0)
	}
	w.until(w.now.Add(20 * time.Minute))
	for _, n := range w.nodes {
		if !n.alive {
			return fmt.Sprintf("instance %d is not back", n.index), len(w.runs)
		}
	}
	return w.wrong(), len(w.runs)
}

// Whatever dies, each incarnation is respawned once in its component, and all come back.
func TestH3OnceForAnIncarnation(t *testing.T) {
	total := 0
	for seed := range uint64(120) {
		wrong, runs := scene(seed, "")
		total += runs
		if wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
	t.Logf("%d respawns", total)
	if total < 500 {
		t.Errorf("only %d respawns: the scenes try nothing", total)
	}
}

// The checker sees planners that break the rule.
func TestH3MutantsAreCaught(t *testing.T) {
	for _, mutant := range []string{"deaf", "hasty", "everybody"} {
		caught := 0
		for seed := range uint64(20) {
			if wrong, _ := scene(seed, mutant); wrong != "" {
				caught++
			}
		}
		t.Logf("%s: caught by %d seeds of 20", mutant, caught)
		if caught == 0 {
			t.Errorf("no seed catches the mutant %q", mutant)
		}
	}
}
