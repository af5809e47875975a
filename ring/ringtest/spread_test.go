package ringtest

import (
	"slices"
	"testing"
)

// spread runs a fleet in which nothing may break.
func spread(t *testing.T, opt SpreadOptions) SpreadResult {
	t.Helper()
	res, err := Spread(opt)
	if err != nil {
		t.Fatal(err)
	}
	if f := res.Failure; f != nil {
		t.Fatalf("%s at %.3f s: %s\nreplay: %s", f.Invariant, f.AtMillis/1e3, f.Text, f.Replay)
	}
	for _, r := range res.Rows {
		t.Logf("# %s, %s: %g, %g hops; %.3f copies, %.2f control; %d, %d of %d", r.Trouble, r.Kind,
			r.Median, r.Worst, r.Copies, r.Control, r.Whole, r.WholeAfter, r.Messages)
	}
	return res
}

// B1 as it is wanted of a thousand whole programs; under the race detector of fewer, of
// whom less is wanted.
func TestB1SpreadThousand(t *testing.T) {
	res := spread(t, SpreadOptions{
		Seed: 1, Nodes: 1000 / seedShare, Messages: 5, Troubles: []Trouble{Calm, DeadLost},
	})
	targets := res.Targets()
	if seedShare == 1 && len(targets) != 7 {
		t.Errorf("%d targets, want 7: %v", len(targets), targets)
	}
	for _, target := range targets {
		if !target.Met {
			t.Errorf("missed: %s: %g", target.Want, target.Got)
		}
	}
}

// Four data centres: the tree enters each other one once, from the origin's.
func TestB1SpreadZones(t *testing.T) {
	res := spread(t, SpreadOptions{Seed: 2, Nodes: 100, Zones: 4, Messages: 8, Troubles: []Trouble{Calm}})
	for _, r := range res.Rows {
		if r.Kind == Tree && (r.CrossCopies != 3 || r.WideDeep != 1) {
			t.Errorf("by tree %g copies go from zone to zone, %d hops deep, want 3 and 1",
				r.CrossCopies, r.WideDeep)
		}
		if r.Worst < WideHops || r.Worst > 2*WideHops {
			t.Errorf("%s: the last has it after %g hops, and a zone is %d away", r.Kind, r.Worst, WideHops)
		}
	}
	for _, target := range res.Targets() {
		if !target.Met {
			t.Errorf("missed: %s: %g", target.Want, target.Got)
		}
	}
}

// Each trouble has its row of each size, in order, and all get everything in the end; the
// same again is the same.
func TestB1SpreadTroubles(t *testing.T) {
	for _, n := range []int{1, 3, 4, 20} {
		opt := SpreadOptions{Seed: 3, Nodes: n, Messages: 3}
		res := spread(t, opt)
		var troubles []Trouble
		for i := 0; i < len(res.Rows); i += 2 {
			flood, tree := res.Rows[i], res.Rows[i+1]
			if flood.Trouble != tree.Trouble || flood.Kind != Flood || tree.Kind != Tree {
				t.Errorf("%d: rows of %s %s and %s %s", n, flood.Trouble, flood.Kind, tree.Trouble,
					tree.Kind)
			}
			troubles = append(troubles, flood.Trouble)
		}
		want := Troubles()
		if n < 4 { // nobody can be spared
			want = []Trouble{Calm, Lost, Late}
		}
		if !slices.Equal(troubles, want) {
			t.Errorf("%d: troubles %v, want %v", n, troubles, want)
		}
		for _, r := range res.Rows {
			if r.Messages != 3 || r.WholeAfter != 3 || r.Live+r.Troubled != n ||
				r.Median > r.Worst || r.Copies > r.CopiesAfter {
				t.Errorf("%d: %+v", n, r)
			}
		}
		if again := spread(t, opt); again.Hash != res.Hash {
			t.Errorf("%d: hash %s, and %s the second time", n, res.Hash, again.Hash)
		}
	}
}

// What is missed is told.
func TestSpreadTargets(t *testing.T) {
	row := func(trouble Trouble, kind string) SpreadRow {
		return SpreadRow{Trouble: trouble, Kind: kind, Messages: 10, WholeAfter: 10, Worst: 6, Without: 6, Copies: 1}
	}
	res := SpreadResult{Nodes: 1000, Degree: 6, Zones: 1, Rows: []SpreadRow{
		row(Calm, Flood), row(Calm, Tree), row(DeadLost, Flood), row(DeadLost, Tree),
	}}
	missed := func() (n int) {
		for _, target := range res.Targets() {
			if !target.Met {
				n++
			}
		}
		return n
	}
	if n := missed(); n != 0 {
		t.Errorf("%d missed of %v", n, res.Targets())
	}
	for what, spoil := range map[string]func(){
		"one instance lacks one": func() { res.Rows[3].WholeAfter = 9 },
		"seven hops":             func() { res.Rows[0].Worst = 7 },
		"a copy more than links": func() { res.Rows[0].Copies = 5.006 },
		"two by tree":            func() { res.Rows[1].Copies = 1.01 },
		"eight hops, some dead":  func() { res.Rows[2].Without = 8 },
		"many copies, some dead": func() { res.Rows[3].Copies = 1.26 },
	} {
		rows := slices.Clone(res.Rows)
		spoil()
		if n := missed(); n != 1 {
			t.Errorf("%s: %d missed of %v", what, n, res.Targets())
		}
		res.Rows = rows
	}
	res = SpreadResult{Nodes: 100, Zones: 4, Rows: []SpreadRow{row(Calm, Tree)}}
	res.Rows[0].CrossCopies, res.Rows[0].WideDeep = 4, 2
	if n := missed(); n != 2 {
		t.Errorf("zones: %d missed of %v", n, res.Targets())
	}
}

// Nothing is called reached that was not measured.
func TestSpreadTargetsUnmeasured(t *testing.T) {
	whole := SpreadRow{Trouble: Calm, Kind: Flood, Messages: 10, WholeAfter: 10, Worst: 6, Copies: 5}
	none := SpreadRow{Trouble: DeadLost, Kind: Tree}
	broke := &Failure{Invariant: "B1"}
	for _, test := range []struct {
		name string
		rows []SpreadRow
		fail *Failure
		want int
	}{
		{"nothing", nil, nil, 0},
		{"a row without messages", []SpreadRow{whole, none}, nil, 3},
		{"a run that broke", []SpreadRow{whole, none}, broke, 2},
	} {
		res := SpreadResult{Nodes: 1000, Degree: 6, Zones: 1, Rows: test.rows, Failure: test.fail}
		if got := res.Targets(); len(got) != test.want {
			t.Errorf("%s: %d targets, want %d: %v", test.name, len(got), test.want, got)
		}
	}
}

// A publisher without room ends the run under its own name, and what was not sent whole
// has no row.
func TestSpreadWithoutRoom(t *testing.T) {
	res, err := Spread(SpreadOptions{
		Seed: 4, Nodes: 20, Sizes: []int{48 << 10}, Messages: 400, Troubles: []Trouble{Calm, Lost},
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := res.Failure; f == nil || f.Invariant != NoRoom {
		t.Errorf("failure %+v, want that there is no room", f)
	}
	if targets := res.Targets(); len(res.Rows) > 0 || len(targets) > 0 {
		t.Errorf("%d rows and targets %v of a run that broke at once", len(res.Rows), targets)
	}
}

func TestSpreadOptions(t *testing.T) {
	for _, opt := range []SpreadOptions{
		{},
		{Nodes: 1 << 20},
		{Nodes: 3, Zones: 4},
		{Nodes: 3, Messages: -1},
		{Nodes: 3, Degree: 5},
		{Nodes: 3, Sizes: []int{-1}},
		{Nodes: 3, Sizes: []int{1 << 20}},
		{Nodes: 3, Troubles: []Trouble{"war"}},
		{Nodes: 3, Troubles: []Trouble{Dead, Churn}},
		{Nodes: 10, Zones: 2, Troubles: []Trouble{CentreGone}},
		{Nodes: knownMax + 1, Troubles: []Trouble{CentreGone}},
	} {
		if _, err := Spread(opt); err == nil {
			t.Errorf("%+v is taken", opt)
		}
	}
}
