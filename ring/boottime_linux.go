package ring

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is a clock that goes on while the host sleeps, which Go's does not.
// It says nothing about the time of day.
func bootTime() time.Time {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("BUG: no boot clock: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Time{}.Add(time.Duration(t.Nano()))
}
