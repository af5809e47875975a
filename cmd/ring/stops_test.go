package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// What cannot be at one stop is told before an instance joins, with both places.
func TestWhatCannotBeAtOneStop(t *testing.T) {
	withoutSettings(t)
	const laps = "[[lap]]\nname = \"a\"\ncommand = [\"df\"]\n"
	const stations = "[[station]]\ntopic = \"a\"\ncommand = [\"cat\"]\n"
	for _, c := range []struct {
		file  string
		args  []string
		wants []string
	}{
		{"", []string{"--lap", "a=df", "--station", "a=cat"}, []string{
			`--station "a=cat": topic "a" is there twice, first at --lap "a=df": `,
		}},
		{"", []string{"--station", "a=cat", "--station", "b=cat", "--station", "a=tac"}, []string{
			`--station "a=tac": topic "a" is there twice, first at --station "a=cat": `,
		}},
		{"", []string{"--lap", "a=df", "--lap", "a=du"}, []string{
			`--lap "a=du": topic "a" is there twice, first at --lap "a=df": `,
		}},
		{"", []string{"--station", "ring/names=cat"}, []string{
			`--station "ring/names=cat": topic "ring/names" is that of a question`,
		}},
		{laps + stations, nil, []string{
			`ring.toml:8:9: station.topic: topic "a" is there twice, first at `, `ring.toml:5:8: lap.name: a stop`,
		}},
		{laps + laps, nil, []string{
			`ring.toml:8:8: lap.name: topic "a" is there twice, first at `, `ring.toml:5:8: lap.name: a stop`,
		}},
		{stations + stations, nil, []string{
			`ring.toml:8:9: station.topic: topic "a" is there twice, first at `,
			`ring.toml:5:9: station.topic: a stop`,
		}},
		{laps, []string{"--station", "a=cat"}, []string{`--station "a=cat": topic "a" is there twice`, `ring.toml:5:8: lap.name: a stop`}},
		{stations, []string{"--station", "b=cat", "--lap", "a=df"}, nil}, // the flag takes the tables' place
	} {
		_, err := loaded(t, append([]string{"--config", written(t, oneInstance+c.file)}, c.args...)...)
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q %q: %v, want %q", c.file, c.args, err, want)
			}
		}
		var coded *exitError
		if c.wants == nil && err != nil || c.wants != nil && (!errors.As(err, &coded) || coded.code != exitUsage) {
			t.Errorf("%q %q: %v", c.file, c.args, err)
		}
	}
	t.Setenv("RING_STATION", "a=cat\nb=cat\na=tac")
	if _, err := loaded(t, "--config", written(t, oneInstance)); err == nil ||
		!strings.Contains(err.Error(), `RING_STATION "a=tac": topic "a" is there twice, first at RING_STATION "a=cat"`) {
		t.Errorf("RING_STATION: %v", err)
	}
}

// No setting holds the particle for longer than a ring of its preset lets it.
func TestHoldIsAtMostHalfOfLoss(t *testing.T) {
	withoutSettings(t)
	lap := func(d string) string { return "[[lap]]\nname = \"a\"\ncommand = [\"df\"]\ntimeout = \"" + d + "\"\n" }
	filter := func(d string) string {
		return "[[station]]\ntopic = \"b\"\ncommand = [\"cat\"]\nhold = \"" + d + "\"\n"
	}
	for _, c := range []struct {
		preset, tables string
		wants          []string // none: it is taken
	}{
		{"", lap("200ms") + filter("200ms"), nil},
		{"wan", lap("1s") + filter("1s"), nil},
		{"quiet", lap("1s") + filter("1s"), nil},
		{"", lap("2s") + filter("1s"), []string{
			"ring.toml:7:11: lap.timeout: 2s is too long: all stations of a fleet together hold the particle for " +
				"200ms on a lap with preset lan, half of what makes it lost: give at most that\n",
			"ring.toml:11:8: station.hold: 1s is too long",
			"give at most that, or choose preset quiet or wan",
		}},
		{"lan", filter("201ms"), []string{":7:8: station.hold: 201ms is too long"}},
		{"wan", filter("1001ms"), []string{"hold the particle for 1s on a lap with preset wan"}},
	} {
		args := []string{"--config", written(t, oneInstance+c.tables)}
		if c.preset != "" {
			args = append(args, "--preset", c.preset) // a later place than the file
		}
		_, err := loaded(t, args...)
		if c.wants == nil && err != nil {
			t.Errorf("preset %q with\n%s%v", c.preset, c.tables, err)
		}
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("preset %q with\n%s%v, want %q", c.preset, c.tables, err, want)
			}
		}
	}
	_, err := loaded(t, "--config", written(t, oneInstance+lap("1s")), "--preset", "wann")
	if err == nil || strings.Contains(err.Error(), "too long") {
		t.Errorf("where the preset is unknown: %v, want that alone", err)
	}
	for preset, limit := range map[string]time.Duration{
		"lan": 200 * time.Millisecond, "wan": time.Second, "quiet": time.Second,
	} { // as the help and the README have it
		if got := holdLimit(preset); got != limit {
			t.Errorf("with preset %s it is %v, want %v", preset, got, limit)
		}
	}
}
