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
	from      uint32 // of its accusers in Verdict.by
	Subject   uint16
	Accusers  uint16 // unaccused observers that accuse it, see Verdict.By
	Observers uint16 // unaccused observers in all
}

// Marks are those of the subject.
func (f Finding) Marks() Marks { return MarksFor(int(f.Observers)) }

// Over reports whether the subject is dead by this finding.
func (f Finding) Over() bool { return f.Accusers >= f.Marks().High }

// Between reports whether the subject keeps others from being cut.
func (f Finding) Between() bool { return f.Accusers >= f.Marks().Low && !f.Over() }

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
// neighbours is peeled before any of them. Two who accuse each other and are accused
// by nobody else have a bad link, which says nothing of either.
func Judge(o *overlay.Overlay, alive func(int) bool, edges []Edge) *Verdict {
	v := &Verdict{}
	if !besideTwo(o.N, alive) {
		return judge(v, o, alive, edges)
	}
	return judge(v, o, alive, withoutBadLinks(o.N, edges))
}

// besideTwo reports whether more than two live.
func besideTwo(n int, alive func(int) bool) bool {
	live := 0
	for i := 0; i < n && live < 3; i++ {
		if alive(i) {
			live++
		}
	}
	return live > 2
}

// withoutBadLinks leaves out where two accuse each other and nobody else accuses
// either of them: it is their link. Whoever has a bad link is a witness of the
// others all the same.
func withoutBadLinks(n int, edges []Edge) []Edge {
	const nobody, several = -1, -2
	by := make([]int32, n) // who accuses it
	for i := range by {
		by[i] = nobody
	}
	for i := range edges {
		switch e := &edges[i]; by[e.Subject] {
		case nobody:
			by[e.Subject] = int32(e.Observer)
		case int32(e.Observer): // said twice
		default:
			by[e.Subject] = several
		}
	}
	mutual := func(e Edge) bool {
		return int(by[e.Subject]) == e.Observer && int(by[e.Observer]) == e.Subject
	}
	if !slices.ContainsFunc(edges, mutual) {
		return edges
	}
	return slices.DeleteFunc(slices.Clone(edges), mutual)
}

func judge(v *Verdict, o *overlay.Overlay, alive func(int) bool, edges []Edge) *Verdict {
	if len(edges) == 0 {
		return v
	}
	accused := peel(o.N, edges)
	by := bySubject(o.N, edges, func(e *Edge) bool {
		return !accused[e.Observer] && accused[e.Subject]
	})
	v.proven = proven(o.N, edges)
	v.Findings = make([]Finding, 0, count(accused))
	v.by = make([]uint16, 0, len(by.observers))
	var seen []int
	for s, is := range accused {
		if !is {
			continue
		}
		seen = Observers(o, seen[:0], s, func(i int) bool { return alive(i) && !accused[i] })
		f := Finding{
			Subject: uint16(s), from: uint32(len(v.by)), Observers: uint16(len(seen)),
		}
		list := by.of(s)
		slices.Sort(list)
		for _, i := range slices.Compact(list) {
			if slices.Contains(seen, int(i)) {
				v.by = append(v.by, i)
				f.Accusers++
			}
		}
		v.Findings = append(v.Findings, f)
	}
	return v
}

// grouped is who accuses whom, by subject.
type grouped struct {
	ends      []uint32 // of each subject's part
	observers []uint16
}

func (g *grouped) of(s int) []uint16 {
	from := uint32(0)
	if s > 0 {
		from = g.ends[s-1]
	}
	return g.observers[from:g.ends[s]]
}

// bySubject sorts those of edges that count, in time linear in their number and n.
func bySubject(n int, edges []Edge, counts func(*Edge) bool) grouped {
	starts, all := make([]uint32, n+1), uint32(0)
	for i := range edges {
		if counts(&edges[i]) {
			starts[edges[i].Subject+1]++
			all++
		}
	}
	for s := range n {
		starts[s+1] += starts[s]
	}
	g := grouped{ends: starts[:n], observers: make([]uint16, all)}
	for i := range edges {
		if e := &edges[i]; counts(e) {
			g.observers[g.ends[e.Subject]] = uint16(e.Observer)
			g.ends[e.Subject]++ // from a start to an end
		}
	}
	return g
}

// proven lists who is accused with a proof, ascending.
func proven(n int, edges []Edge) []uint16 {
	is := make([]bool, n)
	for i := range edges {
		is[edges[i].Subject] = is[edges[i].Subject] || edges[i].Proof
	}
	out := make([]uint16, 0, count(is))
	for s, is := range is {
		if is {
			out = append(out, uint16(s))
		}
	}
	return out
}

func count(set []bool) int {
	n := 0
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
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
