package main

// runTable breaks the runners of scheduled commands; an observer of a fleet of them, in
// virtual time, has to see it.
var runTable = []mutant{
	{
		name: "claim a slot behind a later fence", invariant: "P2", file: "runner.go",
		old: "behind := len(rec.Runs) > 0 && rec.Runs[0].Fence >= lease.Fence()", new: "behind := false",
	},
	{
		name: "begin a run behind the end of its lease", invariant: "P2", file: "runner.go",
		old: "if lease.Left() > 0 { // the claim", new: "if true { // the claim",
	},
	{
		name: "what is not confirmed is won", invariant: "P2", file: "runner.go",
		old: "err == nil && rec.find(run.Fence) != nil {", new: "err == nil && rec.find(run.Fence) == nil {",
	},
	{
		name: "a claim without an answer is won", invariant: "P2", file: "runner.go",
		old: "return l.confirm(ctx, run, err)", new: "return run, nil",
	},
	{
		name: "claim what was suspended meanwhile", invariant: "P2", file: "runner.go",
		old: "o.slot == 0 || rec.Suspended || behind ||", new: "o.slot == 0 || behind ||",
	},
	{
		name: "a claim that was written meanwhile is written over", invariant: "P2", file: "runner.go",
		old: "\t\tcase errors.Is(err, ErrConflict):\n\t\t\tcontinue\n\t\tdefault:",
		new: "\t\tcase errors.Is(err, ErrConflict):\n\t\t\treturn run, nil\n\t\tdefault:",
	},
	{
		name: "a lease for each slot, where none may overlap", invariant: "P2", file: "job.go",
		old: "\tif p.Overlap == Allow {", new: "\tif true {",
	},
	{
		name: "missed slots are not counted", invariant: "P2", file: "record.go",
		old: "\tr.Missed += uint64(run.Missed)\n", new: "",
	},
}

// respawnTable breaks the planners that have dead instances started again. What three
// thousand seeds do not find, since it takes a partition that heals within one run, is in
// TestOthersCountFromOneToo of package respawn.
var respawnTable = []mutant{
	{
		name: "who takes over has no grace", invariant: "H3", file: "plan.go",
		old: "at := d.since.Add(p.rules.Grace)", new: "at := d.since",
	},
	{
		name: "what others have asked for is not heard", invariant: "H3", file: "plan.go",
		old: "func (p *planner) hear(now time.Time, by int, n note) {", new: "func (p *planner) hear(now time.Time, by int, n note) {\n\treturn\n",
	},
	{
		name: "everybody is the nearest before the dead", invariant: "H3", file: "plan.go",
		old: "if p.rows[i].alive {", new: "if false {",
	},
	{
		name: "what was begun elsewhere is begun here", invariant: "H3", file: "plan.go",
		old: "again = d.at.Add(p.rules.Timeout + p.rules.Return)", new: "again = d.at",
	},
	{
		name: "who was asked for has no time to return", invariant: "H3", file: "plan.go",
		old: "again = d.at.Add(p.rules.Return)\n", new: "again = d.at\n",
	},
	{
		name: "what was done in another part counts for nothing", invariant: "H3", file: "plan.go",
		old: "\t\tp.hold(d, now, n.Kind)\n\t\treturn\n", new: "\t\treturn\n",
	},
	{
		name: "what fails is not tried again", invariant: "progress", file: "plan.go",
		old: "again = d.at.Add(p.rules.backoff(d.attempts))", new: "again = d.at.Add(1000 * time.Hour)",
	},
	{
		name: "who was given up is never asked for again", invariant: "progress", file: "plan.go",
		old: "again = later(again, d.at.Add(p.rules.Slow))", new: "again = d.at.Add(1000 * time.Hour)",
	},
	{
		name: "the nearest comes first, however often it was tried", invariant: "fair", file: "plan.go",
		old: "if next < 0 || d.attempts < p.deaths[next].attempts {", new: "if next < 0 {",
	},
	{
		name: "who has asked once asks no more", invariant: "progress", file: "plan.go",
		old: "\tp.busy = -1\n", new: "",
	},
}
