package ringtest

import (
	"crypto/sha256"
	"fmt"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// ears is what the checkers heard from one process.
type ears struct {
	passed  bool
	epoch   wire.Epoch
	lap     uint64
	number  uint64 // of the bus's particles, the newest that passed
	buslap  uint64
	det     wire.Epoch // of the others, since then
	detlap  uint64
	counts  bool // the newest pass was counted
	says    bool // it calls its laps anchored
	holds   bool // and has done so since before the newest pass that was counted
	passes  uint64
	latest  int64
	born    int64
	cutOff  bool
	changes uint64 // mark: view changes when an action began
	marked  uint64 // mark: passes at that time
	kind    uint32 // mark: the life they belong to
}

// pass is one stop of the particle.
type pass struct {
	at    int64
	host  int32
	epoch wire.Epoch
	lap   uint64
}

// death is one report of one, or of a return. Of a large fleet there are millions.
type death struct {
	at                int64
	observer, subject uint16 // wire.RosterMax fits
	back              bool
}

// watch is what the checkers know of the world; cores never see it.
type watch struct {
	formed    bool
	recording bool
	passes    []pass
	news      []death
	expected  []expectation
	found     []Detection
	dropped   int64 // when, while the ring formed, the newest particle was
	early     bool  // by who did not see everybody yet
	forming   int64 // actions before this time are in the formation
	victims   []int // of the newest action: who ran until then, and was in the ring

	lost   bool                             // so many disks that nothing can be promised of ticks
	ticks  map[tickOf]lapOf                 // which lap each tick names
	casts  map[wire.CastID]uint64           // what was sent to all, by a hash
	lives  lives                            // of each origin, the newest that has sent anything
	asked  map[wire.CastID]question         // questions without an outcome
	chains map[revisionOf][sha256.Size]byte // what each revision is
	bases  map[epochOf]uint64               // what a lap's tick is above its lap

	grants    map[grantOf]bool // fences that were given
	granted   uint64           // the highest of them, in
	grantedIn wire.History
	guarded   map[resourceOf]resource
}

// tickOf and lapOf: a tick names one lap of one history.
type tickOf struct {
	history wire.History
	tick    uint64
}

// epochOf is a particle of the bus.
type epochOf struct {
	history wire.History
	number  uint64
}

type lapOf struct{ number, lap uint64 }

type revisionOf struct {
	history wire.History
	index   uint64
}

// expectation is a look at the world at a planned time.
type expectation struct{ look func() }

// expect plans a look.
func (w *World) expect(at int64, look func()) {
	w.watch.expected = append(w.watch.expected, expectation{look})
	w.agenda.push(max(at, w.now), atCheck, int32(len(w.watch.expected)-1), 0)
}

func (c *watch) check(w *World, i int) {
	c.expected[i].look()
	c.expected[i].look = nil
}

// onPassed is P1 at one stop: it never lets pass what is not newer than all it
// let pass before.
func (w *World) onPassed(h *host, t core.Tick) {
	w.hash.word(t.Lap)
	if h.liar != nil {
		h.passed = true
		return
	}
	if t.Epoch.Detached() {
		if h.holds {
			w.fail("P1", "s%d is attached, and lets epoch %s pass", h.index, epochText(t.Epoch))
		}
		if c := t.Epoch.Counter - h.det.Counter; h.det.Detached() && (int64(c) < 0 || c == 0 &&
			(t.Epoch.Dropper < h.det.Dropper ||
				t.Epoch.Dropper == h.det.Dropper && t.Lap <= h.detlap)) {
			w.fail("P1", "s%d let pass epoch %s lap %d after epoch %s lap %d", h.index,
				epochText(t.Epoch), t.Lap, epochText(h.det), h.detlap)
		}
		h.det, h.detlap = t.Epoch, t.Lap
	} else {
		if t.Epoch.Number < h.number || t.Epoch.Number == h.number && t.Lap <= h.buslap {
			w.fail("P1", "s%d let pass epoch %s lap %d after epoch %d lap %d", h.index,
				epochText(t.Epoch), t.Lap, h.number, h.buslap)
		}
		h.number, h.buslap, h.det = t.Epoch.Number, t.Lap, wire.Epoch{}
	}
	w.checkTick(h, &t)
	if e := h.disk.Epoch; e.Number < t.Epoch.Number || e.Counter < t.Epoch.Counter {
		w.fail("P1", "s%d lets pass epoch %s, and has %s on disk", h.index, epochText(t.Epoch),
			epochText(e))
	}
	h.passed, h.epoch, h.lap = true, t.Epoch, t.Lap
	h.passes++
	h.latest = w.now
	h.total++
	if w.watch.recording {
		w.watch.passes = append(w.watch.passes, pass{w.now, h.index, t.Epoch, t.Lap})
	}
}

// checkTick is P3: a tick names one lap, is used once, and goes back nowhere, not
// even at a process that was started again.
func (w *World) checkTick(h *host, t *core.Tick) {
	h.counts = t.Anchored
	if !t.Anchored || w.watch.lost {
		return
	}
	h.holds = h.says
	if t.Tick >= h.disk.Ceiling {
		w.fail("P3", "s%d counts tick %d, and its disk has but those below %d as used", h.index, t.Tick,
			h.disk.Ceiling)
	}
	history, _, _ := h.core.Revision()
	lap := lapOf{t.Epoch.Number, t.Lap}
	if was, ok := w.watch.ticks[tickOf{history, t.Tick}]; ok && was != lap {
		w.fail("P3", "tick %d names lap %d of epoch %d, and lap %d of epoch %d", t.Tick, was.lap,
			was.number, lap.lap, lap.number)
	}
	w.watch.ticks[tickOf{history, t.Tick}] = lap
	epoch := epochOf{history, t.Epoch.Number}
	if base, ok := w.watch.bases[epoch]; ok && base != t.Tick-t.Lap {
		w.fail("P3", "s%d counts lap %d of epoch %d as tick %d, another has %d as that of lap 0",
			h.index, t.Lap, t.Epoch.Number, t.Tick, base)
	}
	w.watch.bases[epoch] = t.Tick - t.Lap
	if m := &h.minor; m.on && t.Tick > m.top {
		if m.epoch == t.Epoch.Number {
			w.fail("P3", "s%d counts tick %d, the second that began after it was cut off with less than a quorum",
				h.index, t.Tick)
		}
		m.epoch = t.Epoch.Number
	}
	if t.Tick <= h.tick {
		w.fail("P3", "s%d counts tick %d after tick %d", h.index, t.Tick, h.tick)
	}
	h.tick = t.Tick
}

// minority is that a host was cut off with less than a quorum. It may count the
// laps that were under way, late copies of them too, and the next of their epoch, if
// those had their stamps by then.
type minority struct {
	on    bool
	top   uint64 // the highest tick that anybody had counted
	epoch uint64 // of the newest counted above it, 0 for none
}

// checkMinority finds, as a partition begins, who is on a side without a quorum
// of the voters, whoever is asked which these are.
func (w *World) checkMinority(a *Action) {
	top := uint64(0)
	for i := range w.hosts {
		top = max(top, w.hosts[i].tick)
	}
	for i := range w.hosts {
		w.hosts[i].minor = minority{on: w.inMinority(w.hosts[i].group == w.parting), top: top}
	}
	w.say(nil, "without a quorum: %v", a)
}

// inMinority reports whether one side of the newest partition has no quorum, by
// what anybody alive has applied.
func (w *World) inMinority(inside bool) bool {
	asked := false
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.core == nil || h.odd {
			continue
		}
		all, here := 0, 0
		for _, v := range h.core.BusView().Voters {
			if v.Leaves {
				return false // they change: two sets to ask
			}
			if v.Votes {
				all++
				if (w.hosts[v.ID.Index()].group == w.parting) == inside {
					here++
				}
			}
		}
		if 2*here > all {
			return false
		}
		asked = true
	}
	return asked
}

// checkBeside is S1 for a history that begins: an instance begins one only if most
// of the first voters have nothing, or no more than the beginning of another, and
// nobody it can reach has data.
func (w *World) checkBeside(h *host) {
	since := w.now - w.timing.forgive()
	if w.opt.memory() || !w.watch.formed || h.rough.within(since) && h.born < since {
		return
	}
	held := map[consensus.History]int{} // logs on disk, of whoever votes by now
	first := len(consensus.FirstVoters(len(w.hosts)))
	for i := range w.hosts {
		k := &w.hosts[i]
		if k.log.saved.Identity.ID == 0 || !k.log.data() || k.log.since >= since {
			continue
		}
		if x := k.log.saved.Identity.History; 2*held[x]+2 > first {
			w.fail("S1", "s%d begins a history, and there are %d whole logs of another", h.index, held[x]+1)
			return
		}
		held[k.log.saved.Identity.History]++
	}
	for i := range w.hosts {
		k := &w.hosts[i]
		if k == h || k.core == nil || k.odd || k.stop > 0 || k.slow > 0 || !k.log.data() ||
			k.log.since > since || k.born > w.now-2*second ||
			h.core.Row(i).State != alive || !w.open(h.index, k.index) || !w.open(k.index, h.index) {
			continue
		}
		w.fail("S1", "s%d begins a history beside s%d, which has data", h.index, i)
	}
}

// checkAgreed is S1 for what each instance has applied: a revision is the same
// wherever it is.
func (w *World) checkAgreed(h *host) {
	history, index, chain := h.core.Revision()
	if index == 0 || history == h.agreed.history && index == h.agreed.index {
		return
	}
	h.agreed = revisionOf{history, index}
	if was, ok := w.watch.chains[h.agreed]; ok && was != chain {
		w.fail("S1", "s%d has applied something else as revision %d than another has", h.index, index)
	}
	w.watch.chains[h.agreed] = chain
}

// mostBlank reports whether most of those who vote first have nothing on their disks:
// then another history may begin whatever the rest, who may be away, have on theirs.
func (w *World) mostBlank() bool {
	first, blank := consensus.FirstVoters(len(w.hosts)), 0
	for _, i := range first {
		if !w.hosts[i].log.has {
			blank++
		}
	}
	return 2*blank > len(first)
}

// onTell hears what an instance says of the others and of itself.
func (w *World) onTell(h *host, r *core.Report) {
	if w.opt.tell != nil {
		w.opt.tell(w, h, r)
	}
	if h.liar != nil {
		return
	}
	w.checkLied(h, r)
	switch r.Kind {
	case core.Died, core.Unreached:
		w.remember(h, r, false)
		if w.honest(r.Subject) {
			w.checkDeath(h, r)
		}
	case core.Returned:
		w.remember(h, r, true)
	case core.Joined:
		if r.Incarnation <= h.inc {
			w.fail("H2", "s%d joins as incarnation %d, and was %d before", h.index, r.Incarnation, h.inc)
		}
		h.inc = r.Incarnation
		h.joins++
		h.joined = w.now
	case core.LinkUp:
		w.checkLink(h, &w.hosts[r.Subject])
	case core.Anchored, core.Unanchored:
		h.says, h.holds = r.Kind == core.Anchored, false
	case core.Dropped:
		if w.rail.firm && w.untroubled(w.now) {
			w.fail("P5", "s%d drops a particle, and stations alone have held the last", h.index)
		}
		if w.now < w.watch.forming {
			w.watch.early = len(w.everybody()) > w.seenBy(h)
			w.watch.dropped = w.now
		}
	case core.HistoryBegun:
		w.checkBeside(h)
		w.watch.lost = w.watch.lost || len(w.watch.ticks) > 0 && !w.opt.memory() && w.mostBlank()
	case core.CutOff:
		h.cutOff = true
		w.checkCutOff(h)
	case core.Whole:
		h.cutOff = false
	case core.Damped:
		if r.Subject == int(h.index) {
			w.expectExile(h)
		}
	}
}

// expectExile is H5 for one that has to wait for its return: it says that it is cut off, for
// as long as it has to. Where instances sign, those whom it is linked with next may know of
// nothing, and one alone holds nobody down.
func (w *World) expectExile(h *host) {
	life := h.life
	w.expect(w.now+ms, func() {
		if h.core == nil || h.life != life {
			return
		}
		v, held := h.core.Head(), !h.core.Row(int(h.index)).Damped.IsZero()
		if held && !v.Joined && !v.CutOff {
			w.fail("H5", "s%d waits for its return, and does not say that it is cut off", h.index)
		}
	})
}

// seenBy counts those alive in the view of h.
func (w *World) seenBy(h *host) int {
	n := 0
	for i := range w.hosts {
		if h.core.Row(i).State == alive {
			n++
		}
	}
	return n
}

// remember keeps deaths and returns for those who look back at an action; what
// is told while the ring forms is nothing but returns.
func (w *World) remember(h *host, r *core.Report, back bool) {
	if w.watch.formed {
		w.watch.news = append(w.watch.news, death{w.now, uint16(h.index), uint16(r.Subject), back})
	}
}

// checkLink is R1: only equal rosters link. A process that was replaced a
// moment ago may have been the one that greeted; and longer ago, if h was not
// running since to read it.
func (w *World) checkLink(h, peer *host) {
	if peer.core == nil || h.odd == peer.odd || w.now-peer.born < second || w.now-h.born < second ||
		h.rough.within(peer.born) || h.starve.within(peer.born) {
		return
	}
	w.fail("R1", "s%d is linked with s%d, whose roster is another", h.index, peer.index)
}

// checkDeath is H2 and H4: an instance whose host had nothing the matter but
// slowness, loss or one bad link must not be taken for dead by one like it.
func (w *World) checkDeath(by *host, r *core.Report) {
	x := &w.hosts[r.Subject]
	since := w.now - w.timing.forgive()
	if !w.watch.formed || x.core == nil || x.odd || by.odd || x.retired ||
		w.now < w.watch.forming || x.rough.within(since) || x.starve.within(since) ||
		by.rough.within(since) {
		return
	}
	if by.starve.within(since) && x.core.Row(int(by.index)).State != alive {
		return // x has hung up on it, rightly
	}
	if own := x.core.Row(int(x.index)).Incarnation; len(r.By) == 1 &&
		r.By[0] == r.Subject && r.Incarnation < own {
		return // by its own word: the process before this one, which is dead
	}
	d := w.disturbed(x.index, since)
	if !by.core.Head().Joined || !x.core.Head().Joined {
		return // out of the ring: their return is held down
	}
	cut := x.badcut.within(since)
	d += w.cutLinks(x.index, since)
	if cut {
		d += w.starved(x.index, since)
	}
	enough := len(w.overlay.Neighbours(int(x.index)))
	if enough == 3 {
		enough = 2 // of three observers two are the mark
	}
	if d > w.excused(x.index) || x.mild.within(since) && d+1 >= enough {
		return // where one observer more is enough, one lost packet too many can be a verdict
	}
	if cut {
		w.fail("H4", "s%d takes s%d for dead, which has a bad link and nothing else (%s)",
			by.index, x.index, reportText(r))
		return
	}
	w.fail("H2", "s%d takes s%d for dead, which lives and is reached (%s)", by.index, x.index,
		reportText(r))
}

// disturbed counts those who may be wrong about x for reasons of their own.
func (w *World) disturbed(x int32, since int64) int {
	d := 0
	if len(w.hosts) <= 12 || w.opt.rolls > 0 {
		for i := range w.hosts {
			h := &w.hosts[i]
			out := h.core != nil && !h.core.Head().Joined // its return is held down
			if int32(i) != x && (h.rough.within(since) || out) {
				d++
			}
		}
		return d
	}
	for _, i := range w.overlay.Neighbours(int(x)) {
		if w.hosts[i].rough.within(since) {
			d++
		}
	}
	return d
}

// cutLinks counts the cut links that make somebody wrong about x, or make those
// doubted who could speak for it.
func (w *World) cutLinks(x int32, since int64) int {
	d := 0
	for i := range w.script {
		a := &w.script[i]
		if a.Fault != Cut && a.Fault != Part || int64(a.At) > w.now || int64(a.over()) < since {
			continue
		}
		if len(w.hosts) <= 12 || w.opt.rolls > 0 || a.A == int(x) || a.B == int(x) || w.linked(a.A, int(x)) ||
			w.linked(a.B, int(x)) {
			d++
		}
	}
	return d
}

// starved counts those who, rightly accused, may not speak for x.
func (w *World) starved(x int32, since int64) int {
	d := 0
	for i := range w.hosts {
		if int32(i) != x && w.hosts[i].starve.within(since) {
			d++
		}
	}
	return d
}

// excused is how many of x's observers may be wrong before x may suffer.
func (w *World) excused(x int32) int {
	observers := len(w.overlay.Neighbours(int(x)))
	if observers < 2 {
		return 0
	}
	return max(1, (observers-1)/2)
}

// checkCutOff is the other side of H5: who is not cut off must not say so.
func (w *World) checkCutOff(h *host) {
	since := w.now - w.timing.forgive()
	if !w.watch.formed || h.odd || h.rough.within(since) || h.starve.within(since) ||
		h.badcut.within(since) {
		return
	}
	voters := h.core.BusView().Voters
	rough, all := 0, 0
	for _, v := range voters {
		if !v.Votes {
			continue
		}
		all++
		k := &w.hosts[v.ID.Index()]
		if v.Leaves || k.core == nil || k.odd || !k.core.Head().Joined || k.starve.within(since) ||
			k.rough.within(since) || k.badcut.within(since) {
			rough++
		}
	}
	if 2*(all-rough) > all+2 {
		w.fail("H5", "s%d calls itself cut off with %d of %d voters around it", h.index, all-rough, all)
	}
}

// begin notes whom an action troubles, and how much.
func (c *watch) begin(w *World, i int) {
	a := &w.script[i]
	c.victims = c.victims[:0]
	for _, x := range a.touches() {
		if h := &w.hosts[x]; c.formed && h.core != nil && h.core.Head().Joined {
			c.victims = append(c.victims, x)
		}
	}
	for _, h := range w.troubled(a) {
		w.kindOf(a, h).begin()
		if a.Fault == Reset || a.For == 0 {
			w.kindOf(a, h).until = w.now
			if a.Fault == Reset {
				w.kindOf(a, h).end(w.now)
			}
		}
	}
}

func (c *watch) ended(w *World, i int) {
	a := &w.script[i]
	for _, h := range w.troubled(a) {
		w.kindOf(a, h).end(w.now)
	}
}

// troubled lists the hosts an action is counted against.
func (w *World) troubled(a *Action) []*host {
	set := a.touches()
	var out []*host
	if set == nil || a.Fault == Partition {
		for i := range w.hosts {
			out = append(out, &w.hosts[i])
		}
		return out
	}
	for _, i := range set {
		out = append(out, &w.hosts[i])
	}
	return out
}

func (w *World) kindOf(a *Action, h *host) *trouble {
	switch a.Fault {
	case Hiccup, Slow, Reset, Loss, Lossy, Delay:
		return &h.mild
	case Starve:
		return &h.starve
	case Cut, Part:
		return &h.badcut
	}
	return &h.rough
}

// fail ends the run with what it broke; the first failure counts.
func (w *World) fail(invariant, format string, args ...any) {
	if w.failure != nil || w.bad >= 0 && invariant == "B1" { // what is broadcast is not signed
		return
	}
	w.failure = &Failure{
		Invariant: invariant, Seed: w.seed, AtMillis: float64(w.now) / 1e6,
		Text: fmt.Sprintf(format, args...),
	}
	w.say(nil, "FAILED %s: %s", invariant, w.failure.Text)
}
