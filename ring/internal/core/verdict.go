package core

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/wire"
)

// judge weighs all accusations between the living.
func (c *Core) judge() {
	c.weigh = false
	old := c.verdict
	c.doomed = false
	edges := c.edges()
	c.verdict = detect.Judge(c.overlay, c.isAlive, edges)
	c.doomed = !c.selfCut && c.isDoomed()
	if c.doomed {
		edges = c.edges()
		c.verdict = detect.Judge(c.overlay, c.isAlive, edges)
	}
	if old == nil || !slices.EqualFunc(old.Findings, c.verdict.Findings,
		func(a, b detect.Finding) bool { return a.Subject == b.Subject }) {
		c.look = true
	}
	c.noteMarks()
	c.noteBadLinks(edges)
	c.version++
}

// isDoomed reports whether the others have seen enough to cut us. What they say
// of each other comes from a ring we are no longer in.
func (c *Core) isDoomed() bool {
	f, ok := c.verdict.Finding(c.self)
	return ok && f.Over()
}

// edges gathers the accusations between the living, by observer. The slice is
// valid until the next call.
func (c *Core) edges() []detect.Edge {
	edges := c.room.edges[:0]
	for o, list := range c.table.Accusers() {
		if !c.believed(o, list) {
			continue
		}
		for _, a := range list {
			if s := int(a.Subject); s != o && c.stands(a) {
				edges = append(edges, detect.Edge{Observer: o, Subject: s, Proof: a.Proof})
			}
		}
	}
	c.room.edges = edges
	return edges
}

// believed reports whether what o says counts: who is cut off has nothing but
// its own eyes.
func (c *Core) believed(o int, says []wire.Accusation) bool {
	return c.isAlive(o) && (o == c.self || !c.selfCut && !c.doomed && c.credible(says))
}

// stands reports whether a is of somebody who lives.
func (c *Core) stands(a wire.Accusation) bool {
	s := int(a.Subject)
	return c.isAlive(s) && c.table.Incarnation(s) == a.Incarnation
}

// credible reports whether somebody who says that is believed: not if it accuses
// two or more whom we hear, ourselves included. That is somebody who was cut off
// himself, and has not noticed yet that he is back.
func (c *Core) credible(says []wire.Accusation) bool {
	against := 0
	for _, a := range says {
		s := int(a.Subject)
		if c.table.Incarnation(s) != a.Incarnation {
			continue
		}
		if p := c.byIdx[s]; s == c.self || p != nil && p.healthy() != nil {
			against++
		}
	}
	return against < 2
}

// noteMarks keeps who is over the high mark, and who since when between the two.
func (c *Core) noteMarks() {
	between := map[int32]time.Duration{}
	c.overs = c.overs[:0]
	for _, f := range c.verdict.Findings {
		switch {
		case int(f.Subject) == c.self:
		case f.Over():
			c.overs = append(c.overs, int(f.Subject))
		case f.Between():
			since, ok := c.between[int32(f.Subject)]
			if !ok {
				since = c.now.Sub(c.born)
			}
			between[int32(f.Subject)] = since
		}
	}
	c.between = between
	for s := range c.cleared { // each by itself
		if !c.verdict.Accused(s) {
			delete(c.cleared, s)
		}
	}
	switch {
	case len(c.overs) == 0:
		c.over = time.Time{}
	case c.over.IsZero():
		c.over = c.now
	}
}

// expireBetween clears whom not all unaccused observers accuse for one
// detection time: somebody hears it, its bad links are just that.
func (c *Core) expireBetween() {
	for s, since := range c.between { // each by itself
		if c.now.Sub(c.born)-since >= c.detection() {
			c.cleared[int(s)] = true
		}
	}
	if !c.badAt.IsZero() && !c.now.Before(c.badAt) {
		c.findBadLinks()
	}
}

// blocked reports whether the cut waits for somebody between the marks, or for
// the answer to a check of our own that the same incident may have caused.
func (c *Core) blocked() bool {
	for _, p := range c.peers {
		if p.lost && p.dialing && p.watched && !p.accused && p.healthy() == nil {
			return true
		}
	}
	for s := range c.between { // whoever it is
		if !c.cleared[int(s)] {
			return true
		}
	}
	return false
}

// quiet is how long no accusation may come before a cut: longer on a machine
// that itself runs late.
func (c *Core) quiet() time.Duration { return c.calm + min(c.drift, c.cfg.Timing.Patience) }

// calm is the longest pause between two accusations of one incident. They are
// made within Settle of each other, but for those whose observer first had to
// hear of, and weigh, the accusation of somebody nearer to whom it stands in for.
// Such a word takes as many hops to come as the fleet is wide, and what it brings
// about takes as many again; each waits for a window, but for the first one. So
// it grows as the logarithm of the fleet's size, times the window. But where many
// share a machine, each of them has to get its turn: as long as a fleet may well
// stand on one, it is half a millisecond for each at Settle's default.
func calm(settle time.Duration, o *overlay.Overlay, window time.Duration) time.Duration {
	hops := 1
	for reach := o.Degree; reach < o.Members-1; reach *= o.Degree - 1 {
		hops++
	}
	way := time.Duration(o.Members)*weighEach +
		2*time.Duration(hops-1)*(window+settle/8) // an eighth: the way itself
	return settle + max(way, settle/20*time.Duration(min(o.Members, oneMachine)))
}

// longest is how long accusations may go on until those over the mark are cut all
// the same: as long as silence takes to be known, and where many share a machine,
// all of whom have to see to every death, up to twice that.
func (c *Core) longest() time.Duration {
	d := c.detection()
	return d + d*time.Duration(min(c.n, oneMachine))/oneMachine
}

// oneMachine is how many instances may stand on one machine.
const oneMachine = 200

// cutAt is when the cut can be made; zero while nobody is to be cut or somebody
// is between the marks.
func (c *Core) cutAt() time.Time {
	if c.over.IsZero() || c.weigh || !c.joined || c.blocked() {
		return time.Time{}
	}
	// The longer it has gone on, the longer we wait for more: on a machine that has
	// its hands full with an incident, accusations come as each gets its turn.
	quiet := max(c.quiet(), c.fresh.Sub(c.over)/2)
	at := earlier(c.fresh.Add(quiet), c.over.Add(max(8*c.quiet(), c.longest())))
	if c.quorate(c.overs...) && c.odd() {
		// The others' word, or our own recovery, comes by itself; unless those who
		// vote are with us, and it is the larger part that was cut off.
		if late := c.over.Add(c.detection()); late.After(at) {
			at = late
		}
	}
	if c.stale.After(at) { // just back, we are no judge yet
		at = c.stale
	}
	return at
}

func (c *Core) cutDeadline() time.Time {
	d := earlier(earlier(c.cutAt(), c.aloneAt()), c.badAt)
	for s, since := range c.between { // the earliest
		if !c.cleared[int(s)] {
			d = earlier(d, c.born.Add(since+c.detection()))
		}
	}
	return d
}

// cut takes out of the view all who are over the mark, as one incident. A
// quorum's verdict floods; where there is none, everybody has only its own
// word that the others cannot be reached.
func (c *Core) cut() {
	if at := c.aloneAt(); !at.IsZero() && !c.now.Before(at) {
		c.accuseAll()
		for i := range c.n { // nobody is left to ask about the rest
			if i != c.self && c.isAlive(i) {
				c.bury(wire.Mark{Subject: uint32(i), Incarnation: c.table.Incarnation(i)}, false)
			}
		}
		return
	}
	if at := c.cutAt(); at.IsZero() || c.now.Before(at) {
		return
	}
	var marks []wire.Mark
	for _, f := range c.verdict.Findings {
		if i := int(f.Subject); f.Over() && i != c.self && c.isAlive(i) {
			marks = append(marks, wire.Mark{
				Subject: uint32(i), Incarnation: c.table.Incarnation(i),
			})
		}
	}
	gone := make([]int, len(marks))
	for i, m := range marks {
		gone[i] = int(m.Subject)
	}
	quorum := c.quorate(gone...)
	for _, m := range marks {
		c.bury(m, quorum)
	}
	c.over = time.Time{}
	if quorum && len(marks) > 0 {
		c.floodCut(marks, nil)
	}
}

func (c *Core) floodCut(marks []wire.Mark, from *conn) {
	for _, cn := range c.open {
		if cn.up && cn != from && !cn.peer.aside {
			c.send(cn, &wire.Cut{Marks: marks})
		}
	}
}

// bury takes one instance out of the view. Only a quorum's word counts against
// its return: what a minority cannot reach may be the better half.
func (c *Core) bury(m wire.Mark, quorum bool) {
	i := int(m.Subject)
	r := Report{
		Kind: Died, Subject: i, Incarnation: m.Incarnation, Proof: c.verdict.Proven(i),
	}
	if f, ok := c.verdict.Finding(i); ok {
		r.By = c.verdict.By(f)
	}
	switch {
	case !quorum:
		r.Kind = Unreached
	case r.Proof:
		c.addFlap(i, flapProof)
	default:
		c.addFlap(i, flapSilent)
	}
	c.noteSaid(&r)
	c.keepProofs(i)
	c.setState(i, wire.Down)
	if !quorum {
		kept := r
		kept.By = slices.Clone(r.By) // the verdict's, which is used again
		c.lost[i] = kept
	}
	delete(c.between, int32(i))
	if p := c.byIdx[i]; p != nil {
		for _, cn := range [2]*conn{p.dialed, p.accepted} {
			if cn != nil && !cn.healthy() {
				c.shut(cn, "")
			}
		}
		p.linked = false
	}
	c.tell(r)
}

// accuseAll says of everybody that it cannot be reached, where others will ask who has
// said so.
func (c *Core) accuseAll() {
	if !c.signs() {
		return
	}
	some := false
	for i := range c.n {
		if i == c.self || !c.isAlive(i) || len(c.accused) >= wire.AccusedMax ||
			c.peer(i).accused {
			continue
		}
		c.peer(i).accused, c.peer(i).proof = true, false
		c.accused, some = append(c.accused, wire.Accusation{
			Subject: uint32(i), Incarnation: c.table.Incarnation(i),
		}), true
	}
	if some {
		c.publish()
	}
}

// onCut takes a quorum's verdict from somebody who is in the ring.
func (c *Core) onCut(cn *conn, m *wire.Cut) {
	if !c.isAlive(cn.peer.i) {
		return
	}
	not, wait := c.doubts(cn, m.Marks)
	if wait {
		return // all of one incident go together
	}
	var took []wire.Mark
	for _, k := range m.Marks {
		if slices.Contains(not, k) {
			continue
		}
		switch {
		case k.Subject == uint32(c.self):
			if c.joined && k.Incarnation == c.inc && !c.selfCut {
				c.selfCut, c.weigh = true, true
				took = append(took, k)
				c.version++
			}
		case int64(k.Subject) < int64(c.n) && c.isAlive(int(k.Subject)) &&
			c.table.Incarnation(int(k.Subject)) == k.Incarnation && c.agrees(int(k.Subject)):
			c.bury(k, true)
			took = append(took, k)
		}
	}
	if len(took) > 0 {
		c.floodCut(took, cn)
	}
}

// agrees reports whether a verdict on i may be taken from another: not against
// one whom we hear ourselves, unless the accusations we have come to the same.
func (c *Core) agrees(i int) bool {
	if p := c.byIdx[i]; p == nil || p.healthy() == nil {
		return true
	}
	if c.weigh {
		c.judge()
	}
	f, ok := c.verdict.Finding(i)
	return ok && f.Over()
}

// odd reports whether this instance is silent with most of those it watches,
// without any proof: then it is more likely the one who is ill, and leaves the
// verdict to others.
func (c *Core) odd() bool {
	silent, proofs := 0, 0
	for _, i := range c.watched {
		if p := c.byIdx[i]; p.accused && p.proof {
			proofs++
		} else if p.accused {
			silent++
		}
	}
	return proofs == 0 && 2*silent > len(c.watched)
}

// alone reports whether nobody this instance watches can be reached: it need
// not wait for the rest of the ring to be tried to know that it is cut off.
func (c *Core) alone() bool {
	if c.alive < 2 || len(c.accused) == 0 {
		return false
	}
	for _, p := range c.peers {
		if cn := p.healthy(); cn != nil && c.isAlive(p.i) && c.now.Sub(cn.pulse.Heard()) <
			c.cfg.Timing.Beat+c.cfg.Timing.Beat/4+c.cfg.Timing.Patience {
			return false
		}
	}
	for _, i := range detect.Watched(c.overlay, nil, c.self, c.isAlive, nil) {
		if p := c.byIdx[i]; p == nil || !p.accused {
			return false
		}
	}
	return true
}

// aloneAt is when an instance that is alone gives the others up: those further
// on, dialed since, have had the time to answer.
func (c *Core) aloneAt() time.Time {
	if !c.joined || !c.alone() {
		c.aloneFrom = time.Time{}
		return time.Time{}
	}
	if c.aloneFrom.IsZero() {
		c.aloneFrom = c.now
	}
	return c.aloneFrom.Add(c.cfg.Timing.Answer / 2)
}
