package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// Limits of what rides on the particle. A whole train, with its sets, fits into a Relay.
const (
	PassengerMax = 8 << 10  // bytes of a rider's payload, and of its value
	TrainMax     = 32 << 10 // bytes of riders up to which others board, as RiderSize counts them
	TrainWide    = 48 << 10 // the same with what stations make of them
	RidersMax    = 1024
	FoldedMax    = RosterMax
)

// Line is an order of passengers up to a number: two with equal Lines have had the same.
type Line struct {
	Base  uint64 // the number of the newest of those who have left
	Chain uint64 // a hash over the names of all up to it
}

// Train is who is aboard, and which stops the particle has passed since somebody is.
type Train struct {
	Lap     uint64   // of which Seen is
	Seen    []uint64 // a set of the stops passed on that lap
	Before  []uint64 // the same of the lap before
	SpentUS uint32   // microseconds that stations have held it on this lap
	Level   *Level   // nil once others may board
	Short   *Short   // nil while there is room for everybody
	Riders  []Rider  // in order: the first is numbered Base+1
}

// Level is the state of a new particle until its first lap is over: of what the stops held
// of older ones, it takes the newest along.
type Level struct {
	Lap   uint64 // where it is over: at the first stop
	Stop  uint32 // from this one on, on that lap
	Epoch Epoch  // of the particle that the riders were on
	AsLap uint64 // and its lap
}

// Short is a stop that found no room on Lap: so many bytes are kept for it until it is there
// again.
type Short struct {
	Lap   uint64
	Stop  uint32
	Bytes uint32
}

// Rider is a passenger.
type Rider struct {
	CastID         // its name
	Epoch   Epoch  // of the particle when it boarded
	Lap     uint64 // where its lap began
	Stop    uint32
	Folded  uint32 // by how many stops Value was changed on it
	Large   bool   // Payload is the name of a message that has it
	Topic   string
	Payload []byte // never written to
	Value   []byte // the same
}

// RiderSize is what r takes of TrainMax: at least as much as it takes on the wire.
func RiderSize(r *Rider) int { return 68 + len(r.Topic) + len(r.Payload) + len(r.Value) }

// Hurry asks stops not to let the particle rest: it was last at Stop on Lap, and is wanted
// there again.
type Hurry struct {
	Epoch Epoch
	Lap   uint64
	Stop  uint32
	Wide  bool // goes by all links; else down the tree of Stop
}

// KindHurry is the kind of Hurry.
const KindHurry Kind = 24

func (*Hurry) Kind() Kind { return KindHurry }

// Bits of the byte in front of a train.
const (
	hasTrain = 1 << iota
	hasLevel
	hasShort
	hasRoster // behind the train
)

// appendTrain writes who is aboard; more says that a mark of rosters follows.
func appendTrain(dst []byte, l Line, t *Train, more bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, l.Base)
	dst = binary.BigEndian.AppendUint64(dst, l.Chain)
	has := byte(0)
	if more {
		has = hasRoster
	}
	if t == nil {
		return append(dst, has)
	}
	has |= hasTrain
	if t.Level != nil {
		has |= hasLevel
	}
	if t.Short != nil {
		has |= hasShort
	}
	dst = append(dst, has)
	dst = binary.AppendUvarint(dst, t.Lap)
	dst = appendSet(dst, t.Seen)
	dst = appendSet(dst, t.Before)
	dst = binary.AppendUvarint(dst, uint64(t.SpentUS))
	if v := t.Level; v != nil {
		dst = binary.AppendUvarint(dst, v.Lap)
		dst = binary.AppendUvarint(dst, uint64(v.Stop))
		dst = appendEpochShort(dst, v.Epoch)
		dst = binary.AppendUvarint(dst, v.AsLap)
	}
	if v := t.Short; v != nil {
		dst = binary.AppendUvarint(dst, v.Lap)
		dst = binary.AppendUvarint(dst, uint64(v.Stop))
		dst = binary.AppendUvarint(dst, uint64(v.Bytes))
	}
	within("riders", uint64(len(t.Riders)), RidersMax)
	dst = binary.AppendUvarint(dst, uint64(len(t.Riders)))
	for i := range t.Riders {
		dst = appendRider(dst, &t.Riders[i])
	}
	return dst
}

func appendEpochShort(dst []byte, e Epoch) []byte {
	dst = binary.AppendUvarint(dst, e.Number)
	dst = binary.AppendUvarint(dst, e.Counter)
	return binary.AppendUvarint(dst, uint64(e.Dropper))
}

func appendRider(dst []byte, r *Rider) []byte {
	dst = appendCastID(dst, r.CastID)
	dst = appendEpochShort(dst, r.Epoch)
	dst = binary.AppendUvarint(dst, r.Lap)
	dst = binary.AppendUvarint(dst, uint64(r.Stop))
	dst = binary.AppendUvarint(dst, uint64(r.Folded))
	dst = appendFlag(dst, r.Large)
	dst = appendText(dst, r.Topic, TopicMax)
	dst = appendPiece(dst, r.Payload, PassengerMax)
	return appendPiece(dst, r.Value, PassengerMax)
}

// train reads what appendTrain wrote, and the mark behind it; what it points to is the
// caller's.
func (c *cursor) train(p *Particle) {
	p.Line, p.Train, p.Roster = Line{}, nil, RosterMark{}
	b := c.take(17)
	if b == nil {
		return
	}
	p.Line = Line{Base: binary.BigEndian.Uint64(b), Chain: binary.BigEndian.Uint64(b[8:])}
	if p.Line.Base > CounterMax {
		c.fail("base is over its bound")
	}
	has := b[16]
	if has&hasTrain != 0 {
		p.Train = c.aboard(has)
	}
	if has&hasRoster != 0 {
		p.Roster = RosterMark{Version: c.uvarint(), Low: c.uvarint(), Was: c.uvarint()}
	}
}

// aboard reads a train.
func (c *cursor) aboard(has byte) *Train {
	// One buffer for all payloads: they are kept for as long as somebody needs one of them.
	c.rest = append([]byte(nil), c.rest...)
	t := &Train{
		Lap: c.number("lap", CounterMax), Seen: c.set(), Before: c.set(),
		SpentUS: c.u32("time spent"),
	}
	if has&hasLevel != 0 {
		t.Level = &Level{
			Lap: c.number("lap", CounterMax), Stop: c.index(), Epoch: c.epoch(),
			AsLap: c.number("lap", CounterMax),
		}
	}
	if has&hasShort != 0 {
		t.Short = &Short{
			Lap: c.number("lap", CounterMax), Stop: c.index(),
			Bytes: uint32(c.number("bytes", TrainMax)),
		}
	}
	n := c.count("riders", RidersMax, riderMin)
	if n == 0 {
		return t
	}
	t.Riders = make([]Rider, n)
	size := 0
	for i := range t.Riders {
		r := &t.Riders[i]
		c.rider(r, t.Riders[max(i-1, 0)].Topic)
		size += RiderSize(r)
	}
	if size > TrainWide {
		c.fail("a train is over its bound")
	}
	return t
}

// riderMin is the length of the shortest rider.
const riderMin = 13

// rider reads one. As a rule it has the topic of the one before it, and needs no string of
// its own.
func (c *cursor) rider(r *Rider, before string) {
	r.CastID = c.castID()
	r.Epoch = c.epoch()
	r.Lap = c.number("lap", CounterMax)
	r.Stop = c.index()
	r.Folded = uint32(c.number("folded", FoldedMax))
	r.Large = c.flag()
	if b := c.bytes("topic", TopicMax); string(b) == before {
		r.Topic = before
	} else if r.Topic = string(b); !utf8.Valid(b) {
		c.fail("topic is not UTF-8")
	}
	r.Payload = c.bytes("payload", PassengerMax)
	r.Value = c.bytes("value", PassengerMax)
}

func (c *cursor) epoch() Epoch {
	return Epoch{
		Number: c.number("epoch", CounterMax), Counter: c.number("epoch", CounterMax),
		Dropper: c.u32("dropper"),
	}
}

func appendHurry(dst []byte, m *Hurry) []byte {
	dst = appendEpochShort(dst, m.Epoch)
	dst = binary.AppendUvarint(dst, m.Lap)
	dst = binary.AppendUvarint(dst, uint64(m.Stop))
	return appendFlag(dst, m.Wide)
}

// AppendCastName is how a large rider's payload names its message.
func AppendCastName(dst []byte, id CastID) []byte { return appendCastID(dst, id) }

// CastName reads what AppendCastName wrote.
func CastName(b []byte) (id CastID, ok bool) {
	c := cursor{rest: b}
	id = c.castID()
	return id, c.fault == "" && len(c.rest) == 0
}
