package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// acquire opens the lock file shared with nobody, which is an exclusive lock
// that ends with the process.
func acquire(_ *os.Root, dir string) (io.Closer, error) {
	path := filepath.Join(dir, lockFile)
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err == errSharing {
		return nil, locked(dir, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return os.NewFile(uintptr(h), path), nil
}

// syncDir does nothing: directories cannot be synced here, renames are
// journalled by the file system.
func syncDir(*os.Root) error { return nil }
