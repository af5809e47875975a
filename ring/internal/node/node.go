// Package node is the one place that steps the core: it brings it frames, dials
// and the time, and carries out what it answers.
//
//	reader of link 1 ─┐                       ┌─► links: corked, one write a Step or more
//	reader of link 2 ─┤   baton    ┌──────┐   ├─► dials, in goroutines
//	timer            ─┼──────────► │ core │ ──┤   state file: before what follows it
//	disk             ─┤            │      │   ├─► journal: a goroutine, one sync for many
//	dials, accepts   ─┘ one holder └──────┘   ├─► rings of ticks and reports ─► followers
//	                                          └─► histograms
//
// Whoever has something for the core takes the baton, steps it and carries out
// the effects itself. A particle that comes in on one link is out on the next
// before its reader reads on: no other goroutine is woken, nothing is allocated
// and no timer is touched, unless somebody follows the ticks.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// Machine is the protocol that a Node drives; *core.Core is one.
type Machine interface {
	Step(now time.Time, ev core.Event) []core.Effect
	Deadline() time.Time
	View() *core.View
	ViewVersion() uint64
	Links() []core.LinkView
	Particle() (e wire.Epoch, lap uint64, slow int, half time.Duration, ok bool)
	BusView() *core.BusView
	CastKept() int
	Late() time.Duration
	State() *bus.State
	TakeNews() bus.News
	Backup() []byte
	Greeting(peer int) *wire.Hello
	Refusal(h *wire.Hello, dialed int) (wire.RefuseCode, string)
	LeastProtocol() (protocol, who int)
}

// Journal keeps the log of what the fleet agrees on.
type Journal interface {
	// Append returns when all of ws is on disk. After an error nothing more may
	// be appended.
	Append(ws []consensus.Write) error
}

// Config is what a Node needs. All fields but Save, Handler,
// Journal, Bulk and Identity with what goes with it are required.
type Config struct {
	Core     Machine
	Listener net.Listener                // closed by the Node
	Handler  http.Handler                // what is asked of the port beside links; nil: 404
	Addr     func(peer int) string       // host:port, asked for at each dial
	Degree   int                         // links this instance keeps; bounds derive from it
	Link     link.Options                // times of every link
	Save     func(v core.Saved) error    // returns when v is on disk; nil: nothing is kept
	Reroll   func(fx *core.Effect) error // the core goes by fx.Roster from now on; returns when that is on disk; nil: never
	Journal  Journal                     // nil: Core keeps its log in memory, and asks for nothing
	Bend     func(frame []byte) [][]byte // what goes out for a frame; nil in all but a liar, see package liar
	Bulk     *haul.Haul                  // closed by the Node; nil: there are no large payloads

	Identity link.Identity         // nil: nothing is encrypted
	Name     func(peer int) string // of whom Identity speaks; required with it
	Vouch    time.Duration         // between two looks at the certificates of links; 0: 10 s
}

// ErrSave is the end of an instance that could not keep what it must.
var ErrSave = errors.New("instance cannot remember what it must")

// FatalError is the core's word that this process must not go on.
type FatalError struct{ Report core.Report }

func (e *FatalError) Error() string { return e.Report.Text }

// Node drives one core. Its methods may be called by several goroutines.
type Node struct {
	cfg    Config
	server *http.Server
	guests *guests
	door   *link.Door      // nil without an Identity
	ctx    context.Context // of dials; ends with the Node
	cancel context.CancelFunc
	wg     sync.WaitGroup
	timer  *time.Timer
	done   chan struct{}

	ticks   *feed[Tick]
	reports *feed[Report]
	casts   *feed[Cast]
	riders  *feed[Rider]
	news    *feed[struct{}] // one for each change of the view
	keys    *feed[bus.News] // what entries have changed

	latest atomic.Pointer[core.Saved] // what Save is to keep
	saving sync.Mutex                 // held while it does; taken with or without the baton

	mu       sync.Mutex // the baton; guards what follows
	core     Machine
	armed    time.Time               // when the timer will fire, zero if it will not
	conns    map[core.ConnID]*conn   // those the core knows
	links    map[*link.Conn]struct{} // all that have a reader
	lastID   core.ConnID
	opening  []*conn // accepted, no frame yet; oldest first
	dials    int     // running
	greeting int     // connections for large payloads that have not said who dialed
	dirty    []*conn // have frames to flush
	urgent   bool    // one of those is not bulk
	more     bool    // the next frame is here already: bulk may wait for what that brings
	buf      []byte  // one encoded frame
	stats    stats
	last     Tick // the newest
	version  uint64
	view     *core.View // nil: to be built when asked for
	passed   bool       // a tick was recorded in this Step
	told     bool       // a report was
	closed   bool
	broken   bool // the core is: it may not even have a picture of itself
	err      error

	vouch   vouching
	asks    asks
	cast    casting
	ride    riding
	writes  []consensus.Write // to be appended to the journal
	written uint64            // the number of the newest of them
	write   chan struct{}     // one token while there are any
}

// Start begins to serve cfg.Listener and feeds the core its first event.
func Start(cfg Config) *Node {
	n := &Node{
		cfg: cfg, core: cfg.Core,
		conns: map[core.ConnID]*conn{}, links: map[*link.Conn]struct{}{},
		timer: time.NewTimer(time.Hour), done: make(chan struct{}),
		ticks: newFeed[Tick](ticksKept), reports: newFeed[Report](reportsKept),
		casts: newFeed[Cast](castsKept), cast: newCasting(),
		riders: newFeed[Rider](ridersKept), ride: newRiding(),
		news: newFeed[struct{}](1), keys: newFeed[bus.News](keysKept), stats: newStats(),
		asks: newAsks(), write: make(chan struct{}, 1),
	}
	n.casts.weigh, n.casts.most = Cast.weight, castsBytes
	n.riders.weigh, n.riders.most = Rider.weight, ridersBytes
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.server, n.guests = newServer(n)
	if cfg.Identity != nil {
		n.vouch.begin(cfg.Identity.Leaf())
		n.door = link.Guard(cfg.Listener, cfg.Identity, n.atDoor)
		n.cfg.Listener = n.door
		n.wg.Go(n.vouchAll)
	}
	if cfg.Bulk != nil {
		cfg.Bulk.Run(haul.Ties{Dial: n.dialBulk, Deliver: n.deliverLarge, Missed: n.missLarge})
	}
	n.wg.Go(func() { n.serve() })
	n.wg.Go(func() { n.watch() })
	n.wg.Go(func() { n.keep() })
	n.do(core.Event{Kind: core.Start})
	go n.finish()
	return n
}

// finish waits for everything to have ended.
func (n *Node) finish() {
	<-n.ctx.Done()
	if n.cfg.Bulk != nil {
		n.closeBulk()
	}
	n.wg.Wait()
	if n.door != nil {
		n.door.Wait()
	}
	n.ticks.close()
	n.reports.close()
	n.casts.close()
	n.riders.close()
	n.news.close()
	n.keys.close()
	close(n.done)
}

// do takes the baton and feeds one event.
func (n *Node) do(ev core.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step(time.Now(), ev)
}

// step feeds the core and carries out its effects, in order. The caller holds
// the baton and has taken now under it, so that time never goes back.
func (n *Node) step(now time.Time, ev core.Event) {
	if n.closed {
		return
	}
	defer n.rescue()
	fx := n.core.Step(now, ev)
	for i := range fx {
		n.carry(now, &fx[i])
		if n.closed {
			break
		}
	}
	if !n.more || n.urgent {
		n.flush()
	}
	n.arm(now)
	n.publish()
	n.tellStations()
}

// rescue turns a broken invariant of the core into the end of this instance,
// not of the process it is embedded in.
func (n *Node) rescue() {
	if p := recover(); p != nil {
		n.broken = true
		n.end(fmt.Errorf("BUG: %v\n%s", p, debug.Stack()), false)
	}
}

// carry does one effect.
func (n *Node) carry(now time.Time, fx *core.Effect) {
	switch fx.Kind {
	case core.Send:
		if c := n.conns[fx.Conn]; c != nil {
			n.send(c, fx.Msg)
		}
	case core.Passed:
		n.flush() // it goes on before it is written down
		n.pass(now, fx.Tick)
	case core.Echoed:
		n.stats.rtt(fx.Peer, fx.RTT)
	case core.Dial:
		n.dial(fx.Peer, fx.Timeout, fx.Within)
	case core.Close:
		if c := n.conns[fx.Conn]; c != nil {
			n.forget(c)
			c.link.Finish()
		}
	case core.Save:
		n.save(fx.Saved)
	case core.Reserve:
		n.reserve(fx.Saved)
	case core.Rerolled:
		n.reroll(fx)
	case core.Tell:
		if fx.Report.Kind != core.Refusing || !n.lapsed(now) {
			n.tell(now, fx.Report)
		}
	case core.Forged:
		n.stats.forged++
	case core.Gone:
		n.flush()
		n.end(nil, true)
	case core.Persist:
		n.writes, n.written = append(n.writes, *fx.Write), fx.Seq
		select {
		case n.write <- struct{}{}:
		default:
		}
	case core.Settled, core.Readable, core.Denied, core.Recovered:
		n.asks.answer(fx)
	case core.Published, core.Crowded, core.Emptied, core.Delivered, core.Missed,
		core.Answer, core.Fold, core.Gathered:
		n.carryCast(now, fx)
	case core.Boarding, core.Full, core.Seats, core.Visited, core.Work, core.Overdue, core.Unfolded:
		n.carryRide(now, fx)
	case core.Fatal:
		n.flush()
		r := fx.Report
		r.By = slices.Clone(r.By)
		n.end(&FatalError{Report: r}, true)
	}
}

// send queues m; it goes out at the end of the Step, or, if it is bulk, together with
// what comes of the frames that have come in with this one: to write a hundred small
// messages one by one costs more than all else that is done with them.
func (n *Node) send(c *conn, m wire.Msg) {
	n.buf = wire.Append(n.buf[:0], m)
	queue, bulk := c.link.Queue, wire.Bulk(m)
	if bulk {
		queue = c.link.QueueBulk
	}
	if n.cfg.Bend != nil {
		for _, frame := range n.cfg.Bend(n.buf) {
			_ = queue(frame) // the reader learns why
		}
	} else if queue(n.buf) != nil {
		return // its reader learns why, and tells the core
	}
	if !bulk {
		c.urgent, n.urgent = true, true
	}
	if !c.dirty {
		c.dirty = true
		n.dirty = append(n.dirty, c)
	}
	n.stats.count(outward, m.Kind(), len(n.buf))
}

func (n *Node) flush() {
	for _, c := range n.dirty {
		if c.urgent { // first: a write takes its time
			c.link.Flush()
		}
	}
	for i, c := range n.dirty {
		if !c.urgent {
			c.link.Flush()
		}
		c.dirty, c.urgent = false, false
		n.dirty[i] = nil
	}
	n.dirty, n.urgent = n.dirty[:0], false
}

// save keeps v before anything behind it is done. What is in front of it goes
// out first: a disk may take its time. An instance that cannot remember what
// it was told to must not go on: the ring closes round it.
func (n *Node) save(v core.Saved) {
	if n.cfg.Save == nil {
		return
	}
	n.flush()
	n.latest.Store(&v)
	if _, err := n.saveLatest(); err != nil {
		n.end(fmt.Errorf("%w: %w", ErrSave, err), false)
	}
}

// reroll has everything around the core go by another roster.
func (n *Node) reroll(fx *core.Effect) {
	if fx.Overlay != nil {
		n.cfg.Degree = max(n.cfg.Degree, fx.Overlay.Degree)
	}
	if n.cfg.Reroll == nil {
		return
	}
	n.flush()
	n.saving.Lock()
	err := n.cfg.Reroll(fx)
	n.saving.Unlock()
	if err != nil {
		n.end(fmt.Errorf("%w: %w", ErrSave, err), false)
	}
}

// reserve keeps v while all goes on.
func (n *Node) reserve(v core.Saved) {
	n.latest.Store(&v)
	n.wg.Go(func() {
		kept, err := v, error(nil)
		if n.cfg.Save != nil {
			kept, err = n.saveLatest()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if err != nil {
			n.end(fmt.Errorf("%w: %w", ErrSave, err), false)
			return
		}
		n.step(time.Now(), core.Event{Kind: core.Reserved, Seq: kept.Ceiling})
	})
}

// saveLatest has on disk what is to be there by now, which may be later than what its
// caller wanted: so an older one never comes behind a newer.
func (n *Node) saveLatest() (core.Saved, error) {
	n.saving.Lock()
	defer n.saving.Unlock()
	v := *n.latest.Load()
	return v, n.cfg.Save(v)
}

func (n *Node) pass(now time.Time, t core.Tick) {
	n.last = Tick{At: now, Tick: t}
	n.stats.lap(now, t)
	if n.ticks.followed() {
		n.ticks.push(n.last)
		n.passed = true
	}
}

func (n *Node) tell(now time.Time, r core.Report) {
	n.stats.skipped += r.Skipped
	r.By = slices.Clone(r.By) // it is the core's until its next Step
	n.reports.push(Report{At: now, Report: r})
	n.told = true
}

// publish wakes who follows, after all that had to be sent is out.
func (n *Node) publish() {
	if n.passed {
		n.passed = false
		n.ticks.wake()
	}
	if n.told {
		n.told = false
		n.reports.wake()
	}
	if n.cast.told {
		n.cast.told = false
		n.casts.wake()
	}
	if n.ride.told {
		n.ride.told = false
		n.riders.wake()
	}
	if v := n.core.ViewVersion(); v != n.version {
		n.version, n.view = v, nil
		n.news.push(struct{}{})
		n.news.wake()
	}
	if k := n.core.TakeNews(); k.All || len(k.Keys) > 0 {
		n.keys.push(k)
		n.keys.wake()
	}
}

// arm makes the timer fire no later than the core's deadline. A deadline that
// moved away, as the particle's does at each pass, costs nothing: the timer
// fires early once, and looks again.
func (n *Node) arm(now time.Time) {
	d := n.core.Deadline()
	if n.closed || d.IsZero() || (!n.armed.IsZero() && !d.Before(n.armed)) {
		return
	}
	n.armed = d
	n.timer.Reset(d.Sub(now))
}

// watch is the goroutine of the timer.
func (n *Node) watch() {
	defer n.timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.timer.C:
			n.ring()
		}
	}
}

// ring is the timer going off.
func (n *Node) ring() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.armed = time.Time{}
	if d := n.core.Deadline(); d.IsZero() || now.Before(d) {
		n.arm(now)
		return
	}
	n.step(now, core.Event{Kind: core.Timer})
}

// end stops everything. The caller holds the baton. In order, the listener is
// closed before any link is: who feels a link break and dials again must find
// that nobody listens. graceful lets what was queued go out first, and requests
// that are being answered end.
func (n *Node) end(err error, graceful bool) {
	if n.closed {
		return
	}
	n.closed, n.err = true, err
	if cerr := n.cfg.Listener.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) && n.err == nil {
		n.err = fmt.Errorf("close listener: %w", cerr)
	}
	for l := range n.links {
		if graceful {
			l.Finish()
		} else {
			l.Close()
		}
	}
	clear(n.conns)
	n.opening = nil
	n.asks.end()
	n.wg.Go(func() { n.closeServer(graceful) })
	n.cancel()
}

// Leave says goodbye to the ring and returns when that is done and everything
// has ended, or when ctx ends; then the goodbye goes on without the caller.
func (n *Node) Leave(ctx context.Context) error {
	n.do(core.Event{Kind: core.Leave})
	select {
	case <-n.done:
		return n.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the Node at once and waits for its goroutines.
func (n *Node) Close() error {
	n.mu.Lock()
	n.end(nil, false)
	for l := range n.links {
		l.Close() // it may have a goodbye to send yet, to a peer that does not read
	}
	n.mu.Unlock()
	<-n.done
	return n.Err()
}

// Done is closed when everything has ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err says why the Node ended; nil before that and after Leave and Close.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// SetPace changes the rest at this stop.
func (n *Node) SetPace(hold time.Duration, fast bool) {
	n.do(core.Event{Kind: core.SetPace, Hold: hold, Fast: fast})
}
