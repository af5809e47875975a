package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A row whose text no longer applies is found by whoever changed it, and not at the end
// of CI.
func TestEveryRowApplies(t *testing.T) {
	names := map[string]bool{}
	for _, set := range suites {
		for _, m := range set.mutants {
			text, err := os.ReadFile(set.path(filepath.Join("..", "..", ".."), m.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.old); n != 1 {
				t.Errorf("%s: its old text stands %d times in %s, want once", m.name, n, m.file)
			}
			if names[m.name] {
				t.Errorf("two mutants are called %q", m.name)
			}
			names[m.name] = true
		}
	}
	for name := range begins { // a beginning is some mutant's
		if !names[name] {
			t.Errorf("no mutant is called %q", name)
		}
	}
	for name := range rare { // each by itself
		if !names[name] {
			t.Errorf("no mutant is called %q, which is rare", name)
		}
	}
}
