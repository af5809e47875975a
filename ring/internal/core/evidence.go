package core

import (
	"slices"

	"ringofservers.dev/ring/internal/wire"
)

// tally is who accuses one instance, of those that are counted.
type tally struct {
	inc  uint32
	by   [2]uint32
	n    int
	need int
}

func (t *tally) add(origin uint32) {
	if t.n < len(t.by) && (t.n == 0 || t.by[0] != origin) {
		t.by[t.n] = origin
		t.n++
	}
}

// unproven is which of marks, as they came on cn, would change something here and rest on
// the word of fewer than two: who accuses the subject at this incarnation, by a record
// that it has signed, or has told us so on its own link. One is enough where there is but
// one other. Where nobody signs there is nothing to go by.
func (c *Core) unproven(cn *conn, marks []wire.Mark) (out []wire.Mark) {
	if !c.signs() {
		return nil
	}
	counts := c.tallies(cn, marks)
	for _, m := range marks {
		if t := counts[m.Subject]; t != nil && t.n < t.need {
			out = append(out, m)
		}
	}
	return out
}

// tallies counts who speaks against those of marks who live here.
func (c *Core) tallies(cn *conn, marks []wire.Mark) map[uint32]*tally {
	counts := make(map[uint32]*tally, len(marks))
	for _, m := range marks {
		i := int(m.Subject)
		if i >= c.n || !c.isAlive(i) && i != c.self || m.Incarnation < c.table.Incarnation(i) ||
			c.table.Incarnation(i) == 0 {
			continue // it changes nothing
		}
		t := &tally{inc: m.Incarnation, need: 2}
		others := c.alive
		if c.isAlive(i) {
			others--
		}
		if others < 2 {
			t.need = 1
		}
		p := c.say(cn, m)
		for _, s := range p.by {
			t.add(s.origin)
		}
		for _, s := range p.said {
			if s.by != m.Subject && c.now.Sub(s.at) < 8*c.detection() {
				t.add(s.by)
			}
		}
		counts[m.Subject] = t
	}
	if len(counts) == 0 {
		return counts
	}
	for o, list := range c.table.Accusers() {
		for _, a := range list {
			if t := counts[a.Subject]; t != nil && a.Incarnation == t.inc && uint32(o) != a.Subject {
				t.add(uint32(o))
			}
		}
	}
	return counts
}

// say notes that the other end of cn says that m is dead, and returns what there is
// against it. Of an incarnation that is not known here nothing is kept.
func (c *Core) say(cn *conn, m wire.Mark) proofs {
	i, by := int(m.Subject), uint32(cn.peer.i)
	if m.Incarnation != c.table.Incarnation(i) {
		return proofs{said: []saying{{by, c.now}}}
	}
	p := c.proofsOf(i, m.Incarnation)
	if at := slices.IndexFunc(p.said, func(s saying) bool { return s.by == by }); at >= 0 {
		p.said = slices.Delete(p.said, at, at+1)
	}
	p.said = append(p.said, saying{by, c.now})
	p.said = p.said[max(len(p.said)-proofsKept, 0):]
	c.proofs[i] = p
	return p
}

// proofsOf is what there is against i at that incarnation.
func (c *Core) proofsOf(i int, inc uint32) proofs {
	if p := c.proofs[i]; p.inc == inc {
		return p
	}
	return proofs{inc: inc}
}

// doubts is which of marks do not count, and whether all of them have to wait for what
// the other end of cn is asked to show. It is asked once, and then what it has shown
// counts, and the rest does not.
func (c *Core) doubts(cn *conn, marks []wire.Mark) (not []wire.Mark, wait bool) {
	not = c.unproven(cn, marks)
	if len(not) == 0 {
		return nil, false
	}
	if !cn.asked.IsZero() && c.now.Sub(cn.asked) < 2*c.cfg.Timing.Beat {
		if c.now.Sub(cn.asked) >= c.cfg.Timing.Beat/8 && c.mayTell(cn.peer.i) {
			c.tell(Report{
				Kind: Unproven, Subject: int(not[0].Subject), By: []int{cn.peer.i},
				Incarnation: not[0].Incarnation,
			})
		}
		return not, false
	}
	cn.asked = c.now
	c.send(cn, &wire.Show{Marks: not})
	return not, true
}

// onShow shows what our verdicts rest on, and then says them again.
func (c *Core) onShow(cn *conn, m *wire.Show) {
	if c.now.Sub(cn.shown) < c.cfg.Timing.Beat/2 {
		return
	}
	cn.shown = c.now
	var list []*seal
	sent := map[*seal]bool{}
	size := 0
	for _, k := range m.Marks {
		i := int(k.Subject)
		if i >= c.n || i == c.self || size > shownMax {
			continue
		}
		for _, s := range c.accusersOf(k) {
			if !sent[s] {
				sent[s] = true
				list = append(list, s)
				size += len(s.body) + len(s.sig) + len(s.key.chain)
			}
		}
	}
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) && n < wire.SealedMax && (n == 0 || size+len(list[n].body) < floodBytes) {
			size += len(list[n].body) + wire.SigMax
			n++
		}
		f := &wire.Shown{}
		for _, s := range list[:n] {
			f.Records = append(f.Records, wire.Record{Origin: s.origin, Seal: s.wire()})
		}
		c.shows(cn, func(yield func(need) bool) {
			for _, s := range list[:n] {
				if !yield(need{int(s.origin), s.key}) {
					return
				}
			}
		})
		c.send(cn, f)
		list = list[n:]
	}
	c.sendSync(cn)
}

// accusersOf is what shows k, as far as this instance has it.
func (c *Core) accusersOf(k wire.Mark) (out []*seal) {
	out = slices.Clone(c.proofsOf(int(k.Subject), k.Incarnation).by)
	for o, list := range c.table.Accusers() {
		if len(out) >= proofsKept {
			break
		}
		if !accuses(list, k.Subject, k.Incarnation) || uint32(o) == k.Subject ||
			slices.ContainsFunc(out, func(s *seal) bool { return s.origin == uint32(o) }) {
			continue
		}
		if s := c.sealOf(o); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// onShown takes what others say of somebody who is said to be dead.
func (c *Core) onShown(cn *conn, m *wire.Shown) {
	if cn.asked.IsZero() || c.now.Sub(cn.asked) >= 2*c.cfg.Timing.Beat {
		return // nobody asked
	}
	for i := range m.Records {
		r := &m.Records[i]
		o := int(r.Origin)
		if o >= c.n || !c.sound(r) {
			continue
		}
		if o == c.self || c.table.Newer(r.Origin, r.Incarnation, r.Seq) {
			if c.onRecord(r, cn); c.conns[cn.id] == nil {
				return
			}
			continue
		}
		if !slices.ContainsFunc(r.Accused, c.lacks(r.Origin)) {
			continue
		}
		k, w := c.vouchedRecord(cn, r)
		if c.conns[cn.id] == nil {
			return
		}
		if w == Sound || w == Lapsed { // what was true at that incarnation stays so
			cn.used(k)
			s := newSeal(r, k)
			for _, a := range r.Accused {
				if c.lacks(r.Origin)(a) {
					c.keepProof(a, s)
				}
			}
		}
	}
}

// lacks reports of an accusation by origin whether it is of use here.
func (c *Core) lacks(origin uint32) func(wire.Accusation) bool {
	return func(a wire.Accusation) bool {
		i := int(a.Subject)
		if a.Subject == origin || a.Incarnation != c.table.Incarnation(i) {
			return false
		}
		p := c.proofsOf(i, a.Incarnation)
		return len(p.by) < proofsKept &&
			!slices.ContainsFunc(p.by, func(s *seal) bool { return s.origin == origin })
	}
}

// keepProof keeps that s accuses somebody at the incarnation that the table has.
func (c *Core) keepProof(a wire.Accusation, s *seal) {
	p := c.proofsOf(int(a.Subject), a.Incarnation)
	p.by = append(p.by, s)
	c.proofs[int(a.Subject)] = p
}

// keepProofs keeps with one who is buried what that rests on: those who accuse it may
// take it back, or begin another life, and the verdict must be shown all the same.
func (c *Core) keepProofs(i int) {
	if !c.signs() {
		return
	}
	inc := c.table.Incarnation(i)
	c.proofs[i] = proofs{inc: inc, by: c.accusersOf(wire.Mark{Subject: uint32(i), Incarnation: inc})}
}

// keepOld keeps the record of origin that another takes the place of, where it is part of
// what a verdict rests on.
func (c *Core) keepOld(origin int, before, after []wire.Accusation) {
	s := c.seals[origin]
	if s == nil {
		return
	}
	for _, a := range before {
		if !accuses(after, a.Subject, a.Incarnation) && c.table.State(int(a.Subject)) == wire.Down &&
			c.lacks(uint32(origin))(a) {
			c.keepProof(a, s)
		}
	}
}
