//go:build !unix

package respawn

import "os/exec"

// Here there are no process groups: a command is killed alone.
func inOwnGroup(*exec.Cmd) {}
func killGroup(int)        {}
