//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fence

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrFile is that a file is there and holds no fence: it is damaged, of a later version,
// or something else. Nothing is let pass until a person has looked at it.
var ErrFile = errors.New("fence: not a file with a fence")

// fileMax is more than such a file ever has, in bytes.
const fileMax = 128

// File is a store in the file of that path, for processes of one host; beside it there
// is path.lock. It makes no directories. The disk must be this host's own: over a
// network its locks are not to be relied on.
func File(path string) Store { return file(path) }

type file string

// Hold locks the file beside it, which is never replaced; the kernel lets go of the
// lock when a process ends, however it ends.
func (f file) Hold(do func(uint64, func(uint64) error) error) error {
	lock, err := os.OpenFile(string(f)+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("fence: open the lock: %w", err)
	}
	defer lock.Close()
	for {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("fence: lock %s: %w", lock.Name(), err)
	}
	highest, err := f.load()
	if err != nil {
		return err
	}
	return do(highest, f.save)
}

func (f file) load() (uint64, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("fence: read: %w", err)
	}
	var fence uint64
	var sum uint32
	if len(text) <= fileMax {
		_, err = fmt.Sscanf(string(text), "ring-fence 1 %d %x\n", &fence, &sum)
	}
	if err != nil || string(text) != fileText(fence) {
		return 0, fmt.Errorf("%w: %s", ErrFile, string(f))
	}
	return fence, nil
}

// fileText is all of the file: a magic word, the version, the fence, a checksum.
func fileText(fence uint64) string {
	body := fmt.Sprintf("ring-fence 1 %d", fence)
	return fmt.Sprintf("%s %08x\n", body, crc32.ChecksumIEEE([]byte(body)))
}

// save replaces the file in one go, and returns when a loss of power cannot undo it.
func (f file) save(fence uint64) error {
	next := string(f) + ".next"
	if err := writeSynced(next, fileText(fence)); err != nil {
		return fmt.Errorf("fence: write: %w", err)
	}
	if err := os.Rename(next, string(f)); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	dir, err := os.Open(filepath.Dir(string(f)))
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
