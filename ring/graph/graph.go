package graph

import (
	"slices"

	"ringofservers.dev/ring"
)

// Graph is the links of some instances of a roster.
type Graph struct {
	names  []string // of the whole roster
	index  []int    // of the instances that are in the graph, in the roster
	degree int      // that the roster gives each of them
	mesh   bool     // of all: everybody has a link to everybody
	rings  [][]int  // each a closed walk over those in the graph, by place in index
	near   [][]int32
}

// Of is the graph of a whole roster on the ring of that name. An error says what is
// wrong with the roster.
func Of(name string, r ring.Roster) (*Graph, error) {
	rings, err := r.Rings(name)
	if err != nil {
		return nil, err
	}
	g := &Graph{index: r.Members(), degree: r.Links()} // who is retired is in none of the rings
	g.mesh = g.degree == len(g.index)-1
	place := make([]int, len(r.Names))
	for at, i := range g.index {
		place[i] = at
	}
	for _, n := range r.Names {
		g.names = append(g.names, string(n))
	}
	for _, order := range rings {
		walk := make([]int, len(order))
		for at, i := range order {
			walk[at] = place[i]
		}
		g.rings = append(g.rings, walk)
	}
	g.link()
	return g, nil
}

// link makes the links of the rings.
func (g *Graph) link() {
	n := len(g.index)
	g.near = make([][]int32, n)
	if g.mesh {
		for i := range n {
			for j := range n {
				if j != i {
					g.near[i] = append(g.near[i], int32(j))
				}
			}
		}
		return
	}
	for _, r := range g.rings {
		for at, i := range r {
			j := r[(at+1)%len(r)]
			if i != j {
				g.near[i], g.near[j] = append(g.near[i], int32(j)), append(g.near[j], int32(i))
			}
		}
	}
	for i := range g.near {
		slices.Sort(g.near[i])
		g.near[i] = slices.Compact(g.near[i])
	}
}

// Len is how many instances are in the graph.
func (g *Graph) Len() int { return len(g.index) }

// Name is that of instance i of the graph, from 0 to Len()-1.
func (g *Graph) Name(i int) string { return g.names[g.index[i]] }

// Links are all links, each once, the smaller index first, in order. Indexes are
// those of the roster.
func (g *Graph) Links() [][2]int {
	var links [][2]int
	for i, near := range g.near {
		for _, j := range near {
			if int(j) > i {
				links = append(links, [2]int{g.index[i], g.index[j]})
			}
		}
	}
	return links
}

// Without takes the dead out, by their index in the roster. cut has the links that
// the living had with each other; in healed every ring is closed over the dead.
func (g *Graph) Without(dead func(i int) bool) (cut, healed *Graph) {
	place := make([]int32, len(g.index)) // in the new graphs, -1 for the dead
	var index []int
	for i, of := range g.index {
		place[i] = -1
		if !dead(of) {
			place[i] = int32(len(index))
			index = append(index, of)
		}
	}
	cut = &Graph{names: g.names, index: index, degree: g.degree, mesh: g.mesh}
	cut.near = make([][]int32, len(index))
	for i, near := range g.near {
		for _, j := range near {
			if place[i] >= 0 && place[j] >= 0 {
				cut.near[place[i]] = append(cut.near[place[i]], place[j])
			}
		}
	}
	healed = &Graph{names: g.names, index: index, degree: g.degree, mesh: g.mesh}
	for _, r := range g.rings {
		living := make([]int, 0, len(index))
		for _, i := range r {
			if place[i] >= 0 {
				living = append(living, int(place[i]))
			}
		}
		healed.rings = append(healed.rings, living)
	}
	healed.link()
	return cut, healed
}

// Changes are the links that only a or only b has, of two graphs in which an
// instance has the same index.
func Changes(a, b *Graph) (gone, come [][2]int) {
	return missing(a, b), missing(b, a)
}

// missing are the links of a that b lacks.
func missing(a, b *Graph) [][2]int {
	has := make(map[[2]int]bool)
	for _, l := range b.Links() {
		has[l] = true
	}
	var links [][2]int
	for _, l := range a.Links() {
		if !has[l] {
			links = append(links, l)
		}
	}
	return links
}
