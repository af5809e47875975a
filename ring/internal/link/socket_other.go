//go:build !unix

package link

import (
	"errors"
	"syscall"
)

// directIO is false: net.Conn reads, and a goroutine of its own writes.
const directIO = false

func readNow(uintptr, []byte) (int, error)  { return 0, nil }
func writeNow(uintptr, []byte) (int, error) { return 0, nil }

// Windows says WSAECONNREFUSED.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.Errno(10061))
}

// isForeign: WSAEAFNOSUPPORT and WSAEADDRNOTAVAIL.
func isForeign(err error) bool {
	return errors.Is(err, syscall.Errno(10047)) || errors.Is(err, syscall.Errno(10049))
}
