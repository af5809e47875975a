package ring

import (
	"errors"
	"strings"
	"testing"
)

// What a program tells stands in the story as it is, also of a kind of the ring's own.
func TestTell(t *testing.T) {
	r := lone(t)
	if err := r.Tell("app_started", r.View().Self, "it runs"); err != nil {
		t.Fatal(err)
	}
	if err := r.Tell("joined", "", strings.Repeat("ä", TellTextMax)); err != nil {
		t.Fatal(err)
	}
	var told []Event
	for _, e := range r.Events(0) {
		if e.Kind == "app_started" || strings.HasPrefix(e.Text, "ä") {
			told = append(told, e)
		}
	}
	if len(told) != 2 || told[0].Text != "it runs" || told[0].Subject != r.View().Self ||
		told[1].Subject != "" || len(told[1].Text) > TellTextMax+2 {
		t.Errorf("told %+v", told)
	}
	for _, kind := range []string{"", "Big", "a b", "x\n", strings.Repeat("a", TellKindMax+1)} {
		if err := r.Tell(kind, "", "text"); !errors.Is(err, ErrRefused) {
			t.Errorf("kind %q: %v, want ErrRefused", kind, err)
		}
	}
	if err := r.Tell("kind", "nobody", "text"); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown subject: %v, want ErrRefused", err)
	}
}
