package core

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/wire"
)

// judge weighs all accusations between the living.
func (c *Core) judge() {
	c.weigh = false
	old := c.verdict
	c.doomed = false
	c.verdict = detect.Judge(c.cfg.Overlay, c.isAlive, c.edges())
	c.doomed = !c.selfCut && c.isDoomed()
	if c.doomed {
		c.verdict = detect.Judge(c.cfg.Overlay, c.isAlive, c.edges())
	}
	if old == nil || !slices.EqualFunc(old.Findings, c.verdict.Findings,
		func(a, b detect.Finding) bool { return a.Subject == b.Subject }) {
		c.look = true
	}
	c.noteMarks()
	c.findBadLinks()
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
	believed, last := false, -1
	for o, a := range c.table.Accusations() {
		if o != last {
			believed, last = c.believed(o), o
		}
		if s := int(a.Subject); believed && s != o && c.stands(a) {
			edges = append(edges, detect.Edge{Observer: o, Subject: s, Proof: a.Proof})
		}
	}
	c.room.edges = edges
	return edges
}

// believed reports whether what o says counts: who is cut off has nothing but
// its own eyes.
func (c *Core) believed(o int) bool {
	return c.isAlive(o) && (o == c.self || !c.selfCut && !c.doomed && c.credible(o))
}

// stands reports whether a is of somebody who lives.
func (c *Core) stands(a wire.Accusation) bool {
	s := int(a.Subject)
	return c.isAlive(s) && c.table.Incarnation(s) == a.Incarnation
}

// credible reports whether o is believed: not if it accuses two or more whom we
// hear, ourselves included. That is somebody who was cut off himself, and has
// not noticed yet that he is back.
func (c *Core) credible(o int) bool {
	against := 0
	for _, a := range c.accusedBy(o) {
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
			since, ok := c.between[f.Subject]
			if !ok {
				since = c.now.Sub(c.born)
			}
			between[f.Subject] = since
		}
	}
	c.between = between
	for s := range c.cleared {
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
	for s, since := range c.between {
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
	for s := range c.between {
		if !c.cleared[int(s)] {
			return true
		}
	}
	return false
}

// quiet is how long no accusation may come before a cut: Settle, and more in a
// larger fleet, where one incident takes longer to be told, and on a machine
// that itself runs late.
func (c *Core) quiet() time.Duration {
	settle := c.cfg.Timing.Settle
	return settle + settle*time.Duration(c.n)/20 + min(c.drift, 10*settle)
}

// cutAt is when the cut can be made; zero while nobody is to be cut or somebody
// is between the marks.
func (c *Core) cutAt() time.Time {
	if c.over.IsZero() || c.weigh || !c.joined || c.blocked() {
		return time.Time{}
	}
	at := earlier(c.fresh.Add(c.quiet()), c.over.Add(8*c.quiet()))
	// Where a quorum of the voters is left with less than half of the instances,
	// to be silent with most is nobody's own illness.
	if c.quorate(c.overs...) && 2*(c.alive-len(c.overs)) > c.alive && c.odd() {
		return time.Time{} // the others' word, or our own recovery, comes by itself
	}
	for _, t := range [2]time.Time{c.stale, c.unread} { // just back, we are no judge yet
		if t.After(at) {
			at = t
		}
	}
	return at
}

func (c *Core) cutDeadline() time.Time {
	d := earlier(earlier(c.cutAt(), c.aloneAt()), c.badAt)
	for s, since := range c.between {
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
				Subject: uint32(i), Incarnation: c.table.Incarnation(i)})
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
		if cn.up && cn != from {
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
	c.setState(i, wire.Down)
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

// onCut takes a quorum's verdict from somebody who is in the ring.
func (c *Core) onCut(cn *conn, m *wire.Cut) {
	if !c.isAlive(cn.peer.i) {
		return
	}
	var took []wire.Mark
	for _, k := range m.Marks {
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
	for _, i := range detect.Watched(c.cfg.Overlay, nil, c.self, c.isAlive, nil) {
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
