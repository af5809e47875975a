//go:build linux

package processtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// host is a ring whose instances ask this test for dead ones, which is their supervisor:
// what they run writes into a file that the test reads.
type host struct {
	*fleet.Ring
	t    *testing.T
	log  string // begun, asked (and hangs), done: who, incarnation, by whom, when in seconds
	mood string // what the command does: nothing, fail, die or hang
	seen int    // lines of log that were acted on
}

const respawnCommand = `#!/bin/sh
echo "begun $RING_DEAD $RING_DEAD_INCARNATION $RING_INSTANCE $(date +%s)" >> LOG
case "$(cat MOOD 2>/dev/null)" in
fail) exit 3 ;;
die) kill -9 $$ ;;
hang) echo "asked $RING_DEAD $RING_DEAD_INCARNATION $RING_INSTANCE $(date +%s)" >> LOG; sleep 1000 ;;
esac
echo "done $RING_DEAD $RING_DEAD_INCARNATION $RING_INSTANCE $(date +%s)" >> LOG
`

// respawnReturn is how long an instance may take to be back, in seconds.
const respawnReturn = 20

func newHost(t *testing.T, n int) *host {
	t.Helper()
	h := &host{Ring: newRing(t, n), t: t}
	h.Keep = true
	h.log, h.mood = filepath.Join(h.Dir, "respawns"), filepath.Join(h.Dir, "mood")
	command := filepath.Join(h.Dir, "respawn.sh")
	text := strings.NewReplacer("LOG", h.log, "MOOD", h.mood).Replace(respawnCommand)
	if err := os.WriteFile(command, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	h.Flags = append(h.Flags, "--hold", shortHold, "--respawn-command", command, "--respawn-grace", "2s",
		"--respawn-timeout", "5s", "--respawn-return", fmt.Sprintf("%ds", respawnReturn),
		"--respawn-backoff", "500ms", "--respawn-limit", "40")
	started(t, h.Ring)
	return h
}

// asked is one line of the log.
type asked struct {
	what, dead, incarnation, by string
	at                          int
}

func (h *host) lines() (all []asked) {
	h.t.Helper()
	text, err := os.ReadFile(h.log)
	if err != nil && !os.IsNotExist(err) {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 5 || !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		at, err := strconv.Atoi(f[4])
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, asked{f[0], f[1], f[2], f[3], at})
	}
	return all
}

// attend starts who was asked for and does not run, as a supervisor does.
func (h *host) attend() {
	h.t.Helper()
	all := h.lines()
	for _, a := range all[h.seen:] {
		i := slices.Index(h.Names, a.dead)
		if a.what != "begun" && !h.Proc(i).Running() {
			start(h.t, h.Ring, i)
		}
	}
	h.seen = len(all)
}

// until attends until it is so. Damping may hold a return back for half a minute.
func (h *host) until(what string, ok func() bool) {
	h.t.Helper()
	if err := fleet.Await(2*patience, what, func() bool { h.attend(); return ok() }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) feels(mood string) {
	h.t.Helper()
	if err := os.WriteFile(h.mood, []byte(mood), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) begun(dead string) func() bool {
	return func() bool {
		return slices.ContainsFunc(h.lines(), func(a asked) bool { return a.what == "begun" && a.dead == dead })
	}
}

// wholeAgain attends until all run and form the ring.
func (h *host) wholeAgain() {
	h.t.Helper()
	h.until("the ring is whole", func() bool { return h.AwaitWhole(0, h.All()) == nil })
}

// once fails if one was asked for twice for the same death, with success, before it had
// the time to be back.
func (h *host) once() {
	h.t.Helper()
	all := h.lines()
	for k, b := range all {
		for _, a := range all[:k] {
			if a.what == "done" && b.what == "done" && a.dead == b.dead && a.incarnation == b.incarnation &&
				b.at-a.at < respawnReturn {
				h.t.Errorf("%s, incarnation %s, was asked for by %s, and %d s later by %s",
					a.dead, a.incarnation, a.by, b.at-a.at, b.by)
			}
		}
	}
}

// One dies: the one before it asks, once. Then one dies with whoever asks for it.
func TestH3RespawnOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t, 5)
	signal(t, h.Ring, 2, syscall.SIGKILL)
	h.until("it is asked for", h.begun(h.Names[2]))
	h.wholeAgain()
	var first []asked
	for _, a := range h.lines() {
		if a.what == "begun" && a.dead == h.Names[2] && a.incarnation == "1" {
			first = append(first, a)
		}
	}
	if len(first) != 1 {
		t.Fatalf("asked: %+v, want once for %s, incarnation 1", h.lines(), h.Names[2])
	}
	runner := slices.Index(h.Names, first[0].by)
	if _, died := h.Find(0, time.Time{}, "died", h.Names[1]); runner != 1 && !died { // a busy machine's mistake
		t.Errorf("asked by %s, want %s", first[0].by, h.Names[1])
	}
	told(t, h.Ring, runner, time.Time{}, "respawned", h.Names[2])

	h.feels("hang") // having asked
	signal(t, h.Ring, 4, syscall.SIGKILL)
	h.until("it is asked for", h.begun(h.Names[4]))
	signal(t, h.Ring, 3, syscall.SIGKILL) // before the command has ended
	h.feels("")
	h.wholeAgain()
	h.once()
	for _, a := range h.lines() {
		if a.dead == h.Names[4] && a.by != h.Names[3] {
			t.Errorf("%s was asked for by %s, too", a.dead, a.by)
		}
	}
}

// Instances, those before them and the command itself are killed, also most of a ring at
// once: each death is acted on once, and all come back.
func TestH3RespawnChaos(t *testing.T) {
	long(t)
	h := newHost(t, 7)
	moods := []string{"", "", "fail", "die", "hang"}
	for round := range 4 {
		before := len(h.lines())
		h.feels(moods[rand.IntN(len(moods))])
		victims := rand.Perm(7)[:1+rand.IntN(5)]
		for _, i := range victims {
			signal(t, h.Ring, i, syscall.SIGKILL)
		}
		h.until("somebody is asked for", func() bool { return len(h.lines()) > before })
		runner := slices.Index(h.Names, h.lines()[before].by)
		if round%2 == 0 && h.Proc(runner).Running() && len(victims) < 5 {
			signal(t, h.Ring, runner, syscall.SIGKILL)
		}
		for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(20 * time.Millisecond) {
			h.attend()
		}
		h.feels("")
		h.wholeAgain()
		h.once()
	}
	t.Logf("%d lines of attempts", len(h.lines()))
}
