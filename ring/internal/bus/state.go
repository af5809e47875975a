package bus

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/roster"
)

// blockMax bounds how many ticks one entry may reserve.
const blockMax = 1 << 32

// Code is how a request ended.
type Code uint8

// Codes.
const (
	Done     Code = iota
	Conflict      // the condition does not hold: Result.Rev is the key's revision, 0 for none
	Held          // somebody else holds the lease: Result.Holder
	Gone          // the lease is not, or no longer, the one of that fence
	Full          // StateMax or LeasesMax is reached
	Bad           // the command is not one that this machine knows
	Unfit         // the change does not fit the roster
)

// Result is what became of one command.
type Result struct {
	Kind   Kind
	Req    Request
	Code   Code
	Rev    uint64 // of the key after it
	Fence  uint64 // of the lease
	Holder uint32

	Changed  []Change // of a View: those that were news
	Rerolled bool     // of a Seed or Reroll: there is another roster
}

// Entry is a key's value and the revision that wrote it.
type Entry struct {
	Value    []byte
	Created  uint64
	Modified uint64
}

// Lease is one that is held.
type Lease struct {
	Name    string
	Holder  uint32 // index
	Life    uint32 // of the holder's process
	Fence   uint64
	TTL     time.Duration
	Granted uint64 // revision
	Renewed uint64 // revision of the newest renewal, Granted before the first
}

// Epoch is the particle of the fleet: the newest drop and its ticks.
//
// The tick of a lap is Base plus the lap, wrapping, so that one lap has one
// number whoever counts it; only numbers below Limit may be counted.
type Epoch struct {
	Number  uint64
	Dropper uint32 // index of the leader that dropped it
	Boot    uint32 // of its process: nobody else lets it go
	Lap     uint64 // the first one
	Base    uint64
	Limit   uint64 // first number not reserved
}

// Tick is the number of a lap of this epoch.
func (e *Epoch) Tick(lap uint64) uint64 { return e.Base + lap }

// Member is what the numbered view says of one instance.
type Member struct {
	State       uint8
	Incarnation uint32
}

// indexMax bounds the index of an instance, as the roster does.
const indexMax = 1 << 14

// members are all of them, by index. Every instance keeps a row for each other,
// so a row is two bytes, and there is room for few more than there are. A member
// that two bytes cannot hold, restarted thousands of times, is in wide.
type members struct {
	rows  []uint16
	wide  map[uint32]Member
	known int // rows that are not zero
}

const (
	membersStep = 256 // by how many rows there comes to be more room
	rowStates   = 1 << 2
	rowWide     = 1<<16 - 1
)

func (m *members) get(i uint32) Member {
	switch {
	case int64(i) >= int64(len(m.rows)):
		return Member{}
	case m.rows[i] == rowWide:
		return m.wide[i]
	}
	return Member{State: uint8(m.rows[i] % rowStates), Incarnation: uint32(m.rows[i] / rowStates)}
}

// set takes any member that is not zero.
func (m *members) set(i uint32, to Member) {
	if n := int(i) + 1; n > len(m.rows) {
		room := (n + membersStep - 1) / membersStep * membersStep
		m.rows = append(make([]uint16, 0, room), m.rows...)[:room]
	}
	if m.rows[i] == 0 {
		m.known++
	}
	if to.State < rowStates && to.Incarnation < rowWide/rowStates {
		m.rows[i] = uint16(to.Incarnation)*rowStates + uint16(to.State)
		delete(m.wide, i)
		return
	}
	if m.wide == nil {
		m.wide = map[uint32]Member{}
	}
	m.rows[i] = rowWide
	m.wide[i] = to
}

// drop forgets one.
func (m *members) drop(i uint32) {
	if int64(i) < int64(len(m.rows)) && m.rows[i] != 0 {
		m.rows[i] = 0
		m.known--
		delete(m.wide, i)
	}
}

// Log is the newest log of an instance, and the process that began it: who it
// is that may write it.
type Log struct {
	Generation uint32
	Boot       uint32
}

// sessionsKept is of how many processes of one instance: more than are started
// within the time that a request may be on its way.
const sessionsKept = 4

// session remembers what a process asked for, as long as it may ask again.
type session struct {
	life uint32
	low  uint64
	done map[uint64]Result
}

// State is all that was agreed on. Use New.
type State struct {
	applied  uint64
	term     uint64
	chain    [sha256.Size]byte
	bytes    int // of keys and values
	keys     map[string]Entry
	leases   map[string]Lease
	fence    uint64
	epoch    Epoch
	members  members
	viewRev  uint64
	votersAt uint64
	logs     map[uint32]Log
	sessions map[uint32][]*session // of each instance the last few, oldest first
	news     News                  // since it was taken
	roster   *roster.Roster        // nil: all go by what they were started with
	seed     *seed                 // what has come in of it, nil for nothing
}

// New is the state before the first entry.
func New() *State {
	return &State{
		keys: map[string]Entry{}, leases: map[string]Lease{}, logs: map[uint32]Log{},
		sessions: map[uint32][]*session{}, news: News{All: true},
	}
}

// newsMax bounds the keys of News, for who does not take it.
const newsMax = 64

// News is which keys may be other than they were.
type News struct {
	Keys []string
	All  bool // any key may be: there were too many, or this state took another's place
}

// TakeNews returns what has changed since the last call; of a new State that is all.
func (s *State) TakeNews() News {
	n := s.news
	s.news = News{}
	return n
}

func (s *State) note(key string) {
	if s.news.All || len(s.news.Keys) == newsMax {
		s.news = News{All: true}
		return
	}
	s.news.Keys = append(s.news.Keys, key)
}

// Applied is the index of the newest entry applied.
func (s *State) Applied() uint64 { return s.applied }

// AppliedTerm is its term.
func (s *State) AppliedTerm() uint64 { return s.term }

// Chain is a hash over all entries applied: equal for equal histories only.
func (s *State) Chain() [sha256.Size]byte { return s.chain }

// Epoch is the newest drop; its number is 0 before the first.
func (s *State) Epoch() Epoch { return s.epoch }

// Fence is the highest fencing number given.
func (s *State) Fence() uint64 { return s.fence }

// ViewRevision is the entry that changed the view last.
func (s *State) ViewRevision() uint64 { return s.viewRev }

// VotersAt is the entry that changed the voters last.
func (s *State) VotersAt() uint64 { return s.votersAt }

// VotersChanged says that the entry applied last changed the voters.
func (s *State) VotersChanged() { s.votersAt = s.applied }

// Member is what the numbered view says of instance i; the zero Member before
// it was first seen.
func (s *State) Member(i int) Member { return s.members.get(uint32(i)) }

// Log is the newest log that instance i was admitted with.
func (s *State) Log(i int) Log { return s.logs[uint32(i)] }

// Get returns a key.
func (s *State) Get(key string) (Entry, bool) {
	e, ok := s.keys[key]
	return e, ok
}

// Keys lists the keys that begin with prefix, in order.
func (s *State) Keys(prefix string) []string {
	var out []string
	for k := range s.keys { // sorted below
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Lease returns the lease of that name.
func (s *State) Lease(name string) (Lease, bool) {
	l, ok := s.leases[name]
	return l, ok
}

// Leases lists those that are held, by name.
func (s *State) Leases() []Lease {
	out := make([]Lease, 0, len(s.leases))
	for _, l := range s.leases { // sorted below
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lease) int {
		if a.Name < b.Name {
			return -1
		}
		return 1 // names differ
	})
	return out
}

// Advance notes an entry that is not a command: a new leader's empty one, or a
// change of voters.
func (s *State) Advance(index, term uint64, data []byte) {
	var head [16]byte
	binary.BigEndian.PutUint64(head[:], index)
	binary.BigEndian.PutUint64(head[8:], term)
	h := sha256.New()
	h.Write(s.chain[:])
	h.Write(head[:])
	h.Write(data)
	h.Sum(s.chain[:0])
	s.applied, s.term = index, term
}

// Apply applies one command, whose encoded form is data. Entries must be applied
// in order of index, each once.
func (s *State) Apply(index, term uint64, data []byte, c *Command) Result {
	s.Advance(index, term, data)
	r := Result{Kind: c.Kind, Req: c.Req}
	r.Req.Low = 0
	if c.Req == (Request{}) {
		s.do(c, &r)
		return r
	}
	ses := s.session(c.Req)
	if was, ok := ses.done[c.Req.Seq]; ok {
		return was
	}
	if c.Req.Seq < ses.low {
		r.Code = Gone // it has its answer
		return r
	}
	s.do(c, &r)
	ses.done[c.Req.Seq] = r
	return r
}

// session finds that of a request and forgets what will not be asked again. Each
// process of an instance has its own; those of the last few are kept, because
// what an earlier one asked may still be on its way.
func (s *State) session(r Request) *session {
	all := s.sessions[r.Origin]
	at := slices.IndexFunc(all, func(ses *session) bool { return ses.life == r.Life })
	if at < 0 {
		if len(all) == sessionsKept {
			all = slices.Delete(all, 0, 1)
		}
		at = len(all)
		all = append(all, &session{life: r.Life, done: map[uint64]Result{}})
		s.sessions[r.Origin] = all
	}
	all[at].forget(r.Low)
	return all[at]
}

// forget forgets what lies below low, by the shorter of two ways.
func (s *session) forget(low uint64) {
	if low <= s.low {
		return
	}
	from := s.low
	s.low = low
	if low-from <= uint64(len(s.done)) {
		for seq := from; seq < low; seq++ {
			delete(s.done, seq)
		}
		return
	}
	for seq := range s.done { // each by itself
		if seq < low {
			delete(s.done, seq)
		}
	}
}

func (s *State) do(c *Command, r *Result) {
	switch c.Kind {
	case Put:
		s.put(c, r)
	case Delete:
		s.del(c, r)
	case Grant:
		s.grant(c, r)
	case Renew, Release, Expire:
		s.endLease(c, r)
	case Drop:
		s.drop(c, r)
	case Extend:
		if c.Epoch != s.epoch.Number || c.Limit <= s.epoch.Limit ||
			c.Limit-s.epoch.Limit > blockMax {
			r.Code = Conflict
			break
		}
		s.epoch.Limit = c.Limit
	case View:
		s.view(c, r)
	case Admit:
		for _, h := range c.Changes {
			if h.Incarnation > s.logs[h.Index].Generation {
				s.logs[h.Index] = Log{h.Incarnation, h.Boot}
			}
		}
	case Leap:
		s.leap(c)
	case Seed:
		s.plant(c, r)
	case Reroll:
		s.reroll(c, r)
	default:
		r.Code = Bad
	}
}

// holds reports whether the condition of c does.
func holds(c *Command, e Entry, ok bool) bool {
	switch c.If {
	case Always:
		return true
	case IfAbsent:
		return !ok
	case IfEqual:
		return ok && e.Modified == c.Rev
	}
	return false
}

func (s *State) put(c *Command, r *Result) {
	e, ok := s.keys[c.Key]
	r.Rev = e.Modified
	grown := len(c.Value) - len(e.Value)
	if !ok {
		grown += len(c.Key)
	}
	switch {
	case !holds(c, e, ok):
		r.Code = Conflict
		return
	case grown > 0 && s.bytes+grown > StateMax:
		r.Code = Full
		return
	}
	s.bytes += grown
	if !ok {
		e.Created = s.applied
	}
	e.Value, e.Modified = c.Value, s.applied
	s.keys[c.Key] = e
	s.note(c.Key)
	r.Rev = s.applied
}

func (s *State) del(c *Command, r *Result) {
	e, ok := s.keys[c.Key]
	r.Rev = e.Modified
	if !holds(c, e, ok) {
		r.Code = Conflict
		return
	}
	if !ok {
		r.Code = Gone
		return
	}
	s.bytes -= len(c.Key) + len(e.Value)
	delete(s.keys, c.Key)
	s.note(c.Key)
	r.Rev = s.applied
}

// grant gives a lease that nobody holds. Fences only grow, over all names.
func (s *State) grant(c *Command, r *Result) {
	if l, ok := s.leases[c.Key]; ok {
		r.Code, r.Holder, r.Fence = Held, l.Holder, l.Fence
		return
	}
	if len(s.leases) >= LeasesMax {
		r.Code = Full
		return
	}
	s.fence++
	s.leases[c.Key] = Lease{
		Name: c.Key, Holder: c.Req.Origin, Life: c.Req.Life, Fence: s.fence, TTL: c.TTL,
		Granted: s.applied, Renewed: s.applied,
	}
	r.Fence, r.Holder = s.fence, c.Req.Origin
}

func (s *State) endLease(c *Command, r *Result) {
	l, ok := s.leases[c.Key]
	r.Fence, r.Holder = l.Fence, l.Holder
	if !ok || l.Fence != c.Fence {
		r.Code = Gone
		return
	}
	if c.Kind == Renew {
		l.Renewed = s.applied
		s.leases[c.Key] = l
		return
	}
	// A renewal that was applied after the leader saw it run out keeps it.
	if c.Kind == Expire && l.Renewed != c.Rev {
		r.Code = Conflict
		return
	}
	delete(s.leases, c.Key)
}

// drop is a compare-and-set on the epoch it replaces; the new one's ticks lie
// above all that were ever reserved.
func (s *State) drop(c *Command, r *Result) {
	if c.Epoch != s.epoch.Number || c.Limit > blockMax {
		r.Code = Conflict
		return
	}
	first := max(s.epoch.Limit, c.Rev, 1)
	s.epoch = Epoch{
		Number: max(s.epoch.Number, c.Fence) + 1, Dropper: c.Dropper, Boot: c.Boot, Lap: c.Lap,
		Base: first - c.Lap, Limit: first + c.Limit,
	}
}

func (s *State) view(c *Command, r *Result) {
	for _, h := range c.Changes {
		m := s.members.get(h.Index)
		if m.State == h.State && m.Incarnation == h.Incarnation || m.Incarnation > h.Incarnation ||
			h.Index >= indexMax || h.Incarnation == 0 {
			continue
		}
		s.members.set(h.Index, Member{State: h.State, Incarnation: h.Incarnation})
		s.viewRev = s.applied
		r.Changed = append(r.Changed, h)
	}
}

// leap lifts everything that must never be given twice over what a lost quorum
// may have given. All leases are void.
func (s *State) leap(c *Command) {
	s.epoch.Number += c.Epoch
	s.epoch.Limit += c.Limit
	s.fence += c.Fence
	clear(s.leases)
	clear(s.sessions)
}

// Size is about how many bytes the state takes, encoded.
func (s *State) Size() int {
	return s.bytes + 24*len(s.keys) + 64*len(s.leases) + 8*s.members.known + 32*len(s.sessions) +
		s.rosterSize()
}

// Above lifts what must never be given twice to at least what it is in other,
// and so the revision.
func (s *State) Above(other *State) {
	s.applied = max(s.applied, other.applied)
	s.term = max(s.term, other.term)
	s.fence = max(s.fence, other.fence)
	s.epoch.Number = max(s.epoch.Number, other.epoch.Number)
	s.epoch.Limit = max(s.epoch.Limit, other.epoch.Limit)
	for i, l := range other.logs { // each by itself
		if l.Generation > s.logs[i].Generation {
			s.logs[i] = l
		}
	}
}

// Unmet forgets the agreed view: this state comes to a fleet that numbers its own.
func (s *State) Unmet() { s.members, s.viewRev = members{}, 0 }

// Len is how many keys there are.
func (s *State) Len() int { return len(s.keys) }
