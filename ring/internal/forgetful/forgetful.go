// Package forgetful is a directory whose disk loses power when the process is
// killed: what was not synced is gone. A kill alone loses nothing that was ever
// written, because the kernel has it.
//
//	Create, Rename, Remove ──► memory ── Dir.Sync ───► names on the disk
//	Write, WriteAt ──────────► memory ── File.Sync ──► bytes, under whatever name
//	                                                   the disk has for them
//
// Syncing a file says nothing about its name, nor a name anything about the
// bytes. Nothing is synced sooner than at the end of a Sync, which takes its
// time; a file that is made anew over another loses what that one had at once.
//
// FORGETFUL_SEED in the environment lets some of it reach the disk sooner, as
// the kernel may write back whatever it likes: any part of any write, and all
// names there are. FORGETFUL_LIES lets every Sync promise what it does not do:
// with it, whoever tests a loss of power must find one.
//
// It is for builds with the tag forgetful, which packages journal and store put
// it into, and processtest breaks. No other build links it.
package forgetful

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slow is how long a Sync takes, so that most kills meet one under way.
const slow = 3 * time.Millisecond

// hidden begins the names of files that have no synced name.
const hidden = ".forgetful-"

// Dir is such a directory. Its methods, and those of its files, must not be
// called at the same time.
type Dir struct {
	root   *os.Root
	names  map[string]*inode // where this process has looked; nil: there is none
	undone []func() error    // what has happened to names since the last Sync
	made   int
	chance *rand.Rand // nil: nothing reaches the disk unsynced
	lies   bool
}

type inode struct {
	place    string // what the disk calls it; "": nothing any more
	unsynced []write
}

type write struct {
	off  int64
	data []byte
}

// On is the directory root, as it is found after a loss of power.
func On(root *os.Root) *Dir {
	d := &Dir{root: root, names: map[string]*inode{}, lies: os.Getenv("FORGETFUL_LIES") != ""}
	if seed, err := strconv.ParseUint(os.Getenv("FORGETFUL_SEED"), 10, 64); err == nil {
		d.chance = rand.New(rand.NewPCG(seed, uint64(os.Getpid())))
	}
	return d
}

// Close gives the directory back, and forgets what was not synced.
func (d *Dir) Close() error { return d.root.Close() }

// find is the file of that name.
func (d *Dir) find(name string) (*inode, error) {
	n, known := d.names[name]
	switch {
	case n != nil:
		return n, nil
	case known:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if _, err := d.root.Lstat(name); err != nil {
		return nil, err
	}
	n = &inode{place: name}
	d.names[name] = n
	return n, nil
}

// Names are all names, sorted.
func (d *Dir) Names() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, e := range entries {
		all[e.Name()] = !strings.HasPrefix(e.Name(), hidden)
	}
	for name, n := range d.names {
		all[name] = n != nil
	}
	maps.DeleteFunc(all, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(all)), nil
}

// ReadFile is what this process has written to that file.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	b, err := d.root.ReadFile(n.place)
	for _, w := range n.unsynced {
		if missing := int(w.off) + len(w.data) - len(b); missing > 0 && len(w.data) > 0 {
			b = append(b, make([]byte, missing)...)
		}
		copy(b[min(int(w.off), len(b)):], w.data)
	}
	return b, err
}

// Open is the file of that name, to write on.
func (d *Dir) Open(name string) (*File, error) {
	n, err := d.find(name)
	if err != nil {
		return nil, err
	}
	return &File{d: d, n: n}, nil
}

// Create is an empty file of that name.
func (d *Dir) Create(name string) (*File, error) {
	n, err := d.find(name)
	if err != nil {
		n = &inode{place: hidden + strconv.Itoa(d.made)}
		d.made++
	}
	f, err := d.root.OpenFile(n.place, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	n.unsynced = nil
	if d.names[name] == nil {
		d.names[name] = n
		err = d.name(func() error { return d.move(n, name) })
	}
	return &File{d: d, n: n}, err
}

// Rename gives a file another name, which is taken from whoever has it.
func (d *Dir) Rename(from, to string) error {
	n, err := d.find(from)
	if err != nil {
		return err
	}
	was, err := d.find(to)
	if err != nil {
		was = &inode{}
	}
	d.names[from], d.names[to] = nil, n
	return d.name(func() error {
		if err := d.move(n, to); err != nil {
			return err
		}
		was.place = ""
		return nil
	})
}

// Remove takes a name away.
func (d *Dir) Remove(name string) error {
	n, err := d.find(name)
	if err != nil {
		return err
	}
	d.names[name] = nil
	return d.name(func() error {
		err := d.root.Remove(n.place)
		n.place = ""
		return err
	})
}

// move is a rename on the disk.
func (d *Dir) move(n *inode, to string) error {
	err := d.root.Rename(n.place, to)
	if err == nil {
		n.place = to
	}
	return err
}

// name keeps for the next Sync what happens to a name.
func (d *Dir) name(do func() error) error {
	d.undone = append(d.undone, do)
	if d.chance != nil && d.chance.IntN(2) == 0 {
		return d.settle()
	}
	return nil
}

// settle does to names on the disk what was done to them, in order.
func (d *Dir) settle() error {
	for ; len(d.undone) > 0; d.undone = d.undone[1:] {
		if err := d.undone[0](); err != nil {
			return err
		}
	}
	return nil
}

// Sync makes names durable.
func (d *Dir) Sync() error {
	time.Sleep(slow)
	if d.lies {
		return nil
	}
	return d.settle()
}

// File is a file of a Dir.
type File struct {
	d   *Dir
	n   *inode
	end int64 // of what was written by Write
}

// Write writes behind the Write before it.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.end)
	f.end += int64(n)
	return n, err
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	w := write{off, bytes.Clone(b)}
	f.n.unsynced = append(f.n.unsynced, w)
	if c := f.d.chance; c != nil && c.IntN(2) == 0 {
		from := c.IntN(len(b) + 1)
		to := from + c.IntN(len(b)-from+1)
		if err := f.put(write{off + int64(from), w.data[from:to]}); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// put writes on the disk.
func (f *File) put(ws ...write) error {
	if f.n.place == "" {
		return nil
	}
	disk, err := f.d.root.OpenFile(f.n.place, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer disk.Close() // what it says was said by WriteAt
	for _, w := range ws {
		if _, err := disk.WriteAt(w.data, w.off); err != nil {
			return err
		}
	}
	return nil
}

// Sync makes the bytes durable.
func (f *File) Sync() error {
	time.Sleep(slow)
	if f.d.lies {
		return nil
	}
	if err := f.put(f.n.unsynced...); err != nil {
		return err
	}
	f.n.unsynced = nil
	return nil
}

// Close syncs nothing.
func (f *File) Close() error { return nil }
