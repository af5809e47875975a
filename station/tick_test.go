//go:build unix

package station

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// passes is a Ticks at whose stop the particle passes when the test says so.
type passes struct{ see chan func(ring.Tick) }

func (p *passes) OnTick(f func(ring.Tick)) func() {
	p.see <- f
	return func() {}
}

// atTicks runs a shell script at ticks; pass has one pass.
type atTicks struct {
	t    *testing.T
	dir  string
	log  *log
	pass func(tick uint64, anchored bool)
	end  func() // and wait for it
}

func onTick(t *testing.T, script string, edit func(*TickConfig)) *atTicks {
	t.Helper()
	a := &atTicks{t: t, dir: t.TempDir(), log: new(log)}
	cfg := TickConfig{
		Command: Command{
			Words: []string{"sh", "-c", script}, Env: append(os.Environ(), "D="+a.dir),
			Guard: []string{os.Args[0], guardWord}, Stderr: os.Stderr,
		},
		PauseMin: time.Millisecond, Logger: slog.New(slog.NewTextHandler(a.log, nil)),
	}
	if edit != nil {
		edit(&cfg)
	}
	r := &passes{make(chan func(ring.Tick), 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- OnTick(ctx, r, cfg) }()
	see := <-r.see
	a.pass = func(tick uint64, anchored bool) {
		see(ring.Tick{
			Instance: "a/0", Epoch: ring.Epoch{Number: 3}, Lap: tick + 1000, Tick: tick, Anchored: anchored,
		})
	}
	a.end = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Error(err)
		}
		close(ended)
		a.end = func() {}
	}
	t.Cleanup(func() { a.end() })
	return a
}

func (a *atTicks) read(file string) string {
	text, _ := os.ReadFile(filepath.Join(a.dir, file))
	return string(text)
}

func (a *atTicks) awaits(file, want string) {
	a.t.Helper()
	await(a.t, want+" in "+file, func() bool { return a.read(file) == want })
}

// Never two at once: ticks that pass meanwhile are counted, and those that count nothing
// are not.
func TestOnTick(t *testing.T) {
	a := onTick(t, `echo "$RING_INSTANCE $RING_EPOCH $RING_LAP $RING_TICK $RING_TICKS_SKIPPED" >>"$D/ran"
read -r go <"$D/gate"`, func(cfg *TickConfig) {
		dir := strings.TrimPrefix(cfg.Command.Env[len(cfg.Command.Env)-1], "D=")
		if err := syscall.Mkfifo(filepath.Join(dir, "gate"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	a.pass(1, false)
	a.pass(2, true)
	a.awaits("ran", "a/0 3 1002 2 0\n")
	for tick := range uint64(5000) {
		a.pass(3+tick, tick%2 == 0)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "gate"), []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// When that has ended nobody says, so ticks go on until one is taken.
	tick := uint64(6000)
	await(t, "a second run", func() bool {
		tick++
		a.pass(tick, true)
		return strings.Count(a.read("ran"), "\n") == 2
	})
	fields := strings.Fields(strings.SplitN(a.read("ran"), "\n", 2)[1])
	var taken, skipped uint64
	for i, into := range map[int]*uint64{3: &taken, 4: &skipped} {
		for _, digit := range fields[i] {
			*into = *into*10 + uint64(digit-'0')
		}
	}
	if want := 2500 + taken - 6001; skipped != want {
		t.Errorf("%d were skipped before tick %d, want %d", skipped, taken, want)
	}
	a.end()
}

// A failure is told, and is no reason to stop.
func TestOnTickFails(t *testing.T) {
	a := onTick(t, `echo "$RING_TICK" >>"$D/ran"; exit 4`, nil)
	tick := uint64(0)
	await(t, "three runs", func() bool {
		tick++
		a.pass(tick, true)
		return strings.Count(a.read("ran"), "\n") > 2
	})
	a.end()
	if text := a.log.String(); !strings.Contains(text, "it ended with exit code 4") || !strings.Contains(text, "tick=1 ") {
		t.Errorf("logged:\n%s", text)
	}
}

// After a failure ticks are skipped for a while, longer each time.
func TestOnTickPauses(t *testing.T) {
	a := onTick(t, `echo "$RING_TICK" >>"$D/ran"; exit 4`, func(cfg *TickConfig) { cfg.PauseMin = time.Hour })
	a.pass(1, true)
	await(t, "a failure", func() bool { return strings.Contains(a.log.String(), "again_in=1h0m0s") })
	for tick := range uint64(100) {
		a.pass(2+tick, true)
	}
	a.end()
	a.awaits("ran", "1\n")
}

// What runs is ended, with what it has started.
func TestOnTickEnds(t *testing.T) {
	a := onTick(t, `trap 'echo asked >>"$D/ran"; exit' TERM; echo up >>"$D/ran"; while :; do sleep 0.02; done`, nil)
	a.pass(1, true)
	a.awaits("ran", "up\n")
	a.end()
	if got := a.read("ran"); got != "up\nasked\n" {
		t.Errorf("it wrote %q", got)
	}
	if text := a.log.String(); text != "" {
		t.Errorf("logged:\n%s", text)
	}
}

func TestOnTickWithoutACommand(t *testing.T) {
	if err := OnTick(t.Context(), nil, TickConfig{}); !errors.Is(err, ErrConfig) {
		t.Errorf("%v, want ErrConfig", err)
	}
}
