//go:build !linux

package ring

import "time"

// bootTime is Go's clock. Whether it counts time in which the host sleeps is the
// system's affair: not on all of them.
func bootTime() time.Time { return time.Now() }
