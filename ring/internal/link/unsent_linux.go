package link

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// boundUnsent keeps the kernel from taking more than so many bytes that are not on
// their way yet: what is queued there cannot be overtaken any more.
func boundUnsent(t *net.TCPConn, bytes int) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = os.NewSyscallError("setsockopt",
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes))
	})
	return errors.Join(err, serr)
}
