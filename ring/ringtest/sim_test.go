package ringtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// few is how many of n seeds a test runs: all, but under the race detector.
func few(n uint64) uint64 { return (n + seedShare - 1) / seedShare }

// TestSim runs fixed seeds of everything, and of each family of faults.
func TestSim(t *testing.T) {
	for _, row := range []struct {
		nodes  int
		faults string
		seeds  uint64
	}{
		{3, "all", 40},
		{5, "all", 60},
		{7, "all", 40},
		{11, "all", 30},
		{40, "all", 4},
		{200, "kill", 1},
		{5, "kill", 30},
		{11, "kill", 30},
		{5, "silent", 30},
		{7, "silent", 30},
		{5, "links", 30},
		{11, "links", 30},
		{5, "mild", 30},
		{11, "mild", 30},
		{2, "all", 20},
		{1, "all", 5},
	} {
		if seedShare > 1 && row.nodes > 11 {
			continue
		}
		for seed := range few(row.seeds) {
			t.Run(fmt.Sprintf("nodes=%d/faults=%s/seed=%d", row.nodes, row.faults, seed),
				func(t *testing.T) {
					check(t, Options{Seed: seed, Nodes: row.nodes, Faults: row.faults})
				})
		}
	}
}

// TestFresh runs seeds nobody has seen, for as long as RINGTEST_FRESH says. The
// first is drawn from the clock and printed, so that it can be run again.
func TestFresh(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv("RINGTEST_FRESH"))
	if err != nil {
		t.Skip("SKIPPED: RINGTEST_FRESH is not set to a duration; CI sets it, and make sim")
	}
	first := uint64(time.Now().UnixNano())
	t.Logf("# fresh seeds from %d, for %v", first, span)
	sizes := []int{3, 4, 5, 7, 11, 16}
	until := time.Now().Add(span)
	seeds := uint64(0)
	for ; time.Now().Before(until); seeds++ {
		check(t, Options{Seed: first + seeds, Nodes: sizes[seeds%6], Faults: "all"})
	}
	t.Logf("# %d seeds", seeds)
}

// TestSoak runs RINGTEST_SEEDS seeds of all faults over fleets of 1 to 16, from a
// seed drawn from the clock or from RINGTEST_FROM on. It goes on after a failure,
// so that the count stands for what it says.
func TestSoak(t *testing.T) {
	soak(t, "RINGTEST_SEEDS", func(n uint64) Options {
		return Options{
			Nodes: 1 + int(n%16), Faults: "all", Signed: os.Getenv("RINGTEST_SIGNED") != "" || n/16%2 == 1,
		}
	})
}

// soak runs as many seeds as the variable says; of is how the n-th is run.
func soak(t *testing.T, variable string, of func(n uint64) Options) {
	seeds, err := strconv.ParseUint(os.Getenv(variable), 10, 64)
	if err != nil {
		t.Skipf("SKIPPED: %s is not set to a number; CI does not set it, make soak does", variable)
	}
	from, err := strconv.ParseUint(os.Getenv("RINGTEST_FROM"), 10, 64)
	if err != nil {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("# %d seeds from %d", seeds, from)
	failed := 0
	for n := range seeds {
		opt := of(n)
		opt.Seed, opt.judge = from+n, judge
		res, err := Run(opt)
		if err != nil {
			t.Fatal(err)
		}
		if f := res.Failure; f != nil {
			failed++
			text, _, _ := strings.Cut(f.Text, "\n")
			t.Errorf("%s failed with seed %d of %d nodes and %d changes of the roster: %s", f.Invariant,
				opt.Seed, opt.Nodes, opt.rolls, text)
		}
		if (n+1)%500 == 0 {
			t.Logf("# %d seeds, %d failed", n+1, failed)
		}
	}
}

// TestReplay runs each seed twice: the same to the byte, traced or not.
func TestReplay(t *testing.T) {
	for seed := range few(8) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			opt := Options{Seed: seed, Nodes: 7, Faults: "all"}
			once, err := Run(opt)
			if err != nil {
				t.Fatal(err)
			}
			var trace lineCounter
			opt.Trace = &trace
			again, err := Run(opt)
			if err != nil {
				t.Fatal(err)
			}
			if once.Hash != again.Hash || once.Steps != again.Steps {
				t.Errorf("second run: hash %s after %d steps, want %s after %d", again.Hash,
					again.Steps, once.Hash, once.Steps)
			}
			if trace == 0 {
				t.Error("trace is empty")
			}
		})
	}
}

type lineCounter int

func (c *lineCounter) Write(p []byte) (int, error) { *c++; return len(p), nil }

// TestTimings runs the other presets.
func TestTimings(t *testing.T) {
	for _, timing := range []string{"wan", "quiet"} {
		for seed := range few(5) {
			t.Run(fmt.Sprintf("%s/seed=%d", timing, seed), func(t *testing.T) {
				check(t, Options{
					Seed: seed, Nodes: 5, Faults: "crash,pause,cut", Timing: timing,
					Duration: 2 * time.Minute,
				})
			})
		}
	}
}

// check runs and reports.
func check(t *testing.T, opt Options) Result {
	t.Helper()
	opt.Shrink, opt.judge = true, judge
	res, err := Run(opt)
	if err != nil {
		t.Fatal(err)
	}
	if f := res.Failure; f != nil {
		if last := 60; !testing.Verbose() && len(f.Trace) > last {
			f.Trace = f.Trace[len(f.Trace)-last:]
		}
		t.Fatal(f)
	}
	return res
}
