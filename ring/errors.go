package ring

import "errors"

// What callers branch on with errors.Is. The text of what is returned says
// more, and ends with what to do.
var (
	ErrConfig   = errors.New("ring: configuration is wrong")
	ErrInsecure = errors.New("ring: not off loopback without TLS")
	ErrAddress  = errors.New("ring: cannot listen")
	ErrData     = errors.New("ring: data directory cannot be used")
	ErrTaken    = errors.New("ring: another process has this name")
	ErrClosed   = errors.New("ring: instance has ended")

	ErrNoQuorum  = errors.New("ring: no quorum: most of those who vote are out of reach")
	ErrUncertain = errors.New("ring: it may or may not have been done; read again to know")
	ErrLeaseLost = errors.New("ring: the lease is over, and somebody else may have it")
	ErrNotFound  = errors.New("ring: not found")
	ErrRefused   = errors.New("ring: refused")

	ErrRosterChanged = errors.New("ring: the roster was changed meanwhile; plan anew")
	ErrRetired       = errors.New("ring: this instance is retired from the roster")
)
