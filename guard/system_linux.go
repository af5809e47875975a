package guard

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Deadlines is whether this system has what they take: a clock that goes on while the host
// sleeps, the same in all processes, and an end of the command with its guard.
const Deadlines = true

// BootTime is that clock.
func BootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("BUG: no boot clock: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(t.Nano())
}

// Self is where the very program that runs now can be run again, though its file may have
// been replaced.
func Self() (string, error) { return "/proc/self/exe", nil }

// ownGroup begins a process group, which its first process leaves with whoever started it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt makes this process the parent of every orphan below it, also of those that have
// begun a session of their own.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// children are the processes of which this one is the parent, as far as /proc is there.
func children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var mine []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (name) state ppid …, and the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(os.Getpid()) {
			mine = append(mine, pid)
		}
	}
	return mine
}
