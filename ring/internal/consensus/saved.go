package consensus

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/wire"
)

// History names one line of committed entries, from its bootstrap on; zero is
// none. A recovery or a restore begins another one.
type History = wire.History

// Identity says which history a log is of, and who writes it.
type Identity struct {
	History History
	Era     uint32 // raised by each recovery and restore: the higher one wins
	ID      RaftID // who this instance is in it; 0 for one without a log of its own
	// Grown says that this instance has known more of a history than its beginning, in
	// this one or one that it gave up: whatever it has now, something may have been
	// agreed on. A log that goes on tells it too.
	Grown bool
}

// RaftID is an instance and the generation of its log: whoever lost a log comes
// back under a higher generation, because what the lost one had promised cannot
// be kept.
type RaftID uint64

// NewRaftID is the name of the generation-th log of instance index.
func NewRaftID(index int, generation uint32) RaftID {
	return RaftID(uint64(index+1)<<32 | uint64(generation))
}

// Index is the instance, -1 for none.
func (id RaftID) Index() int { return int(id>>32) - 1 }

// Generation counts the logs of that instance, from 1.
func (id RaftID) Generation() uint32 { return uint32(id) }

func (id RaftID) String() string { return fmt.Sprintf("%d.%d", id.Index(), id.Generation()) }

// Write is one step of what must be on disk. Fields that are nil or empty
// change nothing.
type Write struct {
	Identity *Identity         // a new log begins: all that was is void
	Snapshot *raftpb.Snapshot  // the state at an index; see Saved.Apply for what becomes of the log
	Hard     *raftpb.HardState // term, vote, commit
	Entries  []*raftpb.Entry   // in order, without gaps; what was at and after the first is void
	Aside    []byte            // a state that is given up: to be put where a person finds it
}

// Saved is all that was written, as it stands after the last Write.
type Saved struct {
	Identity Identity
	Snapshot *raftpb.Snapshot // nil before the first
	Hard     *raftpb.HardState
	Entries  []*raftpb.Entry // those after the snapshot
}

// Apply adds one Write. An error says that it does not follow what is there.
func (s *Saved) Apply(w *Write) error {
	if w.Identity != nil {
		*s = Saved{Identity: *w.Identity}
	}
	if w.Snapshot != nil {
		s.snapshot(w.Snapshot)
	}
	if w.Hard != nil {
		s.Hard = w.Hard
	}
	if len(w.Entries) == 0 {
		return nil
	}
	first, last := w.Entries[0].GetIndex(), s.last()
	if first > last+1 {
		return fmt.Errorf("entry %d follows entry %d: some are missing", first, last)
	}
	if base := s.base(); first <= base { // a snapshot overtook it
		if n := base - first + 1; n < uint64(len(w.Entries)) {
			s.Entries = append(s.Entries[:0:0], w.Entries[n:]...)
		}
		return nil
	}
	keep := first - s.base() - 1
	s.Entries = append(s.Entries[:keep:keep], w.Entries...)
	return nil
}

// snapshot takes a newer one. If the log goes on from it, the rest of the log
// stays; if not, it is of another past and void.
func (s *Saved) snapshot(n *raftpb.Snapshot) {
	index, term := n.GetMetadata().GetIndex(), n.GetMetadata().GetTerm()
	if index < s.base() {
		return
	}
	var rest []*raftpb.Entry
	if at := index - s.base(); at > 0 && at <= uint64(len(s.Entries)) &&
		s.Entries[at-1].GetTerm() == term {
		rest = s.Entries[at:]
	} else if at == 0 {
		rest = s.Entries
	}
	s.Snapshot, s.Entries = n, append([]*raftpb.Entry(nil), rest...)
}

// base is the index that the log begins after.
func (s *Saved) base() uint64 { return s.Snapshot.GetMetadata().GetIndex() }

// last is the index of the newest entry.
func (s *Saved) last() uint64 { return s.base() + uint64(len(s.Entries)) }

// Clone is a copy that shares entries and snapshot, which nobody changes.
func (s *Saved) Clone() *Saved {
	c := *s
	c.Entries = append([]*raftpb.Entry(nil), s.Entries...)
	if s.Hard != nil {
		c.Hard = proto.CloneOf(s.Hard)
	}
	return &c
}
