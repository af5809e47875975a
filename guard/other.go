//go:build !unix

package guard

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Supported and Deadlines are whether this system has process groups, and what deadlines
// take.
const (
	Supported = false
	Deadlines = false
)

// Process is never made here.
type Process struct{}

// Start fails: see ErrUnsupported.
func Start(Config) (*Process, error) { return nil, ErrUnsupported }

// PID and what follows are never called here.
func (p *Process) PID() int { return 0 }

// Signal does nothing.
func (p *Process) Signal(syscall.Signal) {}

// Pass does nothing.
func (p *Process) Pass(syscall.Signal) {}

// Until does nothing.
func (p *Process) Until(_, _ time.Duration) {}

// Stop does nothing.
func (p *Process) Stop() {}

// Done is nil.
func (p *Process) Done() <-chan struct{} { return nil }

// Wait returns at once.
func (p *Process) Wait() Exit { return Exit{Code: NotRun, Text: ErrUnsupported.Error()} }

// Run fails: see ErrUnsupported.
func Run([]string) int { return NotRun }

// BootTime is not known here.
func BootTime() time.Duration { return 0 }

// Self is where this program can be run again.
func Self() (string, error) { return os.Executable() }

// InGroup does nothing: a command is killed alone.
func InGroup(*exec.Cmd) {}

// KillGroup does nothing.
func KillGroup(int) {}
