package guard

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroup is a control group (version 2) that a command is in with all that it starts,
// whatever sessions those begin. A nil one is none: it can be made only where this process
// may write to its own, as root or where systemd delegates that.
//
// Its directory is locked for as long as whoever has made it or the guard lives: both have
// it open.
type cgroup struct{ dir *os.File }

// newCgroup makes one below this process's own, where it first clears what was left behind.
func newCgroup() *cgroup {
	own := ownCgroup()
	if own == "" {
		return nil
	}
	clearLeft(own)
	path, err := os.MkdirTemp(own, cgroupPrefix(os.Getpid()))
	if err != nil {
		return nil
	}
	dir, err := os.Open(path)
	if _, missing := os.Stat(filepath.Join(path, "cgroup.kill")); err != nil || missing != nil { // before Linux 5.14
		_ = dir.Close()
		_ = os.Remove(path)
		return nil
	}
	_ = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // nobody else has it
	return &cgroup{dir}
}

// cgroupName begins the names of all.
const cgroupName = "ring-guard-"

// cgroupPrefix begins the names of those that a process makes.
func cgroupPrefix(pid int) string { return fmt.Sprintf("%s%d-", cgroupName, pid) }

// clearLeft kills and removes what is below own of commands whose guard and starter were
// both killed. A guard alone may be giving its command time to end: then it has the lock.
func clearLeft(own string) {
	entries, err := os.ReadDir(own)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), cgroupName)
		number, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || pid <= 0 || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		dir, err := os.Open(filepath.Join(own, e.Name()))
		if err != nil {
			continue
		}
		if syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			_ = dir.Close()
			continue
		}
		c := &cgroup{dir}
		c.kill()
		c.remove(leftTime)
	}
}

// leftTime is how long those that are cleared may hold up a start. What takes longer to die is
// removed at a later one.
const leftTime = 100 * time.Millisecond

// ownCgroup is the directory of this process's control group, "" where it is not to be seen.
func ownCgroup() string {
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(mine)) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		for mount := range bytes.Lines(mounts) {
			// id parent device root point … - type …: a part of the hierarchy may be mounted.
			head, tail, _ := strings.Cut(string(mount), " - ")
			fields := strings.Fields(head)
			if len(fields) < 5 || !strings.HasPrefix(tail, "cgroup2 ") {
				continue
			}
			if below, err := filepath.Rel(fields[3], path); err == nil && filepath.IsLocal(below) {
				return filepath.Join(fields[4], below)
			}
		}
	}
	return ""
}

// heir is the one that the starter of this guard has made and left open as fd.
func heir(fd uintptr) *cgroup {
	syscall.CloseOnExec(int(fd))
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
	if err != nil {
		return nil
	}
	return &cgroup{os.NewFile(fd, path)}
}

// begin has a command begin in it.
func (c *cgroup) begin(attr *syscall.SysProcAttr) {
	if c != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.dir.Fd())
	}
}

// kill kills all that is in it, whoever's it is.
func (c *cgroup) kill() {
	if c != nil {
		_ = os.WriteFile(filepath.Join(c.dir.Name(), "cgroup.kill"), []byte("1"), 0)
	}
}

// remove takes it away once it is empty, with those that the command has made below. What the
// killed leave for a moment is waited for.
func (c *cgroup) remove(within time.Duration) {
	if c == nil {
		return
	}
	_ = c.dir.Close()
	for late := time.Now().Add(within); time.Now().Before(late); time.Sleep(sweepPause) {
		if err := removeTree(c.dir.Name()); !errors.Is(err, syscall.EBUSY) {
			return
		}
	}
}

// removeTree removes a directory in which are only directories, as far as one can remove them.
func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := removeTree(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return syscall.Rmdir(path)
}
