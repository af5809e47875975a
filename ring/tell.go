package ring

import (
	"fmt"
	"strings"

	"ringofservers.dev/ring/internal/core"
)

// What Tell takes at most, in bytes.
const (
	TellKindMax = 40
	TellTextMax = 1024
)

// Tell adds a line to the story of this instance, as an [Event] that is kept, logged and
// given to OnEvent like those of the ring. Kind is small letters and underscores, and
// should be none that the ring uses itself; subject is whom it is about, empty for
// nobody in particular; text is what a person reads, and is cut at TellTextMax. It does
// not block. It fails with ErrRefused where kind or subject cannot be.
//
// The story keeps the last 4096 events, all kinds together: tell what a person wants to
// know, not what happens all the time.
func (r *Ring) Tell(kind string, subject Name, text string) error {
	odd := func(c rune) bool { return c != '_' && (c < 'a' || c > 'z') }
	if kind == "" || len(kind) > TellKindMax || strings.ContainsFunc(kind, odd) {
		return fmt.Errorf("%w: %q is no kind of event: it is 1 to %d small letters and underscores",
			ErrRefused, kind, TellKindMax)
	}
	index := -1
	if subject != "" {
		if index = r.rosterNow().Index(string(subject)); index < 0 {
			return fmt.Errorf("%w: %q is not in the roster", ErrRefused, subject)
		}
	}
	if len(text) > TellTextMax {
		text = text[:TellTextMax]
	}
	text = strings.ToValidUTF8(text, "\uFFFD") // also where it was cut within a rune
	r.node.Say(core.ReportKind(kind), index, text)
	return nil
}
