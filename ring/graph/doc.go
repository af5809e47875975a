// Package graph measures and draws the expander of a roster: how few hops reach
// everybody, how many may fail, how close to the best it is, and what becomes of all
// that when some are dead or more come.
//
//	g, err := graph.Of("prod", roster)
//	m := g.Measure()
//	fmt.Println(m.Diameter, m.Connectivity, m.Ratio)
//
//	cut, healed := g.Without(func(i int) bool { return dead[i] })
//	cut.Measure()    // the links that are left, before anybody has noticed
//	healed.Measure() // every ring closed over the dead, as the fleet does it
//
// Its numbers are for people: the fleet builds its links from integers alone and
// never asks this package. A Graph is never written after it was made, so it may be
// used by several goroutines at once.
package graph
