package ring

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is a clock that goes on while the host sleeps, which Go's does not.
func bootTime() time.Time {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Unix(0, 0) // no kernel since 2.6.39 does that
	}
	return time.Unix(t.Unix())
}
