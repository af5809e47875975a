//go:build unix

package guard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Supported is whether this system has process groups.
const Supported = true

const (
	tellTime = 100 * time.Millisecond // for a deadline to be told
	killTime = 2 * sweepTime          // for a guard to have killed, until it is killed itself
	copyTime = time.Second            // for what was printed to be copied, where it is copied
)

// Process is a command under its guard. Its methods may be called by several goroutines.
type Process struct {
	cmd    *exec.Cmd // of the guard
	report *os.File
	cgroup *cgroup // of the command; nil: none of its own

	running chan struct{} // closed when it runs, or will not
	pid     int           // of the command, set before running is closed
	ended   chan struct{}
	exit    Exit // set before ended is closed

	mu       sync.Mutex // guards lifeline: one order at a time
	lifeline *os.File   // what it leads to ends when it closes
}

// Start starts the guard, which starts the command. That the command cannot be started is
// an Exit, and no error. Who has called Start must call Wait.
func Start(cfg Config) (*Process, error) {
	switch {
	case len(cfg.Command) == 0 || len(cfg.Guard) == 0:
		return nil, errors.New("guard: there is no command, or no guard for it")
	case !Deadlines && (cfg.Term != 0 || cfg.Kill != 0):
		return nil, ErrUnsupported
	}
	life, lifeline, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	report, reports, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the guard: %w", err), life.Close(), lifeline.Close())
	}
	cmd := exec.Command(cfg.Guard[0], cfg.Guard[1:]...)
	cmd.Args = append(cmd.Args, cfg.Command...)
	if cfg.Name != "" {
		cmd.Args[0] = cfg.Name
	}
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = cfg.Env, cfg.Dir, cfg.Stdout, cfg.Stderr
	if cfg.Stdin != nil {
		cmd.Stdin = cfg.Stdin
	}
	cmd.WaitDelay = copyTime                   // who is out of reach may hold what it prints into
	cmd.ExtraFiles = []*os.File{life, reports} // lifelineFD, reportFD
	// Ctrl-C at a terminal is for this process alone: it says when the command ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &Process{
		cmd: cmd, report: report, lifeline: lifeline, cgroup: newCgroup(),
		running: make(chan struct{}), ended: make(chan struct{}),
	}
	grouped := int64(0)
	if p.cgroup != nil {
		cmd.ExtraFiles, grouped = append(cmd.ExtraFiles, p.cgroup.dir), 1 // cgroupFD
	}
	p.tell(0, orderRun, int64(cfg.Grace), grouped, int64(cfg.Term), int64(cfg.Kill)) // an empty pipe takes it
	err = cmd.Start()
	_ = life.Close() // the guard has its own
	_ = reports.Close()
	if err != nil {
		_ = lifeline.Close()
		_ = report.Close()
		p.cgroup.remove(sweepTime)
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	go p.watch() // ends with the guard
	return p, nil
}

// tell gives an order, a line of its own. With a time limit it may be lost.
func (p *Process) tell(within time.Duration, order string, numbers ...int64) {
	line := []byte(order)
	for _, n := range numbers {
		line = strconv.AppendInt(append(line, ' '), n, 10)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Time{}
	if within > 0 {
		until = time.Now().Add(within)
	}
	_ = p.lifeline.SetWriteDeadline(until)
	_, _ = p.lifeline.Write(append(line, '\n')) // whole or not at all; a guard that is gone needs none
}

// PID waits until the command runs. It is 0 where that cannot be started.
func (p *Process) PID() int {
	<-p.running
	return p.pid
}

// Signal sends a signal to the command and its group, which asks both to end: whom the
// command leaves behind then is not killed at once, but by SIGKILL only. Who was stopped is
// woken to hear it. A guard that does not see to SIGKILL within some seconds is killed with
// the group.
func (p *Process) Signal(s syscall.Signal) {
	p.tell(tellTime, orderSignal, int64(s))
	if s == syscall.SIGKILL {
		time.AfterFunc(killTime, func() {
			select {
			case <-p.ended:
			default:
				_ = p.cmd.Process.Kill() // watch does the rest
			}
		})
	}
}

// Pass sends a signal to the command alone, not to its group, and means nothing by it:
// whatever the command does then is its own affair. What is passed on to a guard that was
// stopped may be lost, as may what comes before the command runs.
func (p *Process) Pass(s syscall.Signal) { p.tell(tellTime, orderPass, int64(s)) }

// Until says when the command is asked to end (SIGTERM, and SIGKILL Config.Grace later)
// and when it is killed in any case: times of BootTime, and 0 for none. The guard keeps
// to those that it was told last, without this process too. It may be told again and
// again: a guard that was stopped is not waited for, and what it was told may be lost.
func (p *Process) Until(term, kill time.Duration) {
	p.tell(tellTime, orderUntil, int64(term), int64(kill))
}

// Stop asks the command to end (SIGTERM), and has it killed after Config.Grace.
func (p *Process) Stop() { p.tell(0, orderStop) }

// Done is closed when nothing of the command is left.
func (p *Process) Done() <-chan struct{} { return p.ended }

// Wait waits until nothing of the command is left, and says how it ended.
func (p *Process) Wait() Exit {
	<-p.ended
	return p.exit
}

// watch hears what the guard reports, and waits for its end.
func (p *Process) watch() {
	defer close(p.ended)
	told := false
	for lines := bufio.NewScanner(p.report); lines.Scan(); {
		what, rest, _ := strings.Cut(lines.Text(), " ")
		number, text, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		switch {
		case err != nil: // not from a guard
		case what == reportPID && p.pid == 0:
			p.pid = n
			close(p.running)
		case what == reportEnd:
			cut, text, _ := strings.Cut(text, " ")
			p.exit, told = Exit{n, text, cut != "0"}, true
		}
	}
	if !told && p.pid > 1 {
		// The guard was killed. The kernel may have taken the command with it, but hardly
		// its children.
		KillGroup(p.pid)
	}
	if !told {
		p.cgroup.kill() // and with it who has left the group
	}
	_ = p.cmd.Wait() // what matters of its end was reported, or is told below
	p.cgroup.remove(sweepTime)
	if !told {
		p.exit = Exit{Code: Killed, Text: "its guard ended before it: " + p.cmd.ProcessState.String()}
	}
	if p.pid == 0 {
		close(p.running)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.lifeline.Close()
	_ = p.report.Close()
}

// InGroup has a command run in a process group of its own, and all of that killed when
// its context ends. On Linux it dies with the thread that starts it.
func InGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { KillGroup(cmd.Process.Pid); return nil }
}

// KillGroup kills what is left of a process group.
func KillGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }
