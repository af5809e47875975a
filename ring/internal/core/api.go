package core

import (
	"math/rand/v2"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/detect"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// Config is what a Core must be told at birth.
type Config struct {
	Roster  *roster.Roster
	Overlay *overlay.Overlay // overlay.BuildOf that roster; shared, never written

	RosterEra uint32 // of the bus that agreed on Roster; 0 for a seed
	Self      int
	Boot      uint32 // random per process, not 0
	PID       uint32
	Build     string
	Saved     Saved            // what the disk held, zero without one
	Bus       *consensus.Saved // the log the disk held, nil for none
	Lost      bool             // it held one that cannot be read
	Memory    bool             // nothing of the log is kept: no Persist comes
	Timing    Timing
	Hold      time.Duration // rest at this stop; 0: an even share of Timing.Lap
	Fast      bool          // no rest at all
	Rand      *rand.Rand
	Proof     Proof // nil: nobody in this ring signs
	Room      *Room // scratch for the steps, nil for one of its own
	Keep      int   // bytes of messages kept for who missed them; 0: 8 MiB
}

// Room is what a step needs space for until its effects are carried out. Cores
// that are stepped in turn, as in a simulation, may share one: what a storm
// needs is then needed once, and kept for the next. The zero value is ready.
type Room struct {
	fx      []Effect
	records []wire.Record
	news    []sized
	accused []wire.Accusation
	edges   []detect.Edge
	seen    flood.Set   // empty between uses
	sets    []flood.Set // not in use, and empty
	groves  []grove

	overlays []hashed // of the newest rosters
}

// Saved is what must outlive the process, when there is a disk.
type Saved struct {
	Incarnation uint32
	Epoch       wire.Epoch // highest Number and highest Counter that passed
	Ceiling     uint64     // first tick that has not passed
}

// Timing is the pace of everything, see the presets in package ring.
type Timing struct {
	Beat     time.Duration // between heartbeats of a link
	Patience time.Duration // from an unanswered heartbeat to a fresh connection
	Answer   time.Duration // for a dial and its Hello to be answered
	Redial   time.Duration // longest pause between two dials of a roster neighbour
	Settle   time.Duration // quiet after the newest accusation before a cut
	Gather   time.Duration // a starting instance collects answers for at most this long
	Lap      time.Duration // of a resting particle
	Loss     time.Duration // floor of the time after which a lost particle is replaced
	HoldDown time.Duration // a flapping instance waits this long before its return
}

// ConnID names a connection; the driver chooses it, never 0, never twice.
type ConnID uint64

// EventKind says which fields of an Event count.
type EventKind uint8

const (
	Start      EventKind = iota + 1 // first of all
	Timer                           // Deadline has come (or not: a stray one is harmless)
	Dialed                          // Conn, Peer, Name: a Dial succeeded, or a link is to be renewed; nothing was sent yet
	DialFailed                      // Peer, Cause, Text
	Accepted                        // Conn, Name: somebody dialed us
	Received                        // Conn, Msg; Msg is the Core's until Step returns
	Broken                          // Conn: closed by the other side or by an error
	Leave                           // say goodbye to everybody; Effect Gone follows
	SetPace                         // Hold, Fast
	Reserved                        // Seq: a Reserve with that Ceiling, or a later Saved, is on disk
	Persisted                       // Seq: the Persist of that number, and all before it, is on disk
	Propose                         // Seq, Command: Settled or Denied follows
	Read                            // Seq: Readable or Denied follows
	Cancel                          // Seq: neither need follow any more
	Recover                         // Seq, Force, Backup (or nil): Recovered follows
	Publish                         // Seq, Cast without a name: Published or Crowded follows, at once
	Answered                        // Cast, Payload, OK: what this instance says to an Answer
	Folded                          // Cast, Payload, OK: what came of a Fold
	Board                           // Riders: passengers; Boarding or Full follows for each, at once and in order
	Unboard                         // Seq, of Boarding: it need not board any more
	Stations                        // Stations: what there is at this stop from now on
	Worked                          // Seq, of Work, Values: what came of it
	Rekeyed                         // Proof.Chain is another one
)

// Cause is why a dial failed.
type Cause uint8

const (
	Refused    Cause = iota + 1 // the host answered that nobody listens: proof
	Unanswered                  // timed out, no route, reset on the way
	Unresolved                  // the name has no address
	NotRing                     // something listens that does not speak our protocol
	Untrusted                   // one of the two ends does not accept who the other is
)

// Event is one thing that happened to the instance.
type Event struct {
	Kind  EventKind
	Conn  ConnID
	Peer  int
	Cause Cause
	Name  string // of the instance whose certificate the other end has; "" without TLS
	Text  string // more about Cause, or ""
	Msg   wire.Msg
	Hold  time.Duration
	Fast  bool

	Seq     uint64 // of Propose, Read and Recover: chosen by the driver, growing
	Command bus.Command
	Force   bool
	Backup  []byte

	Cast    *wire.Cast // within wire's bounds; the Core's from now on
	Payload []byte     // at most wire.CastMax bytes, the Core's from now on
	OK      bool       // there is a Payload

	Riders   []wire.Rider // Topic, Payload and Large count, within wire's bounds; the payloads are the Core's
	Stations *StationSet  // never changed
	Values   []Value      // each at most wire.PassengerMax bytes, the Core's from now on
}

// StationSet is the stations of a stop that may hold the particle.
type StationSet struct {
	Holds map[string]time.Duration // for how long at most, by topic
	Every time.Duration            // the longest of those that do each time it passes, 0 for none
}

// Value is what stations have made of a passenger.
type Value = train.Value

// EffectKind says which fields of an Effect count.
type EffectKind uint8

const (
	Send      EffectKind = iota + 1 // Conn, Msg; encode before the next Step: Msg may be reused
	Dial                            // Peer: connected within Timeout, Dialed or DialFailed within Within
	Close                           // Conn, after what was sent to it is out; no Broken follows
	Save                            // Saved: on disk before any effect behind it is carried out
	Reserve                         // Saved: on disk soon, while all goes on; Reserved follows
	Passed                          // Tick: the particle passed this stop
	Echoed                          // Peer: a heartbeat came back from it after RTT
	Tell                            // Report: something a person may want to know
	Gone                            // the goodbye is said; close everything
	Fatal                           // Report.Text says why this process must not go on
	Persist                         // Write: when it is on disk, Persisted with Seq; nothing waits for it here
	Settled                         // Seq: Result
	Readable                        // Seq: what is read now is no older than its Read
	Denied                          // Seq: Why
	Recovered                       // Seq: Text is empty, or why not
	Published                       // Seq, Cast: what was published, with its name
	Crowded                         // Seq: there is no room; Emptied follows when there is
	Emptied                         // what was Crowded may be published again
	Delivered                       // Cast: a message to all, of this instance too; questions as well
	Answer                          // Cast: a question; Answered follows
	Fold                            // Cast: a question, Values: answers to it to be made one; Folded follows
	Gathered                        // Outcome: what came of a question of ours
	Missed                          // Range: messages that nobody has for us any more
	Boarding                        // Seq: the passenger waits, and is called that when it comes home
	Full                            // too many wait; Seats follows when there is room again
	Seats                           // there is
	Visited                         // Visit: what the particle brought
	Unfolded                        // Seq: so many passengers went on without a station that was to see them
	Overdue                         // Seq, of Work: the particle has gone on without what comes of it
	Rerolled                        // Roster, Overlay (nil where the process ends), Era: by which this instance goes from now on
	Forged                          // Conn: it claims what its certificate, or a signature, denies, and is closed; to be counted
	Work                            // Seq, Visit.Delivered, Tick: stations may hold the particle for Within; Worked follows, or Overdue
)

// Effect is one thing to be done, in order.
type Effect struct {
	Kind    EffectKind
	Conn    ConnID
	Peer    int
	Timeout time.Duration
	Within  time.Duration
	RTT     time.Duration
	Msg     wire.Msg
	Saved   Saved
	Tick    Tick
	Report  Report
	Seq     uint64
	Write   *consensus.Write
	Result  bus.Result
	Why     consensus.Why
	Text    string
	Cast    *wire.Cast
	Range   wire.CastRange
	Values  [][]byte
	Outcome *gather.Outcome
	Visit   *train.Visit

	Roster  *roster.Roster
	Overlay *overlay.Overlay
	Era     uint32
}

// Tick is one pass of the particle.
type Tick struct {
	Epoch wire.Epoch
	Lap   uint64
	Took  time.Duration // since the pass before at this stop, 0 for the first of an epoch
	Held  time.Duration // of that, the rests all stops reported

	Tick     uint64        // the newest counted here
	Anchored bool          // it is this lap's
	Skew     time.Duration // since the lap began
}

// ReportKind names what happened, for logs and `ring events`.
type ReportKind string

const (
	Waiting     ReportKind = "waiting"      // Subject: not reached yet; Text says why
	Refusing    ReportKind = "refused"      // Subject (or -1): Text says why and what to do
	Ending      ReportKind = "certificate"  // Text: the own one ends soon, or has
	Claimed     ReportKind = "forged"       // Subject: Text says what somebody with its certificate claims
	Joined      ReportKind = "joined"       // Self is in the ring, Incarnation
	LinkUp      ReportKind = "link_up"      // Subject
	LinkLost    ReportKind = "link_lost"    // Subject: the connection broke
	Suspected   ReportKind = "suspected"    // Subject: silent, being re-checked
	Accused     ReportKind = "accused"      // Subject by By[0]; Proof
	Cleared     ReportKind = "cleared"      // Subject by By[0]
	Died        ReportKind = "died"         // Subject, Incarnation, By: who said so
	Unreached   ReportKind = "unreachable"  // Subject, Incarnation, By: no quorum here to call it dead
	Returned    ReportKind = "returned"     // Subject, Incarnation
	Parted      ReportKind = "left"         // Subject said goodbye
	ViewChanged ReportKind = "view_changed" // Text: how many of how many; one for all of one incident
	NextChanged ReportKind = "next_changed" // Subject: whose hand this instance holds now
	BadLink     ReportKind = "bad_link"     // By[0] cannot talk to Subject, both live
	GoodLink    ReportKind = "good_link"    // again
	DetourOn    ReportKind = "detour_on"    // to Subject by way of By[0]
	DetourOff   ReportKind = "detour_off"   // to Subject, direct again
	Dropped     ReportKind = "dropped"      // a new particle, Epoch
	Moved       ReportKind = "moved"        // passengers here are of another order from now on; Passengers of it have gone by
	Resent      ReportKind = "resent"       // the particle was sent again to Subject
	CutOff      ReportKind = "cut_off"      // this instance sees no quorum, or a quorum has cut it
	Whole       ReportKind = "whole"        // it sees one again
	Damped      ReportKind = "damped"       // Subject's return waits; Wait
	Starved     ReportKind = "starved"      // this process did not run for Wait
	Forging     ReportKind = "forging"      // Subject has brought what another did not sign: Text
	Unproven    ReportKind = "unproven"     // By[0] says that Subject is dead, and shows nobody who says so

	RosterChanged ReportKind = "roster_changed" // to version Lap, by Revision: Text
	RosterShown   ReportKind = "roster_shown"   // all in the ring have version Lap
	Retired       ReportKind = "retired"        // of this instance: Text says what to do

	Anchored        ReportKind = "anchored"         // laps count from Tick on
	Unanchored      ReportKind = "unanchored"       // laps do not count: Text says why
	TicksSkipped    ReportKind = "ticks_skipped"    // the Skipped numbers before Tick did not count here
	Elected         ReportKind = "elected"          // Subject leads the voters, in term Lap
	ViewNumbered    ReportKind = "view_numbered"    // Subject, and Also, are in State, agreed as Revision; By accused it
	Voting          ReportKind = "voting"           // of this instance: Text
	HistoryBegun    ReportKind = "history_begun"    // here: Text
	HistoryChanged  ReportKind = "history_changed"  // of this instance: Text
	HistoryConflict ReportKind = "history_conflict" // with Subject: Text says what to do
)

// Report is one line of the instance's story.
type Report struct {
	Kind        ReportKind
	Subject     int   // index, or -1
	Also        []int // further subjects of the same
	By          []int
	Incarnation uint32
	Epoch       wire.Epoch
	Lap         uint64
	Proof       bool
	Wait        time.Duration
	Text        string

	Tick, Skipped, Revision, Passengers uint64
	State                               wire.State
	Leader                              int // who proposed it, or -1
}

// InstanceView is one row of the view.
type InstanceView struct {
	State       wire.State
	Suspect     bool // accused by as many as begin to count
	Incarnation uint32
	PID         uint32
	Build       string
	Protocol    int // that it speaks; 0 of whom nothing was heard
	Retired     bool
	Damped      time.Time
}

// View is an immutable picture of who is alive as this instance knows it.
type View struct {
	ID        uint64 // digest of (index, incarnation) of the living
	Changes   uint64 // view changes seen by this process
	Quorum    bool
	CutOff    bool
	Joined    bool
	Self      int
	Next      int // whose hand this instance holds; itself when alone
	Detour    int // by way of whom it reaches Next, or -1
	Instances []InstanceView
	BadLinks  []BadLinkView

	Roster      *roster.Roster // by which the instances are; never written to
	RosterShown uint64         // the newest version that all are known to have
}

// BadLinkView is a link that does not carry while both ends live.
type BadLinkView struct {
	From, To int // From says it cannot reach To
	Proof    bool
}
