package consensus

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/wire"
)

// Opened says that there is a link with i now, or a new one.
func (c *Core) Opened(now time.Time, i int) {
	c.now = now
	delete(c.told, i)
	delete(c.feeds, i)
	if c.feeder == i {
		c.feeder = -1
	}
	c.tellStatus(i)
	c.follow()
	if c.stranded && i == c.voterToAsk() {
		c.stranded = false
		c.resendAll()
	}
}

// Closed says that the last link with i is gone.
func (c *Core) Closed(now time.Time, i int) {
	c.now = now
	delete(c.peers, i)
	delete(c.told, i)
	delete(c.feeds, i)
	if c.feeder == i {
		c.feeder = -1
	}
	if c.pieces != nil && c.pieces.from == i {
		c.pieces = nil
	}
	if g := c.generation(i); g > 0 && c.rn != nil {
		c.rn.ReportUnreachable(uint64(NewRaftID(i, g)))
		c.pump()
	}
	// Who does not vote goes on taking i for the leader if it was that: the view
	// says when it is dead, and the others when somebody else leads.
}

// Receive takes what instance from sent, as its link vouches, or its signature. It reports
// false where that speaks in the name of another.
func (c *Core) Receive(now time.Time, from int, m wire.Msg) (honest bool) {
	c.now = now
	switch m := m.(type) {
	case *wire.Status:
		c.onStatus(from, m)
	case *wire.Raft:
		return c.onRaft(from, m)
	case *wire.Propose:
		c.onPropose(m)
	case *wire.Ask:
		c.onAsk(from, m)
	case *wire.Answer:
		c.onAnswer(m)
	case *wire.Pull:
		c.onPull(from, m)
	case *wire.Entries:
		c.onEntries(from, m)
	case *wire.Chunk:
		c.onChunk(from, m)
	}
	return true
}

// homeKept is how long after it was asked for something a link with a home is kept.
const homeKept = time.Minute

// Home is the living voter that this instance asks for things if it is linked with
// no other; -1 for none. It is the one of the highest hash with this instance
// ("rendezvous"): when one dies, those whose home it was spread over the others,
// and nobody else moves. Whoever asks for nothing needs no link with it, and follows
// a neighbour: of a large fleet voters would have by far the most to do, just while
// it starts.
func (c *Core) Home() int { return c.HomeOf(c.cfg.Self) }

// HomeOf is the same for another instance, by what we know.
func (c *Core) HomeOf(of int) int {
	best, most := -1, uint64(0)
	if c.ident.History == (History{}) {
		return best // there is nothing to follow yet, nor all of those to choose from
	}
	for _, v := range c.Voters() {
		i := v.ID.Index()
		if !v.Votes || i == of || i != c.cfg.Self && !c.cfg.Fleet.Alive(i) {
			continue
		}
		if w := flood.Mix(uint64(of), uint64(i)); best < 0 || w > most {
			best, most = i, w
		}
	}
	return best
}

// Peers are those whom this instance has to be linked with to vote or to lead, in
// order.
func (c *Core) Peers() []int {
	vs := c.Voters()
	if !c.HasPart() {
		if h := c.Home(); h >= 0 && !c.homeTill.IsZero() {
			return []int{h}
		}
		return nil
	}
	out := make([]int, 0, len(vs))
	for _, v := range vs {
		if i := v.ID.Index(); i != c.cfg.Self && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	if c.leading {
		out = append(out, c.standIns(vs)...)
		slices.Sort(out)
	}
	return out
}

// HasPart reports whether this instance votes, or is about to.
func (c *Core) HasPart() bool {
	return slices.ContainsFunc(c.Voters(), func(v Voter) bool { return v.ID.Index() == c.cfg.Self })
}

// standIns are as many of the living that have no part as there are voters
// missing or not alive, by index. A leader takes nobody in whom it has no link
// with.
func (c *Core) standIns(vs []Voter) (out []int) {
	out = c.waiting()
	missing := c.target()
	for _, v := range vs {
		if i := v.ID.Index(); v.Votes && c.cfg.Fleet.Alive(i) && !c.unwanted(i) {
			missing--
		}
	}
	for i := 0; i < c.cfg.N && len(out) < missing; i++ {
		if i != c.cfg.Self && c.cfg.Fleet.Alive(i) && c.generation(i) == 0 && !c.unwanted(i) &&
			!slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}
