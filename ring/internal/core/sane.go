package core

import "ringofservers.dev/ring/internal/wire"

// Counters only rise: what one member says of them, the others go above. So that nobody
// wears one out by a lie, a number in a frame counts up to what a fleet could have come to
// by itself, and beyond that only if it is little more than what is known. Below
// saneCounter are a million laps a second for 500 years, and whatever a recovery gives
// until the year 2500 (a leap is above 2^20 times the seconds since 1970); below
// saneIncarnation is a return each second for half a year. A liar may take a counter there
// at once, and no further but in small steps, of which the bound of the wire is 2^41 away.
const (
	saneCounter         = 1 << 54
	saneStep            = 1 << 20
	saneIncarnation     = 1 << 24
	saneIncarnationStep = 1 << 10
	// saneLives is how much later the life of an origin may be than the latest known, or
	// than its incarnation says: two incarnations.
	saneLives = 1 << 32
)

// sane reports whether a counter may be what somebody says it is.
func sane(known, said uint64) bool { return said <= saneCounter || said <= known+saneStep }

// saneLife is the same of an incarnation.
func saneLife(known, said uint32) bool {
	return said <= saneIncarnation || said <= known+saneIncarnationStep
}

// saneEpoch is the same of an epoch: its number by what is agreed on, or else one lie
// would be the ground of the next.
func (c *Core) saneEpoch(e wire.Epoch) bool {
	return sane(c.bus.State().Epoch().Number, e.Number) && sane(c.token.Top().Counter, e.Counter)
}

// saneParticle is the same of a particle.
func (c *Core) saneParticle(p *wire.Particle) bool {
	last, _ := c.token.Last()
	return c.saneEpoch(p.Epoch) && sane(last.Lap, p.Lap) && c.saneTick(p.Limit)
}

// saneTick is the same of a tick.
func (c *Core) saneTick(said uint64) bool {
	return sane(max(c.bus.State().Epoch().Limit, c.token.Ceiling()), said)
}

// heardOf is the highest incarnation of ours that somebody says there was, if it may be.
func (c *Core) heardOf(inc uint32) {
	if saneLife(max(c.inc, c.told), inc) {
		c.told = max(c.told, inc)
	}
}
