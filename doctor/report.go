package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

// Report is how a fleet, or one instance of it, is.
type Report struct {
	V         int       `json:"v"` // version of this object, 1
	Ring      string    `json:"ring"`
	Self      ring.Name `json:"self"` // who asked all
	Only      ring.Name `json:"only,omitempty"`
	At        time.Time `json:"at"`
	TookMS    float64   `json:"took_ms"`
	Verdict   Verdict   `json:"verdict"`   // the worst of all checks
	Instances int       `json:"instances"` // of the roster, or 1 with Only
	Answered  int       `json:"answered"`
	Checks    []Check   `json:"checks"`
	Paths     Tried     `json:"paths"`
	// CutOff is how many findings there was no room for: they are counted in the checks.
	CutOff int `json:"cut_off"`
}

// Tried is which ways between instances were tried.
type Tried struct {
	Tried   int    `json:"tried"`
	Bad     int    `json:"bad"`
	Untried int    `json:"untried"` // for want of time
	Sampled bool   `json:"sampled"` // not all pairs were to be
	BadOnes []Path `json:"bad_ones"`
	CutOff  int    `json:"cut_off"` // bad ones that are not in BadOnes
}

// Check is how one has come out for all together.
type Check struct {
	Check    string    `json:"check"`
	Verdict  Verdict   `json:"verdict"`
	OK       int       `json:"ok"` // instances, of paths: paths, for which it is
	Note     string    `json:"note,omitempty"`
	Problems []Problem `json:"problems"`
}

// report makes a table of what was found. knocked is how those are reached who have not answered.
func report(s sheet, status ring.Status, bus ring.BusStatus, g ring.Gathered,
	knocked map[ring.Name]reached, offsets []offset, only ring.Name,
) Report {
	rep := Report{
		V: 1, Verdict: OK, Ring: status.Ring, Self: status.Self, Only: only, Instances: len(status.Instances),
		Answered: s.Count, CutOff: s.More,
		Paths: Tried{
			Tried: s.Tried, Bad: s.Bad, Untried: s.Untried, Sampled: s.Sampled,
			BadOnes: oneWays(s.Paths, g.Answered, s.Sampled || s.Untried > 0), CutOff: s.MorePath,
		},
	}
	if only != "" {
		rep.Instances = 1
	}
	clocks, clockNote := judgeClocks(offsets)
	if only != "" {
		clocks = slices.DeleteFunc(clocks, func(p Problem) bool { return p.Who[0].Name != only })
	}
	notes := map[string]string{Clocks: clockNote, Paths: s.pathNote(), Security: s.strangerNote()}
	of := map[string][]Problem{Clocks: clocks, Answers: answers(g, knocked, only)}
	of[Answers] = append(of[Answers], differ(s.Views, Warn, Answers, "views differ",
		"ask again in a moment; if it stays, look at links and paths", "its view of who lives is %s")...)
	of[Roster] = differ(s.Rosters, Warn, Roster, "differs", "give all the same roster; one that is a "+
		"version behind catches up by itself", "its roster is version %s")
	builds := s.Builds
	if seen := seenBuilds(status); len(builds) < 2 && len(seen) > 1 && only == "" {
		builds = seen // those of an older version say nothing here
	}
	of[Versions] = differ(builds, Warn, Versions, "differs", "finish the upgrade: one instance after the "+
		"other (`ring run --rolling`)", "it runs %s")
	of[Security] = differ(s.Roots, Warn, Security, "roots differ", "they are told over the ring by themselves; if "+
		"it stays, give all the same ca.pem", "it trusts the roots %s")
	if only == "" {
		problems, note := voters(bus)
		of[Quorum], notes[Quorum] = problems, note
	}
	if len(builds) == 1 {
		notes[Versions] = builds[0].Name
	}
	for _, p := range s.Problems {
		of[p.Check] = append(of[p.Check], p)
	}
	for check := range of { // in any order: what is appended is sorted by it
		if !slices.Contains(checks, check) {
			rep.Checks = append(rep.Checks, Check{Check: check})
		}
	}
	slices.SortFunc(rep.Checks, func(a, b Check) int { return strings.Compare(a.Check, b.Check) })
	known := make([]Check, len(checks))
	for i, check := range checks {
		known[i].Check = check
	}
	rep.Checks = append(known, rep.Checks...)
	for i := range rep.Checks {
		c := &rep.Checks[i]
		c.Problems = joined(of[c.Check], []Problem{}, Problem.compare, func(p *Problem, q Problem) {
			p.Count, p.Who = p.Count+q.Count, append(p.Who, q.Who...)
		})
		c.OK, c.Note, c.Verdict = max(s.Count-s.Trouble[c.Check], 0), notes[c.Check], OK
		switch c.Check {
		case Paths:
			c.OK = s.Tried - s.Bad
			for _, p := range rep.Paths.BadOnes {
				c.Verdict = worse(c.Verdict, p.Verdict())
			}
			if s.Bad > 0 && len(rep.Paths.BadOnes) == 0 {
				c.Verdict = Fail // which are not known for want of room
			}
		case Clocks:
			if only == "" {
				c.OK = max(len(offsets)-len(clocks)-s.Trouble[c.Check], 0)
			}
		}
		if s.Trouble[c.Check] > 0 && len(c.Problems) == 0 {
			c.Verdict = Warn // there was no room to say more
		}
		for _, p := range c.Problems {
			c.Verdict = worse(c.Verdict, p.Verdict)
		}
		rep.Verdict = worse(rep.Verdict, c.Verdict)
	}
	return rep
}

// strangerNote tells of callers that were turned away, which is as it should be.
func (s sheet) strangerNote() string {
	switch s.Strangers {
	case 0:
		return ""
	case 1:
		return "one has turned away a stranger of late (`ring events`)"
	}
	return fmt.Sprintf("%d have turned away strangers of late (`ring events`)", s.Strangers)
}

// Verdict is how bad it is.
func (p Path) Verdict() Verdict {
	if p.Case == slowPath {
		return Warn
	}
	return Fail
}

// Do is what to do about it.
func (p Path) Do() string {
	switch p.Case {
	case refusedPath:
		return "look whether it listens at that address, and whether a firewall rejects"
	case silentPath:
		return "open the way (firewall, security group, route) for TCP to that address"
	case unresolvedPath:
		return "mend the name in DNS, or in /etc/hosts of those who cannot resolve it"
	case strangerPath:
		return "correct the address in the roster: it leads to somebody else"
	case mutePath:
		return "look at what listens at that address, and at how busy that host is"
	case untrustedPath:
		return "look at the certificates of both (security), and whether it is of another ring or authority"
	case slowPath:
		return "look at the network and at how busy that host is"
	}
	return "look at what listens at that address"
}

// answers is who has not answered, and what is to be found at their addresses.
func answers(g ring.Gathered, knocked map[ring.Name]reached, only ring.Name) (found []Problem) {
	say := func(name ring.Name, v Verdict, kind, do, what string) {
		if r, tried := knocked[name]; tried && r.kind == "" {
			what += "; " + r.addr + " answers"
		} else if tried {
			what += "; " + r.addr + ": " + r.what
		}
		if only == "" || name == only {
			f := finder{self: name}
			f.say(v, Answers, kind, do, "%s", what)
			found = append(found, f.found...)
		}
	}
	for _, a := range g.Missing {
		switch a.State {
		case ring.Dead:
			say(a.Name, Fail, "dead", "start it, and look why it ended (its log; `ring events`)", "it is dead")
		case ring.Unreachable:
			say(a.Name, Fail, "unreachable", "start it, or look at the network: whether it lives cannot be told here",
				"it has never been met, or is out of reach")
		default:
			say(a.Name, Fail, "silent", "give --timeout more, or look at its host: it is in the ring and does not answer",
				"it lives, and nothing came in time")
		}
	}
	for _, name := range g.Failed {
		say(name, Warn, "no doctor", "upgrade it: an older version has no doctor; or ask again with a longer --timeout",
			"it lives, and has no answer")
	}
	return found
}

// voters is how many there are left, as who asked knows it.
func voters(bus ring.BusStatus) (found []Problem, note string) {
	var all, live int
	for _, v := range bus.Voters {
		if v.Role == "learner" {
			continue
		}
		all++
		if v.State == ring.Alive || v.State == ring.Suspect {
			live++
		}
	}
	note = fmt.Sprintf("%d of %d voters live", live, all)
	if live == all {
		return nil, note
	}
	for _, v := range bus.Voters {
		if v.State == ring.Alive || v.State == ring.Suspect || v.Role == "learner" {
			continue
		}
		f := finder{self: v.Name}
		f.say(Warn, Quorum, "voter gone", "start it; who is gone for long is replaced by itself where there are others",
			"it votes and is %s: %d of %d voters live, and %d are needed", v.State, live, all, all/2+1)
		found = append(found, f.found...)
	}
	return found, note
}

// differ finds fault with all but the largest of several kinds.
func differ(kinds []Kind, v Verdict, check, kind, do, what string) (found []Problem) {
	if len(kinds) < 2 {
		return nil
	}
	most := slices.MaxFunc(kinds, func(a, b Kind) int { return a.Count - b.Count })
	p := Problem{Check: check, Case: kind, Verdict: v, Do: do}
	for _, k := range kinds {
		if k.Name == most.Name {
			continue
		}
		p.Count += k.Count
		for _, name := range k.Who {
			p.Who = append(p.Who, Who{name, clipped(fmt.Sprintf(what+" (%d have that, %d have %s)", k.Name, k.Count,
				most.Count, most.Name), textMax)})
		}
	}
	return []Problem{p}
}

// seenBuilds is what those in the ring run as who asked has heard of them.
func seenBuilds(status ring.Status) (kinds []Kind) {
	for _, i := range status.Instances {
		if (i.State == ring.Alive || i.State == ring.Suspect) && i.Version != "" {
			name := fmt.Sprintf("%s (protocol %d)", i.Version, max(i.Protocol, 1))
			kinds = mergedKinds(kinds, kindOf(i.Name, name))
		}
	}
	return kinds
}

// oneWays notes which bad paths work in the other direction. Where not all were tried it cannot
// be said.
func oneWays(paths []Path, answered []ring.Name, some bool) []Path {
	out := slices.Clone(paths)
	if out == nil {
		out = []Path{}
	}
	if some {
		return out
	}
	bad := map[[2]ring.Name]bool{} // from, to
	cut := map[ring.Name]bool{}    // to: not all who do not reach it are known
	for _, p := range paths {
		for _, from := range p.From {
			bad[[2]ring.Name{from, p.To}] = true
		}
		cut[p.To] = cut[p.To] || len(p.From) < p.Count
	}
	for i := range out {
		p := &out[i]
		if p.Case == slowPath || !slices.Contains(answered, p.To) {
			continue
		}
		p.OneWay = nil
		for _, from := range p.From {
			if !bad[[2]ring.Name{p.To, from}] && !cut[from] {
				p.OneWay = append(p.OneWay, from)
			}
		}
	}
	return out
}

// pathNote says what was tried.
func (s sheet) pathNote() string {
	text := fmt.Sprintf("%d ways between instances tried", s.Tried)
	if s.Sampled {
		text += fmt.Sprintf(", by each to those it is linked with and %d others by chance: not all pairs", SamplePaths)
	}
	if s.Untried > 0 {
		text += fmt.Sprintf("; %d not, for want of time", s.Untried)
	}
	return text
}
