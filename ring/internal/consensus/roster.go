package consensus

import (
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/roster"
)

// Reroll tells by which roster this instance goes from now on. Whoever is retired in it has
// no vote any more, once somebody else has taken it; those who are to vote, or are not to,
// are exchanged one at a time by the leader.
func (c *Core) Reroll(now time.Time, r *roster.Roster) {
	c.now = now
	c.cfg.Roster, c.cfg.N = r, r.Len()
	c.leader.look = true
	c.effect(Effect{Kind: Moved})
	if c.leading && c.unwanted(c.cfg.Self) {
		c.Depart(now)
	}
}

// retired reports whether i is out of the roster for good.
func (c *Core) retired(i int) bool {
	return c.cfg.Roster != nil && i < c.cfg.Roster.Len() && c.cfg.Roster.Retired(i)
}

// wish is whether i is to vote.
func (c *Core) wish(i int) roster.Wish {
	if c.cfg.Roster == nil || i >= c.cfg.Roster.Len() {
		return 0
	}
	return c.cfg.Roster.Wish(i)
}

// unwanted reports whether i is not to vote.
func (c *Core) unwanted(i int) bool { return c.retired(i) || c.wish(i) == roster.NotToVote }

// initial are the voters of a history that begins.
func (c *Core) initial() []int {
	if c.cfg.Roster == nil || c.cfg.Roster.Members() == c.cfg.N {
		return FirstVoters(c.cfg.N)
	}
	var members []int
	for i := range c.cfg.N {
		if !c.retired(i) {
			members = append(members, i)
		}
	}
	voters := FirstVoters(len(members))
	for k, at := range voters {
		voters[k] = members[at]
	}
	return voters
}

// target is how many voters there are to be.
func (c *Core) target() int {
	n := c.cfg.N
	if c.cfg.Roster != nil {
		for i := range c.cfg.N {
			if c.unwanted(i) {
				n--
			}
		}
	}
	return max(min(n, VotersMax), 1)
}

// misplaced is a voter that is to give its vote to another: one who is not to vote; or who
// has no wish, where somebody who is to vote has none. 0 for none.
func (c *Core) misplaced() RaftID {
	if c.cfg.Roster == nil {
		return 0
	}
	var demoted, neutral RaftID
	for _, n := range c.conf.GetVoters() {
		id := RaftID(n)
		switch i := id.Index(); {
		case i == c.cfg.Self:
		case c.retired(i): // it has left, see goneVoter
		case c.wish(i) == roster.NotToVote:
			demoted = id
		case c.wish(i) == 0 && id > neutral:
			neutral = id
		}
	}
	if demoted != 0 {
		return demoted
	}
	if len(c.conf.GetVoters()) >= c.target() && len(c.waiting()) > 0 {
		return neutral
	}
	return 0
}

// waiting are those of the living who are to vote, and have no part in it.
func (c *Core) waiting() (out []int) {
	for i := range c.cfg.N {
		if c.wish(i) == roster.ToVote && !c.retired(i) && c.cfg.Fleet.Alive(i) && c.generation(i) == 0 {
			out = append(out, i)
		}
	}
	return out
}

// spare reports whether those who vote without gone could still agree, and are as many as
// there are to be.
func (c *Core) spare(gone RaftID) bool {
	rest, able := 0, 0
	for _, n := range c.conf.GetVoters() {
		id := RaftID(n)
		if id == gone {
			continue
		}
		rest++
		if c.able(id.Index()) {
			able++
		}
	}
	return rest >= c.target() && (2*able > rest || !c.able(gone.Index()))
}

// able reports whether i can vote now: whoever is retired does so until it need not.
func (c *Core) able(i int) bool {
	return i == c.cfg.Self || c.cfg.Fleet.Alive(i) || c.retired(i) && c.cfg.Fleet.Linked(i)
}

// settleRoster has a state that others begin anew from go by the roster that this fleet
// has: who is in it does not go back with what it has agreed on.
func (c *Core) settleRoster(state *bus.State) {
	mine, theirs := c.cfg.Roster, state.Roster()
	switch {
	case mine == nil:
	case mine.Version > 1:
		if theirs == nil || theirs.Version <= mine.Version || !theirs.Follows(mine) {
			state.SetRoster(c.agreedRoster(mine))
		}
	case theirs != nil && !theirs.Knows(mine.Hash()):
		state.SetRoster(nil) // of other hosts: all go by what they were started with
	}
}

// agreedRoster is mine as the others have it.
func (c *Core) agreedRoster(mine *roster.Roster) *roster.Roster {
	if r := c.state.Roster(); r != nil && r.Chain() == mine.Chain() {
		return r
	}
	return mine
}
