package particle

import (
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Bus is what a stop knows of what the fleet has agreed on. The zero Bus knows
// nothing.
type Bus struct {
	Anchorable bool   // somebody leads and most voters live
	Leading    bool   // this instance does
	Number     uint64 // the newest epoch
	Base       uint64 // of it: the tick of a lap is that and the lap
	Strict     bool   // nothing counts of an epoch that is not known here
	Limit      uint64 // the first tick not reserved for it
	Conf       uint64 // the entry that made Voters the voters
	Voters     []wire.Stamp
	Stamps     bool   // this instance is one of them
	Refuses    uint64 // it does not stamp epochs below this one
}

// ceilingAhead is for how long the ticks last that a stop reserves on its disk: each
// reservation costs a sync, and for what is left of it after a restart the stop does
// not count.
const ceilingAhead = 2 * time.Second

// paceLeast is over how long the pace is taken at least: passengers make it fast for some
// laps, which must not reserve as many ticks as if it stayed so.
const paceLeast = ceilingAhead / 8

// Ceiling is the first tick that has neither been counted nor stamped here, nor
// may be before it is on disk.
func (c *Core) Ceiling() uint64 { return c.ceiling }

// Wants is a higher ceiling that will be needed soon; 0 for none.
func (c *Core) Wants() uint64 { return c.wants }

// Reserve raises the ceiling to what is on disk.
func (c *Core) Reserve(ceiling uint64) { c.ceiling = max(c.ceiling, ceiling) }

// SetBus tells what is agreed on. It keeps b.Voters.
func (c *Core) SetBus(now time.Time, b Bus) {
	again := b.Leading && !c.bus.Leading || b.Anchorable && !c.bus.Anchorable
	if again || b.Number > c.bus.Number {
		c.busAt, c.cntAt, c.round = now, now, false // it may be on its way
	}
	if again {
		c.drops, c.vain = 0, 0 // what was lost before says nothing about what comes
	}
	if !b.Anchorable {
		c.attached = false
	}
	c.bus = b
	if b.Number > 0 {
		c.know(b.Number, b.Base, b.Limit)
	}
	if c.has && !c.last.Epoch.Detached() && c.last.Epoch.Number == b.Number {
		c.last.Limit = max(c.last.Limit, b.Limit)
	}
	c.Heard(wire.Epoch{Number: b.Number})
}

// beyondLimit is how many laps may go by uncounted while more ticks are reserved.
const beyondLimit = 1 << 20

// agreed is what was agreed on of an epoch.
type agreed struct{ number, base, limit uint64 }

// know notes what was agreed on, of the newest epochs.
func (c *Core) know(number, base, limit uint64) {
	for i := range c.epochs {
		if e := &c.epochs[i]; e.number == number {
			*e = agreed{number, base, limit} // another history may have one of that number
			return
		}
	}
	copy(c.epochs[1:], c.epochs[:])
	c.epochs[0] = agreed{number, base, limit}
}

// known is what was agreed on of p's epoch, nil if it is not known here.
func (c *Core) known(p *wire.Particle) *agreed {
	if p.Epoch.Detached() || p.Epoch.Number == 0 {
		return nil
	}
	for i := range c.epochs {
		if e := &c.epochs[i]; e.number == p.Epoch.Number {
			return e
		}
	}
	return nil
}

// Known reports whether p is of the newest epoch as it was agreed on.
func (c *Core) Known(p *wire.Particle) bool {
	e := c.known(p)
	return e != nil && e.number == c.bus.Number && e.base == p.Base
}

// reserved reports whether the tick of p's lap is one of its epoch's. What a frame says
// of it is the word of whoever sent it, and that is taken where nobody signs: the particle
// may be here before the entry that reserved more.
func (c *Core) reserved(p *wire.Particle) bool {
	e := c.known(p)
	if e == nil {
		return !c.bus.Strict
	}
	limit := e.limit
	if !c.bus.Strict {
		limit = max(limit, p.Limit)
	}
	return p.Base == e.base && p.Base+p.Lap < limit
}

// stamp puts on the particle what this stop knows, and its mark, if it votes and
// has not heard of a later epoch.
func (c *Core) stamp() {
	p := &c.last
	if p.Epoch.Number == c.bus.Number {
		p.Limit = max(p.Limit, c.bus.Limit)
	}
	if c.bus.Conf > p.Conf {
		c.putVoters(p)
	}
	t := p.Base + p.Lap
	if t < c.floor || !c.reserved(p) {
		return
	}
	c.raiseCeiling(t)
	if !c.bus.Stamps || p.Conf != c.bus.Conf || p.Epoch.Number < c.bus.Refuses {
		return
	}
	for i := range p.Stamps[:p.Voters] {
		if s := &p.Stamps[i]; int(s.Voter) == c.cfg.Self {
			s.Role |= wire.Stamped
		}
	}
}

// raiseCeiling reserves ticks for this stop, up to what is reserved for the epoch,
// and gives back what a faster pace had reserved.
func (c *Core) raiseCeiling(t uint64) {
	// The smoothed lap time is no measure: it believes each slow lap at once, and the
	// lap that waits for this very reservation is one.
	ahead, took := max(2, c.paceWas), c.at.Sub(c.paceAt)
	if n := c.last.Epoch.Number; n == c.paceOf && took > 0 {
		pace := uint64(float64(t-c.paceTick) * float64(ceilingAhead) / float64(max(took, paceLeast)))
		ahead = max(ahead, pace)
		if took > ceilingAhead {
			c.paceAt, c.paceTick, c.paceWas = c.at, t, pace
		}
	} else {
		c.paceAt, c.paceTick, c.paceOf = c.at, t, n
	}
	c.wants = 0
	switch {
	case t >= c.ceiling || c.ceiling-t > 4*ahead:
		c.ceiling = max(min(t+ahead, c.last.Limit), t+1)
	case c.ceiling-t <= ahead/2:
		c.wants = min(c.ceiling+ahead, c.last.Limit)
	}
}

// putVoters puts the newest set of voters on p. The stamps of those who are still
// among them stay: a change of voters costs no tick.
func (c *Core) putVoters(p *wire.Particle) {
	old, n := p.Stamps, p.Voters
	p.Conf, p.Voters = c.bus.Conf, uint8(copy(p.Stamps[:], c.bus.Voters))
	clear(p.Stamps[p.Voters:])
	for i := range p.Stamps[:p.Voters] {
		s := &p.Stamps[i]
		for _, o := range old[:n] {
			if o.Voter == s.Voter {
				s.Role |= o.Role & wire.Stamped
			}
		}
	}
}
