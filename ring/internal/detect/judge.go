package detect

import (
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
type Marks struct{ Low, High int }

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
	return Marks{3, m - m/4}
}

// Finding is what the accusations against one subject come to.
type Finding struct {
	Subject   int
	By        []int // unaccused observers that accuse it, ascending
	Observers int   // unaccused observers in all
	Marks     Marks
}

// Over reports whether the subject is dead by this finding.
func (f Finding) Over() bool { return len(f.By) >= f.Marks.High }

// Between reports whether the subject keeps others from being cut.
func (f Finding) Between() bool { return len(f.By) >= f.Marks.Low && !f.Over() }

// Verdict is what all accusations together come to.
type Verdict struct {
	Findings []Finding // one for each accused subject, ascending
	accused  map[int]bool
}

// Accused reports whether anybody still believed accuses i.
func (v *Verdict) Accused(i int) bool { return v != nil && v.accused[i] }

// Judge weighs edges between living instances. alive tells who lives in the
// view. Edges from or to others must not be given.
//
// Who is accused, and thus neither believed nor waited for, is found by
// peeling: those with the most accusers first, all of a tie together, and what
// they said no longer counts. So a deaf instance that accuses its six
// neighbours is peeled before any of them, while two ends of one bad link are
// peeled together and leave the verdict to the rest.
func Judge(o *overlay.Overlay, alive func(int) bool, edges []Edge) *Verdict {
	v := &Verdict{accused: map[int]bool{}}
	if len(edges) == 0 {
		return v
	}
	count := map[int]int{}
	for {
		clear(count)
		most := 0
		for _, e := range edges {
			if !v.accused[e.Observer] && !v.accused[e.Subject] {
				count[e.Subject]++
				most = max(most, count[e.Subject])
			}
		}
		if most == 0 {
			break
		}
		for s, n := range count {
			if n == most {
				v.accused[s] = true
			}
		}
	}
	bySubject := map[int][]int{}
	for _, e := range edges {
		if !v.accused[e.Observer] {
			bySubject[e.Subject] = append(bySubject[e.Subject], e.Observer)
		}
	}
	subjects := make([]int, 0, len(v.accused))
	for s := range v.accused {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	var seen []int
	for _, s := range subjects {
		seen = Observers(o, seen[:0], s, func(i int) bool { return alive(i) && !v.accused[i] })
		f := Finding{Subject: s, Observers: len(seen), Marks: MarksFor(len(seen))}
		for _, by := range bySubject[s] {
			if slices.Contains(seen, by) && !slices.Contains(f.By, by) {
				f.By = append(f.By, by)
			}
		}
		slices.Sort(f.By)
		v.Findings = append(v.Findings, f)
	}
	return v
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
