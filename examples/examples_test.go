package examples

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience bounds one example, of which each takes a second.
const patience = 2 * time.Minute

// run builds an example as a user would, runs it until it ends by itself, and returns the
// lines that it prints.
func run(t *testing.T, name string, args ...string) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: builds and runs a program")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary := filepath.Join(t.TempDir(), name)
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it prints\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTransform(t *testing.T) {
	same(t, run(t, "transform"), []string{
		"dropped in: Hello, ring!",
		"lap 1 of 13 stops: Uryyb, evat!",
		"lap 2 of 13 stops: Hello, ring!",
	})
	same(t, run(t, "transform", "-stops", "1", "-laps", "1", "-hold", "5ms", "-text", "HAL"), []string{
		"dropped in: HAL",
		"lap 1 of 1 stops: IBM",
	})
}

func TestSum(t *testing.T) {
	same(t, run(t, "sum", "-laps", "3"), []string{
		"lap 1: 15 requests at 5 instances",
		"lap 2: 15 requests at 5 instances",
		"lap 3: 10 requests at 4 instances, without stop/4",
	})
}

func TestTicker(t *testing.T) {
	lines := run(t, "ticker", "-laps", "2")
	words := []string{"steady", "brisk", "fast", "rapid", "instant", "too fast", "slow", "steady", "brisk", "fast"}
	stop, k := regexp.MustCompile(`^stop/[0-4]  the ring is \[(.*)\]$`), 0
	for lap, at := range []int{5, 10} {
		seen := map[string]bool{} // who comes first is the ring's affair
		for ; k < at; k++ {
			line := lines[min(k+lap, len(lines)-1)]
			found := stop.FindStringSubmatch(line)
			if found == nil || found[1] != words[k] || seen[line[:6]] {
				t.Fatalf("%q, want %s by another stop:\n%s", line, words[k], strings.Join(lines, "\n"))
			}
			seen[line[:6]] = true
		}
		want := fmt.Sprintf("after lap %d, edited by 5: the ring is [%s]", lap+1, words[k-1])
		if line := lines[min(k+lap, len(lines)-1)]; line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
	if len(lines) != 12 {
		t.Errorf("%d lines, want 12", len(lines))
	}
}
