//go:build unix

package link

import (
	"errors"
	"syscall"
)

// directWrites says that writeNow works here.
const directWrites = true

// writeNow gives b to the socket without waiting: n bytes were taken.
func writeNow(fd uintptr, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := syscall.Write(int(fd), b[n:])
		switch {
		case m > 0:
			n += m
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return n, nil
		case err != nil:
			return n, err
		default:
			return n, nil
		}
	}
	return n, nil
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isForeign says that this host lacks the address family altogether, so that
// the failure says nothing about the peer.
func isForeign(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}
