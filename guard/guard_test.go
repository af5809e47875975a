//go:build unix

package guard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait for what takes milliseconds.
const patience = time.Minute

// guardWord makes this binary the guard, and holderWord a program that has the rest of its
// arguments, behind a grace and how long until it is killed in any case, run under a guard
// until it is killed itself.
const guardWord, holderWord = "as-guard", "as-holder"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case guardWord:
			os.Exit(Run(os.Args[2:]))
		case holderWord:
			os.Exit(hold(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

func hold(args []string) int {
	grace, err := time.ParseDuration(args[0])
	if err != nil {
		panic(err)
	}
	kill, err := time.ParseDuration(args[1])
	if err != nil {
		panic(err)
	}
	cfg := Config{Command: args[2:], Guard: []string{os.Args[0], guardWord}, Grace: grace}
	if kill > 0 {
		cfg.Kill = BootTime() + kill
	}
	p, err := Start(cfg)
	if err != nil {
		panic(err)
	}
	return p.Wait().Code
}

// guarded is a shell script under a guard, and the directory that this has as $D.
type guarded struct {
	*Process
	t   *testing.T
	dir string
}

func run(t *testing.T, script string, edit func(*Config)) *guarded {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cfg := Config{
		Command: []string{"sh", "-c", script}, Guard: []string{os.Args[0], guardWord},
		Env: append(os.Environ(), "D="+dir), Stdout: out, Stderr: out,
	}
	if edit != nil {
		edit(&cfg)
	}
	p, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		p.Wait()
	})
	return &guarded{p, t, dir}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func (g *guarded) ends(code int, text string) {
	g.t.Helper()
	select {
	case <-g.Done():
	case <-time.After(patience):
		g.t.Fatalf("has not ended, want %d", code)
	}
	if got := g.Wait(); got.Code != code || !strings.Contains(got.Text, text) {
		g.t.Errorf("ended as %+v, want %d and %q", got, code, text)
	}
}

// pid is what the script has written into a file of its directory.
func (g *guarded) pid(file string) int {
	g.t.Helper()
	pid := 0
	await(g.t, "a pid in "+file, func() bool {
		text, err := os.ReadFile(filepath.Join(g.dir, file))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && strings.HasSuffix(string(text), "\n") && pid > 0
	})
	return pid
}

func (g *guarded) output() string {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "out"))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		await(t, fmt.Sprintf("pid %d is gone", pid), func() bool { return syscall.Kill(pid, 0) != nil })
	}
}

// Exit codes are those of shells, and words say the same.
func TestExits(t *testing.T) {
	run(t, "exit 0", nil).ends(0, "it ended with exit code 0")
	run(t, "exit 7", nil).ends(7, "it ended with exit code 7")
	run(t, "kill -9 $$", nil).ends(Signalled+9, "it was ended by a signal (killed)")
	command := func(words ...string) func(*Config) { return func(c *Config) { c.Command = words } }
	for _, name := range []string{"/nowhere/at/all", "no-such-command"} {
		g := run(t, "", command(name))
		g.ends(NotFound, "it does not start: ")
		if g.PID() != 0 {
			t.Errorf("%s has pid %d", name, g.PID())
		}
	}
	run(t, "", command(t.TempDir())).ends(NotRunnable, "it does not start: ")
	run(t, "", func(c *Config) { c.Guard = []string{"false"} }).ends(Killed, "its guard ended before it: exit status 1")
	for _, cfg := range []Config{{}, {Command: []string{"true"}}, {Guard: []string{"true"}}} {
		if _, err := Start(cfg); err == nil {
			t.Errorf("Start(%+v) is well", cfg)
		}
	}
	if _, err := Start(Config{Command: []string{"true"}, Guard: []string{"/nowhere/at/all"}}); err == nil {
		t.Error("a guard that does not exist is well")
	}
}

// Who calls it by hand is told so.
func TestRunByHand(t *testing.T) {
	out, err := exec.Command(os.Args[0], guardWord, "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "by nobody else") {
		t.Errorf("%v: %q", err, out)
	}
}

// Whatever a command prints comes out whole, also what it had printed when killed, and
// where it is copied.
func TestOutput(t *testing.T) {
	const lines = 20000
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; kill -9 $$", lines)
	g := run(t, script, nil)
	g.ends(Signalled+9, "")
	copied := new(strings.Builder)
	run(t, script, func(c *Config) { c.Stdout = copied }).ends(Signalled+9, "")
	for _, text := range []string{g.output(), copied.String()} {
		if got := strings.Count(text, "\n"); got != lines {
			t.Errorf("%d lines came out, want %d", got, lines)
		}
	}
}

const stubborn = `trap '' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`

// A stop is asked for first. Who does not listen is killed, and who was stopped is woken.
func TestStop(t *testing.T) {
	long := func(c *Config) { c.Grace = time.Hour }
	g := run(t, `trap 'echo drained; exit 3' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`, long)
	g.pid("pid")
	g.Stop()
	g.ends(3, "")
	if !strings.Contains(g.output(), "drained") {
		t.Errorf("it was not asked: %q", g.output())
	}

	g = run(t, `echo $$ > $D/pid; exec sleep 1000`, long)
	if err := syscall.Kill(g.pid("pid"), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.ends(Signalled+15, "terminated")

	for _, grace := range []time.Duration{0, 30 * time.Millisecond} {
		g = run(t, stubborn, func(c *Config) { c.Grace = grace })
		pid := g.pid("pid")
		g.Stop()
		g.ends(Signalled+9, "killed")
		gone(t, pid)
	}

	g = run(t, `trap 'exit 5' USR1; echo $$ > $D/pid; while :; do sleep 0.01; done`, nil)
	if pid := g.pid("pid"); g.PID() != pid {
		t.Errorf("PID() = %d, want %d", g.PID(), pid)
	}
	g.Signal(syscall.SIGUSR1)
	g.ends(5, "")
}

// leaky starts a child in its group and, where that is to be had, one in a session of
// its own with a child of its own.
const leaky = `sleep 1000 & echo $! > $D/child
if command -v setsid >/dev/null; then
	setsid sh -c 'sleep 1000 & echo $! > $D/grandchild; echo $$ > $D/daemon; sleep 1000' &
	while [ ! -s $D/daemon ]; do sleep 0.01; done
fi
echo $$ > $D/pid
`

// leaked are the processes of leaky that are to be gone.
func (g *guarded) leaked() []int {
	pids := []int{g.pid("pid"), g.pid("child")}
	if _, err := exec.LookPath("setsid"); err == nil && runtime.GOOS == "linux" {
		pids = append(pids, g.pid("daemon"), g.pid("grandchild"))
	}
	return pids
}

// What a command leaves behind goes with it, however it ends.
func TestLeakedChildren(t *testing.T) {
	g := run(t, leaky+"exit 0", nil)
	g.ends(0, "")
	gone(t, g.leaked()...)

	g = run(t, leaky+"exec sleep 1000", nil)
	pids := g.leaked()
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.ends(Signalled+9, "")
	gone(t, pids...)

	g = run(t, leaky+"exec sleep 1000", func(c *Config) { c.Grace = time.Hour })
	pids = g.leaked()
	g.Stop()
	g.ends(Signalled+15, "")
	gone(t, pids...)
}

// wrapped is a shell that ends as soon as it is asked to, above one that has work to end.
const wrapped = `sh -c 'trap "sleep 0.3; echo 1 > $D/drained; exit" TERM; echo $$ > $D/child
while :; do sleep 0.01; done' &
echo $$ > $D/pid; wait; true`

// Whom a shell has started is drained with it, and killed with it.
func TestStopDrainsTheGroup(t *testing.T) {
	for _, stop := range []func(*Process){
		func(p *Process) { p.Stop() },
		func(p *Process) { p.Signal(syscall.SIGTERM) },
	} {
		g := run(t, wrapped, func(c *Config) { c.Grace = time.Hour })
		child := g.pid("child")
		g.pid("pid")
		stop(g.Process)
		g.ends(Signalled+15, "terminated")
		g.pid("drained")
		gone(t, child)
	}

	g := run(t, strings.Replace(wrapped, "sleep 0.3", "sleep 1000", 1), nil)
	child := g.pid("child")
	shell := g.pid("pid")
	g.Signal(syscall.SIGTERM)
	gone(t, shell)
	g.Signal(syscall.SIGKILL)
	g.ends(Signalled+15, "terminated")
	gone(t, child)
}

// A guard that was stopped keeps nobody: it is killed, and the group with it.
func TestStoppedGuard(t *testing.T) {
	g := run(t, `sleep 1000 & echo $! > $D/child; echo $$ > $D/pid; wait`, nil)
	pid, child := g.pid("pid"), g.pid("child")
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.Signal(syscall.SIGKILL)
	g.ends(Killed, "its guard ended before it: signal: killed")
	gone(t, pid, child)
}

// holder has a script run by another process.
func holder(t *testing.T, grace, kill, script string) (*exec.Cmd, *guarded) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], holderWord, grace, kill, "sh", "-c", script)
	cmd.Env = append(os.Environ(), "D="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // which wakes it too
		_ = cmd.Wait()
	})
	return cmd, &guarded{t: t, dir: dir}
}

// Who has started a guard is killed with SIGKILL: nothing of the command outlives it, and
// where there is a grace it may end by itself before.
func TestKilledHolder(t *testing.T) {
	cmd, g := holder(t, "0s", "0s", leaky+"exec sleep 1000")
	pids := g.leaked()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, pids...)

	asked := `trap 'echo 1 > $D/asked; exit' TERM; ` + leaky + "while :; do sleep 0.01; done"
	cmd, g = holder(t, "1h", "0s", asked)
	pids = g.leaked()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, pids...)
	g.pid("asked")
}

// A guard that is killed takes the command along, and who started it kills the rest of
// its group.
func TestKilledGuard(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: elsewhere the kernel does not kill the command; CI runs it on Linux")
	}
	g := run(t, `sleep 1000 & echo $! > $D/child; echo $$ > $D/pid; wait`, nil)
	pid, child := g.pid("pid"), g.pid("child")
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g.ends(Killed, "its guard ended before it: signal: killed")
	gone(t, pid, child)
}

func needsDeadlines(t *testing.T) {
	t.Helper()
	if Deadlines {
		return
	}
	if _, err := Start(Config{Command: []string{"true"}, Guard: []string{"true"}, Kill: 1}); err == nil {
		t.Error("a deadline is well where there is no clock for it")
	}
	t.Skip("SKIPPED: this system has no clock for deadlines; CI runs it on Linux")
}

// At its deadlines a command is asked to end, and killed; later ones count.
func TestDeadlines(t *testing.T) {
	needsDeadlines(t)
	const soon = 50 * time.Millisecond
	run(t, "", func(c *Config) { c.Term = BootTime() }).ends(NotRun, "no time left")

	g := run(t, `trap 'exit 3' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`, func(c *Config) {
		c.Grace, c.Term, c.Kill = time.Hour, BootTime()+time.Hour, BootTime()+time.Hour
	})
	g.pid("pid")
	g.Until(BootTime()+soon, BootTime()+time.Hour)
	g.ends(3, "")

	g = run(t, stubborn, func(c *Config) { c.Grace = time.Hour })
	g.pid("pid")
	kill := BootTime() + 2*soon
	g.Until(BootTime()+soon, kill)
	g.ends(Signalled+9, "")
	if now := BootTime(); now < kill {
		t.Errorf("it was killed %v before its time", kill-now)
	}

	g = run(t, stubborn, func(c *Config) { c.Grace = soon })
	g.pid("pid")
	g.Until(BootTime()+soon, 0)
	g.ends(Signalled+9, "") // behind its grace
}

// Who has started a guard is stopped or killed: its deadline stands, for all that the
// command has started.
func TestDeadlineOutlivesHolder(t *testing.T) {
	needsDeadlines(t)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd, g := holder(t, "1h", "5s", "trap '' TERM; "+leaky+"while :; do sleep 0.01; done")
			pids := g.leaked()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			gone(t, pids...)
		})
	}
}

// What is no order ends the orders, as if nobody gave any.
func TestReadOrders(t *testing.T) {
	for text, want := range map[string][]string{
		"run 1 0 2 3\nuntil 4 5\nsignal 15\nstop\n": {"run[1 0 2 3]", "until[4 5]", "signal[15]", "stop[]"},
		"stop\nuntil 4\nstop\n":                     {"stop[]"},
		"stop\nsignal x\nstop\n":                    {"stop[]"},
		"halt\nstop\n":                              nil,
		"\nstop\n":                                  nil,
		"":                                          nil,
	} {
		orders := make(chan order)
		go readOrders(strings.NewReader(text), orders)
		var got []string
		for o := range orders {
			got = append(got, fmt.Sprint(o.what, o.numbers))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// The command reads what it is given, and nothing if that is not said; when it reads no
// more, whoever writes to it is told.
func TestStdin(t *testing.T) {
	reads, writes, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writes.Close()
	g := run(t, `read x; echo "got $x"; exec <&-; echo closed; read y <"$D/go"`, func(cfg *Config) {
		cfg.Stdin = reads
		if err := syscall.Mkfifo(filepath.Join(strings.TrimPrefix(cfg.Env[len(cfg.Env)-1], "D="), "go"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	reads.Close()
	if _, err := writes.WriteString("a line\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "what was read", func() bool { return strings.Contains(g.output(), "got a line\nclosed\n") })
	await(t, "an error of who writes", func() bool { _, err := writes.WriteString("\n"); return err != nil })
	g.Signal(syscall.SIGKILL)

	run(t, `read x || exit 3`, nil).ends(3, "exit code 3")
}

// Who was told to end says so whatever its exit code, and nobody else does.
func TestCutOff(t *testing.T) {
	const obedient = "trap 'exit 0' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done"
	orders := map[string]func(*guarded){
		"a stop":   func(g *guarded) { g.Stop() },
		"a signal": func(g *guarded) { g.Signal(syscall.SIGTERM) },
	}
	if Deadlines {
		orders["a deadline"] = func(g *guarded) { g.Until(BootTime(), 0) }
	} else {
		t.Log("SKIPPED: a deadline: this system has no clock for it; CI runs it on Linux")
	}
	for what, tell := range orders {
		g := run(t, obedient, func(c *Config) { c.Grace = patience })
		g.pid("pid")
		tell(g)
		g.ends(0, "exit code 0")
		if !g.Wait().Cut {
			t.Errorf("%s: it has ended by itself", what)
		}
	}
	for _, script := range []string{"exit 0", "exit 3", "sleep 1000 & exit 0", "kill -9 $$"} {
		if g := run(t, script, nil); g.Wait().Cut {
			t.Errorf("%s: it was cut off", script)
		}
	}
}
