//go:build unix

package guard

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What stands between a guard and whoever started it: two pipes, by their file
// descriptors. On the first come orders, on the second goes the report; both are lines of
// a word, numbers, and text.
const (
	lifelineFD = 3
	reportFD   = 4
	cgroupFD   = 5 // the directory of the command's, where there is one

	orderRun    = "run"    // grace, whether there is a cgroup, term, kill: the first, and only that
	orderUntil  = "until"  // term, kill
	orderSignal = "signal" // which
	orderPass   = "pass"   // which
	orderStop   = "stop"

	reportPID = "pid" // of the command
	reportEnd = "end" // exit code, 1 where it was cut off or else 0, and that in words
)

const (
	lookEvery  = 20 * time.Millisecond // at the clock, where there are deadlines
	sweepPause = 2 * time.Millisecond  // lets the killed die; it doubles
	sweepTime  = 2 * time.Second       // for that: who waits for a disk may take for ever
)

// order is a line that a guard was told.
type order struct {
	what    string
	numbers []int64
}

// readOrders closes to when there is nobody who would give any, or nobody who can.
func readOrders(from io.Reader, to chan<- order) {
	defer close(to)
	takes := map[string]int{orderRun: 4, orderUntil: 2, orderSignal: 1, orderPass: 1, orderStop: 0}
	for lines := bufio.NewScanner(from); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			return
		}
		o := order{what: words[0]}
		for _, w := range words[1:] {
			n, err := strconv.ParseInt(w, 10, 64)
			if err != nil {
				return
			}
			o.numbers = append(o.numbers, n)
		}
		if n, ok := takes[o.what]; !ok || n != len(o.numbers) {
			return
		}
		to <- o
	}
}

// guard is a process that does nothing but to see a command to its end. All of it is one
// goroutine's, so nobody is signalled whose pid may be another's by now.
type guard struct {
	pid    int          // of the command, and of its group
	cgroup *cgroup      // that it is in; nil: none of its own
	orders <-chan order // closed when nobody gives any; nil behind that
	died   <-chan os.Signal

	grace      time.Duration
	term, kill time.Duration // deadlines by the boot clock; 0: none
	look       *time.Ticker
	asked      bool             // SIGTERM was sent
	overdue    <-chan time.Time // the grace is over
	draining   bool             // it was asked to end, and not killed: its group has time, too
	ended      bool             // the command has; its group may live
	cut        bool             // it was told to before it had
}

// Run runs a command in a process group of its own until it ends, or is told to, or whoever
// started this process has ended, and kills what it has left behind. It returns the exit
// code for this process, which must do nothing else. It is called in the process that
// Config.Guard starts, on its main goroutine, and nowhere else.
func Run(command []string) int {
	runtime.LockOSThread() // the command dies with the thread that started it
	report, lifeline := os.NewFile(reportFD, "report"), os.NewFile(lifelineFD, "lifeline")
	orders := make(chan order)
	first := order{}
	if _, err := report.Stat(); err == nil && len(command) > 0 {
		syscall.CloseOnExec(lifelineFD) // else the command would hold its own lifeline
		syscall.CloseOnExec(reportFD)
		go readOrders(lifeline, orders)
		first = <-orders
	}
	if first.what != orderRun {
		fmt.Fprintln(os.Stderr, "guard: this is started by another process of this program, and by nobody else")
		return NotRun
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	// Whoever signals this process means the command, or has signalled it as well. To
	// ignore would be inherited; to be told and do nothing is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP,
		syscall.SIGPIPE, syscall.SIGQUIT)
	g := &guard{
		orders: orders, died: died, look: time.NewTicker(lookEvery), grace: time.Duration(first.numbers[0]),
	}
	defer g.look.Stop()
	if first.numbers[1] != 0 {
		g.cgroup = heir(cgroupFD)
	}
	g.until(first.numbers[2:])
	exit := g.run(command, report)
	cut := 0
	if exit.Cut {
		cut = 1
	}
	_, _ = fmt.Fprintln(report, reportEnd, exit.Code, cut, strings.ReplaceAll(exit.Text, "\n", " "))
	return exit.Code
}

// run is Run once it is known what to do.
func (g *guard) run(command []string, report io.Writer) Exit {
	if g.late(g.term) || g.late(g.kill) {
		return Exit{Code: NotRun, Text: "there is no time left to run it", Cut: true}
	}
	adopt()
	cmd, err := start(command, g.cgroup)
	if err != nil && g.cgroup != nil { // a sandbox may forbid to begin in one
		cmd, err = start(command, nil)
	}
	if err != nil {
		exit := Exit{Code: NotRunnable, Text: "it does not start: " + err.Error()}
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			exit.Code = NotFound
		}
		return exit
	}
	_ = os.Stdin.Close() // whoever writes there is to be told when the command reads no more
	g.pid = cmd.Process.Pid
	_, _ = fmt.Fprintln(report, reportPID, g.pid) // who does not hear it has ended, and so it goes on
	status := g.await()
	g.cgroup.kill()
	g.sweep()
	g.cgroup.remove(sweepTime) // who has made it may be gone
	if status.Signaled() {
		return Exit{
			Signalled + int(status.Signal()), fmt.Sprintf("it was ended by a signal (%v)", status.Signal()), g.cut,
		}
	}
	return Exit{status.ExitStatus(), fmt.Sprintf("it ended with exit code %d", status.ExitStatus()), g.cut}
}

// await obeys and looks at the clock until the command has ended. One that was asked to is
// often but the shell above whom it is about, so then its group may take as long as it
// might. It returns how the command ended.
func (g *guard) await() (status syscall.WaitStatus) {
	for {
		select {
		case <-g.died:
			g.reap(&status)
		case o, ok := <-g.orders:
			if !ok {
				g.orders = nil
				g.end()
				break
			}
			g.obey(o)
		case <-g.look.C:
			if g.late(g.term) {
				g.end()
			}
			if g.late(g.kill) {
				g.signal(syscall.SIGKILL)
			}
		case <-g.overdue:
			g.signal(syscall.SIGKILL)
		}
		switch {
		case !g.ended:
		case !g.draining || errors.Is(syscall.Kill(-g.pid, 0), syscall.ESRCH):
			KillGroup(g.pid) // of that number as long as anybody is in it
			return status
		default: // not everywhere is this process told of who is not its child
			g.look.Reset(lookEvery)
		}
	}
}

// start starts a command in a process group of its own, and in that cgroup.
func start(command []string, c *cgroup) (*exec.Cmd, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = ownGroup()
	c.begin(cmd.SysProcAttr)
	return cmd, cmd.Start()
}

func (g *guard) obey(o order) {
	switch o.what {
	case orderUntil:
		g.until(o.numbers)
	case orderSignal:
		g.draining = true
		g.signal(syscall.Signal(o.numbers[0]))
	case orderPass:
		if !g.ended { // else its number may be somebody else's
			_ = syscall.Kill(g.pid, syscall.Signal(o.numbers[0]))
		}
	case orderStop:
		g.end()
	}
}

// until takes deadlines. Where there are none the clock is not looked at.
func (g *guard) until(numbers []int64) {
	g.term, g.kill = time.Duration(numbers[0]), time.Duration(numbers[1])
	if g.term > 0 || g.kill > 0 {
		g.look.Reset(lookEvery)
	} else {
		g.look.Stop()
	}
}

// late is whether a deadline has come. A timer would not count the time in which the host
// sleeps.
func (g *guard) late(deadline time.Duration) bool { return deadline > 0 && BootTime() >= deadline }

// end asks the group to end, once.
func (g *guard) end() {
	switch {
	case g.asked:
	case g.grace <= 0:
		g.signal(syscall.SIGKILL)
	default:
		g.asked, g.draining, g.overdue = true, true, time.After(g.grace)
		g.signal(syscall.SIGTERM)
	}
}

// signal reaches the group, and the command where it has left that. Who was stopped is
// woken to hear it.
func (g *guard) signal(s syscall.Signal) {
	g.cut = g.cut || !g.ended
	if s == syscall.SIGKILL {
		g.draining = false
	}
	for _, s := range []syscall.Signal{s, syscall.SIGCONT} {
		err := syscall.Kill(-g.pid, s)
		if g.ended { // its number may be somebody else's by now
			continue
		}
		if group, gerr := syscall.Getpgid(g.pid); err != nil || gerr == nil && group != g.pid {
			_ = syscall.Kill(g.pid, s)
		}
	}
}

// reap reaps all that has ended, of which there may be more than the command: this
// process adopts orphans.
func (g *guard) reap(status *syscall.WaitStatus) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // there are no children any more, so the command has ended
			g.ended = true
			return
		case pid == 0:
			return
		case pid == g.pid && (s.Exited() || s.Signaled()):
			*status, g.ended = s, true
		}
	}
}

// sweep kills what the command has left behind, and waits for it to be gone. Who is killed
// here hands its children to this process, so it goes on until there are none, or only
// such as may not be killed, or do not die.
func (g *guard) sweep() {
	late, pause := time.Now().Add(sweepTime), sweepPause
	for more := true; more && time.Now().Before(late); pause *= 2 {
		more = false
		for _, pid := range children() {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				more = true
			}
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
		if more {
			time.Sleep(min(pause, lookEvery))
		}
	}
}
