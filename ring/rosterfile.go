package ring

import (
	"encoding/hex"
	"fmt"
	"slices"

	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/wire"
)

// RosterMax is how many instances a roster can have.
const RosterMax = wire.RosterMax

// Roster is the enumeration of a ring: who there is, in which order. All
// instances need the same names in the same order with the same degree;
// addresses may look different from different places.
type Roster struct {
	Names     []Name   // an instance's index is its place here, for ever
	Addresses []string // host:port of each, resolved anew at every dial
	Degree    int      // links of each instance, even; 0: the default of the size
	Retired   []int    // indexes, ascending, of those who are out for good; their names may come again

	// Indexes, ascending, of those who were promoted and who were demoted while running. A
	// ring is not started with any: whoever is in neither votes as it comes.
	Promoted, Demoted []int
}

// Members returns the indexes of those who are not retired, ascending.
func (r Roster) Members() []int {
	members := make([]int, 0, len(r.Names))
	for i := range r.Names {
		if _, retired := slices.BinarySearch(r.Retired, i); !retired {
			members = append(members, i)
		}
	}
	return members
}

// ExpandNames returns the names a pattern stands for, the leftmost brace
// varying fastest: dc{1..2}/prod/{0..1} is dc1/prod/0, dc2/prod/0, dc1/prod/1,
// dc2/prod/1. A brace holds numbers {1..3}, words {a,b}, or both {1..3,7}; a
// first number with leading zeros gives its width to all. A pattern without
// braces is one name.
func ExpandNames(pattern string) ([]Name, error) {
	plain, err := roster.Expand(pattern)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return named(plain), nil
}

// ExpandAddresses returns the address of each of names, the first of which has
// the index first. In a template {name} stands for the name, {1}, {2} … for an
// element of its path, {index} for the index, and {3000+index} for a sum. A
// pattern with ranges or lists, 10.0.0.{1..3}:3000, is expanded as names are
// and has to give one address a name.
func ExpandAddresses(pattern string, names []Name, first int) ([]string, error) {
	addresses, err := roster.Addresses(pattern, plain(names), first)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return addresses, nil
}

// Hash returns 64 hexadecimal digits that identify the roster on the ring of
// that name; instances link only if theirs agree. It is made of the ring's
// name, the links of each instance, the names in order and who is retired, not of the
// addresses. It is empty for a roster that Validate refuses.
func (r Roster) Hash(ring string) string {
	full, err := r.build(ring)
	if err != nil {
		return ""
	}
	sum := full.Hash()
	return hex.EncodeToString(sum[:])
}

// Links returns how many links each instance has: Degree, or the default of the
// size, or in a small ring one to each other instance.
func (r Roster) Links() int { return overlay.Links(len(r.Names)-len(r.Retired), r.Degree) }

// Rings returns the closed walks whose union is the links of the ring of that name:
// each is all indexes of Names that are not retired in the order of one ring, the roster's own first. There
// is but that one where everybody has a link to everybody (Links). An error is as
// Validate's.
func (r Roster) Rings(ring string) ([][]int, error) {
	full, err := r.build(ring)
	if err != nil {
		return nil, fmt.Errorf("ring: roster: %w", err)
	}
	var rings [][]int
	for _, order := range overlay.BuildOf(full.Names, full.Out(), full.Ring, full.Degree).Rings {
		indexes := make([]int, len(order))
		for at, i := range order {
			indexes[at] = int(i)
		}
		rings = append(rings, indexes)
	}
	return rings, nil
}

// Validate returns everything that is wrong with the roster as that of the
// ring of that name, or nil. Addresses may be missing altogether.
func (r Roster) Validate(ring string) error {
	if _, err := r.build(ring); err != nil {
		return fmt.Errorf("ring: roster: %w", err)
	}
	return nil
}

// build makes of r what the cores work with.
func (r Roster) build(ring string) (*roster.Roster, error) {
	return roster.New(ring, plain(r.Names), r.Addresses, r.Degree, r.Retired...)
}

// Roster returns a copy of the roster this instance goes by now: the newest version of what
// it was joined with. OnView tells of changes.
func (r *Ring) Roster() Roster { return rosterOf(r.rosterNow()) }

// rosterOf is the way back from build.
func rosterOf(full *roster.Roster) Roster {
	return Roster{
		Names:     named(full.Names),
		Addresses: append([]string(nil), full.Addrs...),
		Degree:    full.Degree,
		Retired:   those(full, full.Retired),
		Promoted:  those(full, func(i int) bool { return full.Wish(i) == roster.ToVote }),
		Demoted:   those(full, func(i int) bool { return full.Wish(i) == roster.NotToVote }),
	}
}

// those are the indexes at which it holds.
func those(full *roster.Roster, holds func(i int) bool) (indexes []int) {
	for i := range full.Names {
		if holds(i) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// RosterDifference is one index at which two rosters name different
// instances. A name is empty where its roster has already ended.
type RosterDifference struct {
	Index int  `json:"index"`
	A     Name `json:"a"`
	B     Name `json:"b"`
}

// String says it in plain words, with a and b for the two rosters.
func (d RosterDifference) String() string {
	switch {
	case d.A == "":
		return fmt.Sprintf("%d: only b has %s", d.Index, d.B)
	case d.B == "":
		return fmt.Sprintf("%d: only a has %s", d.Index, d.A)
	}
	return fmt.Sprintf("%d: a has %s, b has %s", d.Index, d.A, d.B)
}

// DiffRosters compares two rosters index by index. It is empty where the names
// are the same in the same order; degrees and addresses are not compared.
func DiffRosters(a, b Roster) []RosterDifference {
	var differences []RosterDifference
	for _, d := range roster.Diff(plain(a.Names), plain(b.Names)) {
		differences = append(differences, RosterDifference{d.Index, Name(d.A), Name(d.B)})
	}
	return differences
}

// Older reports whether r is what newer was before instances were appended.
func (r Roster) Older(newer Roster) bool {
	return roster.Older(plain(r.Names), plain(newer.Names))
}

func plain(names []Name) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = string(name)
	}
	return out
}

func named(names []string) []Name {
	out := make([]Name, len(names))
	for i, name := range names {
		out[i] = Name(name)
	}
	return out
}
