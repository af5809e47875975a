package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// Of one incident all hear and one tells: whoever held the hand.
func TestTellerPicksTheNeighbour(t *testing.T) {
	names := []ring.Name{"a/0", "a/1", "a/2", "a/3"}
	view := ring.View{}
	for i, name := range names {
		view.Instances = append(view.Instances, ring.Instance{Index: i, Name: name})
	}
	for _, c := range []struct {
		self ring.Name
		want []string
	}{
		{"a/0", []string{"whole", "1 died", "2 left", "then two", "2 is back", "then three",
			"1 is back", "then four"}},
		{"a/3", []string{"0 is silent"}},
	} {
		t.Run(string(c.self), func(t *testing.T) {
			var out strings.Builder
			view.Self = c.self
			teller := newTeller(&out, view)
			at := time.Now()
			hear := func(kind string, subject ring.Name, text string) {
				at = at.Add(time.Millisecond)
				teller.hear(ring.Event{At: at, Kind: kind, Subject: subject, Text: text})
			}
			for _, name := range names {
				if name != c.self {
					hear("returned", name, "meeting")
				}
			}
			hear("joined", c.self, "")
			hear("view_changed", "", "whole")
			hear("died", "a/1", "1 died")
			hear("left", "a/2", "2 left")
			hear("view_changed", "", "then two")
			hear("suspected", "a/0", "0 is silent")
			hear("returned", "a/2", "2 is back")
			hear("view_changed", "", "then three")
			hear("returned", "a/1", "1 is back")
			hear("view_changed", "", "then four")

			got := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
			if !slices.Equal(got, c.want) {
				t.Errorf("%s told %q, want %q", c.self, got, c.want)
			}
		})
	}
}
