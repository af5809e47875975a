package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// A lap that does not count never looks like one that does.
func TestUncountedLapsLookDifferent(t *testing.T) {
	counted := ring.Tick{
		Epoch: ring.Epoch{Number: 7}, Lap: 15, Tick: 12, Anchored: true,
		Took: time.Second, Skew: 20 * time.Millisecond, At: time.Unix(3, 4),
	}
	uncounted := counted
	uncounted.Anchored = false
	uncounted.Epoch.Counter, uncounted.Epoch.Dropper = 2, "a/3"
	for _, c := range []struct {
		tick       ring.Tick
		line, told string
	}{
		{counted, "12       epoch 7  lap 15 in 1.00 s  skew 20 ms", "3000000004 tick: 12\n"},
		{
			uncounted, "-        epoch 7, detached 2 by a/3  lap 15 in 1.00 s  uncounted",
			"3000000004 lap: - lap 15 goes by uncounted\n",
		},
	} {
		if got := tickLine(c.tick); got != c.line {
			t.Errorf("tick -f shows %q, want %q", got, c.line)
		}
		var out strings.Builder
		if tellTick(&out, c.tick); out.String() != c.told {
			t.Errorf("the starter is told %q, want %q", &out, c.told)
		}
	}
}

func TestStatusWarnsOfMixtures(t *testing.T) {
	const under = ": an upgrade is under way, or was not finished"
	for _, c := range []struct {
		first, second ring.Instance
		want, table   string
	}{
		{ring.Instance{Version: "v1", Protocol: 2}, ring.Instance{Version: "v1", Protocol: 2}, "", ""},
		{ring.Instance{Version: "v1"}, ring.Instance{Version: "v2"}, "mixed versions: 1 run v1, 1 run v2" + under, ""},
		{
			ring.Instance{Version: "v1", Protocol: 2},
			ring.Instance{Version: "v2", Protocol: 3},
			"mixed versions: 1 run v1 (protocol 2), 1 run v2 (protocol 3)" + under, "VERSION  PROTOCOL",
		},
	} {
		c.first.State, c.second.State = ring.Alive, ring.Alive
		s := admin.Status{Instances: []admin.Instance{{Instance: c.first}, {Instance: c.second}}}
		s.Status.Instances = plain(s.Instances)
		var out strings.Builder
		if err := printStatus(&out, s); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.Contains(text, "mixed") != (c.want != "") || !strings.Contains(text, c.want) ||
			strings.Contains(text, "PROTOCOL") != (c.table != "") || !strings.Contains(text, c.table) {
			t.Errorf("of %+v and %+v it prints\n%s\nwant %q, %q", c.first, c.second, text, c.want, c.table)
		}
	}
}

func TestStatusSaysFirstWhetherLapsCount(t *testing.T) {
	s := ring.Status{Ring: "r", Tick: 1234, Leader: "a/1", Anchored: true, Epoch: ring.Epoch{Number: 7}}
	lines := func() []string {
		var out strings.Builder
		if err := printStatus(&out, admin.Status{Status: s}); err != nil {
			t.Fatal(err)
		}
		return strings.Split(out.String(), "\n")
	}
	if got, want := lines()[0], "anchored, tick 1234, led by a/1"; got != want {
		t.Errorf("first line %q, want %q", got, want)
	}
	s.Anchored, s.Leader, s.Unanchored = false, "", "nobody leads"
	s.Epoch.Counter, s.Epoch.Dropper = 2, "a/0"
	got := lines()
	want := "NOT ANCHORED: laps do not count (nobody leads); the last tick was 1234"
	if got[0] != want || !strings.Contains(got[1], "epoch 7, detached 2 by a/0") {
		t.Errorf("begins %q, want %q and the epoch", got[:2], want)
	}
	s.Insecure = true
	if got := lines(); !strings.HasPrefix(got[0], "INSECURE: ") || got[1] != want {
		t.Errorf("on an insecure ring it begins %q, want that first, then %q", got[:2], want)
	}
}

// Who asks for the tick is told by the exit code that there is none, in every form.
func TestNoTickYet(t *testing.T) {
	for _, c := range []struct {
		answer, plain, asJSON string
		code                  int
	}{
		{`{"v": 1, "tick": null}`, "", "", exitFalse},
		{`{"v": 1, "tick": {"lap": 3, "tick": 0}}`, "", `{"lap":3,"tick":0}` + "\n", exitFalse},
		{`{"v": 1, "tick": {"lap": 3, "tick": 2}}`, "2\n", `{"lap":3,"tick":2}` + "\n", exitDone},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, c.answer)
		}))
		for form, want := range map[string]string{"--json=false": c.plain, "--json": c.asJSON} {
			var out, errs strings.Builder
			if code := run([]string{"tick", form, "--addr", server.URL}, &out, &errs); code != c.code ||
				out.String() != want || (code == exitDone) != (errs.Len() == 0) {
				t.Errorf("tick %s of %s: exit code %d, %q, %q; want %d and %q", form, c.answer, code,
					&out, &errs, c.code, want)
			}
		}
		server.Close()
	}
}
