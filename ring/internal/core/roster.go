package core

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

// RosterProtocol is the oldest protocol whose speakers can apply a change of the roster.
const RosterProtocol = 2

// protocolMark stands between the version of a build, in an instance's record, and the
// protocol that it speaks: those who know of no other protocol than the first hand it on
// all the same.
const protocolMark = " p"

// withProtocol is the build that an instance tells of itself.
func withProtocol(build string, protocol int) string {
	if protocol < 2 {
		return build
	}
	mark := protocolMark + strconv.Itoa(protocol)
	return build[:min(len(build), wire.BuildMax-len(mark))] + mark
}

// SplitBuild takes apart what an instance told of its build: the version and the protocol,
// 1 where it tells none.
func SplitBuild(told string) (build string, protocol int) {
	at := strings.LastIndex(told, protocolMark)
	if at < 0 {
		return told, 1
	}
	p, err := strconv.ParseUint(told[at+len(protocolMark):], 10, 16)
	if err != nil || p < 2 {
		return told, 1
	}
	return told[:at], int(p)
}

// LeastProtocol is the oldest protocol that an instance which has not left speaks, by what
// it told last, and who; of those who were never met nothing is known, and they have to be
// of a build that can read the log anyway.
func (c *Core) LeastProtocol() (protocol, who int) {
	protocol, who = wire.ProtocolVersion, c.self
	for i := range c.n {
		if s := c.table.State(i); s == wire.Left || c.table.Incarnation(i) == 0 {
			continue
		}
		if _, p := SplitBuild(c.table.Build(i)); p < protocol {
			protocol, who = p, i
		}
	}
	return protocol, who
}

// Roster is the one that this instance goes by.
func (c *Core) Roster() *roster.Roster { return c.roster }

// retired reports whether i is out of the roster for good.
func (c *Core) retired(i int) bool { return c.roster.Retired(i) }

// overlayOf is the links of r, which cores that share a Room compute once.
func (r *Room) overlayOf(of *roster.Roster) *overlay.Overlay {
	hash := of.Hash()
	for _, o := range r.overlays {
		if o.hash == hash {
			return o.overlay
		}
	}
	o := overlay.BuildOf(of.Names, of.Out(), of.Ring, of.Degree)
	if len(r.overlays) == overlaysMax {
		r.overlays = slices.Delete(r.overlays, 0, 1)
	}
	r.overlays = append(r.overlays, hashed{hash, o})
	return o
}

// hashed is the links of a roster.
type hashed struct {
	hash    [32]byte
	overlay *overlay.Overlay
}

// overlaysMax is of how many rosters those who share a Room remember the links.
const overlaysMax = 8

// size sets what depends on how many there are.
func (c *Core) size() {
	members := time.Duration(c.roster.Members())
	c.out.Window = floodWindow + members*floodWindow/1000
	c.out.Patient = min(5*floodWindow+members*floodWindow, patientMax)
	c.calm = calm(c.cfg.Timing.Settle, c.overlay, c.out.Window)
	c.past = c.past[:0]
	past := c.roster.Past()
	for _, h := range past[max(0, len(past)-wire.PastMax):] {
		c.past = append(c.past, short(h))
	}
}

func short(h [32]byte) wire.Short8 { return wire.Short8(h[:8]) }

// agreed looks whether the fleet has agreed on another roster than this instance goes by.
func (c *Core) agreed() {
	r := c.bus.State().Roster()
	if r == c.agreedOn || r == nil || c.ending() {
		return
	}
	c.agreedOn = r
	switch mine := c.roster; {
	case r.Chain() == mine.Chain():
		c.rosterEra = c.bus.Identity().Era
	case r.Version > mine.Version && r.Follows(mine), mine.Version == 1 && r.Hash() == mine.Hash():
		c.reroll(r)
	case mine.Follows(r) && c.bus.Identity().Era <= c.rosterEra, mine.Version == 1 && mine.Extends(r):
		// An old entry: those that made mine come behind it.
	case mine.Version == 1:
		c.fatalRoster(fmt.Sprintf("the fleet goes by version %d of its roster (%x), which did not come "+
			"from the one that %s was started with (%x): start it with the roster that "+
			"`ring roster show` of the others tells", r.Version, short(r.Hash()), c.roster.Names[c.self],
			short(mine.Hash())))
	default: // the bus was recovered from before what we know of
		c.fx = append(c.fx, Effect{Kind: Rerolled, Roster: r, Era: c.bus.Identity().Era})
		c.fatalRoster(fmt.Sprintf("the bus was recovered, and its roster is version %d (%x) now, "+
			"not %d (%x): start this instance again", r.Version, short(r.Hash()),
			mine.Version, short(mine.Hash())))
	}
}

// ending reports whether this process is about to end.
func (c *Core) ending() bool { return c.isRetired || c.dying }

func (c *Core) fatalRoster(text string) {
	c.dying = true
	c.fatal(text)
}

// reroll goes over to the roster r, which came from the one that this instance has. All
// that is kept by index grows; nobody's index changes. Links that are needed no more stay
// for a while (prune), so that the new ones stand before.
func (c *Core) reroll(r *roster.Roster) {
	was, drop := c.roster, false
	if r.Version > 1 {
		r = r.WithAddrs(c.cfg.Roster)
	}
	c.roster, c.n = r, r.Len()
	c.rosterEra = c.bus.Identity().Era
	c.table.Grow(c.n)
	if !r.Retired(c.self) { // who is out keeps its place until it has gone
		c.overlay = c.room.overlayOf(r)
	}
	c.size()
	for i := range was.Len() {
		if r.Retired(i) && !was.Retired(i) && i != c.self {
			drop = c.retire(i) || drop
		}
	}
	if drop && c.joined {
		c.publish()
	}
	for _, p := range c.peers {
		p.neighbour = false
	}
	for _, i := range c.overlay.Neighbours(c.self) {
		if p := c.peer(i); !c.retired(i) {
			p.neighbour = true
		}
	}
	if c.answers != nil {
		c.answers.Grow(c.n)
		c.answers.Changed(c.now)
	}
	c.token.SetRoster(r.Version)
	c.news()
	c.fx = append(c.fx, Effect{Kind: Rerolled, Roster: r, Overlay: c.overlay, Era: c.rosterEra})
	c.bus.Reroll(c.now, r)
	c.moved = true
	if r.Version > 1 {
		c.tell(Report{
			Kind: RosterChanged, Subject: -1, Revision: c.bus.State().Applied(), Lap: r.Version,
			Text: rosterText(was, r),
		})
	}
	if r.Retired(c.self) {
		c.retireSelf()
		return
	}
	early := c.early
	c.early = nil
	for i := range early { // of those that are still ahead it is kept again
		c.onRecord(&early[i], nil)
	}
}

// earlyMax bounds the records that are kept of instances which the roster does not have.
const earlyMax = 256

// keepEarly keeps a record of somebody who has joined before this instance has heard of the
// roster that has it: else it would come again only when digests have stayed different.
//
// Where instances sign it does, because only the link that it came on has the certificates.
func (c *Core) keepEarly(r *wire.Record) {
	if c.signs() {
		return
	}
	at, ok := slices.BinarySearchFunc(c.early, r.Origin,
		func(r wire.Record, origin uint32) int { return cmp.Compare(r.Origin, origin) })
	kept := *r
	kept.Accused = slices.Clone(r.Accused)
	switch {
	case !ok && len(c.early) < earlyMax:
		c.early = slices.Insert(c.early, at, kept)
	case ok && (r.Incarnation > c.early[at].Incarnation ||
		r.Incarnation == c.early[at].Incarnation && r.Seq > c.early[at].Seq):
		c.early[at] = kept
	}
}

// rosterText says what has changed from was to now.
func rosterText(was, now *roster.Roster) string {
	var more, less []string
	for i, name := range now.Names {
		switch {
		case i >= was.Len():
			more = append(more, name)
		case now.Retired(i) && !was.Retired(i):
			less = append(less, name)
		}
	}
	text := fmt.Sprintf("version %d of %d instances", now.Version, now.Members())
	if len(more) > 0 {
		text += ", with " + few(more)
	}
	if len(less) > 0 {
		text += ", without " + few(less)
	}
	return text
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// retire forgets all of another instance that is out of the roster, and reports whether our
// own record said anything of it.
func (c *Core) retire(i int) (accused bool) {
	c.setState(i, wire.Unknown)
	c.table.Forget(i)
	if p := c.byIdx[i]; p != nil {
		p.accused, p.lost, p.watched = false, false, false
	}
	was := len(c.accused)
	c.dropAccusation(i)
	delete(c.said, i)
	delete(c.seals, i)
	delete(c.proofs, i)
	delete(c.rings, i)
	delete(c.outs, i)
	delete(c.cleared, i)
	delete(c.between, int32(i))
	delete(c.downAt, i)
	if at, ok := c.flapOf(i); ok {
		c.flaps = slices.Delete(c.flaps, at, at+1)
	}
	return len(c.accused) < was
}

// retireSelf says goodbye, for good. Whoever votes stays until somebody else has its vote: a
// change that retires many voters must not cost the fleet its quorum.
func (c *Core) retireSelf() {
	c.isRetired = true
	if !c.leaving {
		c.leave()
	}
	c.lingers = c.bus.HasPart()
	if c.lingers {
		c.goneAt = time.Time{}
	}
	c.version++
}

// linger ends once this instance, which is retired, has no vote any more.
func (c *Core) linger() {
	if c.lingers && !c.bus.HasPart() {
		c.lingers = false
		c.goneAt = c.now.Add(goodbye)
	}
}

// gone is the end of an instance that has said goodbye.
func (c *Core) gone() {
	if c.isRetired {
		c.fx = append(c.fx, Effect{Kind: Fatal, Report: Report{
			Kind: Retired, Subject: c.self, Text: c.retiredText(c.self),
		}})
		return
	}
	c.fx = append(c.fx, Effect{Kind: Gone})
}

func (c *Core) retiredText(i int) string {
	return fmt.Sprintf("%s is retired from the roster, since version %d of it at the latest: remove it "+
		"from its host; to have it back, add it anew (`ring roster add`), with an empty data directory",
		c.roster.Names[i], c.roster.Version)
}

// related reports whether one of our roster and that of h came from the other, or they are
// the same.
func (c *Core) related(h *wire.Hello) bool {
	mine := c.roster.Hash()
	if h.Roster == mine {
		return true
	}
	if h.RosterVersion == 0 { // it knows of none but its own
		return false
	}
	return c.roster.Knows(h.Roster) || slices.Contains(h.Past, short(mine))
}

// newer reports whether the roster of h came from ours.
func (c *Core) newer(h *wire.Hello) bool {
	return h.Roster != c.roster.Hash() && slices.Contains(h.Past, short(c.roster.Hash()))
}

// onRetired is told that we are retired. One who says so may be wrong, or lie; two are
// believed by whom nobody is linked with.
func (c *Core) onRetired(p *peer, text string) {
	if !slices.Contains(c.toldRetired, p.i) {
		c.toldRetired = append(c.toldRetired, p.i)
		if c.mayTell(p.i) {
			c.tell(Report{Kind: Refusing, Subject: p.i, Text: text})
		}
	}
	if c.linkedPeers() == 1 && len(c.toldRetired) >= min(2, len(c.overlay.Neighbours(c.self))) {
		c.dying = true
		c.fx = append(c.fx, Effect{Kind: Fatal, Report: Report{
			Kind: Retired, Subject: c.self, Text: text,
		}})
	}
}

// lingersWith reports whether i, which is retired, still has a vote to give away.
func (c *Core) lingersWith(i int) bool {
	return slices.ContainsFunc(c.bus.Voters(), func(v consensus.Voter) bool { return v.ID.Index() == i })
}
