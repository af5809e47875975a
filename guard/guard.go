package guard

import (
	"errors"
	"io"
	"os"
	"time"
)

// ErrUnsupported is that the system has not what is asked for: process groups, or a clock
// for deadlines.
var ErrUnsupported = errors.New("guard: this system has no process groups, or no deadlines")

// Config is what to run and how. Command and Guard are needed.
type Config struct {
	Command []string // and its arguments
	// Guard is a command that calls Run with the arguments behind these and exits with
	// what that returns: this program itself (see Self), as a hidden subcommand. Name is
	// what ps shows for its first word.
	Guard []string
	Name  string
	Env   []string // whole, as of exec.Cmd; nil: this process's own
	Dir   string   // "": this process's own

	// Stdin is the command's, given to it as it is; nil is /dev/null.
	Stdin *os.File
	// Stdout and Stderr are the command's. An *os.File is given to it as it is; nil is
	// /dev/null.
	Stdout, Stderr io.Writer

	// Grace is the time from SIGTERM to SIGKILL where the command is stopped or a deadline
	// has come, and where this process has ended. With none it is killed at once.
	Grace time.Duration
	// Term and Kill are the first deadlines, as of Process.Until. Where one has passed
	// before the command runs, it is not started.
	Term, Kill time.Duration
}

// The exit codes that are not a command's own, as shells have them. Killed is that of an
// Exit only.
const (
	NotRun      = 1   // there was no time or nobody left to run it for
	NotRunnable = 126 // it is there, but cannot be run
	NotFound    = 127
	Signalled   = 128 // and the number of the signal that ended it
	Killed      = -1  // the guard itself was ended, and the command with it
)

// Exit is how a command has ended.
type Exit struct {
	Code int
	Text string // the same in words, with a lower case letter first
	// Cut is that it was told to end before it had, by Stop, by Signal, by a deadline or
	// because its starter had ended: whatever its code, it may have left work undone.
	Cut bool
}
