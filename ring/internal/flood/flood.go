// Package flood spreads records: what each instance says of itself, newest
// wins, handed on by whoever had it not yet to all its other links.
//
//	A ──► B ──► D        a record crosses each link at most once each way,
//	 ╲    ▲ ╲  ▲         and reaches everybody over the shortest path that
//	  ╲   │  ╲ │         is up at that moment
//	   ► C ──► E
//
// A [Table] holds the newest record of each origin in sixteen bytes, and a
// digest that two tables share exactly when they hold the same records. An
// [Outbox] gathers what is to be handed on: the first record goes at once,
// those that follow within the window ride together.
package flood

import (
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

const (
	pidBits = 24 // Linux pids end at 2^22
	pidMask = 1<<pidBits - 1
	leftBit = 1 << 31
	outBit  = 1 << 30
)

// slot is the part of a record that every instance keeps of every other: at
// ten thousand instances these sixteen bytes are what memory is made of.
type slot struct {
	inc  uint32
	seq  uint32
	boot uint32
	bits uint32 // pid, state, out, left
}

// rest is the part that few records have.
type rest struct {
	build   string
	accused []wire.Accusation
}

// Table is the newest record of each origin. It is not safe for concurrent use.
type Table struct {
	slots  []slot
	rest   map[uint32]rest
	builds map[string]string // one copy of each version string
	build  string            // the commonest: instances that run it have no rest
	top    wire.Epoch
	digest uint64
}

// NewTable returns a table for n origins that all run build until they say
// otherwise.
func NewTable(n int, build string) *Table {
	return &Table{
		slots:  make([]slot, n),
		rest:   map[uint32]rest{},
		builds: map[string]string{build: build},
		build:  build,
	}
}

// Newer reports whether (incarnation, seq) of a record of origin is newer than
// what the table holds. An origin outside the roster is never newer.
func (t *Table) Newer(origin, incarnation, seq uint32) bool {
	if int64(origin) >= int64(len(t.slots)) || incarnation == 0 {
		return false
	}
	s := &t.slots[origin]
	return incarnation > s.inc || incarnation == s.inc && seq > s.seq
}

// Merge takes r if it is newer than what the table holds, and says whether it
// did. The table keeps r.Accused; the caller must not write it afterwards.
func (t *Table) Merge(r *wire.Record) bool {
	if !t.Newer(r.Origin, r.Incarnation, r.Seq) {
		return false
	}
	s := &t.slots[r.Origin]
	t.digest ^= s.mix(r.Origin)
	s.inc, s.seq, s.boot = r.Incarnation, r.Seq, r.Boot
	s.bits = s.bits&^(leftBit|outBit|pidMask) | r.PID&pidMask
	if r.Left {
		s.bits |= leftBit
	}
	if r.Out {
		s.bits |= outBit
	}
	t.digest ^= s.mix(r.Origin)
	if r.Epoch.Compare(t.top) > 0 {
		t.top = r.Epoch
	}
	if len(r.Accused) == 0 && r.Build == t.build {
		delete(t.rest, r.Origin)
		return true
	}
	build, ok := t.builds[r.Build]
	if !ok {
		build = r.Build
		if len(t.builds) < 64 { // a ring runs a handful of versions at a time
			t.builds[build] = build
		}
	}
	t.rest[r.Origin] = rest{build: build, accused: r.Accused}
	return true
}

func (s *slot) mix(origin uint32) uint64 {
	if s.inc == 0 {
		return 0
	}
	return Mix(uint64(origin)<<32|uint64(s.inc), uint64(s.seq))
}

// Mix hashes two words into one (the finaliser of SplitMix64, twice). Digests
// are sums over GF(2) of such hashes: they detect accident, not malice.
func Mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b + 0x632be59bd9b4e019
	for range 2 {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

// Digest is equal for tables that hold the same records.
func (t *Table) Digest() uint64 { return t.digest }

// Top is the highest epoch any record told of.
func (t *Table) Top() wire.Epoch { return t.top }

// Incarnation is the one the table knows of origin, 0 for none.
func (t *Table) Incarnation(origin int) uint32 { return t.slots[origin].inc }

// Boot is the process that wrote the record held of origin.
func (t *Table) Boot(origin int) uint32 { return t.slots[origin].boot }

// PID is the process id that origin told.
func (t *Table) PID(origin int) uint32 { return t.slots[origin].bits & pidMask }

// Build is the version that origin told.
func (t *Table) Build(origin int) string {
	if r, ok := t.rest[uint32(origin)]; ok {
		return r.build
	}
	if t.slots[origin].inc == 0 {
		return ""
	}
	return t.build
}

// Accused is whom origin says it cannot reach. The slice is the table's.
func (t *Table) Accused(origin int) []wire.Accusation { return t.rest[uint32(origin)].accused }

// State is the owner's own note on origin, kept here for its place in the slot.
func (t *Table) State(origin int) wire.State {
	return wire.State(t.slots[origin].bits >> pidBits & 3)
}

// SetState writes the owner's note.
func (t *Table) SetState(origin int, s wire.State) {
	b := &t.slots[origin].bits
	*b = *b&^(3<<pidBits) | uint32(s&3)<<pidBits
}

// Accusers returns the origins that accuse somebody, in ascending order.
func (t *Table) Accusers() []int {
	var out []int
	for o, r := range t.rest {
		if len(r.accused) > 0 {
			out = append(out, int(o))
		}
	}
	slices.Sort(out)
	return out
}

// Record rebuilds the record held of origin. ok is false if there is none.
func (t *Table) Record(origin int) (r wire.Record, ok bool) {
	s := &t.slots[origin]
	if s.inc == 0 {
		return wire.Record{}, false
	}
	return wire.Record{
		Origin: uint32(origin), Incarnation: s.inc, Seq: s.seq, Boot: s.boot,
		PID: s.bits & pidMask, Epoch: t.top, Left: s.bits&leftBit != 0,
		Out: s.bits&outBit != 0, Build: t.Build(origin), Accused: t.Accused(origin),
	}, true
}

// Outbox gathers the origins whose records are to be handed on.
type Outbox struct {
	Window  time.Duration // after a flush, what is urgent and comes within it rides together
	Patient time.Duration // the same for what is not
	pending []Pending
	urgent  bool
	last    time.Time // flush
}

// Pending is one origin whose record is to go to everybody but From.
type Pending struct {
	Origin uint32
	From   uint64 // the connection it came over, 0 for none
}

// Add notes that origin's record changed, as told over the connection from.
func (o *Outbox) Add(origin uint32, from uint64, urgent bool) {
	o.pending = append(o.pending, Pending{origin, from})
	o.urgent = o.urgent || urgent
}

// Deadline is when Flush has something to give; zero while there is nothing.
func (o *Outbox) Deadline() time.Time {
	switch {
	case len(o.pending) == 0:
		return time.Time{}
	case o.urgent:
		return o.last.Add(o.Window)
	}
	return o.last.Add(o.Patient)
}

// Flush returns what is to go out now, nothing while the window is closed. The
// slice is valid until the next Add.
func (o *Outbox) Flush(now time.Time) []Pending {
	if len(o.pending) == 0 || now.Before(o.Deadline()) {
		return nil
	}
	out := o.pending
	o.pending = o.pending[:0]
	if cap(out) > 64 { // a storm's worth is not kept
		o.pending = nil
	}
	o.last, o.urgent = now, false
	return out
}
