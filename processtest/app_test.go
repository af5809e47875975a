//go:build linux

package processtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// beside is an instance with a real application beside it.
type beside struct {
	*fleet.Ring
	t   *testing.T
	url string // of the application
}

// withApp starts one with these flags of the application.
func withApp(t *testing.T, flags ...string) *beside {
	t.Helper()
	t.Parallel()
	binary, err := fleet.Build("..", "./processtest/app", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := fleet.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	b := &beside{newRing(t, 1), t, "http://" + addrs[0]}
	args := []string{
		"--app-health-http", b.url + "/healthz", "--app-health-interval", "100ms",
		"--app-health-timeout", "500ms", "--app-health-failures", "2", "--app-stop-timeout", "300ms",
		"--app-backoff-min", "10ms", "--", binary, "-listen", addrs[0],
	}
	start(t, b.Ring, 0, append(args, flags...)...)
	b.is("healthy", 0)
	return b
}

// is waits until the application is in that state after so many restarts.
func (b *beside) is(state string, restarts int) {
	b.t.Helper()
	var s struct {
		App struct {
			State    string `json:"state"`
			Restarts int    `json:"restarts"`
			Why      string `json:"why"`
		} `json:"app"`
	}
	await(b.t, fmt.Sprintf("the application is %s after %d restarts", state, restarts), func() bool {
		text, err := b.API.Get(b.Addrs[0], "/v1/status")
		return err == nil && json.Unmarshal(text, &s) == nil && s.App.State == state && s.App.Restarts >= restarts
	})
}

// pids are those of the application and all of its children.
func (b *beside) pids() (pids []int) {
	b.t.Helper()
	text, err := b.API.Get(strings.TrimPrefix(b.url, "http://"), "/pids")
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			b.t.Fatal(err)
		}
		pids = append(pids, pid) // the second is the parent: who forked it, or the guard
	}
	return pids
}

func (b *beside) post(path string) {
	if resp, err := http.Post(b.url+path, "", nil); err == nil {
		resp.Body.Close()
	} // one that crashes does not answer
}

func allGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		await(t, fmt.Sprintf("process %d is gone", pid), func() bool { return syscall.Kill(pid, 0) != nil })
	}
}

// It crashes and leaves children behind; all of them go, and another one serves.
func TestApplicationCrashes(t *testing.T) {
	b := withApp(t, "-leak=2", "-daemons=1")
	pids := b.pids()
	b.post("/crash")
	allGone(t, pids)
	b.is("healthy", 1)
	if text, err := b.API.Get(b.Addrs[0], "/readyz"); err != nil {
		t.Errorf("not ready beside a healthy application: %v %s", err, text)
	}
	told(t, b.Ring, 0, time.Time{}, "app_waiting", b.Names[0])
}

// It does not answer any more, nor to SIGTERM, and forks: it is killed and started again.
func TestApplicationHangs(t *testing.T) {
	b := withApp(t, "-deaf", "-fork", "-leak=1")
	pids := b.pids()
	b.post("/hang")
	told(t, b.Ring, 0, time.Time{}, "app_unhealthy", b.Names[0])
	allGone(t, pids)
	b.is("healthy", 1)
}

// The instance is told to end: so is the application, and killed where it does not.
func TestApplicationIsDrained(t *testing.T) {
	b := withApp(t, "-deaf", "-daemons=1", "-leak=1")
	pids := b.pids()
	signal(t, b.Ring, 0, syscall.SIGTERM)
	ends(t, b.Proc(0), 0, "app: it serves "+b.Names[0], "leaving", "application is stopped", "msg=left")
	allGone(t, pids)
}

// The instance is killed with SIGKILL: nothing of the application is left.
func TestApplicationGoesWithItsInstance(t *testing.T) {
	b := withApp(t, "-deaf", "-fork", "-daemons=2", "-leak=2")
	pids := b.pids()
	signal(t, b.Ring, 0, syscall.SIGKILL)
	allGone(t, pids)
}
