package main

// liarTable is what keeps a member gone bad from speaking for others: the liars of
// ring/ringtest have to show that each rule is needed.
//
// Not here, since another rule makes it good: that a relay looks at what it passes on (the
// other end does), and that records without a seal do not count (nobody has told of their key); that
// a particle whose ticks are not those of its epoch is not let pass (they do not count).
var liarTable = []mutant{
	{
		"take a record that its origin has not signed", "R3", "core/seal.go",
		"if w != Sound && (w != Lapsed || c.isAlive(i)) {", "if k == nil {",
		"lies=names", 7,
	},
	{
		"take a verdict that nobody stands for", "R3", "core/evidence.go",
		"if t := counts[m.Subject]; t != nil && t.n < t.need {", "if t := counts[m.Subject]; t != nil && false {",
		"lies=verdict", 7,
	},
	{
		"one voice is enough for a verdict", "R3", "core/evidence.go",
		"t := &tally{inc: m.Incarnation, need: 2}", "t := &tally{inc: m.Incarnation, need: 1}",
		"lies=verdict", 7,
	},
	{
		"count one voice twice", "R3", "core/evidence.go",
		"if t.n < len(t.by) && (t.n == 0 || t.by[0] != origin) {", "if t.n < len(t.by) {",
		"lies=verdict", 7,
	},
	{
		"any signature will do", "R3", "core/seal.go",
		"w := c.cfg.Proof.Check(c.roster.Names[origin], k.chain, c.text, sig)", "w := Sound",
		"lies=verdict", 7,
	},
	{
		"believe a neighbour that we were somebody before", "R3", "core/member.go",
		"former && c.former >= c.inc:", "former:",
		"lies=beats", 7,
	},
	{
		"one neighbour says that our name is taken", "R3,fatal", "core/member.go",
		"return said >= min(2, max(others, 1))", "return said >= 1",
		"lies=taken", 7,
	},
	{
		"a tick beyond the reserved counts", "P3,R3", "particle/bus.go",
		"return p.Base == e.base && p.Base+p.Lap < limit", "return p.Base == e.base || true",
		"lies=particle", 7,
	},
	{
		"any number counts", "R3,P1,P3,panic", "core/sane.go",
		"return said <= saneCounter || said <= known+saneStep }", "return true }",
		"lies=particle,greeting,accuse", 7,
	},
	{
		"speak for another voter", "R3,S1,P1,P3,R2,fatal,panic", "consensus/log.go",
		"if RaftID(msg.GetFrom()).Index() != from {", "if false {",
		"lies=raft", 7,
	},
}
