package overlay

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// hashOrder returns the indexes of names in the order of ring k: by
//
//	SHA-256("ring/overlay/1" 0x00 ring 0x00 u64(seed) u32(k) name)
//
// and by name should two digests be one; where zones are given, first by the same
// digest of the zone and a slash, so that each zone stands together. An instance's
// place depends on its own name alone: with some of them gone, the others keep their
// order.
func hashOrder(names, zones []string, ring string, seed uint64, k int) []int32 {
	type keyed struct {
		zone   uint64 // bytes of its digest
		first  uint64 // bytes of the digest, for a fast comparison
		index  int32
		digest [sha256.Size]byte
	}
	input := []byte("ring/overlay/1\x00")
	input = append(input, ring...)
	input = append(input, 0)
	input = binary.BigEndian.AppendUint64(input, seed)
	input = binary.BigEndian.AppendUint32(input, uint32(k))
	prefix := len(input)

	of := make(map[string]uint64)
	for _, zone := range zones {
		if _, ok := of[zone]; !ok {
			input = append(append(input[:prefix], zone...), '/')
			digest := sha256.Sum256(input)
			of[zone] = binary.BigEndian.Uint64(digest[:])
		}
	}
	keys := make([]keyed, len(names))
	for i, name := range names {
		input = append(input[:prefix], name...)
		digest := sha256.Sum256(input)
		keys[i] = keyed{0, binary.BigEndian.Uint64(digest[:]), int32(i), digest}
		if zones != nil {
			keys[i].zone = of[zones[i]]
		}
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		if c := cmp.Compare(a.zone, b.zone); c != 0 {
			return c
		}
		if c := cmp.Compare(a.first, b.first); c != 0 {
			return c
		}
		if c := slices.Compare(a.digest[:], b.digest[:]); c != 0 {
			return c
		}
		return cmp.Compare(names[a.index], names[b.index])
	})
	order := make([]int32, len(keys))
	for position := range keys {
		order[position] = keys[position].index
	}
	return order
}

// passes bounds the repair of one ring; one nearly always does.
const passes = 8

// repair swaps instances of ring p until no link of it is in links: for each
// link that is, its second end changes places with the nearest one behind it
// that lowers the number of such links among those the swap touches.
func repair(p []int32, links *linkSet) {
	for range passes {
		whole := true
		for i := range p {
			if !links.hasAt(p, i) {
				continue
			}
			whole = false
			mend(p, links, i)
		}
		if whole {
			return
		}
	}
}

// mend looks for the swap that frees the link after position i of p.
func mend(p []int32, links *linkSet, i int) {
	n := len(p)
	next := (i + 1) % n
	for ahead := 2; ahead < n; ahead++ {
		j := (i + ahead) % n
		touched := [4]int{i, next, (j + n - 1) % n, j}
		before := links.count(p, touched)
		p[next], p[j] = p[j], p[next]
		if links.count(p, touched) < before {
			return
		}
		p[next], p[j] = p[j], p[next]
	}
}

// linkSet holds the links of the rings that stand. As an instance has no more
// than degree of them, a row of that many ends per instance is the whole set.
type linkSet struct {
	degree int
	ends   []int32 // row i: the used[i] neighbours of i so far
	used   []int32
}

func newLinkSet(n, degree int) *linkSet {
	return &linkSet{degree, make([]int32, n*degree), make([]int32, n)}
}

func (s *linkSet) has(a, b int32) bool {
	row := int(a) * s.degree
	return slices.Contains(s.ends[row:row+int(s.used[a])], b)
}

// hasAt asks for the link after position i of ring p.
func (s *linkSet) hasAt(p []int32, i int) bool {
	if i+1 == len(p) {
		return s.has(p[i], p[0])
	}
	return s.has(p[i], p[i+1])
}

// count returns how many links of ring p after these positions are in the
// set; a position named twice counts once.
func (s *linkSet) count(p []int32, positions [4]int) int {
	n := 0
	for x, i := range positions {
		if !slices.Contains(positions[:x], i) && s.hasAt(p, i) {
			n++
		}
	}
	return n
}

// addRing adds the links of ring p that are new.
func (s *linkSet) addRing(p []int32) {
	for i, a := range p {
		b := p[(i+1)%len(p)]
		if !s.has(a, b) {
			s.add(a, b)
			s.add(b, a)
		}
	}
}

func (s *linkSet) add(a, b int32) {
	s.ends[int(a)*s.degree+int(s.used[a])] = b
	s.used[a]++
}

// free returns how many link ends are still to be had.
func (s *linkSet) free() int {
	n := len(s.ends)
	for _, used := range s.used {
		n -= int(used)
	}
	return n
}
