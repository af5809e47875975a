// Command mutants proves that the checkers see, those of the simulator and those of the
// applications that are simulated by themselves: it breaks the code in named ways, one at
// a time, and each must be found by the checker of its invariant within a bounded number
// of seeds.
//
//	go run ./ring/ringtest/mutants [-run text] [-seeds 1000] [-from 0] [-rare]
//
// A mutant is the tests of a package, compiled by means of -overlay, so nothing is written
// into the tree; TestHunt there plays the seeds. It exits with 1 when a mutant lives, or no
// longer applies.
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	only := flag.String("run", "", "only mutants whose name contains this")
	seeds := flag.Uint64("seeds", 1000, "seeds to try at most")
	from := flag.Int64("from", -1, "first seed to try; -1 for each mutant's own, near which it was found")
	all := flag.Bool("rare", false, "also those that few seeds show, which takes long")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "mutants: takes no arguments; choose some with -run NAME")
		os.Exit(2)
	}
	if err := breakAll(*only, *from, *seeds, *all); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// breakAll builds and runs each mutant, as many at a time as there are processors: the
// hunts are of one goroutine.
func breakAll(only string, from int64, seeds uint64, all bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var verdicts []chan string // in the order of the tables, whoever is done first
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	var failed atomic.Int32
	for _, set := range suites {
		wanted := set.named(only)
		if only == "" && !all {
			wanted = slices.DeleteFunc(wanted, func(m mutant) bool { return rare[m.name] })
		}
		if len(wanted) == 0 {
			continue
		}
		whole := filepath.Join(dir, set.room())
		if err := set.build(root, whole); err != nil {
			return err
		}
		for _, m := range wanted {
			said, place := make(chan string, 1), filepath.Join(dir, strconv.Itoa(len(verdicts)))
			verdicts = append(verdicts, said)
			go func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				begun, first := time.Now(), begins[m.name]
				if from >= 0 {
					first = uint64(from)
				}
				verdict := "found"
				found, err := set.try(m, root, place, whole, first, seeds)
				if err != nil {
					verdict, found = "FAILED", err.Error()
					failed.Add(1)
				}
				said <- fmt.Sprintf("%-7s %-44s %-9s %5.1fs  %s\n", verdict, m.name, m.invariant,
					time.Since(begun).Seconds(), found)
			}()
		}
	}
	for _, v := range verdicts {
		fmt.Print(<-v)
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d mutants live or do not apply", n)
	}
	return nil
}

// suite is the mutants that one program of tests hunts.
type suite struct {
	tests   string // the package whose TestHunt it is, under the module
	below   string // where the files of its mutants are, under the module
	mutants []mutant
}

// named are those whose names contain text.
func (s suite) named(text string) []mutant {
	return slices.DeleteFunc(slices.Clone(s.mutants), func(m mutant) bool {
		return !strings.Contains(m.name, text)
	})
}

// room is a name of it for a file.
func (s suite) room() string { return "whole-" + strings.ReplaceAll(s.tests, "/", "-") }

// path is where a file of it is.
func (s suite) path(root, file string) string {
	return filepath.Join(root, filepath.FromSlash(s.below), filepath.FromSlash(file))
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// try builds the tests with the mutation in them, and lets them hunt.
func (s suite) try(m mutant, root, dir, whole string, from, seeds uint64) (string, error) {
	path := s.path(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("its old text stands %d times in %s, want once", n, m.file)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) // a program each, and there are many
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
	if err := s.build(root, program, "-overlay", config); err != nil {
		return "", err
	}
	return m.search(program, whole, from, from+seeds)
}

func (s suite) build(root, program string, flags ...string) error {
	args := append([]string{"test", "-c", "-o", program}, flags...)
	cmd := exec.Command("go", append(args, "./"+s.tests)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %s", bytes.TrimSpace(out))
	}
	return nil
}

// hunt lets a program look for a seed that breaks what m should; it fails if
// there is none.
func (m mutant) hunt(program string, from, seeds uint64) (string, error) {
	hunt := exec.Command(program, "-test.run", "^TestHunt$", "-test.timeout", "1h")
	hunt.Env = append(os.Environ(), fmt.Sprintf("RINGTEST_HUNT=%s %d %d", m.invariant, from, seeds),
		fmt.Sprintf("RINGTEST_WORLD=%s %d", m.faults, m.nodes))
	out, err := hunt.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if found, ok := strings.CutPrefix(line, "FOUND "); ok {
			return found, nil
		}
		if strings.HasPrefix(line, "LIVES") {
			return "", fmt.Errorf("%w %s", errLives, line)
		}
	}
	return "", fmt.Errorf("the hunt ended with %w: %s", err, lastLine(string(bytes.TrimSpace(out))))
}

var errLives = errors.New("it")

// search hunts until a seed is found that breaks nothing of the kind without the
// mutation: so it was the mutation which the checker saw.
func (m mutant) search(program, whole string, from, end uint64) (string, error) {
	for {
		found, err := m.hunt(program, from, end-from)
		if err != nil {
			return "", err
		}
		var invariant string
		var seed uint64
		if _, err := fmt.Sscanf(found, "%s with seed %d:", &invariant, &seed); err != nil {
			return "", fmt.Errorf("the hunt said %q: %w", found, err)
		}
		switch _, err := m.hunt(whole, seed, 1); {
		case errors.Is(err, errLives):
			return found, nil
		case err != nil:
			return "", err
		case seed+1 >= end:
			return "", fmt.Errorf("%w lives up to seed %d", errLives, seed)
		}
		from = seed + 1 // the core itself fails there
	}
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }
