//go:build !unix

package supervise

import (
	"os/exec"
	"syscall"
)

const supported = false

// process is never made here.
type process struct{}

func startProcess(Config) (*process, error) { return nil, ErrUnsupported }
func (p *process) signal(syscall.Signal)    {}
func (p *process) kill()                    {}
func (p *process) started() int             { return 0 }
func (p *process) wait() error              { return ErrUnsupported }
func inOwnGroup(*exec.Cmd)                  {}
func killGroup(int)                         {}

// Guard fails: see ErrUnsupported.
func Guard([]string) int { return 1 }
