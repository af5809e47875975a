package main

import (
	"bufio"
	"context"
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

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	runner "ringofservers.dev/run"
)

// The exit codes of shells for what could not be started.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
	exitSignal      = 128 // and the number of the signal that ended it
)

const (
	guardLook = 20 * time.Millisecond  // how often a guard looks at the clock
	guardTell = 100 * time.Millisecond // how often it is told how long the lease lasts
)

// bootTime is the clock that goes on while the host sleeps, the same in all processes.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("BUG: no boot clock: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(t.Nano())
}

// canRun is whether this system has what ends a command in time.
func canRun() error { return nil }

// exec runs the command under a guard, which ends it, whatever becomes of this process,
// before the lease could be given away. Its output is this process's.
func (w work) exec(ctx context.Context, s runner.Start, lease runner.Lease) (exit int, err error) {
	// The very program that runs now, though its file may have been replaced.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{os.Args[0], "guard", w.grace.String(), "--"}, w.command...)
	cmd.Env = append(os.Environ(), environment(s)...)
	cmd.Stdout, cmd.Stderr = w.stdout, w.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process
	read, orders, err := os.Pipe()                        // which closes when this process ends, however it ends
	if err != nil {
		return -1, err
	}
	defer orders.Close()
	cmd.Stdin = read
	err = cmd.Start()
	_ = read.Close()
	if err != nil {
		return -1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tell := time.NewTicker(guardTell)
	defer tell.Stop()
	stopped := ctx.Done()
	for {
		// A guard that reads nothing acts by what it was told last, and is not waited for.
		_ = orders.SetWriteDeadline(time.Now().Add(guardTell))
		if now, left := bootTime(), lease.Left(); left > 0 {
			_, _ = fmt.Fprintln(orders, int64(now+left-w.lease*3/10), int64(now+left-w.lease/10))
		}
		select {
		case <-stopped:
			stopped = nil
			_, _ = fmt.Fprintln(orders, "stop")
		case <-tell.C:
		case err := <-ended:
			return guardResult(ctx, err, cmd.ProcessState, lease.Left() < w.lease*3/10)
		}
	}
}

// guardResult is what the end of a guard says of the command.
func guardResult(ctx context.Context, err error, state *os.ProcessState, late bool) (int, error) {
	code := state.ExitCode()
	switch {
	case ctx.Err() != nil && code != 0:
		return code, context.Cause(ctx)
	case late && code != 0:
		return code, runner.ErrLost
	case code < 0:
		return code, fmt.Errorf("its guard: %w", err)
	}
	return code, nil
}

// newRunGuardCommand is the small process between `ring run` and a command.
func newRunGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "guard GRACE -- COMMAND…",
		Short:  "Run a command and end it in time (for ring run)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			grace, err := time.ParseDuration(args[0])
			if err != nil {
				return usageError("%v", err)
			}
			return guardRun(args[1:], grace, os.Stdin)
		},
	}
}

// guardRun runs a command in a group of its own and ends the group at the times
// that it reads, or soon after nobody writes any more. What signals reach it are not
// for it.
func guardRun(args []string, grace time.Duration, from io.Reader) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	runtime.LockOSThread() // Pdeathsig is of the thread that has started the child
	g := guarding{orders: make(chan guardOrder), grace: grace}
	go readOrders(from, g.orders)
	if !g.obey(<-g.orders) || bootTime() >= g.term {
		return exitf(exitFailed, "there is no time left to run it")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return exitf(exitNotFound, "cannot run it: %w", err)
		}
		return exitf(exitNotRunnable, "cannot run it: %w", err)
	}
	g.pid = cmd.Process.Pid
	g.until(exited(g.pid))
	// What it has left in the background goes too. It was not waited for yet, so that the
	// group is still its own.
	_ = syscall.Kill(-g.pid, syscall.SIGKILL)
	_ = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		return exitf(exitSignal+int(status.Signal()), "")
	case status.ExitStatus() != 0:
		return exitf(status.ExitStatus(), "")
	}
	return nil
}

// guardOrder is a line that a guard reads: times of the boot clock, or stop.
type guardOrder struct {
	term, kill time.Duration
	stop       bool
}

// readOrders ends with a stop that says that nobody is there any more.
func readOrders(from io.Reader, to chan<- guardOrder) {
	defer close(to)
	for lines := bufio.NewScanner(from); lines.Scan(); {
		if lines.Text() == "stop" {
			to <- guardOrder{stop: true}
			continue
		}
		term, kill, _ := strings.Cut(lines.Text(), " ")
		t, err1 := strconv.ParseInt(term, 10, 64)
		k, err2 := strconv.ParseInt(kill, 10, 64)
		if err1 != nil || err2 != nil {
			return
		}
		to <- guardOrder{term: time.Duration(t), kill: time.Duration(k)}
	}
}

// exited is closed when that child has ended; it is not reaped.
func exited(pid int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return done
}

// guarding is a guard at work.
type guarding struct {
	orders     chan guardOrder // closed when nobody gives any
	pid        int
	grace      time.Duration
	term, kill time.Duration // when the group is asked to end, and when it is ended
	stopped    time.Duration // when it was asked to; 0: it was not
}

// obey takes one order; ok is false for the zero one of a closed channel.
func (g *guarding) obey(o guardOrder) (ok bool) {
	switch {
	case o.stop:
		g.end()
	case o.kill > 0:
		g.term, g.kill = o.term, o.kill
	default:
		return false
	}
	return true
}

// end asks the group to end, once; who was stopped is woken to hear it.
func (g *guarding) end() {
	if g.stopped == 0 && g.pid > 0 {
		g.stopped = bootTime()
		_ = syscall.Kill(-g.pid, syscall.SIGTERM)
		_ = syscall.Kill(-g.pid, syscall.SIGCONT)
	}
}

// until looks at the clock until the command has ended. A timer would not count the
// time in which the host sleeps.
func (g *guarding) until(ended <-chan struct{}) {
	look := time.NewTicker(guardLook)
	defer look.Stop()
	orders := g.orders
	for {
		select {
		case <-ended:
			return
		case o, ok := <-orders:
			if !g.obey(o) && !ok {
				orders = nil
				g.end()
			}
		case <-look.C:
		}
		now := bootTime()
		if now >= g.term {
			g.end()
		}
		if now >= g.kill || g.stopped > 0 && now >= g.stopped+g.grace {
			_ = syscall.Kill(-g.pid, syscall.SIGKILL)
		}
	}
}
