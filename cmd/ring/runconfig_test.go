//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	runner "ringofservers.dev/run"
)

func TestRunTables(t *testing.T) {
	withoutSettings(t)
	s, err := loaded(t, "--config", written(t, oneInstance+`
[[run]]
name = "reindex"
every = "30s"
command = ["./reindex", "--all"]

[[run]]
name = "report"
cron = "0 4 * * 1-5"
time_zone = "UTC"
overlap = "forbid"
starting_deadline = "10m"
jitter = "30s"
lease = "20s"
grace = "1m"
command = ["./report"]

[[run]]
name = "compact"
every_tick = 100
command = ["./compact"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Runs) != 3 {
		t.Fatalf("%d jobs, want 3", len(s.Runs))
	}
	first, second, third := s.Runs[0], s.Runs[1], s.Runs[2]
	if first.Job != (runner.Job{Name: "reindex", Every: 30 * time.Second}) || first.Grace != graceDefault ||
		!slices.Equal(first.Command, []string{"./reindex", "--all"}) {
		t.Errorf("the first is %+v", first)
	}
	want := runner.Job{
		Name: "report", Cron: "0 4 * * 1-5", Zone: time.UTC, Overlap: runner.Forbid,
		StartingDeadline: 10 * time.Minute, Jitter: 30 * time.Second, Lease: 20 * time.Second,
	}
	if second.Job != want || second.Grace != time.Minute {
		t.Errorf("the second is %+v", second)
	}
	if third.Job != (runner.Job{Name: "compact", EveryTick: 100}) {
		t.Errorf("the third is %+v", third)
	}
	other := s
	other.Runs = s.Runs[:2]
	if changed, fixed := difference(s, other); len(fixed) > 0 || !slices.Equal(changed, []string{"run"}) {
		t.Errorf("with one job less, changed %v, fixed %v", changed, fixed)
	}
}

// Each fault is told where it is.
func TestRunTablesThatAreWrong(t *testing.T) {
	withoutSettings(t)
	for text, want := range map[string]string{
		"[[run]]\nname = 3\n":                                                     ":5:8: run.name: want a string, here is a whole number",
		"[[run]]\nname = \"x\"\nevery = \"often\"\n":                              `:6:9: run.every: "often" is no duration`,
		"[[run]]\nname = \"x\"\nevrey = \"1m\"\n":                                 ":6:1: key run.evrey is unknown",
		"[[run]]\nname = \"x\"\ncommand = \"ls\"\n":                               ":6:11: run.command: want a list of strings",
		"[[run]]\nname = \"x\"\nevery = \"1m\"\n":                                 ":5:1: run: command is missing",
		"[[run]]\nname = \"x\"\ncommand = [\"ls\"]\n":                             ":5:1: run: give one of every, cron and every_tick",
		"[[run]]\nname = \"x\"\nevery_tick = 0\n":                                 ":6:14: run.every_tick: 0 is no number of ticks",
		"[[run]]\nname = \"x\"\ntime_zone = \"Nowhere/X\"":                        ":6:13: run.time_zone: unknown time zone",
		"[run]\nname = \"x\"\n":                                                   "write [[run]]",
		strings.Repeat("[[run]]\nname=\"x\"\nevery=\"1m\"\ncommand=[\"x\"]\n", 2): ":9:1: run: x is there twice",
	} {
		_, err := loaded(t, "--config", written(t, oneInstance+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
