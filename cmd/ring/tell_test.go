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
		{"a/0", []string{
			"here", "whole", "1 died", "2 left", "then two", "2 is back", "then three",
			"1 is back", "then four",
		}},
		{"a/3", []string{"here", "0 is silent"}},
	} {
		t.Run(string(c.self), func(t *testing.T) {
			var out strings.Builder
			view.Self = c.self
			teller := newTeller(&out, func() ring.View { return view })
			began := time.Now()
			at := began
			hear := func(kind string, subject ring.Name, text string) {
				at = at.Add(time.Millisecond)
				teller.hear(ring.Event{At: at, Kind: kind, Subject: subject, Text: text})
			}
			for _, name := range names {
				if name != c.self {
					hear("returned", name, "meeting")
				}
			}
			hear("joined", c.self, "here")
			hear("view_changed", "", "whole")
			hear("died", "a/1", "1 died")
			hear("left", "a/2", "2 left")
			hear("view_changed", "", "then two")
			hear("suspected", "a/0", "0 is silent")
			hear("returned", "a/2", "2 is back")
			hear("view_changed", "", "then three")
			hear("returned", "a/1", "1 is back")
			hear("view_changed", "", "then four")

			var got []string
			for told := range strings.Lines(out.String()) {
				l := readTold(strings.TrimSuffix(told, "\n"))
				if got = append(got, l.text); l.at <= began.UnixNano() || l.at > at.UnixNano() {
					t.Errorf("%q is told to be of %v, want of when it was", l.text, time.Unix(0, l.at))
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s told %q, want %q", c.self, got, c.want)
			}
		})
	}
}

// That all have met for the first time is told by one, also if it took its time.
func TestTellerOfALateMeeting(t *testing.T) {
	for self, want := range map[ring.Name]bool{"a/0": true, "a/1": false} {
		var out strings.Builder
		teller := newTeller(&out, func() ring.View {
			return ring.View{Self: self, Instances: []ring.Instance{
				{Index: 0, Name: "a/0"}, {Index: 1, Name: "a/1"}, {Index: 2, Name: "a/2"},
			}}
		})
		at := time.Now()
		for _, e := range []ring.Event{
			{Kind: "joined"},
			{Kind: "returned", Subject: "a/0"},
			{Kind: "returned", Subject: "a/1"},
			{Kind: "returned", Subject: "a/2"},
			{Kind: "view_changed", Text: "whole"},
		} {
			if e.Kind == "view_changed" {
				at = at.Add(2 * forming)
			}
			e.At = at
			teller.hear(e)
		}
		if got := strings.Contains(out.String(), "whole"); got != want {
			t.Errorf("%s tells that all have met: %v, want %v", self, got, want)
		}
	}
}

// A roster that changes is told by the first who is there. Who is retired stands between
// nobody any more, and who is new has a place.
func TestTellerFollowsTheRoster(t *testing.T) {
	viewOf := func(self ring.Name, names []ring.Name) ring.View {
		v := ring.View{Self: self}
		for i, name := range names {
			if name != "" { // else who was there is retired
				v.Instances = append(v.Instances, ring.Instance{Index: i, Name: name})
			}
		}
		return v
	}
	three := []ring.Name{"a", "b", "c"}
	for _, c := range []struct {
		what  string
		self  ring.Name
		after []ring.Name
		dead  ring.Name
		want  []string
	}{
		{"past who is retired", "a", []ring.Name{"a", "", "c"}, "c", []string{"version 2", "c died"}},
		{"nobody is retired", "a", three, "c", []string{"version 2"}},
		{"round to the first", "c", []ring.Name{"a", "", "c"}, "a", []string{"a died"}},
		{"a new one", "c", []ring.Name{"a", "b", "c", "d"}, "d", []string{"d died"}},
		{"past a new one", "c", []ring.Name{"a", "b", "c", "d"}, "a", nil},
	} {
		now := viewOf(c.self, three)
		var out strings.Builder
		teller := newTeller(&out, func() ring.View { return now })
		at := time.Now()
		hear := func(kind string, subject ring.Name, text string) {
			at = at.Add(2 * forming)
			teller.hear(ring.Event{At: at, Kind: kind, Subject: subject, Text: text})
		}
		hear("joined", c.self, "")
		meet := func() {
			for _, i := range now.Instances {
				if i.Name != c.self {
					hear("returned", i.Name, "")
				}
			}
		}
		meet()
		out.Reset()
		now = viewOf(c.self, c.after)
		hear("roster_changed", "", "version 2")
		told := out.String()
		meet()
		out.Reset()
		hear("died", c.dead, string(c.dead)+" died")
		var got []string
		for told := range strings.Lines(told + out.String()) {
			got = append(got, readTold(strings.TrimSuffix(told, "\n")).text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %s tells %q, want %q", c.what, c.self, got, c.want)
		}
	}
}

// No tick is left out while laps are slower than ten a second, nor where only some
// are faster, as the first of an epoch; beyond that ten a second are told.
func TestTicksAreLeftOutOnlyWhereFast(t *testing.T) {
	tests := []struct {
		name       string
		lap        time.Duration
		laps, told int
	}{
		{"the default pace", time.Second, 1000, 1000},
		{"ten a second", fastPace, 1000, 1000},
		{"fast, but not for long", 5 * time.Millisecond, fastBurst, fastBurst},
		{"fast for a minute", 5 * time.Millisecond, 12000, fastBurst + 594},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p pace
			at, told := time.Now(), 0
			for i := range test.laps {
				if p.allows(at) {
					told++
				}
				if i%100 > 0 { // the others are the first of an epoch
					at = at.Add(test.lap)
				}
			}
			if told != test.told {
				t.Errorf("%d of %d laps were told, want %d", told, test.laps, test.told)
			}
		})
	}
}
