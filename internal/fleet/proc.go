//go:build linux

package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outputLines bounds what is kept of one process's output; the oldest go.
const outputLines = 20000

// Spec says what to run.
type Spec struct {
	Name  string // for logs
	Path  string
	Args  []string
	Env   []string // added to this process's own environment
	Dir   string
	Netns string // network namespace to run in, empty for this one
	// Line, if set, is called with each line of output and when it came, by
	// one goroutine per process.
	Line func(at time.Time, line string)
}

// Proc is one child process. Its methods may be called by any goroutine.
type Proc struct {
	Spec Spec
	cmd  *exec.Cmd
	done chan struct{} // closed when the process was waited for

	mu    sync.Mutex
	lines []string
	err   error
}

// Group owns processes.
type Group struct {
	mu    sync.Mutex
	procs []*Proc
}

// Start starts a process in a process group of its own; it is killed if this
// process dies.
func (g *Group) Start(s Spec) (*Proc, error) {
	path, args := s.Path, s.Args
	if s.Netns != "" {
		args = append([]string{"netns", "exec", s.Netns, path}, args...)
		path = "ip" // ip replaces itself by the command: the pid is the command's
	}
	p := &Proc{Spec: s, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), s.Env...)
	p.cmd.Dir = s.Dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go p.watch(read)
	g.mu.Lock()
	g.procs = append(g.procs, p)
	g.mu.Unlock()
	return p, nil
}

// watch reads the output until its end and reaps the process.
func (p *Proc) watch(read *os.File) {
	scanned := make(chan struct{})
	go func() {
		defer close(scanned)
		p.scan(read)
	}()
	err := p.cmd.Wait()
	// A grandchild may hold the pipe open; what the process wrote is read soon.
	select {
	case <-scanned:
	case <-time.After(200 * time.Millisecond):
	}
	read.Close()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.done)
}

func (p *Proc) scan(r io.Reader) {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadString('\n')
		if line != "" {
			at := time.Now()
			line = strings.TrimRight(line, "\n")
			p.mu.Lock()
			if len(p.lines) >= outputLines {
				p.lines = append(p.lines[:0:0], p.lines[outputLines/2:]...)
			}
			p.lines = append(p.lines, line)
			p.mu.Unlock()
			if p.Spec.Line != nil {
				p.Spec.Line(at, line)
			}
		}
		if err != nil {
			return
		}
	}
}

// PID is the process's id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Output is what it has printed, both streams, at most the last 20,000 lines.
func (p *Proc) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Done is closed when the process is gone and its output is read.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Running says whether the process has not ended yet; a stopped one runs.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ExitCode is the code of an ended process, -1 if a signal ended it or it runs.
func (p *Proc) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Err is how the process ended: nil while it runs and after exit code 0.
func (p *Proc) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Signal sends sig to the process alone. That it is gone is not an error.
func (p *Proc) Signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill ends the process with all its children and waits until it is gone.
func (p *Proc) Kill() {
	if p.Running() {
		// The group is ours: the process was started as its leader.
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.done
}

// Wait waits until the process has ended, for at most that long.
func (p *Proc) Wait(atMost time.Duration) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(atMost):
		return fmt.Errorf("%s (pid %d) still runs after %v", p.Spec.Name, p.PID(), atMost)
	}
}

// Close kills what still runs, stopped processes included, and waits for it.
func (g *Group) Close() {
	g.mu.Lock()
	procs := g.procs
	g.procs = nil
	g.mu.Unlock()
	for _, p := range procs {
		if p.Running() {
			_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		}
	}
	for _, p := range procs {
		<-p.done
	}
}
