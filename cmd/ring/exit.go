package main

import "fmt"

// Exit codes of all commands.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // usage or configuration
	exitFalse       = 3 // condition false or not found
	exitUnreachable = 4 // no instance answers
	exitRefused     = 5 // no quorum, or not allowed
	exitTimeout     = 124
)

// exitError is an error with the exit code it ends the process with. Without
// an err there is nothing more to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitf is fmt.Errorf with an exit code.
func exitf(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// usageError is for what the caller has to write differently.
func usageError(format string, args ...any) error {
	return exitf(exitUsage, format, args...)
}
