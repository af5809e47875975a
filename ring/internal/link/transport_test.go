package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// authority signs identities of a ring for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// identity is one that authority signed, from an hour before until then.
func (a *authority) identity(t testing.TB, name string, until time.Time) *testIdentity {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    until.Add(-2 * time.Hour), NotAfter: until,
		URIs: []*url.URL{{Scheme: "ring", Host: "test", Path: "/" + name}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testIdentity{
		pool: a.pool,
		own:  tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
	}
}

// testIdentity is the least that an Identity can be.
type testIdentity struct {
	pool *x509.CertPool
	own  tls.Certificate
}

func (i *testIdentity) Check(chain []*x509.Certificate) (string, error) {
	if len(chain) == 0 || len(chain[0].URIs) != 1 {
		return "", errors.New("no certificate of an instance")
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: i.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return chain[0].URIs[0].Path[1:], err
}

func (i *testIdentity) config(want string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{i.own},
		ClientAuth: tls.RequestClientCert, InsecureSkipVerify: true, // VerifyConnection does it
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if want == "" && len(cs.PeerCertificates) == 0 {
				return nil
			}
			name, err := i.Check(cs.PeerCertificates)
			if err == nil && want != "" && name != want {
				err = fmt.Errorf("that is %s, not %s", name, want)
			}
			return err
		},
	}
}

func (i *testIdentity) Server() *tls.Config            { return i.config("") }
func (i *testIdentity) Client(name string) *tls.Config { return i.config(name) }
func (i *testIdentity) Leaf() *x509.Certificate        { return i.own.Leaf }
func (i *testIdentity) Why(error) string               { return "" }

// transport is what links of a test go over.
type transport struct {
	client, listener Identity // nil: nothing
}

// overBoth runs f over bare sockets and over TLS.
func overBoth(t *testing.T, f func(t *testing.T, over transport)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { f(t, transport{}) })
	t.Run("tls", func(t *testing.T) { f(t, overTLS(t)) })
}

func overTLS(t testing.TB) transport {
	a, until := newAuthority(t), time.Now().Add(time.Hour)
	return transport{a.identity(t, "a", until), a.identity(t, "b", until)}
}

func (over transport) config() *tls.Config {
	if over.client == nil {
		return nil
	}
	return over.client.Client("b")
}

// server accepts links at its address and gives them out.
func (over transport) server(t testing.TB, opts Options) (addr string, accepted <-chan *Conn) {
	t.Helper()
	links := make(chan *Conn, 16)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsUpgrade(r) {
			http.NotFound(w, r)
			return
		}
		c, err := Upgrade(w, opts)
		if err != nil {
			t.Errorf("Upgrade: %v", err)
			return
		}
		links <- c
	}))
	if over.listener != nil {
		d := Guard(s.Listener, over.listener, func(net.Addr, Entry, error) {})
		s.Listener = d
		t.Cleanup(d.Wait)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), links
}

func (over transport) pair(t testing.TB, opts Options) (dialed, accepted *Conn) {
	t.Helper()
	addr, links := over.server(t, opts)
	dialed, err := Dial(t.Context(), addr, over.config(), time.Second, opts)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	accepted = <-links
	t.Cleanup(dialed.Close)
	t.Cleanup(accepted.Close)
	return dialed, accepted
}

// rawPair is a link whose other end is no Conn, but something that has upgraded.
func (over transport) rawPair(t testing.TB, opts Options) (net.Conn, *Conn) {
	t.Helper()
	addr, links := over.server(t, opts)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if c := over.config(); c != nil {
		nc = tls.Client(nc, c)
	}
	t.Cleanup(func() { bareOf(nc).Close() })
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"+
		"Upgrade: %s\r\n\r\n", Path, Protocol)
	c := <-links
	t.Cleanup(c.Close)
	if _, err := io.ReadFull(nc, []byte(answer+Protocol+"\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return nc, c
}

// bareOf is what is below TLS.
func bareOf(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}
