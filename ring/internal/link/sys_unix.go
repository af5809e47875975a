//go:build unix && (!linux || race)

package link

import "syscall"

// These are the ordinary calls: elsewhere the kernel is only to be called by
// way of the system's library, and the race detector learns from them which
// memory a read fills, and that what was done before a write came before what
// is done after the read of it.

func sysRead(fd uintptr, b []byte) (n int, err syscall.Errno) {
	n, e := syscall.Read(int(fd), b)
	return n, errno(e)
}

func sysWrite(fd uintptr, b []byte) (n int, err syscall.Errno) {
	n, e := syscall.Write(int(fd), b)
	return n, errno(e)
}

func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return err.(syscall.Errno) // package syscall returns no other
}
