package ring

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// event is a report of the core as the public sees it.
func (r *Ring) event(seq uint64, t node.Report) Event {
	e := Event{
		Seq: seq, At: t.At, Instance: r.cfg.Name, Kind: string(t.Kind),
		Subject: r.name(t.Subject), Incarnation: t.Incarnation, Lap: t.Lap, Proof: t.Proof,
		WaitMS: t.Wait.Milliseconds(),
		Tick:   t.Tick, Skipped: t.Skipped, Revision: t.Revision,
	}
	switch t.Kind {
	case core.ViewNumbered:
		e.State, e.Confirmed = agreedState(t.State), r.name(t.Leader)
	case core.Elected:
		e.Term, e.Lap = t.Lap, 0
	case core.RosterChanged, core.RosterShown:
		e.Lap = 0 // the version, which Text has
	}
	for _, i := range t.Also {
		e.Also = append(e.Also, r.name(i))
	}
	for _, i := range t.By {
		e.By = append(e.By, r.name(i))
	}
	if ep := r.epoch(t.Epoch); ep != (Epoch{}) {
		e.Epoch = &ep
	}
	e.Text = r.words(e, t)
	return e
}

// words tells an event to a person. "I" is the instance that tells it.
func (r *Ring) words(e Event, t node.Report) string {
	if t.Said {
		return t.Text
	}
	who, mine := string(e.Subject), e.Subject == r.cfg.Name
	switch t.Kind {
	case core.Waiting:
		return fmt.Sprintf("waiting for %s at %s: %s", who, r.address(t.Subject), t.Text)
	case core.Refusing:
		if who == "" {
			return "refused a link: " + t.Text
		}
		return fmt.Sprintf("no link with %s: %s", who, t.Text)
	case core.Claimed:
		return fmt.Sprintf("no link with who has the certificate of %s: %s", who, t.Text)
	case core.Ending:
		return t.Text
	case core.Joined:
		return fmt.Sprintf("I am in the ring, as incarnation %d", e.Incarnation)
	case core.LinkUp:
		return "linked with " + who
	case core.LinkLost:
		return "the connection with " + who + " broke"
	case core.Suspected:
		return fmt.Sprintf("%s has not answered for %v; checking over a new connection",
			who, t.Wait.Round(time.Millisecond))
	case core.ViewChanged:
		return "the ring is " + t.Text
	case core.NextChanged:
		if mine {
			return "I am alone and hold my own hand"
		}
		return "I now hold the hand of " + who
	case core.CutOff:
		return "I am cut off: " + t.Text
	case core.Whole:
		return "I am no longer cut off: " + t.Text
	case core.RosterChanged:
		return "the roster is " + t.Text
	case core.RosterShown:
		return t.Text
	case core.Retired:
		return "RETIRED: " + t.Text
	case core.Starved:
		return fmt.Sprintf("this process did not run for %v; it accuses nobody meanwhile",
			t.Wait.Round(time.Millisecond))
	case core.Forging:
		return fmt.Sprintf("SECURITY: %s sent %s", who, t.Text)
	case core.Unproven:
		return fmt.Sprintf("%s is said to be dead by one alone, who shows nobody else that says so; "+
			"it does not count", who)
	}
	if text := r.wordsOfBus(e, t, who, mine); text != "" {
		return text
	}
	return r.wordsOfOthers(e, t, who, mine)
}

// wordsOfBus tells what the fleet agrees on, and whether it can.
func (r *Ring) wordsOfBus(e Event, t node.Report, who string, mine bool) string {
	switch t.Kind {
	case core.Anchored:
		return fmt.Sprintf("anchored at tick %d: a quorum stamps the laps, they count", t.Tick)
	case core.Unanchored:
		return fmt.Sprintf("NOT ANCHORED: laps do not count after tick %d (%s)", t.Tick, t.Text)
	case core.TicksSkipped:
		if t.Skipped == 1 {
			return fmt.Sprintf("the number %d did not count here: it names no lap, or one that I missed",
				t.Tick-1)
		}
		return fmt.Sprintf("the %d numbers between tick %d and tick %d did not count here: "+
			"they name no lap, or one that I missed", t.Skipped,
			t.Tick-t.Skipped-1, t.Tick)
	case core.Elected:
		if mine {
			return fmt.Sprintf("I lead the voters, in term %d", e.Term)
		}
		return fmt.Sprintf("%s leads the voters, in term %d", who, e.Term)
	case core.ViewNumbered:
		return r.wordsOfView(e, who)
	case core.Voting:
		return t.Text
	case core.HistoryBegun:
		return "the bus begins here, as " + t.Text
	case core.HistoryChanged:
		return fmt.Sprintf("I follow %s; what I had, up to revision %d, is given up", t.Text, t.Revision)
	case core.HistoryConflict:
		return fmt.Sprintf("I cannot agree with %s on anything: %s", who, t.Text)
	}
	return ""
}

// wordsOfView tells a change of the view that has its number.
func (r *Ring) wordsOfView(e Event, who string) string {
	verb := "is"
	if e.State == Left {
		verb = "has"
	}
	s := fmt.Sprintf("view revision %d: %s %s %s", e.Revision, who, verb, e.State)
	switch {
	case len(e.Also) > 0:
		s = fmt.Sprintf("view revision %d: %s are %s", e.Revision,
			r.people(append([]Name{e.Subject}, e.Also...)), e.State)
	case e.State == Alive && e.Incarnation > 1:
		s += fmt.Sprintf(" again, as incarnation %d", e.Incarnation)
	}
	if len(e.By) > 0 {
		s += "; accused by " + r.people(e.By)
	}
	switch e.Confirmed {
	case "":
		return s
	case r.cfg.Name:
		return s + "; confirmed by me, who leads, and a quorum"
	}
	return fmt.Sprintf("%s; confirmed by %s, who leads, and a quorum", s, e.Confirmed)
}

// agreedState translates a state of the agreed view.
func agreedState(s wire.State) State {
	switch s {
	case wire.Alive:
		return Alive
	case wire.Left:
		return Left
	}
	return Dead
}

// wordsOfOthers tells what became of somebody, and of the particle.
func (r *Ring) wordsOfOthers(e Event, t node.Report, who string, mine bool) string {
	switch t.Kind {
	case core.Accused, core.Cleared, core.BadLink:
		return r.wordsOfLink(e, t, who)
	case core.Died:
		return r.death(e, t, who)
	case core.Unreached:
		return who + " is out of reach; no quorum is left here to call it dead"
	case core.Returned:
		if e.Incarnation == 1 {
			return who + " is in the ring"
		}
		return fmt.Sprintf("%s is back, as incarnation %d", who, e.Incarnation)
	case core.Parted:
		return who + " said goodbye and left"
	case core.GoodLink:
		return fmt.Sprintf("the link from %s to %s is good again", r.people(e.By), who)
	case core.DetourOn:
		return fmt.Sprintf("what goes to %s takes a detour by way of %s", who, r.people(e.By))
	case core.DetourOff:
		return "what goes to " + who + " goes straight again"
	case core.Dropped:
		by := who + " has"
		if mine {
			by = "I have"
		}
		return fmt.Sprintf("%s dropped a new particle: epoch %s, from lap %d", by, e.Epoch, e.Lap)
	case core.Resent:
		return strings.TrimSuffix(fmt.Sprintf("the particle of lap %d was sent again, to %s: %s",
			e.Lap, who, t.Text), ": ")
	case core.Moved:
		if t.Passengers > 0 {
			return fmt.Sprintf("I have moved to another order of passengers, of which I missed %d", t.Passengers)
		}
		return "I have moved to another order of passengers"
	case core.Damped:
		whose := "the return of " + who
		if mine {
			whose = "my return"
		}
		return fmt.Sprintf("%s has to wait for %v: too many deaths in a short time",
			whose, t.Wait.Round(time.Second))
	}
	return strings.TrimSpace(string(t.Kind) + " " + who + " " + t.Text)
}

// wordsOfLink tells what one instance says of its link to another.
func (r *Ring) wordsOfLink(e Event, t node.Report, who string) string {
	by, reaches, cannot, says := r.people(e.By), "reaches", "cannot reach", "says"
	if by == "me" {
		by, reaches, says = "I", "reach", "say"
	}
	switch {
	case t.Kind == core.Cleared:
		return fmt.Sprintf("%s %s %s again", by, reaches, who)
	case t.Kind == core.BadLink:
		return fmt.Sprintf("%s %s %s, though both live: the link is bad, nobody is dropped",
			by, cannot, who)
	case e.Proof:
		return fmt.Sprintf("%s %s that %s is gone: the connection broke and a re-dial was refused",
			by, says, who)
	}
	return fmt.Sprintf("%s %s that %s is silent, also over a new connection", by, says, who)
}

func (r *Ring) death(e Event, t node.Report, who string) string {
	why := "it is silent, also over a new connection"
	switch {
	case t.Text != "":
		why = t.Text
	case e.Proof:
		why = "its connection broke and a re-dial was refused"
	}
	if len(e.By) == 0 {
		return fmt.Sprintf("%s is dead: the others' quorum said so", who)
	}
	if len(t.By) == 1 && t.By[0] == t.Subject {
		return fmt.Sprintf("%s is dead: %s", who, why)
	}
	return fmt.Sprintf("%s is dead: %s (said by %s)", who, why, r.people(e.By))
}

// people lists names, some of many, and says "me" for this instance.
func (r *Ring) people(names []Name) string {
	const most = 6
	var out []string
	for i, n := range names {
		if i == most {
			out = append(out, fmt.Sprintf("%d more", len(names)-most))
			break
		}
		if n == r.cfg.Name {
			n = "me"
		}
		out = append(out, string(n))
	}
	return strings.Join(out, ", ")
}

func (r *Ring) address(i int) string {
	full := r.rosterNow()
	if i < 0 || i >= full.Len() {
		return "?"
	}
	return full.Addr(i)
}

// String is the epoch as people say it.
func (e Epoch) String() string {
	if e.Counter > 0 {
		return fmt.Sprintf("%d, detached %d by %s", e.Number, e.Counter, e.Dropper)
	}
	return strconv.FormatUint(e.Number, 10)
}

// log writes one report, and opens Joined's door. It has a goroutine of its
// own: a log that blocks holds up nobody.
func (r *Ring) log(seq uint64, t node.Report) {
	if t.Kind == core.Joined && !t.Said {
		select {
		case <-r.joined:
		default:
			close(r.joined)
		}
	}
	level := r.levelOf(t.Report)
	if !r.cfg.Logger.Enabled(context.Background(), level) {
		return
	}
	e := r.event(seq, t)
	attrs := []slog.Attr{
		slog.String("ring", r.cfg.Ring), slog.String("node", string(r.cfg.Name)),
		slog.String("kind", e.Kind),
	}
	if e.Subject != "" && e.Subject != r.cfg.Name {
		attrs = append(attrs, slog.String("peer", string(e.Subject)))
	}
	// The message is the event in plain words: the log is the story.
	r.cfg.Logger.LogAttrs(context.Background(), level, e.Text, attrs...)
}

// levelOf says what is worth telling a colleague: of what all see alike, only
// here and not everywhere.
func (r *Ring) levelOf(t core.Report) slog.Level {
	switch t.Kind {
	case core.Refusing, core.Claimed, core.Ending, core.BadLink, core.DetourOn, core.CutOff, core.Damped, core.Starved,
		core.Unanchored, core.HistoryChanged, core.HistoryConflict, core.Forging, core.Unproven:
		return slog.LevelWarn
	case core.LinkUp, core.LinkLost, core.Suspected, core.Accused, core.Cleared, core.Resent:
		return slog.LevelDebug
	case core.ViewNumbered:
		if t.Leader != r.self {
			return slog.LevelDebug
		}
	}
	return slog.LevelInfo
}
