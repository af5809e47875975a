//go:build !linux

package main

import (
	"io"
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

// holdData does nothing: see removeLeftBehind.
func holdData(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// removeLeftBehind leaves all as it is: elsewhere instances outlive a starter that
// was killed, and may still use what it has made.
func removeLeftBehind(string) {}
