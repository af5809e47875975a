package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// conn is a link as the node knows it. All but link and dec is guarded by the
// baton.
type conn struct {
	id       core.ConnID
	link     *link.Conn
	proof    proof
	dec      wire.Decoder // its reader's
	dirty    bool
	urgent   bool // not only bulk is to be flushed
	finished bool // the core does not know it any more
}

// bound is how many links may be opening, and how many dials may run: some for
// each neighbour, and some for a fleet that all starts at once.
func (n *Node) bound() int { return 4*n.cfg.Degree + 64 }

// adopt registers a link and tells the core of it.
func (n *Node) adopt(l *link.Conn, p proof, ev core.Event) *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.lastID++
	c := &conn{id: n.lastID, link: l, proof: p}
	n.conns[c.id] = c
	n.links[l] = struct{}{}
	if ev.Kind == core.Accepted {
		n.admit(c)
	}
	ev.Conn, ev.Name = c.id, p.name
	n.step(time.Now(), ev)
	return c
}

// admit counts c among the links that have not said anything yet, and ends the
// oldest of them when they are too many.
func (n *Node) admit(c *conn) {
	if len(n.opening) >= n.bound() {
		n.opening[0].link.Close() // its reader tells the core
		n.opening = slices.Delete(n.opening, 0, 1)
	}
	n.opening = append(n.opening, c)
}

// opened takes c off that list.
func (n *Node) opened(c *conn) {
	if i := slices.Index(n.opening, c); i >= 0 {
		n.opening = slices.Delete(n.opening, i, i+1)
	}
}

// forget removes c; the core knows that it is gone.
func (n *Node) forget(c *conn) {
	c.finished = true
	delete(n.conns, c.id)
	n.opened(c)
}

// read feeds the core what comes in on c until the link ends.
func (n *Node) read(c *conn) {
	for {
		m, size, err := next(c)
		if err != nil {
			n.lost(c, err)
			return
		}
		if !n.received(c, m, size) {
			c.link.Drain()
			return
		}
	}
}

// next reads one frame; m is nil where it is of a kind this build skips.
func next(c *conn) (m wire.Msg, size int, err error) {
	frame, err := c.link.Next()
	if err != nil {
		return nil, 0, err
	}
	m, err = c.dec.Decode(frame)
	if errors.Is(err, wire.ErrUnknownKind) {
		return nil, 0, nil
	}
	return m, wire.HeaderLen + len(frame), err
}

// received is the hop path; m is nil where it was of a kind this build skips. It returns
// false when the link is finished.
func (n *Node) received(c *conn, m wire.Msg, size int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.finished || n.closed {
		return false
	}
	n.more = c.link.More()
	if m != nil {
		if len(n.opening) > 0 {
			n.opened(c)
		}
		n.stats.count(inward, m.Kind(), size)
		n.step(time.Now(), core.Event{Kind: core.Received, Conn: c.id, Msg: m})
	}
	if !n.more || c.finished {
		n.flush()
	}
	n.more = false
	return !c.finished
}

// lost tells the core that a link broke, unless it was the one to end it.
func (n *Node) lost(c *conn, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.finished || n.closed {
		return
	}
	now := time.Now()
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTooLong) {
		n.garbage(now, c, err)
	}
	n.forget(c)
	n.step(now, core.Event{Kind: core.Broken, Conn: c.id})
}

// garbage counts a frame that no instance sends, and now and then says whose it was.
func (n *Node) garbage(now time.Time, c *conn, err error) {
	since, tell := n.stats.badFrame(now)
	if !tell {
		return
	}
	text := fmt.Sprintf("%s sent what no instance sends (%v); is it a ring, and of this version?",
		c.link.RemoteAddr(), err)
	if since > 1 {
		text += fmt.Sprintf(" (%d more since this was last told)", since-1)
	}
	n.tell(now, core.Report{Kind: core.Refusing, Subject: -1, Text: text})
}

// dial starts a dial; the goroutine of it becomes the reader of the link. The
// caller holds the baton.
func (n *Node) dial(peer int, connect, within time.Duration) {
	if n.dials >= n.bound() {
		n.wg.Go(func() {
			n.do(core.Event{Kind: core.DialFailed, Peer: peer, Cause: core.Unanswered})
		})
		return
	}
	n.dials++
	n.wg.Go(func() {
		l, p, err := n.reach(peer, connect, within)
		n.mu.Lock()
		n.dials--
		n.mu.Unlock()
		if err != nil {
			ev := core.Event{Kind: core.DialFailed, Peer: peer, Cause: causeOf(err)}
			if ev.Cause == core.Untrusted {
				ev.Text = err.Error()
			}
			n.do(ev)
			return
		}
		n.begin(l, p, core.Event{Kind: core.Dialed, Peer: peer})
	})
}

// reach opens a link.
func (n *Node) reach(peer int, connect, within time.Duration) (*link.Conn, proof, error) {
	ctx, cancel := context.WithTimeout(n.ctx, max(connect, within))
	defer cancel()
	if n.cfg.Identity == nil {
		l, err := link.Dial(ctx, n.cfg.Addr(peer), nil, connect, n.cfg.Link)
		return l, proof{}, err
	}
	name, own := n.cfg.Name(peer), n.cfg.Identity.Leaf()
	l, err := link.Dial(ctx, n.cfg.Addr(peer), n.cfg.Identity.Client(name), connect, n.cfg.Link)
	if err != nil {
		return nil, proof{}, err
	}
	return l, newProof(name, l.TLS().PeerCertificates, own, peer, time.Now()), nil
}

// causeOf translates what a dial died of.
func causeOf(err error) core.Cause {
	var de *link.DialError
	if errors.As(err, &de) {
		switch de.Cause {
		case link.Refused:
			return core.Refused
		case link.Unresolved:
			return core.Unresolved
		case link.NotRing:
			return core.NotRing
		case link.Untrusted:
			return core.Untrusted
		}
	}
	return core.Unanswered
}

// begin adopts a link and reads it to its end.
func (n *Node) begin(l *link.Conn, p proof, ev core.Event) {
	c := n.adopt(l, p, ev)
	if c == nil {
		l.Close()
		return
	}
	n.read(c)
	l.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}

// accept turns a request into a link.
func (n *Node) accept(w http.ResponseWriter, p proof) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		http.Error(w, "this instance is going away", http.StatusServiceUnavailable)
		return
	}
	n.wg.Add(1) // under the baton, so that it is before the wait of finish
	n.mu.Unlock()
	l, err := link.Upgrade(w, n.cfg.Link)
	if err != nil {
		n.wg.Done()
		return // the dialer knows
	}
	// A goroutine of its own: the server's holds buffers for as long as it runs.
	go func() {
		defer n.wg.Done()
		n.begin(l, p, core.Event{Kind: core.Accepted})
	}()
}
