package bus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"

	"ringofservers.dev/ring/internal/roster"
)

// seed is what has come in of a roster's first version, which may be too long for one
// entry.
type seed struct {
	key   string
	total uint64
	got   []byte
}

// Roster is the roster that was agreed on; nil before the first change of one: then all go
// by what they were started with. It must not be changed.
func (s *State) Roster() *roster.Roster { return s.roster }

// SetRoster puts r in the place of the roster that was agreed on, nil for none: a history
// begins, or is given another past, and who is in the fleet does not go back with it.
func (s *State) SetRoster(r *roster.Roster) { s.roster, s.seed = r, nil }

// RosterKey names a roster as the Key of a Seed or a Reroll does.
func RosterKey(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

// plant takes a piece of the first version that this history knows: a later one than a seed
// where the roster was changed in a history that is lost. Of two who bring one, whoever begins later
// begins anew, and the other finds that out by its next piece.
func (s *State) plant(c *Command, r *Result) {
	switch {
	case s.roster != nil:
		r.Rev = s.roster.Version // there is one: whoever wants to change it goes by that
		return
	case c.Limit == 0 || c.Limit > SeedMax || len(c.Value) == 0:
		r.Code = Unfit
		return
	case c.Lap == 0:
		s.seed = &seed{key: c.Key, total: c.Limit}
	case s.seed == nil || s.seed.key != c.Key || s.seed.total != c.Limit ||
		uint64(len(s.seed.got)) != c.Lap:
		r.Code = Conflict
		return
	}
	s.seed.got = append(s.seed.got, c.Value...)
	if uint64(len(s.seed.got)) < c.Limit {
		return
	}
	got := s.seed.got
	s.seed = nil
	first, err := roster.Decode(got)
	if err != nil || RosterKey(sha256.Sum256(got)) != c.Key {
		r.Code = Unfit
		return
	}
	s.roster, r.Rev, r.Rerolled = first, first.Version, true
}

// reroll makes the next version of the roster, if it is still the one that the change was
// planned on.
func (s *State) reroll(c *Command, r *Result) {
	if s.roster == nil {
		r.Code = Conflict
		return
	}
	r.Rev = s.roster.Version
	if c.Rev != s.roster.Version || c.Key != RosterKey(s.roster.Chain()) {
		r.Code = Conflict
		return
	}
	changes, err := roster.DecodeChanges(c.Value)
	if err != nil {
		r.Code = Unfit
		return
	}
	next, err := s.roster.With(changes)
	if err != nil {
		r.Code = Unfit
		return
	}
	for i := range next.Names {
		if next.Retired(i) {
			s.members.drop(uint32(i))
		}
	}
	s.roster, s.viewRev = next, s.applied
	r.Rev, r.Rerolled = next.Version, true
}

func (s *State) rosterSize() (n int) {
	if s.seed != nil {
		n = len(s.seed.got)
	}
	if s.roster != nil {
		n += 64 * s.roster.Len()
	}
	return n
}

func (s *State) encodeRoster(b []byte) []byte {
	if s.seed == nil {
		b = append(b, 0)
	} else {
		b = appendBytes(append(b, 1), s.seed.key)
		b = binary.AppendUvarint(b, s.seed.total)
		b = appendBytes(b, s.seed.got)
	}
	if s.roster == nil {
		return append(b, 0)
	}
	return appendBytes(append(b, 1), s.roster.Encode())
}

func (s *State) restoreRoster(r *reader) error {
	if r.byte() == 1 {
		s.seed = &seed{key: string(r.bytes(KeyMax)), total: r.uint()}
		s.seed.got = append([]byte(nil), r.bytes(SeedMax)...)
		if s.seed.total > SeedMax || uint64(len(s.seed.got)) >= s.seed.total {
			return ErrMalformed
		}
	}
	if r.byte() != 1 || r.fail {
		return nil
	}
	var err error
	switch s.roster, err = roster.Decode(r.bytes(SeedMax)); {
	case errors.Is(err, roster.ErrNewer):
		return ErrNewer
	case err != nil:
		return ErrMalformed
	}
	return nil
}
