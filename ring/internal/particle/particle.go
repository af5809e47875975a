// Package particle is the token's life at one stop: what is let pass, whether
// its lap counts, how long it rests, when a copy is sent again, when a lost one
// is replaced.
//
//	arrive ──► guard ──► stamp ──► rest ──► leave ──► next stop
//	             │                            │
//	         destroyed                    a copy stays: if the next stop dies
//	    (a later one passed)              with the particle, the copy goes on
//
// There are two kinds. One that the bus dropped (its epoch is a Number) is alone
// of its epoch in the whole fleet, wherever it is; voters stamp it as it passes,
// and a lap after one that a quorum stamped is a tick. One that was dropped where
// no quorum could agree (its epoch has a Counter) spins as well, and counts
// nothing. A stop is attached while the fleet can agree and a particle of the
// bus has passed it since: then it destroys every other. So a part that was cut
// off and comes back kills nobody's particle.
//
// The first lap of an epoch does not rest.
//
// Sending a copy is always safe: the stop that had let the particle pass
// destroys the copy. So a death costs a re-send, and a new epoch is dropped only
// when every copy was lost too.
package particle

import (
	"math"
	"time"

	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// fastFloor is the lap time of a ring of one that may not rest: without it the
// only stop would do nothing else.
const fastFloor = time.Millisecond

// Config is the pace of one stop.
type Config struct {
	Self int
	Hold time.Duration // declared rest at this stop; 0: an even share of Lap
	Fast bool          // no rest
	Lap  time.Duration // of a resting particle
	Loss time.Duration // floor of the time after which a lost one is replaced
}

// Core is the particle as one stop sees it. It is not safe for concurrent use.
type Core struct {
	cfg   Config
	bus   Bus
	last  wire.Particle // the newest let pass
	has   bool
	at    time.Time     // when it came, or when waiting for one began
	busAt time.Time     // the same for one of the bus's newest epoch
	cntAt time.Time     // when a lap last counted here, or waiting for that began
	asked time.Time     // when the bus was asked for one
	vain  int           // how often, since a lap last counted
	round bool          // a detached one has gone round since busAt: there is none of the bus
	lap   time.Duration // smoothed lap time with rests, 0 unknown
	drops int           // particles dropped here since one last came round
	held  uint64        // HeldUS at the pass before
	tick  uint64        // the newest that was counted here

	// Ticks below floor may have passed a process before this one, and are neither
	// stamped nor counted again; those from ceiling on have not passed this one.
	floor, ceiling uint64
	wants          uint64    // a higher ceiling, before it is needed; 0 for none
	paceAt         time.Time // since when ticks are counted from paceTick on, for how many to reserve
	paceTick       uint64
	paceOf         uint64 // the epoch of which they are
	paceWas        uint64 // what came of that the last time

	// The guard. Of a particle of the bus (number, buslap) is the newest let
	// pass; of the others det is, if it is the newer of the two.
	number, buslap uint64
	epochs         [4]agreed // the newest that are known
	det            wire.Particle
	hasDet         bool
	attached       bool

	fresh   bool // last is of an epoch that is new here, and of which no lap has counted
	early   int  // for how many more laps it may count as that
	hurried bool // last has not rested here as long as others do
	resting bool
	stays   bool          // something holds it beyond that
	rests   time.Duration // how long last rests here
	release time.Time
	sent    bool // last has left; a copy is all we hold
	resends int
	resend  time.Time

	roster uint64 // the version of the roster that this stop goes by
	shown  uint64 // the newest of which a whole lap has shown that no stop has an older

	top   wire.Epoch // highest Number and highest Counter heard of, passed or not
	alive int
	rank  int // instances alive with a smaller index: they replace a lost one first
}

// idleLaps is how many laps may go by uncounted, while the fleet can agree, until
// its leader has the particle replaced.
const idleLaps = 8

// New returns the particle core of a stop of which the disk says that no epoch
// above top has passed it, and no tick from ceiling on.
func New(cfg Config, top wire.Epoch, ceiling uint64) *Core {
	return &Core{cfg: cfg, top: top, number: top.Number, floor: ceiling, ceiling: ceiling, alive: 1}
}

// Pass is what Arrive tells of a particle that was let pass.
type Pass struct {
	Lap      uint64
	Took     time.Duration // since the pass before, 0 for the first of an epoch
	Held     time.Duration
	Skew     time.Duration // since this lap began
	Tick     uint64        // newest counted here: of this lap if Anchored
	Anchored bool
	Skipped  uint64 // ticks between the newest counted before and this one
}

// Begin starts the wait for a particle; before it none is replaced.
func (c *Core) Begin(now time.Time) { c.at, c.busAt, c.cntAt = now, now, now }

// SetPace changes the rest at this stop from the next arrival on.
func (c *Core) SetPace(hold time.Duration, fast bool) { c.cfg.Hold, c.cfg.Fast = hold, fast }

// SetRing tells how many instances live and how many of them come before this
// one in the roster.
func (c *Core) SetRing(alive, rank int) {
	if alive < c.alive { // whoever let no particle come round may be gone
		c.drops, c.vain = min(c.drops, 1), min(c.vain, 1)
	}
	c.alive, c.rank = alive, rank
	if at := c.at.Add(c.rest()); c.resting && !c.stays && at.Before(c.release) { // the shares are smaller now
		c.release, c.rests = at, c.rest()
	}
}

// SetRoster tells by which version of the roster this stop goes from now on.
func (c *Core) SetRoster(version uint64) { c.roster = version }

// Behind reports whether some stop knows of what was agreed on and this one does not: a
// newer version of the roster, or ticks that are reserved, without which a lap that counts
// elsewhere does not count here.
func (c *Core) Behind() bool {
	p := &c.last
	return c.has && (p.Roster.Version > c.roster || p.Anchored && !p.Epoch.Detached() && !c.reserved(p))
}

// Shown is the newest version of the roster that all stops are known to have, or a later one.
func (c *Core) Shown() uint64 { return c.shown }

// mark has the particle say which versions of the roster there are, until all know that
// all have the newest.
func (c *Core) mark() {
	m := &c.last.Roster
	c.shown = max(c.shown, min(m.Was, c.roster))
	switch {
	case m.Version > 0:
		m.Version, m.Low = max(m.Version, c.roster), min(m.Low, c.roster)
	case c.roster > c.shown && c.roster > 1:
		m.Version = c.roster // Low is 0: what it was on before is not known
	}
}

// Heard notes an epoch that somebody has seen.
func (c *Core) Heard(e wire.Epoch) {
	c.top.Number = max(c.top.Number, e.Number)
	c.top.Counter = max(c.top.Counter, e.Counter)
}

// Here is the newest particle let pass, to be changed while it rests here; nil before the
// first.
func (c *Core) Here() *wire.Particle {
	if !c.has {
		return nil
	}
	return &c.last
}

// Go has the particle, which rests here, leave as soon as a declared rest is over.
func (c *Core) Go(now time.Time) {
	c.hurried = true
	c.rests = now.Sub(c.at)
	if c.cfg.Hold > 0 && !c.cfg.Fast {
		c.rests = max(c.rests, c.cfg.Hold)
	}
	c.release = c.at.Add(c.rests)
}

// Stay has the particle, which rests here, stay until then, when it is Due.
func (c *Core) Stay(until time.Time) {
	c.stays = true
	c.rests, c.release = until.Sub(c.at), until
}

// Stayed is for how long the particle has been here.
func (c *Core) Stayed(now time.Time) time.Duration { return max(now.Sub(c.at), 0) }

// Rest has it leave when it would have if nothing had held it, or now if that is over.
func (c *Core) Rest(now time.Time) {
	c.stays = false
	c.rests = max(now.Sub(c.at), c.usual())
	c.release = c.at.Add(c.rests)
}

// Last is the newest particle let pass; ok is false before the first.
func (c *Core) Last() (p wire.Particle, ok bool) { return c.last, c.has }

// Top is the highest Number and the highest Counter heard of.
func (c *Core) Top() wire.Epoch { return c.top }

// Tick is the newest tick counted at this stop, and whether the lap that is
// running counts.
func (c *Core) Tick() (tick uint64, anchored bool) {
	return c.tick, c.tick > 0 && c.has && c.last.Anchored && c.bus.Anchorable &&
		c.last.Epoch.Number >= c.bus.Refuses
}

// LapTime is that of late, rests included; 0 while unknown.
func (c *Core) LapTime() time.Duration { return c.lap }

// Resting reports whether the particle is here.
func (c *Core) Resting() bool { return c.resting }

// Sent reports whether the newest particle has left for the next stop.
func (c *Core) Sent() bool { return c.sent }

// lets is the guard: p is newer than all of its kind that passed, and of the
// kind that goes before.
func (c *Core) lets(p *wire.Particle) bool {
	if e := c.known(p); e != nil && (e.base != p.Base || p.Base+p.Lap-e.limit < 1<<63 &&
		p.Base+p.Lap-e.limit > beyondLimit) {
		return false // nobody has let go such a one
	}
	if p.Epoch.Detached() {
		if c.attached && c.bus.Anchorable {
			return false
		}
		return !c.hasDet || newer(p, &c.det)
	}
	if p.Epoch.Number < c.number || p.Epoch.Number == c.number && p.Lap <= c.buslap {
		return false
	}
	// Where nothing can be agreed on, one of the bus that nobody counts is no
	// better than one that was dropped here in its place.
	return !c.hasDet || p.Anchored || c.bus.Anchorable && p.Epoch.Number >= c.bus.Number
}

// newer orders particles that no quorum stands behind.
func newer(p, q *wire.Particle) bool {
	switch {
	case p.Epoch.Counter != q.Epoch.Counter:
		return p.Epoch.Counter > q.Epoch.Counter
	case p.Epoch.Dropper != q.Epoch.Dropper:
		return p.Epoch.Dropper > q.Epoch.Dropper
	}
	return p.Lap > q.Lap
}

// Arrive offers p to the guard: it passes only if it is strictly newer than the
// last of its kind that passed.
func (c *Core) Arrive(now time.Time, p *wire.Particle) (Pass, bool) {
	if !c.lets(p) {
		return Pass{}, false
	}
	pass := Pass{Lap: p.Lap, Skew: time.Duration(p.AgeUS) * time.Microsecond}
	if c.has && p.Lap == c.last.Lap+1 && p.Epoch == c.last.Epoch {
		pass.Took = now.Sub(c.at)
		pass.Held = time.Duration(p.HeldUS-c.held) * time.Microsecond
		switch { // a lap without rests says nothing about the laps to come
		case c.fresh:
		case c.hurried || p.Train != nil && (len(p.Train.Riders) > 0 || p.Train.Short != nil):
			c.drops = 0
		default:
			c.learn(pass.Took)
		}
		c.round = p.Epoch.Detached() && c.at.After(c.busAt)
	}
	c.held = p.HeldUS
	c.take(now, p)
	if t := p.Base + p.Lap; p.Anchored && !p.Epoch.Detached() && t > c.tick && t >= c.floor && c.reserved(p) {
		switch {
		case c.tick > 0:
			pass.Skipped = t - c.tick - 1
		case c.floor > 0: // those from the floor on are the least that passed without us
			pass.Skipped = t - c.floor
		}
		c.tick, pass.Anchored = t, true
		c.cntAt, c.vain = now, 0
	}
	pass.Tick = c.tick
	return pass, true
}

// learn takes the time of a lap that came round.
func (c *Core) learn(took time.Duration) {
	if took > c.lap { // somebody rests for longer: believed at once
		c.lap = took
	}
	c.lap += (took - c.lap) / 8
	c.drops = 0
}

// take makes p the particle that is here. The first of an epoch hurries on, so
// that a new one shows itself to everybody at once, and so do those after it until a
// lap counts; only a declared rest is kept.
func (c *Core) take(now time.Time, p *wire.Particle) {
	switch {
	case !c.has || p.Epoch != c.last.Epoch:
		c.early = idleLaps
	case p.Anchored || p.Epoch.Detached():
		c.early = 0
	default:
		c.early = max(c.early-1, 0)
	}
	c.fresh = c.early > 0
	c.last, c.has, c.at = *p, true, now
	c.Heard(p.Epoch)
	if p.Epoch.Detached() {
		c.det, c.hasDet = *p, true
	} else {
		c.number, c.buslap = p.Epoch.Number, p.Lap
		if c.newest() { // an older one spins, but never counts again
			c.busAt, c.round = now, false
		}
		c.hasDet, c.attached = false, c.bus.Anchorable
		c.stamp()
	}
	c.mark()
	c.sent, c.resends = false, 0
	c.resting, c.hurried, c.stays = true, false, false
	c.rests = c.usual()
	c.release = now.Add(c.rests)
	c.resend = now.Add(c.rests + c.expect() + c.expect()/2 + 50*time.Millisecond)
}

// usual is how long the last particle stays here if nothing is the matter.
func (c *Core) usual() time.Duration {
	alone := c.alive == 1 && int(c.last.Epoch.Dropper) == c.cfg.Self
	if c.fresh && c.cfg.Hold == 0 && !alone {
		return 0
	}
	if c.last.Roster.Version > 0 && c.cfg.Hold == 0 && c.alive > 1 {
		return c.rest() / spreading
	}
	return c.rest()
}

// spreading is how many times faster than it need be the particle goes round while not all
// are known to have the newest roster: who waits for that waits for two laps or three.
const spreading = 8

// rest is how long a particle stays here.
func (c *Core) rest() time.Duration {
	switch {
	case c.cfg.Fast && c.alive == 1:
		return fastFloor
	case c.cfg.Fast:
		return 0
	case c.cfg.Hold > 0:
		return c.cfg.Hold
	}
	return c.cfg.Lap / time.Duration(c.alive)
}

// expect is how long a lap should take: as seen, or before that by our own pace
// and the preset's, with a millisecond for each hop.
func (c *Core) expect() time.Duration {
	n := time.Duration(c.alive)
	lap := max(c.lap, n*c.rest())
	if c.lap == 0 && !c.cfg.Fast {
		lap = max(lap, c.cfg.Lap)
	}
	return lap + n*time.Millisecond
}

// Due reports whether the particle is here and its rest is over.
func (c *Core) Due(now time.Time) bool { return c.resting && !now.Before(c.release) }

// Depart returns the particle for the stop next and keeps a copy. The lap rises
// if the hop wraps round the roster, and counts if a quorum stamped the one that
// ends. half is half the round trip to next, 0 while unknown. The caller has
// made sure that it is Due, or lets it go early.
func (c *Core) Depart(now time.Time, next int, half time.Duration) wire.Particle {
	us := min(half/time.Microsecond, 1<<31)
	if c.resting {
		c.resting, c.sent = false, true
		c.last.HeldUS += uint64(c.rests / time.Microsecond)
		if c.last.Epoch.Detached() && c.top.Counter > c.last.Epoch.Counter {
			// Somebody who joined has seen a higher one: the circulating
			// particle takes its place and keeps counting.
			c.last.Epoch = wire.Epoch{
				Number: c.top.Number, Counter: c.top.Counter + 1,
				Dropper: uint32(c.cfg.Self),
			}
			c.Heard(c.last.Epoch)
			c.det = c.last
		}
		if uint32(us) > c.last.SlowUS {
			c.last.SlowUS, c.last.SlowStop = uint32(us), uint32(c.cfg.Self)
		}
	}
	p := c.last
	p.AgeUS = uint32(min(time.Duration(p.AgeUS)+now.Sub(c.at)/time.Microsecond+us, 1<<32-1))
	if next > c.cfg.Self {
		return p
	}
	p.Lap++
	p.AgeUS = uint32(us)
	p.WasUS, p.WasStop = p.SlowUS, p.SlowStop
	p.SlowUS, p.SlowStop = 0, 0
	if m := &p.Roster; m.Version > 0 && m.Was >= m.Version { // all have seen that all have it
		*m = wire.RosterMark{}
	} else if m.Version > 0 {
		m.Was, m.Low = m.Low, math.MaxUint64
	}
	p.Anchored = !p.Epoch.Detached() && p.Voters > 0 && p.Quorum() && p.Base+p.Lap < p.Limit
	for i := range p.Stamps[:p.Voters] {
		p.Stamps[i].Role &^= wire.Stamped
	}
	return p
}

// ResendDue reports whether the copy should be sent again: the particle left
// and has not come round for longer than a lap and a half.
func (c *Core) ResendDue(now time.Time) bool { return c.sent && !now.Before(c.resend) }

// Resent counts a copy sent and doubles the pause until the next.
func (c *Core) Resent(now time.Time) {
	c.resends++
	c.resend = now.Add(c.expect() << min(c.resends, 4))
}

// Resends is how often the copy was sent again on time-out since the particle left.
func (c *Core) Resends() int { return c.resends }

// lossAt is when this stop has the particle replaced; zero for never. Where the
// fleet can agree the leader asks for it, and nobody else. Elsewhere smaller
// indexes go first, a quarter of the floor apart, so that as a rule one does it.
func (c *Core) lossAt() time.Time {
	wait, turn := c.cfg.Loss, c.cfg.Loss/4
	if c.bus.Anchorable {
		switch {
		case !c.bus.Leading:
			return time.Time{}
		case c.bus.Number == 0 || c.top.Number > c.bus.Number || c.round:
			// There was none yet, or somebody has seen a later one elsewhere and
			// lets none of ours pass, or every stop has let a detached one pass.
			wait = 0
		case !c.has: // if there is one it comes within a lap
			wait = (wait + c.expect()) << min(c.drops, 8)
		default:
			wait = (wait + 3*c.expect()) << min(c.drops, 8)
		}
		at := c.busAt.Add(wait)
		// One that spins and never counts, for whatever reason, is as good as lost:
		// a new epoch has ticks that nobody has seen.
		idle := c.cntAt.Add((c.cfg.Loss + idleLaps*c.expect()) << min(c.vain, 8))
		if idle.Before(at) {
			at = idle
		}
		if asked := c.asked.Add(c.cfg.Loss); asked.After(at) {
			at = asked
		}
		return at
	}
	if c.has {
		// Twice as long after each one that did not come round: others may rest
		// for longer than we know, and must not lose every particle to us.
		wait = (wait + 3*c.expect()) << min(c.drops, 8)
	} else { // the first one still has to come by those before us
		turn += c.rest()
	}
	return c.at.Add(wait + time.Duration(c.rank)*turn)
}

// Lost reports whether no particle passed for so long that this stop must see to
// a new one: with Drop, or by the bus where that can agree.
func (c *Core) Lost(now time.Time) bool {
	at := c.lossAt()
	return !at.IsZero() && !now.Before(at) && !c.here()
}

// here reports whether the particle is here, of the kind that is waited for.
func (c *Core) here() bool {
	return c.resting && (!c.bus.Anchorable || c.newest())
}

// newest reports whether the last particle is of the newest epoch that is agreed
// on, or of a later one.
func (c *Core) newest() bool {
	return !c.last.Epoch.Detached() && c.last.Epoch.Number >= c.bus.Number
}

// Drop replaces a lost particle where no quorum can: a counter above all heard
// of, and the lap after the last one that passed here.
func (c *Core) Drop(now time.Time) wire.Particle {
	p := wire.Particle{
		Epoch: wire.Epoch{
			Number: c.top.Number, Counter: c.top.Counter + 1,
			Dropper: uint32(c.cfg.Self),
		},
		Lap:    c.last.Lap + 1,
		HeldUS: c.last.HeldUS,
	}
	c.renew(&p)
	c.drops++
	c.take(now, &p)
	return p
}

// renew puts on a new particle who was on the last that passed here.
func (c *Core) renew(p *wire.Particle) { train.Renew(p, c.Here(), c.cfg.Self) }

// Asked says that the bus was asked for a new particle; it is given time.
func (c *Core) Asked(now time.Time) { c.asked, c.vain = now, c.vain+1 }

// Let lets go the particle that the bus has dropped here. That a quorum has the
// entry, and none had a later one, is as good as its stamps. The Pass is empty where a
// later one has passed here.
func (c *Core) Let(now time.Time, number uint64, lap, base, limit uint64) (wire.Particle, Pass) {
	p := wire.Particle{
		Epoch: wire.Epoch{Number: number, Dropper: uint32(c.cfg.Self)},
		Lap:   lap, Base: base, Limit: limit, HeldUS: c.last.HeldUS, Anchored: base+lap < limit,
	}
	c.renew(&p)
	c.know(number, base, limit)
	pass, _ := c.Arrive(now, &p)
	c.drops++
	return p, pass
}

// Shift moves every deadline: time in which this process did not run does not
// count.
func (c *Core) Shift(d time.Duration) {
	c.at, c.busAt, c.cntAt, c.resend = c.at.Add(d), c.busAt.Add(d), c.cntAt.Add(d), c.resend.Add(d)
}

// Deadline is when Due, ResendDue or Lost may next become true; zero for never.
func (c *Core) Deadline() time.Time {
	var d time.Time
	switch {
	case c.resting:
		d = c.release
	case c.sent:
		d = c.resend
	}
	if loss := c.lossAt(); !loss.IsZero() && !c.here() && (d.IsZero() || loss.Before(d)) {
		d = loss
	}
	return d
}
