package core

import (
	"testing"
	"time"
)

// reserver is an instance alone at full speed, and what its disk has.
type reserver struct {
	t     *testing.T
	core  *Core
	now   time.Time
	disk  uint64 // the ceiling on it
	asked uint64 // the one of the Reserve on its way, 0 for none
	saves int
	ticks int
}

// newReserver is one whose disk answered at once until its pace was known.
func newReserver(t *testing.T) *reserver {
	l := newLAN(t, 1)
	l.run(3 * time.Second)
	r := &reserver{t: t, core: l.hosts[0].core, now: l.now}
	r.disk = r.core.saved.Ceiling
	r.step(Event{Kind: Reserved, Seq: r.disk})
	r.step(Event{Kind: SetPace, Fast: true})
	for end := r.now.Add(7 * time.Second); r.now.Before(end); {
		if r.next(); r.asked > 0 {
			r.write()
			r.acknowledge(r.disk)
		}
	}
	return r
}

func (r *reserver) step(ev Event) {
	for _, fx := range r.core.Step(r.now, ev) {
		switch fx.Kind {
		case Save:
			r.disk = fx.Saved.Ceiling
			r.saves++
		case Reserve:
			if r.asked > 0 {
				r.t.Errorf("reserves below %d, and %d is on its way", fx.Saved.Ceiling, r.asked)
			}
			r.asked = fx.Saved.Ceiling
		case Passed:
			r.ticks++
			if fx.Tick.Anchored && fx.Tick.Tick >= r.disk {
				r.t.Errorf("counts tick %d, and those below %d are on disk", fx.Tick.Tick, r.disk)
			}
		}
	}
}

// next lets the particle come round.
func (r *reserver) next() {
	r.now = r.core.Deadline()
	r.step(Event{Kind: Timer})
}

// write has the disk keep what it was asked for last.
func (r *reserver) write() { r.disk = r.asked }

// acknowledge tells of it.
func (r *reserver) acknowledge(ceiling uint64) {
	r.asked = 0
	r.step(Event{Kind: Reserved, Seq: ceiling})
}

// What is on disk is told late, after the particle stood still and a slower pace
// wants less: the next reservation must not be taken for there.
func TestP3LateReservation(t *testing.T) {
	r := newReserver(t)
	for r.asked == 0 {
		r.next()
	}
	r.write()
	late := r.disk
	r.now = r.now.Add(time.Minute)
	r.step(Event{Kind: Timer})
	for range 3 {
		r.next()
	}
	r.acknowledge(late)
	for range 1000 {
		r.next() // the disk has stopped: at the ceiling, the particle waits for a Save
	}
	if r.ticks < 1000 {
		t.Errorf("%d passes", r.ticks)
	}
}

func TestP3NoSyncHoldsTheParticleAtFullSpeed(t *testing.T) {
	r := newReserver(t)
	saves, ticks := r.saves, r.ticks
	for end := r.now.Add(20 * time.Second); r.now.Before(end); {
		if r.next(); r.asked > 0 {
			r.write()
			r.acknowledge(r.disk)
		}
	}
	if r.saves != saves || r.ticks-ticks < 1000 {
		t.Errorf("%d saves in %d passes", r.saves-saves, r.ticks-ticks)
	}
}

func TestReservationThatNeverEndsStopsNothing(t *testing.T) {
	r := newReserver(t)
	for r.asked == 0 {
		r.next()
	}
	saves, ticks := r.saves, r.ticks
	for end := r.now.Add(20 * time.Second); r.now.Before(end); {
		r.next()
	}
	if r.saves == saves || r.ticks-ticks < 1000 {
		t.Errorf("%d saves in %d passes", r.saves-saves, r.ticks-ticks)
	}
}
