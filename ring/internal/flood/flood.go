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
	"cmp"
	"iter"
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

// word is one accusation: when many die at once there are some for each of the
// dead, and every instance keeps them all.
type word struct {
	origin, subject uint16
	bits            uint32 // incarnation, and whether it is proven
}

const proofBit = 1 << 31 // above wire.IncarnationMax

// Table is the newest record of each origin. It is not safe for concurrent use.
type Table struct {
	slots  []slot
	words  [][]word          // by origin, those of one as it told them; nil for none
	odd    map[uint32]string // builds of those that do not run the commonest
	builds map[string]string // one copy of each version string
	build  string            // the commonest
	top    wire.Epoch
	digest uint64
	living uint64 // the same over those whose state is Alive
}

// NewTable returns a table for n origins that all run build until they say
// otherwise.
func NewTable(n int, build string) *Table {
	return &Table{
		slots:  make([]slot, n),
		odd:    map[uint32]string{},
		builds: map[string]string{build: build},
		build:  build,
	}
}

// Grow makes room for n origins, which are no fewer than there were.
func (t *Table) Grow(n int) {
	t.slots = append(t.slots, make([]slot, n-len(t.slots))...)
	if t.words != nil {
		if more := (n-1)>>bucketBits + 1 - len(t.words); more > 0 {
			t.words = append(t.words, make([][]word, more)...)
		}
	}
}

// Forget lets go of all that the table holds of origin.
func (t *Table) Forget(origin int) {
	t.setAccused(uint32(origin), nil)
	t.mix(uint32(origin))
	t.slots[origin] = slot{}
	delete(t.odd, uint32(origin))
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

// Older reports whether (incarnation, seq) of a record of origin is older than what
// the table holds.
func (t *Table) Older(origin, incarnation, seq uint32) bool {
	return int64(origin) < int64(len(t.slots)) && !t.Newer(origin, incarnation, seq) &&
		!t.Holds(origin, incarnation, seq)
}

// Holds reports whether the table holds this very record of origin.
func (t *Table) Holds(origin, incarnation, seq uint32) bool {
	if int64(origin) >= int64(len(t.slots)) || incarnation == 0 {
		return false
	}
	s := &t.slots[origin]
	return incarnation == s.inc && seq == s.seq
}

// Merge takes r if it is newer than what the table holds, and says whether it
// did. It keeps nothing that r points to.
func (t *Table) Merge(r *wire.Record) bool {
	if !t.Newer(r.Origin, r.Incarnation, r.Seq) {
		return false
	}
	s := &t.slots[r.Origin]
	t.mix(r.Origin)
	s.inc, s.seq, s.boot = r.Incarnation, r.Seq, r.Boot
	s.bits = s.bits&^(leftBit|outBit|pidMask) | r.PID&pidMask
	if r.Left {
		s.bits |= leftBit
	}
	if r.Out {
		s.bits |= outBit
	}
	t.mix(r.Origin)
	if r.Epoch.Compare(t.top) > 0 {
		t.top = r.Epoch
	}
	t.setAccused(r.Origin, r.Accused)
	t.setBuild(r)
	return true
}

func (t *Table) setBuild(r *wire.Record) {
	if r.Build == t.build {
		if len(t.odd) > 0 {
			delete(t.odd, r.Origin)
		}
		return
	}
	build, ok := t.builds[r.Build]
	if !ok {
		build = r.Build
		if len(t.builds) < 64 { // a ring runs a handful of versions at a time
			t.builds[build] = build
		}
	}
	t.odd[r.Origin] = build
}

// A bucket holds the words of so many origins: few enough that one more is soon
// put in its place, while all of them stand in order.
const bucketBits = 8

// wordsOf is the bucket of origin, and where its words are there, or would be.
func (t *Table) wordsOf(origin int) (bucket []word, from, to int) {
	if t.words == nil {
		return nil, 0, 0
	}
	bucket = t.words[origin>>bucketBits]
	from, ok := slices.BinarySearchFunc(bucket, uint16(origin),
		func(w word, origin uint16) int { return cmp.Compare(w.origin, origin) })
	for to = from; ok && to < len(bucket) && bucket[to].origin == uint16(origin); to++ {
	}
	return bucket, from, to
}

func (t *Table) setAccused(origin uint32, list []wire.Accusation) {
	bucket, from, to := t.wordsOf(int(origin))
	if from == to && len(list) == 0 {
		return
	}
	same := min(to-from, len(list))
	if n := len(list) - same; n > 0 {
		if need := len(bucket) + n; need > cap(bucket) { // with little to spare: see word
			bucket = append(make([]word, 0, need+need/16+2), bucket...)
		}
		bucket = slices.Insert(bucket, to, make([]word, n)...)
	} else {
		bucket = slices.Delete(bucket, from+same, to)
	}
	for i, a := range list {
		bits := a.Incarnation
		if a.Proof {
			bits |= proofBit
		}
		bucket[from+i] = word{uint16(origin), uint16(a.Subject), bits}
	}
	if len(bucket) == 0 {
		bucket = nil
	}
	if t.words == nil {
		t.words = make([][]word, (len(t.slots)-1)>>bucketBits+1)
	}
	t.words[origin>>bucketBits] = bucket
}

// mix takes the record of origin out of the digests, or puts it in.
func (t *Table) mix(origin uint32) {
	m := t.slots[origin].mix(origin)
	t.digest ^= m
	if t.State(int(origin)) == wire.Alive {
		t.living ^= m
	}
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

// Living is equal for tables that hold the same records of the same living.
func (t *Table) Living() uint64 { return t.living }

// Top is the highest epoch any record told of.
func (t *Table) Top() wire.Epoch { return t.top }

// Incarnation is the one the table knows of origin, 0 for none.
func (t *Table) Incarnation(origin int) uint32 { return t.slots[origin].inc }

// Version is the incarnation and the sequence of the record held of origin.
func (t *Table) Version(origin int) (inc, seq uint32) {
	return t.slots[origin].inc, t.slots[origin].seq
}

// Boot is the process that wrote the record held of origin.
func (t *Table) Boot(origin int) uint32 { return t.slots[origin].boot }

// PID is the process id that origin told.
func (t *Table) PID(origin int) uint32 { return t.slots[origin].bits & pidMask }

// Build is the version that origin told.
func (t *Table) Build(origin int) string {
	if build, ok := t.odd[uint32(origin)]; ok {
		return build
	}
	if t.slots[origin].inc == 0 {
		return ""
	}
	return t.build
}

// Accuses reports whether origin says that there is somebody it cannot reach.
func (t *Table) Accuses(origin int) bool {
	_, from, to := t.wordsOf(origin)
	return from < to
}

// Accused appends to dst whom origin says it cannot reach.
func (t *Table) Accused(dst []wire.Accusation, origin int) []wire.Accusation {
	bucket, from, to := t.wordsOf(origin)
	for _, w := range bucket[from:to] {
		dst = append(dst, w.accusation())
	}
	return dst
}

// Accusers yields who accuses anybody, in order, and whom, as it told them. The
// slice is valid until the next one.
func (t *Table) Accusers() iter.Seq2[int, []wire.Accusation] {
	return func(yield func(int, []wire.Accusation) bool) {
		var list []wire.Accusation
		for _, bucket := range t.words {
			for i, w := range bucket {
				list = append(list, w.accusation())
				if i+1 < len(bucket) && bucket[i+1].origin == w.origin {
					continue
				}
				if !yield(int(w.origin), list) {
					return
				}
				list = list[:0]
			}
		}
	}
}

func (w word) accusation() wire.Accusation {
	return wire.Accusation{
		Subject: uint32(w.subject), Incarnation: w.bits &^ proofBit, Proof: w.bits&proofBit != 0,
	}
}

// State is the owner's own note on origin, kept here for its place in the slot.
func (t *Table) State(origin int) wire.State {
	return wire.State(t.slots[origin].bits >> pidBits & 3)
}

// SetState writes the owner's note.
func (t *Table) SetState(origin int, s wire.State) {
	if (t.State(origin) == wire.Alive) != (s == wire.Alive) {
		t.living ^= t.slots[origin].mix(uint32(origin))
	}
	b := &t.slots[origin].bits
	*b = *b&^(3<<pidBits) | uint32(s&3)<<pidBits
}

// Record rebuilds the record held of origin but for its accusations, see
// Accused. ok is false if there is none.
func (t *Table) Record(origin int) (r wire.Record, ok bool) {
	s := &t.slots[origin]
	if s.inc == 0 {
		return wire.Record{}, false
	}
	return wire.Record{
		Origin: uint32(origin), Incarnation: s.inc, Seq: s.seq, Boot: s.boot,
		PID: s.bits & pidMask, Epoch: t.top, Left: s.bits&leftBit != 0,
		Out: s.bits&outBit != 0, Build: t.Build(origin),
	}, true
}

// Outbox gathers the origins whose records are to be handed on.
type Outbox struct {
	Window  time.Duration // after a flush, what is urgent and comes within it rides together
	Patient time.Duration // the same for what is not
	pending []uint16
	urgent  bool
	last    time.Time // flush
}

// Add notes that origin's record changed.
func (o *Outbox) Add(origin uint32, urgent bool) {
	o.pending = append(o.pending, uint16(origin))
	o.urgent = o.urgent || urgent
}

// Shut closes the window as a flush would: what comes first in an instance's life
// is handed on when its links stand, to those who have not told it as well.
func (o *Outbox) Shut(now time.Time) { o.last = now }

// Waiting reports whether anything is to be handed on.
func (o *Outbox) Waiting() bool { return len(o.pending) > 0 }

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

// Flush returns the origins whose records are to go out now, nothing while the
// window is closed, and whether one of them is urgent. One may stand there
// twice. The slice is valid until the next Add.
func (o *Outbox) Flush(now time.Time) (out []uint16, urgent bool) {
	if len(o.pending) == 0 || now.Before(o.Deadline()) {
		return nil, false
	}
	out, urgent = o.pending, o.urgent
	o.pending = o.pending[:0]
	if cap(out) > stormCap { // a storm's worth is not kept
		o.pending = nil
	}
	o.last, o.urgent = now, false
	return out, urgent
}

// stormCap is how much room is kept for what comes next.
const stormCap = 64

// Set is a set of origins.
type Set []uint64

// NewSet returns an empty set of n origins.
func NewSet(n int) Set { return make(Set, (n+63)/64) }

// Grown is s with room for n origins.
func (s Set) Grown(n int) Set {
	if more := (n+63)/64 - len(s); more > 0 {
		s = append(s, make(Set, more)...)
	}
	return s
}

// Has reports whether origin is in the set; nobody is whom it has no room for.
func (s Set) Has(origin uint32) bool {
	return int(origin/64) < len(s) && s[origin/64]>>(origin%64)&1 != 0
}

// Add reports whether origin was not in the set before.
func (s Set) Add(origin uint32) bool {
	bit := uint64(1) << (origin % 64)
	was := s[origin/64]
	s[origin/64] = was | bit
	return was&bit == 0
}

// Remove takes origin out.
func (s Set) Remove(origin uint32) {
	if int(origin/64) < len(s) {
		s[origin/64] &^= 1 << (origin % 64)
	}
}
