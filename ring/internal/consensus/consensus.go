// Package consensus is what makes the fleet agree: a small set of voters with a
// log each, driven by the engine of etcd, and everybody else, who follow them.
//
//	           voters                      the rest
//	┌──────────────────────────┐    ┌──────────────────────┐
//	│ log ◄─► log ◄─► log      │    │ pull committed       │
//	│  │ committed             │───►│ entries, in order    │
//	│  ▼                       │    │  ▼                   │
//	│ bus.State                │    │ bus.State            │
//	└──────────────────────────┘    └──────────────────────┘
//
// Like every protocol here it decides and never does: its methods take the time
// and what happened, [Core.Effects] is what is to be done. The engine is stepped
// in place and writes to disk without waiting: what it wants to keep is a
// [Persist], and what depends on that leaves only after [Core.Persisted].
//
// What the engine is not left to decide by itself:
//
//   - When to campaign. Its own timers are random by a source of its own; here
//     they come from the seed, and a proof of the leader's death needs no timer.
//   - Who a voter is. A [RaftID] is an instance and the generation of its log:
//     an empty log is always a new generation, so a vote or an acknowledgement
//     that was lost with a disk is never taken for given.
//   - How a history begins. A blank instance begins one only if most of the
//     first voters are blank and nobody whom it reaches has data.
//
// A Core is not safe for concurrent use. It reads no clock and never ranges over
// a map to make effects.
package consensus

import (
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

// VotersMax is how many voters a fleet has: seven survive three deaths, and more
// only make every entry slower.
const VotersMax = 7

// votersMin is the fewest voters that a leader goes down to by itself.
const votersMin = 3

// FirstVoters are the voters of a history that begins in a fleet of n: all of a
// small one, seven spread evenly over a larger one.
func FirstVoters(n int) []int {
	k := min(n, VotersMax)
	v := make([]int, k)
	for i := range v {
		v[i] = i * n / k
	}
	return v
}

// Timing is the pace of consensus.
type Timing struct {
	Heartbeat time.Duration // of the leader, to voters
	Election  time.Duration // silence of a leader after which others campaign
	Step      time.Duration // between the campaigns of two ranks: some round trips
	Retry     time.Duration // an unanswered request is sent again
	Gather    time.Duration // a blank instance waits for others before it begins a history
	HoldOff   time.Duration // a voter is down for so long before it is replaced
	Status    time.Duration // pause between two words on how far we are
}

// Fleet is what a Core asks about the others; it keeps nothing of it.
type Fleet interface {
	Alive(i int) bool          // in the ring, by this instance's view; itself too
	Left(i int) bool           // said goodbye
	Since(i int) time.Time     // since when it is not alive; zero if it is, or never was
	Alike(i int) bool          // it is linked with, and goes by the very roster of this instance
	Linked(i int) bool         // what is sent to it now can be expected to arrive
	Member(i int) (Seen, bool) // what the view says, to be numbered; false for nobody yet
}

// Seen is one instance in this instance's view.
type Seen struct {
	State       uint8 // as wire.State
	Incarnation uint32
	Proof       bool
	By          []uint32
}

// Config is what a Core must be told at birth.
type Config struct {
	Self   int
	N      int
	Roster *roster.Roster // of N; nil where nobody is retired and none has a wish
	Fleet  Fleet
	Boot   uint32 // random per process, not 0
	Memory bool   // nothing is kept: no Persist comes, everything counts as kept
	Saved  *Saved // what was kept; nil: nothing, ever
	Strict bool   // only voters are believed what was agreed on
	Lost   bool   // something was kept and cannot be read: this instance begins no history
	Timing Timing
	Rand   *rand.Rand
}

// EffectKind says which fields of an Effect count.
type EffectKind uint8

// Effects.
const (
	Send     EffectKind = iota + 1 // Msg to instance To, if it can be
	Persist                        // Write; call Persisted(Seq) when it and all before it is kept
	Settled                        // Seq: the request of Propose; Result
	Readable                       // Seq: the question of Read; State has all that was acknowledged before it
	Refused                        // Seq, Why: of either
	DropNow                        // Epoch: drop the particle; comes once for an epoch, at its leader
	Numbered                       // View, Rev: a change of the view has its number; Old: it had it before we came
	Moved                          // voters, leader, epoch or revision changed: look again
	Told                           // Tell
	Broken                         // Tell.Text: this process must not go on
)

// Why is a reason to refuse.
type Why uint8

// Reasons. After Unknown the request may or may not have been done.
const (
	NoQuorum Why = iota + 1
	Unknown
	Busy
)

// TellKind names what happened, for the instance's story.
type TellKind uint8

// What is told.
const (
	Elected    TellKind = iota + 1 // Subject leads, in Term
	Leaderless                     // nobody does
	Begun                          // a history began here
	Followed                       // this instance goes by a history it did not before
	Voting                         // Subject votes from now on, or no longer: Text
	Conflict                       // two histories: Text says what to do
)

// Tell is a thing that a person may want to know.
type Tell struct {
	Kind    TellKind
	Subject int
	Term    uint64
	Rev     uint64
	Text    string
}

// Effect is one thing to be done, in order.
type Effect struct {
	Kind   EffectKind
	To     int
	Msg    wire.Msg
	Seq    uint64
	Write  *Write
	Result bus.Result
	Why    Why
	Epoch  bus.Epoch
	View   []bus.Change
	Rev    uint64
	Old    bool
	Tell   Tell
}

// Core is one instance's part in agreeing.
type Core struct {
	cfg Config
	now time.Time
	fx  []Effect

	firstIDs []uint64 // voters of a history that begins, at generation 0

	ident Identity
	state *bus.State
	conf  *raftpb.ConfState // who votes, by the newest entry applied

	// The log, of a voter or of one who is to be.
	rn       *raft.RawNode
	ms       *raft.MemoryStorage
	queue    []saving // what is being kept, in order
	seq      uint64   // of the newest Persist
	hard     *raftpb.HardState
	quit     map[History]uint32 // generations of ours that were given up, and must not come again
	starting uint64             // Seq of the Persist that begins our log, 0 for none
	sincesnp int                // bytes applied since the last snapshot
	drops    []dropAt

	// Who leads.
	lead       int // index, -1 for none
	term       uint64
	leading    bool
	leadAt     time.Time // since when we do
	heard      time.Time // when the leader last said something
	campaignAt time.Time // zero: not to campaign
	quorate    bool      // most voters lived when the view changed last
	tickAt     time.Time
	wasLead    int // the last one told of

	followState
	asking
	leader leaderState
}

// saving is one append that is on its way to the disk.
type saving struct {
	seq uint64
	msg *raftpb.Message
}

// dropAt is a drop in our log that is not applied yet.
type dropAt struct{ index, number uint64 }

// New returns the core of one instance; Start is its first event. An error says
// that what was saved does not make sense.
func New(cfg Config) (*Core, error) {
	c := &Core{
		cfg: cfg, state: bus.New(), conf: &raftpb.ConfState{}, lead: -1, wasLead: -1,
		quit:        map[History]uint32{},
		followState: newFollowState(), asking: newAsking(),
	}
	c.lastTry = uint64(cfg.Boot) << 32 // a late answer is to a process before this one
	for _, i := range c.initial() {
		c.firstIDs = append(c.firstIDs, uint64(NewRaftID(i, 0)))
	}
	if cfg.Saved == nil {
		return c, nil
	}
	c.ident = cfg.Saved.Identity
	if s := cfg.Saved.Snapshot; s != nil {
		state, err := bus.Restore(s.GetData())
		if err != nil {
			return nil, err
		}
		c.state, c.conf = state, s.GetMetadata().GetConfState()
	}
	if c.ident.ID == 0 {
		return c, nil
	}
	return c, c.open(cfg.Saved)
}

// Start is the first event.
func (c *Core) Start(now time.Time) {
	c.now = now
	c.bornAt = now
	c.heard = now
	c.pump()
}

// Pending reports whether Effects would return anything.
func (c *Core) Pending() bool {
	return len(c.fx) > 0 || c.news && len(c.feeds)+len(c.tries) > 0
}

// Effects returns what is to be done since the last call, in order. The slice is
// the caller's: nothing is kept here for what is rarely much.
func (c *Core) Effects() []Effect {
	c.share()
	fx := c.fx
	c.fx = nil
	return fx
}

func (c *Core) effect(e Effect) { c.fx = append(c.fx, e) }

func (c *Core) tell(t Tell) { c.effect(Effect{Kind: Told, Tell: t}) }

// Turn does what time alone brings about.
func (c *Core) Turn(now time.Time) {
	c.now = now
	if c.leading && !now.Before(c.tickAt) {
		c.tickAt = now.Add(c.cfg.Timing.Heartbeat)
		c.rn.Tick()
		c.pump()
	}
	c.elect()
	c.found()
	c.follow()
	c.duties()
	c.retry()
	c.leaveHome()
	c.speak()
}

// Deadline is when Turn has something to do; zero for never.
func (c *Core) Deadline() time.Time {
	var d time.Time
	if c.leading {
		d = c.tickAt
	}
	for _, t := range [...]time.Time{
		c.campaignAt, c.foundAt(), c.followAt(), c.dutyAt(), c.retryAt(), c.homeTill, c.speakAt(),
	} {
		if d.IsZero() || !t.IsZero() && t.Before(d) {
			d = t
		}
	}
	return d
}

// Shift moves what the others owe: time in which this process did not run does
// not count against them.
func (c *Core) Shift(d time.Duration) {
	if !c.campaignAt.IsZero() {
		c.campaignAt = c.campaignAt.Add(d)
	}
	c.heard = c.heard.Add(d)
}

// State is all that was agreed on, as far as this instance has heard. It must
// not be changed, and is valid until the next call of any method.
func (c *Core) State() *bus.State { return c.state }

// Identity is the history this instance goes by, and who it is in it.
func (c *Core) Identity() Identity { return c.ident }

// Leader is the index of who leads, as far as is known; -1 for nobody.
func (c *Core) Leader() int { return c.lead }

// Leading reports whether this instance leads.
func (c *Core) Leading() bool { return c.leading }

// Term is the newest one that this instance knows of: without a log, that of the
// leader it has heard of, 0 for none.
func (c *Core) Term() uint64 {
	if c.rn == nil {
		return c.reign()
	}
	return c.term
}

// Anchorable reports whether the fleet can agree on anything now, as far as this
// instance knows: somebody leads, and enough voters live.
func (c *Core) Anchorable() bool { return c.lead >= 0 && c.Quorum() }

// Voter is one instance that votes, learns to, or is about to stop.
type Voter struct {
	ID      RaftID
	Votes   bool
	Leaves  bool
	Learner bool
}

// Voters lists them by index; before a history is known, those that a history
// would begin with, at generation 0.
func (c *Core) Voters() []Voter {
	var out []Voter
	add := func(ids []uint64, set func(*Voter)) {
		for _, id := range ids {
			at := slices.IndexFunc(out, func(v Voter) bool { return v.ID == RaftID(id) })
			if at < 0 {
				at = len(out)
				out = append(out, Voter{ID: RaftID(id)})
			}
			set(&out[at])
		}
	}
	add(c.conf.GetVoters(), func(v *Voter) { v.Votes = true })
	add(c.conf.GetVotersOutgoing(), func(v *Voter) { v.Leaves = true })
	add(c.conf.GetLearners(), func(v *Voter) { v.Learner = true })
	add(c.conf.GetLearnersNext(), func(v *Voter) { v.Learner = true })
	if len(out) == 0 {
		add(c.firstIDs, func(v *Voter) { v.Votes = true })
	}
	slices.SortFunc(out, func(a, b Voter) int {
		if a.ID < b.ID {
			return -1
		}
		return 1 // ids differ
	})
	return out
}

// VotersAt is the entry that made them the voters.
func (c *Core) VotersAt() uint64 { return c.state.VotersAt() }

// Quorum reports whether more than half of the voters live, in both sets while
// they change. Those who have said goodbye do not count, as long as one is left.
func (c *Core) Quorum() bool { return c.QuorumWithout(nil) }

// QuorumWithout is Quorum after the instances of gone have died.
func (c *Core) QuorumWithout(gone []int) bool {
	if len(c.conf.GetVoters()) == 0 {
		return c.most(c.firstIDs, gone)
	}
	return c.most(c.conf.GetVoters(), gone) &&
		(len(c.conf.GetVotersOutgoing()) == 0 || c.most(c.conf.GetVotersOutgoing(), gone))
}

func (c *Core) most(ids []uint64, gone []int) bool {
	all, alive := 0, 0
	for _, id := range ids {
		i := RaftID(id).Index()
		if c.cfg.Fleet.Left(i) {
			continue
		}
		all++
		if c.cfg.Fleet.Alive(i) && !slices.Contains(gone, i) {
			alive++
		}
	}
	return 2*alive > all
}

// Refuses is the lowest epoch that this instance's stamp may still be given to:
// it has appended a drop of that one. Only a voter stamps.
func (c *Core) Refuses() uint64 {
	n := c.state.Epoch().Number
	for _, d := range c.drops {
		n = max(n, d.number)
	}
	return n
}

// Stamps reports whether this instance is one of the voters.
func (c *Core) Stamps() bool { return c.rn != nil && c.votes(c.ident.ID) }

// votes reports whether id is one of the voters.
func (c *Core) votes(id RaftID) bool {
	return slices.Contains(c.conf.GetVoters(), uint64(id)) ||
		slices.Contains(c.conf.GetVotersOutgoing(), uint64(id))
}

// generation is that of i's newest log, by the voters we know: 0 if it has no part.
func (c *Core) generation(i int) (g uint32) {
	for _, ids := range [...][]uint64{
		c.conf.GetLearnersNext(), c.conf.GetLearners(),
		c.conf.GetVoters(), c.conf.GetVotersOutgoing(),
	} {
		for _, id := range ids {
			if RaftID(id).Index() == i {
				g = max(g, RaftID(id).Generation())
			}
		}
	}
	return g
}

// VoterView is one voter, and how far it is.
type VoterView struct {
	Voter
	Applied uint64 // what it said last it has applied, 0 unknown
	Matched uint64 // at the leader: what it has for sure
}

// VoterViews lists the voters with what is known of their progress.
func (c *Core) VoterViews() []VoterView {
	var out []VoterView
	for _, v := range c.Voters() {
		w := VoterView{Voter: v}
		if v.ID == c.ident.ID {
			w.Applied = c.state.Applied()
		} else if s := c.peers[v.ID.Index()]; s != nil && s.History == c.ident.History {
			w.Applied = s.Applied
		}
		if c.leading {
			w.Matched = c.rn.Status().Progress[uint64(v.ID)].Match
		}
		out = append(out, w)
	}
	return out
}
