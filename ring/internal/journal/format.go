package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/wire"
)

// Both files, integers big-endian, begin with a head. Magic, version, length
// and the checksum keep their places in every version to come, so that a newer
// file is told from a damaged one.
//
//	8 magic · 2 version · 4 payload length · payload · 4 CRC32C of all before ·
//	zeroes to a multiple of 8
//	payload: 1 length, ring · 1 length, instance · 8 generation
//
// A snapshot file goes on with one raftpb.Snapshot; the log that names it says
// its length and CRC32C. A log goes on with records, each at a multiple of 8:
//
//	4 CRC32C of all that follows · 4 payload length · 4 number of the group ·
//	1 kind · 3 zeroes · payload · zeroes to a multiple of 8
//	payload by kind:
//	identity  16 history · 4 era · 8 id · 1 grown (0 or 1; not in version 1: taken for 1)
//	snapshot  8 generation · 8 length · 4 CRC32C
//	hard      raftpb.HardState
//	entry     raftpb.Entry
//	commit    8 length of the file, zeroes included; ends the group
//
// The checksum of a record begins not at 0 but at a value of its offset and of
// the log's generation. Groups are numbered from 1.
const (
	logMagic      = "RINGBLOG"
	snapshotMagic = "RINGSNAP"
	formatVersion = 2

	headFixed  = 8 + 2 + 4
	crcLen     = 4
	headMax    = (headFixed + 2*(1+wire.NameMax) + 8 + crcLen + align - 1) / align * align
	align      = 8
	recordHead = 16

	identityLen    = 16 + 4 + 8 + 1
	identityLenOne = 16 + 4 + 8 // of version 1
	commitLen      = recordHead + 8
)

// Limits. What is longer is refused before it is written, and taken for
// damage when it is read.
const (
	payloadMax  = 68 << 10 // a datum of 64 KiB and what raft puts round it
	snapshotMax = 64 << 20
	logMax      = 1 << 30
)

// errRefused is of a write that Open could not read back: no disk is to blame.
var errRefused = errors.New("BUG: what consensus wrote cannot be kept")

// errFull cannot be while snapshots are taken.
var errFull = fmt.Errorf("%w: more than %d bytes without a snapshot", errRefused, logMax)

const (
	kindIdentity = 1 + iota
	kindSnapshot
	kindHard
	kindEntry
	kindCommit
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// corrupt is the error of bytes that do not hold together.
func corrupt(offset int, why string) error {
	return fmt.Errorf("%w at offset %d (%s); set the directory aside and start again: "+
		"the instance then joins with a new log and learns the old one from its peers",
		ErrCorrupt, offset, why)
}

func appendHead(b []byte, magic string, o Owner, generation uint64) []byte {
	p := make([]byte, 0, headMax)
	p = appendString(p, o.Ring)
	p = appendString(p, o.Instance)
	p = binary.BigEndian.AppendUint64(p, generation)
	start := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	b = append(b, p...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return pad(b, len(b)-start)
}

func appendString(b []byte, s string) []byte {
	if len(s) > wire.NameMax {
		panic("BUG: journal: name longer than wire.NameMax")
	}
	return append(append(b, byte(len(s))), s...)
}

// pad makes n a multiple of align.
func pad(b []byte, n int) []byte {
	var zeroes [align]byte
	return append(b, zeroes[:-n&(align-1)]...)
}

// cutHead checks the head of a file; rest is where it ends.
func cutHead(b []byte, magic string, o Owner) (generation uint64, rest int, err error) {
	if len(b) < headFixed+crcLen {
		return 0, 0, corrupt(0, fmt.Sprintf("only %d bytes long", len(b)))
	}
	if string(b[:len(magic)]) != magic {
		return 0, 0, corrupt(0, "it does not begin as "+magic)
	}
	version := binary.BigEndian.Uint16(b[8:])
	length := binary.BigEndian.Uint32(b[10:])
	if uint64(length) > uint64(len(b)-headFixed-crcLen) {
		return 0, 0, corrupt(10, "its head is longer than the file")
	}
	end := headFixed + int(length)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return 0, 0, corrupt(0, "the checksum of the head is wrong")
	}
	if version > formatVersion {
		return 0, 0, fmt.Errorf("%w: format %d, this build reads up to %d; start the newer build "+
			"again, or set the directory aside", ErrNewer, version, formatVersion)
	}
	if version == 0 {
		return 0, 0, corrupt(8, "format 0 never existed")
	}
	var has Owner
	p := b[headFixed:end]
	has.Ring, p = cutString(p)
	has.Instance, p = cutString(p)
	rest = (end + crcLen + align - 1) / align * align
	if len(p) != 8 || rest > len(b) {
		return 0, 0, corrupt(headFixed, "the fields of the head do not fit its length")
	}
	if has != o {
		return 0, 0, fmt.Errorf("%w: it is of %q of ring %q, this is %q of ring %q; "+
			"point --data at this instance's own directory, or at an empty one",
			ErrForeign, has.Instance, has.Ring, o.Instance, o.Ring)
	}
	return binary.BigEndian.Uint64(p), rest, nil
}

// cutString takes a string off; rest is nil if there is none whole.
func cutString(b []byte) (s string, rest []byte) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:]
}

// reference names a snapshot file and says what is in it.
type reference struct {
	generation uint64 // 0 for none
	length     uint64
	sum        uint32
	of         *raftpb.Snapshot
}

func (r *reference) name() string {
	return snapshotPrefix + strconv.FormatUint(r.generation, 10)
}

func encodeSnapshot(s *raftpb.Snapshot, o Owner, generation uint64) (reference, []byte, error) {
	b := make([]byte, 0, headMax+proto.Size(s))
	b = appendHead(b, snapshotMagic, o, generation)
	head := len(b)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, s)
	body := b[head:]
	return reference{
		generation: generation,
		length:     uint64(len(body)),
		sum:        crc32.Checksum(body, castagnoli),
		of:         s,
	}, b, err
}

// decode reads the snapshot file that r is of.
func (r *reference) decode(b []byte, o Owner) error {
	generation, head, err := cutHead(b, snapshotMagic, o)
	if err != nil {
		return err
	}
	body := b[head:]
	switch {
	case generation != r.generation:
		return corrupt(headFixed, "it is not the one its name says")
	case uint64(len(body)) != r.length || len(body) > snapshotMax:
		return corrupt(head, fmt.Sprintf("%d bytes long, the log says %d", len(body), r.length))
	case crc32.Checksum(body, castagnoli) != r.sum:
		return corrupt(head, "the checksum is wrong")
	}
	r.of = new(raftpb.Snapshot)
	if err := proto.Unmarshal(body, r.of); err != nil {
		return corrupt(head, err.Error())
	}
	return nil
}

// pen writes the records of one group into buf.
type pen struct {
	buf        []byte
	at         int64 // of buf in the file
	generation uint64
	group      uint32
}

// begin starts a log with its head.
func (p *pen) begin(generation uint64, head []byte) {
	*p = pen{buf: head, generation: generation, group: 1}
}

// flushed goes on behind what was written.
func (p *pen) flushed() {
	p.at += int64(len(p.buf))
	p.reset()
}

// next goes on with the next group.
func (p *pen) next() {
	p.flushed()
	p.group++
}

// reset forgets what was not written. A buffer that once was large does not
// stay.
func (p *pen) reset() {
	if p.buf = p.buf[:0]; cap(p.buf) > 2*flushAt {
		p.buf = nil
	}
}

// open leaves room for the head of a record that begins at start.
func (p *pen) open() (start int) {
	start = len(p.buf)
	p.buf = append(p.buf, make([]byte, recordHead)...)
	return start
}

// seal ends the record that begins at start.
func (p *pen) seal(start int, kind byte) {
	length := len(p.buf) - start - recordHead
	p.buf = pad(p.buf, length)
	r := p.buf[start:]
	binary.BigEndian.PutUint32(r[4:], uint32(length))
	binary.BigEndian.PutUint32(r[8:], p.group)
	r[12] = kind
	binary.BigEndian.PutUint32(r, sum(r, p.at+int64(start), p.generation))
}

// sum is the checksum of record r at an offset of the generation-th log. Equal
// bytes at two places of a log never have equal sums: what a CRC begins at is
// not lost on the way.
func sum(r []byte, offset int64, generation uint64) uint32 {
	return crc32.Update(uint32(offset)+uint32(generation)*0x9e3779b9, castagnoli, r[crcLen:])
}

func (p *pen) message(kind byte, m proto.Message) (err error) {
	start := p.open()
	p.buf, err = proto.MarshalOptions{}.MarshalAppend(p.buf, m)
	p.seal(start, kind)
	return err
}

func (p *pen) write(hard *raftpb.HardState, entries []*raftpb.Entry) error {
	if hard != nil {
		if err := p.message(kindHard, hard); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := p.message(kindEntry, e); err != nil {
			return err
		}
	}
	return nil
}

func (p *pen) identity(id consensus.Identity) {
	start := p.open()
	p.buf = append(p.buf, id.History[:]...)
	p.buf = binary.BigEndian.AppendUint32(p.buf, id.Era)
	p.buf = binary.BigEndian.AppendUint64(p.buf, uint64(id.ID))
	grown := byte(0)
	if id.Grown {
		grown = 1
	}
	p.buf = append(p.buf, grown)
	p.seal(start, kindIdentity)
}

func (p *pen) reference(r reference) {
	start := p.open()
	p.buf = binary.BigEndian.AppendUint64(p.buf, r.generation)
	p.buf = binary.BigEndian.AppendUint64(p.buf, r.length)
	p.buf = binary.BigEndian.AppendUint32(p.buf, r.sum)
	p.seal(start, kindSnapshot)
}

func (p *pen) commit(size int64) {
	start := p.open()
	p.buf = binary.BigEndian.AppendUint64(p.buf, uint64(size))
	p.seal(start, kindCommit)
}

// record is one that is whole.
type record struct {
	offset  int
	size    int // with head and padding
	group   uint32
	kind    byte
	payload []byte
}

// cut reads the record at off of a log; ok says that there is a whole one.
func cut(b []byte, off int, generation uint64) (r record, ok bool) {
	if len(b)-off < recordHead {
		return record{}, false
	}
	b = b[off:]
	length := binary.BigEndian.Uint32(b[4:])
	if length > payloadMax || binary.BigEndian.Uint32(b[12:])&0xffffff != 0 {
		return record{}, false
	}
	size := (recordHead + int(length) + align - 1) / align * align
	if size > len(b) || sum(b[:size], int64(off), generation) != binary.BigEndian.Uint32(b) {
		return record{}, false
	}
	return record{
		offset: off, size: size, group: binary.BigEndian.Uint32(b[8:]), kind: b[12],
		payload: b[recordHead : recordHead+int(length)],
	}, true
}

// later finds a whole record of a group after the one named, from off on.
func later(b []byte, off int, generation uint64, group uint32) (at int, ok bool) {
	for ; len(b)-off >= recordHead; off += align {
		// A log has no more groups than room for them: most of what is no
		// record is told here, without a sum.
		n := binary.BigEndian.Uint32(b[off+8:])
		if n <= group || n > uint32(len(b)/commitLen) {
			continue
		}
		if _, ok := cut(b, off, generation); ok {
			return off, true
		}
	}
	return 0, false
}

// contents is what a log says.
type contents struct {
	generation uint64
	saved      consensus.Saved
	snapshot   reference
	end        int // of the last group
}

// replay reads a log; it trusts nothing in it. load reads the snapshot that
// the log names.
func replay(b []byte, o Owner, load func(*reference) error) (c contents, err error) {
	if len(b) > logMax {
		return c, corrupt(logMax, "it is longer than a log may become")
	}
	c.generation, c.end, err = cutHead(b, logMagic, o)
	if err != nil {
		return c, err
	}
	var rs []record
	for group := uint32(1); ; group++ {
		rs, err = cutGroup(b, c.end, c.generation, group, rs[:0])
		if err != nil {
			return c, err
		}
		if len(rs) == 0 {
			return c, nil
		}
		for _, r := range rs {
			if err := c.take(r, load); err != nil {
				return c, err
			}
		}
		last := rs[len(rs)-1]
		c.end = last.offset + last.size
	}
}

// cutGroup collects the records of a group at off: none if it is torn or was
// never begun.
func cutGroup(b []byte, off int, generation uint64, group uint32, rs []record) ([]record, error) {
	for {
		r, ok := cut(b, off, generation)
		if !ok {
			break
		}
		if r.group != group {
			return nil, corrupt(off, fmt.Sprintf("group %d where %d should be", r.group, group))
		}
		rs = append(rs, r)
		if r.kind == kindCommit {
			if r.fits(len(b)) {
				return rs, nil
			}
			break // its bytes are there, the room it made is not
		}
		off += r.size
	}
	if group == 1 {
		return nil, corrupt(off, "what the log began with is not whole")
	}
	if at, ok := later(b, off, generation, group); ok {
		return nil, corrupt(off, fmt.Sprintf(
			"a record is not whole, and one written after it, at %d, is", at))
	}
	return nil, nil
}

// fits says of a commit that the file is as long as it was to be then.
func (r record) fits(length int) bool {
	return len(r.payload) == 8 && binary.BigEndian.Uint64(r.payload) <= uint64(length)
}

// take applies one record.
func (c *contents) take(r record, load func(*reference) error) error {
	p := r.payload
	w := consensus.Write{}
	switch {
	case r.kind == kindIdentity && (len(p) == identityLenOne || len(p) == identityLen && p[identityLenOne] <= 1):
		w.Identity = &consensus.Identity{
			History: consensus.History(p[:16]),
			Era:     binary.BigEndian.Uint32(p[16:]),
			ID:      consensus.RaftID(binary.BigEndian.Uint64(p[20:])),
			Grown:   len(p) == identityLenOne || p[identityLenOne] == 1,
		}
	case r.kind == kindSnapshot && len(p) == 20 && c.snapshot.of == nil:
		c.snapshot = reference{
			generation: binary.BigEndian.Uint64(p),
			length:     binary.BigEndian.Uint64(p[8:]),
			sum:        binary.BigEndian.Uint32(p[16:]),
		}
		if err := load(&c.snapshot); err != nil {
			return err
		}
		w.Snapshot = c.snapshot.of
	case r.kind == kindHard:
		w.Hard = new(raftpb.HardState)
		if err := proto.Unmarshal(p, w.Hard); err != nil {
			return corrupt(r.offset, err.Error())
		}
	case r.kind == kindEntry:
		e := new(raftpb.Entry)
		if err := proto.Unmarshal(p, e); err != nil {
			return corrupt(r.offset, err.Error())
		}
		w.Entries = []*raftpb.Entry{e}
	case r.kind == kindCommit:
		return nil
	default:
		return corrupt(r.offset, fmt.Sprintf("a record of kind %d and %d bytes", r.kind, len(p)))
	}
	if err := apply(&c.saved, &w); err != nil {
		return corrupt(r.offset, err.Error())
	}
	return nil
}
