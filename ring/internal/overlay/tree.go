package overlay

import "slices"

// Live is the links of those who live: every ring closed over the dead.
type Live struct {
	near [][]int32 // of each, sorted; nil for the dead
	zone []uint16  // of each, nil where there is but one
}

// Live returns the links of those for whom alive is true.
func (o *Overlay) Live(alive func(i int) bool) *Live {
	l := &Live{near: make([][]int32, o.N), zone: o.Zone}
	if o.Complete {
		var living []int32
		for i := range o.N {
			if alive(i) {
				living = append(living, int32(i))
			}
		}
		for at, i := range living {
			l.near[i] = append(slices.Clone(living[:at]), living[at+1:]...)
		}
		return l
	}
	for _, ring := range o.Rings {
		last := int32(-1)
		first := int32(-1)
		for _, i := range ring {
			if !alive(int(i)) {
				continue
			}
			if last >= 0 {
				l.join(last, i)
			} else {
				first = i
			}
			last = i
		}
		if last != first {
			l.join(last, first)
		}
	}
	for i := range l.near {
		slices.Sort(l.near[i])
		l.near[i] = slices.Compact(l.near[i])
	}
	return l
}

func (l *Live) join(a, b int32) {
	l.near[a], l.near[b] = append(l.near[a], b), append(l.near[b], a)
}

// Near returns the neighbours of i, sorted.
func (l *Live) Near(i int) []int32 { return l.near[i] }

// None is the parent of the origin, and of whom no tree reaches.
const None = int32(-1)

// Tree returns the parent of each in the tree by which what origin sends to all goes:
// along shortest ways, and where there are zones, into each other zone once, straight
// from the origin's. Of parents that would do the one that a hash of origin and child
// says is taken, so that the load of a fleet's trees is spread.
func (l *Live) Tree(origin int) []int32 {
	parent := make([]int32, len(l.near))
	for i := range parent {
		parent[i] = None
	}
	t := grown{l, parent, make([]bool, len(parent)), uint64(origin)}
	t.in[origin] = true
	layer := []int32{int32(origin)}
	if l.zone == nil {
		t.grow(layer, -1)
		return parent
	}
	home := int(l.zone[origin])
	reached := t.grow(layer, home)
	for _, entry := range t.entries(reached, home) {
		reached = append(reached, t.grow([]int32{entry}, int(l.zone[entry]))...)
	}
	t.grow(reached, -1) // whom the links within a zone do not reach
	return parent
}

// grown is a tree that grows.
type grown struct {
	l      *Live
	parent []int32
	in     []bool
	origin uint64
}

// grow adds whom links lead to from layer, layer by layer, in one zone only where that
// is not negative, and returns all of it.
func (t *grown) grow(layer []int32, zone int) (reached []int32) {
	for len(layer) > 0 {
		reached = append(reached, layer...)
		var next []int32
		for _, i := range layer {
			for _, j := range t.l.near[i] {
				switch {
				case t.in[j] || zone >= 0 && int(t.l.zone[j]) != zone:
				case t.parent[j] == None:
					t.parent[j] = i
					next = append(next, j)
				case t.prefers(j, i, t.parent[j]):
					t.parent[j] = i
				}
			}
		}
		for _, j := range next {
			t.in[j] = true
		}
		layer = next
	}
	return reached
}

// entries finds for each zone but home whom there the home zone reaches with the
// fewest hops, and makes it part of the tree.
func (t *grown) entries(reached []int32, home int) []int32 {
	entry := map[uint16]int32{}
	var found []int32
	for _, i := range reached { // from the origin outwards
		for _, j := range t.l.near[i] {
			z := t.l.zone[j]
			if int(z) == home {
				continue
			}
			if _, ok := entry[z]; !ok {
				entry[z] = j
				t.parent[j], t.in[j] = i, true
				found = append(found, j)
			}
		}
	}
	return found
}

// prefers reports whether child goes rather to a than to b.
func (t *grown) prefers(child, a, b int32) bool {
	x, y := mix(t.origin, child, a), mix(t.origin, child, b)
	return x < y || x == y && a < b
}

// mix is SplitMix64's finaliser over the three.
func mix(origin uint64, child, parent int32) uint64 {
	x := origin<<40 ^ uint64(uint32(child))<<20 ^ uint64(uint32(parent))
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
