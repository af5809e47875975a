package ring

import (
	"cmp"
	"slices"
	"time"
)

// Name is the path of an instance in the roster, such as dc1/prod/0. Its first
// element names the data centre.
type Name string

// State is what this instance thinks of another.
type State string

// The states of an instance. Suspect is not a verdict: a suspected instance is
// still in the ring. Unreachable is said where no quorum can call it dead, and
// of whom this process has never heard.
const (
	Alive       State = "alive"
	Suspect     State = "suspect"
	Dead        State = "dead"
	Left        State = "left"
	Unreachable State = "unreachable"
)

// Row returns the row of the instance of that index; false where nobody is who has it.
func (v View) Row(index int) (Instance, bool) {
	if at, ok := rowAt(v.Instances, index); ok {
		return v.Instances[at], true
	}
	return Instance{}, false
}

func rowAt(rows []Instance, index int) (at int, ok bool) {
	return slices.BinarySearchFunc(rows, index,
		func(row Instance, index int) int { return cmp.Compare(row.Index, index) })
}

// Epoch names a particle; it grows whenever a lost one is replaced. Number is
// that of the fleet's own, agreed on by a quorum. A Counter above 0 says that
// this one was dropped where none could be reached: it spins, and counts nothing.
// Its String is "7", or "7, detached 2 by dc1/prod/0".
type Epoch struct {
	Number  uint64 `json:"number"`
	Counter uint64 `json:"counter"`
	Dropper Name   `json:"dropper"` // who dropped it, empty before the first
}

// Instance is one row of a View.
type Instance struct {
	Index       int        `json:"index"` // in the roster; those of who is retired are left out
	Name        Name       `json:"name"`
	Address     string     `json:"address"`
	State       State      `json:"state"`
	Incarnation uint32     `json:"incarnation"`
	Next        Name       `json:"next,omitempty"` // whose hand it holds, by this view
	Tick        uint64     `json:"tick"`           // the newest that this instance knows it has counted
	RTTMillis   *float64   `json:"rtt_ms"`         // null where this instance has no link to it
	DampedUntil *time.Time `json:"damped_until"`   // null unless its return waits
	Version     string     `json:"version"`
	Protocol    int        `json:"protocol,omitempty"` // between instances, that it speaks; 0 while unknown
	PID         uint32     `json:"pid"`
}

// BadLink is a link that does not carry while both of its ends live.
type BadLink struct {
	From Name `json:"from"` // says that it cannot reach To
	To   Name `json:"to"`
}

// Link is a connection with another instance, as this one has it.
type Link struct {
	Peer      Name     `json:"peer"`
	Up        bool     `json:"up"`        // frames pass in both directions
	Needed    bool     `json:"needed"`    // to watch, to be watched or to vote; others close by themselves
	Bad       bool     `json:"bad"`       // this instance says that it cannot reach Peer
	RTTMillis *float64 `json:"rtt_ms"`    // null while unknown
	SilentMS  float64  `json:"silent_ms"` // for how long Peer owes an answer
	Protocol  int      `json:"protocol"`  // what both ends speak, 0 while unknown
}

// View is who is alive, as one instance knows it: an immutable snapshot. Two
// instances with the same ID agree on who lives and at which incarnation.
type View struct {
	ID        string     `json:"id"`
	Changes   uint64     `json:"changes"`
	Self      Name       `json:"self"`
	Next      Name       `json:"next"`
	Detour    Name       `json:"detour,omitempty"` // the relay in use towards Next
	CutOff    bool       `json:"cut_off"`          // this instance sees no quorum, or a quorum has cut it
	Joined    bool       `json:"joined"`
	BadLinks  []BadLink  `json:"bad_links"`
	Instances []Instance `json:"instances"`
}

// LapMillis summarises lap times without the declared rests, in milliseconds.
type LapMillis struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Status is what `ring status --json` prints of the ring.
type Status struct {
	V             int        `json:"v"` // version of this object, 1
	Ring          string     `json:"ring"`
	RosterVersion uint64     `json:"roster_version"` // 1 until the roster was changed while running
	RosterHash    string     `json:"roster_hash"`
	Self          Name       `json:"self"`
	Anchored      bool       `json:"anchored"`             // a quorum stamps the laps: they count
	Unanchored    string     `json:"unanchored,omitempty"` // why not
	CutOff        bool       `json:"cut_off"`
	Insecure      bool       `json:"insecure"` // plain connections to other hosts are permitted, and there is no TLS
	BadLinks      []BadLink  `json:"bad_links"`
	Epoch         Epoch      `json:"epoch"`
	Tick          uint64     `json:"tick"` // the newest counted here
	Lap           uint64     `json:"lap"`
	Leader        Name       `json:"leader,omitempty"` // of those who vote
	Revision      uint64     `json:"revision"`         // of the bus, applied here
	ViewRevision  uint64     `json:"view_revision"`    // the number of the newest agreed view
	LapMS         LapMillis  `json:"lap_ms"`
	Laps          uint64     `json:"laps"`      // passes counted since this process started
	LastPass      *time.Time `json:"last_pass"` // of the particle at this stop; null before the first
	LateMS        float64    `json:"late_ms"`   // by how much this process ran late in the last heartbeats
	SlowestStop   Name       `json:"slowest_stop,omitempty"`
	View          string     `json:"view"`
	Next          Name       `json:"next"`
	Detour        Name       `json:"detour,omitempty"`
	Instances     []Instance `json:"instances"`

	TLS *Certificate `json:"tls,omitempty"` // of this instance; absent where nothing is encrypted
}

// Tick is one pass of the particle at this stop.
type Tick struct {
	At       time.Time     `json:"at"`
	Instance Name          `json:"instance"`
	Epoch    Epoch         `json:"epoch"`
	Lap      uint64        `json:"lap"`
	Tick     uint64        `json:"tick"`     // the newest counted here: this lap's, if Anchored
	Anchored bool          `json:"anchored"` // this lap counts; without, it goes by uncounted
	Skew     time.Duration `json:"skew_ns"`  // how long after the lap began this stop saw it
	Took     time.Duration `json:"took_ns"`  // since the pass before, 0 for the first of an epoch
	Held     time.Duration `json:"held_ns"`  // of that, the rests that stops reported
}

// Event is one line of an instance's story: who saw whom die or come back, who
// said so, epochs, detours.
type Event struct {
	Seq         uint64    `json:"seq"` // per process, from 1
	At          time.Time `json:"at"`
	Instance    Name      `json:"instance"` // who tells it
	Kind        string    `json:"kind"`
	Subject     Name      `json:"subject,omitempty"`
	Also        []Name    `json:"also,omitempty"` // further subjects of the same
	By          []Name    `json:"by,omitempty"`
	Incarnation uint32    `json:"incarnation,omitempty"`
	Epoch       *Epoch    `json:"epoch,omitempty"`
	Lap         uint64    `json:"lap,omitempty"`
	Term        uint64    `json:"term,omitempty"` // of the leader
	Proof       bool      `json:"proof,omitempty"`
	Tick        uint64    `json:"tick,omitempty"`
	Skipped     uint64    `json:"skipped,omitempty"`   // ticks that name no lap, or one missed here
	Revision    uint64    `json:"revision,omitempty"`  // of the bus
	State       State     `json:"state,omitempty"`     // of Subject, by the agreed view
	Confirmed   Name      `json:"confirmed,omitempty"` // the leader whose view came to the same
	WaitMS      int64     `json:"wait_ms,omitempty"`
	Text        string    `json:"text"` // the same in plain words
}
