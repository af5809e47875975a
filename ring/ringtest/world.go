package ringtest

import (
	"crypto/sha256"
	"fmt"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

type pair struct{ a, b int32 }

// World is a fleet, its network and its time. It belongs to one goroutine.
type World struct {
	opt    Options
	seed   uint64
	timing timing

	roster    *roster.Roster
	oddRoster *roster.Roster
	overlay   *overlay.Overlay
	hosts     []host

	now    int64 // nanoseconds since the world began
	agenda agenda
	links  []link
	// Slots of links to be used again, and buffers of frames.
	freeLinks []int32
	bufs      [bufSizes][][]byte
	scratch   []byte
	room      core.Room
	decoder   wire.Decoder

	// The state of the network.
	blocks  int // conditions that shut some path
	cuts    map[pair]int
	lossAll float64
	delay   int64
	parting int32 // number of the newest partition

	clients    []client
	contenders []contender
	ops        []op // of all clients, in the order in which they were asked
	writes     []write
	resting    bool // nobody asks anything any more
	hushed     bool // nobody sends messages any more
	sayings    []saying
	rail       rail
	rolls      rollsOf

	script []Action
	active []bool
	watch  watch  // what the checkers know
	meter  *meter // of what is broadcast, nil where nobody measures that

	bad          int32  // who lies, -1 for nobody
	certificates uint64 // that were made, where instances sign

	hash   hash
	trace  tracer
	steps  uint64
	frames uint64
	bytes  uint64

	failure *Failure
}

// newWorld builds the fleet and plans its start; no process runs yet.
func newWorld(opt Options) (*World, error) {
	tm, err := timingOf(opt.Timing)
	if err != nil {
		return nil, err
	}
	if opt.hop > 0 {
		tm.far = max(opt.hop, opt.wide)
		tm.Patience = max(tm.Patience, opt.patience)
	}
	w := &World{opt: opt, seed: opt.Seed, timing: tm, cuts: map[pair]int{}, bad: -1}
	w.trace = tracer{out: opt.Trace}
	names := make([]string, opt.Nodes)
	addrs := make([]string, opt.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("s%d", i)
		if opt.zones > 1 {
			names[i] = fmt.Sprintf("dc%d/s%d", i%opt.zones, i)
		}
		addrs[i] = fmt.Sprintf("s%d:3000", i)
	}
	if w.roster, err = roster.New("sim", names, addrs, opt.degree); err != nil {
		return nil, err
	}
	if opt.Nodes > 1 { // the same but for the last two names
		odd := append([]string(nil), names...)
		n := len(odd)
		odd[n-1], odd[n-2] = odd[n-2], odd[n-1]
		if w.oddRoster, err = roster.New("sim", odd, addrs, 0); err != nil {
			return nil, err
		}
	}
	w.overlay = overlay.Build(names, "sim", w.roster.Degree)
	w.hosts = make([]host, opt.Nodes+opt.rolls)
	for i := range w.hosts {
		h := &w.hosts[i]
		h.index = int32(i)
		d := dice(mix(w.seed, forClock, uint64(i)))
		h.offset = d.below(1000 * second)
		h.ppm = d.below(401) - 200
		h.bootppm = d.below(2*leaseSkew+1) - leaseSkew
		h.dice = dice(mix(w.seed, forHost, uint64(i)))
	}
	w.watch.ticks = map[tickOf]lapOf{}
	w.watch.casts, w.watch.asked = map[wire.CastID]uint64{}, map[wire.CastID]question{}
	w.watch.lives = lives{}
	w.rail = newRail()
	w.watch.bases = map[epochOf]uint64{}
	w.watch.grants = map[grantOf]bool{}
	w.watch.guarded = map[resourceOf]resource{}
	w.watch.chains = map[revisionOf][sha256.Size]byte{}
	w.script = opt.script(w)
	w.active = make([]bool, len(w.script))
	return w, nil
}

// plan puts the whole run on the agenda.
func (w *World) plan() {
	w.planLies()
	spread := w.opt.spread()
	w.planRolls()
	for i := range w.opt.Nodes {
		d := dice(mix(w.seed, forStart, uint64(i)))
		w.agenda.push(d.below(spread), atStart, int32(i), 0)
	}
	for i := range w.script {
		w.agenda.push(int64(w.script[i].At), atBegin, int32(i), 0)
	}
}

// livelock is how many moments an instance may be worth within a second of
// virtual time, at most: a hundred times what a storm has been seen to cost.
const livelock = 200_000

// run goes through the agenda up to and including the given time.
func (w *World) run(until int64) {
	budget, mark := w.budget(), w.now
	for len(w.agenda.heap) > 0 && w.failure == nil {
		if w.agenda.heap[0].at > until {
			break
		}
		m := w.agenda.pop()
		if w.opt.Progress != nil && m.at/second > w.now/second {
			fmt.Fprintf(w.opt.Progress, "%d s: %d steps, %d MB sent\n", m.at/second, w.steps,
				w.bytes>>20)
		}
		w.now = m.at
		w.dispatch(m)
		if budget--; budget == 0 {
			if w.now-mark < second {
				w.fail("progress", "%d moments in %v of virtual time: a livelock",
					w.budget(), span(w.now-mark))
				return
			}
			budget, mark = w.budget(), w.now
		}
	}
	if w.failure == nil {
		w.now = max(w.now, until)
	}
}

func (w *World) budget() int { return livelock + len(w.hosts)*livelock/20 }

func (w *World) dispatch(m moment) {
	switch m.kind {
	case atStart:
		w.boot(&w.hosts[m.ref])
	case atTimer:
		if w.alive(m.ref, m.gen) {
			w.onTimer(&w.hosts[m.ref])
		}
	case atWake:
		if w.alive(m.ref, m.gen) {
			w.wake(&w.hosts[m.ref])
		}
	case atBegin:
		w.begin(int(m.ref))
	case atEnd:
		w.end(int(m.ref))
	case atFlap:
		w.flap(int(m.ref))
	case atCheck:
		w.watch.check(w, int(m.ref))
	case atSynced:
		if w.alive(m.ref, m.gen) {
			w.onSynced(&w.hosts[m.ref])
		}
	case atReserved:
		if h := &w.hosts[m.ref]; w.alive(m.ref, m.gen) {
			if h.toDisk != h.disk { // no Save has come between
				h.older, h.disk = h.disk, h.toDisk
			}
			h.reserved = h.disk.Ceiling
			w.agenda.push(w.now+h.reserveTime(), atTold, m.ref, m.gen)
		}
	case atTold:
		if w.alive(m.ref, m.gen) {
			w.input(m.ref, input{kind: core.Reserved, seq: w.hosts[m.ref].reserved})
		}
	case atClient:
		w.clientTurn(m.ref, m.gen)
	case atLease:
		w.leaseTurn(m.ref)
	case atWrite:
		w.onWrite(m.ref)
	case atCry:
		w.cry(m.ref, m.gen)
	case atRide:
		w.ride(m.ref, m.gen)
	case atLie:
		w.lieTurn(&w.hosts[m.ref])
	case atRenewed:
		if w.alive(m.ref, m.gen) {
			w.renewed(&w.hosts[m.ref])
		}
	case atRoll:
		w.rollTurn(m.ref)
	case atSay:
		w.sayingIsDue(m.ref, m.gen)
	default:
		w.dispatchNet(m)
	}
}

// dispatchNet drops what was planned for a link that is gone.
func (w *World) dispatchNet(m moment) {
	i := m.ref
	if m.kind == atStream || m.kind == atReset {
		i /= 2
	}
	if l := &w.links[i]; !l.used || l.gen != m.gen {
		return
	}
	switch m.kind {
	case atStream:
		w.pump(m.ref, m.gen)
	case atReset:
		w.onReset(m.ref)
	case atSyn:
		w.onSyn(i)
	case atSynAck:
		w.onSynAck(i)
	case atRefused:
		w.onRefused(i)
	case atTimeout:
		if w.links[i].dialing {
			w.dialFailed(i, core.Unanswered)
		}
	}
}

func (w *World) name(i int32) string {
	if i < 0 {
		return "nobody"
	}
	return fmt.Sprintf("s%d", i)
}
