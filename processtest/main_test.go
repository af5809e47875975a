//go:build linux

package processtest

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// program is the ring program under test, leaser one that takes leases through
// package ring; the forgetful ones lose what they have not synced when killed.
var program, leaser, forgetfulProgram, forgetfulLeaser string

// nets numbers the namespaces of this process.
var nets atomic.Int32

// patience bounds every wait for something that must happen; how fast it
// happens is the benchmarks' matter, on a machine that does nothing else.
const patience = time.Minute

func TestMain(m *testing.M) {
	// Whoever tests processes mostly waits for them: more tests at once than
	// there are cores, if nobody has said how many.
	if f := flag.Lookup("test.parallel"); f != nil {
		flag.Parse()
		if f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
			_ = f.Value.Set(strconv.Itoa(runtime.GOMAXPROCS(0) + 1))
		}
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ringb-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	var flags []string
	if raced {
		flags = append(flags, "-race")
	}
	program, leaser, err = build(dir, flags...)
	if err == nil {
		flags = append(flags, "-tags", "forgetful")
		forgetfulProgram, forgetfulLeaser, err = build(filepath.Join(dir, "forgetful"), flags...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds both programs into dir.
func build(dir string, flags ...string) (program, leaser string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	if program, err = fleet.Build("..", "./cmd/ring", dir, flags...); err != nil {
		return "", "", err
	}
	leaser, err = fleet.Build("..", "./processtest/leaser", dir, flags...)
	return program, leaser, err
}

// newRing is a ring of n instances on loopback, not started. It ends with the
// test, and if that failed, what the instances logged is printed.
func newRing(t *testing.T, n int) *fleet.Ring {
	t.Helper()
	return newRingOn(t, n, nil)
}

func newRingOn(t *testing.T, n int, net *fleet.Net) *fleet.Ring {
	t.Helper()
	if err := lookAtSource(); err != nil {
		t.Fatal(err)
	}
	group := new(fleet.Group)
	r, err := fleet.NewRing(group, program, t.TempDir(), n, net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		group.Close()
		if t.Failed() {
			t.Log("what the instances logged:\n" + r.Logs())
		}
		if strings.Contains(r.Logs(), "DATA RACE") {
			t.Error("an instance found a data race in itself:\n" + r.Logs())
		}
	})
	return r
}

// newRingInNet is the same with each instance in a namespace of its own.
func newRingInNet(t *testing.T, n int) *fleet.Ring {
	t.Helper()
	if err := fleet.CanNet(); err != nil {
		skipLoudly(t, err)
	}
	net, err := fleet.NewNet(n, int(nets.Add(1)-1)%36)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close) // behind the end of its processes
	return newRingOn(t, n, net)
}

// skipLoudly skips a test that this machine cannot run. Where root is there a
// skip in CI hides a fault, so it is one.
func skipLoudly(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatalf("CI with root must not skip this: %v", why)
	}
	t.Skipf("SKIPPED: %v; CI has root, and runs it", why)
}

// started starts all instances and waits until the ring is whole.
func started(t *testing.T, r *fleet.Ring, flags ...string) *fleet.Ring {
	t.Helper()
	if err := r.StartAll(patience, flags...); err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts one instance.
func start(t *testing.T, r *fleet.Ring, i int, flags ...string) *fleet.Proc {
	t.Helper()
	if err := r.Start(i, flags...); err != nil {
		t.Fatal(err)
	}
	return r.Proc(i)
}

func signal(t *testing.T, r *fleet.Ring, i int, sig syscall.Signal) {
	t.Helper()
	if err := r.Proc(i).Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// whole waits until exactly those instances form the ring.
func whole(t *testing.T, r *fleet.Ring, live []int) {
	t.Helper()
	if err := r.AwaitWhole(patience, live); err != nil {
		t.Fatal(err)
	}
}

// await waits for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := fleet.Await(patience, what, ok); err != nil {
		t.Fatal(err)
	}
}

// told waits until instance i tells such an event of that time or later.
func told(t *testing.T, r *fleet.Ring, i int, from time.Time, kind, subject string) fleet.Event {
	t.Helper()
	var e fleet.Event
	await(t, fmt.Sprintf("%s tells %s of %q", r.Names[i], kind, subject), func() (ok bool) {
		e, ok = r.Find(i, from, kind, subject)
		return ok
	})
	return e
}

// never fails if one of those instances ever told such an event since then.
func never(t *testing.T, r *fleet.Ring, who []int, from time.Time, kind, subject string) {
	t.Helper()
	for _, i := range who {
		if e, ok := r.Find(i, from, kind, subject); ok {
			t.Errorf("%s told %s of %q: %s", r.Names[i], kind, e.Subject, e.Text)
		}
	}
}

// status asks instance i.
func status(t *testing.T, r *fleet.Ring, i int) *fleet.Status {
	t.Helper()
	s, err := r.API.Status(r.Addrs[i])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// laps waits until the particle has passed instance i that often again.
func laps(t *testing.T, r *fleet.Ring, i int, more uint64) {
	t.Helper()
	before := status(t, r, i).Laps
	await(t, fmt.Sprintf("%d more laps at %s", more, r.Names[i]), func() bool {
		s, err := r.API.Status(r.Addrs[i])
		return err == nil && s.Laps >= before+more
	})
}

// ends waits until the process has ended and checks its exit code and that
// what it printed holds each of those words, whatever their case.
func ends(t *testing.T, p *fleet.Proc, code int, words ...string) {
	t.Helper()
	if err := p.Wait(patience); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if got := p.ExitCode(); got != code {
		t.Errorf("exit code %d (%v), want %d:\n%s", got, p.Err(), code, p.Output())
	}
	says(t, p, words...)
}

// says waits until what a process printed holds each of those words: a log follows what
// it tells of by a moment. One that has ended says nothing more.
func says(t *testing.T, p *fleet.Proc, words ...string) {
	t.Helper()
	missing := func() string {
		out := strings.ToLower(p.Output())
		for _, w := range words {
			if !strings.Contains(out, strings.ToLower(w)) {
				return w
			}
		}
		return ""
	}
	_ = fleet.Await(patience, "it has said it", func() bool { return !p.Running() || missing() == "" })
	if w := missing(); w != "" {
		t.Errorf("%s does not say %q:\n%s", p.Spec.Name, w, p.Output())
	}
}

// lookAtSource looks at every file that the program is built from: go test
// remembers a result until a file changes that a test has looked at, and knows
// nothing of what the tests start.
var lookAtSource = sync.OnceValue(func() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			_, err = os.Stat(path)
		}
		return err
	})
})
