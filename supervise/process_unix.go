//go:build unix

package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const supported = true

// process is one run of the application: its guard, and the pipes to that.
type process struct {
	cmd      *exec.Cmd
	lifeline *os.File // signals, a byte each; what it leads to dies when it closes
	report   *os.File
	lines    *bufio.Scanner
	pid      int    // of the application, 0 until it runs
	end      string // what the guard said of it
}

// startProcess starts the guard, which starts the application.
func startProcess(cfg Config) (*process, error) {
	life, lifeline, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the application: %w", err)
	}
	report, reports, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the application: %w", err), life.Close(), lifeline.Close())
	}
	cmd := exec.Command(cfg.Guard[0], cfg.Guard[1:]...)
	cmd.Args = append(cmd.Args, cfg.Command...)
	if cfg.GuardName != "" {
		cmd.Args[0] = cfg.GuardName
	}
	cmd.Env, cmd.Dir = cfg.Env, cfg.Dir
	if cfg.Stdout != nil {
		cmd.Stdout = cfg.Stdout
	}
	if cfg.Stderr != nil {
		cmd.Stderr = cfg.Stderr
	}
	cmd.ExtraFiles = []*os.File{life, reports} // lifelineFD, reportFD
	// Ctrl-C at a terminal is for this process alone: it says when the application ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = life.Close() // the guard has its own
	_ = reports.Close()
	if err != nil {
		_ = lifeline.Close()
		_ = report.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &process{cmd: cmd, lifeline: lifeline, report: report, lines: bufio.NewScanner(report)}, nil
}

// signal asks the application to end.
func (p *process) signal(s syscall.Signal) {
	if p != nil {
		_, _ = p.lifeline.Write([]byte{byte(s)}) // a guard that is gone needs none
	}
}

// kill ends the application and everything below it.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// started waits until the application runs. It returns its pid, or 0.
func (p *process) started() int {
	if p.lines.Scan() {
		if text, ok := strings.CutPrefix(p.lines.Text(), saysPID); ok {
			p.pid, _ = strconv.Atoi(text)
		} else {
			p.end = p.lines.Text()
		}
	}
	return p.pid
}

// wait waits until nothing of the run is left. It returns nil for exit code 0.
func (p *process) wait() error {
	for p.lines.Scan() {
		p.end = p.lines.Text()
	}
	err := p.cmd.Wait()
	_ = p.lifeline.Close()
	_ = p.report.Close()
	switch {
	case p.end == saysExit+"0":
		return nil
	case p.end != "":
		return errors.New(p.end)
	}
	// The guard was killed. The kernel may have taken the application with it, but
	// hardly its children.
	if p.pid > 1 {
		killGroup(p.pid)
	}
	return fmt.Errorf("its guard ended before it: %w", err)
}

// inOwnGroup has a command run in a process group of its own, and all of that killed
// when its context ends.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { killGroup(cmd.Process.Pid); return nil }
}

// killGroup kills what is left of a process group.
func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }
