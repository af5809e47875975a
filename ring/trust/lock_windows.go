package trust

import (
	"io"
	"os"
	"syscall"
	"time"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// lockFile waits until nobody else has the lock, and has it until it is closed: the file
// is shared with nobody, and there is no way to be woken.
func lockFile(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	for {
		h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
			syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
		if err == nil {
			return os.NewFile(uintptr(h), path), nil
		}
		if err != errSharing {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
