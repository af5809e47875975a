//go:build unix

package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What stands between a guard and whoever started it: two pipes, by their file
// descriptors, and what the guard says on the second, a line each.
const (
	lifelineFD = 3
	reportFD   = 4

	saysPID  = "pid "
	saysExit = "it ended with exit code "
)

// guard is a process that does nothing but to see an application to its end.
type guard struct {
	report *os.File
	pid    int // of the application, and of its group

	mu   sync.Mutex
	gone bool // guarded by mu: the application was waited for, its pid may be another's
}

// Guard runs a command in a process group of its own until it ends, or until whoever
// started this process does, and kills what it has left behind. It returns the exit code
// for this process, which must do nothing else. It is called in the process that
// Config.Guard starts, and nowhere else.
func Guard(command []string) int {
	runtime.LockOSThread() // the application dies with the thread that started it
	lifeline, report := os.NewFile(lifelineFD, "lifeline"), os.NewFile(reportFD, "report")
	if lifeline == nil || report == nil || len(command) == 0 {
		return guardFailed
	}
	if _, err := report.Stat(); err != nil {
		fmt.Fprintln(os.Stderr, "ring: this command is started by ring node, and by nobody else")
		return guardFailed
	}
	syscall.CloseOnExec(lifelineFD) // else what it guards would hold its own lifeline
	syscall.CloseOnExec(reportFD)
	// Whoever signals this process means the application, or has signalled it as well.
	// To ignore would be inherited; to be told and do nothing is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP,
		syscall.SIGPIPE, syscall.SIGQUIT)
	adopt()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		text := "it does not start: " + err.Error()
		fmt.Fprintln(report, strings.ReplaceAll(text, "\n", " "))
		return guardFailed
	}
	g := &guard{report: report, pid: cmd.Process.Pid}
	fmt.Fprintf(report, "%s%d\n", saysPID, g.pid)
	go g.obey(lifeline)
	status := g.await()
	g.sweep()
	switch {
	case status.Signaled():
		fmt.Fprintf(report, "it was ended by a signal (%v)\n", status.Signal())
		return signalled + int(status.Signal())
	default:
		fmt.Fprintf(report, "%s%d\n", saysExit, status.ExitStatus())
		return status.ExitStatus()
	}
}

// The exit codes of a guard that are not its application's, as shells have them.
const (
	guardFailed = 127
	signalled   = 128
)

// obey passes on the signals that come, until nobody is left to send any.
func (g *guard) obey(lifeline *os.File) {
	for one := make([]byte, 1); ; {
		if n, err := lifeline.Read(one); n == 0 || err != nil {
			g.signal(syscall.SIGKILL)
			return
		}
		s := syscall.Signal(one[0])
		g.signal(s)
		if s != syscall.SIGKILL {
			g.signal(syscall.SIGCONT) // who was stopped hears it, too
		}
	}
}

// signal reaches the group, and the application where it has left that.
func (g *guard) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	err := syscall.Kill(-g.pid, s)
	if group, gerr := syscall.Getpgid(g.pid); err != nil || gerr == nil && group != g.pid {
		_ = syscall.Kill(g.pid, s)
	}
}

// await reaps all that ends, of which there may be more than the application: this
// process adopts orphans. It returns how the application ended.
func (g *guard) await() syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // which cannot be: it is our child
			g.mu.Lock()
			defer g.mu.Unlock()
			g.gone = true
			return status
		case pid == g.pid && (status.Exited() || status.Signaled()):
			g.mu.Lock()
			defer g.mu.Unlock()
			g.gone = true
			killGroup(g.pid) // what is left of it; nobody else's, as nobody has reused it yet
			return status
		}
	}
}

// sweep kills what the application has left behind, and waits for it to be gone. Who is
// killed here hands its children to this process, so it goes on until there are none.
func (g *guard) sweep() {
	for {
		for _, pid := range children() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return
			}
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		time.Sleep(sweepPause)
	}
}

// sweepPause lets the killed die.
const sweepPause = 2 * time.Millisecond
