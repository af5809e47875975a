//go:build unix

package respawn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// patience bounds each wait for what takes a second.
const patience = time.Minute

// fleet is three instances in this process, with real sockets.
type fleet struct {
	t      *testing.T
	roster ring.Roster
	rings  [3]*ring.Ring
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, roster: ring.Roster{Names: []ring.Name{"a", "b", "c"}}}
	listeners := make([]net.Listener, len(f.rings))
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		f.roster.Addresses = append(f.roster.Addresses, l.Addr().String())
	}
	for i, l := range listeners {
		f.join(i, l)
	}
	for _, r := range f.rings {
		f.await(r, "three alive", func(v ring.View) bool { return f.alive(v) == 3 })
	}
	return f
}

func (f *fleet) join(i int, l net.Listener) {
	f.t.Helper()
	r, err := ring.Join(f.t.Context(), ring.Config{
		Ring: "test", Name: f.roster.Names[i], Roster: f.roster, Listener: l, Hold: 5 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.rings[i] = r
	f.t.Cleanup(func() { r.Close() })
}

func (f *fleet) alive(v ring.View) (n int) {
	for _, i := range v.Instances {
		if i.State == ring.Alive || i.State == ring.Suspect {
			n++
		}
	}
	return n
}

func (f *fleet) await(r *ring.Ring, what string, ok func(ring.View) bool) {
	f.t.Helper()
	for begin := time.Now(); !ok(r.View()); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > patience {
			f.t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// told waits for such an event at a.
func (f *fleet) told(kind, text string) {
	f.t.Helper()
	f.await(f.rings[0], kind, func(ring.View) bool {
		for _, e := range f.rings[0].Events(0) {
			if e.Kind == kind && e.Subject == "b" && strings.Contains(e.Text, text) {
				return true
			}
		}
		return false
	})
}

// run has all of them respawn with a shell script until the test ends.
func (f *fleet) run(script string, rules Rules) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(f.rings))
	for _, r := range f.rings {
		go func() { ended <- Run(ctx, r, Config{Command: []string{"sh", "-c", script}, Rules: rules}) }()
	}
	f.t.Cleanup(func() {
		cancel()
		for range f.rings {
			if err := <-ended; err != nil {
				f.t.Errorf("Run: %v", err)
			}
		}
	})
}

// The command knows whom it is for, and the story tells how it went.
func TestRun(t *testing.T) {
	f := newFleet(t)
	file := filepath.Join(t.TempDir(), "asked")
	f.run(fmt.Sprintf(`echo "$RING_DEAD $RING_DEAD_INDEX $RING_DEAD_ADDRESS $RING_DEAD_INCARNATION $RING_INSTANCE" >> %s`, file),
		Rules{Grace: 300 * time.Millisecond})
	f.rings[1].Close()
	f.told("respawn_started", "asking for b to be started again: incarnation 1 is gone, attempt 1")
	want := fmt.Sprintf("b 1 %s 1 a\n", f.roster.Addresses[1])
	f.await(f.rings[0], "the command has run", func(ring.View) bool {
		text, _ := os.ReadFile(file)
		return string(text) == want
	})
	l, err := net.Listen("tcp", f.roster.Addresses[1])
	if err != nil {
		t.Fatal(err)
	}
	f.join(1, l)
	f.told("respawned", "b, which was asked for from here, is back as incarnation 2")
	if text, _ := os.ReadFile(file); string(text) != want {
		t.Errorf("asked:\n%swant once:\n%s", text, want)
	}
}

// A command that fails, or takes too long, is given up in the end, and says why.
func TestRunGivesUp(t *testing.T) {
	f := newFleet(t)
	file := filepath.Join(t.TempDir(), "second")
	f.run(fmt.Sprintf("[ -e %[1]s ] && sleep 1000; touch %[1]s; echo no such host >&2; exit 3", file), Rules{
		Grace: 100 * time.Millisecond, Backoff: 10 * time.Millisecond, Timeout: 300 * time.Millisecond, Limit: 2,
	})
	f.rings[1].Close()
	f.told("respawn_failed", "attempt 1 to have b started again failed: exit status 3")
	f.told("respawn_failed", "attempt 2 to have b started again failed: the command took longer than 300ms")
	f.told("respawn_given_up", "after 2 attempts b is asked for only every 15m0s")
}

// What changes while it runs: there is no command, then one, then another, and what was
// tried with the one before counts.
func TestRunTakesChanges(t *testing.T) {
	f := newFleet(t)
	file := filepath.Join(t.TempDir(), "asked")
	changes := make(chan Config)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, f.rings[0], Config{Changes: changes}) }()
	f.rings[1].Close()
	f.await(f.rings[0], "b is gone", func(v ring.View) bool { return f.alive(v) == 2 })
	with := func(code int) Config {
		return Config{
			Command: []string{"sh", "-c", fmt.Sprintf("echo %d >> %s; exit %[1]d", code, file)},
			Rules:   Rules{Grace: 10 * time.Millisecond, Backoff: time.Hour},
		}
	}
	changes <- with(4)
	f.told("respawn_failed", "attempt 1 to have b started again failed: exit status 4")
	second := with(0)
	second.Rules.Backoff = 10 * time.Millisecond
	changes <- second
	f.told("respawn_asked", "b was asked for, attempt 2")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "4\n0\n" {
		t.Errorf("the commands have written %q", text)
	}
}

func TestRunNeedsACommand(t *testing.T) {
	f := newFleet(t)
	if err := Run(t.Context(), f.rings[0], Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("Run without a command: %v, want ErrConfig", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	out := new(tail)
	for i := range 5000 {
		fmt.Fprintf(out, "%d\n", i)
	}
	fmt.Fprint(out, strings.Repeat("x", 2*outputMax)+"end")
	if text := out.String(); len(text) != outputMax || !strings.HasSuffix(text, "xend") {
		t.Errorf("%d bytes are kept, which end in %q", len(text), text[max(0, len(text)-10):])
	}
}
