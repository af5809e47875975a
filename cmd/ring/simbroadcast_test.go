package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// simBroadcast runs `ring sim broadcast` as main does.
func simBroadcast(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"sim", "broadcast"}, args...)
	if code := run(args, &out, &errs); code != want {
		t.Fatalf("%v: code %d, want %d, %s%s", args, code, want, &out, &errs)
	}
	return out.String(), errs.String()
}

func TestSimBroadcastTable(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "broadcast.svg")
	out, _ := simBroadcast(t, exitDone, "--nodes", "5,12", "--messages", "2", "--svg", picture)
	lines := strings.Split(out, "\n")
	if want := "INSTANCES  LINKS  WRONG  "; !strings.HasPrefix(lines[0], want) {
		t.Errorf("head %q, want %q", lines[0], want)
	}
	if len(lines) < 1+2*16 || strings.Contains(lines[0], "CROSSING") {
		t.Errorf("%d lines:\n%s", len(lines), out)
	}
	if strings.Count(out, "reached") != 2 || strings.Contains(out, "missed") {
		t.Errorf("targets of two fleets are not told:\n%s", out)
	}

	text, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	x := xml.NewDecoder(bytes.NewReader(text))
	lineOf := map[string]int{} // by class
	for {
		token, err := x.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lineOf[e.Attr[0].Value]++
		}
	}
	// two panels of each size: eight lines in each, and the best in the upper ones
	if lineOf["of"] != 4*8 || lineOf["best"] != 2 {
		t.Errorf("lines %v, want 32 and 2 of the best", lineOf)
	}
}

func TestSimBroadcastJSON(t *testing.T) {
	out, errs := simBroadcast(t, exitDone, "--nodes", "100", "--zones", "4", "--trouble", "none",
		"--messages", "1", "--json")
	if errs != "" {
		t.Errorf("with --json stderr has %q", errs)
	}
	var doc struct {
		V      int
		Fleets []map[string]any
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.V != 1 || len(doc.Fleets) != 1 {
		t.Fatalf("%v:\n%s", err, out)
	}
	fleet := doc.Fleets[0]
	for _, key := range []string{
		"seed", "nodes", "degree", "zones", "formed_ms", "frames", "bytes", "steps", "rows", "hash",
		"failure", "targets",
	} {
		if _, ok := fleet[key]; !ok {
			t.Errorf("a fleet lacks %q", key)
		}
	}
	rows := fleet["rows"].([]any)
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
	row := rows[1].(map[string]any)
	for _, key := range []string{
		"trouble", "troubled", "live", "kind", "size", "messages", "best_hops", "median_hops",
		"worst_hops", "worst_before_hops",
		"whole_before", "whole_after", "copies", "copies_after", "control", "bytes", "cross_copies",
		"wide_deep", "reached",
	} {
		if _, ok := row[key]; !ok {
			t.Errorf("a row lacks %q", key)
		}
	}
	if row["kind"] != "tree" || row["cross_copies"] != 3.0 || row["wide_deep"] != 1.0 {
		t.Errorf("the tree: %v", row)
	}
}

func TestSimBroadcastRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"extra"},
		{"--nodes", "0"},
		{"--nodes", ""},
		{"--nodes", "x"},
		{"--size", ""},
		{"--size", "-1"},
		{"--messages", "-1"},
		{"--messages", "0"},
		{"--nodes", "3", "--trouble", "dead"},
		{"--nodes", "12,3", "--trouble", "churn,centre"},
		{"--trouble", "war"},
		{"--zones", "9", "--nodes", "3"},
		{"--degree", "5"},
	} {
		if out, errs := simBroadcast(t, exitUsage, args...); out != "" || errs == "" {
			t.Errorf("%v: stdout %q, stderr %q", args, out, errs)
		}
	}
	simBroadcast(t, exitFailed, "--nodes", "1", "--svg", filepath.Join(t.TempDir(), "none", "x.svg"))
}
