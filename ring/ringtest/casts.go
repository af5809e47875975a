package ringtest

import (
	"fmt"
	"hash/fnv"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// criers is how many hosts send messages to all.
const criers = 3

// newest is what a process was given, or told that it missed, of each origin.
type newest map[uint32]had

// had is the newest message of an origin at a process, and the first since when it has
// missed none: from there on it keeps all.
type had struct {
	wire.CastID
	first uint64
}

// lives are the newest processes of each origin, of those that have sent anything.
type lives map[uint32]uint64

func (l lives) heard(id wire.CastID) { l[id.Origin] = max(l[id.Origin], id.Life) }

// keep is how many bytes of messages the hosts keep: in every other world so few that
// who was away for some seconds misses what nobody has any more; else the default, as always
// where it is measured what broadcasts take.
func (w *World) keep() int {
	if d := dice(mix(w.seed, forCast, 1<<32)); w.meter != nil || d.below(2) == 0 {
		return 0
	}
	return 24 << 10
}

// planCasts has some hosts send messages now and then, until the last fault is over.
func (w *World) planCasts() {
	w.planTurns(criers, forCast, atCry)
}

// planTurns has so many begin to take turns.
func (w *World) planTurns(many int, purpose uint64, what kind) {
	for i := range many {
		d := dice(mix(w.seed, purpose, uint64(i)))
		w.agenda.push(second+d.below(second), what, int32(i), 0)
	}
}

// turnOf is the chance in a turn of the i-th of so many, and the host that it falls to.
func (w *World) turnOf(i int32, many int, purpose uint64, turn uint32) (dice, *host) {
	d := dice(mix(w.seed, purpose, uint64(i), uint64(turn)))
	return d, &w.hosts[(int(i)*len(w.hosts)/many+int(d.below(2)))%len(w.hosts)]
}

// cry is the turn of one of them.
func (w *World) cry(i int32, turn uint32) {
	if w.hushed {
		return
	}
	d, h := w.turnOf(i, criers, forCast, turn)
	if h.core != nil && !h.odd {
		payload := d.bytes(d.below(3 << 10))
		m := &wire.Cast{Topic: "t", Payload: payload, Question: w.question(&d)}
		w.input(h.index, input{kind: core.Publish, cast: m})
	}
	w.agenda.push(w.now+20*ms+d.below(second), atCry, i, turn+1)
}

// onCast is B1: each message once, those of one origin in order, and as it was sent.
func (w *World) onCast(h *host, m *wire.Cast) {
	sum := sumOf(m.Topic, m.Payload)
	if was, ok := w.watch.casts[m.CastID]; ok && was != sum {
		w.fail("B1", "s%d is given %v, which is another message elsewhere", h.index, m.CastID)
	} else if !ok && m.Origin != uint32(h.index) {
		w.fail("B1", "s%d is given %v, which nobody has sent", h.index, m.CastID)
	}
	w.watch.casts[m.CastID] = sum
	last := h.newest[m.Origin]
	if m.Life < last.Life || m.Life == last.Life && m.Seq != last.Seq+1 || m.Life > last.Life && m.Seq != 1 {
		w.fail("B1", "s%d is given %v after %v", h.index, m.CastID, last.CastID)
	}
	if m.Life > last.Life {
		last.first = 1
	}
	h.newest[m.Origin] = had{m.CastID, last.first}
	w.watch.lives.heard(m.CastID) // the core repeats questions on its own
	if w.meter != nil {
		w.meter.given(w, h.index, m)
	}
}

// sumOf is a hash of what is sent.
func sumOf(topic string, payload []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(topic))
	_, _ = sum.Write(payload)
	return sum.Sum64()
}

// onMissed is that a host is told of messages it will not get.
func (w *World) onMissed(h *host, r wire.CastRange) {
	last := h.newest[r.Origin]
	if r.Life < last.Life || r.To < r.From || r.Life == last.Life && r.From != last.Seq+1 ||
		r.Life > last.Life && r.From != 1 {
		w.fail("B1", "s%d is told that it missed %v after %v", h.index, r, last.CastID)
	}
	h.newest[r.Origin] = had{wire.CastID{Origin: r.Origin, Life: r.Life, Seq: r.To}, r.To + 1}
	w.checkMissed(h, r)
}

// checkMissed is the half of B1 that is catching up: nobody is told that it missed what
// another has kept and would have given it. It says so only where nothing that is sent
// grows too old to be kept, of lives that go on, and of two who had nothing the matter.
func (w *World) checkMissed(h *host, r wire.CastRange) {
	if w.keep() > 0 || r.Life < w.watch.lives[r.Origin] || !w.hears(h) {
		return
	}
	for i := range w.hosts {
		k := &w.hosts[i]
		has := k.newest[r.Origin]
		if k != h && k.core != nil && w.hears(k) && has.Life == r.Life && has.first <= r.From &&
			has.Seq >= r.To {
			w.fail("B1", "s%d is told that it missed %v, which s%d keeps", h.index, r, i)
		}
	}
}

// hears reports whether the process on h had nothing the matter, of late.
func (w *World) hears(h *host) bool {
	since := max(h.born+1, w.now-w.timing.forgive())
	return !h.odd && !h.rough.within(since) && !h.starve.within(since) && !h.badcut.within(since)
}

// castsLevel is the end of it: all have the same of each origin. What is not so yet.
func (w *World) castsLevel(set []int32) string {
	for o := range uint32(len(w.hosts)) {
		a := w.hosts[set[0]].newest[o]
		for _, i := range set[1:] {
			if b := w.hosts[i].newest[o]; a.CastID != b.CastID {
				return fmt.Sprintf("of s%d the newest is %v at s%d and %v at s%d", o, a.CastID, set[0],
					b.CastID, i)
			}
		}
	}
	return ""
}
