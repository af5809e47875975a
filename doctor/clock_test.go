package doctor

import (
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

func TestJudgeClocks(t *testing.T) {
	const ms = time.Millisecond
	at := func(name ring.Name, middle, doubt time.Duration) offset {
		return offset{name, middle - doubt, middle + doubt}
	}
	for _, c := range []struct {
		name    string
		offsets []offset
		want    map[ring.Name]Verdict
		says    string
	}{
		{"one", []offset{at("a", 0, ms)}, nil, ""},
		{"close", []offset{at("a", 0, ms), at("b", 200*ms, ms), at("c", -200*ms, ms)}, nil, "within 200ms of"},
		{
			"off",
			[]offset{at("a", 0, ms), at("b", 300*ms, ms), at("c", 0, ms)},
			map[ring.Name]Verdict{"b": Warn},
			"",
		},
		{
			"far off",
			[]offset{at("a", 0, ms), at("b", -90*time.Second, ms), at("c", 0, ms)},
			map[ring.Name]Verdict{"b": Fail},
			"",
		},
		{
			"who asks is off",
			[]offset{at("a", 0, ms), at("b", 5*time.Second, ms), at("c", 5*time.Second, ms)},
			map[ring.Name]Verdict{"a": Fail},
			"",
		},
		// What is not certain does not count, and is said.
		{
			"vague",
			[]offset{at("a", 0, 0), at("b", 800*ms, 600*ms), at("c", 0, 0)},
			nil, "measured to within 600ms",
		},
		{
			"vague and far",
			[]offset{at("a", 0, 0), at("b", 1400*ms, 600*ms), at("c", 0, 0)},
			map[ring.Name]Verdict{"b": Warn},
			"",
		},
	} {
		found, note := judgeClocks(c.offsets)
		got := map[ring.Name]Verdict{}
		for _, p := range found {
			got[p.Who[0].Name] = p.Verdict
			if p.Do == "" || !strings.Contains(p.Who[0].What, "of the clock in the middle") {
				t.Errorf("%s: %+v", c.name, p)
			}
		}
		if len(got) != len(c.want) || len(found) != len(c.want) {
			t.Errorf("%s: found %+v, want %v", c.name, found, c.want)
		}
		for name, v := range c.want {
			if got[name] != v {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got[name], v)
			}
		}
		if !strings.Contains(note, c.says) {
			t.Errorf("%s: note %q, want %q in it", c.name, note, c.says)
		}
	}
}

func TestOffsetsNarrow(t *testing.T) {
	a := offset{"a", -10, 50}
	if got := a.with(offset{"a", 20, 90}); got != (offset{"a", 20, 50}) {
		t.Errorf("with one that overlaps: %+v", got)
	}
	if got := a.with(offset{"a", 60, 90}); got != (offset{"a", 60, 90}) {
		t.Errorf("with one after the clock was set: %+v", got)
	}
}

func TestClocksSince(t *testing.T) {
	begun := readClocks()
	if begun.boot == 0 {
		begun.boot = time.Hour
	}
	now := clocks{begun.wall.Add(5 * time.Second), begun.boot + 8*time.Second}
	if k := begun.since(now); k.asleep != 3*time.Second || k.stepped != -3*time.Second {
		// The wall clock of this test has not gone on while the host slept: it was set back.
		t.Errorf("since = %+v", k)
	}
	if k := begun.since(begun); k != (clockFacts{}) {
		t.Errorf("since itself = %+v", k)
	}
}
