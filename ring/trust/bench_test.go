package trust_test

import (
	"testing"
)

func BenchmarkSign(b *testing.B) {
	s := store(b, identity(b, authority(b, "prod"), a0))
	message := append([]byte("ring/bench/1 "), make([]byte, 200)...)
	for b.Loop() {
		if _, err := s.Sign(message); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheckSigned compares a chain that is new with one that was seen before.
func BenchmarkCheckSigned(b *testing.B) {
	a := authority(b, "prod")
	s0 := store(b, identity(b, a, a0))
	message := append([]byte("ring/bench/1 "), make([]byte, 200)...)
	sig, err := s0.Sign(message)
	if err != nil {
		b.Fatal(err)
	}
	chain := s0.Chain()
	m := identity(b, a, a1)
	b.Run("warm", func(b *testing.B) {
		s1 := store(b, m)
		for b.Loop() {
			if err := s1.CheckSigned(a0, chain, message, sig); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		s1 := store(b, m)
		for b.Loop() {
			s1.Forget()
			if err := s1.CheckSigned(a0, chain, message, sig); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandshake is both ends together, over loopback, with the connection; neither has
// seen the other's chain before.
func BenchmarkHandshake(b *testing.B) {
	a := authority(b, "prod")
	s0, s1 := store(b, identity(b, a, a0)), store(b, identity(b, a, a1))
	for b.Loop() {
		s0.Forget()
		s1.Forget()
		if _, _, err0, err1 := meet(b, s0.Server(), s1.Client(a0)); err0 != nil || err1 != nil {
			b.Fatal(err0, err1)
		}
	}
}
