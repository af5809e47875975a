package overlay

import (
	"fmt"
	"slices"
)

// Overlay is K cyclic orders of the same instances. Never written after Build.
type Overlay struct {
	N        int       // indexes, with those of who is in no ring
	Members  int       // instances in the rings
	Degree   int       // of every instance, when Deficit is 0
	Complete bool      // everybody is everybody's neighbour; only Rings[0] exists
	Rings    [][]int32 // Rings[k][position] = index; Rings[0] is 0, 1, 2 …
	Pos      [][]int32 // Pos[k][index] = position, -1 for who is in no ring
	Seed     uint64    // which try it is
	Zone     []uint16  // of each index, by first appearance; nil where there is but one
	Deficit  int       // link ends by which it falls short of Degree; seen at no size yet
}

// Sizes and degrees. Up to meshMax instances everybody links with everybody,
// and so they do where a degree leaves out less than a third of the others:
// there, disjoint rings are hard to find, and save little. The chance that the living fall
// apart when a tenth is dead is about 0.9·n/10^d; six links keep it below one
// in a thousand to 1,000 instances, eight to 100,000.
const (
	meshMax   = 9
	sixMax    = 1000
	DegreeMin = 4
	DegreeMax = 16
	seeds     = 64
)

// CheckDegree says what is wrong with a degree that somebody asked for, or nil.
// 0 stands for the default of the roster's size.
func CheckDegree(degree int) error {
	if degree == 0 || degree >= DegreeMin && degree <= DegreeMax && degree%2 == 0 {
		return nil
	}
	return fmt.Errorf("degree is %d: use an even number from %d to %d, or 0 for the default",
		degree, DegreeMin, DegreeMax)
}

// Links returns how many neighbours each of n instances has, if degree was
// asked for, 0 for the default.
func Links(n, degree int) int {
	switch {
	case degree != 0:
	case n <= sixMax:
		degree = 6
	default:
		degree = 8
	}
	if n <= max(meshMax, degree+degree/2) {
		return max(n-1, 0)
	}
	return degree
}

// Build computes the overlay of names, which are distinct, on the ring of that
// name. degree passed CheckDegree. Tries are numbered by seeds; the first that
// gives everybody all links is taken, or else the one that lacks the fewest.
func Build(names []string, ring string, degree int) *Overlay {
	if err := CheckDegree(degree); err != nil {
		panic("BUG: overlay: " + err.Error())
	}
	n := len(names)
	d := Links(n, degree)
	base := make([]int32, n)
	for i := range base {
		base[i] = int32(i)
	}
	o := &Overlay{N: n, Members: n, Degree: d, Complete: d >= n-1, Rings: [][]int32{base}}
	if !o.Complete {
		o.Deficit = n * d
		zones := zonesOf(names, d/2)
		for seed := uint64(0); seed < seeds && o.Deficit > 0; seed++ {
			rings, deficit := try(names, zones, ring, d/2, base, seed)
			if deficit < o.Deficit {
				o.Rings, o.Seed, o.Deficit = rings, seed, deficit
			}
		}
	}
	o.Zone = numbered(names)
	o.Pos = make([][]int32, len(o.Rings))
	for k, ring := range o.Rings {
		o.Pos[k] = make([]int32, n)
		for position, index := range ring {
			o.Pos[k][index] = int32(position)
		}
	}
	return o
}

// BuildOf computes the overlay of those of names that are not out, which are distinct:
// as if there were no others, but that everybody keeps its index. out is nil for nobody.
func BuildOf(names []string, out []bool, ring string, degree int) *Overlay {
	if out == nil {
		return Build(names, ring, degree)
	}
	var in []string
	var index []int32
	for i, name := range names {
		if !out[i] {
			in, index = append(in, name), append(index, int32(i))
		}
	}
	small := Build(in, ring, degree)
	o := *small
	o.N = len(names)
	o.Rings, o.Pos = make([][]int32, len(small.Rings)), make([][]int32, len(small.Rings))
	for k, ring := range small.Rings {
		o.Rings[k], o.Pos[k] = make([]int32, len(ring)), make([]int32, len(names))
		for i := range o.Pos[k] {
			o.Pos[k][i] = nowhere
		}
		for position, i := range ring {
			o.Rings[k][position] = index[i]
			o.Pos[k][index[i]] = int32(position)
		}
	}
	if small.Zone != nil {
		o.Zone = make([]uint16, len(names))
		for i, zone := range small.Zone {
			o.Zone[index[i]] = zone
		}
	}
	return &o
}

// nowhere is the position of who is in no ring.
const nowhere = -1

// In reports whether instance i is in the rings.
func (o *Overlay) In(i int) bool { return o.Pos[0][i] != nowhere }

// try builds count rings with one seed, base first.
func try(names, zones []string, ring string, count int, base []int32, seed uint64) (
	rings [][]int32, deficit int,
) {
	links := newLinkSet(len(names), 2*count)
	links.addRing(base)
	rings = append(rings, base)
	for k := 1; k < count; k++ {
		within := zones
		if k != localRing {
			within = nil
		}
		order := hashOrder(names, within, ring, seed, k)
		repair(order, links)
		links.addRing(order)
		rings = append(rings, order)
	}
	return rings, links.free()
}

// Neighbours returns the indexes that i has a link to, sorted and distinct, of
// the full roster, dead or alive. Who is in no ring has none.
func (o *Overlay) Neighbours(i int) []int {
	if !o.In(i) {
		return nil
	}
	if o.Complete {
		all := make([]int, 0, max(o.Members-1, 0))
		for _, j := range o.Rings[0] {
			if int(j) != i {
				all = append(all, int(j))
			}
		}
		return all
	}
	near := make([]int, 0, 2*len(o.Rings))
	for k, ring := range o.Rings {
		at := int(o.Pos[k][i])
		near = append(near, int(ring[(at+1)%len(ring)]), int(ring[(at+len(ring)-1)%len(ring)]))
	}
	slices.Sort(near)
	return slices.Compact(near)
}
