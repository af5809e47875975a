//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/supervise"
)

// A line that RING_… variables of an application must not be settings of an instance, nor
// the other way round: what runs in it might be one.
func TestAppEnvironmentIsNoSetting(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv4zero, Port: 4711}
	env := appEnv([]string{"A=1", "NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=5", "RING_NAME=a/1"}, "a/0", at, "/s")
	if want := []string{"A=1", "RING_INSTANCE=a/0", "RING_ADDR=127.0.0.1:4711"}; !slices.Equal(env, want) {
		t.Errorf("environment %q, want %q", env, want)
	}
	for addr, want := range map[string]string{
		"127.0.0.1:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", "10.0.0.1:1": "unix:///s",
	} {
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := reachable(at, "/s"); got != want {
			t.Errorf("with a socket %s is reached at %s, want %s", addr, got, want)
		}
		if got := reachable(at, ""); addr == "10.0.0.1:1" && got != addr {
			t.Errorf("without one %s is reached at %s", addr, got)
		}
	}
	for _, o := range options {
		for _, pair := range env {
			if strings.HasPrefix(pair, envName(o.key)+"=") {
				t.Errorf("%s is the setting %s", pair, o.key)
			}
		}
	}
}

func TestAppSettings(t *testing.T) {
	withoutSettings(t)
	s, err := loaded(t, "--config", written(t, wholeFile), "--app-stop-timeout", "3s")
	if err != nil {
		t.Fatal(err)
	}
	a := s.App
	want := supervise.Policy{
		Interval: 2 * time.Second, Failures: 4, Grace: 5 * time.Second, StopTimeout: 3 * time.Second,
		Restart: supervise.OnFailure, Limit: 7, Period: 5 * time.Minute,
		BackoffMin: time.Second, BackoffMax: time.Minute,
	}
	if a.Policy != want || a.signal() != syscall.SIGQUIT || a.Exit != appLeave ||
		!slices.Equal(a.Command, []string{"./shop", "--port", "8080"}) || len(a.checks(nil)) != 3 {
		t.Errorf("application settings %+v", a)
	}
	// A later place says all of a command, and -- is the last.
	t.Setenv("RING_APP_COMMAND", "./other -v")
	s, err = withApp(func() (settings, error) { return loaded(t, "--config", written(t, wholeFile)) }, nil)()
	if err != nil || !slices.Equal(s.App.Command, []string{"./other", "-v"}) {
		t.Errorf("command %q, %v", s.App.Command, err)
	}
	s, err = withApp(func() (settings, error) { return loaded(t, "--config", written(t, wholeFile)) },
		[]string{"sh", "-c", "a b"})()
	if err != nil || !slices.Equal(s.App.Command, []string{"sh", "-c", "a b"}) {
		t.Errorf("command %q, %v", s.App.Command, err)
	}
}

func TestAppSettingsFaults(t *testing.T) {
	withoutSettings(t)
	for _, c := range []struct{ text, want string }{
		{"[app]\nnonsense = 1\n", ":2:1: key app.nonsense is unknown"},
		{"app = 3\n", ":1:7: app: want a table, here is a whole number: write [app]"},
		{"[app]\ncommand = \"./app -v\"\n", ":2:11: app.command: want a list of strings, here is a string"},
		{"[app]\nhealth_http = \"/healthz\"\n", ":2:15: app.health_http: \"/healthz\" is no URL"},
		{"[app]\nhealth_tcp = \"8080\"\n", ":2:14: app.health_tcp: \"8080\" is not host:port"},
		{"[app]\nrestart = \"often\"\n", ":2:11: app.restart: \"often\" is unknown: choose always, on-failure or never"},
		{"[app]\nstart_grace = \"0s\"\n", ":2:15: app.start_grace: 0s is not above zero"},
		{"[app]\nforward_signals = [\"KILL\"]\n", ":2:19: app.forward_signals: \"KILL\" cannot be passed on"},
		{"[app]\nhealth_failures = 0\n", ":2:19: app.health_failures: 0 is less than 1"},
	} {
		l := parseFile("ring.toml", []byte(c.text))
		if l.fault == nil || !strings.Contains(l.fault.Error(), "ring.toml"+c.want) {
			t.Errorf("%q: %v, want %q", c.text, l.fault, c.want)
		}
	}
	for text, want := range map[string]string{
		"forward_signals = []": "none", `forward_signals = ["SIGUSR1", "HUP"]`: "USR1 HUP", "": "",
	} {
		l := parseFile("ring.toml", []byte("[app]\ncommand = [\"x\"]\n"+text+"\n"))
		l.origin = func(string) string { return "" }
		s, _ := resolve([]layer{l}) // of a roster nothing is said
		if got := showForward(s.App.Forward); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	var s settings
	s.Respawn.Rules.Grace = time.Second
	if err := s.Respawn.check(s); err == nil || !strings.Contains(err.Error(), "respawn.grace is given, but no command") {
		t.Errorf("settings of no respawn: %v", err)
	}
	s.App.HealthTCP = "h:1"
	if err := s.App.check(s); err == nil || !strings.Contains(err.Error(), "app.health_tcp is given, but no application") {
		t.Errorf("settings of no application: %v", err)
	}
}

// soloNode is a ring of one with an application; its page is at url.
func soloNode(t *testing.T, flags []string, command ...string) (
	cmd *exec.Cmd, lines <-chan string, addr string,
) {
	t.Helper()
	addr = fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	args := append([]string{"node", "--name", "solo", "--roster", "solo", "--addresses", addr}, flags...)
	cmd, lines = startNode(t, "X=y", append(append(args, "--"), command...)...)
	return cmd, lines, addr
}

func awaitStatus(t *testing.T, addr, what string, ok func(admin.Status) bool) {
	t.Helper()
	var s admin.Status
	for begin := time.Now(); time.Since(begin) < upPatience; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v1/status")
		if err != nil {
			continue
		}
		err = json.NewDecoder(resp.Body).Decode(&s)
		resp.Body.Close()
		if err == nil && s.App != nil && ok(s) {
			return
		}
	}
	t.Fatalf("not %s: %+v", what, s.App)
}

// The application is shown wherever one looks, knows where it stands, and is drained
// before the instance leaves.
func TestNodeWithAnApplication(t *testing.T) {
	script := `trap 'echo "ended by TERM" >&2; exit 0' TERM
echo "app of $RING_INSTANCE at $RING_ADDR, X=$X" >&2
while :; do sleep 0.02; done`
	cmd, lines, addr := soloNode(t, nil, "sh", "-c", script)
	awaitLine(t, lines, "app of solo at "+addr+", X=y")
	awaitStatus(t, addr, "healthy", func(s admin.Status) bool {
		return s.App.State == supervise.Healthy && s.App.PID > 0 && s.Tick > 0
	})
	var out strings.Builder
	if code := run([]string{"status", "--addr", addr}, &out, &out); code != exitDone ||
		!strings.Contains(out.String(), "application healthy for ") {
		t.Errorf("ring status: exit code %d\n%s", code, out.String())
	}
	out.Reset()
	if code := run([]string{"gather", "--addr", addr, appTopic}, &out, &out); code != exitDone ||
		!strings.Contains(out.String(), "healthy") {
		t.Errorf("ring gather: exit code %d\n%s", code, out.String())
	}
	for path, want := range map[string]string{
		"/readyz?verbose": "[+]app ok", "/metrics": "ring_app_healthy 1", "/v1/events": `"app_healthy"`,
	} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q:\n%.2000s", path, want, text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "msg=leaving")
	awaitLine(t, lines, "ended by TERM")
	awaitLine(t, lines, "msg=left")
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}

// One that fails for good is shown, and the instance stays, or leaves if told so.
func TestNodeWithAFailedApplication(t *testing.T) {
	flags := []string{"--app-restart-limit", "1", "--app-backoff-min", "1ms"}
	cmd, lines, addr := soloNode(t, flags, "sh", "-c", "exit 7")
	awaitStatus(t, addr, "failed", func(s admin.Status) bool {
		return s.App.State == supervise.Failed && s.App.Restarts == 1 && s.Tick > 0 &&
			strings.Contains(s.App.Why, "exit code 7")
	})
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(string(text), "[-]app failed: the application is failed: given up") {
		t.Errorf("/readyz beside a failed application: %s\n%s", resp.Status, text)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "msg=left")

	cmd, lines, _ = soloNode(t, append(flags, "--app-exit", "leave"), "sh", "-c", "exit 7")
	awaitLine(t, lines, "leaving", "the application has ended")
	awaitLine(t, lines, "ring: the application has failed: given up")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("--app-exit leave: %v, want exit code %d", err, exitFailed)
	}
	cmd, lines, _ = soloNode(t, []string{"--app-restart", "on-failure", "--app-exit", "leave"}, "true")
	awaitLine(t, lines, "msg=left")
	if err := cmd.Wait(); err != nil {
		t.Errorf("an application that is done: %v, want exit code 0", err)
	}
}
