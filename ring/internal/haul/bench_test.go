package haul

import "testing"

// What a chain of eleven costs, all in one process: of the work of ten hops, with a file
// and hashes at each, and none of it by the ring.
func BenchmarkChainOfEleven(b *testing.B) {
	const size = 16 << 20
	b.SetBytes(10 * size)
	for k := 0; b.Loop(); k++ {
		f := newHouse(b, 11, 0)
		f.chain()
		payload := random(size, byte(k))
		f.send(1, payload)
		for i := range f.hauls {
			f.arrives(i, 1)
		}
		for _, h := range f.hauls {
			h.Close()
		}
	}
}
