package consensus

import (
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/wire"
)

const (
	// tailMax bounds the applied entries that are kept for those who follow.
	tailMax = 2 << 20
	// tailLess is that bound at who has no log: there are many of it, and whoever it
	// feeds is seldom behind by more than what is on its way.
	tailLess = 16 << 10
	// entriesBytes is where a frame of entries is full: a particle may wait for it.
	entriesBytes = 32 << 10
	// framesAtOnce is how many of those one request brings.
	framesAtOnce = 8
)

// followState is what this instance knows of how far the others are, and where
// it gets what it lacks.
type followState struct {
	bornAt   time.Time
	knownAt  time.Time            // when we heard of our history
	met      bool                 // we have known who leads it
	old      uint64               // up to where it was agreed on before that
	enoughAt time.Time            // since when enough are blank to begin a history
	peers    map[int]*wire.Status // of those linked with, as they said last
	told     map[int]wire.Status  // what they were told
	furthest uint64               // at least as much as any of them has applied
	spoken   wire.Status          // what all of them have been told, but for what is theirs
	spokeC   *raftpb.ConfState    // and by which voters
	saidAt   time.Time
	wholeAt  time.Time // when all was said last, and not only what is urgent

	tail      []*raftpb.Entry // newest applied entries
	tailBytes int
	news      bool // entries that have not been shared

	leadBy   int    // who told us who leads, while we have no log
	leadTerm uint64 // in which whoever leads was elected

	soughtAt time.Time // since when nobody feeds us, where only voters may
	lookedAt time.Time // when somebody was looked for

	feeder  int       // who sends us entries, -1 for nobody
	fedAt   time.Time // when it did, or was asked
	feeds   map[int]uint64
	pieces  *pieces
	first   *Saved // what our log begins with, while that is written
	conflAt time.Time

	cache   []byte // the state as of cacheAt, for those far behind
	cacheAt uint64
}

// pieces is a state that is coming in.
type pieces struct {
	from  int
	index uint64
	era   uint32
	total uint64
	got   []byte
	snap  *raftpb.Message // the leader's message that it belongs to, or nil
}

func newFollowState() followState {
	return followState{
		peers: map[int]*wire.Status{}, told: map[int]wire.Status{}, feeder: -1,
		feeds: map[int]uint64{},
	}
}

func (c *Core) lastIndex() uint64 {
	n, err := c.ms.LastIndex()
	c.must(err)
	return n
}

// follow asks for what this instance lacks, if nobody sends it by itself.
func (c *Core) follow() {
	if c.rn != nil || c.starting > 0 || c.ident.History == (History{}) {
		return
	}
	if s := c.peers[c.feeder]; c.feeder >= 0 && s != nil && s.History == c.ident.History &&
		(!c.behind() || c.now.Sub(c.fedAt) < c.cfg.Timing.Retry) &&
		(!c.cfg.Strict || c.state.Applied() == 0 || c.voter(c.feeder) || !c.now.Before(c.soughtAt.Add(soughtMax*c.cfg.Timing.Retry))) {
		return
	}
	if c.feeder >= 0 || c.soughtAt.IsZero() || !c.behind() {
		c.soughtAt = c.now
	}
	c.feeder, c.pieces = -1, nil
	c.lookedAt = c.now
	if best := c.bestFeeder(); best >= 0 {
		c.feeder = best
		c.pull()
	}
}

// Hasten says that there are entries which this instance lacks: it asks for them now.
func (c *Core) Hasten(now time.Time) {
	if c.rn != nil || c.starting > 0 || c.ident.History == (History{}) {
		return // they come by themselves
	}
	if c.now = now; c.feeder < 0 {
		c.follow()
	} else if now.Sub(c.fedAt) >= c.cfg.Timing.Status {
		c.pull()
	}
}

// behind reports whether somebody whom we are linked with has more than we do.
func (c *Core) behind() bool {
	if c.furthest <= c.state.Applied() {
		return false
	}
	for i, s := range c.peers { // whoever it is
		if s.History == c.ident.History && s.Applied > c.state.Applied() && c.cfg.Fleet.Linked(i) {
			return true
		}
	}
	return false
}

// bestFeeder is who to follow: our home, if we are linked with it, or some other
// voter, which keeps more for those who follow, if it is ahead or nobody is; else
// whoever is furthest.
func (c *Core) bestFeeder() int {
	best, voter := -1, -1
	var most uint64
	for _, i := range slices.Sorted(maps.Keys(c.peers)) {
		s := c.peers[i]
		if s.History == c.ident.History && s.Applied >= c.state.Applied() && c.cfg.Fleet.Linked(i) &&
			(best < 0 || s.Applied > most) {
			best, most = i, s.Applied
		}
	}
	if best < 0 {
		return best
	}
	if c.cfg.Strict {
		best = -1
		if c.state.Applied() == 0 || c.now.Sub(c.soughtAt) >= soughtMax*c.cfg.Timing.Retry {
			best = c.claimant() // it does not know who votes, or none of those votes any more
		}
	}
	home := c.Home()
	for _, i := range slices.Sorted(maps.Keys(c.peers)) {
		if s := c.peers[i]; s.Log > 0 && s.History == c.ident.History && c.cfg.Fleet.Linked(i) &&
			(!c.cfg.Strict || c.voter(i)) &&
			(s.Applied > c.state.Applied() || s.Applied == most) && (voter < 0 || i == home) {
			voter = i
		}
	}
	if voter >= 0 {
		return voter
	}
	if c.cfg.Strict && best < 0 && c.behind() {
		c.useHome() // of what it has no link with it makes one
	}
	return best
}

// soughtMax is for how many of Timing.Retry somebody is sought who is known to vote.
const soughtMax = 20

// voter reports whether i is one of those who vote, as far as this instance has applied;
// its log may be a later one by now.
func (c *Core) voter(i int) bool {
	return slices.ContainsFunc(c.Voters(), func(v Voter) bool { return v.ID.Index() == i && (v.Votes || v.Leaves) })
}

// claimant is whoever says that it votes and is furthest, if anybody does; for one who
// does not know yet who does. What it is told first it cannot check.
func (c *Core) claimant() int {
	best := -1
	for _, i := range slices.Sorted(maps.Keys(c.peers)) {
		s := c.peers[i]
		if s.History == c.ident.History && c.cfg.Fleet.Linked(i) && s.Applied > 0 &&
			(best < 0 || s.Log > 0 && c.peers[best].Log == 0 || s.Log > 0 == (c.peers[best].Log > 0) &&
				s.Applied > c.peers[best].Applied) {
			best = i
		}
	}
	return best
}

func (c *Core) followAt() time.Time {
	if c.rn != nil || c.feeder < 0 && !c.cfg.Strict || c.ident.History == (History{}) || c.starting > 0 || !c.behind() {
		return time.Time{}
	}
	if c.feeder < 0 {
		return c.lookedAt.Add(c.cfg.Timing.Retry)
	}
	return c.fedAt.Add(c.cfg.Timing.Retry)
}

func (c *Core) pull() {
	c.fedAt = c.now
	c.effect(Effect{
		Kind: Send, To: c.feeder,
		Msg: &wire.Pull{History: c.ident.History, From: c.state.Applied() + 1},
	})
}

// onPull sends what is asked for, and from then on what comes.
func (c *Core) onPull(from int, m *wire.Pull) {
	if m.History != c.ident.History {
		return
	}
	if m.State {
		c.sendPiece(from, m.Want, m.Offset)
		return
	}
	applied := c.state.Applied()
	switch {
	case m.From > applied+1:
	case applied-m.From+1 > uint64(len(c.tail)):
		delete(c.feeds, from)
		c.sendPiece(from, 0, 0)
	default:
		c.feeds[from] = m.From
		c.feed(from)
	}
}

// feed sends i the entries that it has not been sent, a few frames of them.
func (c *Core) feed(i int) {
	next := c.feeds[i]
	base := c.state.Applied() + 1 - uint64(len(c.tail)) // index of tail[0]
	if next < base {                                    // our own state came whole meanwhile
		delete(c.feeds, i)
		c.sendPiece(i, 0, 0)
		return
	}
	for range framesAtOnce {
		if next > c.state.Applied() {
			break
		}
		m := &wire.Entries{History: c.ident.History, Era: c.ident.Era, First: next}
		size := 0
		for _, e := range c.tail[next-base:] {
			w := wire.Entry{Term: e.GetTerm(), Type: uint8(e.GetType()), Data: e.GetData()}
			if n := wire.EntrySize(&w); size > 0 && size+n > entriesBytes ||
				len(m.Entries) == wire.EntriesMax {
				break
			} else {
				size += n
			}
			m.Entries = append(m.Entries, w)
		}
		next += uint64(len(m.Entries))
		c.effect(Effect{Kind: Send, To: i, Msg: m})
	}
	c.feeds[i] = next
	if next <= c.state.Applied() {
		delete(c.feeds, i) // it asks again when it has taken these in
	}
}

// onEntries applies what follows.
func (c *Core) onEntries(from int, m *wire.Entries) {
	if c.rn != nil || c.starting > 0 || m.History != c.ident.History || from != c.feeder {
		return
	}
	c.fedAt = c.now
	c.pieces = nil
	for i := range m.Entries {
		index := m.First + uint64(i)
		switch at := c.state.Applied(); {
		case index <= at:
			continue
		case index > at+1:
			c.pull()
			return
		}
		e := &m.Entries[i]
		c.applyOne(&raftpb.Entry{
			Index: new(index), Term: new(e.Term), Data: e.Data,
			Type: raftpb.EntryType(e.Type).Enum(),
		})
		if c.starting > 0 || c.rn != nil {
			return // it is one of the voters' from here on
		}
	}
	if s := c.peers[from]; s != nil && s.Applied > c.state.Applied() {
		c.pull()
	}
}

// remember keeps an applied entry for those who follow, and sends it to them.
func (c *Core) remember(e *raftpb.Entry) {
	c.tail = append(c.tail, e)
	c.tailBytes += len(e.GetData()) + entryCost
	most := tailMax
	if c.rn == nil {
		most = tailLess
	}
	if c.tailBytes > most {
		n := 0
		for c.tailBytes > most*3/4 && n < len(c.tail)-1 {
			c.tailBytes -= len(c.tail[n].GetData()) + entryCost
			n++
		}
		c.tail = slices.Clone(c.tail[n:])
	}
	c.news = true
}

// share sends those who follow what is new to them, and answers the reads that
// waited for it.
func (c *Core) share() {
	if !c.news {
		return
	}
	c.news = false
	c.answer()
	for _, i := range slices.Sorted(maps.Keys(c.feeds)) {
		c.feed(i)
	}
}

// sendPiece sends a piece of the state: that of want, which a leader offered, or
// whichever there is.
func (c *Core) sendPiece(to int, want, offset uint64) {
	if want != 0 && want != c.cacheAt && c.ms != nil {
		s, err := c.ms.Snapshot()
		if err == nil && s.GetMetadata().GetIndex() == want {
			c.cache, c.cacheAt = whole(s), want
		}
	}
	if want == 0 || want != c.cacheAt {
		if offset > 0 {
			return // it is gone: it asks anew
		}
		c.cacheAt = c.state.Applied()
		c.cache = whole(&raftpb.Snapshot{Data: c.state.Encode(), Metadata: &raftpb.SnapshotMetadata{
			ConfState: c.conf, Index: new(c.cacheAt), Term: new(c.state.AppliedTerm()),
		}})
	}
	total := uint64(len(c.cache))
	if offset > total {
		return
	}
	c.effect(Effect{Kind: Send, To: to, Msg: &wire.Chunk{
		History: c.ident.History, Era: c.ident.Era, Index: c.cacheAt, Total: total, Offset: offset,
		Data: c.cache[offset:min(total, offset+wire.ChunkMax)],
	}})
}

// whole is a snapshot with everything about it, as bytes.
func whole(s *raftpb.Snapshot) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		panic("BUG: consensus: " + err.Error())
	}
	return b
}

// fetch gets the state that the leader's message speaks of.
func (c *Core) fetch(from int, m *raftpb.Message) {
	index := m.GetSnapshot().GetMetadata().GetIndex()
	if p := c.pieces; p != nil && p.snap != nil && p.from == from && p.index == index {
		p.snap = m
	} else {
		c.pieces = &pieces{from: from, index: index, snap: m}
	}
	c.ask()
}

// ask asks for the next piece.
func (c *Core) ask() {
	p := c.pieces
	c.fedAt = c.now
	want := p.index
	c.effect(Effect{Kind: Send, To: p.from, Msg: &wire.Pull{
		History: c.ident.History, State: true, Want: want, Offset: uint64(len(p.got)),
	}})
}

// onChunk takes a piece of the state in.
func (c *Core) onChunk(from int, m *wire.Chunk) {
	if m.History != c.ident.History || c.starting > 0 || c.rn == nil && from != c.feeder {
		return
	}
	p := c.pieces
	if p == nil || p.from != from || p.index != m.Index {
		if c.rn != nil || m.Offset != 0 || m.Index <= c.state.Applied() {
			return
		}
		p = &pieces{from: from, index: m.Index, era: m.Era}
		c.pieces = p
	}
	if m.Offset != uint64(len(p.got)) || m.Total > wire.SnapshotMax {
		return
	}
	p.total, p.got = m.Total, append(p.got, m.Data...)
	c.fedAt = c.now
	switch {
	case uint64(len(p.got)) < p.total && len(m.Data) > 0:
		c.ask()
	case uint64(len(p.got)) == p.total:
		c.pieces = nil
		c.takeState(p)
	}
}

// takeState has the whole of it.
func (c *Core) takeState(p *pieces) {
	var s raftpb.Snapshot
	if proto.Unmarshal(p.got, &s) != nil || s.GetMetadata().GetIndex() != p.index ||
		s.GetMetadata().GetConfState() == nil {
		c.feeder = -1
		return
	}
	if p.snap != nil {
		if c.rn == nil {
			return
		}
		m := p.snap
		m.Snapshot = &s
		c.step(m)
		c.pump()
		return
	}
	if c.rn != nil {
		return
	}
	c.install(&s)
	if c.rn == nil && c.starting == 0 && c.feeder >= 0 {
		c.pull()
	}
}
