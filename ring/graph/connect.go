package graph

import "slices"

// connectivity is how few must fail so that the others fall apart, or one is left;
// exact. It counts ways that share no instance (Menger), after Even's algorithm ("An
// algorithm for determining whether the connectivity of a graph is at least k", SIAM
// J. Comput. 1975): fewer than k failures leave one of the first k alive, so these
// must be well joined to each other, and each later one to those before it.
func (g *Graph) connectivity() int {
	n := len(g.near)
	if n < 2 {
		return 0
	}
	k := n - 1
	for _, near := range g.near {
		k = min(k, len(near))
	}
	f := newFlow(g.near)
	for k > 0 {
		got := f.atLeast(k)
		if got == k {
			break
		}
		k = got
	}
	return k
}

// flow finds a largest set of ways that share no instance. Instance i is two nodes,
// its entry 2i and its exit 2i+1, with an arc between that one way can take; each arc
// has its reverse beside it, on which a later way takes an earlier one back (Ford and
// Fulkerson, 1956).
type flow struct {
	first []int32 // node v has arcs of[first[v]:first[v+1]]
	of    []int32 // arcs by node
	to    []int32 // arc a leads there; a^1 is its reverse
	open  []bool  // it may be taken
	ends  []bool  // a way ends at instance i
	taken []int32 // arcs to be put back
	ended []int32 // ends to be put back
	came  []int32 // by which arc the search came to a node
	seen  []uint32
	turn  uint32
	queue []int32
}

func newFlow(near [][]int32) *flow {
	n := len(near)
	f := &flow{
		first: make([]int32, 2*n+1), ends: make([]bool, n),
		came: make([]int32, 2*n), seen: make([]uint32, 2*n),
	}
	at := make([][]int32, 2*n)
	arc := func(from, to int32) {
		a := int32(len(f.to))
		f.to, f.open = append(f.to, to, from), append(f.open, true, false)
		at[from], at[to] = append(at[from], a), append(at[to], a+1)
	}
	for i := range near {
		arc(int32(2*i), int32(2*i+1))
		for _, j := range near[i] {
			arc(int32(2*i+1), 2*j)
		}
	}
	for v := range at {
		f.of = append(f.of, at[v]...)
		f.first[v+1] = int32(len(f.of))
	}
	return f
}

// atLeast is k where the graph is k-connected; else it is the number of ways between
// some two that have fewer.
func (f *flow) atLeast(k int) int {
	for j := 1; j < len(f.ends); j++ {
		if j > k {
			if got := f.ways(j, j, -1, k); got < k {
				return got
			}
			continue
		}
		for i := range j {
			if got := f.ways(j, 0, i, k); got < k {
				return got
			}
		}
	}
	return k
}

// ways counts them from one instance, up to most: to the instances below, one way to
// each, or where goal is not negative to that one.
func (f *flow) ways(from, below, goal, most int) int {
	count := 0
	for count < most && f.augment(int32(from), int32(below), int32(goal)) {
		count++
	}
	for _, a := range f.taken {
		f.open[a], f.open[a^1] = true, false
	}
	for _, i := range f.ended {
		f.ends[i] = false
	}
	f.taken, f.ended = f.taken[:0], f.ended[:0]
	return count
}

// augment finds one way more.
func (f *flow) augment(from, below, goal int32) bool {
	f.turn++
	start := 2*from + 1
	f.seen[start], f.queue = f.turn, append(f.queue[:0], start)
	for at := 0; at < len(f.queue); at++ {
		v := f.queue[at]
		if v/2 != from && (v == 2*goal || v%2 == 1 && v/2 < below && !f.ends[v/2]) {
			if goal < 0 {
				f.ends[v/2] = true
				f.ended = append(f.ended, v/2)
			}
			f.take(v, start)
			return true
		}
		for _, a := range f.of[f.first[v]:f.first[v+1]] {
			if to := f.to[a]; f.open[a] && f.seen[to] != f.turn {
				f.seen[to], f.came[to] = f.turn, a
				f.queue = append(f.queue, to)
			}
		}
	}
	return false
}

// take takes the arcs by which the search came to v.
func (f *flow) take(v, start int32) {
	for v != start {
		a := f.came[v]
		f.open[a], f.open[a^1] = false, true
		if a%2 == 0 {
			f.taken = append(f.taken, a)
		}
		v = f.to[a^1]
	}
}

// components are the parts that have no link to each other: how many, and how many
// instances the largest has.
func (g *Graph) components() (count, largest int) {
	seen := make([]bool, len(g.near))
	var part []int32
	for i := range g.near {
		if seen[i] {
			continue
		}
		count++
		seen[i], part = true, append(part[:0], int32(i))
		for at := 0; at < len(part); at++ {
			for _, j := range g.near[part[at]] {
				if !seen[j] {
					seen[j], part = true, append(part, j)
				}
			}
		}
		largest = max(largest, len(part))
	}
	return count, largest
}

// degrees are the fewest and the most links that an instance has.
func (g *Graph) degrees() (fewest, most int) {
	if len(g.near) == 0 {
		return 0, 0
	}
	counts := make([]int, len(g.near))
	for i := range g.near {
		counts[i] = len(g.near[i])
	}
	return slices.Min(counts), slices.Max(counts)
}
