package detect

import (
	"cmp"
	"slices"

	"ringofservers.dev/ring/internal/overlay"
)

// Edge says that Observer cannot reach Subject.
type Edge struct {
	Observer, Subject int
	Proof             bool
}

// Marks are the thresholds of one subject: below Low accusers it is a matter of
// links, from High on it is dead, between them nobody is cut yet.
type Marks struct{ Low, High uint16 }

// MarksFor returns the thresholds for m observers that are themselves
// unaccused. Small counts are ruled by hand, larger ones as in Rapid.
func MarksFor(m int) Marks {
	switch {
	case m <= 1:
		return Marks{1, 1}
	case m <= 3:
		return Marks{2, 2}
	case m <= 6:
		return Marks{2, 4}
	}
	return Marks{3, uint16(m - m/4)}
}

// Finding is what the accusations against one subject come to. It is small:
// when many die at once every instance holds one for each of them.
type Finding struct {
	Subject   int32
	from      uint32 // of its accusers in Verdict.by
	Accusers  uint16 // unaccused observers that accuse it, see Verdict.By
	Observers uint16 // unaccused observers in all
	Marks     Marks
}

// Over reports whether the subject is dead by this finding.
func (f Finding) Over() bool { return f.Accusers >= f.Marks.High }

// Between reports whether the subject keeps others from being cut.
func (f Finding) Between() bool { return f.Accusers >= f.Marks.Low && !f.Over() }

// Verdict is what all accusations together come to.
type Verdict struct {
	Findings []Finding // one for each accused subject, ascending
	by       []uint16
	proven   []uint16 // who is accused with a proof by anybody, ascending
}

// Finding is the one on subject i, if there is one.
func (v *Verdict) Finding(i int) (f Finding, ok bool) {
	if v == nil {
		return f, false
	}
	at, ok := slices.BinarySearchFunc(v.Findings, i,
		func(f Finding, i int) int { return cmp.Compare(int(f.Subject), i) })
	if !ok {
		return f, false
	}
	return v.Findings[at], true
}

// Accused reports whether anybody still believed accuses i.
func (v *Verdict) Accused(i int) bool {
	_, ok := v.Finding(i)
	return ok
}

// Proven reports whether anybody has a proof of i's end.
func (v *Verdict) Proven(i int) bool {
	if v == nil {
		return false
	}
	_, ok := slices.BinarySearch(v.proven, uint16(i))
	return ok
}

// By is who accuses the subject of f, ascending.
func (v *Verdict) By(f Finding) []int {
	var out []int
	for _, i := range v.by[f.from : f.from+uint32(f.Accusers)] {
		out = append(out, int(i))
	}
	return out
}

// Judge weighs edges between living instances. alive tells who lives in the
// view. Edges from or to others must not be given.
//
// Who is accused, and thus neither believed nor waited for, is found by
// peeling: those with the most accusers first, all of a tie together, and what
// they said no longer counts. So a deaf instance that accuses its six
// neighbours is peeled before any of them, while two ends of one bad link are
// peeled together and leave the verdict to the rest.
func Judge(o *overlay.Overlay, alive func(int) bool, edges []Edge) *Verdict {
	v := &Verdict{}
	if len(edges) == 0 {
		return v
	}
	accused := peel(o.N, edges)
	believed := make([]Edge, 0, len(edges))
	for _, e := range edges {
		if e.Proof {
			v.proven = append(v.proven, uint16(e.Subject))
		}
		if !accused[e.Observer] && accused[e.Subject] {
			believed = append(believed, e)
		}
	}
	slices.Sort(v.proven)
	v.proven = slices.Clip(slices.Compact(v.proven))
	slices.SortFunc(believed, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Observer, b.Observer))
	})
	v.by = make([]uint16, 0, len(believed))
	var seen []int
	for s, is := range accused {
		if !is {
			continue
		}
		seen = Observers(o, seen[:0], s, func(i int) bool { return alive(i) && !accused[i] })
		f := Finding{
			Subject: int32(s), from: uint32(len(v.by)), Observers: uint16(len(seen)),
			Marks: MarksFor(len(seen)),
		}
		for last := -1; len(believed) > 0 && believed[0].Subject == s; believed = believed[1:] {
			if by := believed[0].Observer; by != last && slices.Contains(seen, by) {
				v.by = append(v.by, uint16(by))
				f.Accusers++
				last = by
			}
		}
		v.Findings = append(v.Findings, f)
	}
	v.Findings = slices.Clip(v.Findings)
	return v
}

// peel returns who of n is accused.
func peel(n int, edges []Edge) []bool {
	accused, count := make([]bool, n), make([]uint16, n)
	for {
		clear(count)
		most := uint16(0)
		for _, e := range edges {
			if !accused[e.Observer] && !accused[e.Subject] {
				count[e.Subject]++
				most = max(most, count[e.Subject])
			}
		}
		if most == 0 {
			return accused
		}
		for _, e := range edges {
			if count[e.Subject] == most {
				accused[e.Subject] = true
			}
		}
	}
}

// Observers appends to dst who watches s: on each ring the nearest on either
// side for whom counts is true.
func Observers(o *overlay.Overlay, dst []int, s int, counts func(int) bool) []int {
	if o.Complete {
		for i := range o.N {
			if i != s && counts(i) {
				dst = append(dst, i)
			}
		}
		return dst
	}
	for k := range o.Rings {
		for _, dir := range [2]int{1, -1} {
			if i, ok := o.Walk(k, s, dir, counts); ok && !slices.Contains(dst, i) {
				dst = append(dst, i)
			}
		}
	}
	return dst
}

// Watched appends to dst whom i watches: on each ring and side everybody who
// lives up to and including the first who is not accused. Whoever finds its
// neighbour accused thus dials the next at once, and on until one answers; past
// a run of k accused the next k+1 are tried together, so that the far end of a
// long run is found in few rounds.
func Watched(o *overlay.Overlay, dst []int, i int, alive func(int) bool, v *Verdict) []int {
	if o.Complete {
		return Observers(o, dst, i, alive)
	}
	for k := range o.Rings {
		for _, dir := range [2]int{1, -1} {
			accused, beyond := 0, 0
			o.Walk(k, i, dir, func(j int) bool {
				if !alive(j) {
					return false
				}
				if !slices.Contains(dst, j) {
					dst = append(dst, j)
				}
				if v.Accused(j) {
					accused++
				} else {
					beyond++
				}
				return beyond > 0 && beyond > accused
			})
		}
	}
	return dst
}
