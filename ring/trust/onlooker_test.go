package trust_test

import (
	"bytes"
	"testing"

	"ringofservers.dev/ring/trust"
)

// Who has no identity knows an instance of the ring when it sees one, and nobody else, by
// roots with or without the statement which of them count.
func TestOnlooker(t *testing.T) {
	a, other := authority(t, "prod"), authority(t, "test")
	gone := identity(t, a, a1)
	if _, err := a.Revoke(a1, "stolen"); err != nil {
		t.Fatal(err)
	}
	bare := a.Roots()[:bytes.Index(a.Roots(), []byte("-----BEGIN RING ROOTS"))]
	for _, c := range []struct {
		name           string
		roots, revoked []byte
		server         trust.Material
		want           trust.Reason // 0: known
	}{
		{"an instance", a.Roots(), nil, identity(t, a, a0), 0},
		{"by bare roots", bare, nil, identity(t, a, a0), 0},
		{"an operator", a.Roots(), nil, identity(t, a, alice), trust.ErrWrongRole},
		{"an operator, by bare roots", bare, nil, identity(t, a, alice), trust.ErrWrongRole},
		{"of another ring", a.Roots(), nil, identity(t, other, trust.ID{Role: trust.Instance, Ring: "test", Name: "a"}), trust.ErrUntrusted},
		{"revoked, which is not known", a.Roots(), nil, gone, 0},
		{"revoked", a.Roots(), a.Revoked(), gone, trust.ErrRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := trust.Onlooker(c.roots, c.revoked)
			if err != nil {
				t.Fatal(err)
			}
			_, _, _, err = meet(t, store(t, c.server).Server(), config)
			if c.want != 0 {
				wantReason(t, err, c.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	for _, roots := range [][]byte{nil, []byte("x"), identity(t, a, a0).Key} {
		if _, err := trust.Onlooker(roots, nil); err == nil {
			t.Errorf("%q is taken for roots", roots)
		}
	}
}
