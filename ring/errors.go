package ring

import "errors"

// What callers branch on with errors.Is. The text of what is returned says
// more, and ends with what to do.
var (
	ErrConfig   = errors.New("ring: configuration is wrong")
	ErrInsecure = errors.New("ring: not on loopback without encryption")
	ErrAddress  = errors.New("ring: cannot listen")
	ErrData     = errors.New("ring: data directory cannot be used")
	ErrTaken    = errors.New("ring: another process has this name")
	ErrClosed   = errors.New("ring: instance has ended")
)
