// Package particle is the token's life at one stop: what is let pass, how long
// it rests, when a copy is sent again, when a lost one is replaced.
//
//	arrive ──► guard ──► rest ──► leave ──► next stop
//	             │                  │
//	         destroyed          a copy stays: if the next stop dies with the
//	    (a later one passed)    particle, the copy goes to the one after it
//
// The first lap of an epoch does not rest.
//
// Sending a copy is always safe: the stop that had let the particle pass
// destroys the copy. So a death costs a re-send, and a new epoch is dropped
// only when every copy was lost too.
//
// Here every stop is detached: no quorum stamps the laps, and of two particles
// the one with the greater (counter, dropper, lap) survives.
package particle

import (
	"time"

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
	last  wire.Particle // the newest let pass
	has   bool
	at    time.Time     // when it came, or when waiting for one began
	lap   time.Duration // smoothed lap time with rests, 0 unknown
	drops int           // particles dropped here since one last came round
	held  uint64        // HeldUS at the pass before

	fresh   bool // last was the first of its epoch here
	resting bool
	rests   time.Duration // how long last rests here
	release time.Time
	sent    bool // last has left; a copy is all we hold
	resends int
	resend  time.Time

	top   wire.Epoch // highest epoch heard of, passed or not
	alive int
	rank  int // instances alive with a smaller index: they replace a lost one first
}

// New returns the particle core of a stop that has seen none.
func New(cfg Config, top wire.Epoch) *Core {
	return &Core{cfg: cfg, top: top, alive: 1}
}

// Pass is what Arrive tells of a particle that was let pass.
type Pass struct {
	Lap  uint64
	Took time.Duration // since the pass before, 0 for the first of an epoch
	Held time.Duration
}

// Begin starts the wait for a particle; before it none is replaced.
func (c *Core) Begin(now time.Time) { c.at = now }

// SetPace changes the rest at this stop from the next arrival on.
func (c *Core) SetPace(hold time.Duration, fast bool) { c.cfg.Hold, c.cfg.Fast = hold, fast }

// SetRing tells how many instances live and how many of them come before this
// one in the roster.
func (c *Core) SetRing(alive, rank int) { c.alive, c.rank = alive, rank }

// Heard notes an epoch that somebody has seen.
func (c *Core) Heard(e wire.Epoch) {
	if e.Compare(c.top) > 0 {
		c.top = e
	}
}

// Last is the newest particle let pass; ok is false before the first.
func (c *Core) Last() (p wire.Particle, ok bool) { return c.last, c.has }

// Top is the highest epoch heard of.
func (c *Core) Top() wire.Epoch { return c.top }

// Resting reports whether the particle is here.
func (c *Core) Resting() bool { return c.resting }

// Sent reports whether the newest particle has left for the next stop.
func (c *Core) Sent() bool { return c.sent }

// Arrive offers p to the guard: it passes only if its (epoch, lap) is strictly
// greater than the last that passed.
func (c *Core) Arrive(now time.Time, p *wire.Particle) (Pass, bool) {
	if c.has {
		switch d := p.Epoch.Compare(c.last.Epoch); {
		case d < 0, d == 0 && p.Lap <= c.last.Lap:
			return Pass{}, false
		}
	}
	pass := Pass{Lap: p.Lap}
	if c.has && p.Lap == c.last.Lap+1 && p.Epoch == c.last.Epoch {
		pass.Took = now.Sub(c.at)
		pass.Held = time.Duration(p.HeldUS-c.held) * time.Microsecond
		if !c.fresh { // a lap without rests says nothing about the laps to come
			c.learn(pass.Took)
		}
	}
	c.held = p.HeldUS
	c.take(now, p)
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
// that a new one shows itself to everybody at once; only a declared rest is kept.
func (c *Core) take(now time.Time, p *wire.Particle) {
	c.fresh = !c.has || p.Epoch != c.last.Epoch
	c.last, c.has, c.at = *p, true, now
	c.Heard(p.Epoch)
	c.sent, c.resends = false, 0
	c.resting = true
	c.rests = c.rest()
	if c.fresh && c.cfg.Hold == 0 && c.alive > 1 {
		c.rests = 0
	}
	c.release = now.Add(c.rests)
	c.resend = now.Add(c.rests + c.expect() + c.expect()/2 + 50*time.Millisecond)
}

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
// if the hop wraps round the roster. half is half the round trip to next,
// 0 while unknown. The caller has made sure that it is Due, or lets it go early.
func (c *Core) Depart(now time.Time, next int, half time.Duration) wire.Particle {
	if c.resting {
		c.resting, c.sent = false, true
		c.last.HeldUS += uint64(c.rests / time.Microsecond)
		if c.top.Compare(c.last.Epoch) > 0 {
			// Somebody who joined has seen a higher one: the circulating
			// particle takes its place and keeps counting.
			c.last.Epoch = wire.Epoch{Counter: c.top.Counter + 1, Dropper: uint32(c.cfg.Self)}
			c.Heard(c.last.Epoch)
		}
		if us := uint32(min(half/time.Microsecond, 1<<32-1)); us > c.last.SlowUS {
			c.last.SlowUS, c.last.SlowStop = us, uint32(c.cfg.Self)
		}
	}
	p := c.last
	if next <= c.cfg.Self {
		p.Lap++
		p.WasUS, p.WasStop = p.SlowUS, p.SlowStop
		p.SlowUS, p.SlowStop = 0, 0
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

// lossAt is when this stop replaces the particle. Smaller indexes go first, a
// quarter of the floor apart, so that as a rule one does it.
func (c *Core) lossAt() time.Time {
	wait, turn := c.cfg.Loss, c.cfg.Loss/4
	if c.has {
		// Twice as long after each one that did not come round: others may rest
		// for longer than we know, and must not lose every particle to us.
		wait = (wait + 3*c.expect()) << min(c.drops, 8)
	} else { // the first one still has to come by those before us
		turn += c.rest()
	}
	return c.at.Add(wait + time.Duration(c.rank)*turn)
}

// Lost reports whether no particle passed for so long that this stop must drop
// a new one.
func (c *Core) Lost(now time.Time) bool { return !c.resting && !now.Before(c.lossAt()) }

// Drop replaces a lost particle: a new epoch above all heard of, and the lap
// after the last one that passed here.
func (c *Core) Drop(now time.Time) wire.Particle {
	p := wire.Particle{
		Epoch:  wire.Epoch{Counter: c.top.Counter + 1, Dropper: uint32(c.cfg.Self)},
		Lap:    c.last.Lap + 1,
		HeldUS: c.last.HeldUS,
	}
	c.drops++
	c.take(now, &p)
	return p
}

// Shift moves every deadline: time in which this process did not run does not
// count.
func (c *Core) Shift(d time.Duration) {
	c.at, c.resend = c.at.Add(d), c.resend.Add(d)
}

// Deadline is when Due, ResendDue or Lost may next become true.
func (c *Core) Deadline() time.Time {
	if c.resting {
		return c.release
	}
	if d := c.lossAt(); !c.sent || d.Before(c.resend) {
		return d
	}
	return c.resend
}
