//go:build unix

package doctor

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/trust"
)

// authority makes one in a directory that goes with the test.
func authority(t *testing.T) *trust.Authority {
	t.Helper()
	a, err := trust.Init(filepath.Join(t.TempDir(), "ca"), "r", 1000*day)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func identityOf(t *testing.T, a *trust.Authority, name string, life time.Duration) *trust.Store {
	t.Helper()
	m, err := a.Identity(trust.ID{Role: trust.Instance, Ring: "r", Name: name}, nil, life)
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shakes is the other end of a connection with TLS.
func shakes(s *trust.Store) func(net.Conn) error {
	return func(nc net.Conn) error {
		if nc == nil {
			return nil
		}
		return tls.Server(nc, s.Server()).Handshake()
	}
}

// With TLS who answers must prove to be whom the roster has there.
func TestKnockWithTLS(t *testing.T) {
	a := authority(t)
	w := wires{
		"well":    shakes(identityOf(t, a, "b", day)),
		"other":   shakes(identityOf(t, a, "c", day)),
		"foreign": shakes(identityOf(t, authority(t), "b", day)),
		"plain": func(nc net.Conn) error {
			if nc == nil {
				return nil
			}
			if _, err := nc.Read(make([]byte, 4096)); err != nil {
				return err
			}
			_, err := io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
			return err
		},
	}
	k := knocker{w, identityOf(t, a, "a", day)}
	for addr, want := range map[string]struct{ kind, what string }{
		"well":    {"", ""},
		"other":   {untrustedPath, "c"},
		"foreign": {untrustedPath, "authority"},
		"plain":   {brokenPath, ""},
		"refused": {refusedPath, "nobody listens"},
	} {
		r := k.knock(t.Context(), addr, "b", true)
		if r.kind != want.kind || !strings.Contains(r.what, want.what) {
			t.Errorf("knock at %s = %+v, want %+v", addr, r, want)
		}
	}
}

// Who need not prove it is only connected to.
func TestKnockWithoutProof(t *testing.T) {
	a := authority(t)
	k := knocker{wires{"foreign": shakes(identityOf(t, authority(t), "b", day))}, identityOf(t, a, "a", day)}
	if r := k.knock(t.Context(), "foreign", "b", false); r.kind != "" {
		t.Errorf("without proof: %+v", r)
	}
	if r := k.knock(t.Context(), "nobody", "b", false); r.kind != refusedPath {
		t.Errorf("without anybody: %+v", r)
	}
}

func TestLookAtIdentity(t *testing.T) {
	a := authority(t)
	s := identityOf(t, a, "a", 30*day)
	i := lookAtIdentity(s)
	if i.counts != nil || len(i.roots) != 1 || i.to.Sub(i.from) < 30*day || !i.renewAt.Before(i.to) {
		t.Errorf("a new one: %+v", i)
	}
	if lookAtIdentity(nil) != nil {
		t.Error("without TLS there is one")
	}
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Learn(a.Roots(), nil); err != nil {
		t.Fatal(err)
	}
	i = lookAtIdentity(s)
	f := finder{self: "a"}
	f.identity(time.Now(), i)
	if len(i.roots) != 2 || len(f.found) != 2 || f.found[0].Case != "old root" || f.found[1].Case != "rotation" {
		t.Errorf("while the authority rotates: %+v, found %+v", i, f.found)
	}
	if _, err := a.Revoke(trust.ID{Role: trust.Instance, Ring: "r", Name: "a"}, "stolen"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Learn(nil, a.Revoked()); err != nil {
		t.Fatal(err)
	}
	if i = lookAtIdentity(s); i.counts == nil {
		t.Errorf("a revoked one: %+v", i)
	}
}
