package ringtest

import (
	"time"

	"ringofservers.dev/ring/internal/core"
)

// Times of a flapping instance, as the issue has them.
const (
	flapStop = 2 * second
	flapRun  = 1 * second
)

// begin lets the fault of an action begin and plans its end.
func (w *World) begin(i int) {
	a := &w.script[i]
	w.say(nil, "fault: %v", a)
	w.active[i] = true
	w.watch.begin(w, i)
	if a.For > 0 {
		w.agenda.push(w.now+int64(a.For), atEnd, int32(i), 0)
	}
	if a.Fault == Reset {
		w.active[i] = false
	}
	w.turn(a, +1)
	if a.Fault == Flap {
		w.flap(i)
	}
	w.watch.begun(w, i)
}

// end lets it end.
func (w *World) end(i int) {
	a := &w.script[i]
	w.say(nil, "mended: %v", a)
	w.active[i] = false
	w.turn(a, -1)
	w.watch.ended(w, i)
}

// turn is the fault itself: by is +1 when it begins, -1 when it ends.
func (w *World) turn(a *Action, by int) {
	h := &w.hosts[a.A]
	switch a.Fault {
	case Crash, Blank, Torn, Power, Odd, Depart:
		w.down(a, h, by)
	case Third:
		for _, i := range a.Set {
			w.down(a, &w.hosts[i], by)
		}
	case Restart:
		for i := range w.hosts {
			w.down(a, &w.hosts[i], by)
		}
	case Pause, Hiccup:
		w.halt(h, by)
	case Suspend:
		h.off += by
		w.blocks += by
		if by < 0 && a.B == 1 {
			h.offset -= int64(a.For)
		}
		w.halt(h, by)
	case Slow, Starve, Loss, Lossy, Delay:
		w.grades()
	case Flap:
		if by < 0 && a.stopped {
			a.stopped = false
			w.halt(h, -1)
		}
	default:
		w.turnNet(a, h, by)
	}
}

// grades finds how slow and lossy things are now: of faults that overlap, the
// worst counts.
func (w *World) grades() {
	w.lossAll, w.delay = 0, 0
	for i := range w.hosts {
		w.hosts[i].slow, w.hosts[i].loss = 0, 0
	}
	for i := range w.script {
		a := &w.script[i]
		if !w.active[i] {
			continue
		}
		h := &w.hosts[a.A]
		switch a.Fault {
		case Slow, Starve:
			h.slow = max(h.slow, int64(a.Much))
		case Loss:
			w.lossAll = max(w.lossAll, a.Rate)
		case Lossy:
			h.loss = max(h.loss, a.Rate)
		case Delay:
			w.delay = max(w.delay, int64(a.Much))
		}
	}
}

func (w *World) turnNet(a *Action, h *host, by int) {
	switch a.Fault {
	case Deaf:
		h.deaf += by
		w.blocks += by
	case Mute:
		h.mute += by
		w.blocks += by
	case Blackhole:
		h.deaf += by
		h.mute += by
		w.blocks += by
	case Cut:
		w.cut(pair{int32(a.A), int32(a.B)}, by)
	case Part:
		w.cut(pair{int32(a.A), int32(a.B)}, by)
		w.cut(pair{int32(a.B), int32(a.A)}, by)
	case Partition:
		w.blocks += by
		if by > 0 {
			w.parting++
		}
		for i := range w.hosts {
			w.hosts[i].group = 0
		}
		if by > 0 {
			for _, i := range a.Set {
				w.hosts[i].group = w.parting
			}
			w.checkMinority(a)
			return
		}
		for i := range w.hosts {
			w.hosts[i].minor = minority{}
		}
	case Reset:
		w.resetLinks(int32(a.A), int32(a.B))
	}
}

func (w *World) cut(p pair, by int) {
	w.blocks += by
	w.cuts[p] += by
	if w.cuts[p] == 0 {
		delete(w.cuts, p)
	}
}

// resetLinks breaks all links between two instances, at both ends.
func (w *World) resetLinks(a, b int32) {
	for i := range w.links {
		l := &w.links[i]
		if !l.used || min(l.end[0].host, l.end[1].host) != min(a, b) ||
			max(l.end[0].host, l.end[1].host) != max(a, b) {
			continue
		}
		w.breakEnd(int32(2 * i))
		if w.links[i].used {
			w.breakEnd(int32(2*i + 1))
		}
	}
}

// down takes a process away, and lets a new one start once no fault holds it.
func (w *World) down(a *Action, h *host, by int) {
	h.held += by
	if a.Fault == Power {
		h.off += by
		w.blocks += by
	}
	if a.Fault == Odd {
		w.swapRoster(h, by)
		return
	}
	if by < 0 {
		if a.Fault == Depart && h.held == 0 {
			w.kill(h, false) // it did not get to say goodbye in time
		}
		w.boot(h)
		return
	}
	if a.Fault == Depart && h.core != nil && h.stop == 0 {
		w.step(h, core.Event{Kind: core.Leave})
		return
	}
	w.kill(h, a.Fault == Power)
	switch {
	case a.Fault == Torn && a.B == 0:
		h.disk, h.tick, h.inc = h.older, 0, 0 // a disk that forgets what it had synced
	case a.Fault == Blank, a.Fault == Torn:
		h.disk, h.older, h.tick, h.inc = core.Saved{}, core.Saved{}, 0, 0
		h.kept, h.keptEra = nil, 0
	}
	if a.Fault == Blank {
		h.log = logDisk{}
	}
}

// swapRoster starts h again with the other roster, or with the right one.
func (w *World) swapRoster(h *host, by int) {
	h.held -= by // it is not kept down
	w.kill(h, false)
	h.odd = by > 0
	w.boot(h)
}

// halt stops a process or lets it go on.
func (w *World) halt(h *host, by int) {
	h.stop += by
	if by < 0 && h.stop == 0 && h.core != nil {
		w.planWake(h)
	}
}

// flap stops or continues a flapping process, and plans the next change.
func (w *World) flap(i int) {
	a := &w.script[i]
	if !w.active[i] {
		return
	}
	h := &w.hosts[a.A]
	a.stopped = !a.stopped
	if a.stopped {
		w.halt(h, +1)
		w.agenda.push(w.now+flapStop, atFlap, int32(i), 0)
	} else {
		w.halt(h, -1)
		w.agenda.push(w.now+flapRun, atFlap, int32(i), 0)
	}
}

// over is when the action has ended; when it began, if it is for good.
func (a Action) over() time.Duration { return a.At + a.For }
