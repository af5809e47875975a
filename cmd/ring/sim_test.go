package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// simulated runs `ring sim` as main does, with actions to play.
func simulated(t *testing.T, actions string, args ...string) string {
	t.Helper()
	schedule := filepath.Join(t.TempDir(), "schedule")
	if err := os.WriteFile(schedule, []byte(actions), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args = append([]string{"sim", "--nodes", "3", "--schedule", schedule}, args...)
	if code := run(args, &out, &errs); code != exitDone {
		t.Fatalf("%v: code %d, %s%s", args, code, &out, &errs)
	}
	return out.String()
}

// What a run has not measured is no zero.
func TestSimLeavesOutWhatIsNotMeasured(t *testing.T) {
	const formed, whole, lap = "formed       in ", "whole again  ", ", one takes "
	tests := []struct {
		name, actions string
		with, without []string
	}{
		{"calm", "", []string{formed, lap, "at the end"}, []string{whole}},
		{"a fault", "8s crash 2 for 3s", []string{formed, "known  ", whole, lap}, nil},
		{
			"a fault before the ring is whole", "0s crash 2 for 3s",
			[]string{whole, lap},
			[]string{formed},
		},
		{
			"nobody left", "8s crash 0\n8s crash 1\n8s crash 2",
			[]string{formed},
			[]string{whole, lap, "at the end"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := simulated(t, test.actions)
			for _, want := range test.with {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
			for _, not := range test.without {
				if strings.Contains(out, not) {
					t.Errorf("output has %q:\n%s", not, out)
				}
			}
		})
	}
	if out := simulated(t, "", "--seeds", "2"); strings.Count(out, "whole again in –") != 2 {
		t.Errorf("runs without faults were whole again:\n%s", out)
	}
	if out := simulated(t, "", "--json"); !strings.HasPrefix(out, `{"v":1,"seed":1,`) ||
		!strings.Contains(out, `"detections":[]`) {
		t.Errorf("no version, or no detections are not an empty list:\n%s", out)
	}
}
