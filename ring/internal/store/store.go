// Package store keeps what an instance must not forget: its incarnation, the
// highest epoch it has seen and how far ticks have passed it, in one file of a
// directory of its own.
//
//	DIR/lock    held (flock) while a process uses DIR; says its pid
//	DIR/state   magic, version, length, payload, CRC32C
//	DIR/roster  the newest roster known, if it is not the one that instances start with
//	DIR/state.new, DIR/roster.new   the next one, until it is whole and synced
//
// A Save is on disk when it returns: the new file is written beside the old
// one, synced, renamed over it, and the directory is synced. A process killed
// at any moment leaves the old file or the new one, never a mixture.
package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ringofservers.dev/ring/internal/wire"
)

// Names inside the directory.
const (
	stateFile = "state"
	nextFile  = "state.new"
	lockFile  = "lock"
)

// What can be wrong with a data directory. Each comes wrapped in a text that
// names the directory and ends with what to do.
var (
	ErrLocked  = errors.New("data directory is in use")
	ErrTorn    = errors.New("data file is damaged")
	ErrForeign = errors.New("data file belongs to another instance")
	ErrNewer   = errors.New("data file was written by a newer version")
	ErrRoster  = errors.New("data file was written under another roster")
)

// Identity says whose data a directory holds.
type Identity struct {
	Ring     string
	Instance string
	Roster   [32]byte // another one is no fault if it only has more instances at its end:
	Count    uint32   // how many it has
	Names    [32]byte // Prefix(Count)
	Prefix   func(n int) [32]byte

	// Settle, if not nil, is given the roster that the directory keeps, nil for none, and
	// returns the identity to go by.
	Settle func(k *Kept) (Identity, error)
}

// Saved is what must outlive the process.
type Saved struct {
	Incarnation uint32
	Epoch       wire.Epoch
	Ceiling     uint64 // first tick that has not passed this instance
}

// Store is an open data directory. Its methods must not be called at the same
// time.
type Store struct {
	dir    string
	root   directory
	lock   io.Closer
	id     Identity
	create func(name string) (file, error) // tests put a full disk here
}

// file is what Save needs of the file it writes.
type file interface {
	io.WriteCloser
	Sync() error
}

// Open takes dir for this process, making it if it is missing, and returns
// what the last process of that identity saved there. It writes the file once,
// so that a directory that cannot be written is known at the start.
func Open(dir string, id Identity) (*Store, Saved, error) {
	if err := makeDir(dir); err != nil {
		return nil, Saved{}, fmt.Errorf("make data directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, Saved{}, fmt.Errorf("open data directory: %w", err)
	}
	s := &Store{dir: dir, root: onDisk(root), id: id}
	s.create = s.root.create
	saved, err := s.take()
	if err != nil {
		return nil, Saved{}, errors.Join(err, s.Close())
	}
	return s, saved, nil
}

// makeDir makes dir if it is missing, so that it is there after a loss of power too.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(syncDir(parent), parent.Close())
}

// take locks the directory, reads the state and writes it back.
func (s *Store) take() (Saved, error) {
	lock, err := acquire(s.root.Root, s.dir)
	if err != nil {
		return Saved{}, err
	}
	s.lock = lock
	if s.id.Settle != nil {
		kept, err := s.kept()
		if err == nil {
			s.id, err = s.id.Settle(kept)
		}
		if err != nil {
			return Saved{}, err
		}
	}
	saved, err := s.load()
	if err != nil {
		return Saved{}, err
	}
	return saved, s.Save(saved)
}

// load reads the state file; a missing one is a new instance.
func (s *Store) load() (Saved, error) {
	f, err := s.root.Open(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, nil
	}
	if err != nil {
		return Saved{}, fmt.Errorf("open data file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return Saved{}, fmt.Errorf("read data file: %w", err)
	}
	st, err := decode(b)
	if err == nil {
		err = st.belongs(s.id)
	}
	if err != nil {
		return Saved{}, fmt.Errorf("%s: %w", filepath.Join(s.dir, stateFile), err)
	}
	if st.id.Roster != s.id.Roster {
		if err := st.grew(s.id); err != nil {
			return Saved{}, fmt.Errorf("%s: %w", filepath.Join(s.dir, stateFile), err)
		}
		// The index of the epoch's dropper may name somebody else by now, or
		// nobody: one step up is above every epoch of the old roster.
		st.saved.Epoch = wire.Epoch{Number: st.saved.Epoch.Number, Counter: st.saved.Epoch.Counter + 1}
	}
	return st.saved, nil
}

// grew says why st must not be used under the roster of id: what is remembered of an
// instance, here and in the log of the bus, is remembered by its index.
func (st state) grew(id Identity) error {
	if n := st.id.Count; n > 0 && n <= id.Count && id.Prefix(int(n)) == st.id.Names {
		return nil
	}
	return fmt.Errorf("%w, of %d instances: instances may be added at its end, and for now "+
		"that is all; go back to that roster, or move the data of every instance away, which "+
		"gives up what the bus has (ring bus backup keeps it)", ErrRoster, st.id.Count)
}

// belongs says why st must not be used by id.
func (st state) belongs(id Identity) error {
	switch {
	case st.id.Ring != id.Ring:
		return fmt.Errorf("%w: it is of ring %q, this instance is of ring %q; "+
			"point --data at this instance's own directory, or at an empty one",
			ErrForeign, st.id.Ring, id.Ring)
	case st.id.Instance != id.Instance:
		return fmt.Errorf("%w: it is of instance %q, this is %q; "+
			"point --data at this instance's own directory, or at an empty one",
			ErrForeign, st.id.Instance, id.Instance)
	}
	return nil
}

// Save puts v on disk and returns when it will survive a loss of power. After
// an error the file of before is still whole.
func (s *Store) Save(v Saved) error {
	return s.replace(stateFile, nextFile, state{id: s.id, saved: v}.encode())
}

// replace puts content in the place of a file, by way of next.
func (s *Store) replace(name, next string, content []byte) error {
	f, err := s.create(next)
	if err != nil {
		return s.unsaved(err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(s.unsaved(err), ignoreMissing(s.root.Remove(next)))
	}
	if err := s.root.Rename(next, name); err != nil {
		return s.unsaved(err)
	}
	if err := s.root.sync(); err != nil {
		return s.unsaved(err)
	}
	return nil
}

func (s *Store) unsaved(err error) error {
	return fmt.Errorf("save state in %s: %w; make room there or make it writable, "+
		"then start this instance again", s.dir, err)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close gives the directory back. The lock file stays, its lock does not.
func (s *Store) Close() error {
	var err error
	if s.lock != nil {
		err = s.lock.Close()
	}
	return errors.Join(err, s.root.Close())
}

// locked explains that somebody else holds dir; content is the lock file's.
func locked(dir string, content []byte) error {
	holder := "another process"
	if pid, err := strconv.Atoi(strings.TrimSpace(string(content))); err == nil {
		holder = "process " + strconv.Itoa(pid)
	}
	return fmt.Errorf("%s: %w by %s; stop that one, or give this one a directory of its own",
		dir, ErrLocked, holder)
}
