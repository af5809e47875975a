package main

// mutant is one deliberate fault of a core, and the invariant whose checker has
// to see it.
type mutant struct {
	name      string
	invariant string // any of these, with commas
	file      string // under ring/internal
	old, new  string // old stands in it exactly once
	faults    string
	nodes     int
}

// table holds at least one mutant for each invariant. A row whose old text no
// longer applies must be rewritten, not dropped.
var table = []mutant{
	{
		"link with another roster", "R1", "core/conn.go",
		"case h.Roster != r.Hash():", "case false:",
		"odd", 5,
	},
	{
		"hand on no records", "R2,H1,H2", "core/records.go",
		"c.out.Add(r.Origin, r.Left || r.Out || len(before)+len(r.Accused) > 0)", "",
		"crash", 11,
	},
	{
		"never compare views", "R2,H5", "core/member.go",
		"func (c *Core) sendSync(cn *conn) {", "func (c *Core) sendSync(cn *conn) {\n\treturn\n",
		"partition,silent", 5,
	},
	{
		"skip the lap guard", "P1", "particle/particle.go",
		"case d < 0, d == 0 && p.Lap <= c.last.Lap:", "case d < 0:",
		"all", 5,
	},
	{
		"accept an older epoch", "P1", "particle/particle.go",
		"case d < 0, d == 0 && p.Lap <= c.last.Lap:", "case d == 0 && p.Lap <= c.last.Lap:",
		"all", 5,
	},
	{
		"never send the copy when the next stop dies", "P1", "core/token.go",
		"\tc.resend(\"the stop before it is gone\")\n", "",
		"crash", 3,
	},
	{
		"never replace a lost particle", "P1,progress", "particle/particle.go",
		"return !c.resting && !now.Before(c.lossAt())", "return false",
		"restart", 5,
	},
	{
		"a refused dial is no proof", "H1", "core/dial.go",
		"if cause == 0 || !p.watched", "if cause == 0 || cause == Refused || !p.watched",
		"crash", 5,
	},
	{
		"never doubt a silent link", "H1,H5,R2,H4", "core/conn.go",
		"if !cn.up || cn.doubted {", "if !cn.up || true {",
		"silent", 5,
	},
	{
		"act on one observer alone", "H2,H4", "detect/judge.go",
		"return Marks{2, 4}", "return Marks{1, 1}",
		"links", 7,
	},
	{
		"count an accused observer", "R2,H5", "detect/judge.go",
		"seen = Observers(o, seen[:0], s, func(i int) bool { return alive(i) && !accused[i] })",
		"seen = Observers(o, seen[:0], s, alive)",
		"partition", 5,
	},
	{
		"no settle window", "H2", "core/verdict.go",
		"at := earlier(c.fresh.Add(c.quiet()), c.over.Add(8*c.quiet()))", "at := c.over",
		"third", 11,
	},
	{
		"a starved observer accuses", "H2", "core/core.go",
		"func (c *Core) starve(late, away time.Duration) {",
		"func (c *Core) starve(late, away time.Duration) {\n\treturn\n",
		"starve", 3,
	},
	{
		"silence is enough, no fresh dial", "H2", "core/conn.go",
		"\tcn.doubted = true\n\tp := cn.peer\n",
		"\tcn.doubted = true\n\tp := cn.peer\n\tc.accuse(p, false)\n",
		"mild", 5,
	},
	{
		"no damping", "H2", "core/view.go",
		"if !ok || c.flaps[at].points <= flapFree {", "if ok || true {",
		"flap", 5,
	},
	{
		"no detour", "H4", "core/token.go",
		"func (c *Core) relay() *conn {", "func (c *Core) relay() *conn {\n\treturn nil\n",
		"cut,part", 7,
	},
	{
		"never report being cut off", "H5", "core/view.go",
		"if off == c.cutOff {", "if off = false; off == c.cutOff {",
		"blackhole,partition", 5,
	},
	{
		"keep those it cannot reach", "H5", "core/verdict.go",
		"func (c *Core) aloneAt() time.Time {",
		"func (c *Core) aloneAt() time.Time {\n\treturn time.Time{}\n",
		"blackhole,deaf,mute", 7,
	},
	{
		"who was cut waits for the next heartbeat", "H5", "core/conn.go",
		"c.askSoon() // who was cut", "// who was cut",
		"partition", 2,
	},
	{
		"back from an absence, take any view", "H2", "core/member.go",
		"return theirs.Quorum || !c.now.Before(c.stale)", "return true",
		"mute,starve", 3,
	},
	{
		"believe one who was away that our name is taken", "H5", "core/member.go",
		"if c.joined && !c.isAlive(p.i) && c.quorate(c.alive) {", "if false {",
		"pause,power", 7,
	},
	{
		"the last two look once", "H2", "core/dial.go",
		"return c.alive == 2 && p.fails == 1", "return false",
		"loss,lossy", 2,
	},
	{
		"whose doubt has ended lets the other side doubt on", "H2", "core/conn.go",
		"if cn.dialed { // the other side may", "if false { // the other side may",
		"loss,lossy", 2,
	},
	{
		"stay under the goodbye of our own name", "R2", "core/member.go",
		"if y.State == wire.Left && c.joined", "if false && c.joined",
		"leave,torn,mute", 3,
	},
	{
		"just back, judge at once", "H2", "core/member.go",
		"\tc.unread = c.now.Add(c.cfg.Timing.Patience)\n", "",
		"partition,blackhole,mute", 9,
	},
	{
		"rest on the first lap too", "P1", "particle/particle.go",
		"if c.fresh && c.cfg.Hold == 0", "if false && c.cfg.Hold == 0",
		"none", 11,
	},
}
