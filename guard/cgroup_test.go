//go:build linux

package guard

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// grouped skips where this process may make no control groups.
func grouped(t *testing.T) (own string) {
	t.Helper()
	c := newCgroup()
	if c == nil {
		t.Skip("SKIPPED: this process may make no control groups of version 2 here; CI's machines let root")
	}
	c.remove()
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
