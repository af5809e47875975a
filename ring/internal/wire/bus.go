package wire

import "encoding/binary"

// What instances say to each other about what they agree on.
const (
	KindStatus Kind = iota + 32
	KindRaft
	KindPropose
	KindAsk
	KindAnswer
	KindPull
	KindEntries
	KindChunk
)

// Limits of these frames.
const (
	PayloadMax  = 60 << 10 // bytes of a consensus message
	CommandMax  = 48 << 10 // bytes of one command or entry
	EntriesMax  = 1024     // entries in one frame
	ChunkMax    = 32 << 10 // bytes of one piece of a snapshot
	SnapshotMax = 64 << 20 // bytes of a whole one
	VotersMax   = 16       // voters, old and new, that a particle carries stamps of
)

// History names one line of agreed entries; zero is none.
type History [16]byte

// Status is how far the sender is. It is sent when a link opens and when it has
// changed.
type Status struct {
	History History
	Era     uint32
	Applied uint64 // index of the newest entry the sender has applied
	Log     uint32 // generation of the sender's own log, 0 for none
	Yours   uint32 // generation of the receiver's log by the voters at Applied, 0 for none
	Leader  uint32 // index of the leader and one, 0 while none is known
	Term    uint64 // in which it was elected
	Boot    uint32 // the sender's process
	Blank   bool   // the sender has never heard of any history
	Young   bool   // the sender has known History from its beginning, and no more of it
}

// Raft is one message of the consensus engine, of a history.
type Raft struct {
	History History
	Payload []byte // raftpb.Message
}

// Propose hands a command to a voter.
type Propose struct {
	History History
	Command []byte
}

// Ask wants to know from which entry on a read is no older than this question.
type Ask struct {
	History History
	Try     uint64 // never used twice by one process
}

// Answer is that entry.
type Answer struct {
	Try   uint64
	Index uint64
}

// Pull asks for the entries from From on, now and as they come, or for the
// piece at Offset of the state as of Want.
type Pull struct {
	History History
	From    uint64
	Want    uint64 // 0: whichever state the other side has
	Offset  uint64
	State   bool // a piece of the state and not entries
}

// Entry is an agreed one.
type Entry struct {
	Term uint64
	Type uint8 // as raftpb.EntryType
	Data []byte
}

// Entries are agreed ones in order, from index First on.
type Entries struct {
	History History
	Era     uint32
	First   uint64
	Entries []Entry
}

// Chunk is a piece of the state as of Index.
type Chunk struct {
	History History
	Era     uint32
	Index   uint64
	Total   uint64
	Offset  uint64
	Data    []byte
}

func (*Status) Kind() Kind  { return KindStatus }
func (*Raft) Kind() Kind    { return KindRaft }
func (*Propose) Kind() Kind { return KindPropose }
func (*Ask) Kind() Kind     { return KindAsk }
func (*Answer) Kind() Kind  { return KindAnswer }
func (*Pull) Kind() Kind    { return KindPull }
func (*Entries) Kind() Kind { return KindEntries }
func (*Chunk) Kind() Kind   { return KindChunk }

// EntrySize is how many bytes e takes in an Entries, at most.
func EntrySize(e *Entry) int { return 24 + len(e.Data) }

// appendBus writes the kinds of this file; ok is false for any other.
func appendBus(dst []byte, m Msg) (_ []byte, ok bool) {
	switch m := m.(type) {
	case *Status:
		dst = append(dst, m.History[:]...)
		for _, n := range [...]uint64{
			uint64(m.Era), m.Applied, uint64(m.Log), uint64(m.Yours),
			uint64(m.Leader), m.Term, uint64(m.Boot),
		} {
			dst = binary.AppendUvarint(dst, n)
		}
		dst = appendFlag(appendFlag(dst, m.Blank), m.Young)
	case *Raft:
		dst = append(dst, m.History[:]...)
		dst = appendPiece(dst, m.Payload, PayloadMax)
	case *Propose:
		dst = append(dst, m.History[:]...)
		dst = appendPiece(dst, m.Command, CommandMax)
	case *Ask:
		dst = append(dst, m.History[:]...)
		dst = binary.AppendUvarint(dst, m.Try)
	case *Answer:
		dst = binary.AppendUvarint(dst, m.Try)
		dst = binary.AppendUvarint(dst, m.Index)
	case *Pull:
		dst = append(dst, m.History[:]...)
		dst = binary.AppendUvarint(dst, m.From)
		dst = binary.AppendUvarint(dst, m.Want)
		dst = binary.AppendUvarint(dst, m.Offset)
		dst = appendFlag(dst, m.State)
	case *Entries:
		within("entries", uint64(len(m.Entries)), EntriesMax)
		dst = append(dst, m.History[:]...)
		dst = binary.AppendUvarint(dst, uint64(m.Era))
		dst = binary.AppendUvarint(dst, m.First)
		dst = binary.AppendUvarint(dst, uint64(len(m.Entries)))
		for i := range m.Entries {
			e := &m.Entries[i]
			dst = binary.AppendUvarint(dst, e.Term)
			dst = append(dst, e.Type)
			dst = appendPiece(dst, e.Data, CommandMax)
		}
	case *Chunk:
		dst = append(dst, m.History[:]...)
		for _, n := range [...]uint64{uint64(m.Era), m.Index, m.Total, m.Offset} {
			dst = binary.AppendUvarint(dst, n)
		}
		dst = appendPiece(dst, m.Data, ChunkMax)
	default:
		return dst, false
	}
	return dst, true
}

func appendPiece(dst, b []byte, most uint64) []byte {
	within("bytes of a piece", uint64(len(b)), most)
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// bus reads the kinds of this file; nil for any other.
func (c *cursor) bus(kind Kind) Msg {
	switch kind {
	case KindStatus:
		return &Status{
			History: c.history(), Era: c.u32("era"), Applied: c.number("applied", CounterMax),
			Log: c.u32("generation"), Yours: c.u32("generation"),
			Leader: uint32(c.number("leader", RosterMax)), Term: c.number("term", CounterMax),
			Boot: c.u32("boot"), Blank: c.flag(), Young: c.flag(),
		}
	case KindRaft:
		return &Raft{History: c.history(), Payload: c.piece("payload", PayloadMax)}
	case KindPropose:
		return &Propose{History: c.history(), Command: c.piece("command", CommandMax)}
	case KindAsk:
		return &Ask{History: c.history(), Try: c.uvarint()}
	case KindAnswer:
		return &Answer{Try: c.uvarint(), Index: c.number("index", CounterMax)}
	case KindPull:
		return &Pull{
			History: c.history(), From: c.number("from", CounterMax),
			Want: c.number("want", CounterMax), Offset: c.number("offset", SnapshotMax),
			State: c.flag(),
		}
	case KindEntries:
		m := &Entries{History: c.history(), Era: c.u32("era"), First: c.number("first", CounterMax)}
		n := c.count("entries", EntriesMax, 3)
		if n > 0 {
			m.Entries = make([]Entry, n)
		}
		for i := range m.Entries {
			m.Entries[i] = Entry{
				Term: c.number("term", CounterMax), Type: c.byte(), Data: c.piece("entry", CommandMax),
			}
		}
		return m
	case KindChunk:
		return &Chunk{
			History: c.history(), Era: c.u32("era"), Index: c.number("index", CounterMax),
			Total:  c.number("size of the state", SnapshotMax),
			Offset: c.number("offset", SnapshotMax), Data: c.piece("piece", ChunkMax),
		}
	}
	return nil
}

func (c *cursor) history() (h History) {
	copy(h[:], c.take(len(h)))
	return h
}

// piece reads a counted byte string into memory of its own.
func (c *cursor) piece(what string, most uint64) []byte {
	b := c.bytes(what, most)
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}
