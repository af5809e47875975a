package gather

import "math/bits"

// Set is a set of instances, by index.
type Set []uint64

// NewSet returns an empty set of n instances.
func NewSet(n int) Set { return make(Set, (n+63)/64) }

// Has reports whether i is in s.
func (s Set) Has(i int) bool { return i/64 < len(s) && s[i/64]>>(i%64)&1 != 0 }

// Add puts i into s, which must be of that size.
func (s Set) Add(i int) { s[i/64] |= 1 << (i % 64) }

// grown is s with room for n instances.
func (s Set) grown(n int) Set {
	if more := (n+63)/64 - len(s); s != nil && more > 0 {
		s = append(s[:len(s):len(s)], make(Set, more)...)
	}
	return s
}

// Len is how many are in s.
func (s Set) Len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// meets reports whether s and t have anybody in common.
func (s Set) meets(t Set) bool {
	for i := range min(len(s), len(t)) {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// join adds t to s, which must be at least of its size.
func (s Set) join(t Set) {
	for i, w := range t {
		s[i] |= w
	}
}

// fits reports whether nobody in s has an index of n or more.
func (s Set) fits(n int) bool {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] != 0 {
			return i*64+bits.Len64(s[i]) <= n
		}
	}
	return true
}

// First is the lowest in s, or -1 if nobody is.
func (s Set) First() int {
	for i, w := range s {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}
