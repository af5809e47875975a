package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// fakeInstance answers for a ring a/0, b/0, c/0 (retired) and d/0, of which b/0 is dead, in
// version 3. It plans what it is asked for and agrees, unless told otherwise.
type fakeInstance struct {
	refused []string
	warned  []string
	code    int    // of the answer to a change; 0: done
	text    string // its error
	behind  int    // so often somebody is
	old     bool   // of a build without versions
	version uint64 // that the status shows
	misfit  bool   // what is planned does not fit the roster

	planned, changed []ring.RosterChange
	asked            int // how often who is behind
}

func (f *fakeInstance) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	say := func(code int, body any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	base := ring.RosterVersion{Number: 3, Hash: strings.Repeat("3", 64), Chain: "chain3"}
	next := ring.RosterVersion{Number: 4, Hash: strings.Repeat("4", 64), Chain: "chain4"}
	var sent ring.RosterPlan
	if req.Method == http.MethodPost {
		if err := json.NewDecoder(req.Body).Decode(&sent); err != nil {
			say(400, map[string]any{"error": err.Error()})
			return
		}
	}
	switch req.Method + " " + req.URL.Path {
	case "GET /v1/roster":
		d := rosterDocument{
			V: 1, Ring: "shop", Hash: base.Hash, Names: []ring.Name{"a/0", "b/0", "c/0", "d/0"},
			Addresses: []string{"a:1", "b:1", "c:1", "d:1"}, Version: 3, Retired: []int{2}, Seed: "seed",
			Promoted: []int{0}, Demoted: []int{3},
		}
		if f.old {
			d.Version = 0
		}
		say(200, d)
	case "GET /v1/status":
		say(200, admin.Status{
			Status: ring.Status{V: 1, Ring: "shop", Self: "a/0", RosterVersion: f.version, RosterHash: base.Hash},
			Instances: []admin.Instance{
				{Instance: ring.Instance{Index: 0, Name: "a/0", State: ring.Alive}},
				{Instance: ring.Instance{Index: 1, Name: "b/0", State: ring.Dead}},
				{Instance: ring.Instance{Index: 3, Name: "d/0", State: ring.Suspect}},
			},
			Retired: 1,
		})
	case "GET /v1/bus":
		say(200, ring.BusStatus{Leader: "a/0", Quorum: true, Voters: []ring.BusVoter{
			{Name: "a/0", Role: "voter"}, {Name: "b/0", Role: "voter"}, {Name: "d/0", Role: "learner"},
		}})
	case "POST /v1/roster/plan":
		f.planned = sent.Changes
		if f.misfit {
			say(200, ring.RosterPlan{
				Base: base, Changes: sent.Changes, Before: 3, VotersBefore: []ring.Name{"a/0"}, Refused: f.refused,
			})
			return
		}
		say(200, ring.RosterPlan{
			Base: base, Next: next, Changes: sent.Changes, Before: 3, After: 4,
			VotersBefore: []ring.Name{"a/0", "b/0"}, VotersAfter: []ring.Name{"a/0", "d/0", "e/0"},
			QuorumBefore: 2, QuorumAfter: 2, LinksMade: 7, LinksEnded: 1,
			Refused: f.refused, Warnings: f.warned,
		})
	case "POST /v1/roster":
		if f.code != 0 {
			say(f.code, map[string]any{"error": f.text})
			return
		}
		if sent.Base != base {
			say(409, map[string]any{"error": fmt.Sprintf("planned on %+v", sent.Base)})
			return
		}
		f.changed = sent.Changes
		say(200, map[string]any{"version": next})
	case "GET /v1/roster/everywhere":
		f.asked++
		e := everywhere{Version: 4, Everywhere: f.asked > f.behind}
		if !e.Everywhere {
			e.Have, e.Behind, e.Silent = 1, []ring.Name{"d/0"}, []ring.Name{"x/0"}
		}
		say(200, e)
	default:
		http.NotFound(w, req)
	}
}

func serveFake(t *testing.T, f *fakeInstance) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

// Each command asks for what its arguments say.
func TestRosterChanges(t *testing.T) {
	of := func(kind ring.RosterKind, name ring.Name, address string) ring.RosterChange {
		return ring.RosterChange{Kind: kind, Name: name, Address: address}
	}
	for _, c := range []struct {
		args string
		want []ring.RosterChange
	}{
		{"add e/0 e:1", []ring.RosterChange{of("add", "e/0", "e:1")}},
		{"add e/0 e:1 f/{0..1} {1}:{100+index}", []ring.RosterChange{
			of("add", "e/0", "e:1"), of("add", "f/0", "f:105"), of("add", "f/1", "f:106"),
		}},
		{"add e/{0..1} h:{1..2}", []ring.RosterChange{of("add", "e/0", "h:1"), of("add", "e/1", "h:2")}},
		{"add c/0 c:1", []ring.RosterChange{of("add", "c/0", "c:1")}}, // its name is free again
		{"move a/0 z:1", []ring.RosterChange{of("move", "a/0", "z:1")}},
		{"move {d,a}/0 {1}:{100+index}", []ring.RosterChange{
			of("move", "d/0", "d:103"), of("move", "a/0", "a:100"),
		}},
		{"move {a,b}/0 h:{1..2}", []ring.RosterChange{of("move", "a/0", "h:1"), of("move", "b/0", "h:2")}},
		{"retire {b,d}/0 a/0", []ring.RosterChange{
			of("retire", "b/0", ""), of("retire", "d/0", ""), of("retire", "a/0", ""),
		}},
		{"promote d/0", []ring.RosterChange{of("promote", "d/0", "")}},
		{"demote a/0 b/0", []ring.RosterChange{of("demote", "a/0", ""), of("demote", "b/0", "")}},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := &fakeInstance{}
			args := append(strings.Fields(c.args), "--yes", "--addr", serveFake(t, f))
			if out, errs, code := asked(args...); code != exitDone || !slices.Equal(f.changed, c.want) {
				t.Errorf("code %d, changed %+v, want %+v\n%s%s", code, f.changed, c.want, out, errs)
			}
		})
	}
}

func TestRosterChangeRefuses(t *testing.T) {
	for _, c := range []struct {
		args string
		fake fakeInstance
		code int
		want string // on stderr
	}{
		{args: "retire x/0 --yes", code: exitFalse, want: "there is no x/0 in ring shop"},
		{args: "retire c/0 --yes", code: exitFalse, want: "c/0 is retired already (index 2)"},
		{args: "move x/0 h:1 --yes", code: exitFalse, want: "there is no x/0"},
		{args: "promote {a..b} --yes", code: exitUsage, want: "is not of two numbers"},
		{args: "add e/0", code: exitUsage, want: "names and addresses in turn"},
		{args: "add e/{0..1} h:{1..3} --yes", code: exitUsage, want: "it stands for 3 of them"},
		{args: "add e/0 nowhere --yes", code: exitUsage, want: "nowhere"},
		{args: "retire", code: exitUsage, want: "requires at least 1 arg"},
		{args: "retire a/0 --timeout 0s", code: exitUsage, want: "--timeout"},
		{args: "retire a/0 --yes --dry-run", code: exitUsage, want: "yes"},
		{args: "retire a/0", code: exitUsage, want: "nothing is done yet; say --yes to do it"},
		{args: "retire a/0 --json", code: exitUsage, want: "nothing is done yet"},
		{
			args: "retire a/0 --yes", fake: fakeInstance{refused: []string{"too few: promote d/0 first"}},
			code: exitRefused, want: "refused: too few: promote d/0 first",
		},
		{
			args: "retire a/0 --dry-run", fake: fakeInstance{refused: []string{"too few"}},
			code: exitRefused, want: "refused: too few",
		},
		{
			args: "retire b/0 --yes", fake: fakeInstance{code: 409, text: "changed meanwhile; plan anew"},
			code: exitFalse, want: "plan anew",
		},
		{args: "retire b/0 --yes", fake: fakeInstance{code: 503, text: "no quorum"}, code: exitRefused, want: "no quorum"},
		{args: "retire b/0 --yes", fake: fakeInstance{code: 504, text: "not in time"}, code: exitTimeout, want: "not in time"},
		{args: "retire b/0 --yes", fake: fakeInstance{code: 403, text: "needs admin"}, code: exitRefused, want: "needs admin"},
		{
			args: "retire b/0 --yes --timeout 1ms", fake: fakeInstance{behind: 1 << 30}, code: exitTimeout,
			want: "version 4 is agreed on and stays so, but it is not with everybody after 1ms; behind: d/0; " +
				"no answer from x/0",
		},
		{args: "retire b/0 --yes", fake: fakeInstance{old: true}, code: exitRefused, want: "upgrade it"},
	} {
		t.Run(c.args, func(t *testing.T) {
			f := c.fake
			args := append(strings.Fields(c.args), "--addr", serveFake(t, &f))
			out, errs, code := asked(args...)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("code %d, want %d with %q; %s%s", code, c.code, c.want, out, errs)
			}
			if f.changed != nil && c.code != exitTimeout {
				t.Errorf("what was refused was done: %+v", f.changed)
			}
		})
	}
}

// The plan says all of it before anything is done.
func TestRosterPlanIsPrinted(t *testing.T) {
	f := &fakeInstance{warned: []string{"two of three is thin"}}
	addr := serveFake(t, f)
	out, _, code := asked("add", "e/0", "e:1", "--dry-run", "--addr", addr)
	const want = `roster     of ring shop: version 3 becomes 4, 3 instances become 4
add        e/0 (index 4) at e:1
voters     become a/0 d/0 e/0; now a/0 b/0
quorum     2 of 3; now 2 of 2
links      7 are made, 1 end
note       two of three is thin
`
	if out != want || code != exitDone {
		t.Errorf("code %d\n%s\nwant\n%s", code, out, want)
	}
	misfit := &fakeInstance{misfit: true, refused: []string{"address a:1 is in use"}}
	out, errs, code := asked("add", "e/0", "a:1", "--yes", "--addr", serveFake(t, misfit))
	if want := `roster     of ring shop: version 3 becomes 4, 3 instances
add        e/0 (index 4) at a:1
refused    address a:1 is in use
`; out != want || code != exitRefused {
		t.Errorf("what does not fit: code %d, %s\n%s\nwant\n%s", code, errs, out, want)
	}
	for args, want := range map[string]string{
		"retire a/0":   "retire     a/0 (index 0) is alive: it leaves the ring and ends, for good",
		"retire d/0":   "retire     d/0 (index 3) is suspect: it leaves",
		"retire b/0":   "retire     b/0 (index 1) is dead: it is waited for no more",
		"move d/0 z:1": "move       d/0 (index 3) from d:1 to z:1",
		"promote b/0":  "promote    b/0 (index 1) is preferred for voting; it is dead now",
		"demote d/0":   "demote     d/0 (index 3) does not vote",
	} {
		out, errs, code := asked(append(strings.Fields(args), "--dry-run", "--addr", addr)...)
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("%s: code %d, %s\n%s\nwant %s", args, code, errs, out, want)
		}
	}
	if f.changed != nil {
		t.Errorf("a dry run has changed %+v", f.changed)
	}
}

func TestRosterChangeIsWaitedFor(t *testing.T) {
	f := &fakeInstance{behind: 2}
	addr := serveFake(t, f)
	out, errs, code := asked("retire", "b/0", "--yes", "--addr", addr)
	if code != exitDone || f.asked != 3 ||
		!strings.HasSuffix(out, "done: version 4, hash 444444444444\nall instances that live have it\n") {
		t.Errorf("code %d, asked %d times; %s\n%s", code, f.asked, errs, out)
	}
	f.asked = 0
	out, _, code = asked("retire", "b/0", "--yes", "--no-wait", "--addr", addr)
	if code != exitDone || f.asked != 0 || !strings.HasSuffix(out, "done: version 4, hash 444444444444\n") {
		t.Errorf("--no-wait: code %d, asked %d times\n%s", code, f.asked, out)
	}
	out, _, code = asked("retire", "a/0", "--yes", "--addr", addr) // which is whom it asks
	if code != exitDone || f.asked != 0 || !strings.Contains(out, "a/0, which was asked, is retired itself") {
		t.Errorf("of itself: code %d, asked %d times\n%s", code, f.asked, out)
	}
}

func TestRosterChangeJSON(t *testing.T) {
	addr := serveFake(t, &fakeInstance{})
	for _, c := range []struct {
		flag string
		code int
		done bool
	}{{"--yes", exitDone, true}, {"--dry-run", exitDone, false}, {"--no-wait", exitUsage, false}} {
		out, errs, code := asked("retire", "b/0", "--json", c.flag, "--addr", addr)
		var r rosterChanged
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != c.code {
			t.Fatalf("%s: code %d, %v, %s\n%s", c.flag, code, err, errs, out)
		}
		if r.V != 1 || r.Done != c.done || (r.Version != nil) != c.done || r.Everywhere != c.done ||
			r.Plan.Next.Number != 4 {
			t.Errorf("%s: %s", c.flag, out)
		}
	}
}

// What list --toml prints is the same roster when a file has it.
func TestRosterIsWrittenAsAFile(t *testing.T) {
	addr := serveFake(t, &fakeInstance{})
	out, errs, code := asked("list", "--toml", "--addr", addr)
	if code != exitDone {
		t.Fatalf("code %d, %s", code, errs)
	}
	file := written(t, out)
	printed, errs, code := asked("print", file)
	const want = `INDEX  NAME           ADDRESS
    0  a/0            a:1
    1  b/0            b:1
    2  c/0 (retired)  c:1
    3  d/0            d:1
`
	if code != exitDone || printed != want {
		t.Errorf("code %d, %s\n%s\nof\n%s\nwant\n%s", code, errs, printed, out, want)
	}
	one := rosterDocument{V: 1, Ring: "solo", Names: []ring.Name{"a"}, Addresses: []string{"[::1]:3000"}, Degree: 4}
	printed, errs, code = asked("print", "--json", written(t, one.toml()))
	if code != exitDone || !holdsAll(printed, []string{`"solo"`, `"[::1]:3000"`, `"degree": 4`}) {
		t.Errorf("of one: code %d, %s\n%s", code, errs, printed)
	}
}

// Who is retired is named, the first of those of one name, and has to be there.
func TestRetiredSetting(t *testing.T) {
	const five = "roster = [\"a/{0..2}\", \"b\", \"a/1\"]\n"
	for _, c := range []struct {
		retired string
		want    string
	}{
		{`["a/1"]`, "[1]"},
		{`["a/{1..2}"]`, "[1 2]"},
		{`["b", "a/1", "a/1"]`, "[1 3 4]"},
		{`["c"]`, "retired: c is not in the roster, or not so often"},
		{`["b", "b"]`, "retired: b is not in the roster, or not so often"},
		{`["a/{0..}"]`, "retired: pattern"},
		{`"b"`, "retired: want a list"},
	} {
		s, err := loadFile(written(t, five+"retired = "+c.retired))
		if got := fmt.Sprint(s.Roster.Retired); got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s, %v, want %s", c.retired, got, err, c.want)
		}
	}
	_, errs, code := asked("check", written(t, "name = \"b\"\nroster = [\"a\", \"b\"]\naddresses = \"h:{1..2}\"\nretired = [\"b\"]"))
	if code != exitUsage || !strings.Contains(errs, `name "b" is that of somebody who is retired`) {
		t.Errorf("a file of who is retired: code %d, %s", code, errs)
	}
}

func TestConfirmed(t *testing.T) {
	for text, want := range map[string]bool{
		"y\n": true, " YES \n": true, "n\n": false, "\n": false, "": false, "yesterday\n": false,
	} {
		if got := confirmed(strings.NewReader(text), io.Discard); got != want {
			t.Errorf("%q means %v, want %v", text, got, want)
		}
	}
}

func TestRosterList(t *testing.T) {
	addr := serveFake(t, &fakeInstance{})
	out, errs, code := asked("list", "--addr", addr)
	const want = `ring shop: roster version 3, hash 333333333333, 1 retired, as a/0 knows it

INDEX  NAME  ADDRESS  STATE    VOTES
    0  a/0   a:1      alive    leads, promoted
    1  b/0   b:1      dead     votes
    3  d/0   d:1      suspect  learns, demoted
`
	if code != exitDone || out != want {
		t.Errorf("code %d, %s\n%s\nwant\n%s", code, errs, out, want)
	}
	out, _, code = asked("list", "--all", "--json", "--addr", addr)
	var l rosterList
	if err := json.Unmarshal([]byte(out), &l); err != nil || code != exitDone || len(l.Instances) != 4 ||
		l.Instances[2].State != "retired" || l.Instances[2].Votes != "" || l.Version != 3 {
		t.Errorf("code %d, %v\n%s", code, err, out)
	}
}

// Status shows the version where there has been more than one, and who is behind.
func TestStatusShowsTheRoster(t *testing.T) {
	for _, c := range []struct {
		name string
		fake fakeInstance
		want []string
		not  string
	}{
		{"with all", fakeInstance{version: 3}, []string{"\nroster version 3, hash 333333333333, 1 retired\n"}, "everybody"},
		{"with some", fakeInstance{version: 4, behind: 1}, []string{
			"roster version 4, ", "\nroster version 4 is not with everybody yet; behind: d/0; no answer from x/0\n",
		}, "c/0"},
	} {
		var out, errs strings.Builder
		if code := run([]string{"status", "--addr", serveFake(t, &c.fake)}, &out, &errs); code != exitDone {
			t.Fatalf("%s: code %d, %s", c.name, code, &errs)
		}
		if text := out.String(); !holdsAll(text, c.want) || strings.Contains(text, c.not) {
			t.Errorf("%s: want %q, and not %q, in\n%s", c.name, c.want, c.not, text)
		}
	}
	f := fakeInstance{version: 1}
	var out, errs strings.Builder
	if code := run([]string{"status", "--addr", serveFake(t, &f)}, &out, &errs); code != exitDone || f.asked > 0 {
		t.Errorf("of version 1 it asks %d times who is behind; code %d, %s", f.asked, code, &errs)
	}
}
