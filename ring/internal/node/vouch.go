package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
)

const (
	vouchEvery  = 10 * time.Second // between two looks at the certificates of links
	renewMin    = time.Minute      // between two renewals of a link
	renewWithin = 5 * time.Second  // for one
	warnPause   = time.Minute      // between two lines about one host
	warnMax     = 16               // hosts told of in that time
	endPause    = time.Hour        // between two lines about the end of the own certificate
	endedPause  = time.Minute      // once it has come
)

// proof is who is at the other end of a link, and by what. The zero proof is of a link
// without TLS.
type proof struct {
	name  string
	chain []*x509.Certificate // of the other end, leaf first
	own   *x509.Certificate   // this end's, where it dialed
	peer  int                 // who was dialed, -1 where the other end did
	renew time.Time           // when a fresh link is to take its place, where this end dialed
	doom  time.Time           // when it is closed unless that comes, zero for never
}

func newProof(name string, chain []*x509.Certificate, own *x509.Certificate, peer int, now time.Time) proof {
	p := proof{name: name, chain: chain, own: own, peer: peer}
	p.renew = p.next(now)
	return p
}

// next is when the link is to be renewed: in the middle of what is left of the certificate
// that ends first, and then again of what is left. Whoever has a new certificate by then
// shows it, whichever end that is.
func (p *proof) next(now time.Time) time.Time {
	if p.peer < 0 {
		return time.Time{}
	}
	until := p.chain[0].NotAfter
	if p.own.NotAfter.Before(until) {
		until = p.own.NotAfter
	}
	return now.Add(max(until.Sub(now)/2, renewMin))
}

// vouching is what a node keeps for that, and for who stands at the door. The baton guards
// all but changed.
type vouching struct {
	own     *x509.Certificate        // when it was last looked at
	ending  time.Time                // when its end was last told of
	warned  map[netip.Addr]time.Time // hosts that were told of of late
	changed chan struct{}            // a token when roots, revocations or the own identity have changed

	mu    sync.Mutex              // guards large; taken with the baton or the lock of bulk, or without
	large map[*largeConn]struct{} // connections for large payloads
}

func (v *vouching) begin(own *x509.Certificate) {
	*v = vouching{own: own, warned: map[netip.Addr]time.Time{}, large: map[*largeConn]struct{}{}, changed: make(chan struct{}, 1)}
}

// Vouch holds all links against what the Identity says now, soon.
func (n *Node) Vouch() {
	select {
	case n.vouch.changed <- struct{}{}:
	default:
	}
}

// vouchAll is the goroutine that looks at the certificates of links.
func (n *Node) vouchAll() {
	every := n.cfg.Vouch
	if every == 0 {
		every = vouchEvery
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-t.C:
		case <-n.vouch.changed:
			n.do(core.Event{Kind: core.Rekeyed})
			n.recheck(time.Now())
		}
		n.vouchOnce(time.Now())
	}
}

// recheck finds links whose other end would not be believed any more. One that this end
// dialed is renewed first, since its other end may have a new certificate by now: it knew
// of the change as well. One that it accepted is closed: the other end would have renewed
// it.
func (n *Node) recheck(now time.Time) {
	wrong := map[core.ConnID]error{} // checked without the baton: it is work
	for id, p := range n.proofs() {
		if _, err := n.cfg.Identity.Check(p.chain); err != nil {
			wrong[id] = err
		}
	}
	n.cutLarge(func(c *largeConn) bool {
		_, err := n.cfg.Identity.Check(c.chain)
		return err != nil
	})
	own := n.cfg.Identity.Leaf()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns { // each for itself
		err := wrong[c.id]
		switch {
		case c.proof.name == "":
		case err == nil:
			if c.proof.peer >= 0 && own != n.vouch.own {
				c.proof.renew = now
			}
		case c.proof.peer < 0:
			n.disown(now, c, err)
		default:
			c.proof.renew, c.proof.doom = now, now.Add(renewWithin)
		}
	}
	n.vouch.own = own
}

// proofs are those of all links, as they are now.
func (n *Node) proofs() map[core.ConnID]proof {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[core.ConnID]proof, len(n.conns))
	for id, c := range n.conns { // into another map
		if c.proof.name != "" {
			all[id] = c.proof
		}
	}
	return all
}

// Peer is the other end of an encrypted link.
type Peer struct {
	Name   string
	Chain  []*x509.Certificate // what it has shown, leaf first
	Dialed bool                // by this end
}

// Peers are those of all links, in no order.
func (n *Node) Peers() []Peer {
	var all []Peer
	for _, p := range n.proofs() { // in no order
		all = append(all, Peer{Name: p.name, Chain: p.chain, Dialed: p.peer >= 0})
	}
	return all
}

// vouchOnce closes links whose certificate has ended, and renews those for which it is time.
func (n *Node) vouchOnce(now time.Time) {
	n.cutLarge(func(c *largeConn) bool { return now.After(c.chain[0].NotAfter) })
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.tellEnd(now, n.cfg.Identity.Leaf())
	for _, c := range n.conns { // each for itself
		p := &c.proof
		switch {
		case p.name == "":
		case now.After(p.chain[0].NotAfter):
			n.disown(now, c, fmt.Errorf("its certificate ended at %s, and it has shown no new one",
				p.chain[0].NotAfter.UTC().Format(time.RFC3339)))
		case !p.doom.IsZero() && now.After(p.doom):
			n.disown(now, c, errors.New("its certificate is not good any more, and it has shown no new one"))
		case p.peer >= 0 && !now.Before(p.renew):
			p.renew = p.next(now)
			n.wg.Go(func() { n.renewLink(c) })
		}
	}
}

// tellEnd warns where a tenth of the life of the own certificate is left, or nothing.
func (n *Node) tellEnd(now time.Time, own *x509.Certificate) {
	left := own.NotAfter.Sub(now)
	pause := endPause
	text := fmt.Sprintf("my certificate ends in %v: it renews itself where an instance has the authority, "+
		"see the log for why not; else issue a new one (ring ca issue), then reload this instance (SIGHUP)",
		left.Round(time.Second))
	if left <= 0 {
		pause = endedPause
		text = "my certificate has ended: nobody takes links from me until I have a new one; issue it " +
			"(ring ca issue), then reload this instance (SIGHUP)"
	}
	if left > own.NotAfter.Sub(own.NotBefore)/10 || now.Sub(n.vouch.ending) < pause {
		return
	}
	n.vouch.ending = now
	n.tell(now, core.Report{Kind: core.Ending, Subject: -1, Text: text})
	n.publish()
}

// lapsed is whether the own certificate has ended. Then everybody refuses this instance, which
// is told once for all.
func (n *Node) lapsed(now time.Time) bool {
	return n.cfg.Identity != nil && now.After(n.cfg.Identity.Leaf().NotAfter)
}

// renewLink opens a link beside that of c, which the core has take its place.
func (n *Node) renewLink(c *conn) {
	l, p, err := n.reach(c.proof.peer, renewWithin, renewWithin)
	if err == nil {
		n.begin(l, p, core.Event{Kind: core.Dialed, Peer: p.peer})
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.proof.doom.IsZero() {
		n.disown(time.Now(), c, err)
	}
}

// largeConn is a connection for large payloads that is known here until it is closed.
type largeConn struct {
	*tls.Conn
	chain []*x509.Certificate
	of    *vouching
}

// Close implements net.Conn, without a goodbye of TLS, which may wait.
func (c *largeConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.large, c)
	c.of.mu.Unlock()
	cut(c.Conn)
	return nil
}

// keepLarge makes nc known, if it is encrypted.
func (n *Node) keepLarge(nc net.Conn) net.Conn {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nc
	}
	c := &largeConn{Conn: t, chain: t.ConnectionState().PeerCertificates, of: &n.vouch}
	n.vouch.mu.Lock()
	defer n.vouch.mu.Unlock()
	n.vouch.large[c] = struct{}{}
	return c
}

// cutLarge ends the connections for large payloads of which wrong says so; who takes dials
// anew.
func (n *Node) cutLarge(wrong func(c *largeConn) bool) {
	n.vouch.mu.Lock()
	defer n.vouch.mu.Unlock()
	for c := range n.vouch.large { // each for itself
		if wrong(c) {
			cut(c.Conn)
		}
	}
}

// disown ends a link whose other end is not believed any more. The caller holds the baton.
func (n *Node) disown(now time.Time, c *conn, why error) {
	if c.finished || n.closed {
		return
	}
	n.refused(why)
	n.tell(now, core.Report{
		Kind: core.Refusing, Subject: -1,
		Text: fmt.Sprintf("%s: %v; its link is closed", c.proof.name, why),
	})
	n.publish()
	c.proof.name = "" // told once
	c.link.Close()    // its reader tells the core
}

// refused counts why somebody was not believed.
func (n *Node) refused(why error) {
	reason := n.cfg.Identity.Why(why)
	switch {
	case reason != "":
	case errors.Is(why, link.ErrClear):
		reason = "plain text"
	default:
		reason = "other"
	}
	n.stats.refused[reason]++
}

// atDoor hears of everybody who connects, where there is TLS.
func (n *Node) atDoor(from net.Addr, e link.Entry, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.doors[e]++
	if e == link.Rejected {
		n.turnAway(from.String(), err)
	}
}

// turnAway counts and tells why somebody at that address got no further. The caller holds
// the baton.
func (n *Node) turnAway(from string, why error) {
	if n.closed {
		return
	}
	n.refused(why)
	now := time.Now()
	if n.lapsed(now) || !n.mayWarn(now, from) {
		return
	}
	n.tell(now, core.Report{Kind: core.Refusing, Subject: -1, Text: fmt.Sprintf("%s: %v", from, why)})
	n.publish()
}

// mayWarn limits the lines about one host, and about all.
func (n *Node) mayWarn(now time.Time, from string) bool {
	for host, at := range n.vouch.warned { // each for itself
		if now.Sub(at) >= warnPause {
			delete(n.vouch.warned, host)
		}
	}
	ap, err := netip.ParseAddrPort(from)
	if err != nil {
		return false
	}
	if _, told := n.vouch.warned[ap.Addr()]; told || len(n.vouch.warned) >= warnMax {
		return false
	}
	n.vouch.warned[ap.Addr()] = now
	return true
}

// proofOf is who asks for a link; ok is false where that was answered with a no.
func (n *Node) proofOf(w http.ResponseWriter, r *http.Request) (_ proof, ok bool) {
	if n.cfg.Identity == nil {
		return proof{}, true
	}
	var err error
	if r.TLS == nil {
		link.RefuseClear(w)
		err = link.ErrClear
	} else {
		var name string
		if name, err = n.cfg.Identity.Check(r.TLS.PeerCertificates); err == nil {
			return newProof(name, r.TLS.PeerCertificates, nil, -1, time.Now()), true
		}
		http.Error(w, "links are for instances of this ring: "+err.Error(), http.StatusForbidden)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turnAway(r.RemoteAddr, err)
	return proof{}, false
}
