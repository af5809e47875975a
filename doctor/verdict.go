package doctor

import (
	"cmp"
	"slices"
	"strings"

	"ringofservers.dev/ring"
)

// Verdict is how a check has come out.
type Verdict string

// The verdicts, from the best to the worst. Warn: it works, and should be mended; Fail: it
// does not work, or will stop working.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// rank is higher the worse it is. What another version says and this one does not know counts
// as a warning.
func (v Verdict) rank() int {
	switch v {
	case OK:
		return 0
	case Fail:
		return 2
	}
	return 1
}

// worse is the worse of two.
func worse(a, b Verdict) Verdict {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// The checks, in the order in which a report has them.
const (
	Answers  = "answers"  // who says nothing, and what this instance thinks of them
	Quorum   = "quorum"   // most voters alive; who is cut off; damped
	Ticks    = "ticks"    // the particle passes, and its laps count
	Roster   = "roster"   // all have the same; who was refused, and why
	Versions = "versions" // of the program
	Address  = "address"  // the roster's address of an instance leads to it
	Paths    = "paths"    // each reaches each
	Links    = "links"    // those that the ring wants are there, and carry
	Security = "security" // certificates, and who goes without
	Clocks   = "clocks"   // wall clocks, beside each other and by themselves
	Disk     = "disk"     // the data directory
	Files    = "files"    // how many may be open
	CPU      = "cpu"      // whether the process gets to run in time
	Memory   = "memory"
)

var checks = []string{
	Answers, Quorum, Ticks, Roster, Versions, Address, Paths, Links, Security, Clocks, Disk, Files,
	CPU, Memory,
}

// order is where a check stands in a report; those of another version stand behind.
func order(check string) int {
	if i := slices.Index(checks, check); i >= 0 {
		return i
	}
	return len(checks)
}

// Problem is what is wrong in one way with one or more instances.
type Problem struct {
	Check   string  `json:"check"`
	Case    string  `json:"case"` // a short name of it, for programs
	Verdict Verdict `json:"verdict"`
	Do      string  `json:"do"`
	Count   int     `json:"count"` // instances that have it
	Who     []Who   `json:"who"`   // the first of them by name
}

// Who is one of them.
type Who struct {
	Name ring.Name `json:"name"`
	What string    `json:"what"` // what was found
}

// compare orders problems by check and gravity, and tells apart those that are not one.
func (p Problem) compare(q Problem) int {
	return cmp.Or(
		cmp.Compare(order(p.Check), order(q.Check)), strings.Compare(p.Check, q.Check),
		cmp.Compare(q.Verdict.rank(), p.Verdict.rank()), strings.Compare(string(p.Verdict), string(q.Verdict)),
		strings.Compare(p.Case, q.Case),
	)
}

// Path is what several instances find on their way to one.
type Path struct {
	To    ring.Name   `json:"to"`
	Case  string      `json:"case"`  // refused, silent, mute, unresolved, stranger, untrusted, slow, broken
	What  string      `json:"what"`  // what the first of them found
	Count int         `json:"count"` // from how many
	From  []ring.Name `json:"from"`  // the first of them by name
	// OneWay are those of From that To reaches.
	OneWay []ring.Name `json:"one_way,omitempty"`
}

func (p Path) compare(q Path) int {
	return cmp.Or(strings.Compare(string(p.To), string(q.To)), strings.Compare(p.Case, q.Case))
}

// Kind is how many say the same of themselves.
type Kind struct {
	Name  string      `json:"name"`
	Count int         `json:"count"`
	Who   []ring.Name `json:"who"` // the first of them by name
}
