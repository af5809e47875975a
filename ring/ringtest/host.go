package ringtest

import (
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

// input is one event on its way into a core.
type input struct {
	kind  core.EventKind
	cause core.Cause
	peer  int32
	conn  core.ConnID
	buf   []byte
	seq   uint64

	command *bus.Command
	cast    *wire.Cast
	payload []byte
	ok      bool

	rider    *wire.Rider
	stations *core.StationSet
	values   []core.Value
}

// host is one machine with its disk and clock, and the process on it, if any.
type host struct {
	index int32
	life  uint32 // counts processes started here
	core  *core.Core
	inbox []input // what a process that does not run now has yet to see

	offset  int64 // of its clock against the world's, nanoseconds
	ppm     int64 // how much faster its clock runs
	bootppm int64 // the same for the clock that goes on while the host sleeps
	armed   int64 // when a timer moment is planned, 0 for none
	late    bool  // the deadline came while it did not run
	waking  bool  // a wake moment is planned
	dials   uint32
	dice    dice

	disk, older core.Saved
	newest      newest // of what was broadcast

	toDisk   core.Saved // what is on its way there, or there
	floor    uint64     // the ceiling with which this process began
	reserved uint64     // the ceiling that was written, and is to be told
	log      logDisk
	asked    uint64 // requests of this process
	waiting  []waiting
	odd      bool // it runs with another roster than the rest

	seed    *roster.Roster // that of the fleet when it was added, nil for the first one
	kept    *roster.Roster // on its disk, nil for none
	keptEra uint32
	spare   bool // it was not added yet
	retired bool // by the newest version of the roster

	// Conditions, counted because faults may overlap.
	held   int   // down until this is 0
	off    int   // no power, or suspended: the kernel does not answer either
	stop   int   // the process is stopped
	mute   int   // nothing leaves
	deaf   int   // nothing comes in
	slow   int64 // longest wait for the processor, nanoseconds
	loss   float64
	group  int32
	rough  trouble // what excuses its being taken for dead
	starve trouble // what does so too, but excuses no word of its own
	mild   trouble // what excuses nothing
	badcut trouble // a cut link to one other
	left   bool    // said goodbye
	total  uint64  // passes, of all its processes
	tick   uint64  // the newest counted, of all its processes that remember
	inc    uint32  // the newest it joined as, likewise
	agreed revisionOf
	minor  minority

	liar  *liar  // nil for an honest one
	proof *proof // of the process, nil where nobody signs

	ears
	journey
}

// trouble remembers whether something is, or recently was, the matter.
type trouble struct {
	now   int
	until int64 // when it last ended
	ever  bool
}

func (t *trouble) begin() { t.now++; t.ever = true }
func (t *trouble) end(now int64) {
	t.now--
	t.until = now
}

// within reports whether it was the matter at any time since the given one.
func (t *trouble) within(since int64) bool { return t.now > 0 || t.ever && t.until >= since }

// alive reports whether the process of that life still exists.
func (w *World) alive(i int32, life uint32) bool {
	h := &w.hosts[i]
	return h.core != nil && h.life == life
}

// local is what the clock of h shows. It starts at a date of our century, so
// that zero times stay the earliest.
func (w *World) local(h *host) time.Time {
	return time.Unix(1<<30, h.offset+w.now+w.now/1e6*h.ppm)
}

// global is the first moment at which the clock of h shows t.
func (w *World) global(h *host, t time.Time) int64 {
	d := t.Sub(time.Unix(1<<30, 0)).Nanoseconds() - h.offset
	at := d - d/(1e6+h.ppm)*h.ppm
	for at+at/1e6*h.ppm < d {
		at += max(d-(at+at/1e6*h.ppm), 1)
	}
	return at
}

// boot starts a process on h.
func (w *World) boot(h *host) {
	if h.core != nil || h.held > 0 || w.failure != nil {
		return
	}
	h.life++
	h.inbox = h.inbox[:0]
	h.armed, h.late, h.waking, h.left = 0, false, false, false
	h.ears, h.journey = ears{born: w.now}, journey{}
	h.toDisk, h.floor = h.disk, h.disk.Ceiling
	h.newest = newest{}
	h.agreed = revisionOf{}
	if w.opt.memory() || !h.log.has {
		h.tick, h.inc = 0, 0 // it cannot know
		h.minor = minority{} // who has nothing may begin anew with others that have nothing
	}
	r, ov := w.rosterOf(h)
	if w.failure != nil || int(h.index) < r.Len() && r.Retired(int(h.index)) {
		return // it knows that it is retired
	}
	var err error
	h.core, err = core.New(core.Config{
		Roster: r, RosterEra: h.keptEra, Overlay: ov, Self: int(h.index),
		Boot: w.bootOf(h),
		PID:  1000*h.life + uint32(h.index), Build: "ringtest", Saved: h.disk,
		Bus: h.log.load(), Memory: w.opt.memory(),
		Timing: w.timing.Timing, Hold: w.opt.Hold, Fast: w.opt.MaxSpeed,
		Rand: newRand(w.seed, forCore, uint64(h.index), uint64(h.life)),
		Room: &w.room, Keep: w.keep(), Proof: w.proofOf(h),
	})
	if err != nil {
		w.fail("S1", "s%d cannot start on its own log: %v", h.index, err)
		return
	}
	w.say(h, "process %d starts with %+v on disk", h.life, h.disk)
	w.input(h.index, input{kind: core.Start})
	if h.proof != nil && len(w.hosts) <= renewMost {
		w.agenda.push(w.now+h.dice.below(renewEvery), atRenewed, h.index, h.life)
	}
	w.openStations(h)
}

// bootOf names the process on h.
func (w *World) bootOf(h *host) uint32 {
	return uint32(mix(w.seed, forBoot, uint64(h.index), uint64(h.life))) | 1
}

// kill ends the process on h at once.
func (w *World) kill(h *host, silent bool) {
	if h.core == nil {
		return
	}
	w.orphan(h)
	h.core = nil
	w.cutPower(h)
	if h.toDisk != h.disk && h.dice.below(2) == 0 {
		h.older, h.disk = h.disk, h.toDisk
	}
	for _, in := range h.inbox {
		w.putBuf(in.buf)
	}
	h.inbox = h.inbox[:0]
	w.abandonLinks(h, silent)
	w.say(h, "process %d is no more", h.life)
}

// input gives the process an event, or keeps it until the process runs.
func (w *World) input(i int32, in input) {
	h := &w.hosts[i]
	if h.stop > 0 || h.slow > 0 || len(h.inbox) > 0 {
		h.inbox = append(h.inbox, in)
		w.planWake(h)
		return
	}
	w.take(h, in)
}

func (w *World) planWake(h *host) {
	if h.stop > 0 || h.waking {
		return
	}
	h.waking = true
	w.agenda.push(w.now+h.dice.below(h.slow+1), atWake, h.index, h.life)
}

// wake is a process getting the processor: all that waits is done at once,
// sometimes the timer before the frames and sometimes after them.
func (w *World) wake(h *host) {
	h.waking = false
	if h.stop > 0 || h.core == nil {
		return
	}
	life, late := h.life, h.late
	h.late = false
	first := h.dice.hit(0.5)
	if late && first {
		w.timer(h)
	}
	waiting := h.inbox
	h.inbox = nil
	for n, in := range waiting {
		if !w.alive(h.index, life) || w.failure != nil {
			for _, in := range waiting[n:] {
				w.putBuf(in.buf)
			}
			break
		}
		w.take(h, in)
	}
	if h.inbox == nil {
		h.inbox = waiting[:0]
	}
	if late && !first && w.alive(h.index, life) {
		w.timer(h)
	}
	if w.alive(h.index, life) {
		w.arm(h)
	}
}

// take steps the core with one input.
func (w *World) take(h *host, in input) {
	ev := core.Event{Kind: in.kind, Conn: in.conn, Peer: int(in.peer), Cause: in.cause, Seq: in.seq}
	if in.command != nil {
		ev.Command = *in.command
	}
	switch in.kind {
	case core.Publish, core.Answered, core.Folded:
		ev.Cast, ev.Payload, ev.OK = in.cast, in.payload, in.ok
	case core.Board:
		ev.Riders, h.board = []wire.Rider{*in.rider}, in.rider
	case core.Stations:
		ev.Stations = in.stations
	case core.Worked:
		ev.Values = in.values
		w.onWorked(h, in.seq)
	case core.Received:
		l, ref := w.endOf(in.conn)
		if l == nil || !l.end[ref%2].open {
			w.putBuf(in.buf) // read by nobody: we closed it meanwhile
			return
		}
		h.overhear(in.buf)
		if ev.Msg = w.frame(in.peer, in.buf); ev.Msg == nil {
			if in.peer == w.bad && w.failure == nil {
				w.garbage(h, in.conn)
			}
			return
		}
		if w.meter != nil {
			w.meter.heard(w, in.peer, h.index, ev.Msg, len(in.buf))
		}
	case core.Accepted:
		if l, ref := w.endOf(in.conn); l == nil || !l.end[ref%2].open {
			return // reset before the process came round to it
		}
	}
	w.step(h, ev)
	w.putBuf(in.buf)
}

// onTimer is a planned timer moment; the deadline may have moved since.
func (w *World) onTimer(h *host) {
	if h.armed > w.now {
		return // another moment took its place
	}
	h.armed = 0
	d := h.core.Deadline()
	switch {
	case d.IsZero():
		return
	case h.stop > 0:
		h.late = true
	case w.local(h).Before(d):
		w.arm(h)
	case h.slow > 0 || len(h.inbox) > 0:
		h.late = true
		w.planWake(h)
	default:
		w.timer(h)
	}
}

func (w *World) timer(h *host) { w.step(h, core.Event{Kind: core.Timer}) }

// arm plans the next timer moment unless an early enough one is planned.
func (w *World) arm(h *host) {
	d := h.core.Deadline()
	if d.IsZero() {
		return
	}
	at := max(w.global(h, d), w.now)
	if h.armed != 0 && h.armed <= at {
		return
	}
	h.armed = at
	w.agenda.push(at, atTimer, h.index, h.life)
}

// step feeds one event to the core and carries out what it answers.
func (w *World) step(h *host, ev core.Event) {
	life := h.life
	now := w.local(h)
	w.steps++
	w.note(h, &ev)
	effects := h.core.Step(now, ev)
	for i := range effects {
		if fx := &effects[i]; !w.carryOut(h, fx) {
			break
		}
	}
	clear(effects) // the core's slice: what was sent must not be kept until its next step
	w.flushLine()
	if !w.alive(h.index, life) || w.failure != nil {
		return
	}
	w.checkAgreed(h)
	w.arm(h)
}

// carryOut does one effect; false when the process ended by it.
func (w *World) carryOut(h *host, fx *core.Effect) bool {
	w.noteEffect(h, fx)
	switch fx.Kind {
	case core.Send:
		if p, ok := fx.Msg.(*wire.Particle); ok {
			w.onDeparted(h, p)
		}
		w.send(h, fx.Conn, fx.Msg)
	case core.Dial:
		w.dial(h, int32(fx.Peer), int64(fx.Timeout))
	case core.Close:
		if l, ref := w.endOf(fx.Conn); l != nil {
			w.closeEnd(ref)
			w.maybeFree(ref / 2)
		}
	case core.Save:
		h.older, h.disk, h.toDisk = h.disk, fx.Saved, fx.Saved
	case core.Reserve:
		h.toDisk = fx.Saved
		w.agenda.push(w.now+h.reserveTime(), atReserved, h.index, h.life)
	case core.Persist:
		w.persist(h, fx)
	case core.Passed:
		w.onPassed(h, fx.Tick)
	case core.Tell:
		w.onTell(h, &fx.Report)
	case core.Settled, core.Readable, core.Denied:
		w.onAnswer(h, fx)
	case core.Published:
		w.watch.lives.heard(fx.Cast.CastID) // before what it lacks of an earlier life is given up
		if q := fx.Cast.Question; q != nil {
			w.onAsked(h, fx.Cast.CastID, q)
		}
	case core.Answer:
		w.onQuestion(h, fx.Cast)
	case core.Fold:
		w.onFold(h, fx)
	case core.Gathered:
		w.onGathered(h, fx.Outcome)
	case core.Delivered:
		w.onCast(h, fx.Cast)
	case core.Missed:
		w.onMissed(h, fx.Range)
	case core.Boarding:
		w.onBoarding(h, fx.Seq)
	case core.Full:
		h.full = true
	case core.Seats:
		if !h.full {
			w.fail("P4", "s%d is told of room, and there was some", h.index)
		}
		h.full = false
	case core.Visited:
		w.onVisit(h, fx.Visit)
	case core.Work:
		w.onWork(h, fx)
	case core.Gone:
		h.left = true
		w.kill(h, false)
		return false
	case core.Rerolled:
		w.onRerolled(h, fx)
	case core.Fatal:
		if h.liar != nil {
			w.kill(h, false)
			return false
		}
		w.endedFor(h, &fx.Report)
		return false
	}
	return true
}

func (w *World) send(h *host, id core.ConnID, m wire.Msg) {
	l, ref := w.endOf(id)
	if l == nil || !l.end[ref%2].open {
		return // broken a moment ago; the core will hear
	}
	if w.meter != nil && w.meter.loses(m) {
		return
	}
	if h.liar != nil {
		m = w.bent(h, m)
	}
	buf := w.encoded(m)
	h.overhear(buf)
	w.hash.bytes(buf)
	w.transmit(ref, segment{buf: buf, bulk: wire.Bulk(m)})
}
