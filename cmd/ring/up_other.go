//go:build !linux

package main

import (
	"os"
	"syscall"
)

// childAttributes are the system's own: elsewhere Ctrl-C reaches the children
// too.
func childAttributes() *syscall.SysProcAttr { return nil }

// terminate asks a process to leave, where that can be asked.
func terminate(p *os.Process) {
	if p.Signal(syscall.SIGTERM) != nil {
		_ = p.Kill()
	}
}
