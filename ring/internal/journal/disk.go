package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// disk is what the journal needs of a directory. Tests lose power here.
type disk interface {
	read(name string, most int64) ([]byte, error) // refuses a longer one
	create(name string) (file, error)             // an empty one
	open(name string) (file, error)               // to write on
	rename(old, new string) error
	remove(name string) error
	names() ([]string, error)
	sync() error // makes names durable
	close() error
}

// file is what the journal needs of a file. Sync makes its bytes durable, and
// its length.
type file interface {
	io.WriterAt
	io.Closer
	Sync() error
}

// dataFile is a file whose Sync leaves out what nobody reads, such as the time
// it was written, where the system offers that.
type dataFile struct{ *os.File }

// rootDisk is a directory of the file system.
type rootDisk struct{ root *os.Root }

// openDisk makes busDir in dir if it is missing.
func openDisk(dir string) (disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	defer root.Close()
	if err := root.Mkdir(busDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make directory of the log: %w", err)
	}
	if err := syncRoot(root); err != nil {
		return nil, fmt.Errorf("sync data directory: %w", err)
	}
	bus, err := root.OpenRoot(busDir)
	if err != nil {
		return nil, fmt.Errorf("open directory of the log: %w", err)
	}
	return onDisk(bus), nil
}

func (d rootDisk) read(name string, most int64) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > most {
		return nil, corrupt(int(most), fmt.Sprintf("it is %d bytes long", st.Size()))
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	return b, nil
}

func (d rootDisk) create(name string) (file, error) {
	return d.file(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
}

func (d rootDisk) open(name string) (file, error) { return d.file(name, os.O_WRONLY) }

func (d rootDisk) file(name string, flag int) (file, error) {
	f, err := d.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return dataFile{f}, nil
}

func (d rootDisk) rename(old, new string) error { return d.root.Rename(old, new) }
func (d rootDisk) remove(name string) error     { return d.root.Remove(name) }
func (d rootDisk) sync() error                  { return syncRoot(d.root) }
func (d rootDisk) close() error                 { return d.root.Close() }

func (d rootDisk) names() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// syncRoot makes renames in a directory durable. On Windows directories cannot
// be synced: renames are journalled by the file system.
func syncRoot(root *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// asideMax bounds how many damaged logs are kept beside each other: whoever
// has that many has a disk to replace.
const asideMax = 100

// SetAside moves the log in the data directory dir out of the way, so that Open
// begins a new one, and says where it is now. Nothing is deleted.
func SetAside(dir string) (where string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open data directory: %w", err)
	}
	defer root.Close()
	for n := 1; n <= asideMax; n++ {
		to := busDir + ".corrupt-" + strconv.Itoa(n)
		if _, err := root.Lstat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set log aside: %w", err)
		}
		if err := root.Rename(busDir, to); err != nil {
			return "", fmt.Errorf("set log aside: %w", err)
		}
		if err := syncRoot(root); err != nil {
			return "", fmt.Errorf("set log aside: %w", err)
		}
		return filepath.Join(dir, to), nil
	}
	return "", fmt.Errorf("set log aside: %d damaged ones are in %s already; "+
		"look after the disk, then move them away", asideMax, dir)
}
