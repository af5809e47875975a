//go:build linux && !race

package link

import (
	"syscall"
	"unsafe"
)

// syscall.Read and syscall.Write tell the scheduler that the thread may block,
// and that wakes the runtime's monitor thread whenever it sleeps: a futex, a
// switch of threads and some naps of the monitor, which on a hop is as much as
// everything else. The descriptors here are non-blocking, as those of package
// net all are, so that there is nothing to tell: the call is over as soon as
// the kernel has copied what there is, or what fits. One that did block would
// hold up the garbage collector of the whole process.

// sysRead is read(2); n is at most 0 with an error.
func sysRead(fd uintptr, b []byte) (n int, err syscall.Errno) {
	at := unsafe.Pointer(unsafe.SliceData(b))
	r, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(at), uintptr(len(b)))
	return int(r), err
}

// sysWrite is write(2); n is at most 0 with an error.
func sysWrite(fd uintptr, b []byte) (n int, err syscall.Errno) {
	at := unsafe.Pointer(unsafe.SliceData(b))
	r, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(at), uintptr(len(b)))
	return int(r), err
}
