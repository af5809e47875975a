package bus

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"ringofservers.dev/ring/internal/roster"
)

func applied(s *State, c Command) Result {
	data := c.Encode()
	read, err := Decode(data)
	if err != nil {
		panic(err)
	}
	return s.Apply(s.Applied()+1, 1, data, &read)
}

// The first version comes in pieces, of two who bring one the later one begins anew; a change
// counts only on the version it was planned on; and a snapshot has all of it.
func TestRosterIsAgreedOn(t *testing.T) {
	first, err := roster.New("prod", []string{"a", "b", "c"}, []string{"h:1", "h:2", "h:3"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := first.Encode()
	piece := func(from, to int) Command {
		return Command{
			Kind: Seed, Key: RosterKey(sha256.Sum256(text)), Lap: uint64(from), Limit: uint64(len(text)),
			Value: text[from:to],
		}
	}
	s := New()
	change := Command{
		Kind: Reroll, Rev: 1, Key: RosterKey(first.Chain()),
		Value: roster.AppendChanges(nil, []roster.Change{{Kind: roster.Add, Name: "d", Addr: "h:4"}}),
	}
	if r := applied(s, change); r.Code != Conflict {
		t.Errorf("a change of no roster: code %d, want Conflict", r.Code)
	}
	applied(s, piece(0, 10))
	if r := applied(s, piece(20, len(text))); r.Code != Conflict {
		t.Errorf("a piece that does not follow: code %d, want Conflict", r.Code)
	}
	if b := s.Encode(); b[0] != format {
		t.Errorf("a state with a piece is of format %d", b[0])
	} else if again, err := Restore(b); err != nil || !bytes.Equal(again.Encode(), b) {
		t.Errorf("a state with a piece does not come back: %v", err)
	}
	if r := applied(s, piece(10, len(text))); r.Code != Done || !r.Rerolled || s.Roster().Chain() != first.Chain() {
		t.Errorf("the last piece: %+v, roster %+v", r, s.Roster())
	}
	applied(s, Command{Kind: View, Changes: []Change{{Index: 1, State: 1, Incarnation: 2}}})
	if r := applied(s, change); r.Code != Done || r.Rev != 2 || !r.Rerolled {
		t.Errorf("the change: %+v", r)
	}
	if r := applied(s, change); r.Code != Conflict || r.Rev != 2 {
		t.Errorf("the same on the version after: %+v, want Conflict", r)
	}
	retire := Command{
		Kind: Reroll, Rev: 2, Key: RosterKey(s.Roster().Chain()),
		Value: roster.AppendChanges(nil, []roster.Change{{Kind: roster.Retire, Name: "b"}}),
	}
	if r := applied(s, retire); r.Code != Done || s.Member(1) != (Member{}) || s.ViewRevision() != s.Applied() {
		t.Errorf("retire: %+v, member %+v, view revision %d of %d", r, s.Member(1), s.ViewRevision(), s.Applied())
	}
	retire.Rev, retire.Key = 3, RosterKey(s.Roster().Chain())
	if r := applied(s, retire); r.Code != Unfit {
		t.Errorf("who is retired once more: %+v, want Unfit", r)
	}
	b := s.Encode()
	again, err := Restore(b)
	if err != nil || !bytes.Equal(again.Encode(), b) || again.Roster().Chain() != s.Roster().Chain() {
		t.Errorf("the state does not come back: %v", err)
	}
	if b := New().Encode(); b[0] != firstFormat {
		t.Errorf("a state without a roster is of format %d: older builds cannot read it", b[0])
	}
}
