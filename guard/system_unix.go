//go:build unix && !linux

package guard

import (
	"os"
	"syscall"
	"time"
)

// Deadlines are not to be had here.
const Deadlines = false

// BootTime is not known here.
func BootTime() time.Duration { return 0 }

// Self is where this program can be run again.
func Self() (string, error) { return os.Executable() }

// ownGroup begins a process group.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adopt does nothing: here orphans are the first process's.
func adopt() {}

// children are not known here: who has left the group is not found.
func children() []int { return nil }

// cgroup is never made here.
type cgroup struct{ dir *os.File }

func newCgroup() *cgroup                     { return nil }
func heir(uintptr) *cgroup                   { return nil }
func (c *cgroup) begin(*syscall.SysProcAttr) {}
func (c *cgroup) kill()                      {}
func (c *cgroup) remove(time.Duration)       {}
