package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A row whose text no longer applies is found by whoever changed it, and not at the end
// of CI.
func TestEveryRowApplies(t *testing.T) {
	for _, m := range table {
		text, err := os.ReadFile(filepath.Join("..", "..", "internal", filepath.FromSlash(m.file)))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: its old text stands %d times in %s, want once", m.name, n, m.file)
		}
	}
}

// A beginning is some mutant's.
func TestBeginningsAreOfMutants(t *testing.T) {
	for name := range begins {
		if !slices.ContainsFunc(table, func(m mutant) bool { return m.name == name }) {
			t.Errorf("no mutant is called %q", name)
		}
	}
}
