package graph

import (
	"math"
	"slices"
)

// Measures are the figures of a graph. Those that a graph has only as a whole are 0
// when it is in parts: Diameter, MeanHops, MixingHops.
type Measures struct {
	Nodes  int `json:"nodes"`
	Degree int `json:"degree"` // that the roster gives each
	Links  int `json:"links"`
	Fewest int `json:"fewest_links"` // that an instance has
	Most   int `json:"most_links"`

	Parts   int `json:"parts"`   // that have no link to each other
	Largest int `json:"largest"` // instances of the largest part

	// Lambda2 is the second largest eigenvalue of the normalised adjacency matrix,
	// times Degree: in a whole graph the second eigenvalue of the adjacency matrix.
	// No graph of that degree can stay far below Ramanujan, 2√(d-1), as it grows
	// (Alon and Boppana), and random ones come to it (Friedman).
	Lambda2   float64 `json:"lambda2"`
	LambdaMin float64 `json:"lambda_min"` // the least, on the same scale
	Ramanujan float64 `json:"ramanujan"`
	Ratio     float64 `json:"ratio"` // Lambda2 to Ramanujan; 1 is the best for large ones
	Gap       float64 `json:"gap"`   // 1 - Lambda2/Degree

	Diameter      int      `json:"diameter"`       // hops between the two farthest
	MooreDiameter int      `json:"moore_diameter"` // the least that any such graph can have
	MeanHops      float64  `json:"mean_hops"`
	MooreMeanHops float64  `json:"moore_mean_hops"`
	Hops          []uint64 `json:"hops"` // ordered pairs that are so many hops apart, from 0

	// Connectivity is how few instances must fail so that the rest falls apart.
	Connectivity int `json:"connectivity"`
	// To cut any set of at most half of the instances off takes at least
	// ExpansionLow links for each of the set (Cheeger); a set was found that takes
	// ExpansionFound. To halve the fleet takes at least HalvesAt links in all.
	ExpansionLow   float64 `json:"expansion_low"`
	ExpansionFound float64 `json:"expansion_found"`
	HalvesAt       int     `json:"halves_at"`
	// MixingHops is after how many steps a random walk may be anywhere: ln n divided
	// by the gap to the largest other eigenvalue in size. A complete pair or an even
	// ring never mixes: 0.
	MixingHops int `json:"mixing_hops"`
}

// Measure takes all figures: for 1,000 instances in a tenth of a second, for 16,384 in
// some seconds.
func (g *Graph) Measure() Measures {
	n, d := g.Len(), min(g.degree, max(g.Len()-1, 0))
	m := Measures{Nodes: n, Degree: d}
	m.Fewest, m.Most = g.degrees()
	for _, near := range g.near {
		m.Links += len(near)
	}
	m.Links /= 2
	m.Parts, m.Largest = g.components()
	m.MooreDiameter, m.MooreMeanHops = moore(n, d)
	var far uint64
	m.Hops, far = g.hops()
	if far == 0 {
		m.Diameter = len(m.Hops) - 1
		sum := 0.0
		for h, pairs := range m.Hops {
			sum += float64(h) * float64(pairs)
		}
		m.MeanHops = sum / float64(max(n*(n-1), 1))
		m.Connectivity = g.connectivity()
	}
	if n < 2 {
		return m
	}
	s := g.spectrum()
	scale := float64(d)
	m.Lambda2, m.LambdaMin, m.Gap = s.second*scale, s.least*scale, 1-s.second
	m.Ramanujan = 2 * math.Sqrt(scale-1)
	if m.Ramanujan > 0 {
		m.Ratio = m.Lambda2 / m.Ramanujan
	}
	if far > 0 {
		return m
	}
	m.ExpansionLow = m.Gap * float64(m.Fewest) / 2
	m.ExpansionFound = g.sweep(s.vector)
	m.HalvesAt = int(math.Ceil(m.Gap*float64(m.Fewest)*float64(n/2)*float64(n-n/2)/float64(n) - 1e-9))
	if rest := 1 - max(s.second, -s.least); rest > 1e-9 {
		m.MixingHops = int(math.Ceil(math.Log(float64(n)) / rest))
	}
	return m
}

// sweep is the fewest links to the rest, for each instance of a set, of the sets that
// hold those from one end of the second eigenvector on: a small cut is one of them
// (Fiedler; Cheeger's inequality).
func (g *Graph) sweep(vector []float64) float64 {
	n := len(g.near)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case vector[a] < vector[b]:
			return -1
		case vector[a] > vector[b]:
			return 1
		}
		return 0
	})
	in := make([]bool, n)
	cut, least := 0, math.Inf(1)
	for size, i := range order[:n-1] {
		in[i] = true
		for _, j := range g.near[i] {
			if in[j] {
				cut--
			} else {
				cut++
			}
		}
		least = min(least, float64(cut)/float64(min(size+1, n-size-1)))
	}
	return least
}
