package core

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// hurryEach is how long a hop of a particle that does not rest may take, until who waits for
// it asks whether it rests.
const hurryEach = time.Millisecond

// rides is what a stop has to do with who is aboard, beside the train itself.
type rides struct {
	stations *StationSet
	visit    *train.Visit  // not told yet
	mine     wire.Particle // before reads it from here

	work   uint64 // of the stations that hold the particle, 0 for none
	worked uint64 // the number of the newest

	hurries []wire.Hurry // others who wait for it
	asked   bool         // we have asked since it passed
	hurryAt time.Time    // when we will, zero for never
	full    bool         // somebody was told that there is no room
}

// before is the particle that was let pass before p comes, nil if there was none. It is idle
// where p is nothing to those aboard: then it is not worth a copy.
func (c *Core) before(p *wire.Particle) (mine *wire.Particle, idle bool) {
	here := c.token.Here()
	switch {
	case here == nil:
		return nil, false
	case c.train.Idle(p, here):
		return nil, true
	}
	c.rides.mine = *here
	return &c.rides.mine, false
}

// aboard sees to those aboard the particle that has just been let pass, after mine.
func (c *Core) aboard(mine *wire.Particle, idle bool) {
	r := &c.rides
	c.visited() // what the last pass brought, where nothing else has told it
	c.dropped()
	p := c.token.Here()
	if !idle {
		r.visit = &train.Visit{}
		c.train.Arrive(p, mine, r.visit)
	}
	if len(r.hurries) > 0 {
		c.pruneHurries(p)
	}
	if !c.holds(p) && (!idle || len(r.hurries) > 0) {
		c.leaveTrain(p)
	}
}

// leaveTrain lets the particle go on as far as those aboard go.
func (c *Core) leaveTrain(p *wire.Particle) {
	r := &c.rides
	if r.visit == nil {
		r.visit = &train.Visit{}
	}
	c.train.Leave(p, r.visit)
	if t := p.Train; len(r.hurries) > 0 || t != nil && (len(t.Riders) > 0 || t.Short != nil) {
		c.token.Go(c.now)
	}
	c.tellSeats()
}

// tellSeats tells once that there is room for who was told that there is none.
func (c *Core) tellSeats() {
	if c.rides.full && c.train.Roomy() {
		c.rides.full = false
		c.fx = append(c.fx, Effect{Kind: Seats})
	}
}

// unboard has a passenger that still waits not board.
func (c *Core) unboard(seq uint64) {
	c.train.Cancel(seq)
	c.tellSeats()
}

// dropped is that a new particle is here, which nobody aboard has arrived with.
func (c *Core) dropped() {
	r := &c.rides
	c.overdue()
	r.asked, r.hurryAt = false, time.Time{}
}

// overdue is that nobody waits any more for what stations are at.
func (c *Core) overdue() {
	if r := &c.rides; r.work != 0 {
		c.fx = append(c.fx, Effect{Kind: Overdue, Seq: r.work})
		r.work = 0
	}
}

// visited tells what the particle has brought, once it is on its way.
func (c *Core) visited() {
	v := c.rides.visit
	if c.rides.visit = nil; v == nil {
		return
	}
	if v.Moved {
		c.tell(Report{Kind: Moved, Subject: c.self, Passengers: v.Missed})
	}
	if v.Moved || len(v.Delivered) > 0 || len(v.Home) > 0 {
		c.fx = append(c.fx, Effect{Kind: Visited, Visit: v})
	}
}

// board has passengers wait, or board at once if the particle rests here.
func (c *Core) board(riders []wire.Rider) {
	r := &c.rides
	some := false
	for i := range riders {
		seq := c.train.Board(riders[i].Topic, riders[i].Payload, riders[i].Large)
		if seq == 0 {
			r.full = true
			c.fx = append(c.fx, Effect{Kind: Full})
			continue
		}
		some = true
		c.fx = append(c.fx, Effect{Kind: Boarding, Seq: seq})
	}
	if !some || !c.joined || c.leaving {
		return
	}
	switch p := c.token.Here(); {
	case p == nil || r.work != 0:
	case c.token.Resting():
		c.train.Late(p)
		c.leaveTrain(p)
	case r.asked || c.train.Aboard() > 0: // it does not rest before those are home
	case c.rests() && (p.Train == nil || len(p.Train.Riders) < c.alive):
		c.hurry(p)
	case r.hurryAt.IsZero(): // as many are on their way as keep it from resting
		r.hurryAt = c.now.Add(2 * time.Duration(c.alive) * hurryEach)
	}
}

// rests reports whether the particle takes its time, as far as is known.
func (c *Core) rests() bool {
	lap := c.token.LapTime()
	return lap == 0 || lap > time.Duration(c.alive)*hurryEach
}

// hurry asks all to let the particle come here without rest: first down our tree, which
// takes a frame for each, and where it has not come by then, all by all links.
func (c *Core) hurry(p *wire.Particle) {
	r := &c.rides
	m := &wire.Hurry{Epoch: p.Epoch, Lap: p.Lap, Stop: uint32(c.self), Wide: r.asked}
	r.hurryAt = time.Time{}
	if !m.Wide {
		r.hurryAt = c.now.Add(2 * time.Duration(c.alive) * hurryEach)
	}
	r.asked = true
	c.sendHurry(-1, m)
}

func (c *Core) hurryTurn() {
	if r := &c.rides; !r.hurryAt.IsZero() && !c.now.Before(r.hurryAt) {
		r.hurryAt = time.Time{}
		if p := c.token.Here(); p != nil && c.train.Waiting() > 0 && c.joined && !c.leaving {
			c.hurry(p)
		}
	}
}

// sendHurry hands m on to those behind us in its stop's tree, or to all neighbours but one.
func (c *Core) sendHurry(but int, m *wire.Hurry) {
	all := crew{c}
	var tree []int32
	if !m.Wide {
		tree = all.Tree(int(m.Stop))
	}
	for _, i := range all.Linked(nil) {
		if i == but || tree != nil && tree[i] != int32(c.self) {
			continue
		}
		if cn := c.linkTo(i); cn != nil {
			c.send(cn, m)
		}
	}
}

// onHurry notes who waits for the particle, tells others once, and does not let it rest here.
func (c *Core) onHurry(cn *conn, m *wire.Hurry) {
	r, p := &c.rides, c.token.Here()
	if !c.joined || p == nil || m.Stop >= uint32(c.n) || m.Stop == uint32(c.self) || m.Epoch != p.Epoch ||
		m.Lap > p.Lap+1 || c.satisfied(m, p) {
		return
	}
	at := slices.IndexFunc(r.hurries, func(h wire.Hurry) bool { return h.Stop == m.Stop })
	if at < 0 {
		at = len(r.hurries)
		r.hurries = append(r.hurries, *m)
	} else if h := &r.hurries[at]; h.Epoch == m.Epoch && (h.Lap > m.Lap || h.Lap == m.Lap && (h.Wide || !m.Wide)) {
		return
	}
	r.hurries[at] = *m
	c.sendHurry(cn.peer.i, m)
	if c.token.Resting() && r.work == 0 {
		c.token.Go(c.now)
	}
}

// satisfied reports whether the particle has been where it was wanted, if p is the newest
// that has passed here.
func (c *Core) satisfied(m *wire.Hurry, p *wire.Particle) bool {
	return p.Lap > m.Lap+1 || p.Lap == m.Lap+1 && uint32(c.self) >= m.Stop
}

func (c *Core) pruneHurries(p *wire.Particle) {
	r := &c.rides
	r.hurries = slices.DeleteFunc(r.hurries, func(m wire.Hurry) bool {
		return m.Epoch != p.Epoch || c.satisfied(&m, p)
	})
}

// holds has the stations of this stop work, if one of them may hold the particle for
// somebody aboard, and reports whether it does. All stations together have half of the time after
// which a particle is taken for lost, on each lap.
func (c *Core) holds(p *wire.Particle) bool {
	r := &c.rides
	s := r.stations
	if s == nil || c.leaving || s.Every == 0 && p.Train == nil {
		return false
	}
	budget, v := s.Every, &train.Visit{}
	var spent time.Duration
	if t := p.Train; t != nil {
		spent = time.Duration(t.SpentUS) * time.Microsecond
		for i := range t.Riders {
			if most, ok := s.Holds[t.Riders[i].Topic]; ok && c.train.Asked(p, &t.Riders[i]) {
				budget = max(budget, most)
				v.Delivered = append(v.Delivered, train.Passenger{
					Number: p.Line.Base + uint64(i) + 1, Rider: t.Riders[i],
				})
			}
		}
	}
	if s.Every == 0 && len(v.Delivered) == 0 {
		return false
	}
	if budget = min(budget, c.cfg.Timing.Loss/2-spent); budget <= 0 {
		c.unfolded(len(v.Delivered))
		return false
	}
	r.worked++
	r.work = r.worked
	c.token.Stay(c.now.Add(budget))
	tick, anchored := c.token.Tick()
	c.fx = append(c.fx, Effect{
		Kind: Work, Seq: r.work, Within: budget, Visit: v,
		Tick: Tick{Epoch: p.Epoch, Lap: p.Lap, Tick: tick, Anchored: anchored},
	})
	return true
}

// unfolded counts passengers that go on without what a station was to make of them, for want
// of time or of room.
func (c *Core) unfolded(passengers int) {
	if passengers > 0 {
		c.fx = append(c.fx, Effect{Kind: Unfolded, Seq: uint64(passengers)})
	}
}

// worked takes what the stations have made, if the particle has waited for it.
func (c *Core) worked(seq uint64, values []Value) {
	if seq == 0 || seq != c.rides.work {
		return
	}
	p := c.token.Here()
	c.unfolded(c.train.Fold(p, values))
	c.rides.work = 0
	c.goOn(p)
}

// workOver is that the stations have had their time, or that nobody waits for them.
func (c *Core) workOver() {
	if c.rides.work != 0 {
		c.overdue()
		c.goOn(c.token.Here())
	}
}

// goOn lets go the particle that stations have held.
func (c *Core) goOn(p *wire.Particle) {
	c.train.Late(p)
	spent := time.Duration(p.Train.SpentUS)*time.Microsecond + c.token.Stayed(c.now)
	p.Train.SpentUS = uint32(min(spent, c.cfg.Timing.Loss) / time.Microsecond)
	c.token.Rest(c.now)
	c.leaveTrain(p)
}
