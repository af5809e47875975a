package wire

import "encoding/binary"

// What instances broadcast.
const (
	KindCast Kind = iota + 48
	KindHave
	KindWant
	KindDigest
	KindCredit
	KindPart
)

// Limits of these frames.
const (
	CastMax   = 48 << 10 // bytes of a message's payload
	TopicMax  = 255      // bytes of its topic
	CastsMax  = 1024     // names in a Have
	RangesMax = 512      // ranges in a Want or a Digest
	WaitMax   = 3600_000 // milliseconds for which a question is waited for
	setMax    = RosterMax / 64
)

// CastID names a message.
type CastID struct {
	Origin uint32 // index
	Life   uint64 // of the origin; a later process of it has a higher one
	Seq    uint64 // from 1 on, without gaps
}

// Cast is a message to all.
type Cast struct {
	CastID
	Topic    string
	Payload  []byte    // never written to
	Question *Question // nil where nobody is to answer
	Large    bool      // Payload is the Manifest of what is sent, which comes another way
}

// How says what a Question wants.
type How uint8

// What is wanted.
const (
	AskReceipt How = iota + 1 // who has the message
	AskFold                   // answers, made one on the way
	AskEach                   // answers as they are
	askEnd
)

// Question is what makes a question of a message.
type Question struct {
	How    How
	First  uint64   // Seq of the first time that it was asked
	WaitMS uint32   // for how long the origin waits from now on
	Only   []uint64 // a set of indexes: who is to answer, all if it is empty
}

// Part is what some have to say to a question.
type Part struct {
	CastID            // the question's
	Answered []uint64 // a set of indexes: for whom Value speaks
	Failed   []uint64 // who has nothing to say
	Value    []byte
	Done     bool // the sender has no more to say
}

// CastRange is messages of one life of one origin, From and To included.
type CastRange struct {
	Origin   uint32
	Life     uint64
	From, To uint64
	Gone     uint64 // in a Digest: the origin itself keeps nothing below, as far as is known
}

// Have names messages that the sender has.
type Have struct{ Names []CastID }

// Want asks for messages.
type Want struct{ Ranges []CastRange }

// Digest says what the sender can give. To is the newest that it has with all before
// it; From is To+1 where it keeps none.
type Digest struct {
	Ranges []CastRange
	Ask    bool // what can the receiver give?
}

// Credit says how many bytes of Cast, Have, Want, Digest and Part frames, as CastSize
// counts them, the sender has taken from this link.
type Credit struct {
	Bytes uint64
	Waits bool // it has something to publish, and no room for that
}

func (*Cast) Kind() Kind   { return KindCast }
func (*Have) Kind() Kind   { return KindHave }
func (*Want) Kind() Kind   { return KindWant }
func (*Digest) Kind() Kind { return KindDigest }
func (*Credit) Kind() Kind { return KindCredit }
func (*Part) Kind() Kind   { return KindPart }

// CastWork is what a message counts for in a Credit at least. To take one is work, however
// small it is: a heartbeat waits behind what a neighbour has sent before it.
const CastWork = 2 << 10

// CastSize is what a message counts for in a Credit.
func CastSize(m Msg) uint64 {
	switch m := m.(type) {
	case *Cast:
		return max(uint64(len(m.Topic)+len(m.Payload)+32), CastWork)
	case *Have:
		return max(uint64(16*len(m.Names)), CastWork/8)
	case *Want:
		return uint64(24 * len(m.Ranges))
	case *Digest:
		return uint64(24 * len(m.Ranges))
	case *Part:
		return max(uint64(len(m.Value)+32), CastWork)
	}
	return 0
}

// appendCast writes the kinds of this file; ok is false for any other.
func appendCast(dst []byte, m Msg) (_ []byte, ok bool) {
	switch m := m.(type) {
	case *Cast:
		dst = appendCastID(dst, m.CastID)
		dst = appendText(dst, m.Topic, TopicMax)
		dst = appendPiece(dst, m.Payload, CastMax)
		dst = appendQuestion(dst, m.Question)
		dst = appendFlag(dst, m.Large)
	case *Have:
		within("names", uint64(len(m.Names)), CastsMax)
		dst = binary.AppendUvarint(dst, uint64(len(m.Names)))
		for _, id := range m.Names {
			dst = appendCastID(dst, id)
		}
	case *Want:
		dst = appendRanges(dst, m.Ranges, false)
	case *Digest:
		dst = appendRanges(dst, m.Ranges, true)
		dst = appendFlag(dst, m.Ask)
	case *Credit:
		dst = binary.AppendUvarint(dst, m.Bytes)
		dst = appendFlag(dst, m.Waits)
	case *Part:
		dst = appendCastID(dst, m.CastID)
		dst = appendSet(dst, m.Answered)
		dst = appendSet(dst, m.Failed)
		dst = appendPiece(dst, m.Value, CastMax)
		dst = appendFlag(dst, m.Done)
	default:
		return dst, false
	}
	return dst, true
}

func appendCastID(dst []byte, id CastID) []byte {
	dst = binary.AppendUvarint(dst, uint64(id.Origin))
	dst = binary.AppendUvarint(dst, id.Life)
	return binary.AppendUvarint(dst, id.Seq)
}

func appendQuestion(dst []byte, a *Question) []byte {
	if a == nil {
		return append(dst, 0)
	}
	dst = append(dst, byte(a.How))
	dst = binary.AppendUvarint(dst, a.First)
	within("wait", uint64(a.WaitMS), WaitMax)
	dst = binary.AppendUvarint(dst, uint64(a.WaitMS))
	return appendSet(dst, a.Only)
}

// appendSet writes the words of a set, without those before the first and behind the
// last that is not zero.
func appendSet(dst []byte, s []uint64) []byte {
	for len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	from := 0
	for from < len(s) && s[from] == 0 {
		from++
	}
	within("words of a set", uint64(len(s)), setMax)
	dst = binary.AppendUvarint(dst, uint64(from))
	dst = binary.AppendUvarint(dst, uint64(len(s)-from))
	for _, w := range s[from:] {
		dst = binary.BigEndian.AppendUint64(dst, w)
	}
	return dst
}

func appendRanges(dst []byte, ranges []CastRange, gone bool) []byte {
	within("ranges", uint64(len(ranges)), RangesMax)
	dst = binary.AppendUvarint(dst, uint64(len(ranges)))
	for _, r := range ranges {
		dst = appendCastID(dst, CastID{r.Origin, r.Life, r.From})
		dst = binary.AppendUvarint(dst, r.To)
		if gone {
			dst = binary.AppendUvarint(dst, r.Gone)
		}
	}
	return dst
}

// cast reads the kinds of this file; nil for any other.
func (c *cursor) cast(kind Kind) Msg {
	switch kind {
	case KindCast:
		return &Cast{
			CastID: c.castID(), Topic: c.text("topic", TopicMax), Payload: c.piece("payload", CastMax),
			Question: c.question(),
			Large:    c.flag(),
		}
	case KindHave:
		m := &Have{}
		for range c.count("names", CastsMax, 3) {
			m.Names = append(m.Names, c.castID())
		}
		return m
	case KindWant:
		return &Want{Ranges: c.ranges(false)}
	case KindDigest:
		return &Digest{Ranges: c.ranges(true), Ask: c.flag()}
	case KindCredit:
		return &Credit{Bytes: c.number("bytes", CounterMax), Waits: c.flag()}
	case KindPart:
		return &Part{
			CastID: c.castID(), Answered: c.set(), Failed: c.set(), Value: c.piece("value", CastMax),
			Done: c.flag(),
		}
	}
	return nil
}

func (c *cursor) castID() CastID {
	return CastID{Origin: c.index(), Life: c.number("life", CounterMax), Seq: c.number("sequence", CounterMax)}
}

func (c *cursor) question() *Question {
	how := How(c.byte())
	if how == 0 {
		return nil
	}
	if how >= askEnd {
		c.fail("nobody knows how to answer that")
		return nil
	}
	return &Question{
		How: how, First: c.number("sequence", CounterMax), WaitMS: uint32(c.number("wait", WaitMax)),
		Only: c.set(),
	}
}

// set reads a set as it was written: the first and the last word are not zero.
func (c *cursor) set() []uint64 {
	from := int(c.number("first word", setMax))
	n := c.count("words", setMax, 8)
	if n == 0 {
		return nil
	}
	if from+n > setMax {
		c.fail("a set is over its bound")
		return nil
	}
	s := make([]uint64, from+n)
	for i := range n {
		if b := c.take(8); b != nil {
			s[from+i] = binary.BigEndian.Uint64(b)
		}
	}
	if s[from] == 0 || s[from+n-1] == 0 {
		c.fail("a set has words of zero at its ends")
	}
	return s
}

func (c *cursor) ranges(gone bool) (ranges []CastRange) {
	for range c.count("ranges", RangesMax, 4) {
		id := c.castID()
		r := CastRange{Origin: id.Origin, Life: id.Life, From: id.Seq, To: c.number("sequence", CounterMax)}
		if gone {
			r.Gone = c.number("sequence", CounterMax)
		}
		ranges = append(ranges, r)
	}
	return ranges
}
