package admin

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// shownPage is what testdata/page.mjs prints.
type shownPage struct {
	Rows    [][]shownCell
	Columns []string
	Missing []string // fields that the script reads, and there are none
	Thrown  []string
	Table   string // its classes
	Title   string
	Notices []string
	Roster  string
}

type shownCell struct{ Text, Title, Class string }

// cell is that of a column.
func (p shownPage) cell(row int, column string) shownCell {
	return p.Rows[row][slices.Index(p.Columns, column)]
}

// show has the page's script draw what an instance streams.
func show(t *testing.T, events ...item) (page shownPage) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED: there is no node here, which runs the script of the page; CI installs it, where it is root")
	}
	var in, out, errs bytes.Buffer
	lines := json.NewEncoder(&in)
	for _, e := range events {
		if err := lines.Encode(map[string]any{"name": e.name, "data": e.body}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(node, "testdata/page.mjs", "page/app.js", "page/index.html")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	if err := json.Unmarshal(out.Bytes(), &page); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if len(page.Thrown) > 0 {
		t.Fatalf("the script throws\n%s", strings.Join(page.Thrown, "\n"))
	}
	return page
}

// full is a status in which no field is left out.
func full() Status {
	rtt, until := 0.25, time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	s := Status{App: &supervise.Status{
		State: supervise.Unhealthy, Since: until, PID: 7, Restarts: 2, Why: "no answer",
	}}
	s.Ring, s.Self, s.Unanchored, s.CutOff, s.Insecure = "shop", "a", "no quorum", true, true
	s.RosterVersion, s.RosterHash, s.Retired = 4, "hash", 2
	s.Epoch, s.Tick = ring.Epoch{Number: 7, Counter: 1, Dropper: "b"}, 42
	s.Leader, s.SlowestStop, s.Next, s.Detour = "a", "b", "b", "c"
	s.BadLinks = []ring.BadLink{{From: "a", To: "b"}}
	for i, name := range []ring.Name{"a", "b", "c"} {
		one := Instance{Instance: ring.Instance{
			Index: i, Name: name, Address: "127.0.0.1:3000", State: ring.Alive, Incarnation: 1, Next: "x",
			Tick: 42, RTTMillis: &rtt, DampedUntil: &until, Version: "v1", PID: 9,
		}}
		one.App = &lap.App{State: "healthy", Since: until, Restarts: uint64(i), Why: "it was slow"}
		s.Instances = append(s.Instances, one)
	}
	return s
}

// Every field that the page reads is one that an instance sends.
func TestPageReadsWhatThereIs(t *testing.T) {
	voters := ring.BusStatus{Leader: "a", Voters: []ring.BusVoter{{Name: "a", Role: "voter"}, {Name: "b", Role: "learner"}}}
	e := everywhereObject{Version: 4, Behind: []ring.Name{"b"}, Silent: []ring.Name{"c"}}
	page := show(t, item{name: "fetch", body: e}, item{name: "status", body: full()}, item{name: "bus", body: voters},
		item{name: "tick", body: tickObject{1, ring.Tick{Tick: 42, Anchored: true, Lap: 3, Took: time.Second}}},
		item{name: "event", body: eventObject{1, ring.Event{Kind: "died", Text: "b has died"}}})
	page.Missing = slices.DeleteFunc(page.Missing, func(field string) bool {
		return field == "tick.seen" || field == "tick.took" // which it adds itself
	})
	if len(page.Missing) > 0 {
		t.Errorf("it reads %v, which no instance sends", page.Missing)
	}
	for i, row := range page.Rows {
		if len(row) != len(page.Columns) {
			t.Errorf("row %d has %d cells, and the table %d columns", i, len(row), len(page.Columns))
		}
	}
	if vote := page.cell(0, "vote"); vote.Text != "leads" {
		t.Errorf("a has the vote %+v, want that it leads", vote)
	}
	if len(page.Rows) != 3 || !strings.Contains(page.Title, "3 of 3 alive") {
		t.Errorf("it shows %+v", page)
	}
	if want := "The application beside this instance is unhealthy (restarts: 2): no answer"; !slices.Contains(page.Notices, want) {
		t.Errorf("notices %q, want %q", page.Notices, want)
	}
}

// Who is retired has no row, a new one has one, and who has moved is where it is now; who goes
// by an older roster is named until nobody does.
func TestPageFollowsTheRoster(t *testing.T) {
	before, after := full(), full()
	before.RosterVersion, before.Retired = 1, 0
	after.RosterVersion, after.Retired = 2, 1
	after.Instances = after.Instances[1:]
	after.Instances = append(after.Instances, after.Instances[0])
	after.Instances[0].Address = "moved:1"
	after.Instances[2].Index, after.Instances[2].Name = 7, "d"
	some := everywhereObject{V: 1, Version: 2, Behind: []ring.Name{"b", "c"}, Silent: []ring.Name{"d"}}
	page := show(t, item{name: "fetch", body: some}, item{name: "status", body: before}, item{name: "status", body: after})
	var rows []string
	for row := range page.Rows {
		rows = append(rows, page.cell(row, "#").Text+" "+page.cell(row, "name").Text+" "+page.cell(row, "address").Text)
	}
	if want := []string{"1 b moved:1", "2 c 127.0.0.1:3000", "7 d 127.0.0.1:3000"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
	if page.Roster != "version 2, 1 retired" {
		t.Errorf("roster %q", page.Roster)
	}
	for _, want := range []string{
		"An older roster than version 2 is with b, c.", "Not yet known is which roster is with d.",
	} {
		if !slices.Contains(page.Notices, want) {
			t.Errorf("notices %q, want %q", page.Notices, want)
		}
	}
	all := everywhereObject{V: 1, Version: 2, Everywhere: true, Behind: []ring.Name{}, Silent: []ring.Name{}}
	page = show(t, item{name: "fetch", body: all}, item{name: "status", body: after})
	for _, notice := range page.Notices {
		if strings.Contains(notice, "roster") {
			t.Errorf("all have it, and it says %q", notice)
		}
	}
}

// The page has a column for applications while anybody has one, and it follows them.
func TestPageShowsApplications(t *testing.T) {
	state := func(states ...string) item {
		s := full()
		s.App = nil
		for i, state := range states {
			if s.Instances[i].App.State = state; state == "" {
				s.Instances[i].App = nil
			}
		}
		return item{name: "status", body: s}
	}
	page := show(t, state("healthy", "unhealthy", ""))
	if page.Table != "" {
		t.Errorf("the table is %q, which hides the column", page.Table)
	}
	for i, want := range []shownCell{
		{"healthy", "since 2026-11-30T12:00:00Z: it was slow", "well"},
		{"unhealthy (restarts 1)", "since 2026-11-30T12:00:00Z: it was slow", "ill"},
		{"–", "", "none"},
	} {
		if got := page.cell(i, "app"); got != want {
			t.Errorf("row %d shows %+v, want %+v", i, got, want)
		}
	}
	page = show(t, state("healthy", "unhealthy", ""), state("failed", "waiting", "stopped"))
	for i, want := range []string{"failed ill", "waiting (restarts 1) between", "stopped (restarts 2) none"} {
		if got := page.cell(i, "app"); got.Text+" "+got.Class != want {
			t.Errorf("row %d shows %+v, want %s", i, got, want)
		}
	}
	page = show(t, state("healthy", "healthy", "healthy"), state("", "", ""))
	if got := page.cell(1, "app"); page.Table != "noapps" || got != (shownCell{"–", "", "none"}) {
		t.Errorf("when all are gone, the table is %q and a row shows %+v", page.Table, got)
	}
}
