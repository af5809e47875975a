package bulk

import (
	"math/bits"
	"math/rand/v2"

	"ringofservers.dev/ring/internal/wire"
)

// Bits is a set of chunks.
type Bits [wire.BulkChunks / 64]uint64

// Has reports whether chunk i is in the set.
func (b *Bits) Has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// Add puts chunk i into the set.
func (b *Bits) Add(i int) { b[i/64] |= 1 << (i % 64) }

func (b *Bits) remove(i int) { b[i/64] &^= 1 << (i % 64) }

// Count is how many chunks are in the set.
func (b *Bits) Count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// All is the set of the first n chunks.
func All(n int) (b Bits) {
	for i := range b {
		if n >= 64*(i+1) {
			b[i] = 1<<64 - 1
		} else if n > 64*i {
			b[i] = 1<<(n-64*i) - 1
		}
	}
	return b
}

func (b Bits) without(c *Bits) Bits {
	for i := range b {
		b[i] &^= c[i]
	}
	return b
}

func (b *Bits) join(c *Bits) {
	for i := range b {
		b[i] |= c[i]
	}
}

// least is the first chunk of the set; ok is false where it is empty.
func (b *Bits) least() (i int, ok bool) {
	for k, w := range b {
		if w != 0 {
			return 64*k + bits.TrailingZeros64(w), true
		}
	}
	return 0, false
}

// any is one chunk of the set, each as likely as another.
func (b *Bits) any(dice *rand.Rand) (i int, ok bool) {
	n := b.Count()
	if n == 0 {
		return 0, false
	}
	n = dice.IntN(n)
	for k, w := range b {
		if here := bits.OnesCount64(w); n >= here {
			n -= here
			continue
		}
		for range n {
			w &= w - 1
		}
		return 64*k + bits.TrailingZeros64(w), true
	}
	panic("BUG: bulk: a set has fewer chunks than it counts")
}

// bytes writes the set as it is sent.
func (b *Bits) bytes() []byte {
	var text []byte
	for k := len(b) - 1; k >= 0; k-- {
		for at := 56; at >= 0; at -= 8 {
			if v := byte(b[k] >> at); v != 0 || text != nil {
				if text == nil {
					text = make([]byte, 8*k+at/8+1)
				}
				text[8*k+at/8] = v
			}
		}
	}
	return text
}

// bitsAt reads what bytes wrote, moved up to first; chunks from count on are left out.
func bitsAt(first int, text []byte, count int) (b Bits) {
	for k, v := range text {
		for ; v != 0; v &= v - 1 {
			if i := first + 8*k + bits.TrailingZeros8(v); i < count {
				b.Add(i)
			}
		}
	}
	return b
}
