package core

import (
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// LinkView is one link as this instance sees it.
type LinkView struct {
	Peer   int
	Up     bool
	RTT    time.Duration // smoothed, 0 while unknown
	Silent time.Duration // how long an answer has been owed
	Bad    bool          // this instance says that it cannot reach Peer
}

// ViewVersion changes whenever View would differ in more than laps.
func (c *Core) ViewVersion() uint64 { return c.version }

// View returns a picture of who is alive. It allocates.
func (c *Core) View() *View {
	v := &View{
		ID: c.viewID, Changes: c.changes, Quorum: c.bus.Quorum(), CutOff: c.cutOff,
		Joined: c.joined, Self: c.self, Next: c.next, Detour: c.detour,
		Instances: make([]InstanceView, c.n), BadLinks: c.bad,
	}
	tick, anchored := c.token.Tick()
	for i := range v.Instances {
		w := &v.Instances[i]
		w.State = c.table.State(i)
		w.Incarnation = c.table.Incarnation(i)
		w.PID = c.table.PID(i)
		w.Build = c.table.Build(i)
		if w.State == wire.Alive {
			// Whoever comes before us on this lap has passed it, the others are
			// at the lap before.
			w.Tick = tick
			if i > c.self && w.Tick > 0 && anchored {
				w.Tick--
			}
		}
		if w.State == wire.Down {
			if d := c.dampedFor(i); d > 0 {
				w.Damped = c.now.Add(d)
			}
		}
	}
	if c.damped.After(c.now) {
		v.Instances[c.self].Damped = c.damped
	}
	if c.verdict != nil {
		for _, f := range c.verdict.Findings {
			v.Instances[f.Subject].Suspect = len(f.By) >= f.Marks.Low && c.isAlive(f.Subject)
		}
	}
	for _, p := range c.peers {
		if p.linked && p.healthy() == nil && c.isAlive(p.i) && p.watched {
			v.Instances[p.i].Suspect = true
		}
	}
	return v
}

// Links returns the links, in order of the peer's index. It allocates.
func (c *Core) Links() []LinkView {
	var out []LinkView
	for _, p := range c.peers {
		cn := p.healthy()
		if cn == nil {
			cn = p.dialed
		}
		if cn == nil {
			cn = p.accepted
		}
		l := LinkView{Peer: p.i, Up: p.healthy() != nil, Bad: p.accused}
		if cn != nil {
			l.RTT, l.Silent = cn.pulse.RTT(), cn.pulse.Silent(c.now)
		}
		out = append(out, l)
	}
	return out
}

// Particle is the newest particle that passed: its epoch, its lap, and the stop
// that was slowest on the lap before with half the round trip to its next. ok
// is false before the first.
func (c *Core) Particle() (e wire.Epoch, lap uint64, slow int, half time.Duration, ok bool) {
	p, ok := c.token.Last()
	return p.Epoch, p.Lap, int(p.WasStop), time.Duration(p.WasUS) * time.Microsecond, ok
}
