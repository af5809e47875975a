package ring

import (
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/trust"
)

// identityOf is an identity of an authority for tests.
func identityOf(t testing.TB, a *trust.Authority, name string, life time.Duration) *trust.Store {
	t.Helper()
	m, err := a.Identity(trust.ID{Role: trust.Instance, Ring: "prod", Name: name}, nil, life)
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func authorityOf(t testing.TB) *trust.Authority {
	t.Helper()
	a, err := trust.Init(t.TempDir(), "prod", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestR3WhatASignatureIsWorth(t *testing.T) {
	ours, theirs := authorityOf(t), authorityOf(t)
	a := proof{identityOf(t, ours, "a", time.Hour), "prod"}
	b := proof{identityOf(t, ours, "b", time.Hour), "prod"}
	stranger := proof{identityOf(t, theirs, "b", time.Hour), "prod"}
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
	ours := authorityOf(b)
	a := proof{identityOf(b, ours, "dc1/prod/0", time.Hour), "prod"}
	other := identityOf(b, ours, "dc1/prod/1", time.Hour)
	text := append([]byte("ringofservers.dev record 1\x00"), make([]byte, 60)...)
	chain, sig := a.Sign(text)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			a.Sign(text)
		}
	})
	b.Run("warm", func(b *testing.B) {
		p := proof{other, "prod"}
		for b.Loop() {
			if p.Check("dc1/prod/0", chain, text, sig) != core.Sound {
				b.Fatal("not sound")
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s, err := trust.New(other.Material())
			if err != nil {
				b.Fatal(err)
			}
			p := proof{s, "prod"}
			b.StartTimer()
			if p.Check("dc1/prod/0", chain, text, sig) != core.Sound {
				b.Fatal("not sound")
			}
		}
	})
	b.ReportMetric(float64(len(chain)), "chainB")
	b.ReportMetric(float64(len(sig)), "sigB")
}
