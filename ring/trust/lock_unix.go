//go:build unix && !aix && !solaris

package trust

import (
	"io"
	"os"
	"syscall"
)

// lockFile waits until nobody else has the lock, and has it until it is closed.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if err != syscall.EINTR {
			f.Close()
			return nil, err
		}
	}
}
