package core

import (
	"iter"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// floodBytes is where a frame of records is full: other frames must not wait
// long behind it.
const floodBytes = 16 << 10

// onFlood takes records and hands on what was new.
func (c *Core) onFlood(cn *conn, f *wire.Flood) {
	for i := range f.Records {
		c.onRecord(&f.Records[i], cn)
	}
	c.answerOld(cn, f.Records)
}

// answerOld sends back what we have newer than what the other end of a new link has
// told. Later that is no news to it: a record crossed another on the way.
func (c *Core) answerOld(cn *conn, told []wire.Record) {
	if c.now.Sub(cn.upAt) >= c.cfg.Timing.Patience || c.now.Before(c.youngTill) {
		return
	}
	c.sendRecords(cn, func(yield func(*sized) bool) {
		for i := range told {
			r := &told[i]
			if !c.table.Older(r.Origin, r.Incarnation, r.Seq) {
				continue
			}
			if s, ok := c.sized(int(r.Origin)); ok && !yield(&s) {
				return
			}
		}
	})
}

func (c *Core) onRecord(r *wire.Record, from *conn) {
	if r.Origin == uint32(c.self) {
		c.onOwnRecord(r, from)
		return
	}
	if r.Origin >= uint32(c.n) {
		c.keepEarly(r)
		return
	}
	if c.retired(int(r.Origin)) {
		return
	}
	if !c.table.Newer(r.Origin, r.Incarnation, r.Seq) {
		if c.out.Waiting() && c.table.Holds(r.Origin, r.Incarnation, r.Seq) {
			c.note(from, r.Origin)
		}
		return
	}
	if !c.sound(r) {
		return
	}
	if !c.saneEpoch(r.Epoch) {
		r.Epoch = wire.Epoch{}
	}
	i := int(r.Origin)
	lapsed := false
	var s *seal
	if c.signs() {
		if s, lapsed = c.admit(from, r); s == nil {
			return
		}
	}
	was, wasInc := c.table.State(i), c.table.Incarnation(i)
	before, wasBoot := c.accusedBy(i), c.table.Boot(i)
	if was == wire.Alive {
		c.viewID ^= viewMix(i, wasInc)
	}
	if s != nil {
		c.keepOld(i, before, r.Accused)
		c.seals[i] = s
		if wasInc != r.Incarnation {
			delete(c.proofs, i)
		}
	}
	c.table.Merge(r)
	if was == wire.Alive {
		c.viewID ^= viewMix(i, r.Incarnation)
	}
	c.out.Add(r.Origin, r.Left || r.Out || len(before)+len(r.Accused) > 0)
	if wasInc != 0 { // what the others told is not the newest any more
		for _, cn := range c.open {
			cn.told.Remove(r.Origin)
		}
	}
	c.note(from, r.Origin)
	c.token.Heard(r.Epoch)
	if r.Out {
		c.outs[i] = c.now
	} else {
		delete(c.outs, i)
	}
	c.recordAt = c.now
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
		c.tell(Report{
			Kind: Died, Subject: i, Incarnation: r.Incarnation, By: []int{i},
			Text: "it was cut before, and waits for its return",
		})
	case (r.Out || lapsed) && was == wire.Unknown:
		c.setState(i, wire.Down)
	case lapsed: // nobody comes back by what has run out
	case r.Left || r.Out || r.Incarnation == wasInc:
	case was == wire.Alive && c.table.Boot(i) == wasBoot: // it was cut elsewhere, and came back
		c.returned(i, r.Incarnation)
		c.news()
	case was == wire.Alive:
		c.addFlap(i, flapProof)
		c.tell(Report{
			Kind: Died, Subject: i, Incarnation: wasInc, Proof: true, By: []int{i},
			Text: "a new process answers in its place",
		})
		c.returned(i, r.Incarnation)
		c.news()
	default:
		c.setState(i, wire.Alive)
		c.returned(i, r.Incarnation)
	}
}

// sound reports whether r speaks of this roster only.
func (c *Core) sound(r *wire.Record) bool {
	for _, a := range r.Accused {
		if int64(a.Subject) >= int64(c.n) {
			return false
		}
	}
	if r.Origin < uint32(c.n) && !saneLife(c.table.Incarnation(int(r.Origin)), r.Incarnation) {
		return false
	}
	return len(r.Accused) < max(c.n, 1)
}

// returned greets an instance that is in the ring from now on.
func (c *Core) returned(i int, inc uint32) {
	delete(c.cleared, i)
	delete(c.between, int32(i))
	p := c.byIdx[i]
	if p != nil {
		p.lost, p.met, p.since = false, p.healthy() != nil, c.now
		p.graceTill = time.Time{}
		if p.accused {
			p.accused = false
			c.dropAccusation(i)
			if c.joined {
				c.publish()
			}
		}
	}
	if p != nil && p.watched && p.healthy() != nil && c.cast != nil {
		c.cast.Up(c.now, i) // what was sent since it was linked was not sent to it
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
				c.tell(Report{
					Kind: Accused, Subject: int(a.Subject), By: []int{origin},
					Incarnation: a.Incarnation, Proof: a.Proof,
				})
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
		Subject: uint32(p.i), Incarnation: inc, Proof: proof,
	})
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
	was := c.table.Accuses(c.self)
	c.table.Merge(&wire.Record{
		Origin: uint32(c.self), Incarnation: c.inc, Seq: c.seq, Boot: c.cfg.Boot, PID: c.cfg.PID,
		Epoch: c.token.Top(), Left: c.leaving, Out: !c.joined, Build: c.build, Accused: c.accused,
	})
	c.out.Add(uint32(c.self), c.leaving || !c.joined || was || len(c.accused) > 0)
	c.version++
}

// spread hands on the records that are due, one frame to a link. A link that
// nobody needs any more is told what is urgent; should its other end need it
// after all, the digests will show.
func (c *Core) spread() {
	c.handOn(c.out.Flush(c.now))
}

// spreadNow hands on what is pending at once: the links are about to close.
func (c *Core) spreadNow() { c.handOn(c.out.Flush(c.out.Deadline())) }

func (c *Core) handOn(pending []uint16, urgent bool) {
	if len(pending) == 0 {
		return
	}
	var news []sized
	for _, cn := range c.open {
		if cn.up && !cn.peer.aside && (urgent || c.needs(cn.peer)) {
			if news == nil { // once for all of them
				news = c.gather(pending)
			}
			c.sendRecords(cn, func(yield func(*sized) bool) {
				for i := range news {
					if !cn.told.Has(news[i].record.Origin) && !yield(&news[i]) {
						return
					}
				}
			})
		}
		c.forget(cn)
	}
}

// sized is a record to be sent, and how many bytes it takes.
type sized struct {
	record wire.Record
	bytes  int
}

// sized is the record held of origin.
func (c *Core) sized(origin int) (s sized, ok bool) {
	if c.signs() {
		seal := c.sealOf(origin)
		if seal == nil {
			return s, false
		}
		s.record = wire.Record{Origin: uint32(origin), Seal: seal.wire()}
		s.bytes = wire.SealedSize(&s.record)
		return s, true
	}
	if s.record, ok = c.table.Record(origin); ok {
		s.record.Accused = c.accusedBy(origin)
		s.bytes = wire.RecordSize(&s.record)
	}
	return s, ok
}

// gather makes each record of pending once, as long as the effects are valid. Of
// those the other end of a link has told us itself we send it none. In a storm
// nearly every record comes over some other link while it waits for its own turn,
// so that it crosses each link one way only.
func (c *Core) gather(pending []uint16) []sized {
	c.room.seen = c.room.seen.Grown(c.n)
	seen, all := c.room.seen, c.room.news[:0]
	for _, o := range pending {
		if seen.Add(uint32(o)) {
			if s, ok := c.sized(int(o)); ok {
				all = append(all, s)
			}
		}
	}
	clear(seen)
	c.room.news = all
	return all
}

// note notes that the other end holds the record of origin that we hold.
func (c *Core) note(cn *conn, origin uint32) {
	if cn == nil {
		return // it came before there was room for it
	}
	if cn.told == nil {
		sets := &c.room.sets
		if n := len(*sets); n > 0 {
			cn.told, *sets = (*sets)[n-1], (*sets)[:n-1]
		}
	}
	cn.told = cn.told.Grown(c.n)
	cn.told.Add(origin)
}

// forget forgets what the other end has told.
func (c *Core) forget(cn *conn) {
	if cn.told != nil {
		clear(cn.told)
		c.room.sets = append(c.room.sets, cn.told)
		cn.told = nil
	}
}

// sendAll sends every record held.
func (c *Core) sendAll(cn *conn) {
	c.sendRecords(cn, func(yield func(*sized) bool) {
		for i := range c.n {
			if s, ok := c.sized(i); ok && !yield(&s) {
				return
			}
		}
	})
}

// sendRecords sends list, in as many frames as it takes.
func (c *Core) sendRecords(cn *conn, list iter.Seq[*sized]) {
	all, most := &c.room.records, wire.RecordsMax
	if c.signs() {
		most = wire.SealedMax
	}
	from, size := len(*all), 0
	for s := range list {
		if n := len(*all) - from; n == most || n > 0 && size+s.bytes > floodBytes {
			c.sendFlood(cn, (*all)[from:])
			from, size = len(*all), 0
		}
		*all, size = append(*all, s.record), size+s.bytes
	}
	if from < len(*all) {
		c.sendFlood(cn, (*all)[from:])
	}
}

// sendFlood sends records as one frame, behind the certificates that they need.
func (c *Core) sendFlood(cn *conn, records []wire.Record) {
	if !c.signs() {
		c.send(cn, &wire.Flood{Records: records})
		return
	}
	c.shows(cn, func(yield func(need) bool) {
		for i := range records {
			if o := int(records[i].Origin); !yield(need{o, c.seals[o].key}) {
				return
			}
		}
	})
	c.send(cn, &wire.Sealed{Records: records})
}

// accusedBy is whom origin says it cannot reach, valid as long as the effects.
func (c *Core) accusedBy(origin int) []wire.Accusation {
	all := &c.room.accused
	from := len(*all)
	*all = c.table.Accused(*all, origin)
	return (*all)[from:len(*all):len(*all)]
}
