package journal

import (
	"errors"
	"syscall"
)

// Sync is fdatasync. It goes through SyscallConn so that the descriptor cannot
// be closed meanwhile.
func (f dataFile) Sync() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if syncErr = syscall.Fdatasync(int(fd)); syncErr != syscall.EINTR {
				return
			}
		}
	})
	return errors.Join(err, syncErr)
}
