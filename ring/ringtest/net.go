package ringtest

import (
	"errors"
	"math/bits"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// What a TCP does to a stream whose packets or acknowledgements get lost.
const (
	rtoMin     = 200 * ms // first retransmission, as Linux has it
	rtoShift   = 6        // doublings at most: 12.8 s
	synRetry   = 1000 * ms
	windowSize = 10       // segments that go out unacknowledged
	windowTime = 200 * ms // and for how long: then only the oldest is repeated
	us         = int64(1e3)
	ms         = int64(1e6)
	second     = int64(1e9)
)

// segment is one frame on its way, or the opening or the end of the stream.
type segment struct {
	at   int64  // when it arrives, if its path is open then
	buf  []byte // encoded frame, nil for an opening or an end
	fin  bool
	bulk bool // what is not may be put before it
}

// stream is one direction of a link: in order, but for what is put before bulk.
type stream struct {
	q       []segment
	head    int
	left    int64 // arrival of the newest segment that is not in q any more
	dice    dice
	planned bool  // a moment is in the agenda
	tries   uint8 // retransmissions in a row
	unacked uint8 // segments delivered whose acknowledgement did not come back
	since   int64 // when the first of them was
}

// end is what one process has of a link.
type end struct {
	host int32
	life uint32
	open bool // the process has it: Dialed or Accepted, not Closed nor Broken
	out  stream
}

// link is one TCP connection; end 0 dialed it.
type link struct {
	gen     uint32
	used    bool
	dialing bool // until Dialed or DialFailed
	tries   uint8
	expires int64 // when the dial is given up
	end     [2]end
}

// connID names one end of a link and never comes twice.
func connID(ref int32, gen uint32) core.ConnID {
	return core.ConnID(uint64(gen)<<32 | uint64(uint32(ref)))
}

// endOf returns the end that id names, nil if it is gone.
func (w *World) endOf(id core.ConnID) (*link, int32) {
	ref := int32(uint32(id))
	l := &w.links[ref/2]
	if l.gen != uint32(id>>32) || !l.used {
		return nil, 0
	}
	return l, ref
}

// open reports whether packets from a reach b now.
func (w *World) open(a, b int32) bool {
	if w.blocks == 0 {
		return true
	}
	h, k := &w.hosts[a], &w.hosts[b]
	return h.mute == 0 && h.off == 0 && k.deaf == 0 && k.off == 0 && h.group == k.group &&
		w.cuts[pair{a, b}] == 0
}

// latency of one packet from a to b.
func (w *World) latency(a, b int32, d *dice) int64 {
	switch {
	case w.opt.hop == 0:
	case w.zone(a) != w.zone(b):
		return w.opt.wide
	default:
		return w.opt.hop
	}
	lo, hi := w.timing.near, w.timing.far
	base := lo + int64(mix(w.seed, forPath, uint64(min(a, b)), uint64(max(a, b)))%uint64(hi-lo))
	jitter := base / 8
	if w.delay > 0 {
		base += w.delay / 2
		jitter += w.delay
	}
	return base + d.below(jitter)
}

// zone is the data centre of a host.
func (w *World) zone(i int32) int { return int(i) % max(w.opt.zones, 1) }

// loss is the share of packets from a to b that get lost.
func (w *World) loss(a, b int32) float64 {
	return max(w.lossAll, w.hosts[a].loss, w.hosts[b].loss)
}

// dial starts a connection from a to b; Dialed or DialFailed will follow.
func (w *World) dial(h *host, to int32, timeout int64) {
	i := w.newLink()
	l := &w.links[i]
	l.end[0] = end{host: h.index, life: h.life}
	l.end[1] = end{host: to}
	h.dials++
	key := mix(w.seed, forStream, uint64(h.index), uint64(to), uint64(h.life), uint64(h.dials))
	l.end[0].out.dice = dice(mix(key, 0))
	l.end[1].out.dice = dice(mix(key, 1))
	l.dialing = true
	l.expires = w.now + timeout
	w.agenda.push(l.expires, atTimeout, i, l.gen)
	w.sendSyn(i)
}

func (w *World) newLink() int32 {
	if n := len(w.freeLinks); n > 0 {
		i := w.freeLinks[n-1]
		w.freeLinks = w.freeLinks[:n-1]
		w.links[i] = link{gen: w.links[i].gen, used: true}
		return i
	}
	w.links = append(w.links, link{gen: 1, used: true})
	return int32(len(w.links) - 1)
}

func (w *World) freeLink(i int32) {
	l := &w.links[i]
	for e := range l.end {
		w.dropQueue(&l.end[e].out)
	}
	l.used = false
	l.gen++
	w.freeLinks = append(w.freeLinks, i)
}

func (w *World) dropQueue(s *stream) {
	for _, seg := range s.q[s.head:] {
		w.putBuf(seg.buf)
	}
	s.q, s.head = s.q[:0], 0
}

// maybeFree gives a link back that no process and no byte is on any more.
func (w *World) maybeFree(i int32) {
	l := &w.links[i]
	if !l.used || l.dialing || l.end[0].open || l.end[1].open {
		return
	}
	if len(l.end[0].out.q) > l.end[0].out.head && w.alive(l.end[1].host, l.end[1].life) {
		return // an opening may still be on its way
	}
	w.freeLink(i)
}

func (w *World) sendSyn(i int32) {
	l := &w.links[i]
	d := &l.end[0].out.dice
	a, b := l.end[0].host, l.end[1].host
	if d.hit(w.loss(a, b)) {
		w.retrySyn(i)
		return
	}
	w.agenda.push(w.now+w.latency(a, b, d), atSyn, i, l.gen)
}

// retrySyn plans the next SYN, whose arrival is decided when it is there.
func (w *World) retrySyn(i int32) {
	l := &w.links[i]
	wait := synRetry << l.tries
	l.tries++
	if at := w.now + wait; at < l.expires {
		w.agenda.push(at, atSyn, i, l.gen)
	}
}

func (w *World) onSyn(i int32) {
	l := &w.links[i]
	a, b := l.end[0].host, l.end[1].host
	if !w.open(a, b) {
		w.retrySyn(i)
		return
	}
	d := &l.end[1].out.dice
	back := w.now + w.latency(b, a, d)
	if d.hit(w.loss(a, b)) {
		back += synRetry
	}
	if h := &w.hosts[b]; h.core != nil {
		l.end[1].life = h.life
		w.agenda.push(back, atSynAck, i, l.gen)
	} else {
		w.agenda.push(back, atRefused, i, l.gen)
	}
}

func (w *World) onSynAck(i int32) {
	l := &w.links[i]
	e := &l.end[0]
	if !l.dialing || !w.open(l.end[1].host, e.host) {
		return // the timeout will tell
	}
	l.dialing = false
	if !w.alive(e.host, e.life) {
		w.freeLink(i)
		return
	}
	e.open = true
	w.transmit(i*2, segment{}) // the third packet of the handshake opens the other end
	w.input(e.host, input{kind: core.Dialed, conn: connID(i*2, l.gen), peer: l.end[1].host})
}

func (w *World) onRefused(i int32) {
	l := &w.links[i]
	if l.dialing && w.open(l.end[1].host, l.end[0].host) {
		w.dialFailed(i, core.Refused)
	}
}

func (w *World) dialFailed(i int32, cause core.Cause) {
	l := &w.links[i]
	e, peer := &l.end[0], l.end[1].host
	h, life := e.host, e.life
	w.freeLink(i)
	if w.alive(h, life) {
		w.input(h, input{kind: core.DialFailed, peer: peer, cause: cause})
	}
}

// transmit puts a segment behind the others of its stream.
func (w *World) transmit(ref int32, seg segment) {
	l := &w.links[ref/2]
	s := &l.end[ref%2].out
	a, b := l.end[ref%2].host, l.end[1-ref%2].host
	at := w.now + w.latency(a, b, &s.dice)
	if p := w.loss(a, b); p > 0 {
		for wait := rtoMin; s.dice.hit(p) && wait <= rtoMin<<rtoShift; wait *= 2 {
			at += wait
		}
	}
	seg.at = at
	s.put(seg)
	w.frames++
	w.bytes += uint64(len(seg.buf))
	if !s.planned {
		s.planned = true
		w.agenda.push(s.q[s.head].at, atStream, ref, l.gen)
	}
}

// put takes a segment that by itself would arrive at seg.at. What is not bulk goes
// before bulk that has not left the sender yet, which is more or less of it.
func (s *stream) put(seg segment) {
	s.q = append(s.q, seg)
	i := len(s.q) - 1
	if !seg.bulk && !seg.fin {
		for ; i > s.head && s.q[i-1].bulk && s.dice.hit(0.5); i-- {
			s.q[i-1], s.q[i] = s.q[i], s.q[i-1]
		}
	}
	at := s.left
	if i > s.head {
		at = s.q[i-1].at
	}
	for ; i < len(s.q); i++ {
		s.q[i].at = max(s.q[i].at, at)
		at = s.q[i].at
	}
}

// pump delivers what of a stream has arrived.
func (w *World) pump(ref int32, gen uint32) {
	l := &w.links[ref/2]
	s := &l.end[ref%2].out
	s.planned = true // also while its segments are handed out one by one
	a, b := l.end[ref%2].host, l.end[1-ref%2].host
	for s.head < len(s.q) {
		seg := s.q[s.head]
		switch {
		case seg.at > w.now:
			w.agenda.push(seg.at, atStream, ref, l.gen)
			return
		case !w.open(a, b) || !w.acknowledged(s, a, b):
			wait := rtoMin << min(s.tries, rtoShift)
			s.tries++
			w.agenda.push(w.now+wait+w.latency(a, b, &s.dice), atStream, ref, l.gen)
			return
		}
		s.tries = 0
		s.q[s.head] = segment{}
		s.head++
		s.left = seg.at
		if s.head == len(s.q) {
			s.q, s.head = s.q[:0], 0
		}
		w.deliver(ref, seg)
		l = &w.links[ref/2] // the slab may have moved
		if !l.used || l.gen != gen {
			return
		}
		s = &l.end[ref%2].out
	}
	s.planned = false
	w.maybeFree(ref / 2)
}

// acknowledged accounts for the way back of acknowledgements: while it is shut,
// a few segments still get through and no more.
func (w *World) acknowledged(s *stream, a, b int32) bool {
	if w.open(b, a) {
		s.unacked = 0
		return true
	}
	if s.unacked == 0 {
		s.since = w.now
	}
	if s.unacked >= windowSize || w.now-s.since > windowTime {
		return false
	}
	s.unacked++
	return true
}

// deliver hands a segment to the process at the other end.
func (w *World) deliver(ref int32, seg segment) {
	l := &w.links[ref/2]
	to := ref ^ 1
	e := &l.end[to%2]
	id := connID(to, l.gen)
	switch {
	case seg.buf == nil && !seg.fin: // opening
		if !w.alive(e.host, e.life) {
			w.answerReset(ref)
			return
		}
		e.open = true
		w.input(e.host, input{kind: core.Accepted, conn: id})
	case !w.alive(e.host, e.life) || !e.open:
		w.putBuf(seg.buf)
		if !seg.fin {
			w.answerReset(ref)
		}
	case seg.fin:
		w.breakEnd(to)
	default:
		w.input(e.host, input{kind: core.Received, conn: id, peer: l.end[ref%2].host, buf: seg.buf})
	}
}

// answerReset tells the writer of a stream that nobody reads it.
func (w *World) answerReset(ref int32) {
	l := &w.links[ref/2]
	e := &l.end[ref%2]
	if e.open {
		back := w.latency(l.end[1-ref%2].host, e.host, &e.out.dice)
		w.agenda.push(w.now+back, atReset, ref, l.gen)
	}
}

// onReset breaks one end, if the word of it gets through.
func (w *World) onReset(ref int32) {
	l := &w.links[ref/2]
	if w.open(l.end[1-ref%2].host, l.end[ref%2].host) {
		w.breakEnd(ref)
	}
}

// breakEnd is the end of a link that its own process did not ask for.
func (w *World) breakEnd(ref int32) {
	l := &w.links[ref/2]
	e := &l.end[ref%2]
	if !e.open {
		return
	}
	e.open = false
	w.dropQueue(&e.out)
	if w.alive(e.host, e.life) {
		w.input(e.host, input{kind: core.Broken, conn: connID(ref, l.gen)})
	}
	w.maybeFree(ref / 2)
}

// closeEnd is a close by the process: what it wrote goes out first.
func (w *World) closeEnd(ref int32) {
	l := &w.links[ref/2]
	e := &l.end[ref%2]
	if !e.open {
		return
	}
	e.open = false
	w.transmit(ref, segment{fin: true})
}

// abandonLinks is what the kernel does with the links of a killed process; of a
// host without power (silent) it says nothing to the others.
func (w *World) abandonLinks(h *host, silent bool) {
	for i := range w.links {
		l := &w.links[i]
		if !l.used {
			continue
		}
		for side := range l.end {
			e := &l.end[side]
			if e.host != h.index || e.life != h.life {
				continue
			}
			switch {
			case side == 0 && l.dialing:
				w.freeLink(int32(i))
			case silent && e.open:
				e.open = false
				w.dropQueue(&e.out)
			case e.open:
				w.closeEnd(int32(2*i + side))
			case side == 1 && !silent: // accepted by the kernel only
				w.answerReset(int32(2 * i))
			}
			if !l.used {
				break
			}
		}
	}
}

// garbage ends a link on which came what is no frame, as a driver does.
func (w *World) garbage(h *host, id core.ConnID) {
	if l, ref := w.endOf(id); l != nil {
		w.closeEnd(ref)
		w.step(h, core.Event{Kind: core.Broken, Conn: id})
		w.maybeFree(ref / 2)
	}
}

// frame decodes what arrived; a frame that our own encoder made must decode, unless a liar
// sent it.
func (w *World) frame(from int32, buf []byte) wire.Msg {
	body, rest, err := wire.Split(buf)
	if from == w.bad && w.bad >= 0 {
		if err != nil {
			return nil
		}
		m, err := w.decoder.Decode(body)
		if errors.Is(err, wire.ErrUnknownKind) {
			return &wire.Credit{} // skipped
		}
		if err != nil {
			return nil
		}
		return m
	}
	if err != nil || len(rest) != 0 {
		w.fail("wire", "frame of %d bytes does not split: %v, %d left", len(buf), err, len(rest))
		return nil
	}
	m, err := w.decoder.Decode(body)
	if err != nil {
		w.fail("wire", "frame of %d bytes does not decode: %v", len(buf), err)
		return nil
	}
	return m
}

// Buffers of frames are used again, by sizes that double: when a thousand die at
// once all links are full, mostly of frames far below the longest.
const (
	bufShort = 64      // bytes of the shortest
	bufSizes = 16      // the longest is of 2 MiB: any frame
	bufsKept = 4 << 20 // bytes of each size
)

// encoded is m's frame, in a buffer that is given back with putBuf.
func (w *World) encoded(m wire.Msg) []byte {
	w.scratch = wire.Append(w.scratch[:0], m)
	size := sizeOf(len(w.scratch))
	pool := &w.bufs[size]
	n := len(*pool)
	if n == 0 {
		return append(make([]byte, 0, bufShort<<size), w.scratch...)
	}
	b := (*pool)[n-1]
	*pool = (*pool)[:n-1]
	return append(b[:0], w.scratch...)
}

func (w *World) putBuf(b []byte) {
	if cap(b) == 0 {
		return
	}
	if size := sizeOf(cap(b)); len(w.bufs[size]) < bufsKept/(bufShort<<size) {
		w.bufs[size] = append(w.bufs[size], b)
	}
}

// sizeOf is the size of a buffer for so many bytes.
func sizeOf(n int) int { return bits.Len(uint(max(n-1, 0)) / bufShort) }
