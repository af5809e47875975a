package lag

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timer of the kernel. One of the Go runtime is late by up to a
// millisecond where the process has nothing else to do: it waits in whole ones.
type alarm struct {
	fd   int
	file *os.File // whose Fd would make it blocking
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "timerfd")}, nil
}

// sleep returns after d, which is above 0.
func (a *alarm) sleep(d time.Duration) {
	set := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	err := unix.TimerfdSettime(a.fd, 0, &set, nil)
	if err == nil {
		_, err = a.file.Read(make([]byte, 8))
	}
	if err != nil {
		panic(fmt.Sprintf("lag: timer: %v", err)) // it cannot fail
	}
}
