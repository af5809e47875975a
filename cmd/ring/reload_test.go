//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring/trust"
	"ringofservers.dev/supervise"
)

// reloaded is a ring of one whose file is written anew.
type reloaded struct {
	t     *testing.T
	dir   string
	addr  string
	cmd   *exec.Cmd
	lines <-chan string
	ahead []string // lines that came before the last reload was told of, not waited for yet
}

func newReloaded(t *testing.T, tables string) *reloaded {
	t.Helper()
	r := &reloaded{t: t, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))}
	r.write(tables)
	r.cmd, r.lines = startNode(t, "D="+r.dir, "node", "--config", r.file())
	return r
}

func (r *reloaded) file() string { return filepath.Join(r.dir, "ring.toml") }

func (r *reloaded) write(tables string) {
	r.t.Helper()
	text := fmt.Sprintf("name = \"solo\"\nroster = [\"solo\"]\naddresses = %q\n%s", r.addr, tables)
	if err := os.WriteFile(r.file(), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reloaded) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// reload has it read other tables, and waits until it says what has changed. What comes of
// the change may be told before that: it can still be waited for.
func (r *reloaded) reload(tables, changed string) {
	r.t.Helper()
	r.write(tables)
	r.signal(syscall.SIGHUP)
	r.ahead = awaitLine(r.t, r.lines, "settings reloaded", "changed="+changed)
}

// await waits for a line with the words.
func (r *reloaded) await(words ...string) {
	r.t.Helper()
	for i, line := range r.ahead {
		if holdsAll(line, words) {
			r.ahead = r.ahead[i+1:]
			return
		}
	}
	r.ahead = nil
	awaitLine(r.t, r.lines, words...)
}

// app waits until the application is that way, and says which process it is. Where there is
// none, nobody is told of one.
func (r *reloaded) app(what string, ok func(*supervise.Status) bool) (pid int) {
	r.t.Helper()
	var s admin.Status
	for begin := time.Now(); time.Since(begin) < upPatience; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + r.addr + "/v1/status")
		if err != nil {
			continue
		}
		s = admin.Status{}
		err = json.NewDecoder(resp.Body).Decode(&s)
		resp.Body.Close()
		switch {
		case err != nil || !ok(s.App):
		case s.App != nil:
			return s.App.PID
		case len(s.Instances) == 1 && s.Instances[0].App == nil:
			return 0
		}
	}
	r.t.Fatalf("not %s: %+v", what, s.App)
	return 0
}

func (r *reloaded) healthy() (pid int) {
	r.t.Helper()
	return r.app("healthy", func(s *supervise.Status) bool {
		return s != nil && s.State == supervise.Healthy && s.PID > 0
	})
}

// slots are those that jobs have written to a file.
func (r *reloaded) slots(file string) []string {
	text, _ := os.ReadFile(filepath.Join(r.dir, file))
	return strings.Fields(string(text))
}

// awaitMore waits until n more of them are written.
func (r *reloaded) awaitMore(file string, n int) {
	r.t.Helper()
	n += len(r.slots(file))
	for begin := time.Now(); len(r.slots(file)) < n; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > upPatience {
			r.t.Fatalf("%s: %v is all that is run, want %d slots", file, r.slots(file), n)
		}
	}
}

func (r *reloaded) leave() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	r.await("msg=left")
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}

// appTable is an application that says on whose behalf it runs, which signals it gets, and
// that it was asked to end.
func appTable(word, more string) string {
	return fmt.Sprintf(`
[app]
command = ["sh", "-c", "for s in HUP USR1 USR2; do trap \"echo %[1]s got $s >&2\" $s; done; trap 'echo %[1]s drained >&2; exit 0' TERM; echo %[1]s runs >&2; while :; do sleep 0.02; done"]
%[2]s
`, word, more)
}

// An application whose settings have changed is drained and started anew, one whose have
// not is left alone, one that is not wanted any more goes, and one that is new comes.
func TestReloadExchangesTheApplication(t *testing.T) {
	r := newReloaded(t, appTable("one", ""))
	r.await("one runs")
	first := r.healthy()
	r.reload(appTable("one", "")+"\n[respawn]\ncommand = [\"true\"]\n", "respawn.command")
	if again := r.healthy(); again != first {
		t.Errorf("nothing of it has changed, and process %d is %d now", first, again)
	}
	r.reload(appTable("one", `exit = "leave"`), `"app.exit, respawn.command"`)
	if again := r.healthy(); again != first {
		t.Errorf("what the instance does with its end has changed, and process %d is %d now", first, again)
	}
	r.reload(appTable("two", `exit = "leave"`), "app.command")
	r.await("one drained")
	r.await("two runs") // and the instance has not left
	second := r.healthy()
	r.reload(appTable("two", "exit = \"leave\"\nstop_timeout = \"7s\""), "app.stop_timeout")
	r.await("two drained")
	r.await("two runs")
	if third := r.healthy(); third == second || third == first {
		t.Errorf("settings of it have changed, and process %d is %d now", second, third)
	}
	r.reload("", `"app.command, app.stop_timeout, app.exit"`)
	r.await("two drained")
	r.app("gone", func(s *supervise.Status) bool { return s == nil })
	r.reload(appTable("three", ""), "app.command")
	r.await("three runs")
	r.healthy()
	r.leave()
}

// One that was given up is started again by a reload that changes nothing, also where it then
// fails again; one that has ended well is not.
func TestReloadStartsAgainWhatHasFailed(t *testing.T) {
	table := `
[app]
command = ["sh", "-c", "[ ! -e $D/broken ] || exit 7; echo app runs >&2; while [ ! -e $D/over ]; do sleep 0.02; done"]
restart = "on-failure"
restart_limit = 1
backoff_min = "1ms"
`
	r := newReloaded(t, "")
	set := func(file string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	failed := func() {
		t.Helper()
		r.await("application is failed")
		r.app("failed", func(s *supervise.Status) bool { return s != nil && s.State == supervise.Failed })
	}
	r.app("there is none", func(s *supervise.Status) bool { return s == nil })
	set("broken")
	r.reload(table, `"app.command, app.restart, app.restart_limit, app.backoff_min"`)
	failed()
	r.reload(table, "nothing")
	r.await("it had failed")
	failed()
	if err := os.Remove(filepath.Join(r.dir, "broken")); err != nil {
		t.Fatal(err)
	}
	r.reload(table, "nothing")
	r.await("app runs")
	r.healthy()
	set("over")
	over := func(s *supervise.Status) bool { return s != nil && s.State.Final() }
	r.app("over", over)
	r.reload(table, "nothing")
	r.app("over still", over)
	r.leave()
}

// Settings that change back while the application is drained for others do not make the
// instance leave with it, and it runs again.
func TestReloadThatChangesBack(t *testing.T) {
	slow := `
[app]
command = ["sh", "-c", "trap 'echo drains >&2; while [ ! -e $D/go ]; do sleep 0.02; done; exit 0' TERM; echo slow runs >&2; while :; do sleep 0.02; done"]
exit = "leave"
`
	r := newReloaded(t, slow)
	r.await("slow runs")
	first := r.healthy()
	r.reload(appTable("other", `exit = "leave"`), "app.command")
	r.await("drains")
	r.reload(slow, "app.command")
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.await("slow runs")
	if again := r.healthy(); again == first {
		t.Errorf("process %d has outlived its drain", first)
	}
	r.leave()
}

// Signals that mean no end reach the application, as the settings say, while it drains,
// too; without one they do no harm.
func TestSignalsArePassedOn(t *testing.T) {
	r := newReloaded(t, "")
	r.app("there is none", func(s *supervise.Status) bool { return s == nil })
	r.signal(syscall.SIGUSR1)
	r.await("signal not passed on")
	r.reload(appTable("one", ""), "app.command")
	r.await("one runs")
	r.healthy()
	for s, name := range map[syscall.Signal]string{syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2"} {
		r.signal(s)
		r.await("one got " + name)
	}
	r.reload(appTable("one", `forward_signals = ["HUP", "SIGUSR2"]`), "app.forward_signals")
	r.await("one got HUP")
	r.signal(syscall.SIGUSR1)
	r.await("signal not passed on")
	r.signal(syscall.SIGUSR2)
	r.await("one got USR2")
	r.leave()
}

// A job whose record is of another kind is told of, and is run once that is forgotten, without
// a reload.
func TestRunGoesOnOnceTheRecordIsForgotten(t *testing.T) {
	r := newReloaded(t, "")
	ask := func(args ...string) {
		t.Helper()
		var out strings.Builder
		args = append(args, "--addr", r.addr)
		for begin := time.Now(); run(args, &out, &out) != exitDone; time.Sleep(50 * time.Millisecond) {
			if time.Since(begin) > upPatience {
				t.Fatalf("%q: %s", args, out.String())
			}
		}
	}
	ask("bus", "set", "run/job", `{"v":1,"schedule":"every 7 ticks","ticks":true,"slot":7,"runs":[]}`)
	r.reload("\n[[run]]\nname = \"job\"\nevery = \"1s\"\ncommand = [\"sh\", \"-c\", \"echo job runs >&2\"]\n", "run")
	r.await("not run for now", "ring run forget job")
	ask("run", "forget", "job")
	r.await("job runs")
	r.leave()
}

// An instance that leaves begins nothing more while its application drains.
func TestRunsBeginNothingWhileItLeaves(t *testing.T) {
	r := newReloaded(t, `
[app]
command = ["sh", "-c", "trap 'echo drains >&2; while [ ! -e $D/go ]; do sleep 0.02; done; exit 0' TERM; echo app runs >&2; while :; do sleep 0.02; done"]
stop_timeout = "1m"

[[run]]
name = "job"
every = "1s"
command = ["sh", "-c", "echo $RING_SLOT >> $D/slots"]
`)
	r.await("app runs")
	// Of a process beside it, which goes on: its slots tell that time passes.
	startNode(t, "D="+r.dir, "run", "--addr", r.addr, "--name", "beside", "--every", "1s", "--",
		"sh", "-c", "echo $RING_SLOT >> $D/beside")
	r.awaitMore("slots", 1)
	r.awaitMore("beside", 1)
	r.signal(syscall.SIGTERM)
	r.await("drains")
	r.awaitMore("beside", 1) // what was claimed before may have but begun
	drains := slices.Max(r.slots("beside"))
	r.awaitMore("beside", 2)
	if last := slices.Max(r.slots("slots")); last > drains {
		t.Errorf("slot %s was run while it drained, from before %s on", last, drains)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.await("msg=left")
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}

// Jobs whose tables have changed are exchanged, and what they run goes on to its end; one
// that is not there any more begins nothing new, and others do not notice.
func TestReloadExchangesRuns(t *testing.T) {
	job := func(name, command, more string) string {
		return fmt.Sprintf("\n[[run]]\nname = %q\nevery = \"1s\"\n%s\ncommand = [\"sh\", \"-c\", %q]\n", name, more, command)
	}
	long := job("long", "echo old begins >&2; while [ ! -e $D/go ]; do sleep 0.05; done; echo old ends >&2", `overlap = "forbid"`)
	r := newReloaded(t, long+job("same", "echo $RING_SLOT >> $D/same", ""))
	r.await("old begins")
	r.reload(job("long", "echo new begins >&2", `overlap = "forbid"`)+job("same", "echo $RING_SLOT >> $D/same", ""), "run")
	r.awaitMore("same", 2)
	if err := os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.await("old ends") // it was not ended, and the new one has waited for it
	r.await("new begins")
	r.reload(job("other", "echo $RING_SLOT >> $D/other", ""), "run")
	r.awaitMore("other", 2)
	last := r.slots("other")[0]
	if slices.Max(r.slots("same")) > last {
		t.Errorf("what was removed is run at %s, behind %s", slices.Max(r.slots("same")), last)
	}
	if all := r.slots("same"); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		t.Errorf("a slot was run twice: %v", all)
	}
	r.leave()
}

// A reload that does not take the identity says so, and goes on with the old one.
func TestReloadWithoutTheIdentity(t *testing.T) {
	dir := t.TempDir()
	a, err := trust.Init(filepath.Join(dir, "ca"), "ring", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Identity(trust.ID{Role: trust.Instance, Ring: "ring", Name: "solo"}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.WriteDir(dir, m); err != nil {
		t.Fatal(err)
	}
	r := newReloaded(t, fmt.Sprintf("tls = %q\n", dir))
	r.await("msg=listening")
	file := filepath.Join(dir, "identity.pem")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGHUP)
	r.await("identity not reloaded", "holds no PEM")
	r.await("level=WARN", "settings reloaded, but not the identity", "changed=nothing")
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGHUP)
	r.await("level=INFO", `msg="settings reloaded"`, "changed=nothing")
	r.leave()
}
