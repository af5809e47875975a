// Package journal keeps what consensus must not forget: the log of an
// instance, durable before anything that follows from it is said.
//
//	DIR/bus/log           header · records, in groups · zeroes to write over
//	DIR/bus/log.new       the next one, until it is whole and synced
//	DIR/bus/snapshot.N    the state at an index, written with the N-th log
//
// DIR is an instance's data directory, which package store has locked.
//
// An Append is one group of records, one write and one sync; the room it takes
// was written before, so that the file system has nothing but its bytes to
// make durable. It is on disk whole or, if power is lost, not at all. When a
// new identity or a snapshot begins, or most of the log is void, what is still
// needed is written into a new log, which a rename puts in the place of the
// old one; a snapshot has a file of its own, which is whole before the log
// that names it. So there is one log at any time, about twice as long as
// what is needed, and 4 MiB, at most. Open does the same, and so has proved when it returns that
// the directory can be written and that all it read is durable.
//
// # A torn tail, and damage
//
// Nothing is written behind a group before it is synced. So a loss of power
// spoils the last group at most, one nobody was told of, and it may spoil any
// part of it: sectors reach a disk in any order. The rule is therefore:
//
//   - the log ends at the first record that is not whole, and the group it is
//     of is cut off, if no whole record of a later group follows anywhere;
//   - if one follows, a synced group was damaged: ErrCorrupt. So is damage to
//     the first group, which was synced before its file had its name, and to a
//     snapshot. A group that says how long it made the file is not whole in a
//     shorter one.
//
// To look for later records behind a damage, each must tell by itself that it
// is one: its checksum covers its place in the file, the log's number and the
// group's, so that neither stale bytes nor a record inside a datum pass for
// one. Close writes a group of its own, so that damage to the last group of a
// process that ended in order is seen too. What cannot be told is a synced
// last group rotten on the disk after a loss of power from one that never got
// there (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
// Storage", FAST'18, section 3.3.3): it is cut off.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"ringofservers.dev/ring/internal/consensus"
)

// Names inside the data directory, and inside busDir.
const (
	busDir         = "bus"
	logFile        = "log"
	nextFile       = "log.new"
	snapshotPrefix = "snapshot."
)

const (
	// room is how much is written ahead of the records. On a disk whose sync
	// takes half a millisecond, writing over what is there takes a fifth less
	// than into a hole or an allocated but unwritten range.
	room = 256 << 10
	// slack is how much of a log may be void before anybody counts.
	slack = 4 << 20
	// flushAt bounds the memory a new log takes to write.
	flushAt = 1 << 20
)

// sizes are room and slack: less in tests, to come to what they are about.
type sizes struct{ room, slack int64 }

// What can be wrong with a log. Each comes wrapped in a text that names the
// file and ends with what to do.
var (
	ErrCorrupt = errors.New("log is damaged")
	ErrForeign = errors.New("log belongs to another instance")
	ErrNewer   = errors.New("log was written by a newer version")
)

// ErrBroken is what a journal answers after an error: what a failed sync left
// on the disk nobody can tell, and a later one does not bring it back.
var ErrBroken = errors.New("log takes no more after an error")

// Owner says whose log a directory holds.
type Owner struct {
	Ring     string
	Instance string
}

// Journal is an open log. Its methods must not be called at the same time.
type Journal struct {
	disk  disk
	dir   string
	owner Owner
	sizes

	state      consensus.Saved // what is on disk, to write into the next log
	snapshot   reference       // where state.Snapshot is
	generation uint64          // of the log

	log     file
	size    int64 // of the file, zeroes included
	compact int64 // the size to count at what is void
	pen     pen
	zeroes  []byte
	broken  error
}

// Open takes the log in the data directory dir, making one if there is none,
// and returns all that was written to it.
func Open(dir string, o Owner) (*Journal, consensus.Saved, error) {
	d, err := openDisk(dir)
	if err != nil {
		return nil, consensus.Saved{}, err
	}
	return open(d, filepath.Join(dir, busDir), o, sizes{room, slack})
}

func open(d disk, dir string, o Owner, s sizes) (*Journal, consensus.Saved, error) {
	j := &Journal{disk: d, dir: dir, owner: o, sizes: s, zeroes: make([]byte, s.room)}
	err := j.read()
	if err == nil {
		if err = j.renew(); err != nil {
			err = j.unsaved(err)
		}
	}
	if err != nil {
		return nil, consensus.Saved{}, errors.Join(err, j.release())
	}
	return j, *j.state.Clone(), nil
}

// read takes over what is on disk.
func (j *Journal) read() error {
	b, err := j.disk.read(logFile, logMax)
	if errors.Is(err, fs.ErrNotExist) {
		return j.absent()
	}
	if err != nil {
		return fmt.Errorf("read log in %s: %w", j.dir, err)
	}
	c, err := replay(b, j.owner, j.load)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(j.dir, logFile), err)
	}
	j.state, j.snapshot, j.generation = c.saved, c.snapshot, c.generation
	return nil
}

// absent tells a new directory from one that lost its log: a log is there
// before the first snapshot, and is never away.
func (j *Journal) absent() error {
	names, err := j.disk.names()
	if err != nil {
		return fmt.Errorf("list %s: %w", j.dir, err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, snapshotPrefix) {
			return fmt.Errorf("%s: %w", filepath.Join(j.dir, logFile),
				corrupt(0, "it is missing, and "+n+" is there"))
		}
	}
	return nil
}

// Append puts ws on disk, in order, and returns when they will survive a loss
// of power: all of them, or after an error perhaps none; then the journal takes
// no more. What ws point to must not be changed afterwards.
func (j *Journal) Append(ws []consensus.Write) error {
	if j.broken != nil {
		return fmt.Errorf("%s: %w (%w); start this instance again", j.dir, ErrBroken, j.broken)
	}
	if err := j.append(ws); err != nil {
		j.broken = err
		return j.unsaved(err)
	}
	return nil
}

func (j *Journal) append(ws []consensus.Write) error {
	renew := false
	j.pen.reset()
	for i := range ws {
		w := &ws[i]
		if err := check(w); err != nil {
			return err
		}
		if err := apply(&j.state, w); err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		if renew = renew || w.Identity != nil || w.Snapshot != nil; renew {
			continue
		}
		if err := j.pen.write(w.Hard, w.Entries); err != nil {
			return err
		}
	}
	if renew {
		return j.renew()
	}
	if len(j.pen.buf) == 0 {
		return nil
	}
	return j.commit()
}

// commit ends the group and makes it durable.
func (j *Journal) commit() error {
	end := j.pen.at + int64(len(j.pen.buf)) + commitLen
	if end > j.compact {
		// Counting costs as much as what is counted; it is done again when as
		// much has been written.
		if j.compact = j.bound(j.live()); end > j.compact {
			return j.renew()
		}
	}
	grow := end > j.size
	if grow {
		j.size = end + j.room
	}
	if j.size > logMax {
		return errFull
	}
	j.pen.commit(j.size)
	if _, err := j.log.WriteAt(j.pen.buf, j.pen.at); err != nil {
		return err
	}
	if grow {
		if _, err := j.log.WriteAt(j.zeroes, end); err != nil {
			return err
		}
	}
	if err := j.log.Sync(); err != nil {
		return err
	}
	j.pen.next()
	return nil
}

// bound is how long a log may become of which live bytes are needed.
func (j *Journal) bound(live int64) int64 { return 2*live + j.slack }

// live is about how many bytes of the log are needed.
func (j *Journal) live() (n int64) {
	for _, e := range j.state.Entries {
		n += recordHead + int64(proto.Size(e))
	}
	return n
}

// renew writes a log of what is needed and puts it in the place of the old one.
func (j *Journal) renew() error {
	generation := j.generation + 1
	if err := j.keep(generation); err != nil {
		return err
	}
	if err := j.rewrite(generation); err != nil {
		return err
	}
	// Closed first: not every system renames over what is open.
	if j.log != nil {
		if err := j.log.Close(); err != nil {
			return err
		}
		j.log = nil
	}
	if err := j.disk.rename(nextFile, logFile); err != nil {
		return err
	}
	if err := j.disk.sync(); err != nil {
		return err
	}
	j.generation, j.compact = generation, j.bound(j.pen.at)
	j.clean()
	var err error
	j.log, err = j.disk.open(logFile)
	return err
}

// keep puts the snapshot into a file, unless it is in one.
func (j *Journal) keep(generation uint64) error {
	switch s := j.state.Snapshot; {
	case s == nil:
		j.snapshot = reference{}
		return nil
	case s == j.snapshot.of:
		return nil
	default:
		r, b, err := encodeSnapshot(s, j.owner, generation)
		if err != nil {
			return err
		}
		f, err := j.disk.create(r.name())
		if err != nil {
			return err
		}
		_, err = f.WriteAt(b, 0)
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		j.snapshot = r
		return j.disk.sync()
	}
}

// load reads the snapshot that r names.
func (j *Journal) load(r *reference) error {
	b, err := j.disk.read(r.name(), snapshotMax+headMax)
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(0, r.name()+", which it names, is missing")
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.name(), err)
	}
	if err := r.decode(b, j.owner); err != nil {
		return fmt.Errorf("%s: %w", r.name(), err)
	}
	return nil
}

// rewrite makes the next log durable under its name until then, with the pen
// behind its first group.
func (j *Journal) rewrite(generation uint64) error {
	f, err := j.disk.create(nextFile)
	if err != nil {
		return err
	}
	if err := errors.Join(j.fill(f, generation), f.Close()); err != nil {
		return err
	}
	return nil
}

func (j *Journal) fill(f file, generation uint64) error {
	p := &j.pen
	p.begin(generation, appendHead(p.buf[:0], logMagic, j.owner, generation))
	p.identity(j.state.Identity)
	if j.state.Snapshot != nil {
		p.reference(j.snapshot)
	}
	if err := p.write(j.state.Hard, nil); err != nil {
		return err
	}
	for i := range j.state.Entries {
		if err := p.write(nil, j.state.Entries[i:i+1]); err != nil {
			return err
		}
		if len(p.buf) >= flushAt {
			if _, err := f.WriteAt(p.buf, p.at); err != nil {
				return err
			}
			p.flushed()
		}
	}
	end := p.at + int64(len(p.buf)) + commitLen
	if j.size = end + j.room; j.size > logMax {
		return errFull
	}
	p.commit(j.size)
	if _, err := f.WriteAt(p.buf, p.at); err != nil {
		return err
	}
	if _, err := f.WriteAt(j.zeroes, end); err != nil {
		return err
	}
	p.next()
	return f.Sync()
}

// clean removes the snapshots that nothing names any more. One that stays is
// tried again with the next log.
func (j *Journal) clean() {
	names, err := j.disk.names()
	if err != nil {
		return
	}
	for _, n := range names {
		if strings.HasPrefix(n, snapshotPrefix) && n != j.snapshot.name() {
			_ = j.disk.remove(n)
		}
	}
}

func (j *Journal) unsaved(err error) error {
	if errors.Is(err, errRefused) {
		return fmt.Errorf("write log in %s: %w; please report it", j.dir, err)
	}
	return fmt.Errorf("write log in %s: %w; make room there or make it writable, "+
		"then start this instance again", j.dir, err)
}

// Close marks the log as ended in order and gives it back.
func (j *Journal) Close() error {
	var err error
	if j.broken == nil {
		j.pen.reset()
		if err = j.commit(); err != nil {
			err = j.unsaved(err)
		}
		j.broken = errors.New("it is closed")
	}
	return errors.Join(err, j.release())
}

func (j *Journal) release() error {
	var err error
	if j.log != nil {
		err = j.log.Close()
		j.log = nil
	}
	return errors.Join(err, j.disk.close())
}

// check refuses what Open could not read back.
func check(w *consensus.Write) error {
	if n := proto.Size(w.Snapshot); n > snapshotMax {
		return fmt.Errorf("%w: a snapshot of %d bytes", errRefused, n)
	}
	for i, e := range w.Entries {
		if n := proto.Size(e); n > payloadMax {
			return fmt.Errorf("%w: entry %d of %d bytes", errRefused, e.GetIndex(), n)
		}
		if first := w.Entries[0].GetIndex(); e.GetIndex() != first+uint64(i) {
			return fmt.Errorf("%w: entry %d where %d should be",
				errRefused, e.GetIndex(), first+uint64(i))
		}
	}
	return nil
}

// apply is s.Apply(w), without its copy of the log when w only adds to it.
func apply(s *consensus.Saved, w *consensus.Write) error {
	last := s.Snapshot.GetMetadata().GetIndex() + uint64(len(s.Entries))
	if w.Identity != nil || w.Snapshot != nil ||
		len(w.Entries) > 0 && w.Entries[0].GetIndex() != last+1 {
		return s.Apply(w)
	}
	if w.Hard != nil {
		s.Hard = w.Hard
	}
	s.Entries = append(s.Entries, w.Entries...)
	return nil
}
