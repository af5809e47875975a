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
type cgroup struct{ dir *os.File }

// newCgroup makes one below this process's own.
func newCgroup() *cgroup {
	own := ownCgroup()
	if own == "" {
		return nil
	}
	path, err := os.MkdirTemp(own, cgroupPrefix(os.Getpid()))
	if err != nil {
		return nil
	}
	dir, err := os.Open(path)
	if _, missing := os.Stat(filepath.Join(path, "cgroup.kill")); err != nil || missing != nil { // before Linux 5.14
		_ = os.Remove(path)
		return nil
	}
	return &cgroup{dir}
}

// cgroupPrefix begins the names of those that a process makes.
func cgroupPrefix(pid int) string { return fmt.Sprintf("ring-guard-%d-", pid) }

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

// remove takes it away once it is empty. What the killed leave for a moment is waited for,
// and what has made control groups of its own below keeps it.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	_ = c.dir.Close()
	for late := time.Now().Add(sweepTime); time.Now().Before(late); time.Sleep(sweepPause) {
		if err := os.Remove(c.dir.Name()); !errors.Is(err, syscall.EBUSY) {
			return
		}
	}
}
