// Package core is one instance's protocol, whole: links and their heartbeats,
// the flood of records, the view, the particle. It decides and never does:
// [Core.Step] takes the time and one event and returns effects, and a driver
// with sockets, or a simulator without, carries them out.
//
//	          ┌──────────────── Core ────────────────┐
//	frames ─► │ conn.go    handshake, heartbeats     │ ─► Send, Dial, Close
//	 dials ─► │ dial.go    whom to be linked with    │ ─► Save
//	 timer ─► │ records.go what all say, spread      │ ─► Passed
//	          │ verdict.go who is believed, the cut  │ ─► Tell
//	          │ view.go    who lives, by this view   │
//	          │ member.go  join, sync, rejoin        │
//	          │ token.go   particle, detour          │
//	          │ bus.go     what the fleet agrees on  │
//	          └──────────────────────────────────────┘
//
// A Core is not safe for concurrent use: it has one owner at a time. It starts
// no goroutine, reads no clock and never ranges over a map to make effects.
package core

import (
	"cmp"
	"math/rand/v2"
	"time"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/particle"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/spread"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// lateAfter is how late a timer may be before the instance takes itself for
	// starved: a few scheduler slices of a busy machine.
	lateAfter = 20 * time.Millisecond
	// starvedTold is from where on starvation is worth a line.
	starvedTold = 250 * time.Millisecond
	// driftMax bounds what lateness adds to patience: enough for a machine with
	// a hundred times too much to do, and forgotten within some heartbeats.
	driftMax = 4 * time.Second
	// floodWindow is what records may wait to ride together, after a first one
	// went at once, and as much again for each thousand instances: short against
	// every timeout, long against a storm's gaps. Who comes can wait for longer
	// than who goes: when a fleet starts, that is what saves it from its own noise.
	floodWindow = 2 * time.Millisecond
	patientMax  = 500 * time.Millisecond
	// weighEach is the pause between two weighings of all accusations, for each
	// instance: a weighing costs about as much as there are accusations, and they
	// come by the hundred when many die.
	weighEach = 10 * time.Microsecond
	// unneededAfter is how long a link nobody needs is kept: view changes come
	// and go, and a link costs less than its handshake.
	unneededAfter = 10 * time.Second
	// strangerEvery is the pause between dials of a random instance that is not
	// alive: what heals when all roster neighbours are gone for good.
	strangerEvery = 5 * time.Second
	// tellPause is between two lines about the same trouble.
	tellPause = 5 * time.Second
	// goodbye is how long a leaver stays to let its word get round.
	goodbye = 100 * time.Millisecond
)

// Core is the protocol of one instance.
type Core struct {
	cfg  Config
	self int
	n    int // indexes of the roster, those of who is retired among them

	roster      *roster.Roster
	overlay     *overlay.Overlay
	build       string         // what we tell of ours
	agreedOn    *roster.Roster // the newest of the bus that was looked at
	rosterEra   uint32         // of the bus, when ours was agreed on
	past        []wire.Short8  // what ours came from, for Hellos
	shown       uint64         // as told: which version all have
	isRetired   bool           // ours does not have us any more
	lingers     bool           // but we still have a vote
	toldRetired []int          // who has told us so
	early       []wire.Record  // of those that our roster does not have yet, by index
	dying       bool           // a Fatal is on its way
	rng         *rand.Rand
	now         time.Time
	fx          []Effect // of the step under way
	room        *Room

	// Deadlines: the token's changes with each hop, the rest does not.
	deadline time.Time
	idle     time.Time
	drift    time.Duration // how late this process recently ran
	calm     time.Duration // see quiet

	conns map[ConnID]*conn
	open  []*conn // the same in order of opening
	peers []*peer // in order of index
	byIdx map[int]*peer

	beatAt       time.Time
	askAt        time.Time // no early heartbeats before
	strangerAt   time.Time
	strangerTell time.Time // one line about those who are not of this ring at a time

	// This instance.
	inc, seq  uint32
	told      uint32 // highest incarnation anybody reported of us
	accused   []wire.Accusation
	joined    bool
	gatherBy  time.Time
	born      time.Time // when it started
	youngTill time.Time // see young
	damped    time.Time // not back in the ring before
	taken     time.Time // when we last went above another process of our name
	contests  int       // how often that was, of late
	refused   time.Time // since when we are told that our name is taken
	refusals  int       // how often, since
	takenNow  time.Time // not joining before: retry
	backedAt  time.Time // when a quorum last said that we are in its view
	floor     uint64    // the highest that a peer has told of: it stamps no tick below
	selfCut   bool      // the others' quorum cut us and we have not been back since
	stale     time.Time // until then our view ranks below any: we were away for long
	doomed    bool      // the others have seen enough to cut us
	aloneFrom time.Time // since when nobody can be reached, zero if somebody can
	minority  bool      // we had no quorum, and have not met one since
	wasWhole  bool
	cutOff    bool
	leaving   bool
	goneAt    time.Time
	saved     Saved  // what is on disk, or is on its way there
	ceiling   uint64 // of the token, when it was looked at last
	reserving bool   // a Reserve is on its way
	published bool

	// The others.
	table    *flood.Table
	out      flood.Outbox
	recordAt time.Time // when the last new record came
	alive    int
	left     int
	viewID   uint64
	changes  uint64
	version  uint64
	watched  []int
	verdict  *detect.Verdict
	fresh    time.Time               // newest accusation
	over     time.Time               // since when somebody is to be cut, zero if nobody
	overs    []int                   // who
	between  map[int32]time.Duration // since when, after the start
	cleared  map[int]bool
	flaps    []flap            // by instance
	outs     map[int]time.Time // since when who waits for the end of its hold-down has said so
	stood    []standing        // accusations, by observer
	bad      []BadLinkView
	badAt    time.Time // when the next accusation will have stood for long
	weigh    bool      // accusations changed
	weighAt  time.Time // not weighed before
	look     bool      // who lives or is accused changed
	viewNews bool      // a view change to be told

	token   *particle.Core
	train   *train.Core
	rides   rides
	next    int
	sentTo  int
	sentInc uint32
	detour  int // relay in use towards next, -1 for none
	relays  int // a relay we want a link with, -1 for none
	outP    wire.Particle
	outR    wire.Relay
	dec     wire.Decoder

	sealing

	cast        *spread.Core // nil until we are in the ring
	answers     *gather.Core // the same
	answersView uint64       // the view that it knows
	wantsRoom   bool         // a Publish was denied for want of room
	wantsAsk    bool         // one that asks was, because of too many open questions

	bus      *consensus.Core
	busPeers []int             // whom to be linked with for its sake
	moved    bool              // what the token knows of it is not up to date
	anchored bool              // as told
	downAt   map[int]time.Time // since when which of busPeers is not alive
	said     map[int]said      // who accused whom was cut last, until that has its number
	lost     map[int]Report    // who is only out of reach here, as it was told
}

// New returns the core of one instance. Its first event must be Start. An error
// says that what the disk held does not make sense.
func New(cfg Config) (*Core, error) {
	c := &Core{
		cfg: cfg, self: cfg.Self, n: cfg.Roster.Len(), rng: cfg.Rand,
		roster: cfg.Roster, overlay: cfg.Overlay, rosterEra: cfg.RosterEra,
		build: withProtocol(cfg.Build, wire.ProtocolVersion),
		conns: map[ConnID]*conn{}, byIdx: map[int]*peer{},
		between: map[int32]time.Duration{}, cleared: map[int]bool{},
		token: particle.New(particle.Config{
			Self: cfg.Self, Hold: cfg.Hold, Fast: cfg.Fast,
			Lap: cfg.Timing.Lap, Loss: cfg.Timing.Loss,
		}, cfg.Saved.Epoch, cfg.Saved.Ceiling),
		train: train.New(cfg.Self, uint64(cfg.Boot)),
		room:  cmp.Or(cfg.Room, &Room{}),
		saved: cfg.Saved, ceiling: cfg.Saved.Ceiling,
		next: cfg.Self, sentTo: -1, detour: -1, relays: -1,
		downAt: map[int]time.Time{}, said: map[int]said{}, lost: map[int]Report{},
		outs: map[int]time.Time{}, sealing: newSealing(),
	}
	c.table = flood.NewTable(c.n, c.build)
	c.size()
	c.token.SetRoster(cfg.Roster.Version)
	var err error
	c.bus, err = consensus.New(consensus.Config{
		Self: cfg.Self, N: c.n, Roster: cfg.Roster, Fleet: fleet{c}, Boot: cfg.Boot, Memory: cfg.Memory, Saved: cfg.Bus,
		Lost: cfg.Lost, Strict: cfg.Proof != nil,
		Timing: busTiming(cfg.Timing), Rand: cfg.Rand,
	})
	return c, err
}

// Step feeds one event to the instance at the time now, which must not go
// back, and returns what is to be done, in order. The slice and what it points
// to are valid until the next Step.
func (c *Core) Step(now time.Time, ev Event) []Effect {
	away := now.Sub(c.now)
	// How late this step is: what came before the last one was seen to in it.
	due := c.deadline
	if due.Before(c.now) {
		due = c.now
	}
	c.now = now
	c.enter()
	if late := now.Sub(due); late > lateAfter && !c.deadline.IsZero() {
		c.starve(late, away)
	}
	if p, ok := ev.Msg.(*wire.Particle); ok && now.Before(c.idle) {
		// The hop path: nothing but the token can have changed.
		relays := c.relays
		if cn := c.conns[ev.Conn]; cn != nil && cn.up {
			c.onParticle(p)
			c.rosterPassed()
		}
		if c.relays == relays && !c.look && !c.bus.Pending() && !c.moved {
			c.schedule()
			return c.done()
		}
		ev = Event{Kind: Timer} // its road is blocked: somebody must be dialed
	}
	if ev.Kind == Propose && now.Before(c.idle) {
		// As long as the disk is busy, it has but been put with the others.
		c.propose(&ev)
		if !c.bus.Pending() {
			c.idle = earlier(c.idle, c.bus.Deadline())
			c.schedule()
			return c.done()
		}
		ev = Event{Kind: Timer}
	}
	if ev.Kind == Board && now.Before(c.idle) {
		// They wait, as a rule, and nothing else can have changed.
		c.board(ev.Riders)
		if !c.token.Due(now) {
			c.schedule()
			return c.done()
		}
		ev = Event{Kind: Timer}
	}
	c.handle(ev)
	c.settle()
	c.idle = c.idleDeadline()
	c.schedule()
	return c.done()
}

// enter makes room for the effects of a step: what the last ones pointed to is
// not kept, nor, where the room is our own, a storm's worth of it.
func (c *Core) enter() {
	r := c.room
	if c.cfg.Room == nil && cap(r.fx)+cap(r.records)+cap(r.news) > 64 {
		*r = Room{groves: r.groves}
	}
	clear(r.fx)
	c.fx, r.records, r.accused = r.fx[:0], r.records[:0], r.accused[:0]
}

func (c *Core) done() []Effect {
	fx := c.fx
	c.room.fx, c.fx = fx, nil
	return fx
}

// schedule sets the deadline, which is never behind.
func (c *Core) schedule() {
	c.deadline = earlier(c.idle, c.tokenDeadline())
	if c.deadline.Before(c.now) && !c.deadline.IsZero() {
		c.deadline = c.now
	}
}

func (c *Core) handle(ev Event) {
	switch ev.Kind {
	case Start:
		c.start()
	case Dialed:
		c.onDialed(ev.Conn, ev.Peer, ev.Name)
	case DialFailed:
		c.onDialFailed(ev.Peer, ev.Cause, ev.Text)
	case Accepted:
		c.add(&conn{id: ev.Conn, name: ev.Name, answerBy: c.now.Add(slowness * c.answer())})
	case Received:
		if cn := c.conns[ev.Conn]; cn != nil {
			c.onFrame(cn, ev.Msg)
		}
	case Broken:
		if cn := c.conns[ev.Conn]; cn != nil {
			c.onBroken(cn)
		}
	case Leave:
		c.leave()
	case SetPace:
		c.token.SetPace(ev.Hold, ev.Fast)
	case Reserved:
		c.reserved(ev.Seq)
	case Persisted:
		c.bus.Persisted(c.now, ev.Seq)
	case Propose:
		c.propose(&ev)
	case Publish:
		c.publishCast(&ev)
	case Answered:
		if c.answers != nil {
			c.answers.Answered(c.now, ev.Cast, ev.Payload, ev.OK)
		}
	case Folded:
		if c.answers != nil {
			c.answers.Folded(c.now, ev.Cast, ev.Payload, ev.OK)
		}
	case Board:
		c.board(ev.Riders)
	case Unboard:
		c.unboard(ev.Seq)
	case Stations:
		c.rides.stations = ev.Stations
	case Worked:
		c.worked(ev.Seq, ev.Values)
	case Rekeyed:
		c.rekeyed()
	case Read:
		c.bus.Read(c.now, ev.Seq)
	case Cancel:
		c.bus.Cancel(ev.Seq)
	case Recover:
		c.recover(&ev)
	case Timer:
	}
}

// settle brings everything up to date with what has happened and with the time.
func (c *Core) settle() {
	c.timers()
	if c.weigh && !c.now.Before(c.weighAt) {
		c.weighAt = c.now.Add(time.Duration(c.n) * weighEach)
		c.judge()
	}
	c.cut()
	if c.look {
		c.lookRound()
	}
	c.tellView()
	c.turnBus()
	c.linger()
	if c.look {
		c.lookRound()
	}
	c.dials()
	c.turnToken()
	c.busEffects()
	c.castTurn()
	c.spread()
}

// Deadline is when the next Timer event is due; zero for never.
func (c *Core) Deadline() time.Time { return c.deadline }

// starve discounts time in which this process did not run: what the others
// owed in it may be waiting to be read. It ran late by late, and took no step
// for away.
func (c *Core) starve(late, away time.Duration) {
	c.drift = max(c.drift, min(late, driftMax))
	for _, cn := range c.open {
		cn.pulse.Shift(late)
		if !cn.answerBy.IsZero() {
			cn.answerBy = cn.answerBy.Add(late)
		}
	}
	for _, p := range c.peers {
		if !p.graceTill.IsZero() {
			p.graceTill = p.graceTill.Add(late)
		}
	}
	if !c.fresh.IsZero() {
		c.fresh = c.fresh.Add(late)
	}
	if !c.over.IsZero() {
		c.over = c.over.Add(late)
	}
	c.token.Shift(late)
	c.bus.Shift(late)
	if away > c.cfg.Timing.Patience+c.cfg.Timing.Answer { // long enough to have been cut
		c.stale = c.now.Add(c.detection())
	}
	if late >= starvedTold {
		c.tell(Report{Kind: Starved, Subject: c.self, Wait: late})
	}
}

// patience is how long an answer may be owed: longer for a while after this
// process itself ran late, because then it is no judge of others.
//
// An answer needs us twice and the other side once or twice, and where we run
// late so, as a rule, do those beside us.
func (c *Core) patience() time.Duration {
	return c.cfg.Timing.Patience + min(3*c.drift, driftMax)
}

// answer is how long a dial may take, by the same rule: it goes to and fro three
// times.
func (c *Core) answer() time.Duration {
	return c.cfg.Timing.Answer + min(8*c.drift, 2*driftMax)
}

// slowness is how much longer one who is not in the ring may take to answer
// once the connection stands: no verdict waits for it, and who starts on a busy
// machine must not be hung up on by everybody.
const slowness = 5

// answerOf is how long p may take for its Hello.
func (c *Core) answerOf(p *peer) time.Duration {
	switch {
	case !p.watched || !c.isAlive(p.i) || c.greets(p):
		return slowness * c.answer()
	case c.looksAgain(p):
		return c.answer() / 2
	}
	return c.answer()
}

// greets reports whether a dial of p would be the first contact with it, and one of
// us has just come and has much else to do: that it is slow says nothing yet.
func (c *Core) greets(p *peer) bool {
	return !p.met && (c.now.Before(c.youngTill) || c.now.Sub(p.since) < young*c.cfg.Timing.Gather)
}

// detection is the longest that a silent instance goes unnoticed.
func (c *Core) detection() time.Duration {
	t := c.cfg.Timing
	return t.Beat + t.Patience + t.Answer
}

// timers does what time alone brings about.
func (c *Core) timers() {
	if !c.goneAt.IsZero() && !c.now.Before(c.goneAt) {
		c.goneAt = time.Time{}
		c.gone()
		return
	}
	for i := 0; i < len(c.open); i++ { // unanswered and silent links
		cn := c.open[i]
		if !cn.answerBy.IsZero() && !c.now.Before(cn.answerBy) {
			c.onUnanswered(cn)
			i--
			continue
		}
		if at := c.doubtAt(cn); !at.IsZero() && !c.now.Before(at) {
			c.doubt(cn)
		}
	}
	if !c.beatAt.IsZero() && !c.now.Before(c.beatAt) {
		c.beatAll()
	}
	c.tryJoin()
	c.expireBetween()
}

// idleDeadline is the earliest of all deadlines but the token's.
func (c *Core) idleDeadline() time.Time {
	d := earlier(c.beatAt, c.goneAt)
	for _, cn := range c.open {
		d = earlier(d, earlier(cn.answerBy, c.doubtAt(cn)))
	}
	d = earlier(d, c.dialDeadline())
	d = earlier(d, c.cutDeadline())
	d = earlier(d, c.joinDeadline())
	if c.weigh {
		d = earlier(d, c.weighAt)
	}
	d = earlier(d, c.bus.Deadline())
	if c.cast != nil {
		d = earlier(earlier(d, c.cast.Deadline()), c.answers.Deadline())
	}
	return earlier(d, c.out.Deadline())
}

// earlier is the earlier of two times, zero meaning never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (c *Core) send(cn *conn, m wire.Msg) {
	c.fx = append(c.fx, Effect{Kind: Send, Conn: cn.id, Msg: m})
}

func (c *Core) tell(r Report) {
	c.fx = append(c.fx, Effect{Kind: Tell, Report: r})
}

func (c *Core) save() {
	c.fx = append(c.fx, Effect{Kind: Save, Saved: c.saved})
}
