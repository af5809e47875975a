//go:build unix

package respawn

import (
	"os/exec"
	"syscall"
)

// inOwnGroup has a command run in a process group of its own, all of which is killed when
// its context ends.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { killGroup(cmd.Process.Pid); return nil }
}

// killGroup kills what is left of a process group.
func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }
