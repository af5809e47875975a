package doctor

import (
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// The verdict of a report is that of its worst check, and of a check that of its worst problem.
func TestReportVerdict(t *testing.T) {
	status := ring.Status{Ring: "r", Self: "a", Instances: make([]ring.Instance, 3)}
	voters := ring.BusStatus{Quorum: true, Voters: []ring.BusVoter{
		{Name: "a", Role: "voter", State: ring.Alive},
		{Name: "b", Role: "voter", State: ring.Suspect},
		{Name: "c", Role: "learner", State: ring.Dead},
	}}
	one := voters
	one.Voters = slices.Clone(voters.Voters)
	one.Voters[1].State = ring.Dead
	problem := func(check string, v Verdict) sheet {
		return sheet{Count: 2, Trouble: map[string]int{check: 1}, Problems: []Problem{
			{Check: check, Case: "it", Verdict: v, Do: "mend it", Count: 1, Who: []Who{{"b", "is odd"}}},
		}}
	}
	path := func(kind string) sheet {
		return sheet{Count: 2, Tried: 2, Bad: 1, Paths: []Path{{To: "b", Case: kind, Count: 1, From: []ring.Name{"a"}}}}
	}
	mixed := sheet{Count: 3, Builds: []Kind{{"v1", 2, []ring.Name{"a", "b"}}, {"v2", 1, []ring.Name{"c"}}}}
	second := time.Second
	for _, c := range []struct {
		name    string
		sheet   sheet
		bus     ring.BusStatus
		g       ring.Gathered
		clocks  []offset
		only    ring.Name
		check   string
		want    Verdict
		problem string // who has it
		note    string
	}{
		{name: "well", sheet: sheet{Count: 3}, bus: voters, check: Disk, want: OK},
		{name: "a warning", sheet: problem(Disk, Warn), bus: voters, check: Disk, want: Warn, problem: "b"},
		{name: "a failure", sheet: problem(Disk, Fail), bus: voters, check: Disk, want: Fail, problem: "b"},
		{
			name: "what another version checks", sheet: problem("gravity", Fail), bus: voters,
			check: "gravity", want: Fail, problem: "b",
		},
		{
			name: "how another version judges", sheet: problem(Disk, "odd"), bus: voters,
			check: Disk, want: "odd", problem: "b",
		},
		{
			name: "more than there was room for", sheet: sheet{Count: 2, More: 1, Trouble: map[string]int{Disk: 1}},
			bus:   voters,
			check: Disk, want: Warn,
		},
		{name: "a voter", sheet: sheet{Count: 3}, bus: one, check: Quorum, want: Warn, problem: "b"},
		{
			name: "a voter, asked of another", sheet: sheet{Count: 3}, bus: one, only: "a",
			check: Quorum, want: OK,
		},
		{
			name: "silent", sheet: sheet{Count: 3},
			bus: voters, g: ring.Gathered{Missing: []ring.Absent{{Name: "c", State: ring.Alive}}},
			check: Answers, want: Fail, problem: "c",
		},
		{
			name: "out of reach", sheet: sheet{Count: 3},
			bus: voters, g: ring.Gathered{Missing: []ring.Absent{{Name: "c", State: ring.Unreachable}}},
			check: Answers, want: Fail, problem: "c",
		},
		{
			name: "dead, asked of another", sheet: sheet{Count: 1},
			bus: voters, only: "a", g: ring.Gathered{Missing: []ring.Absent{{Name: "c", State: ring.Dead}}},
			check: Answers, want: OK,
		},
		{
			name: "older", sheet: sheet{Count: 3}, bus: voters, g: ring.Gathered{Failed: []ring.Name{"c"}},
			check: Answers, want: Warn, problem: "c",
		},
		{name: "refused", sheet: path(refusedPath), bus: voters, check: Paths, want: Fail},
		{
			name: "a stranger at the door", sheet: sheet{Count: 3, Strangers: 2}, bus: voters,
			check: Security, want: OK, note: "2 have turned away strangers of late (`ring events`)",
		},
		{name: "slow", sheet: path(slowPath), bus: voters, check: Paths, want: Warn},
		{
			name: "bad ones there was no room for", sheet: sheet{Tried: 9, Bad: 2, MorePath: 2}, bus: voters,
			check: Paths, want: Fail,
		},
		{
			name: "versions of those who are silent", bus: voters,
			sheet: sheet{Count: 2, Builds: []Kind{{"v2", 2, []ring.Name{"a", "b"}}}},
			check: Versions, want: Warn, problem: "c",
		},
		{name: "versions", sheet: mixed, bus: voters, check: Versions, want: Warn, problem: "c"},
		{
			name: "clocks", sheet: sheet{Count: 2},
			bus: voters, clocks: []offset{{"a", 0, 0}, {"b", 9 * second, 9 * second}},
			check: Clocks, want: Fail, problem: "b",
		},
		{
			name: "clocks of others", sheet: sheet{Count: 1},
			bus: voters, only: "a", clocks: []offset{{"a", 0, 0}, {"b", 9 * second, 9 * second}},
			check: Clocks, want: OK,
		},
	} {
		status := status
		if c.name == "versions of those who are silent" {
			status.Instances = []ring.Instance{
				{Name: "a", State: ring.Alive, Version: "v2", Protocol: 2},
				{Name: "b", State: ring.Alive, Version: "v2", Protocol: 2},
				{Name: "c", State: ring.Alive, Version: "v1", Protocol: 1},
				{Name: "d", State: ring.Dead, Version: "v0"},
			}
		}
		rep := report(c.sheet, status, c.bus, c.g, nil, c.clocks, c.only)
		i := slices.IndexFunc(rep.Checks, func(one Check) bool { return one.Check == c.check })
		if i < 0 || rep.Checks[i].Verdict != c.want || rep.Verdict != c.want {
			t.Errorf("%s: verdict %q, want %q of %s in %+v", c.name, rep.Verdict, c.want, c.check, rep.Checks)
			continue
		}
		if c.note != "" && rep.Checks[i].Note != c.note {
			t.Errorf("%s: note %q, want %q", c.name, rep.Checks[i].Note, c.note)
		}
		p := rep.Checks[i].Problems
		if c.problem == "" && len(p) > 0 || c.problem != "" && (len(p) != 1 || string(p[0].Who[0].Name) != c.problem || p[0].Do == "") {
			t.Errorf("%s: problems %+v, want one of %q", c.name, p, c.problem)
		}
	}
}
