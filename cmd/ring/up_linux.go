package main

import (
	"os"
	"syscall"
)

// childAttributes keep the terminal's Ctrl-C from the children, so that they
// leave when told to, and end them with whoever started them.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// terminate asks a process to leave, and wakes it if it was stopped.
func terminate(p *os.Process) {
	_ = p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
}
