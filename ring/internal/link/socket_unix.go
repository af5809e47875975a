//go:build unix

package link

import (
	"errors"
	"io"
	"syscall"
)

// directIO says that readNow and writeNow work here.
const directIO = true

// readNow reads without waiting. No byte and no error mean that there is
// nothing yet.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := sysRead(fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == 0:
			return 0, io.EOF
		case err == syscall.EAGAIN:
			return 0, nil
		case err != syscall.EINTR:
			return 0, err
		}
	}
}

// writeNow gives b to the socket without waiting: n bytes were taken.
func writeNow(fd uintptr, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := sysWrite(fd, b[n:])
		switch {
		case m > 0:
			n += m
		case err == 0 || err == syscall.EAGAIN:
			return n, nil
		case err != syscall.EINTR:
			return n, err
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
