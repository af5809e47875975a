package consensus

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/flood"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// tailMax bounds the applied entries that are kept for those who follow.
	tailMax = 2 << 20
	// tailLess is that bound at who has no log: it feeds those only who reach no
	// voter, and there are many of it.
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

	leadBy  int       // who told us who leads, while we have no log
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
	return followState{peers: map[int]*wire.Status{}, told: map[int]wire.Status{}, feeder: -1,
		feeds: map[int]uint64{}}
}

// Opened says that there is a link with i now, or a new one.
func (c *Core) Opened(now time.Time, i int) {
	c.now = now
	delete(c.told, i)
	delete(c.feeds, i)
	if c.feeder == i {
		c.feeder = -1
	}
	c.tellStatus(i)
	c.follow()
	if c.stranded && i == c.voterToAsk() {
		c.stranded = false
		c.resendAll()
	}
}

// Closed says that the last link with i is gone.
func (c *Core) Closed(now time.Time, i int) {
	c.now = now
	delete(c.peers, i)
	delete(c.told, i)
	delete(c.feeds, i)
	if c.feeder == i {
		c.feeder = -1
	}
	if c.pieces != nil && c.pieces.from == i {
		c.pieces = nil
	}
	if g := c.generation(i); g > 0 && c.rn != nil {
		c.rn.ReportUnreachable(uint64(NewRaftID(i, g)))
		c.pump()
	}
	// Who does not vote goes on taking i for the leader if it was that: the view
	// says when it is dead, and the others when somebody else leads.
}

// Receive takes what instance from sent, as its link vouches.
func (c *Core) Receive(now time.Time, from int, m wire.Msg) {
	c.now = now
	switch m := m.(type) {
	case *wire.Status:
		c.onStatus(from, m)
	case *wire.Raft:
		c.onRaft(from, m)
	case *wire.Propose:
		c.onPropose(m)
	case *wire.Ask:
		c.onAsk(from, m)
	case *wire.Answer:
		c.onAnswer(m)
	case *wire.Pull:
		c.onPull(from, m)
	case *wire.Entries:
		c.onEntries(from, m)
	case *wire.Chunk:
		c.onChunk(from, m)
	}
}

// status is how far we are, for i.
func (c *Core) status(i int) wire.Status {
	return wire.Status{
		History: c.ident.History, Era: c.ident.Era, Applied: c.state.Applied(),
		Log: c.ident.ID.Generation(), Yours: c.generation(i), Leader: uint32(c.lead + 1),
		Boot: c.cfg.Boot, Blank: c.blank(),
	}
}

func (c *Core) tellStatus(i int) {
	s := c.status(i)
	c.told[i] = s
	c.effect(Effect{Kind: Send, To: i, Msg: &s})
}

// speak tells those who were told something else how we are. How far we are is no
// hurry: entries come by themselves, and this is for when they do not.
func (c *Core) speak() {
	if at := c.speakAt(); at.IsZero() || c.now.Before(at) {
		return
	}
	whole := !c.now.Before(c.wholeAt.Add(c.cfg.Timing.Heartbeat))
	if whole {
		c.wholeAt = c.now
	}
	for _, i := range slices.Sorted(maps.Keys(c.told)) {
		if s := c.status(i); c.cfg.Fleet.Linked(i) && (whole && c.told[i] != s || urgent(c.told[i], s)) {
			c.saidAt = c.now
			c.tellStatus(i)
		}
	}
}

// urgent reports whether more than how far we are differs.
func urgent(told, now wire.Status) bool {
	told.Applied = now.Applied
	return told != now
}

// speakAt is when the next word may go out; zero if there is none to say.
func (c *Core) speakAt() time.Time {
	common := c.status(-1)
	if common == c.spoken && c.conf == c.spokeC {
		return time.Time{}
	}
	all, any := true, false
	for i, told := range c.told { // whoever it is, the times are the same
		s := c.status(i)
		if told == s {
			continue
		}
		all = false
		if c.cfg.Fleet.Linked(i) {
			if any = true; urgent(told, s) {
				return later(c.saidAt.Add(c.cfg.Timing.Status), c.bornAt)
			}
		}
	}
	if all {
		c.spoken, c.spokeC = common, c.conf
	}
	if !any {
		return time.Time{}
	}
	return later(c.wholeAt.Add(c.cfg.Timing.Heartbeat), c.bornAt)
}

// onStatus hears how far another is.
func (c *Core) onStatus(from int, s *wire.Status) {
	c.peers[from] = s
	c.furthest = max(c.furthest, s.Applied)
	if s.History == (History{}) {
		c.found()
		return
	}
	switch {
	case c.ident.History == (History{}):
		c.adopt(s)
	case s.History != c.ident.History:
		c.compare(from, s)
	}
	if s.History != c.ident.History {
		return
	}
	if c.rn != nil && s.Applied > c.state.Applied() && s.Yours != c.ident.ID.Generation() {
		c.stopVoting("the others took my vote away while I was gone")
	}
	if c.rn == nil {
		c.hearsay(from, s)
	}
	if c.rn == nil && s.Leader == 0 && s.Log > 0 && from == c.feeder {
		c.setLead(-1)
	}
	c.leader.look = true
	c.follow()
}

// hearsay is who leads, for one who has no log: as somebody says, until he says
// otherwise, and never somebody who says himself that he does not.
func (c *Core) hearsay(from int, s *wire.Status) {
	lead := int(s.Leader) - 1
	if lead < 0 || lead != c.lead && from == c.lead {
		if from == c.lead || from == c.leadBy {
			c.setLead(-1)
		}
	}
	if lead < 0 || s.Log == 0 && c.lead >= 0 || !c.cfg.Fleet.Alive(lead) {
		return
	}
	if p := c.peers[lead]; p != nil && p.History == c.ident.History && int(p.Leader)-1 != lead {
		return
	}
	if lead != c.lead {
		c.leadBy = from
		c.setLead(lead)
	}
}

// compare meets another history. The one that a recovery made later is right;
// of two of the same age, the one that has a leader. One that never had anything
// but its beginning gives way to the smaller name.
func (c *Core) compare(from int, s *wire.Status) {
	// Also while its beginning is being written: what is told meanwhile is not
	// told again.
	young := c.state.Applied() <= 1 && (c.rn == nil || c.lastIndex() <= 1)
	alone := c.lead < 0 && c.now.Sub(later(c.heard, c.bornAt)) > c.cfg.Timing.Election
	switch {
	case s.Era != c.ident.Era:
		if s.Era > c.ident.Era {
			c.adopt(s)
		}
	case c.lead < 0 && young && (s.Leader > 0 ||
		slices.Compare(s.History[:], c.ident.History[:]) < 0):
		c.adopt(s)
	case c.lead >= 0 || s.Leader == 0:
		if c.lead >= 0 && s.Leader > 0 && c.now.After(c.conflAt) {
			c.conflAt = c.now.Add(10 * c.cfg.Timing.Election)
			c.tell(Tell{Kind: Conflict, Subject: from, Rev: c.state.Applied(),
				Text: "it goes by history " + short(s.History) + ", this instance by " +
					short(c.ident.History) + ", and both have a leader; run `ring bus recover` at " +
					"an instance of the one that is to stay"})
		}
	case alone:
		c.adopt(s)
	}
}

// adopt goes over to the history of s, and gives up what we had.
func (c *Core) adopt(s *wire.Status) {
	had, at := c.ident, c.state.Applied()
	var aside []byte
	if at > 1 && !c.cfg.Memory {
		aside = c.Backup()
	}
	c.closeLog()
	c.ident = Identity{History: s.History, Era: s.Era}
	c.forget()
	c.keepIdentity(aside)
	if had.History != (History{}) {
		c.tell(Tell{Kind: Followed, Subject: c.cfg.Self, Rev: at,
			Text: "history " + short(s.History) + " in place of " + short(had.History)})
	}
	c.refuseAll()
}

// forget empties the state, which will come from others.
func (c *Core) forget() {
	c.state, c.conf = bus.New(), &raftpb.ConfState{}
	c.tail, c.tailBytes, c.pieces, c.cache, c.cacheAt = nil, 0, nil, nil, 0
	c.feeder = -1
	clear(c.feeds)
	c.effect(Effect{Kind: Moved})
}

func (c *Core) lastIndex() uint64 {
	n, err := c.ms.LastIndex()
	c.must(err)
	return n
}

func short(h History) string { return hex.EncodeToString(h[:4]) }

// follow asks for what this instance lacks, if nobody sends it by itself.
func (c *Core) follow() {
	if c.rn != nil || c.starting > 0 || c.ident.History == (History{}) {
		return
	}
	if s := c.peers[c.feeder]; c.feeder >= 0 && s != nil && s.History == c.ident.History &&
		(!c.behind() || c.now.Sub(c.fedAt) < c.cfg.Timing.Retry) {
		return
	}
	c.feeder, c.pieces = -1, nil
	if best := c.bestFeeder(); best >= 0 {
		c.feeder = best
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

// bestFeeder is who to follow: the voter that is ours among all, by index, so
// that followers spread, if it is ahead or nobody is; else whoever is furthest.
func (c *Core) bestFeeder() int {
	best := -1
	var most uint64
	for _, i := range slices.Sorted(maps.Keys(c.peers)) {
		s := c.peers[i]
		if s.History == c.ident.History && s.Applied >= c.state.Applied() && c.cfg.Fleet.Linked(i) &&
			(best < 0 || s.Applied > most) {
			best, most = i, s.Applied
		}
	}
	home := c.Home()
	if s := c.peers[home]; s != nil && s.History == c.ident.History && c.cfg.Fleet.Linked(home) &&
		(s.Applied > c.state.Applied() || s.Applied == most) {
		return home
	}
	return best
}

// homeKept is how long after it was asked for something a link with a home is kept.
const homeKept = time.Minute

// Home is the living voter that this instance asks for things if it is linked with
// no other; -1 for none. It is the one of the highest hash with this instance
// ("rendezvous"): when one dies, those whose home it was spread over the others,
// and nobody else moves. Whoever asks for nothing needs no link with it, and follows
// a neighbour: of a large fleet voters would have by far the most to do, just while
// it starts.
func (c *Core) Home() int { return c.HomeOf(c.cfg.Self) }

// HomeOf is the same for another instance, by what we know.
func (c *Core) HomeOf(of int) int {
	best, most := -1, uint64(0)
	if c.ident.History == (History{}) {
		return best // there is nothing to follow yet, nor all of those to choose from
	}
	for _, v := range c.Voters() {
		i := v.ID.Index()
		if !v.Votes || i == of || i != c.cfg.Self && !c.cfg.Fleet.Alive(i) {
			continue
		}
		if w := flood.Mix(uint64(of), uint64(i)); best < 0 || w > most {
			best, most = i, w
		}
	}
	return best
}

// Peers are those whom this instance has to be linked with to vote or to lead, in
// order.
func (c *Core) Peers() []int {
	vs := c.Voters()
	if !c.HasPart() {
		if h := c.Home(); h >= 0 && c.now.Before(c.homeTill) {
			return []int{h}
		}
		return nil
	}
	out := make([]int, 0, len(vs))
	for _, v := range vs {
		if i := v.ID.Index(); i != c.cfg.Self && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	if c.leading {
		out = append(out, c.standIns(vs)...)
		slices.Sort(out)
	}
	return out
}

// HasPart reports whether this instance votes, or is about to.
func (c *Core) HasPart() bool {
	return slices.ContainsFunc(c.Voters(), func(v Voter) bool { return v.ID.Index() == c.cfg.Self })
}

// standIns are as many of the living that have no part as there are voters
// missing or not alive, by index. A leader takes nobody in whom it has no link
// with.
func (c *Core) standIns(vs []Voter) (out []int) {
	missing := min(c.cfg.N, VotersMax)
	for _, v := range vs {
		if v.Votes && c.cfg.Fleet.Alive(v.ID.Index()) {
			missing--
		}
	}
	for i := 0; i < c.cfg.N && len(out) < missing; i++ {
		if i != c.cfg.Self && c.cfg.Fleet.Alive(i) && c.generation(i) == 0 {
			out = append(out, i)
		}
	}
	return out
}

func (c *Core) followAt() time.Time {
	if c.rn != nil || c.feeder < 0 || c.ident.History == (History{}) || c.starting > 0 || !c.behind() {
		return time.Time{}
	}
	return c.fedAt.Add(c.cfg.Timing.Retry)
}

func (c *Core) pull() {
	c.fedAt = c.now
	c.effect(Effect{Kind: Send, To: c.feeder,
		Msg: &wire.Pull{History: c.ident.History, From: c.state.Applied() + 1}})
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
			ConfState: c.conf, Index: new(c.cacheAt), Term: new(c.state.AppliedTerm())}})
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
		History: c.ident.History, State: true, Want: want, Offset: uint64(len(p.got))}})
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

// blank reports whether we have never heard of any history.
func (c *Core) blank() bool { return c.ident.History == (History{}) && !c.cfg.Lost }

// found begins a history, if this is who should: the first of those blank, once
// all first voters have said that they are, or most of them and a while has
// passed; never beside anybody who has data.
func (c *Core) found() {
	if !c.blank() || c.starting > 0 {
		return
	}
	voters := FirstVoters(c.cfg.N)
	if !slices.Contains(voters, c.cfg.Self) {
		return
	}
	logs := make([]bus.Change, 0, len(voters))
	count, first := 0, c.cfg.Self
	for _, i := range voters {
		l := bus.Change{Index: uint32(i), Incarnation: 1}
		switch s := c.peers[i]; {
		case i == c.cfg.Self:
			l.Boot = c.cfg.Boot
			count++
		case s != nil && s.Blank && c.cfg.Fleet.Linked(i):
			l.Boot = s.Boot
			count++
			first = min(first, i)
		}
		logs = append(logs, l)
	}
	for _, s := range c.peers {
		if s.History != (History{}) {
			return
		}
	}
	gather := c.cfg.Timing.Gather
	if count < len(voters) && (2*count <= len(voters) || c.now.Sub(c.bornAt) < gather) {
		c.enoughAt = time.Time{}
		return
	}
	if c.enoughAt.IsZero() {
		c.enoughAt = c.now
	}
	// Whoever comes first by index begins; if it does not, the others do, later.
	if first != c.cfg.Self &&
		c.now.Sub(c.enoughAt) < 4*gather*time.Duration(slices.Index(voters, c.cfg.Self)) {
		return
	}
	var h History
	for i := range h {
		h[i] = byte(c.cfg.Rand.Uint32())
	}
	c.ident = Identity{History: h}
	cmd := bus.Command{Kind: bus.Admit, Changes: logs}
	c.state.Apply(1, 1, cmd.Encode(), &cmd)
	cs := &raftpb.ConfState{}
	for _, i := range voters {
		cs.Voters = append(cs.Voters, uint64(NewRaftID(i, 1)))
	}
	c.tell(Tell{Kind: Begun, Subject: c.cfg.Self, Rev: 1, Text: "history " + short(h)})
	c.state.VotersChanged()
	c.setConf(cs)
	c.caughtUp()
}

// foundAt is when found may do something next; zero if time alone changes nothing.
func (c *Core) foundAt() time.Time {
	if !c.blank() || c.bornAt.IsZero() || !slices.Contains(FirstVoters(c.cfg.N), c.cfg.Self) {
		return time.Time{}
	}
	g := c.cfg.Timing.Gather
	n := c.now.Sub(c.bornAt)/g + 1
	return c.bornAt.Add(cmp.Or(n, 1) * g)
}
