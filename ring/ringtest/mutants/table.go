package main

// mutant is one deliberate fault of the code, and the invariant whose checker has
// to see it.
type mutant struct {
	name      string
	invariant string // any of these, with commas
	file      string // under suite.below
	old, new  string // old stands in it exactly once
	faults    string // of the simulator, or lies= and those of a liar; others know what they do
	nodes     int
}

// suites are all there are.
var suites = []suite{
	{"ring/ringtest", "ring/internal", table},
	{"ring/ringtest", "ring/internal", liarTable},
	{"run", "run", runTable},
	{"respawn", "respawn", respawnTable},
}

// table holds at least one mutant for each invariant. A row whose old text no
// longer applies must be rewritten, not dropped.
//
// Not here, because another rule makes them harmless: two changes of voters at once,
// and one who has not caught up let in (the engine takes one change at a time, and
// counts no vote for entries that are not there: only time is lost); a stamp for an
// older epoch than a drop in one's log (the stops that saw the newer one let it pass no
// more, and its ticks lie below).
//
// Nor what no thousand seeds find: that who has nothing now may have had more
// (Identity.Grown), and the look at who else has data before a history begins (who is
// blank goes over to what it hears of before it looks, and beside one of which nothing
// is known but its name all first voters must be as bare). Tests of package consensus
// and a schedule in TestFound do. And that whose doubt has ended sends a heartbeat at
// once: of 5,000 seeds of two instances that lose up to a tenth of all packets 9 break
// H2 with it, and 14 without. And that one reservation of ticks waits for the other
// (TestP3LateReservation).
//
// Nor what the comparisons make good within seconds, as they are meant to: a large
// message that is announced to nobody (TestB1AnnouncedIsAskedFor of package spread), and
// a slow neighbour that is told nothing when it goes on (TestASlowNeighbourIsToldWhenItGoesOn
// of package core).
//
// Nor that who is retired stays until somebody else has its vote: the leader is faster than
// the next change is, as a rule (TestR1GrowAndShrink of package ring); nor that whoever is
// retired is given up as one who has left, because after a while it is as one who is dead.
//
// Nor what of passengers shows but where several things go wrong in one moment; package train
// plays such (TestP4WhateverHappens): that those board again who were on a copy that the
// particle has come past, that who moves to another order does not take a copy for what it was
// given, that who comes a lap late has its passengers ride again, that a new particle takes
// along who was aboard where it was dropped, where laps that were broken
// off begin anew, and which of two copies of an epoch is the newer.
var table = []mutant{
	{
		"link with another roster", "R1", "core/conn.go",
		"case !c.related(h):", "case false:",
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
		"if p.Epoch.Number < c.number || p.Epoch.Number == c.number && p.Lap <= c.buslap {",
		"if p.Epoch.Number < c.number {",
		"all", 5,
	},
	{
		"accept an older epoch", "P1", "particle/particle.go",
		"if p.Epoch.Number < c.number || p.Epoch.Number == c.number && p.Lap <= c.buslap {",
		"if p.Epoch.Number == c.number && p.Lap <= c.buslap {",
		"all", 5,
	},
	{
		"never send the copy when the next stop dies", "P1", "core/token.go",
		"\tc.resend(\"the stop before it is gone\")\n", "",
		"crash", 3,
	},
	{
		"never replace a lost particle", "P1,progress", "particle/particle.go",
		"return !at.IsZero() && !now.Before(at) && !c.here()", "return false && at.IsZero()",
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
		"at := earlier(c.fresh.Add(quiet), c.over.Add(max(8*c.quiet(), c.longest())))", "at := c.over.Add(0 * quiet)",
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
		"who waits to return calls itself whole", "H5", "core/view.go",
		"c.alone()) || c.exiled()", "c.alone())",
		"flap", 5,
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
		"the incarnation on the disk does not count", "H2", "core/member.go",
		"max(c.inc, c.told, c.saved.Incarnation) + 1", "max(c.inc, c.told) + 1",
		"restart", 3,
	},
	{
		"believe one who was away that our name is taken", "H5", "core/member.go",
		"if c.joined && !c.isAlive(p.i) && c.quorate() {", "if false {",
		"pause,power", 7,
	},
	{
		"the last two look once", "H2", "core/dial.go",
		"return c.alive == 2 && p.fails == 1", "return false",
		"loss,lossy", 2,
	},
	{
		"stay under the goodbye of our own name", "R2", "core/member.go",
		"if y.State == wire.Left && c.joined", "if false && c.joined",
		"leave,torn,mute", 3,
	},
	{
		"rest on the first lap too", "P1", "particle/particle.go",
		"c.fresh && c.cfg.Hold == 0 &&", "c.fresh && false &&",
		"none", 11,
	},
	{
		"drop on replay", "P1,P3", "consensus/lead.go",
		"c.leading && int(e.Dropper) == c.cfg.Self && e.Boot == c.cfg.Boot {",
		"int(e.Dropper) == c.cfg.Self {",
		"restart,torn", 5,
	},
	{
		"an unstamped lap counts", "P3", "particle/particle.go",
		"p.Voters > 0 && p.Quorum() && p.Base", "p.Voters > 0 && p.Base",
		"partition", 5,
	},
	{
		"a block of ticks is used again", "P3", "bus/state.go",
		"first := max(s.epoch.Limit, c.Rev, 1)", "first := max(s.epoch.Tick(s.epoch.Lap), 1)",
		"crash,restart,third", 5,
	},
	{
		"an epoch is not on disk before the particle passes", "P1", "core/token.go",
		"\tc.save()\n", "",
		"crash", 5,
	},
	{
		"a tick is counted that is not on disk yet", "P3", "core/token.go",
		"c.saved.Ceiling, c.reserving = more, true",
		"c.saved.Ceiling, c.reserving = more, true; c.token.Reserve(more); c.ceiling = more",
		"crash", 5,
	},
	{
		"who is started again counts what it may have counted before", "P3", "particle/particle.go",
		"t > c.tick && t >= c.floor &&", "t > c.tick &&",
		"pause,leave", 7,
	},
	{
		"an attached stop lets a detached particle pass", "P1", "particle/particle.go",
		"if c.attached && c.bus.Anchorable {", "if false {",
		"partition,blackhole", 5,
	},
	{
		"begin a history without a majority", "S1", "consensus/history.go",
		"(stillborn || 2*count <= len(voters) ||", "(stillborn ||",
		"blank,partition,blackhole", 5,
	},
	{
		"begin another history beside one that has entries", "S1", "consensus/history.go",
		"const beginning = 1", "const beginning = 1 << 40",
		"blank,partition,blackhole", 5,
	},
	{
		"an empty log comes back under its old id", "S1,panic,fatal", "consensus/voters.go",
		"l.Generation != g || l.Boot != c.cfg.Boot ||", "l.Generation != g ||",
		"blank,crash,restart", 3,
	},
	{
		"acknowledge before it is on disk", "S1,panic,fatal", "consensus/log.go",
		"\tc.queue = append(c.queue, saving{c.seq, m})\n\tc.effect(Effect{Kind: Persist, Seq: c.seq, Write: w})",
		"\tc.effect(Effect{Kind: Persist, Seq: c.seq, Write: w})\n\tc.kept(m)",
		"restart,third,crash", 3,
	},
	{
		"read without asking the leader", "S1", "consensus/ask.go",
		"\tc.question(&question{seq: seq})\n", "\tc.effect(Effect{Kind: Readable, Seq: seq})\n",
		"mild", 5,
	},
	{
		"do again what is asked again", "S1", "bus/state.go",
		"if was, ok := ses.done[c.Req.Seq]; ok {", "if was, ok := ses.done[c.Req.Seq]; ok && false {",
		"crash,third", 5,
	},
	{
		"grant what is held", "P2", "bus/state.go",
		"if l, ok := s.leases[c.Key]; ok {", "if l, ok := s.leases[c.Key]; ok && l.Holder == c.Req.Origin {",
		"mild", 5,
	},
	{
		"a lease counts from its commit", "P2", "lease/lease.go",
		"\tdefault:\n\t\th.until = h.asked.Add(h.ttl)", "\tdefault:\n\t\th.until = now.Add(h.ttl)",
		"slow,starve,pause,delay", 5,
	},
	{
		"deliver a message twice", "B1", "spread/stream.go",
		"c.fx = append(c.fx, Effect{Kind: Deliver, Msg: m})",
		"c.fx = append(c.fx, Effect{Kind: Deliver, Msg: m})\n" +
			"\t\tif s.done%64 == 63 {\n\t\t\tc.fx = append(c.fx, Effect{Kind: Deliver, Msg: m})\n\t\t}",
		"mild", 5,
	},
	{
		"deliver what comes as it comes", "B1", "spread/spread.go",
		"\tc.handOn(from, m)\n\tc.deliver(s)",
		"\tc.handOn(from, m)\n\ts.done = m.Seq - 1\n\tc.deliver(s)",
		"crash,partition,silent", 5,
	},
	{
		"never compare what is kept", "B1", "spread/compare.go",
		"func (c *Core) Compare(now time.Time, from int, ranges []Range, ask bool) {",
		"func (c *Core) Compare(now time.Time, from int, ranges []Range, ask bool) {\n\tranges = nil",
		"crash,partition,silent", 5,
	},
	{
		"a digest asks for nothing", "B1", "spread/compare.go",
		"\t\tif !c.awaited(s) || s.source == from && s.done >= s.wantFrom {", "\t\tif false {",
		"crash,partition,silent", 5,
	},
	{
		"tell of one too few that are missed", "B1", "spread/compare.go",
		"\t\tc.missed(s, next-1)", "\t\tc.missed(s, next-2)",
		"partition,blackhole,silent", 5,
	},
	{
		"tell of nothing that is missed", "B1", "spread/compare.go",
		"\t\tc.missed(s, next-1)", "\t\t_ = 0",
		"partition,blackhole,silent", 5,
	},
	{
		"what does not come is missed, and not asked for", "B1", "spread/spread.go",
		"\tc.fx = append(c.fx, Effect{Kind: Want, To: from, Ranges: []Range{s.span(s.done+1, to)}})",
		"\tc.missed(s, to)\n\tc.drop(s, nothing)\n\ts.done, s.first = to, to+1\n\tc.deliver(s)",
		"crash,restart,slow", 5,
	},
	{
		"what a neighbour's digest shows is missed, and not asked for", "B1", "spread/compare.go",
		"\t\t\tc.want(s, from, r.To)",
		"\t\t\tc.missed(s, r.To)\n\t\t\tc.drop(s, nothing)\n" +
			"\t\t\ts.done, s.first = r.To, r.To+1\n\t\t\tc.deliver(s)",
		"crash,restart,slow", 5,
	},
	{
		"what comes before a message is missed, and not asked for", "B1", "spread/spread.go",
		"\tc.want(s, from, s.high)",
		"\tfor s.done < s.high && s.held[s.done+1] == nil {\n\t\tc.missed(s, s.done+1)\n\t\tc.drop(s, nothing)\n" +
			"\t\ts.done, s.first = s.done+1, s.done+2\n\t}\n\tc.deliver(s)",
		"crash,restart,slow", 5,
	},
	{
		"nothing is ever given up", "B1", "spread/compare.go",
		"\tpatience = 5", "\tpatience = 1 << 30",
		"partition,blackhole,silent", 5,
	},
	{
		"a process started again is the same origin", "B1", "core/cast.go",
		"Life: uint64(c.inc)<<lifeBits | uint64(c.cfg.Boot>>1)", "Life: 1",
		"crash,restart", 5,
	},
	{
		"another life's messages are of this one", "B1,panic", "spread/stream.go",
		"\tcase life < s.life:\n\t\treturn nil", "\tcase life < s.life:",
		"crash,restart", 5,
	},
	{
		"who is missing is not asked again", "B1", "gather/gather.go",
		"	case any && !over:\n\t\tc.repeat(r, missing)\n", "",
		"crash,partition,silent", 16,
	},
	{
		"an answer is forgotten with its question open", "B1", "gather/gather.go",
		"	case !now.Before(r.until) && !(c.ours(r) && r.msg != nil):", "	case !now.Before(r.until):",
		"crash,partition,silent", 16,
	},
	{
		"an earlier process's question is this one's", "B1", "core/cast.go",
		"if fx.Msg.Question != nil && !c.cast.Earlier(fx.Msg.CastID) {", "if fx.Msg.Question != nil {",
		"crash,restart", 5,
	},
	{
		"a new particle takes nothing along of what others hold", "P4", "train/train.go",
		"\tif mine == nil || !newer(mine, p) {",
		"\tif true {",
		"third,crash", 7,
	},
	{
		"others board before all have leveled", "P4", "train/train.go",
		"l := &wire.Level{Lap: p.Lap + 1,",
		"l := &wire.Level{Lap: p.Lap,",
		"third,crash", 7,
	},
	{
		"equal numbers are of one order", "P4", "train/train.go",
		"l.Base <= end(p) && chainAt(p, l.Base) == l.Chain",
		"l.Base <= end(p)",
		"partition,blackhole", 5,
	},
	{
		"nobody is told of another order", "P4", "train/train.go",
		"\t\tv.Moved = true\n",
		"",
		"partition,blackhole", 5,
	},
	{
		"passengers are delivered as they board, too", "P4", "train/train.go",
		"\t\tc.let(p)\n",
		"\t\tn := len(t.Riders)\n\t\tc.let(p)\n\t\tfor i := n; i < len(t.Riders); i++ {\n\t\t\tv.Delivered = append(v.Delivered, Passenger{p.Line.Base + uint64(i) + 1, t.Riders[i]})\n\t\t}\n",
		"none", 3,
	},
	{
		"passengers are taken off by whoever comes", "P4", "train/train.go",
		"\t\tover := place{r.Lap + 1, r.Stop}\n\t\tif here.before(over) || r.Origin != c.self && here.before(place{r.Lap + 2, r.Stop}) {",
		"\t\tif here == (place{r.Lap, r.Stop}) {",
		"none", 3,
	},
	{
		"a lap is over when it begins", "P4", "train/train.go",
		"\t\tover := place{r.Lap + 1, r.Stop}\n\t\tif over.before(here) {",
		"\t\tover := place{r.Lap, r.Stop}\n\t\tif over.before(here) {",
		"none", 3,
	},
	{
		"those who come home stay on the list", "P4", "train/train.go",
		"\tc.aboard = ride\n",
		"",
		"none", 3,
	},
	{
		"the lap before is forgotten", "P4", "train/train.go",
		"\t\tt.Before, t.Seen = t.Seen, nil\n\t\tt.Lap, t.SpentUS = p.Lap, 0\n\tdefault",
		"\t\tt.Before, t.Seen = nil, nil\n\t\tt.Lap, t.SpentUS = p.Lap, 0\n\tdefault",
		"none", 5,
	},
	{
		"a receipt names both laps the wrong way round", "P4", "train/train.go",
		"\t\t\tkeep = ^(1<<bit | (1<<bit - 1))",
		"\t\t\tkeep = 1<<bit | (1<<bit - 1)",
		"none", 5,
	},
	{
		"who waits is nothing to an empty particle", "P4", "train/train.go",
		"\t\tlen(c.waiting) == 0 && len(c.aboard) == 0\n",
		"\t\ttrue\n",
		"none", 3,
	},
	{
		"a stop passed is not noted", "P4", "train/train.go",
		"\tt.Seen = with(t.Seen, c.self)\n\treturn t",
		"\treturn t",
		"none", 3,
	},
	{
		"a value of the same twice", "P4", "train/train.go",
		"\t\tcase done[i]:\n",
		"\t\tcase done[i] && false:\n",
		"none", 3,
	},
	{
		"values of another pass", "P4,P5", "core/train.go",
		"\tif seq == 0 || seq != c.rides.work {",
		"\tif c.rides.work == 0 {",
		"none", 3,
	},
	{
		"stations share nothing", "P5", "core/train.go",
		"c.cfg.Timing.Loss/2-spent)",
		"c.cfg.Timing.Loss/2-0*spent)",
		"none", 11,
	},
	{
		"stations take longer than they have", "P5", "core/train.go",
		"\tc.token.Stay(c.now.Add(budget))",
		"\tc.token.Stay(c.now.Add(2 * budget))",
		"none", 5,
	},
	{
		"the particle rests with passengers aboard", "P4", "core/train.go",
		"\t\tc.token.Go(c.now)\n\t}\n\tc.tellSeats()",
		"\t}\n\tc.tellSeats()",
		"none", 5,
	},
	{
		"word of who waits is not handed on", "P4", "core/train.go",
		"\tc.sendHurry(cn.peer.i, m)\n",
		"",
		"none", 16,
	},
	{
		"nobody is told of who waits", "P4", "core/train.go",
		"\tc.sendHurry(-1, m)\n",
		"\t_ = m\n",
		"none", 5,
	},
	{
		"who heard of one that waits rests", "P4", "core/train.go",
		"\tif c.token.Resting() && r.work == 0 {\n\t\tc.token.Go(c.now)",
		"\tif false {\n\t\tc.token.Go(c.now)",
		"none", 5,
	},
	{
		"what came before the next pass is forgotten", "P4", "core/train.go",
		"\tc.visited() // what the last pass brought, where nothing else has told it\n",
		"",
		"none", 1,
	},
	{
		"what the particle brought is not told once it left", "P4", "core/token.go",
		"\tc.hurryTurn()\n\tc.forward()\n\tc.visited()\n",
		"\tc.hurryTurn()\n\tc.forward()\n\tc.rides.visit = nil\n",
		"none", 3,
	},
	{
		"an index is used again", "R1", "roster/version.go",
		"\tr.index[c.Name] = len(r.Names)\n",
		"\tfor i := range r.Names {\n\t\tif r.notes[i].retired {\n\t\t\tr.Names[i], r.Addrs[i], r.notes[i] = c.Name, c.Addr, note{moved: true}\n" +
			"\t\t\tr.index[c.Name] = i\n\t\t\tr.members++\n\t\t\treturn nil\n\t\t}\n\t}\n\tr.index[c.Name] = len(r.Names)\n",
		"rolls,none", 5,
	},
	{
		"a change is made whatever it was planned on", "R1", "bus/roster.go",
		"if c.Rev != s.roster.Version || c.Key != RosterKey(s.roster.Chain()) {", "if false {",
		"rolls,none", 5,
	},
	{
		"links of another roster", "R2,P1,panic", "core/roster.go",
		"\tif !r.Retired(c.self) { // who", "\tif false { // who",
		"rolls,none", 5,
	},
	{
		"who comes before its roster is forgotten", "R2,P4", "core/records.go",
		"\t\tc.keepEarly(r)\n", "",
		"rolls,none", 1,
	},
}

// rare are mutants that fewer than one seed in 150 shows since rosters change and instances
// sign: they are hunted with -rare (make mutants), and by name.
var rare = map[string]bool{
	"drop on replay":                   true,
	"acknowledge before it is on disk": true,
}

// begins is the seed with which the search for some mutants begins, 0 for the others.
// None before it found anything when it was looked up, and to try them all each time is
// most of the work. Who changes the core and finds that one lives tries it from 0, and
// writes here what found it: -from 0.
var begins = map[string]uint64{
	"back from an absence, take any view":                         321,
	"a lease counts from its commit":                              499,
	"silence is enough, no fresh dial":                            171,
	"begin another history beside one that has entries":           155,
	"drop on replay":                                              133,
	"an empty log comes back under its old id":                    297,
	"who is started again counts what it may have counted before": 91,
	"keep those it cannot reach":                                  814,
	"do again what is asked again":                                313,
	"acknowledge before it is on disk":                            80,
	"believe one who was away that our name is taken":             57,
	"the last two look once":                                      30,
	"what comes before a message is missed, and not asked for":    23,
	"an attached stop lets a detached particle pass":              19,
	"accept an older epoch":                                       17,
	"a starved observer accuses":                                  15,
	"stay under the goodbye of our own name":                      15,
	"equal numbers are of one order":                              50,
	"values of another pass":                                      19,
	"a new particle takes nothing along of what others hold":      17,
	"others board before all have leveled":                        17,
}
