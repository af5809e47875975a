package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
)

var errPower = errors.New("power is lost")

// memDisk is a directory that forgets what was not synced. Syncing a file says
// nothing about its name, and a name nothing about the bytes.
type memDisk struct {
	now, safe map[string]*inode
	pending   []nameOp
	calls     int   // of what changes anything
	failAt    int   // the call that fails; 0 for none
	failure   error // with errPower everything fails from then on
}

type inode struct {
	safe    []byte
	pending []write
}

type write struct {
	off  int64
	data []byte
}

// nameOp is what one call did to names; nil takes a name away.
type nameOp map[string]*inode

func newMemDisk() *memDisk {
	return &memDisk{now: map[string]*inode{}, safe: map[string]*inode{}}
}

// with is a disk on which files are synced.
func with(files map[string][]byte) *memDisk {
	d := newMemDisk()
	for name, b := range files {
		d.now[name] = &inode{safe: bytes.Clone(b)}
	}
	d.safe = maps.Clone(d.now)
	return d
}

// files is what a process sees.
func (d *memDisk) files() map[string][]byte {
	m := map[string][]byte{}
	for name, n := range d.now {
		m[name] = n.content()
	}
	return m
}

func (n *inode) content() []byte {
	b := bytes.Clone(n.safe)
	for _, w := range n.pending {
		b = overwrite(b, w.off, w.data)
	}
	return b
}

func overwrite(b []byte, off int64, data []byte) []byte {
	if missing := int(off) + len(data) - len(b); missing > 0 && len(data) > 0 {
		b = append(b, make([]byte, missing)...)
	}
	copy(b[min(int(off), len(b)):], data)
	return b
}

// call counts, and says whether this one fails. What it was to do may be half
// done: with errPower it is pending, and lose decides.
func (d *memDisk) call() error {
	d.calls++
	if d.failAt == 0 || d.calls < d.failAt || d.calls > d.failAt && d.failure != errPower {
		return nil
	}
	return d.failure
}

func (d *memDisk) dead() bool { return d.failure == errPower && d.calls > d.failAt && d.failAt > 0 }

func (d *memDisk) names() ([]string, error) { return slices.Sorted(maps.Keys(d.now)), nil }

func (d *memDisk) close() error { return nil }

func (d *memDisk) read(name string, most int64) ([]byte, error) {
	n := d.now[name]
	if n == nil {
		return nil, fmt.Errorf("read %s: %w", name, fs.ErrNotExist)
	}
	b := n.content()
	if int64(len(b)) > most {
		return nil, corrupt(int(most), "too long")
	}
	return b, nil
}

func (d *memDisk) open(name string) (file, error) {
	n := d.now[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{d, n}, nil
}

func (d *memDisk) create(name string) (file, error) {
	n := &inode{}
	return &memFile{d, n}, d.rename1(nameOp{name: n})
}

func (d *memDisk) rename(old, new string) error {
	return d.rename1(nameOp{new: d.now[old], old: nil})
}

func (d *memDisk) remove(name string) error { return d.rename1(nameOp{name: nil}) }

func (d *memDisk) rename1(op nameOp) error {
	err := d.call()
	if err != nil && (err != errPower || d.dead()) {
		return err
	}
	d.pending = append(d.pending, op)
	op.apply(d.now)
	return err
}

func (op nameOp) apply(names map[string]*inode) {
	for name, n := range op {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

func (d *memDisk) sync() error {
	if err := d.call(); err != nil {
		return err
	}
	d.safe, d.pending = maps.Clone(d.now), nil
	return nil
}

type memFile struct {
	d *memDisk
	n *inode
}

func (f *memFile) Close() error { return nil }

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	err := f.d.call()
	if f.d.dead() {
		return 0, err
	}
	if err != nil && err != errPower {
		b = b[:len(b)/2] // a full disk takes what it has room for
	}
	f.n.pending = append(f.n.pending, write{off, bytes.Clone(b)})
	return len(b), err
}

func (f *memFile) Sync() error {
	if err := f.d.call(); err != nil {
		return err
	}
	for _, w := range f.n.pending {
		f.n.safe = overwrite(f.n.safe, w.off, w.data)
	}
	f.n.pending = nil
	return nil
}

// kill is what the next process finds after this one was killed: everything,
// synced or not.
func (d *memDisk) kill() *memDisk {
	next := *d
	next.calls, next.failAt, next.failure = 0, 0, nil
	return &next
}

// lose is what is found after a loss of power.
func (d *memDisk) lose(rng *rand.Rand) *memDisk {
	names := maps.Clone(d.safe)
	for _, op := range d.pending {
		if rng.IntN(2) == 0 {
			op.apply(names)
		}
	}
	next := newMemDisk()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		next.now[name] = names[name].lose(rng)
	}
	next.safe = maps.Clone(next.now)
	return next
}

const sector = 512

// lose keeps of each write nothing, all, a part up to any byte or from any byte
// on, sectors here and there, or puts other bytes where it was under way.
func (n *inode) lose(rng *rand.Rand) *inode {
	b := bytes.Clone(n.safe)
	for _, w := range n.pending {
		cut := rng.IntN(len(w.data) + 1)
		switch rng.IntN(6) {
		case 0:
		case 1:
			b = overwrite(b, w.off, w.data)
		case 2:
			b = overwrite(b, w.off, w.data[:cut])
		case 3:
			b = overwrite(b, w.off+int64(cut), w.data[cut:])
		case 4:
			for from := 0; from < len(w.data); {
				to := min(from+sector-int(w.off+int64(from))%sector, len(w.data))
				if rng.IntN(2) == 0 {
					b = overwrite(b, w.off+int64(from), w.data[from:to])
				}
				from = to
			}
		case 5:
			b = overwrite(b, w.off, w.data[:cut])
			noise := make([]byte, min(sector, len(w.data)-cut))
			for i := range noise {
				noise[i] = byte(rng.Uint32())
			}
			b = overwrite(b, w.off+int64(cut), noise)
		}
	}
	return &inode{safe: b}
}
