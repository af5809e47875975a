package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"ringofservers.dev/ring/internal/wire"
)

// The file, integers big-endian. Magic, version, length and the checksum at
// the end keep their places in every version to come, so that a newer file is
// told from a damaged one.
//
//	8 magic · 2 version · 4 payload length · payload · 4 CRC32C of all before
//	payload of version 3 (2 has no names, 1 no number and no tick either):
//	1 length, ring · 1 length, instance · 32 roster hash · 4 incarnation ·
//	8 epoch counter · 4 epoch dropper · 8 epoch number · 8 tick ·
//	4 number of names · 32 their hash
const (
	magic         = "RINGDATA"
	formatVersion = 3
	headLen       = len(magic) + 2 + 4
	crcLen        = 4
	payloadMax    = 2*(1+wire.NameMax) + fixedLen
	fixedLen      = fixedLenTwo + 4 + 32
	fixedLenTwo   = fixedLenOne + 8 + 8
	fixedLenOne   = 32 + 4 + 8 + 4
	fileMax       = 64 << 10 // bytes read at most; a newer payload may be longer than ours
)

// state is the content of the file.
type state struct {
	id    Identity
	saved Saved
}

func (st state) encode() []byte {
	p := make([]byte, 0, payloadMax)
	p = appendString(p, st.id.Ring)
	p = appendString(p, st.id.Instance)
	p = append(p, st.id.Roster[:]...)
	p = binary.BigEndian.AppendUint32(p, st.saved.Incarnation)
	p = binary.BigEndian.AppendUint64(p, st.saved.Epoch.Counter)
	p = binary.BigEndian.AppendUint32(p, st.saved.Epoch.Dropper)
	p = binary.BigEndian.AppendUint64(p, st.saved.Epoch.Number)
	p = binary.BigEndian.AppendUint64(p, st.saved.Ceiling)
	p = binary.BigEndian.AppendUint32(p, st.id.Count)
	p = append(p, st.id.Names[:]...)
	return envelope(formatVersion, p)
}

// envelope puts what is common to all versions round a payload.
func envelope(version uint16, payload []byte) []byte { return frame(magic, version, payload) }

// frame does so for a file of that magic.
func frame(magic string, version uint16, payload []byte) []byte {
	b := make([]byte, 0, headLen+len(payload)+crcLen)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, checksum(b))
}

func checksum(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

func appendString(b []byte, s string) []byte {
	if len(s) > wire.NameMax {
		panic("BUG: store: name longer than wire.NameMax")
	}
	return append(append(b, byte(len(s))), s...)
}

// torn is the error of a file that does not hold together.
func torn(why string) error { return fmt.Errorf("%w (%s)", ErrTorn, why) }

// decode reads the state; it trusts nothing in it.
func decode(b []byte) (state, error) {
	version, p, err := unframe(magic, formatVersion, b)
	var st state
	if err == nil {
		st, err = decodePayload(version, p)
	}
	if errors.Is(err, ErrTorn) {
		err = fmt.Errorf("%w; move it away and start again: "+
			"the instance then learns its incarnation and the epoch from its peers", err)
	}
	return st, err
}

// unframe reads what frame wrote, of a version up to newest.
func unframe(magic string, newest uint16, b []byte) (uint16, []byte, error) {
	if len(b) < headLen+crcLen {
		return 0, nil, torn(fmt.Sprintf("only %d bytes long", len(b)))
	}
	if string(b[:len(magic)]) != magic {
		return 0, nil, torn("it does not begin as a data file of a ring")
	}
	version := binary.BigEndian.Uint16(b[len(magic):])
	length := binary.BigEndian.Uint32(b[len(magic)+2:])
	if uint64(len(b)) != uint64(headLen)+uint64(length)+crcLen {
		return 0, nil, torn(fmt.Sprintf("%d bytes long, its header says otherwise", len(b)))
	}
	body, sum := b[:len(b)-crcLen], binary.BigEndian.Uint32(b[len(b)-crcLen:])
	if checksum(body) != sum {
		return 0, nil, torn("the checksum is wrong")
	}
	if version > newest {
		return 0, nil, fmt.Errorf("%w: format %d, this build reads up to %d; "+
			"start the newer build again, or move the file away", ErrNewer, version, newest)
	}
	if version == 0 {
		return 0, nil, torn("format 0 never existed")
	}
	return version, body[headLen:], nil
}

func decodePayload(version uint16, p []byte) (st state, err error) {
	var ok1, ok2 bool
	st.id.Ring, p, ok1 = cutString(p)
	st.id.Instance, p, ok2 = cutString(p)
	want := [...]int{1: fixedLenOne, 2: fixedLenTwo, 3: fixedLen}[version]
	if !ok1 || !ok2 || len(p) != want {
		return state{}, torn("its fields do not fit its length")
	}
	copy(st.id.Roster[:], p)
	st.saved.Incarnation = binary.BigEndian.Uint32(p[32:])
	st.saved.Epoch.Counter = binary.BigEndian.Uint64(p[36:])
	st.saved.Epoch.Dropper = binary.BigEndian.Uint32(p[44:])
	if version > 1 {
		st.saved.Epoch.Number = binary.BigEndian.Uint64(p[48:])
		st.saved.Ceiling = binary.BigEndian.Uint64(p[56:])
	}
	if version > 2 {
		st.id.Count = binary.BigEndian.Uint32(p[64:])
		copy(st.id.Names[:], p[68:])
	}
	return st, nil
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
