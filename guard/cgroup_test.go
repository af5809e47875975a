//go:build linux

package guard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// grouped skips where this process may make no control groups, which in CI it may where it is
// root and there is a hierarchy that can be written to.
func grouped(t *testing.T) (own string) {
	t.Helper()
	c := newCgroup()
	if c == nil {
		if own := ownCgroup(); own != "" && os.Getenv("CI") == "true" && os.Geteuid() == 0 {
			trial := filepath.Join(own, "ring-guard-trial")
			err := os.Mkdir(trial, 0o755)
			_, missing := os.Stat(filepath.Join(trial, "cgroup.kill"))
			_ = os.Remove(trial)
			if err == nil && missing == nil {
				t.Fatalf("no control group is made below %s, where there can be one", own)
			}
		}
		t.Skip("SKIPPED: this process may make no control groups of version 2 here; " +
			"CI runs it where it is root and has /sys/fs/cgroup (cgroup2) for writing, and skips it elsewhere, too")
	}
	c.remove(sweepTime)
	if _, err := os.Stat(c.dir.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("an empty one is not removed: %v", err)
	}
	return filepath.Dir(c.dir.Name())
}

// left are the control groups that were made by a process and are there.
func left(t *testing.T, own string, pid int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(own, cgroupPrefix(pid)+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A guard that is killed alone takes those along, too, who have left the group for a
// session of their own; and no control group is left, however it ended.
func TestKilledGuardTakesSessionsAlong(t *testing.T) {
	own := grouped(t)
	g := run(t, leaky+"exec sleep 1000", nil)
	pids := g.leaked()
	if err := g.Process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g.ends(Killed, "its guard ended before it: signal: killed")
	gone(t, pids...)

	run(t, leaky+"exit 3", nil).ends(3, "")
	run(t, "", func(c *Config) { c.Command = []string{"/nowhere/at/all"} }).ends(NotFound, "does not start")
	run(t, "", func(c *Config) { c.Guard = []string{"false"} }).ends(Killed, "its guard ended")
	if names := left(t, own, os.Getpid()); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

// Whoever has started a guard is killed: the guard removes what that has made.
func TestKilledHolderLeavesNoCgroup(t *testing.T) {
	own := grouped(t)
	cmd, g := holder(t, "0s", "0s", leaky+"exec sleep 1000")
	pids := g.leaked()
	if len(left(t, own, cmd.Process.Pid)) == 0 {
		t.Error("there is no control group")
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, pids...)
	await(t, "nothing is left behind", func() bool { return len(left(t, own, cmd.Process.Pid)) == 0 })
}

// parentOf is the process that has started another.
func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	if _, err := fmt.Sscanf(rest, "%1s %d", new(string), &parent); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return parent
}

// Where a guard and its starter are killed in one moment, the next that is started below the same
// control group clears what they have left.
func TestNextStartClearsWhatIsLeft(t *testing.T) {
	own := grouped(t)
	cmd, g := holder(t, "0s", "0s", leaky+"exec sleep 1000")
	pids := g.leaked()
	keeper := parentOf(t, pids[0])
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range []int{keeper, cmd.Process.Pid} {
			if err := syscall.Kill(pid, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	gone(t, keeper, pids[0])       // the command itself dies with its guard
	for _, pid := range pids[1:] { // a guard of another test program here may have been the next
		if syscall.Kill(pid, 0) != nil {
			t.Logf("%d is gone already", pid)
		}
	}
	run(t, "exit 0", nil).ends(0, "")
	gone(t, pids...)
	await(t, "nothing is left behind", func() bool { // what took longer to die is for the next
		run(t, "exit 0", nil).ends(0, "")
		return len(left(t, own, cmd.Process.Pid)) == 0
	})
}

// A guard whose starter is gone keeps its command for its grace, whoever else is started.
func TestNextStartLeavesGuardsAlone(t *testing.T) {
	own := grouped(t)
	cmd, g := holder(t, "1h", "0s", "trap 'echo 1 > $D/asked' TERM; echo $$ > $D/pid; while [ ! -e $D/go ]; do sleep 0.01; done; echo 1 > $D/done")
	pid := g.pid("pid")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	g.pid("asked")
	run(t, "exit 0", nil).ends(0, "")
	if err := os.WriteFile(filepath.Join(g.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.pid("done")
	gone(t, pid)
	await(t, "nothing is left behind", func() bool { return len(left(t, own, cmd.Process.Pid)) == 0 })
}

// What a command has made below its control group goes with it.
func TestNestedCgroups(t *testing.T) {
	grouped(t)
	c := newCgroup()
	if err := os.MkdirAll(filepath.Join(c.dir.Name(), "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.remove(patience)
	if _, err := os.Stat(c.dir.Name()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not removed: %v", err)
	}
}
