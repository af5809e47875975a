package ringtest

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
)

// The roster may be changed while faults happen: somebody is chosen to plan a change on the
// version that it has, now and then two at once.

// rollBase and above stand for changers among those who wait for answers.
const rollBase = noOne + 1

// rollsOf is what a world knows of rosters.
type rollsOf struct {
	asked    []*roster.Roster    // what was planned, for each change that somebody asked for
	versions map[uint64][32]byte // chain of each version that anybody went over to
	newest   *roster.Roster
	first    *overlay.Overlay // of the first; that of the newest is World.overlay
	unique   int
}

// membersMin is down to how many the changers shrink a fleet.
const membersMin = 2

// planRolls puts the changes on the agenda.
func (w *World) planRolls() {
	w.rolls.versions = map[uint64][32]byte{}
	w.rolls.newest, w.rolls.first = w.roster, w.overlay
	if w.opt.rolls == 0 {
		return
	}
	d := dice(mix(w.seed, forRoll))
	from := w.opt.spread() + int64(w.formBound())
	for range w.opt.rolls {
		w.agenda.push(from+d.below(int64(w.opt.Duration)), atRoll, int32(1+d.below(2)), 0)
	}
	for i := w.opt.Nodes; i < len(w.hosts); i++ {
		w.hosts[i].held, w.hosts[i].spare = 1, true
	}
}

// rollTurn has one or two change the roster.
func (w *World) rollTurn(changers int32) {
	d := dice(mix(w.seed, forRoll, uint64(w.now)))
	set := w.everybody()
	for range changers {
		if len(set) > 0 {
			w.change(&w.hosts[set[d.below(int64(len(set)))]], &d)
		}
	}
}

// change has h ask for a change, planned on what it knows.
func (w *World) change(h *host, d *dice) {
	was := h.core.Roster()
	c, ok := w.drawChange(was, d)
	if !ok || h.stop > 0 {
		return
	}
	plan, err := was.With([]roster.Change{c})
	if err != nil {
		w.fail("R1", "s%d cannot plan %+v: %v", h.index, c, err)
		return
	}
	w.say(h, "asks for version %d of the roster: %d %s %s", plan.Version, c.Kind, c.Name, c.Addr)
	if h.core.State().Roster() == nil {
		first := was.Encode()
		w.ask(h, core.Propose, &bus.Command{
			Kind: bus.Seed, Key: bus.RosterKey(sha256.Sum256(first)), Limit: uint64(len(first)), Value: first,
		}, noOne)
	}
	w.rolls.asked = append(w.rolls.asked, plan)
	w.ask(h, core.Propose, &bus.Command{
		Kind: bus.Reroll, Rev: was.Version, Key: bus.RosterKey(was.Chain()),
		Value: roster.AppendChanges(nil, []roster.Change{c}),
	}, rollBase+int32(len(w.rolls.asked)-1))
}

// drawChange draws what may be asked for.
func (w *World) drawChange(r *roster.Roster, d *dice) (c roster.Change, ok bool) {
	var members []string
	for i, name := range r.Names {
		if !r.Retired(i) {
			members = append(members, name)
		}
	}
	some := func() string { return members[d.below(int64(len(members)))] }
	w.rolls.unique++
	addr := fmt.Sprintf("a%d:3000", w.rolls.unique)
	switch d.below(8) {
	case 0, 1, 2:
		if r.Len() < len(w.hosts) {
			return roster.Change{Kind: roster.Add, Name: fmt.Sprintf("s%d-%d", r.Len(), w.rolls.unique), Addr: addr}, true
		}
	case 3, 4, 5:
		name := some()
		if len(members) > membersMin && w.mayRetire(r, r.Index(name)) {
			return roster.Change{Kind: roster.Retire, Name: name}, true
		}
	case 6:
		return roster.Change{Kind: roster.Move, Name: some(), Addr: addr}, true
	default:
		name := some()
		if may := w.mayVote(r); may > 3 {
			return roster.Change{Kind: roster.Demote, Name: name}, true
		}
		return roster.Change{Kind: roster.Promote, Name: name}, true
	}
	return c, false
}

func (w *World) mayVote(r *roster.Roster) (n int) {
	for i := range r.Names {
		if !r.Retired(i) && r.Wish(i) != roster.NotToVote {
			n++
		}
	}
	return n
}

// mayRetire reports whether of those who would be left, and may vote, nearly all live: a
// plan that would cost the quorum is refused, and in a simulation somebody may die next.
func (w *World) mayRetire(r *roster.Roster, gone int) bool {
	all, lives := 0, 0
	for i := range r.Names {
		if r.Retired(i) || i == gone || r.Wish(i) == roster.NotToVote {
			continue
		}
		all++
		if h := &w.hosts[i]; h.core != nil && h.core.Head().Joined {
			lives++
		}
	}
	return all >= membersMin && lives == all
}

// rollAnswered is the answer to a changer: whoever is told that its change was made finds
// that very version.
func (w *World) rollAnswered(h *host, at int32, fx *core.Effect) {
	plan := w.rolls.asked[at]
	if fx.Kind != core.Settled || fx.Result.Code != bus.Done {
		w.say(h, "version %d of the roster is not made", plan.Version)
		return
	}
	if fx.Result.Rev != plan.Version {
		w.fail("R1", "s%d planned version %d of the roster, and made %d", h.index, plan.Version, fx.Result.Rev)
	}
	if got := h.core.State().Roster(); got == nil || got.Version < plan.Version ||
		got.Version == plan.Version && got.Chain() != plan.Chain() {
		w.fail("R1", "s%d is told that its change was made, and it was not", h.index)
	}
}

// onRerolled is that h goes over to another roster: all who have a version have the same.
func (w *World) onRerolled(h *host, fx *core.Effect) {
	r := fx.Roster
	if r.Version > 1 {
		h.kept, h.keptEra = r, fx.Era
	}
	if chain, ok := w.rolls.versions[r.Version]; ok && chain != r.Chain() {
		w.fail("R1", "s%d has another version %d of the roster than others", h.index, r.Version)
		return
	}
	w.rolls.versions[r.Version] = r.Chain()
	if was := w.rolls.newest; r.Version > was.Version {
		for i := range was.Len() {
			if r.Names[i] != was.Names[i] || was.Retired(i) && !r.Retired(i) {
				w.fail("R1", "version %d of the roster has %s at index %d, version %d had %s", r.Version,
					r.Names[i], i, was.Version, was.Names[i])
			}
		}
		for i := was.Len(); i < r.Len(); i++ {
			w.hosts[i].seed, w.hosts[i].spare = r, false
			w.hosts[i].held--
			d := dice(mix(w.seed, forRoll, uint64(w.now), uint64(i)))
			w.agenda.push(w.now+d.below(2*second), atStart, int32(i), 0)
		}
		for i := range r.Len() {
			w.hosts[i].retired = r.Retired(i)
		}
		w.rolls.newest = r
		w.overlay = overlay.BuildOf(r.Names, r.Out(), r.Ring, r.Degree)
	}
}

// rosterOf is what a process on h starts with.
func (w *World) rosterOf(h *host) (*roster.Roster, *overlay.Overlay) {
	r := w.roster
	switch {
	case h.odd:
		return w.oddRoster, w.rolls.first
	case h.kept != nil:
		r = h.kept
	case h.seed != nil: // a file of that version, which does not say what came before
		retired := []int{}
		for i := range h.seed.Names {
			if h.seed.Retired(i) {
				retired = append(retired, i)
			}
		}
		var err error
		if r, err = roster.New(h.seed.Ring, h.seed.Names, h.seed.Addrs, h.seed.Degree, retired...); err != nil {
			w.fail("R1", "the roster of s%d is none any more: %v", h.index, err)
			return h.seed, w.overlay
		}
	}
	if r == w.roster {
		return r, w.rolls.first
	}
	return r, overlay.BuildOf(r.Names, r.Out(), r.Ring, r.Degree)
}

// endedFor is the word of a process that it must not go on.
func (w *World) endedFor(h *host, report *core.Report) {
	switch {
	case report.Kind == core.Retired:
		if !h.retired {
			w.fail("R1", "s%d takes itself for retired, and is not: %s", h.index, report.Text)
			return
		}
		w.kill(h, false)
		h.held++ // nobody starts it again
	case strings.Contains(report.Text, "start this instance again"):
		w.kill(h, false)
		w.agenda.push(w.now+second, atStart, h.index, 0)
	default:
		w.fail("fatal", "%s gives up: %s", w.name(h.index), report.Text)
	}
}

// checkRosters is the end of R1: all who live go by the newest version, and nobody who is
// retired lives on.
func (w *World) checkRosters(set []int32) {
	for _, i := range set {
		if r := w.hosts[i].core.Roster(); r.Chain() != w.rolls.newest.Chain() && w.opt.rolls > 0 {
			w.fail("R1", "after calm s%d goes by version %d of the roster, the newest is %d", i, r.Version,
				w.rolls.newest.Version)
		}
	}
	for i := range w.hosts {
		if h := &w.hosts[i]; h.retired && h.core != nil {
			w.fail("R1", "after calm s%d lives on, and is retired", i)
		}
	}
}
