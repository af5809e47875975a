//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/guard"
)

// patience bounds each wait for what takes milliseconds.
const patience = time.Minute

// guardWord makes this binary the guard.
const guardWord = "as-guard"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == guardWord {
		os.Exit(guard.Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// supervised is an App that runs a shell script, and the directory that this has as $D.
type supervised struct {
	*App
	t   *testing.T
	dir string
	out *os.File
}

func run(t *testing.T, script string, edit func(*Config)) *supervised {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Command: []string{"sh", "-c", script}, Guard: []string{os.Args[0], guardWord},
		Env: append(os.Environ(), "D="+dir), Stdout: out, Stderr: out,
		Policy: Policy{BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond, Restart: Never},
	}
	if edit != nil {
		edit(&cfg)
	}
	a, err := Start(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &supervised{a, t, dir, out}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.Stop(ctx) // at once
		out.Close()
	})
	return s
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func (s *supervised) await(state State) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("%s, but it is %+v", state, s.Status()), func() bool { return s.Status().State == state })
}

func (s *supervised) ends(state State, why string) {
	s.t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		s.t.Fatalf("has not ended: %+v", s.Status())
	}
	if got := s.Status(); got.State != state || !strings.Contains(got.Why, why) || got.PID != 0 {
		s.t.Errorf("ended as %+v, want %s and %q", got, state, why)
	}
}

// pid is what the script has written into a file of its directory.
func (s *supervised) pid(file string) int {
	s.t.Helper()
	pid := 0
	await(s.t, "a pid in "+file, func() bool {
		text, err := os.ReadFile(filepath.Join(s.dir, file))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && strings.HasSuffix(string(text), "\n") && pid > 0
	})
	return pid
}

func runs(pid int) bool { return syscall.Kill(pid, 0) == nil }

func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		await(t, fmt.Sprintf("pid %d is gone", pid), func() bool { return !runs(pid) })
	}
}

func TestExits(t *testing.T) {
	run(t, "exit 0", nil).ends(Stopped, "")
	run(t, "exit 7", nil).ends(Failed, "exit code 7")
	run(t, "kill -9 $$", nil).ends(Failed, "killed")
	run(t, "", func(c *Config) { c.Command = []string{"/nowhere/at/all"} }).ends(Failed, "does not start")
	run(t, "", func(c *Config) { c.Guard = []string{"/nowhere/at/all"} }).ends(Failed, "start the guard")
	run(t, "exit 7", func(c *Config) { c.Policy.Restart, c.Policy.Limit = OnFailure, 3 }).
		ends(Failed, "given up after 3 restarts")
}

func TestStartRefuses(t *testing.T) {
	for _, cfg := range []Config{{}, {Command: []string{"true"}}, {Guard: []string{"true"}}} {
		if _, err := Start(cfg, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("Start(%+v) = %v, want ErrConfig", cfg, err)
		}
	}
}

// A stop is asked for first. Who does not listen is killed, and so is who was stopped.
func TestDrain(t *testing.T) {
	s := run(t, `trap 'echo drained; exit 0' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`, nil)
	s.pid("pid")
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	s.ends(Stopped, "")
	if text, _ := os.ReadFile(s.out.Name()); !strings.Contains(string(text), "drained") {
		t.Errorf("it was not asked: %q", text)
	}

	s = run(t, `trap '' TERM; sleep 1000 & echo $! > $D/child; echo $$ > $D/pid; while :; do wait; done`,
		func(c *Config) { c.Policy.StopTimeout = 50 * time.Millisecond })
	pid, child := s.pid("pid"), s.pid("child")
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	s.ends(Stopped, "")
	gone(t, pid, child)

	s = run(t, `echo $$ > $D/pid; exec sleep 1000`, nil)
	if err := syscall.Kill(s.pid("pid"), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop of a stopped one: %v", err)
	}
	s.ends(Stopped, "")
}

// A signal that is passed on reaches the first process and no other of its group, and
// changes nothing else; a later stop still asks all of it.
func TestPassedSignals(t *testing.T) {
	s := run(t, `trap 'echo got USR1 >> $D/got' USR1
		sh -c 'trap "echo child >> $D/got" USR1; echo $$ > $D/child; while :; do sleep 0.01; done' &
		echo $$ > $D/pid; while :; do wait; done`, nil)
	pid, child := s.pid("pid"), s.pid("child")
	for n := 1; n <= 2; n++ {
		s.Pass(syscall.SIGUSR1)
		await(t, fmt.Sprintf("signal %d has come", n), func() bool {
			text, _ := os.ReadFile(filepath.Join(s.dir, "got"))
			return string(text) == strings.Repeat("got USR1\n", n)
		})
	}
	if got := s.Status(); got.State != Healthy || got.PID != pid || got.Restarts != 0 {
		t.Errorf("behind signals it is %+v", got)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	gone(t, pid, child)
	s.Pass(syscall.SIGUSR1) // nobody is there, and nothing hangs
}

// A caller that waits no longer has all killed at once.
func TestImpatientStop(t *testing.T) {
	s := run(t, `trap '' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`,
		func(c *Config) { c.Policy.StopTimeout = time.Hour })
	pid := s.pid("pid")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop = %v, want the context's error", err)
	}
	gone(t, pid)
}

// A guard that is killed takes the application along, and both are started again.
func TestKilledGuard(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: elsewhere the kernel does not kill the application; CI runs it on Linux")
	}
	s := run(t, `sleep 1000 & echo $! > $D/child; echo $$ > $D/pid; wait`,
		func(c *Config) { c.Policy.Restart = Always })
	pid, child := s.pid("pid"), s.pid("child")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	parent, err := strconv.Atoi(strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, pid, child)
	await(t, "another run", func() bool { return s.Status().Restarts == 1 && s.pid("pid") != pid })
}

func TestChecks(t *testing.T) {
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hang" {
			<-req.Context().Done()
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
	}))
	defer server.Close()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, code = range []int{200, 204, 302, 399} {
		if err := HTTP(server.URL)(t.Context()); err != nil {
			t.Errorf("GET with status %d: %v", code, err)
		}
	}
	for _, code = range []int{404, 500, 503} {
		if err := HTTP(server.URL)(t.Context()); err == nil || !strings.Contains(err.Error(), strconv.Itoa(code)) {
			t.Errorf("GET with status %d: %v, want that in words", code, err)
		}
	}
	secret := strings.Replace(server.URL, "://", "://user:s3cret@", 1)
	if err := HTTP(secret)(t.Context()); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a password is told to everybody, or nothing is wrong: %v", err)
	}
	if err := HTTP(server.URL + "/hang")(short()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("GET without an answer: %v", err)
	}
	addr := server.Listener.Addr().String()
	if err := TCP(addr)(t.Context()); err != nil {
		t.Errorf("TCP to who listens: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := TCP(l.Addr().String())(t.Context()); err == nil {
		t.Error("TCP to a port where nobody listens is well")
	}
	if err := Command([]string{"true"}, nil)(t.Context()); err != nil {
		t.Errorf("true: %v", err)
	}
	if err := Command([]string{"false"}, nil)(t.Context()); err == nil {
		t.Error("false is well")
	}
	file := filepath.Join(t.TempDir(), "child")
	err = Command([]string{"sh", "-c", "sleep 1000 & echo $! > " + file + "; wait"}, nil)(
		func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			t.Cleanup(cancel)
			return ctx
		}())
	if err == nil {
		t.Error("a check that hangs is well")
	}
	if text, err := os.ReadFile(file); err == nil {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		gone(t, pid)
	}
}

// One that hangs is found by its checks, killed, and started again.
func TestUnhealthyIsRestarted(t *testing.T) {
	s := run(t, `echo $$ > $D/pid; touch $D/up; trap '' TERM; while :; do sleep 0.01; done`, func(c *Config) {
		c.Policy = Policy{
			Interval: 10 * time.Millisecond, Failures: 2, StopTimeout: 20 * time.Millisecond,
			BackoffMin: time.Millisecond,
		}
		up := filepath.Join(strings.TrimPrefix(c.Env[len(c.Env)-1], "D="), "up")
		c.Checks = []Check{
			func(context.Context) error { return nil },
			func(context.Context) error { _, err := os.Stat(up); return err },
		}
	})
	s.await(Healthy)
	pid := s.pid("pid")
	if err := os.Remove(filepath.Join(s.dir, "up")); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	s.await(Healthy)
	if got := s.Status(); got.Restarts != 1 || s.pid("pid") == pid {
		t.Errorf("it is %+v after its checks had failed", got)
	}
}

// Each status is told once, in order.
func TestChangesAreTold(t *testing.T) {
	told := make(chan State, 10)
	a, err := Start(Config{
		Command: []string{"sh", "-c", "exit 1"}, Guard: []string{os.Args[0], guardWord},
		Policy: Policy{Limit: 1, BackoffMin: time.Millisecond},
	}, func(s Status) { told <- s.State })
	if err != nil {
		t.Fatal(err)
	}
	<-a.Done()
	close(told)
	last := State("")
	for s := range told {
		if s == last {
			t.Errorf("%s was told twice", s)
		}
		last = s
	}
	if last != Failed {
		t.Errorf("the last that was told is %q", last)
	}
}
