package core

import (
	"fmt"
	"math"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/wire"
)

// Points against an instance that goes and comes back: a process that died and
// was started again costs one, one that went silent and was found alive after
// all costs two. They halve every Timing.HoldDown. Whoever has more than
// flapFree when it wants to return waits until it is down to flapBack.
const (
	flapSilent = 2.0
	flapProof  = 1.0
	flapFree   = 3.0
	flapBack   = 2.0
)

type flap struct {
	points float64
	at     time.Time
}

// floodBytes is where a frame of records is full: other frames must not wait
// long behind it.
const floodBytes = 16 << 10

// onFlood takes records and hands on what was new.
func (c *Core) onFlood(cn *conn, f *wire.Flood) {
	for i := range f.Records {
		c.onRecord(&f.Records[i], uint64(cn.id))
	}
}

func (c *Core) onRecord(r *wire.Record, from uint64) {
	if r.Origin == uint32(c.self) {
		c.onOwnRecord(r)
		return
	}
	if !c.table.Newer(r.Origin, r.Incarnation, r.Seq) {
		return
	}
	i := int(r.Origin)
	was, wasInc := c.table.State(i), c.table.Incarnation(i)
	before, wasBoot := c.table.Accused(i), c.table.Boot(i)
	if was == wire.Alive {
		c.viewID ^= viewMix(i, wasInc)
	}
	c.table.Merge(r)
	if was == wire.Alive {
		c.viewID ^= viewMix(i, r.Incarnation)
	}
	c.out.Add(r.Origin, from, r.Left || r.Out || len(before)+len(r.Accused) > 0)
	c.token.Heard(r.Epoch)
	c.version++
	if len(before)+len(r.Accused) > 0 {
		c.onAccusations(i, before, r.Accused)
	}
	switch {
	case r.Left && was != wire.Left:
		c.setState(i, wire.Left)
		if was == wire.Alive {
			c.tell(Report{Kind: Parted, Subject: i, Incarnation: r.Incarnation})
		}
	case r.Out && was == wire.Alive: // it was cut, and we had missed it
		c.setState(i, wire.Down)
		c.tell(Report{Kind: Died, Subject: i, Incarnation: r.Incarnation, By: []int{i},
			Text: "it was cut before, and waits for its return"})
	case r.Out && was == wire.Unknown:
		c.setState(i, wire.Down)
	case r.Left || r.Out || r.Incarnation == wasInc:
	case was == wire.Alive && c.table.Boot(i) == wasBoot: // it was cut elsewhere, and came back
		c.returned(i, r.Incarnation)
		c.news()
	case was == wire.Alive:
		c.addFlap(i, flapProof)
		c.tell(Report{Kind: Died, Subject: i, Incarnation: wasInc, Proof: true, By: []int{i},
			Text: "a new process answers in its place"})
		c.returned(i, r.Incarnation)
		c.incident++
		c.news()
	default:
		c.setState(i, wire.Alive)
		c.returned(i, r.Incarnation)
	}
}

// returned greets an instance that is in the ring from now on.
func (c *Core) returned(i int, inc uint32) {
	delete(c.cleared, i)
	delete(c.between, i)
	p := c.byIdx[i]
	if p != nil {
		p.lost, p.since = false, c.now
		p.graceTill = time.Time{}
		if p.accused {
			p.accused = false
			c.dropAccusation(i)
			if c.joined {
				c.publish()
			}
		}
	}
	c.tell(Report{Kind: Returned, Subject: i, Incarnation: inc})
}

// onAccusations tells what origin newly says of its neighbours.
func (c *Core) onAccusations(origin int, before, after []wire.Accusation) {
	c.weigh = true
	for _, a := range after {
		if int64(a.Subject) < int64(c.n) && !accuses(before, a.Subject, a.Incarnation) {
			c.fresh = c.now
			if int(a.Subject) != c.self && c.joined {
				c.tell(Report{Kind: Accused, Subject: int(a.Subject), By: []int{origin},
					Incarnation: a.Incarnation, Proof: a.Proof})
			}
		}
	}
	for _, b := range before {
		if int64(b.Subject) < int64(c.n) && !accuses(after, b.Subject, b.Incarnation) &&
			c.table.Incarnation(int(b.Subject)) == b.Incarnation {
			c.tell(Report{Kind: Cleared, Subject: int(b.Subject), By: []int{origin}})
		}
	}
}

func accuses(list []wire.Accusation, subject, inc uint32) bool {
	for _, a := range list {
		if a.Subject == subject && a.Incarnation == inc {
			return true
		}
	}
	return false
}

func viewMix(i int, inc uint32) uint64 { return flood.Mix(uint64(i), uint64(inc)) }

// setState moves i to another state at its present incarnation.
func (c *Core) setState(i int, s wire.State) {
	was := c.table.State(i)
	if was == s {
		return
	}
	mix := viewMix(i, c.table.Incarnation(i))
	if was == wire.Alive {
		c.alive--
		c.viewID ^= mix
	}
	if was == wire.Left {
		c.left--
	}
	if s == wire.Alive {
		c.alive++
		c.viewID ^= mix
	}
	if s == wire.Left {
		c.left++
	}
	c.table.SetState(i, s)
	c.news()
}

// news marks that the view is not what it was.
func (c *Core) news() {
	c.look, c.weigh, c.viewNews = true, true, true
	c.version++
}

// accuse says that p cannot be reached, to everybody.
func (c *Core) accuse(p *peer, proof bool) {
	if !c.joined || !c.isAlive(p.i) || p.accused && (p.proof || !proof) ||
		len(c.accused) >= wire.AccusedMax {
		return
	}
	c.dropAccusation(p.i)
	p.accused, p.proof = true, proof
	inc := c.table.Incarnation(p.i)
	c.accused = append(c.accused, wire.Accusation{
		Subject: uint32(p.i), Incarnation: inc, Proof: proof})
	c.fresh, c.weigh = c.now, true
	c.tell(Report{Kind: Accused, Subject: p.i, By: []int{c.self}, Incarnation: inc, Proof: proof})
	c.publish()
}

// clear takes an accusation back: the other side was heard, and hears us.
func (c *Core) clear(p *peer) {
	if !p.accused || !c.isAlive(p.i) {
		return
	}
	p.accused = false
	c.dropAccusation(p.i)
	c.weigh = true
	c.tell(Report{Kind: Cleared, Subject: p.i, By: []int{c.self}})
	c.publish()
}

func (c *Core) dropAccusation(i int) {
	c.accused = slices.DeleteFunc(slices.Clone(c.accused), func(a wire.Accusation) bool {
		return int(a.Subject) == i
	})
}

// publish floods our own record anew.
func (c *Core) publish() {
	c.seq++
	was := c.table.Accused(c.self)
	c.table.Merge(&wire.Record{
		Origin: uint32(c.self), Incarnation: c.inc, Seq: c.seq, Boot: c.cfg.Boot, PID: c.cfg.PID,
		Epoch: c.token.Top(), Left: c.leaving, Out: !c.joined, Build: c.cfg.Build, Accused: c.accused,
	})
	c.out.Add(uint32(c.self), 0, c.leaving || !c.joined || len(was)+len(c.accused) > 0)
	c.version++
}

// spread hands on the records that are due, one frame to a link.
func (c *Core) spread() {
	c.handOn(c.out.Flush(c.now))
}

// spreadNow hands on what is pending at once: the links are about to close.
func (c *Core) spreadNow() { c.handOn(c.out.Flush(c.out.Deadline())) }

func (c *Core) handOn(pending []flood.Pending) {
	if len(pending) == 0 {
		return
	}
	for _, cn := range c.open {
		if !cn.up {
			continue
		}
		c.sendRecords(cn, func(yield func(int) bool) {
			for _, p := range pending {
				if p.From != uint64(cn.id) && !yield(int(p.Origin)) {
					return
				}
			}
		})
	}
}

// sendAll sends every record held.
func (c *Core) sendAll(cn *conn) {
	c.sendRecords(cn, func(yield func(int) bool) {
		for i := range c.n {
			if !yield(i) {
				return
			}
		}
	})
}

func (c *Core) sendRecords(cn *conn, origins func(func(int) bool)) {
	var batch []wire.Record
	size := 0
	for i := range origins {
		r, ok := c.table.Record(i)
		if !ok {
			continue
		}
		bytes := wire.RecordSize(&r)
		if len(batch) == wire.RecordsMax || len(batch) > 0 && size+bytes > floodBytes {
			c.send(cn, &wire.Flood{Records: batch})
			batch, size = nil, 0
		}
		batch, size = append(batch, r), size+bytes
	}
	if len(batch) > 0 {
		c.send(cn, &wire.Flood{Records: batch})
	}
}

// judge weighs all accusations between the living.
func (c *Core) judge() {
	c.weigh = false
	old := c.verdict
	c.listEdges(c.selfCut)
	c.verdict = detect.Judge(c.cfg.Overlay, c.isAlive, c.edges)
	c.doomed = !c.selfCut && c.isDoomed()
	if c.doomed {
		c.listEdges(true)
		c.verdict = detect.Judge(c.cfg.Overlay, c.isAlive, c.edges)
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
	for _, f := range c.verdict.Findings {
		if f.Subject == c.self {
			return f.Over()
		}
	}
	return false
}

// listEdges gathers the accusations between the living; own, only ours: who is
// cut off has nothing but its own eyes.
func (c *Core) listEdges(own bool) {
	c.edges = c.edges[:0]
	for _, o := range c.table.Accusers() {
		if !c.isAlive(o) || o != c.self && (own || !c.credible(o)) {
			continue
		}
		for _, a := range c.table.Accused(o) {
			s := int(a.Subject)
			if int64(a.Subject) < int64(c.n) && s != o && c.isAlive(s) &&
				c.table.Incarnation(s) == a.Incarnation {
				c.edges = append(c.edges, detect.Edge{Observer: o, Subject: s, Proof: a.Proof})
			}
		}
	}
}

// credible reports whether o is believed: not if it accuses two or more whom we
// hear, ourselves included. That is somebody who was cut off himself, and has
// not noticed yet that he is back.
func (c *Core) credible(o int) bool {
	against := 0
	for _, a := range c.table.Accused(o) {
		s := int(a.Subject)
		if int64(a.Subject) >= int64(c.n) || c.table.Incarnation(s) != a.Incarnation {
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
	between := map[int]time.Time{}
	c.overs = 0
	for _, f := range c.verdict.Findings {
		switch {
		case f.Subject == c.self:
		case f.Over():
			c.overs++
		case f.Between():
			since, ok := c.between[f.Subject]
			if !ok {
				since = c.now
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
	case c.overs == 0:
		c.over = time.Time{}
	case c.over.IsZero():
		c.over = c.now
	}
}

// expireBetween clears whom not all unaccused observers accuse for one
// detection time: somebody hears it, its bad links are just that.
func (c *Core) expireBetween() {
	for s, since := range c.between {
		if c.now.Sub(since) >= c.detection() {
			c.cleared[s] = true
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
		if !c.cleared[s] {
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
	if c.over.IsZero() || !c.joined || c.blocked() {
		return time.Time{}
	}
	at := earlier(c.fresh.Add(c.quiet()), c.over.Add(8*c.quiet()))
	if c.quorate(c.alive-c.overs) && c.odd() {
		return time.Time{} // the others' word, or our own recovery, comes by itself
	}
	if at.Before(c.stale) { // back from an absence, we are no judge yet
		return c.stale
	}
	return at
}

func (c *Core) cutDeadline() time.Time {
	d := earlier(earlier(c.cutAt(), c.aloneAt()), c.badAt)
	for s, since := range c.between {
		if !c.cleared[s] {
			d = earlier(d, since.Add(c.detection()))
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
		if f.Over() && f.Subject != c.self {
			marks = append(marks, wire.Mark{
				Subject: uint32(f.Subject), Incarnation: c.table.Incarnation(f.Subject)})
		}
	}
	quorum := c.quorate(c.alive - len(marks))
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
	r := Report{Kind: Died, Subject: i, Incarnation: m.Incarnation}
	if c.verdict != nil {
		for _, f := range c.verdict.Findings {
			if f.Subject == i {
				r.By = f.By
			}
		}
	}
	for _, e := range c.edges {
		r.Proof = r.Proof || e.Subject == i && e.Proof
	}
	switch {
	case !quorum:
		r.Kind = Unreached
	case r.Proof:
		c.addFlap(i, flapProof)
	default:
		c.addFlap(i, flapSilent)
	}
	c.setState(i, wire.Down)
	c.incident++
	delete(c.between, i)
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
	for _, f := range c.verdict.Findings {
		if f.Subject == i {
			return f.Over()
		}
	}
	return false
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

// tellView tells one line for all that happened to the view in this step.
func (c *Core) tellView() {
	if c.viewNews {
		c.viewNews = false
		c.changes++
		c.token.SetRing(max(c.alive, 1), c.rankOfSelf())
		if c.joined {
			c.tell(Report{Kind: ViewChanged, Subject: -1,
				Text: fmt.Sprintf("%d of %d alive", c.alive, c.n)})
		}
		c.incident = 0
		c.findBadLinks()
	}
	off := c.joined && (c.selfCut || c.doomed || !c.quorumOf(c.alive) || c.alone())
	if off == c.cutOff {
		c.wasWhole = c.wasWhole || c.joined && !off
		return
	}
	c.cutOff = off
	c.version++
	text := fmt.Sprintf("%d of %d in reach", c.alive, c.n-c.left)
	c.minority = c.minority || off
	switch {
	case off && c.wasWhole:
		if c.selfCut || c.doomed {
			text = "the others have cut this instance from the ring"
		}
		c.tell(Report{Kind: CutOff, Subject: c.self, Text: text})
	case !off && c.joined:
		if c.wasWhole {
			c.tell(Report{Kind: Whole, Subject: c.self, Text: text})
		}
		c.wasWhole = true
	}
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

// quorumOf reports whether n instances are more than half of those that have
// not left.
func (c *Core) quorumOf(n int) bool { return 2*n > c.n-c.left }

// quorate reports whether a view with n alive may speak for the ring: it has a
// quorum, and is not that of a minority which those it met again have filled up
// without having told it theirs.
func (c *Core) quorate(n int) bool { return c.quorumOf(n) && !c.minority }

func (c *Core) rank() wire.Rank {
	if c.now.Before(c.stale) || !c.joined { // no view to go by
		return wire.Rank{Min: uint16(c.self)}
	}
	r := wire.Rank{Quorum: c.quorate(c.alive), Alive: uint16(c.alive), Min: uint16(c.self)}
	for i := range c.n {
		if c.isAlive(i) {
			r.Min = uint16(i)
			break
		}
	}
	return r
}

// rankOfSelf counts the living with a smaller index.
func (c *Core) rankOfSelf() int {
	n := 0
	for i := range c.self {
		if c.isAlive(i) {
			n++
		}
	}
	return n
}

// badAfter is how long an accusation must stand, with both ends alive, before
// the link is shown as bad: most are followed by a verdict or taken back.
func (c *Core) badAfter() time.Duration { return c.cfg.Timing.Patience + 8*c.quiet() }

// findBadLinks lists the standing accusations between instances that both live.
func (c *Core) findBadLinks() {
	stood := make(map[[2]int]time.Time, len(c.edges))
	bad := make(map[[2]int]bool, len(c.isBad))
	var list []BadLinkView
	c.badAt = time.Time{}
	for _, e := range c.edges {
		key := [2]int{e.Observer, e.Subject}
		since, ok := c.stood[key]
		if !ok {
			since = c.now
		}
		stood[key] = since
		due := since.Add(c.badAfter())
		switch {
		case !c.isAlive(e.Observer) || !c.isAlive(e.Subject):
		case c.now.Before(due):
			c.badAt = earlier(c.badAt, due)
		case !bad[key]:
			bad[key] = true
			list = append(list, BadLinkView{From: e.Observer, To: e.Subject, Proof: e.Proof})
			if !c.isBad[key] {
				c.tell(Report{Kind: BadLink, Subject: e.Subject, By: []int{e.Observer}})
				c.version++
			}
		}
	}
	for _, b := range c.bad {
		if !bad[[2]int{b.From, b.To}] && c.isAlive(b.From) && c.isAlive(b.To) {
			c.tell(Report{Kind: GoodLink, Subject: b.To, By: []int{b.From}})
			c.version++
		}
	}
	c.stood, c.bad, c.isBad = stood, list, bad
}

// addFlap counts a removal of i against its next returns.
func (c *Core) addFlap(i int, points float64) {
	f := c.flaps[i]
	c.flaps[i] = flap{points: c.decayed(f) + points, at: c.now}
}

func (c *Core) decayed(f flap) float64 {
	if f.points == 0 {
		return 0
	}
	return f.points * math.Exp2(-float64(c.now.Sub(f.at))/float64(c.cfg.Timing.HoldDown))
}

// dampedFor is how long i must still wait before it may return.
func (c *Core) dampedFor(i int) time.Duration {
	f, ok := c.flaps[i]
	if !ok || f.points <= flapFree {
		return 0
	}
	wait := time.Duration(math.Log2(f.points/flapBack) * float64(c.cfg.Timing.HoldDown))
	return max(f.at.Add(wait).Sub(c.now), 0)
}
