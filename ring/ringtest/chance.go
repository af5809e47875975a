package ringtest

import "math/rand/v2"

// Purposes keep streams of chance apart, so that what one fault draws does not
// change what another one sees.
const (
	forCore uint64 = iota + 1
	forBoot
	forClock
	forStart
	forPath
	forStream
	forHost
	forSchedule
	forClient
	forLease
	forCast
	forSpread
	forRide
	forKeys
	forLies
	forRoll
)

// dice is a splitmix64 stream: eight bytes, so that every stream of every link
// can have its own.
type dice uint64

// mix hashes words to one, for seeding.
func mix(words ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, w := range words {
		h ^= w
		h *= 0xff51afd7ed558ccd
		h ^= h >> 32
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 29
	}
	return h
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n), 0 for n <= 0.
func (d *dice) below(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return int64(d.next() % uint64(n))
}

// bytes are so many, any.
func (d *dice) bytes(n int64) []byte {
	b := make([]byte, n)
	for k := range b {
		b[k] = byte(d.below(256))
	}
	return b
}

// hit is true in a share p of the throws.
func (d *dice) hit(p float64) bool {
	return p > 0 && float64(d.next()>>11)/(1<<53) < p
}

func newRand(words ...uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(words...), mix(append(words, 1)...)))
}
