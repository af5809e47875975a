package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// HeaderLen is the length of a frame's length field in bytes.
const HeaderLen = 4

// Fixed payload widths in bytes, without the kind byte.
const (
	beatLen     = 36
	particleLen = 82 // without its stamps
	stampLen    = 3
)

// Append adds m to dst as one whole frame, header included, and returns the
// longer slice, as append does. Build versions and texts for people that are
// too long are cut at a character; anything else over a limit is a broken
// invariant of the caller, and Append panics.
func Append(dst []byte, m Msg) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(m.Kind()))
	switch m := m.(type) {
	case *Particle:
		dst = appendParticle(dst, m)
	case *Beat:
		dst = appendBeat(dst, m)
	case *Hello:
		dst = appendHello(dst, m)
	case *Refuse:
		dst = append(dst, byte(m.Code))
		dst = appendText(dst, m.Text, TextMax)
	case *Flood:
		dst = appendFlood(dst, m)
	case *Cut:
		dst = appendMarks(dst, m.Marks)
	case *Sync:
		dst = appendRank(dst, m.Rank)
		dst = appendMarks(dst, m.Down)
	case *Relay:
		dst = appendRelay(dst, m)
	case *Hurry:
		dst = appendHurry(dst, m)
	case *Bye:
		dst = appendText(dst, m.Text, TextMax)
	default:
		var ok bool
		if dst, ok = appendBus(dst, m); !ok {
			dst, ok = appendCast(dst, m)
		}
		if !ok {
			dst, ok = appendBulk(dst, m)
		}
		if !ok {
			dst, ok = appendSealed(dst, m)
		}
		if !ok {
			panic(fmt.Sprintf("BUG: wire: %T is no message", m))
		}
	}
	length := len(dst) - start - HeaderLen
	if length > FrameMax+1 {
		panic(fmt.Sprintf("BUG: wire: %T takes %d bytes, more than %d", m, length, FrameMax+1))
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(length))
	return dst
}

// RecordSize returns how many bytes r takes in a Flood, so that whoever fills
// one can stop before FrameMax. A Flood adds 3 bytes of its own.
func RecordSize(r *Record) int {
	n := recordLen(r)
	return uvarintLen(uint64(n)) + n
}

// Bits of a record's flag byte; a newer peer may set others.
const (
	recordLeft = 1 << iota
	recordOut
)

func appendParticle(dst []byte, p *Particle) []byte {
	dst = appendEpoch(dst, p.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, p.Lap)
	dst = binary.BigEndian.AppendUint64(dst, p.Base)
	dst = binary.BigEndian.AppendUint64(dst, p.Limit)
	dst = binary.BigEndian.AppendUint64(dst, p.HeldUS)
	dst = binary.BigEndian.AppendUint32(dst, p.AgeUS)
	dst = binary.BigEndian.AppendUint32(dst, p.SlowStop)
	dst = binary.BigEndian.AppendUint32(dst, p.SlowUS)
	dst = binary.BigEndian.AppendUint32(dst, p.WasStop)
	dst = binary.BigEndian.AppendUint32(dst, p.WasUS)
	dst = binary.BigEndian.AppendUint64(dst, p.Conf)
	dst = appendFlag(dst, p.Anchored)
	dst = append(dst, p.Voters)
	for _, s := range p.Stamps[:p.Voters] {
		dst = binary.BigEndian.AppendUint16(dst, s.Voter)
		dst = append(dst, byte(s.Role))
	}
	dst = appendTrain(dst, p.Line, p.Train, p.Roster.Version > 0)
	if p.Roster.Version > 0 {
		dst = binary.AppendUvarint(dst, p.Roster.Version)
		dst = binary.AppendUvarint(dst, p.Roster.Low)
		dst = binary.AppendUvarint(dst, p.Roster.Was)
	}
	return dst
}

func appendEpoch(dst []byte, e Epoch) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.Number)
	dst = binary.BigEndian.AppendUint64(dst, e.Counter)
	return binary.BigEndian.AppendUint32(dst, e.Dropper)
}

func appendBeat(dst []byte, b *Beat) []byte {
	dst = binary.BigEndian.AppendUint32(dst, b.Seq)
	dst = binary.BigEndian.AppendUint32(dst, b.Echo)
	dst = binary.BigEndian.AppendUint32(dst, b.EchoAgeUS)
	dst = binary.BigEndian.AppendUint32(dst, b.Records)
	dst = binary.BigEndian.AppendUint32(dst, b.View)
	dst = appendRank(dst, b.Rank)
	dst = binary.BigEndian.AppendUint32(dst, b.You.Incarnation)
	dst = append(dst, byte(b.You.State))
	dst = binary.BigEndian.AppendUint32(dst, b.You.Boot)
	return binary.BigEndian.AppendUint16(dst, b.You.Damped)
}

func appendRank(dst []byte, r Rank) []byte {
	dst = appendFlag(dst, r.Quorum)
	dst = binary.BigEndian.AppendUint16(dst, r.Alive)
	return binary.BigEndian.AppendUint16(dst, r.Min)
}

func appendHello(dst []byte, h *Hello) []byte {
	within("roster size", uint64(h.Size), RosterMax)
	within("linked", uint64(h.Linked), RosterMax)
	dst = binary.AppendUvarint(dst, uint64(h.Version))
	dst = appendName(dst, h.Ring)
	dst = append(dst, h.Roster[:]...)
	dst = binary.AppendUvarint(dst, uint64(h.Size))
	dst = binary.AppendUvarint(dst, uint64(h.Linked))
	dst = appendIndex(dst, h.From)
	dst = appendIndex(dst, h.To)
	dst = appendName(dst, h.FromName)
	dst = binary.AppendUvarint(dst, uint64(h.Incarnation))
	dst = binary.BigEndian.AppendUint32(dst, h.Boot)
	dst = binary.AppendUvarint(dst, uint64(h.PID))
	dst = appendText(dst, h.Build, BuildMax)
	dst = binary.AppendUvarint(dst, uint64(h.Was))
	dst = binary.AppendUvarint(dst, h.Floor)
	dst = binary.AppendUvarint(dst, beatLen)
	dst = appendBeat(dst, &h.Beat)
	if ProtocolVersion < 2 { // a build that stands for the version before
		return dst
	}
	return appendPast(dst, h)
}

// appendPast writes what a Hello says of earlier rosters, nothing where that is nothing.
func appendPast(dst []byte, h *Hello) []byte {
	within("past rosters", uint64(len(h.Past)), PastMax)
	dst = binary.AppendUvarint(dst, h.RosterVersion)
	dst = binary.AppendUvarint(dst, uint64(len(h.Past)))
	for _, p := range h.Past {
		dst = append(dst, p[:]...)
	}
	return dst
}

func appendFlood(dst []byte, f *Flood) []byte {
	within("records", uint64(len(f.Records)), RecordsMax)
	dst = binary.AppendUvarint(dst, uint64(len(f.Records)))
	for i := range f.Records {
		r := &f.Records[i]
		dst = binary.AppendUvarint(dst, uint64(recordLen(r)))
		dst = appendRecord(dst, r)
	}
	return dst
}

func appendRecord(dst []byte, r *Record) []byte {
	within("accusations", uint64(len(r.Accused)), AccusedMax)
	dst = appendIndex(dst, r.Origin)
	dst = binary.AppendUvarint(dst, uint64(r.Incarnation))
	dst = binary.AppendUvarint(dst, uint64(r.Seq))
	dst = binary.BigEndian.AppendUint32(dst, r.Boot)
	dst = binary.AppendUvarint(dst, uint64(r.PID))
	dst = binary.AppendUvarint(dst, r.Epoch.Number)
	dst = binary.AppendUvarint(dst, r.Epoch.Counter)
	dst = binary.AppendUvarint(dst, uint64(r.Epoch.Dropper))
	flags := byte(0)
	if r.Left {
		flags |= recordLeft
	}
	if r.Out {
		flags |= recordOut
	}
	dst = append(dst, flags)
	dst = appendText(dst, r.Build, BuildMax)
	dst = binary.AppendUvarint(dst, uint64(len(r.Accused)))
	for _, a := range r.Accused {
		dst = appendIndex(dst, a.Subject)
		dst = binary.AppendUvarint(dst, incarnationAndProof(a))
	}
	return dst
}

// recordLen is the length of what appendRecord writes.
func recordLen(r *Record) int {
	build := len(presentable(r.Build, BuildMax))
	n := uvarintLen(uint64(r.Origin)) + uvarintLen(uint64(r.Incarnation)) +
		uvarintLen(uint64(r.Seq)) + 4 + uvarintLen(uint64(r.PID)) +
		uvarintLen(r.Epoch.Number) + uvarintLen(r.Epoch.Counter) + uvarintLen(uint64(r.Epoch.Dropper)) + 1 +
		uvarintLen(uint64(build)) + build + uvarintLen(uint64(len(r.Accused)))
	for _, a := range r.Accused {
		n += uvarintLen(uint64(a.Subject)) + uvarintLen(incarnationAndProof(a))
	}
	return n
}

// incarnationAndProof packs both into one varint: proof is the lowest bit.
func incarnationAndProof(a Accusation) uint64 {
	v := uint64(a.Incarnation) << 1
	if a.Proof {
		v |= 1
	}
	return v
}

func appendMarks(dst []byte, marks []Mark) []byte {
	within("marks", uint64(len(marks)), MarksMax)
	dst = binary.AppendUvarint(dst, uint64(len(marks)))
	for _, m := range marks {
		dst = appendIndex(dst, m.Subject)
		dst = binary.AppendUvarint(dst, uint64(m.Incarnation))
	}
	return dst
}

func appendRelay(dst []byte, r *Relay) []byte {
	if !mayRide(r.Frame) {
		panic("BUG: wire: a relay carries what may not ride")
	}
	dst = appendIndex(dst, r.From)
	dst = appendIndex(dst, r.To)
	dst = appendFlag(dst, r.Relayed)
	dst = binary.AppendUvarint(dst, uint64(len(r.Frame)))
	return append(dst, r.Frame...)
}

func appendIndex(dst []byte, i uint32) []byte {
	within("index", uint64(i), RosterMax-1)
	return binary.AppendUvarint(dst, uint64(i))
}

func appendName(dst []byte, s string) []byte {
	within("bytes of a name", uint64(len(s)), NameMax)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendText(dst []byte, s string, bytesMax int) []byte {
	s = presentable(s, bytesMax)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendFlag(dst []byte, set bool) []byte {
	if set {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// presentable makes s valid UTF-8 of at most bytesMax bytes.
func presentable(s string, bytesMax int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	if len(s) <= bytesMax {
		return s
	}
	end := bytesMax
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func within(what string, v, most uint64) {
	if v > most {
		panic(fmt.Sprintf("BUG: wire: %s is %d, more than %d", what, v, most))
	}
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
