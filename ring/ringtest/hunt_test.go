package ringtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestHunt is how the mutants program looks for what it has broken: it plays
// seeds until one breaks an invariant of those wanted. RINGTEST_HUNT says which these are,
// the first seed and how many; RINGTEST_WORLD the faults, or lies= and what one of them lies
// about, and how many nodes; with spaces. Where rolls stands before the faults the roster is
// changed, too.
func TestHunt(t *testing.T) {
	var faults, want string
	var nodes int
	var from, seeds uint64
	hunt := os.Getenv("RINGTEST_HUNT")
	if hunt == "" {
		t.Skip("SKIPPED: RINGTEST_HUNT is not set; the mutants program, which CI runs, sets it")
	}
	if _, err := fmt.Sscan(hunt, &want, &from, &seeds); err != nil {
		t.Fatalf("RINGTEST_HUNT is %q: %v", hunt, err)
	}
	world := os.Getenv("RINGTEST_WORLD")
	if _, err := fmt.Sscan(world, &faults, &nodes); err != nil {
		t.Fatalf("RINGTEST_WORLD is %q: %v", world, err)
	}
	faults, rolls := strings.CutPrefix(faults, "rolls,")
	other := map[string]uint64{}
	for seed := from; seed < from+seeds; seed++ {
		opt := Options{Seed: seed, Nodes: nodes, Faults: faults, judge: judge, busy: true}
		if lies, ok := strings.CutPrefix(faults, "lies="); ok {
			opt.Faults, opt.Lies, opt.Duration = "", lies, 8*time.Second
		}
		if rolls {
			opt.rolls, opt.Duration = 8, 40*time.Second
		}
		switch f := attempt(t, opt); {
		case f == nil:
		case strings.Contains(","+want+",", ","+f.Invariant+","):
			text, _, _ := strings.Cut(f.Text, "\n")
			fmt.Printf("FOUND %s with seed %d: %s\n", f.Invariant, seed, text)
			return
		default:
			other[f.Invariant]++
		}
	}
	fmt.Printf("LIVES after %d seeds (others broken: %v)\n", seeds, other)
}

// attempt plays one seed; a core that gives up by a panic has broken "panic".
func attempt(t *testing.T, opt Options) (f *Failure) {
	defer func() {
		if r := recover(); r != nil {
			f = &Failure{Invariant: "panic", Text: fmt.Sprint(r)}
		}
	}()
	_, res, err := play(must(t, opt))
	if err != nil {
		t.Fatal(err)
	}
	return res.Failure
}

func must(t *testing.T, opt Options) Options {
	opt, err := opt.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return opt
}
