package ring

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

// A backup, integers big-endian. Magic, version, length and the checksum at the
// end keep their places in every version to come, so that a newer one is told from
// a damaged one. The version is raised too when an older build cannot read the state.
//
//	8 magic · 2 version · 4 payload length · payload · 4 CRC32C of all before
//	payload: 1 length, ring · 16 history · 8 revision · 4 keys · 8 time taken, in
//	seconds since 1970 · 1 length, instance · state, as consensus takes it
const (
	backupMagic   = "RINGBKUP"
	backupVersion = 1
	backupHead    = len(backupMagic) + 2 + 4
	backupCRC     = 4
	backupFixed   = 16 + 8 + 4 + 8

	// takenMax is in the year 6325: years over 9999 could not be shown as JSON.
	takenMax = 1 << 37
)

// BackupMax is how long a backup is at most, in bytes: the largest state that a
// log keeps, and what is put round it.
const BackupMax = 64<<20 + 1<<10

// BackupInfo says what is in a backup.
type BackupInfo struct {
	Ring     string    `json:"ring"`
	History  string    `json:"history"`
	Revision uint64    `json:"revision"` // it has all up to this one
	Keys     int       `json:"keys"`
	Taken    time.Time `json:"taken"`    // by the clock of the host it was taken at
	Instance Name      `json:"instance"` // where it was taken
}

// ReadBackup checks what [Bus.Backup], `ring bus backup`, or an instance that gave up
// what it had (a file bus.given-up-…) has written, and says what is in it. The error
// says what to do.
func ReadBackup(b []byte) (BackupInfo, error) {
	read, err := readBackup(b)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("ring: read the backup: %w", err)
	}
	return read.info(), nil
}

// CheckRing refuses a backup for a ring that it is not of.
func (i BackupInfo) CheckRing(name string) error {
	if i.Ring != name {
		return fmt.Errorf("it is of ring %s, and this is ring %s: restore it there, or use "+
			"a backup of %s", i.Ring, name, name)
	}
	return nil
}

// backup is the content of one.
type backup struct {
	ring     string
	history  wire.History
	revision uint64
	keys     uint32
	taken    uint64
	instance string
	state    []byte
}

// newBackup looks into a state for what is to be said of it.
func newBackup(ring string, at Name, h wire.History, state []byte) (backup, error) {
	var s raftpb.Snapshot
	err := proto.Unmarshal(state, &s)
	if err != nil {
		return backup{}, fmt.Errorf("read what the bus holds: %w", err)
	}
	has, err := bus.Restore(s.GetData())
	if err != nil {
		return backup{}, fmt.Errorf("read what the bus holds: %w", err)
	}
	return backup{
		ring: ring, history: h, revision: has.Applied(), keys: uint32(has.Len()),
		taken: uint64(max(0, time.Now().Unix())), instance: string(at), state: state,
	}, nil
}

func (b *backup) info() BackupInfo {
	return BackupInfo{
		Ring: b.ring, History: hex.EncodeToString(b.history[:]), Revision: b.revision,
		Keys: int(b.keys), Taken: time.Unix(int64(b.taken), 0), Instance: Name(b.instance),
	}
}

func (b *backup) encode() []byte {
	p := make([]byte, 0, 2*(1+wire.NameMax)+backupFixed+len(b.state))
	p = appendName(p, b.ring)
	p = append(p, b.history[:]...)
	p = binary.BigEndian.AppendUint64(p, b.revision)
	p = binary.BigEndian.AppendUint32(p, b.keys)
	p = binary.BigEndian.AppendUint64(p, b.taken)
	p = appendName(p, b.instance)
	return backupFrame(backupVersion, append(p, b.state...))
}

// backupFrame puts what is common to all versions round a payload.
func backupFrame(version uint16, payload []byte) []byte {
	b := make([]byte, 0, backupHead+len(payload)+backupCRC)
	b = append(b, backupMagic...)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, backupSum(b))
}

func backupSum(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

func appendName(b []byte, s string) []byte {
	if len(s) > wire.NameMax {
		panic("BUG: ring: name longer than wire.NameMax")
	}
	return append(append(b, byte(len(s))), s...)
}

// damaged is the error of a backup that does not hold together.
func damaged(why string) error {
	return fmt.Errorf("it is damaged (%s): bring it here once more, or use another one", why)
}

// readBackup reads one; it trusts nothing in it.
func readBackup(b []byte) (backup, error) {
	if !bytes.HasPrefix(b, []byte(backupMagic)) {
		return backup{}, errors.New("it is no backup of a bus: give a file that `ring bus backup` " +
			"has written, or a bus.given-up-… of a data directory")
	}
	if len(b) < backupHead+backupCRC {
		return backup{}, damaged(fmt.Sprintf("only %d bytes long", len(b)))
	}
	version := binary.BigEndian.Uint16(b[len(backupMagic):])
	length := binary.BigEndian.Uint32(b[len(backupMagic)+2:])
	if len(b) > BackupMax || uint64(len(b)) != uint64(backupHead)+uint64(length)+backupCRC {
		return backup{}, damaged(fmt.Sprintf("%d bytes long, its header says otherwise", len(b)))
	}
	body, sum := b[:len(b)-backupCRC], binary.BigEndian.Uint32(b[len(b)-backupCRC:])
	switch {
	case backupSum(body) != sum:
		return backup{}, damaged("the checksum is wrong")
	case version > backupVersion:
		return backup{}, fmt.Errorf("it is of a newer version: format %d, this build reads up to %d; "+
			"restore it with the build that wrote it, or a newer one", version, backupVersion)
	case version == 0:
		return backup{}, damaged("format 0 never existed")
	}
	return cutBackup(body[backupHead:])
}

// cutBackup reads the payload of a version that this build knows.
func cutBackup(p []byte) (b backup, err error) {
	misfit := damaged("its fields do not fit its length")
	var ok bool
	if b.ring, p, ok = cutName(p); !ok || len(p) < backupFixed {
		return backup{}, misfit
	}
	p = p[copy(b.history[:], p):]
	b.revision = binary.BigEndian.Uint64(p)
	b.keys = binary.BigEndian.Uint32(p[8:])
	b.taken = binary.BigEndian.Uint64(p[12:])
	if b.instance, b.state, ok = cutName(p[20:]); !ok || b.taken > takenMax {
		return backup{}, misfit
	}
	if b.history == (wire.History{}) || b.revision == 0 {
		return backup{}, errors.New("it is of no history, and holds nothing: use one that was taken " +
			"at an instance whose `ring bus status` shows a revision")
	}
	return b, nil
}

// cutName takes a name off. Anything else would be a surprise on a terminal.
func cutName(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	s = string(b[1:n])
	return s, b[n:], roster.CheckName(s) == nil
}

// Backup returns all that the bus holds, as this instance has it, for Restore and
// ReadBackup. It needs no quorum, and may be behind where there is none. It fails
// with ErrNotFound where this instance has nothing yet.
func (b *Bus) Backup() ([]byte, error) {
	h, state := b.state()
	read, err := newBackup(b.r.cfg.Ring, b.r.cfg.Name, h, state)
	if err != nil {
		return nil, fmt.Errorf("ring: back up: %w", err)
	}
	if h == (wire.History{}) || read.revision == 0 {
		return nil, fmt.Errorf("%w: %s has no history of the bus yet, and nothing to back up; ask "+
			"another instance, or wait until most of the voters have met", ErrNotFound, b.r.cfg.Name)
	}
	text := read.encode()
	if len(text) > BackupMax {
		return nil, fmt.Errorf("%w: back up: it would be longer than %d bytes, and no build would "+
			"restore it; delete some keys", ErrRefused, BackupMax)
	}
	return text, nil
}

// state is what this instance has, and of which history: the one that it was of both
// before and after.
func (b *Bus) state() (wire.History, []byte) {
	for {
		h := b.r.node.Bus().History
		if state := b.r.node.Backup(); b.r.node.Bus().History == h {
			return h, state
		}
	}
}
