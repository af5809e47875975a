package ring

import (
	"slices"
	"testing"

	"ringofservers.dev/ring/internal/core"
)

func TestR3WhatASignatureIsWorth(t *testing.T) {
	ours, theirs := newAuthority(t, "test"), newAuthority(t, "test")
	a, b := proof{ours.store(t, "a"), "test"}, proof{ours.store(t, "b"), "test"}
	stranger := proof{theirs.store(t, "b"), "test"}
	text := []byte("ringofservers.dev test\x00")
	for _, row := range []struct {
		what  string
		by    proof
		name  string
		spoil bool
		want  core.Worth
	}{
		{"its own", b, "b", false, core.Sound},
		{"in the name of another", b, "c", false, core.Faked},
		{"of something else", b, "b", true, core.Faked},
		{"of another authority", stranger, "b", false, core.Void},
	} {
		chain, sig := row.by.Sign(text)
		said := slices.Clone(text)
		if row.spoil {
			said[0] ^= 1
		}
		if got := a.Check(row.name, chain, said, sig); got != row.want {
			t.Errorf("%s: worth %d, want %d", row.what, got, row.want)
		}
	}
}

// What a record costs beside its bytes: to sign one, to check one of a chain that was seen
// before, and of one that was not.
func BenchmarkProof(b *testing.B) {
	ours := newAuthority(b, "test")
	a := proof{ours.store(b, "dc1/prod/0"), "test"}
	other := ours.store(b, "dc1/prod/1")
	text := append([]byte("ringofservers.dev record 1\x00"), make([]byte, 60)...)
	chain, sig := a.Sign(text)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			a.Sign(text)
		}
	})
	b.Run("warm", func(b *testing.B) {
		p := proof{other, "test"}
		for b.Loop() {
			if p.Check("dc1/prod/0", chain, text, sig) != core.Sound {
				b.Fatal("not sound")
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p := proof{storeOf(b, other.Material()), "test"}
			b.StartTimer()
			if p.Check("dc1/prod/0", chain, text, sig) != core.Sound {
				b.Fatal("not sound")
			}
		}
	})
	b.ReportMetric(float64(len(chain)), "chainB")
	b.ReportMetric(float64(len(sig)), "sigB")
}
