package core

import (
	"iter"
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
	Needed bool          // by the ring, to watch or to vote

	Protocol int // what both ends speak, 0 while unknown
}

// ViewVersion changes whenever View would differ in more than laps.
func (c *Core) ViewVersion() uint64 { return c.version }

// Head is the view without a row for each instance: it costs nothing.
func (c *Core) Head() View {
	return View{
		ID: c.viewID, Changes: c.changes, Quorum: c.bus.Quorum(), CutOff: c.cutOff,
		Joined: c.joined, Self: c.self, Next: c.next, Detour: c.detour, BadLinks: c.bad,
		Roster: c.roster, RosterShown: c.shown,
	}
}

// View returns a picture of who is alive. It allocates.
func (c *Core) View() *View {
	v := c.Head()
	v.Instances = make([]InstanceView, c.n)
	for i := range v.Instances {
		v.Instances[i] = c.Row(i)
	}
	for i := range c.Suspects() {
		v.Instances[i].Suspect = true
	}
	return &v
}

// CastKept is how many bytes of broadcasts are kept for who comes late. It costs nothing.
func (c *Core) CastKept() int {
	if c.cast == nil {
		return 0
	}
	return c.cast.Kept()
}

// Row is the row of instance i in the view, without whether it is suspected; zero of one that
// this roster does not have.
func (c *Core) Row(i int) InstanceView {
	if i >= c.n { // its roster may be older than that of who asks
		return InstanceView{}
	}
	w := InstanceView{
		State: c.table.State(i), Incarnation: c.table.Incarnation(i), PID: c.table.PID(i),
		Retired: c.retired(i),
	}
	if told := c.table.Build(i); told != "" {
		w.Build, w.Protocol = SplitBuild(told)
	}
	if w.State == wire.Down {
		if d := c.dampedFor(i); d > 0 {
			w.Damped = c.now.Add(d)
		}
		// What it has done to be damped, a process that has just started does not know.
		if at, ok := c.outs[i]; ok && at.Add(c.cfg.Timing.HoldDown).After(c.now) && w.Damped.IsZero() {
			w.Damped = at.Add(c.cfg.Timing.HoldDown)
		}
	}
	if i == c.self && c.damped.After(c.now) {
		w.Damped = c.damped
	}
	return w
}

// Suspects yields the living who are accused by as many as begin to count, or
// of whom this instance itself waits for an answer; some of them twice.
func (c *Core) Suspects() iter.Seq[int] {
	return func(yield func(int) bool) {
		if c.verdict != nil {
			for _, f := range c.verdict.Findings {
				i := int(f.Subject)
				if f.Accusers >= f.Marks().Low && c.isAlive(i) && !yield(i) {
					return
				}
			}
		}
		for _, p := range c.peers {
			if p.linked && p.healthy() == nil && c.isAlive(p.i) && p.watched && !yield(p.i) {
				return
			}
		}
	}
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
		l := LinkView{Peer: p.i, Up: p.healthy() != nil, Bad: p.accused, Needed: c.needs(p)}
		if cn != nil {
			l.RTT, l.Silent, l.Protocol = cn.pulse.RTT(), cn.pulse.Silent(c.now), cn.protocol
		}
		out = append(out, l)
	}
	return out
}

// Late is by how much this process ran late of late: it halves with each heartbeat.
func (c *Core) Late() time.Duration { return c.drift }

// Particle is the newest particle that passed: its epoch, its lap, and the stop
// that was slowest on the lap before with half the round trip to its next. ok
// is false before the first.
func (c *Core) Particle() (e wire.Epoch, lap uint64, slow int, half time.Duration, ok bool) {
	p, ok := c.token.Last()
	return p.Epoch, p.Lap, int(p.WasStop), time.Duration(p.WasUS) * time.Microsecond, ok
}
