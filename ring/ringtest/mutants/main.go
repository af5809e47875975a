// Command mutants proves that the simulator's checkers see: it breaks the core
// in named ways, one at a time, and each must be found by the checker of its
// invariant within a bounded number of seeds.
//
//	go run ./ring/ringtest/mutants [-run text] [-seeds 1000]
//
// A mutant is compiled by means of go build -overlay, so nothing is written
// into the tree. It exits with 1 when a mutant lives, or no longer applies.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ringofservers.dev/ring/ringtest"
)

func main() {
	only := flag.String("run", "", "only mutants whose name contains this")
	seeds := flag.Uint64("seeds", 1000, "seeds to try at most")
	hunt := flag.String("hunt", "", "used by itself: faults to hunt with")
	nodes := flag.Int("nodes", 5, "used by itself")
	want := flag.String("want", "", "used by itself: invariants")
	flag.Parse()
	var err error
	if *hunt != "" {
		err = search(*hunt, *nodes, *want, *seeds)
	} else {
		err = breakAll(*only, *seeds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// search is the child: it runs seeds until one breaks a wanted invariant.
func search(faults string, nodes int, want string, seeds uint64) error {
	other := map[string]uint64{}
	for seed := range seeds {
		opt := ringtest.Options{Seed: seed, Nodes: nodes, Faults: faults}
		res, err := ringtest.Run(opt)
		if err != nil {
			return err
		}
		if f := res.Failure; f != nil {
			if strings.Contains(","+want+",", ","+f.Invariant+",") {
				fmt.Printf("%s with seed %d: %s\n", f.Invariant, seed, f.Text)
				return nil
			}
			other[f.Invariant]++
		}
	}
	return fmt.Errorf("lives after %d seeds (others broken: %v)", seeds, other)
}

// breakAll is the parent: it builds and runs each mutant.
func breakAll(only string, seeds uint64) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	failed := 0
	for _, m := range table {
		if !strings.Contains(m.name, only) {
			continue
		}
		begun := time.Now()
		found, err := m.try(root, dir, seeds)
		if err == nil {
			err = m.sound(found)
		}
		verdict := "found"
		if err != nil {
			verdict, found = "FAILED", err.Error()
			failed++
		}
		fmt.Printf("%-7s %-44s %-9s %5.1fs  %s\n", verdict, m.name, m.invariant,
			time.Since(begun).Seconds(), found)
	}
	if failed > 0 {
		return fmt.Errorf("%d mutants live or do not apply", failed)
	}
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// try builds this program with the mutation in it, and lets it hunt.
func (m mutant) try(root, dir string, seeds uint64) (string, error) {
	path := filepath.Join(root, "ring", "internal", filepath.FromSlash(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("its old text stands %d times in %s, want once", n, m.file)
	}
	changed := filepath.Join(dir, "changed.go")
	text = bytes.Replace(text, []byte(m.old), []byte(m.new), 1)
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	config, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant")
	if err := os.WriteFile(config, overlay, 0o600); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-overlay", config, "-o", program,
		"./ring/ringtest/mutants")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %s", bytes.TrimSpace(out))
	}
	return m.hunt(program, seeds)
}

func (m mutant) hunt(program string, seeds uint64) (string, error) {
	hunt := exec.Command(program, "-hunt", m.faults, "-nodes", fmt.Sprint(m.nodes),
		"-want", m.invariant, "-seeds", fmt.Sprint(seeds))
	var stderr bytes.Buffer
	hunt.Stderr = &stderr
	out, err := hunt.Output()
	if err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return "", errors.New(lastLine(text))
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// sound makes sure that it was the mutation which the checker saw: without it
// the same seed must break nothing.
func (m mutant) sound(found string) error {
	var invariant string
	var seed uint64
	if _, err := fmt.Sscanf(found, "%s with seed %d:", &invariant, &seed); err != nil {
		return fmt.Errorf("child said %q: %w", found, err)
	}
	res, err := ringtest.Run(ringtest.Options{Seed: seed, Nodes: m.nodes, Faults: m.faults})
	if err == nil && res.Failure != nil && res.Failure.Invariant == invariant {
		err = fmt.Errorf("the core itself fails: %s with seed %d", invariant, seed)
	}
	return err
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }
