package wire

import "cmp"

// SealedVersion is from which protocol on records and relayed frames may be signed.
const SealedVersion = 2

// Limits hold for every frame, whoever sent it: nothing is allocated before
// the length that asks for it was checked against one of these.
const (
	FrameMax   = 64 << 10 // bytes of one frame, header excluded
	NameMax    = 255      // bytes of a ring or an instance name
	TextMax    = 1024     // bytes of a refusal's explanation
	BuildMax   = 64       // bytes of a build's version string
	RosterMax  = 16384    // instances; no index is at or above it
	RecordsMax = 1024     // records in one Flood
	AccusedMax = 4096     // accusations in one record
	MarksMax   = 8192     // marks in one Cut or Sync

	// Counters stay far from where they would wrap, whatever a peer says.
	CounterMax     = 1<<62 - 1 // of an Epoch
	IncarnationMax = 1<<31 - 1
)

// Kind is the first byte of every frame. Zero is never sent.
type Kind uint8

const (
	KindHello Kind = iota + 1
	KindRefuse
	KindBeat
	KindFlood
	KindCut
	KindSync
	KindParticle
	KindRelay
	KindBye
)

// Msg is one decoded frame: a pointer to one of the structs below.
type Msg interface{ Kind() Kind }

// Bulk reports whether m may be overtaken by messages that are not: it is part of
// what may be much, and nobody counts on its order with the others. Among themselves
// such messages keep theirs.
func Bulk(m Msg) bool {
	kind := m.Kind()
	if r, ok := m.(*Relay); ok && len(r.Frame) > 0 {
		kind = Kind(r.Frame[0])
	}
	switch kind {
	case KindRaft, KindPropose, KindEntries, KindChunk, KindCast, KindHave, KindWant, KindDigest, KindPart:
		return true
	}
	return false
}

// State is what one instance thinks of another.
type State uint8

const (
	Unknown State = iota // never heard of since this process started
	Alive
	Down // cut from the view at this incarnation
	Left // said goodbye
)

// Epoch names a particle. One that the bus dropped has Counter 0, and Number is
// the entry's; one that was dropped where no quorum could agree has a Counter,
// and the highest Number its dropper knew.
type Epoch struct {
	Number  uint64
	Counter uint64
	Dropper uint32
}

// Compare returns -1, 0 or +1 as e is older than, equal to or newer than f.
func (e Epoch) Compare(f Epoch) int {
	return cmp.Or(cmp.Compare(e.Number, f.Number), cmp.Compare(e.Counter, f.Counter),
		cmp.Compare(e.Dropper, f.Dropper))
}

// Detached reports whether no quorum stands behind the particle's epoch.
func (e Epoch) Detached() bool { return e.Counter > 0 }

// Rank orders the views of two components that meet again: the one with the
// quorum, then the larger, then the one that holds the smallest index, wins.
type Rank struct {
	Quorum bool
	Alive  uint16
	Min    uint16 // smallest index alive in it
}

// You is what the sender knows of the receiver. An instance learns from it
// which incarnation to take, and that it was cut while it was away.
type You struct {
	Incarnation uint32
	State       State
	Boot        uint32
	Damped      uint16 // tenths of a second that a return has to wait, 0 for none
}

// Hello opens a link, in both directions, the dialer's first.
type Hello struct {
	Version     uint16
	Ring        string
	Roster      [32]byte // roster.Hash
	Size        uint32   // instances in the sender's roster
	Linked      uint32   // peers that hold the sender's roster, itself included
	From, To    uint32   // indexes in the sender's roster
	FromName    string
	Incarnation uint32 // 0 while the sender does not know it yet
	Boot        uint32 // random per process
	PID         uint32
	Build       string
	Was         uint32 // the incarnation that the sender knows it lost, while it is out
	Floor       uint64 // the sender stamps no tick below it: earlier processes of its name may have
	Beat        Beat   // the first heartbeat rides along

	// Of the sender's roster: its version, 0 where the sender does not say, and the first
	// bytes of the hashes of those that it came from.
	RosterVersion uint64
	Past          []Short8
}

// Short8 is the first bytes of a hash.
type Short8 [8]byte

// PastMax bounds Hello.Past.
const PastMax = 256

// Refusal codes.
type RefuseCode uint8

const (
	RefuseRing    RefuseCode = iota + 1 // another ring's name
	RefuseRoster                        // rosters differ
	RefuseName                          // not the instance that was dialed
	RefuseTaken                         // a live process holds this name
	RefuseVersion                       // no protocol version in common
	RefuseLeaving                       // the acceptor is going away
	RefuseBehind                        // the acceptor's roster is older than the dialer
	RefuseRetired                       // the dialer is retired from the acceptor's roster
)

// Refuse answers a Hello that cannot be accepted; the link closes after it.
type Refuse struct {
	Code RefuseCode
	Text string // for a person, ends with what to do
}

// Beat is the heartbeat of one link, each way.
type Beat struct {
	Seq       uint32 // of this beat, per link and direction, from 1
	Echo      uint32 // newest Seq heard from the other side, 0 for none
	EchoAgeUS uint32 // microseconds since that one was heard
	Records   uint32 // digest over all records held
	View      uint32 // digest over who is alive at which incarnation
	Rank      Rank
	You       You
}

// Accusation says that the record's origin cannot reach subject.
type Accusation struct {
	Subject     uint32
	Incarnation uint32
	Proof       bool // connection broken and re-dial refused, or a new process answered
}

// Record is what one instance says of itself and of its neighbours. Of two
// records of one origin the greater (incarnation, sequence) is the newer and
// replaces the older whole.
type Record struct {
	Origin      uint32
	Incarnation uint32
	Seq         uint32
	Boot        uint32
	PID         uint32
	Epoch       Epoch // highest the origin had seen
	Left        bool
	Out         bool // not in the ring, waiting for its hold-down to end
	Build       string
	Accused     []Accusation

	Seal Seal // where instances sign
}

// Flood carries records, newest known, to everybody: who had not the record
// hands it on to all its other links.
type Flood struct{ Records []Record }

// Mark names a subject at an incarnation.
type Mark struct{ Subject, Incarnation uint32 }

// Cut is a quorum's verdict: these went in one incident. It floods.
type Cut struct{ Marks []Mark }

// Sync is the sender's whole opinion of who is down, sent to one neighbour
// whose view digest stayed different.
type Sync struct {
	Rank Rank
	Down []Mark
}

// Particle is the token.
type Particle struct {
	Epoch  Epoch
	Lap    uint64
	Base   uint64 // the tick of a lap is Base plus the lap, wrapping
	Limit  uint64 // first tick not reserved for this epoch
	HeldUS uint64 // microseconds of declared rest, summed since this epoch was dropped
	AgeUS  uint32 // microseconds since this lap began: time at stops and half round trips

	// The slowest stop by half the round trip to its next: so far on this lap,
	// and of the lap before. SlowUS and WasUS are microseconds.
	SlowStop, SlowUS uint32
	WasStop, WasUS   uint32

	Anchored bool   // a quorum has stamped the lap before: this one counts
	Conf     uint64 // the entry that made these the voters
	Voters   uint8  // how many
	Stamps   [VotersMax]Stamp

	Line  Line   // of who was aboard
	Train *Train // who is, nil for nobody

	Roster RosterMark
}

// RosterMark is what the particle knows of versions of the roster, while not everybody is
// known to have the newest; zero when that is so.
type RosterMark struct {
	Version uint64 // the newest that a stop on its way had
	Low     uint64 // the oldest that one had on this lap so far
	Was     uint64 // the same of the whole lap before, 0 where it was not asked on all of that
}

// Stamp is what a voter did with the particle on this lap.
type Stamp struct {
	Voter uint16 // index
	Role  Role
}

// Role says how a voter counts, and whether it has stamped.
type Role uint8

// Roles; while voters change, one may count in both sets.
const (
	Votes   Role = 1 << iota // in the present set, or the one to come
	Leaves                   // in the set that is being left
	Stamped                  // and it has not heard of a later epoch
)

// Quorum reports whether enough voters have stamped this lap: more than half,
// of both sets while they change.
func (p *Particle) Quorum() bool {
	var votes, stamped, leaves, left int
	for _, s := range p.Stamps[:p.Voters] {
		has := int(s.Role&Stamped) / int(Stamped)
		if s.Role&Votes != 0 {
			votes++
			stamped += has
		}
		if s.Role&Leaves != 0 {
			leaves++
			left += has
		}
	}
	return 2*stamped > votes && (leaves == 0 || 2*left > leaves)
}

// Relay carries a frame past a link that is bad: to the relay, which passes it
// on unopened with Relayed set, and no further.
type Relay struct {
	From, To uint32
	Relayed  bool
	Frame    []byte // one frame, kind byte first; only a Particle or a Raft may ride
}

// Bye closes a link in order.
type Bye struct{ Text string }

func (*Hello) Kind() Kind    { return KindHello }
func (*Refuse) Kind() Kind   { return KindRefuse }
func (*Beat) Kind() Kind     { return KindBeat }
func (*Flood) Kind() Kind    { return KindFlood }
func (*Cut) Kind() Kind      { return KindCut }
func (*Sync) Kind() Kind     { return KindSync }
func (*Particle) Kind() Kind { return KindParticle }
func (*Relay) Kind() Kind    { return KindRelay }
func (*Bye) Kind() Kind      { return KindBye }
