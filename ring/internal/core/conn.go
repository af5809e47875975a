package core

import (
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/wire"
)

// conn is one connection, from its opening to its end.
type conn struct {
	id       ConnID
	peer     *peer     // nil until its Hello named it
	name     string    // by its certificate, "" without TLS
	dialed   bool      // by us
	up       bool      // both Hellos are exchanged
	twoWay   bool      // the other side has echoed us since
	answerBy time.Time // for the other side's Hello, zero once it came
	pulse    detect.Pulse
	lastBeat time.Time // sent
	upAt     time.Time
	doubted  bool      // silent for longer than patience
	boot     uint32    // the process at the other end
	protocol int       // what both ends speak, once up
	linked   uint32    // peers that hold its roster, by its word
	out      uint32    // the incarnation that its Hello said it is no longer, 0 for none
	told     flood.Set // whose records, as we hold them, it told us while the window is shut
	differ   int       // beats in a row whose records digest was not ours
	differV  int       // the same for the view
	credit   credit

	keys  []*key    // came, and nothing yet that is signed by them
	knows flood.Set // whose newest chain its other end has
	asked time.Time // when its other end was asked to show what its verdicts rest on
	shown time.Time // when we showed ours
}

// healthy reports whether frames sent on it can be expected to arrive.
func (cn *conn) healthy() bool { return cn != nil && cn.up && !cn.doubted }

// add registers a connection.
func (c *Core) add(cn *conn) {
	c.conns[cn.id] = cn
	c.open = append(c.open, cn)
}

// remove forgets a connection.
func (c *Core) remove(cn *conn) {
	delete(c.conns, cn.id)
	for i, o := range c.open {
		if o == cn {
			c.open = append(c.open[:i], c.open[i+1:]...)
			break
		}
	}
	c.forget(cn)
	c.version++ // its peer may be waited for now
	if p := cn.peer; p != nil {
		if cn.dialed && !cn.up {
			p.dialing = false
		}
		if p.dialed == cn {
			p.dialed = nil
		}
		if p.accepted == cn {
			p.accepted = nil
		}
		if p.older == cn {
			p.older = nil
		}
		switch {
		case !cn.up:
		case p.dialed == nil && p.accepted == nil:
			c.bus.Closed(c.now, p.i)
			if c.cast != nil {
				c.cast.Down(p.i)
				c.answers.Changed(c.now)
			}
		case p.healthy() != nil: // what was said on this one may not have arrived
			c.bus.Opened(c.now, p.i)
			if c.cast != nil {
				c.cast.Up(c.now, p.i)
			}
		}
	}
}

// shut closes a connection from our side, with a word if text is not empty.
func (c *Core) shut(cn *conn, text string) {
	if text != "" && cn.up {
		c.send(cn, &wire.Bye{Text: text})
	}
	c.remove(cn)
	c.fx = append(c.fx, Effect{Kind: Close, Conn: cn.id})
}

// onDialed greets whoever answered.
func (c *Core) onDialed(id ConnID, i int, name string) {
	p := c.peer(i)
	cn := &conn{id: id, peer: p, name: name, dialed: true, answerBy: c.now.Add(c.answerOf(p))}
	cn.pulse.Dialer = true
	c.add(cn)
	c.hello(cn)
}

// hello sends ours.
func (c *Core) hello(cn *conn) {
	h := c.Greeting(cn.peer.i)
	c.fillBeat(cn, &h.Beat)
	c.send(cn, h)
}

// Greeting is the Hello to instance i, without a heartbeat: such a one opens a connection
// that is no link.
func (c *Core) Greeting(i int) *wire.Hello {
	h := &wire.Hello{
		Version: wire.ProtocolVersion, Ring: c.roster.Ring, Roster: c.roster.Hash(),
		Size: uint32(c.n), Linked: c.linkedPeers(), From: uint32(c.self), To: uint32(i),
		FromName: c.roster.Names[c.self], Boot: c.cfg.Boot, PID: c.cfg.PID, Build: c.build,
		Floor: c.cfg.Saved.Ceiling, RosterVersion: c.roster.Version, Past: c.past,
	}
	if c.joined {
		h.Incarnation = c.inc
	} else {
		h.Was = c.inc
	}
	return h
}

// linkedPeers counts whom this instance is linked with, itself included.
func (c *Core) linkedPeers() uint32 {
	n := uint32(1)
	for _, p := range c.peers {
		if p.healthy() != nil {
			n++
		}
	}
	return n
}

func (c *Core) onFrame(cn *conn, m wire.Msg) {
	switch m := m.(type) {
	case *wire.Hello:
		if !cn.up {
			c.onHello(cn, m)
		}
		return
	case *wire.Refuse:
		c.onRefuse(cn, m)
		return
	}
	if !cn.up { // nothing counts before a Hello
		c.onUnanswered(cn)
		return
	}
	if !c.counts(m) {
		return
	}
	switch m := m.(type) {
	case *wire.Beat:
		c.onBeat(cn, m)
	case *wire.Flood:
		c.onFlood(cn, m)
	case *wire.Sealed:
		c.onSealed(cn, m)
	case *wire.Keys:
		c.onKeys(cn, m)
	case *wire.Show:
		c.onShow(cn, m)
	case *wire.Shown:
		c.onShown(cn, m)
	case *wire.Vouched:
		c.onVouched(cn, m)
	case *wire.Cut:
		c.onCut(cn, m)
	case *wire.Sync:
		c.onSync(cn, m)
	case *wire.Particle:
		c.onParticle(m)
	case *wire.Hurry:
		c.onHurry(cn, m)
	case *wire.Relay:
		c.onRelay(cn, m)
	case *wire.Bye:
		c.remove(cn)
		c.fx = append(c.fx, Effect{Kind: Close, Conn: cn.id})
	default:
		if !c.onCast(cn, m) {
			if !c.bus.Receive(c.now, cn.peer.i, m) && c.signs() {
				c.forged(cn, "a message of the bus in the name of another")
			}
		}
	}
}

// onHello accepts or refuses.
func (c *Core) onHello(cn *conn, h *wire.Hello) {
	dialed := -1
	if cn.dialed {
		dialed = cn.peer.i
	}
	if cn.name != "" && h.FromName != cn.name {
		c.onForged(cn, h)
		return
	}
	if code, text := c.Refusal(h, dialed); code != 0 {
		c.refuse(cn, h, code, text)
		return
	}
	p := c.peer(int(h.From))
	if c.now.Before(p.shunned) {
		c.shut(cn, "")
		return
	}
	if c.saneTick(h.Floor) {
		c.floor = max(c.floor, h.Floor)
	}
	if !cn.dialed {
		if old := p.takenBy(h.Boot); old != nil {
			c.beat(old) // ask the holder whether it still lives
			c.refuse(cn, h, wire.RefuseTaken, fmt.Sprintf(
				"%s is held by a live process (pid %d); stop it first, or give this one "+
					"another name of the roster", h.FromName, c.table.PID(p.i)))
			return
		}
		cn.peer = p
	}
	cn.linked = h.Linked
	c.establish(cn, h)
}

// onForged ends a link whose other end says that it is somebody else than its certificate.
func (c *Core) onForged(cn *conn, h *wire.Hello) {
	text := ForgedText(cn.name, h)
	c.send(cn, &wire.Refuse{Code: wire.RefuseName, Text: text})
	if p := cn.peer; p != nil {
		c.failed(p, Unanswered)
		p.nextDial = c.now.Add(5 * c.cfg.Timing.Redial)
	}
	c.fx = append(c.fx, Effect{Kind: Forged, Conn: cn.id})
	c.shut(cn, "")
	if i := c.roster.Index(cn.name); i >= 0 && c.mayTell(i) {
		c.tell(Report{Kind: Claimed, Subject: i, Text: text})
	}
}

// ForgedText says what is wrong with h from who has the certificate of name.
func ForgedText(name string, h *wire.Hello) string {
	return fmt.Sprintf("it says that it is %q, and has the certificate of %s: give each instance a "+
		"certificate of its own", h.FromName, name)
}

// Refusal is why h cannot be accepted, 0 if it can. dialed is the instance that was
// dialed, or -1 for a Hello from who dialed this one.
func (c *Core) Refusal(h *wire.Hello, dialed int) (wire.RefuseCode, string) {
	r := c.roster
	switch {
	case h.Version+1 < wire.ProtocolVersion || h.Version > wire.ProtocolVersion+1:
		return wire.RefuseVersion, fmt.Sprintf(
			"protocol %d is spoken here, %d there; upgrade the older one step by step",
			wire.ProtocolVersion, h.Version)
	case c.signs() && h.Version < wire.SealedVersion:
		return wire.RefuseVersion, fmt.Sprintf(
			"instances of this ring sign what they say, which protocol %d cannot; upgrade it", h.Version)
	case h.Ring != r.Ring:
		return wire.RefuseRing, fmt.Sprintf(
			"this is ring %q, not %q; correct the address or the ring's name", r.Ring, h.Ring)
	case !c.related(h):
		return wire.RefuseRoster, c.mismatchText(h)
	case h.From >= uint32(c.n) && c.newer(h):
		return wire.RefuseBehind, fmt.Sprintf(
			"%s has not heard of version %d of the roster yet, and will", r.Names[c.self], h.RosterVersion)
	case h.From >= uint32(c.n) || h.FromName != r.Names[h.From]:
		return wire.RefuseName, fmt.Sprintf("no instance %q at index %d", h.FromName, h.From)
	case h.To != uint32(c.self), dialed >= 0 && int(h.From) != dialed:
		return wire.RefuseName, fmt.Sprintf(
			"this is %s; correct the address of the instance you dialed in the roster",
			r.Names[c.self])
	case int(h.From) == c.self && h.Boot == c.cfg.Boot:
		return wire.RefuseName, "dialed itself; correct the address in the roster"
	case int(h.From) == c.self:
		return wire.RefuseTaken, fmt.Sprintf(
			"%s is this process (pid %d); stop it first, or give the other one another name "+
				"of the roster", h.FromName, c.cfg.PID)
	case c.retired(int(h.From)) && !c.isRetired && !c.lingersWith(int(h.From)):
		return wire.RefuseRetired, c.retiredText(int(h.From))
	case c.leaving && !c.lingers:
		return wire.RefuseLeaving, "leaving the ring"
	}
	return 0, ""
}

// mismatchText says which of two rosters must change: the one that fewer hold.
func (c *Core) mismatchText(h *wire.Hello) string {
	ours, theirs := c.linkedPeers(), h.Linked
	who := "compare the two with `ring roster diff` and give both the same"
	switch {
	case ours > theirs:
		who = fmt.Sprintf("%s must change its roster: %d instances are linked on ours, %d on its",
			h.FromName, ours, theirs)
	case theirs > ours:
		who = fmt.Sprintf("%s must change its roster: %d instances are linked on theirs, %d on its",
			c.roster.Names[c.self], theirs, ours)
	}
	hash := c.roster.Hash()
	return fmt.Sprintf("rosters differ: %d instances (%x) at %s, %d (%x) at %s; %s",
		c.n, hash[:4], c.roster.Names[c.self], h.Size, h.Roster[:4], h.FromName, who)
}

// refuse answers a Hello with a no and tells it here too.
func (c *Core) refuse(cn *conn, h *wire.Hello, code wire.RefuseCode, text string) {
	c.send(cn, &wire.Refuse{Code: code, Text: text})
	subject := -1
	if h.From < uint32(c.n) && h.FromName == c.roster.Names[h.From] {
		subject = int(h.From)
	} else {
		text = fmt.Sprintf("%q: %s", h.FromName, text)
	}
	if p := cn.peer; p != nil { // we dialed it: no sense in hurrying back
		c.failed(p, 0)
		p.nextDial = c.now.Add(5 * c.cfg.Timing.Redial)
	}
	c.shut(cn, "")
	if subject < 0 && c.now.Before(c.strangerTell) {
		return
	}
	if subject < 0 {
		c.strangerTell = c.now.Add(tellPause)
	}
	if code != wire.RefuseLeaving && code != wire.RefuseBehind && (subject < 0 || c.mayTell(subject)) {
		c.tell(Report{Kind: Refusing, Subject: subject, Text: text})
	}
}

// onRefuse takes a no.
func (c *Core) onRefuse(cn *conn, r *wire.Refuse) {
	p := cn.peer
	c.remove(cn)
	c.fx = append(c.fx, Effect{Kind: Close, Conn: cn.id})
	if p == nil {
		return
	}
	p.dialing, p.tried = false, true
	p.nextDial = c.now.Add(c.cfg.Timing.Redial)
	switch r.Code {
	case wire.RefuseBehind:
		return
	case wire.RefuseRetired:
		c.onRetired(p, r.Text)
		return
	case wire.RefuseTaken:
		c.onTaken(p, r.Text)
		return
	case wire.RefuseLeaving:
		return
	}
	if c.mayTell(p.i) {
		c.tell(Report{Kind: Refusing, Subject: p.i, Text: r.Text})
	}
	c.failed(p, Unanswered)
	p.nextDial = c.now.Add(5 * c.cfg.Timing.Redial)
}

// establish makes a link of cn: h is acceptable.
func (c *Core) establish(cn *conn, h *wire.Hello) {
	p := cn.peer
	cn.protocol = int(min(h.Version, wire.ProtocolVersion))
	cn.up, cn.upAt, cn.answerBy, cn.boot = true, c.now, time.Time{}, h.Boot
	p.roster = h.Roster
	cn.out = h.Was
	slot := &p.accepted
	if cn.dialed {
		slot = &p.dialed
		p.dialing = false
	}
	old := *slot
	renewed := old.healthy() && old.boot == h.Boot // what is on its way on the old one may be lost
	*slot = cn
	switch {
	case renewed && !cn.dialed: // who dialed ends the old one when it has our answer
		if p.older != nil {
			c.shut(p.older, "")
		}
		p.older = old
	case old != nil:
		c.shut(old, "")
	}
	if o := p.other(cn); o != nil && (o.boot != h.Boot || o.doubted) {
		c.shut(o, "")
	}
	if !cn.dialed {
		cn.pulse.Hear(c.now, &h.Beat) // for our answer to echo it
		c.hello(cn)
	}
	p.fails, p.tried = 0, true
	p.nextDial = c.now
	wasLost := p.lost
	p.lost = false
	if p.boot != h.Boot || !p.linked {
		c.tell(Report{Kind: LinkUp, Subject: p.i})
	}
	p.boot, p.linked, p.met = h.Boot, true, true
	c.version++ // whom this instance has waited for, it waits for no more
	c.checkBoot(p, h)
	if cn.dialed {
		cn.twoWay = true
	}
	c.takeBeat(cn, &h.Beat)
	// One side's records are enough to begin with: what the other has newer comes
	// back (answerOld). Who is not in the ring yet needs everything.
	if h.Beat.Records != c.digest() &&
		(h.Incarnation == 0 || !cn.dialed && !c.now.Before(c.youngTill)) {
		c.sendAll(cn)
	}
	if h.Incarnation == 0 || c.table.State(p.i) != wire.Alive || h.Beat.View != uint32(c.viewID) {
		c.sendSync(cn)
	}
	if cn.dialed && (c.table.State(p.i) == wire.Down || h.Beat.You.State == wire.Down) {
		c.askSoon() // who was cut returns once an echo has shown that both ways carry
	}
	if a, d := p.accepted, p.dialed; a != nil && d != nil && a.up && !c.designated(p.i) {
		c.shut(d, "two links are one too many")
	}
	c.look = true
	c.bus.Opened(c.now, p.i)
	if c.cast != nil {
		c.cast.Up(c.now, p.i)
	}
	if c.next == p.i && (wasLost || renewed) && c.token.Sent() {
		c.resend("its link is new")
	}
}

// checkBoot compares the process that answered with the one we knew: another
// one is as good a proof of the old one's death as a refusal.
func (c *Core) checkBoot(p *peer, h *wire.Hello) {
	if c.table.Incarnation(p.i) == 0 || c.table.State(p.i) != wire.Alive {
		return
	}
	if c.table.Boot(p.i) == h.Boot {
		if h.Was >= c.table.Incarnation(p.i) { // it says itself that it is out
			c.accuse(p, true)
			return
		}
		c.clear(p)
		return
	}
	if h.Incarnation <= c.table.Incarnation(p.i) {
		c.accuse(p, true)
	}
}

// onBroken is a connection that ended from the other side or by an error.
func (c *Core) onBroken(cn *conn) {
	p, waiting := cn.peer, !cn.up
	c.remove(cn)
	if p == nil {
		return
	}
	if waiting {
		c.failed(p, Unanswered)
		return
	}
	if p.healthy() != nil {
		return
	}
	p.lost, p.lostAt = true, c.now
	if cn.doubted { // it has been silent for long enough
		p.lostAt = time.Time{}
	}
	p.linked = false
	p.nextDial = c.now
	if c.table.State(p.i) == wire.Alive && !c.leaving {
		c.tell(Report{Kind: LinkLost, Subject: p.i})
	}
}

// onUnanswered is a Hello that did not come.
func (c *Core) onUnanswered(cn *conn) {
	p := cn.peer
	c.shut(cn, "")
	if p != nil {
		c.failed(p, Unanswered)
	}
}

// doubtAt is when cn must be doubted; zero if it is, or owes nothing.
func (c *Core) doubtAt(cn *conn) time.Time {
	if !cn.up || cn.doubted {
		return time.Time{}
	}
	return cn.pulse.SilentAt(c.cfg.Timing.Beat, c.patience())
}

// doubt starts the re-check over a fresh connection.
func (c *Core) doubt(cn *conn) {
	cn.doubted = true
	p := cn.peer
	if cn.dialed { // what it echoes tells the other side, if that still hears us
		c.beat(cn)
	}
	if p.healthy() != nil {
		return
	}
	p.nextDial, p.fails = c.now, 0
	if c.table.State(p.i) == wire.Alive {
		c.tell(Report{Kind: Suspected, Subject: p.i, Wait: cn.pulse.Silent(c.now)})
		c.version++
	}
	if c.next == p.i && c.token.Sent() {
		c.resend("it is silent")
	}
}

// beatAll sends the heartbeats that are due: on every link we dialed, and on
// those whose dialer has gone quiet.
func (c *Core) beatAll() {
	every := c.cfg.Timing.Beat
	for _, cn := range c.open {
		if cn.up && (cn.dialed || c.now.Sub(cn.lastBeat) > every+every/4) {
			c.beat(cn)
		}
	}
	if c.drift /= 2; c.drift < time.Millisecond {
		c.drift = 0
	}
	c.prune()
	// A little jitter keeps the fleet's beats from falling into step.
	c.beatAt = c.now.Add(every - time.Duration(c.rng.Int64N(int64(every/16)+1)))
}

func (c *Core) beat(cn *conn) {
	b := &wire.Beat{}
	c.fillBeat(cn, b)
	c.send(cn, b)
}

func (c *Core) fillBeat(cn *conn, b *wire.Beat) {
	cn.pulse.Fill(c.now, b)
	cn.lastBeat = c.now
	b.Records, b.View = c.digest(), uint32(c.viewID)
	b.Rank, b.You = c.rank(), c.you(cn.peer.i)
}

// onBeat takes a heartbeat, and answers it on a link we accepted.
func (c *Core) onBeat(cn *conn, b *wire.Beat) {
	c.takeBeat(cn, b)
	if c.conns[cn.id] == nil {
		return
	}
	if !cn.doubted && cn.pulse.Stale(c.now, c.patience()) {
		c.doubt(cn)
	}
	if !cn.dialed {
		c.beat(cn)
	}
	if c.table.State(cn.peer.i) == wire.Down { // it lives, and must know how we see it
		c.sendSync(cn)
	}
	if c.isRetired || c.retired(cn.peer.i) {
		return // they hold nothing of us, nor we of them
	}
	cn.differ, cn.differV = c.compare(b.Records == c.digest(), cn.differ),
		c.compare(b.View == uint32(c.viewID), cn.differV)
	if cn.differ >= 2 && c.now.Sub(c.recordAt) >= c.cfg.Timing.Beat {
		// Nothing is under way any more that could make them the same.
		cn.differ = 0
		c.sendAll(cn)
	}
	if cn.differV >= 2 {
		cn.differV = 0
		c.sendSync(cn)
	}
}

func (c *Core) compare(same bool, n int) int {
	if same {
		return 0
	}
	return n + 1
}

func (c *Core) takeBeat(cn *conn, b *wire.Beat) {
	if rtt := cn.pulse.Hear(c.now, b); rtt > 0 {
		c.fx = append(c.fx, Effect{Kind: Echoed, Peer: cn.peer.i, RTT: rtt})
	}
	cn.twoWay = cn.twoWay || b.Echo > 0
	if at := cn.pulse.SilentAt(c.cfg.Timing.Beat, c.patience()); cn.doubted &&
		(at.IsZero() || c.now.Before(at)) {
		cn.doubted = false
		c.version++
		if cn.dialed { // the other side may doubt us too, for want of this very echo
			c.beat(cn)
		}
	}
	if cn.twoWay && !cn.doubted {
		if b.View == uint32(c.viewID) && c.bus.Quorum() {
			c.minority = false // those around us see it as we do
		}
		if i := cn.peer.i; c.table.Boot(i) == cn.boot && c.table.Incarnation(i) > cn.out {
			c.clear(cn.peer)
		}
		c.learn(cn, b)
	}
}
