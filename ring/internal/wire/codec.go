package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// What callers branch on. ErrShort asks for more bytes, ErrUnknownKind for the
// frame to be skipped; after the others the stream is worth nothing any more.
var (
	ErrShort       = errors.New("wire: frame is not complete yet")
	ErrTooLong     = errors.New("wire: frame is over its bound")
	ErrMalformed   = errors.New("wire: frame is malformed")
	ErrUnknownKind = errors.New("wire: frame is of an unknown kind")
)

// Split takes the first frame off buf: frame is its kind byte and payload, rest
// is what follows; both alias buf. It returns ErrShort while the frame is not
// all there, and ErrTooLong as soon as the header asks for more than FrameMax+1
// bytes, ErrMalformed where it asks for none.
func Split(buf []byte) (frame, rest []byte, err error) {
	if len(buf) < HeaderLen {
		return nil, buf, ErrShort
	}
	length := binary.BigEndian.Uint32(buf)
	switch {
	case length > FrameMax+1:
		return nil, buf, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, length, FrameMax+1)
	case length == 0:
		return nil, buf, fmt.Errorf("%w: it is empty", ErrMalformed)
	case uint32(len(buf)-HeaderLen) < length:
		return nil, buf, ErrShort
	}
	end := HeaderLen + int(length)
	return buf[HeaderLen:end:end], buf[end:], nil
}

// Decoder turns frames into messages. The zero value is ready. It belongs to
// one reader: it is not safe for concurrent use.
type Decoder struct {
	particle Particle
	beat     Beat
	flood    Flood
	seals    Sealed
	accused  []Accusation // of all records of flood, or of seals
	bodies   []byte       // of all records of seals, and their signatures
	build    string       // the last build version seen; most instances share one
}

// Decode returns the message in frame, which starts with its kind byte and may
// be reused once Decode has returned. A *Particle, *Beat, *Flood, *Sealed or *Shown, with all it
// points to, is valid until the next Decode and costs no allocation, but for a
// particle's Train, which is the caller's, as all other messages are.
// Errors wrap ErrMalformed, ErrTooLong or ErrUnknownKind.
func (d *Decoder) Decode(frame []byte) (Msg, error) {
	if len(frame) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	if len(frame) > FrameMax+1 {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(frame), FrameMax+1)
	}
	kind, payload := Kind(frame[0]), frame[1:]
	switch kind {
	case KindParticle:
		if err := decodeParticle(&d.particle, payload); err != nil {
			return nil, err
		}
		return &d.particle, nil
	case KindBeat:
		if err := decodeBeat(&d.beat, payload); err != nil {
			return nil, err
		}
		return &d.beat, nil
	}
	c := cursor{rest: payload}
	m, err := d.decode(kind, &c)
	switch {
	case err != nil:
		return nil, err
	case c.fault != "":
		return nil, fmt.Errorf("%w: kind %d: %s", ErrMalformed, kind, c.fault)
	}
	return m, nil
}

// decode reads the kinds that are made of varints and lists.
func (d *Decoder) decode(kind Kind, c *cursor) (Msg, error) {
	switch kind {
	case KindHello:
		return d.hello(c), nil
	case KindRefuse:
		return &Refuse{Code: RefuseCode(c.byte()), Text: c.text("text", TextMax)}, nil
	case KindFlood:
		d.flood.Records = d.records(c)
		return &d.flood, nil
	case KindCut:
		return &Cut{Marks: c.marks()}, nil
	case KindSync:
		return &Sync{Rank: c.rank(), Down: c.marks()}, nil
	case KindRelay:
		return relay(c), nil
	case KindHurry:
		return &Hurry{Epoch: c.epoch(), Lap: c.number("lap", CounterMax), Stop: c.index(), Wide: c.flag()}, nil
	case KindBye:
		return &Bye{Text: c.text("text", TextMax)}, nil
	}
	if m := c.bus(kind); m != nil {
		return m, nil
	}
	if m := c.cast(kind); m != nil {
		return m, nil
	}
	if m := c.bulk(kind); m != nil {
		return m, nil
	}
	if m := d.sealed(kind, c); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w: %d", ErrUnknownKind, kind)
}

func decodeParticle(p *Particle, b []byte) error {
	if len(b) < particleLen {
		return fmt.Errorf("%w: particle of %d bytes", ErrMalformed, len(b))
	}
	n := int(b[particleLen-1])
	if n > VotersMax || len(b) < particleLen+n*stampLen {
		return fmt.Errorf("%w: particle with %d stamps in %d bytes", ErrMalformed, n, len(b))
	}
	p.Epoch.Number = binary.BigEndian.Uint64(b)
	p.Epoch.Counter = binary.BigEndian.Uint64(b[8:])
	p.Epoch.Dropper = binary.BigEndian.Uint32(b[16:])
	p.Lap = binary.BigEndian.Uint64(b[20:])
	p.Base = binary.BigEndian.Uint64(b[28:])
	p.Limit = binary.BigEndian.Uint64(b[36:])
	p.HeldUS = binary.BigEndian.Uint64(b[44:])
	p.AgeUS = binary.BigEndian.Uint32(b[52:])
	p.SlowStop = binary.BigEndian.Uint32(b[56:])
	p.SlowUS = binary.BigEndian.Uint32(b[60:])
	p.WasStop = binary.BigEndian.Uint32(b[64:])
	p.WasUS = binary.BigEndian.Uint32(b[68:])
	p.Conf = binary.BigEndian.Uint64(b[72:])
	p.Anchored = b[80]&1 != 0
	p.Voters = uint8(n)
	for i := range n {
		s := b[particleLen+i*stampLen:]
		p.Stamps[i] = Stamp{Voter: binary.BigEndian.Uint16(s), Role: Role(s[2])}
	}
	clear(p.Stamps[n:])
	c := cursor{rest: b[particleLen+n*stampLen:]}
	if c.train(p); c.fault != "" {
		return fmt.Errorf("%w: particle: %s", ErrMalformed, c.fault)
	}
	if p.Epoch.Number > CounterMax || p.Epoch.Counter > CounterMax || p.Lap > CounterMax ||
		p.Limit > CounterMax || p.Roster.Version > CounterMax {
		return fmt.Errorf("%w: particle with a counter over its bound", ErrMalformed)
	}
	return nil
}

func decodeBeat(m *Beat, b []byte) error {
	if len(b) < beatLen {
		return fmt.Errorf("%w: beat of %d bytes", ErrMalformed, len(b))
	}
	state := State(b[29])
	if binary.BigEndian.Uint32(b[25:]) > IncarnationMax {
		return fmt.Errorf("%w: beat with an incarnation over its bound", ErrMalformed)
	}
	if state > Left {
		return fmt.Errorf("%w: beat with state %d", ErrMalformed, state)
	}
	*m = Beat{
		Seq:       binary.BigEndian.Uint32(b),
		Echo:      binary.BigEndian.Uint32(b[4:]),
		EchoAgeUS: binary.BigEndian.Uint32(b[8:]),
		Records:   binary.BigEndian.Uint32(b[12:]),
		View:      binary.BigEndian.Uint32(b[16:]),
		Rank:      decodeRank(b[20:]),
		You: You{
			Incarnation: binary.BigEndian.Uint32(b[25:]),
			State:       state,
			Boot:        binary.BigEndian.Uint32(b[30:]),
			Damped:      binary.BigEndian.Uint16(b[34:]),
		},
	}
	return nil
}

// rankLen is the width of a Rank in bytes.
const rankLen = 5

func decodeRank(b []byte) Rank {
	return Rank{
		Quorum: b[0]&1 != 0,
		Alive:  binary.BigEndian.Uint16(b[1:]),
		Min:    binary.BigEndian.Uint16(b[3:]),
	}
}

func (d *Decoder) hello(c *cursor) *Hello {
	h := &Hello{
		Version: uint16(c.number("version", 1<<16-1)),
		Ring:    c.text("ring name", NameMax),
	}
	copy(h.Roster[:], c.take(len(h.Roster)))
	h.Size = uint32(c.number("roster size", RosterMax))
	h.Linked = uint32(c.number("linked", RosterMax))
	h.From = c.index()
	h.To = c.index()
	h.FromName = c.text("name", NameMax)
	h.Incarnation = c.incarnation()
	h.Boot = c.fixed32()
	h.PID = c.u32("pid")
	h.Build = d.buildOf(c)
	h.Was = c.incarnation()
	h.Floor = c.number("floor", CounterMax)
	beat := c.take(int(c.number("beat length", FrameMax)))
	if c.fault != "" {
		return h
	}
	if err := decodeBeat(&h.Beat, beat); err != nil {
		c.fail(err.Error())
	}
	if len(c.rest) > 0 && ProtocolVersion >= 2 { // else the sender is of a build that changes no rosters
		h.RosterVersion = c.number("roster version", CounterMax)
		for range c.count("past rosters", PastMax, len(Short8{})) {
			h.Past = append(h.Past, Short8(c.take(len(Short8{}))))
		}
	}
	return h
}

// recordMin is the length of the shortest record with its length before it.
const recordMin = 15

func (d *Decoder) records(c *cursor) []Record {
	n := c.count("records", RecordsMax, recordMin)
	if n == 0 {
		return nil
	}
	records := slices.Grow(d.flood.Records[:0], n)
	d.accused = d.accused[:0]
	for range n {
		one := cursor{rest: c.take(int(c.number("record length", FrameMax)))}
		if c.fault != "" {
			return nil
		}
		records = append(records, d.record(&one))
		if one.fault != "" {
			c.fail(one.fault)
			return nil
		}
	}
	return records
}

func (d *Decoder) record(c *cursor) Record {
	r := Record{
		Origin:      c.index(),
		Incarnation: c.incarnation(),
		Seq:         c.u32("sequence"),
		Boot:        c.fixed32(),
		PID:         c.u32("pid"),
		Epoch:       c.epoch(),
	}
	flags := c.byte()
	r.Left, r.Out = flags&recordLeft != 0, flags&recordOut != 0
	r.Build = d.buildOf(c)
	n := c.count("accusations", AccusedMax, 2)
	if n == 0 {
		return r
	}
	from := len(d.accused)
	for range n {
		subject := c.index()
		packed := c.number("accused incarnation", 2*IncarnationMax+1)
		d.accused = append(d.accused, Accusation{subject, uint32(packed >> 1), packed&1 != 0})
	}
	r.Accused = d.accused[from:len(d.accused):len(d.accused)]
	return r
}

// buildOf reads a build version without a new string for each instance of a
// fleet that runs one build.
func (d *Decoder) buildOf(c *cursor) string {
	b := c.bytes("build", BuildMax)
	if string(b) != d.build { // does not allocate
		if !utf8.Valid(b) {
			c.fail("build is not UTF-8")
			return ""
		}
		d.build = string(b)
	}
	return d.build
}

func relay(c *cursor) *Relay {
	r := &Relay{From: c.index(), To: c.index(), Relayed: c.flag()}
	frame := c.bytes("relayed frame", FrameMax)
	switch {
	case c.fault != "":
	case !mayRide(frame):
		c.fail("what is relayed may not ride")
	default:
		r.Frame = append([]byte(nil), frame...)
	}
	return r
}

// mayRide reports whether a relay may carry the frame: the particle, and what
// voters say to each other.
func mayRide(frame []byte) bool {
	return len(frame) > 0 && (Kind(frame[0]) == KindParticle || Kind(frame[0]) == KindRaft)
}
