package ring

import (
	"encoding/hex"
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// name is the name of index i, empty for one that the roster does not have.
func (r *Ring) name(i int) Name {
	full := r.rosterNow()
	if i < 0 || i >= full.Len() {
		return ""
	}
	return Name(full.Names[i])
}

func (r *Ring) epoch(e wire.Epoch) Epoch {
	if e == (wire.Epoch{}) {
		return Epoch{}
	}
	return Epoch{Number: e.Number, Counter: e.Counter, Dropper: r.name(int(e.Dropper))}
}

func (r *Ring) tick(t node.Tick) Tick {
	return Tick{
		At: t.At, Instance: r.cfg.Name, Epoch: r.epoch(t.Epoch), Lap: t.Lap,
		Tick: t.Tick.Tick, Anchored: t.Anchored, Skew: t.Skew, Took: t.Took, Held: t.Held,
	}
}

// View returns who is alive as this instance knows it now.
func (r *Ring) View() View { return r.viewOf(r.node.State()) }

func (r *Ring) viewOf(s node.State) View {
	v := View{
		ID: viewID(s.View), Changes: s.View.Changes, Self: r.cfg.Name, Next: r.name(s.View.Next),
		Detour: r.name(s.View.Detour), CutOff: s.View.CutOff, Joined: s.View.Joined,
		BadLinks:  make([]BadLink, 0, len(s.View.BadLinks)),
		Instances: r.instances(s),
	}
	for _, b := range s.View.BadLinks {
		v.BadLinks = append(v.BadLinks, BadLink{From: r.name(b.From), To: r.name(b.To)})
	}
	return v
}

func viewID(v *core.View) string { return fmt.Sprintf("%016x", v.ID) }

// instances are the rows of the view.
func (r *Ring) instances(s node.State) []Instance {
	rows := make([]Instance, 0, len(s.View.Instances))
	for i, in := range s.View.Instances {
		if in.Retired {
			continue
		}
		row := Instance{
			Index: i, Name: Name(s.View.Roster.Names[i]), Address: s.View.Roster.Addr(i),
			State:       stateOf(in, s.View.Quorum),
			Incarnation: in.Incarnation, Tick: tickAt(i, in, s),
			Version: in.Build, Protocol: in.Protocol, PID: in.PID,
		}
		if !in.Damped.IsZero() {
			until := in.Damped.Round(0)
			row.DampedUntil = &until
		}
		rows = append(rows, row)
	}
	for _, l := range s.Links {
		if at, ok := rowAt(rows, l.Peer); ok && l.RTT > 0 {
			rtt := float64(l.RTT) / float64(time.Millisecond)
			rows[at].RTTMillis = &rtt
		}
	}
	// From the last round to the first: whoever is alive holds the hand of the
	// one alive after it. Two rounds, for those whose next is past the end.
	var next Name
	for i := 2*len(rows) - 1; i >= 0; i-- {
		if row := &rows[i%len(rows)]; row.State == Alive || row.State == Suspect {
			row.Next, next = next, row.Name
		}
	}
	return rows
}

// tickAt is the newest tick of instance i, as its place in the ring has it: whoever
// comes before this one on the lap has passed it, the others are a tick behind.
func tickAt(i int, in core.InstanceView, s node.State) uint64 {
	switch {
	case in.State != wire.Alive:
		return 0
	case i > s.View.Self && s.Bus.Tick > 0 && s.Bus.Anchored:
		return s.Bus.Tick - 1
	}
	return s.Bus.Tick
}

// stateOf translates. Without a quorum nobody can be called dead.
func stateOf(in core.InstanceView, quorum bool) State {
	switch {
	case in.State == wire.Alive && in.Suspect:
		return Suspect
	case in.State == wire.Alive:
		return Alive
	case in.State == wire.Left:
		return Left
	case in.State == wire.Down && quorum:
		return Dead
	}
	return Unreachable
}

// Status returns everything `ring status` shows.
func (r *Ring) Status() Status {
	s := r.node.State()
	v := r.viewOf(s)
	full := r.rosterNow()
	hash := full.Hash()
	st := Status{
		V: 1, Ring: r.cfg.Ring, RosterVersion: full.Version, RosterHash: hex.EncodeToString(hash[:]),
		Self: v.Self, CutOff: v.CutOff, Insecure: r.cfg.Insecure && r.cfg.TLS == nil, TLS: r.certificate(), BadLinks: v.BadLinks,
		Epoch: r.epoch(s.Epoch), Lap: s.Lap, Tick: s.Bus.Tick,
		Anchored: s.Bus.Anchored, Unanchored: s.Bus.Why,
		Leader: r.name(s.Bus.Leader), Revision: s.Bus.Applied, ViewRevision: s.Bus.ViewRev,
		LapMS: LapMillis{P50: millis(s.P50), P99: millis(s.P99)}, LateMS: millis(s.Late),
		Laps: s.Passes, SlowestStop: r.name(s.Slow),
		View: v.ID, Next: v.Next, Detour: v.Detour, Instances: v.Instances,
	}
	if s.Passes > 0 {
		st.LastPass = &s.Last.At
	}
	return st
}

// Links returns the links of this instance with others, and those that it tries to have,
// in roster order.
func (r *Ring) Links() []Link {
	links := []Link{}
	for _, l := range r.node.State().Links {
		one := Link{Peer: r.name(l.Peer), Up: l.Up, Needed: l.Needed, Bad: l.Bad, SilentMS: millis(l.Silent), Protocol: l.Protocol}
		if l.RTT > 0 {
			rtt := millis(l.RTT)
			one.RTTMillis = &rtt
		}
		links = append(links, one)
	}
	return links
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
