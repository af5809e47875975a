package graph

import "math/bits"

// hops counts the ordered pairs of instances by their distance: hops()[h] are those h
// hops apart, from 1 on. far is how many pairs have no way at all. Sixty-four
// instances search at once, one in each bit.
func (g *Graph) hops() (byDistance []uint64, far uint64) {
	n := len(g.near)
	byDistance = []uint64{0}
	seen, edge, next := make([]uint64, n), make([]uint64, n), make([]uint64, n)
	for first := 0; first < n; first += 64 {
		clear(seen)
		clear(edge)
		batch := min(64, n-first)
		for b := range batch {
			seen[first+b], edge[first+b] = 1<<b, 1<<b
		}
		reached := uint64(0)
		for h := 1; ; h++ {
			clear(next)
			for i, e := range edge {
				if e == 0 {
					continue
				}
				for _, j := range g.near[i] {
					next[j] |= e
				}
			}
			count := uint64(0)
			for i := range next {
				next[i] &^= seen[i]
				seen[i] |= next[i]
				count += uint64(bits.OnesCount64(next[i]))
			}
			if count == 0 {
				break
			}
			if h == len(byDistance) {
				byDistance = append(byDistance, 0)
			}
			byDistance[h] += count
			reached += count
			edge, next = next, edge
		}
		far += uint64(batch)*uint64(n-1) - reached
	}
	return byDistance, far
}

// moore is the least that the diameter and the mean distance of a graph of n
// instances with d links each can be: nobody reaches more than d·(d-1)^(h-1) new ones
// with the h-th hop (the bound of Moore; Hoffman and Singleton, 1960).
func moore(n, d int) (diameter int, mean float64) {
	if n < 2 || d < 1 {
		return 0, 0
	}
	left, layer, sum := n-1, d, 0
	for left > 0 {
		diameter++
		take := min(left, layer)
		left -= take
		sum += take * diameter
		if d > 2 {
			layer = min(layer*(d-1), n)
		}
		if d == 1 && left > 0 {
			return 0, 0 // no such graph is connected
		}
	}
	return diameter, float64(sum) / float64(n-1)
}
