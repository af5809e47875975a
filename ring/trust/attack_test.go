package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/trust"
)

// thief has an authority's key, and so can sign what the authority never would.
type thief struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func authorityAt(t testing.TB, ring string) (*trust.Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := trust.Init(dir, ring, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func steal(t testing.TB, dir string) thief {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	th := thief{t: t}
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		switch {
		case b.Type == "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			th.key = key.(*ecdsa.PrivateKey)
		case b.Type == "CERTIFICATE" && th.root == nil:
			if th.root, err = x509.ParseCertificate(b.Bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return th
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func uris(t testing.TB, texts ...string) []*url.URL {
	t.Helper()
	var all []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// leaf is a good certificate's template.
func leaf(t testing.TB, names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "forged"},
		URIs: uris(t, names...), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// sign makes what a TLS end shows: a certificate by the stolen key, others behind it.
func (th thief) sign(template *x509.Certificate, behind ...*x509.Certificate) tls.Certificate {
	th.t.Helper()
	key := newKey(th.t)
	der, err := x509.CreateCertificate(rand.Reader, template, th.root, &key.PublicKey, th.key)
	if err != nil {
		th.t.Fatal(err)
	}
	shown := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, c := range behind {
		shown.Certificate = append(shown.Certificate, c.Raw)
	}
	return shown
}

// selfSigned has no authority at all.
func selfSigned(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func certificate(t testing.TB, m trust.Material) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(m.Certificate, m.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with is a TLS end that shows that certificate and believes everything.
func with(c tls.Certificate) *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c, nil },
		// Whatever authorities the other end asks for.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil },
		InsecureSkipVerify:   true, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
	}
}

// Whatever the other end shows, dialing or dialed, it is refused with the reason.
func TestAttacks(t *testing.T) {
	a, dir := authorityAt(t, "prod")
	other, otherDir := authorityAt(t, "prod")
	test, _ := authorityAt(t, "test")
	th, otherThief := steal(t, dir), steal(t, otherDir)
	victim := store(t, identity(t, a, a0))

	revoked := identity(t, a, a1)
	if _, err := a.Revoke(a1, "stolen"); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.Learn(nil, a.Revoked()); err != nil {
		t.Fatal(err)
	}
	timed := func(from, until time.Duration) *x509.Certificate {
		c := leaf(t, a1.String())
		c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(until)
		return c
	}
	authorityItself := leaf(t, a1.String())
	authorityItself.IsCA = true
	noUsage := leaf(t, a1.String())
	noUsage.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	fat := leaf(t, a1.String())
	for i := range 300 {
		fat.DNSNames = append(fat.DNSNames, strings.Repeat("x", 30)+string(rune('a'+i%26))+".example.com")
	}
	own := tls.Certificate{Certificate: [][]byte{th.root.Raw}, PrivateKey: th.key}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.CreateCertificate(rand.Reader, leaf(t, a1.String()), th.root, &rsaKey.PublicKey, th.key)
	if err != nil {
		t.Fatal(err)
	}
	middle := leaf(t)
	middle.IsCA, middle.Subject, middle.KeyUsage = true, pkix.Name{CommonName: "middle"}, x509.KeyUsageCertSign
	below := th.sign(middle)
	belowCert, err := x509.ParseCertificate(below.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	// What an instance's own certificate signs is nothing.
	holder := certificate(t, identity(t, a, trust.ID{Role: trust.Instance, Ring: "prod", Name: "bad"}))
	holderCert, err := x509.ParseCertificate(holder.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	byHolder := thief{t, holder.PrivateKey.(*ecdsa.PrivateKey), holderCert}

	for _, c := range []struct {
		name  string
		shows tls.Certificate
		want  trust.Reason
	}{
		{"wrong ring", certificate(t, identity(t, test, trust.ID{Role: trust.Instance, Ring: "test", Name: a1.Name})), trust.ErrUntrusted},
		{"wrong ring, own authority", th.sign(leaf(t, "ring://test/dc1/prod/1")), trust.ErrWrongRing},
		{"other authority of that name", certificate(t, identity(t, other, a1)), trust.ErrUntrusted},
		{"other authority, its root along", otherThief.sign(leaf(t, a1.String()), otherThief.root), trust.ErrUntrusted},
		{"other authority, our root along", otherThief.sign(leaf(t, a1.String()), th.root), trust.ErrUntrusted},
		{"self-signed", selfSigned(t, leaf(t, a1.String())), trust.ErrUntrusted},
		{"signed by an instance", byHolder.sign(leaf(t, a1.String()), holderCert), trust.ErrUntrusted},
		{"expired", th.sign(timed(-2*time.Hour, -time.Second)), trust.ErrExpired},
		{"not yet valid", th.sign(timed(time.Hour, 2*time.Hour)), trust.ErrNotYetValid},
		{"revoked", certificate(t, revoked), trust.ErrRevoked},
		{"no URI", th.sign(leaf(t)), trust.ErrNoIdentity},
		{"URI of others", th.sign(leaf(t, "spiffe://prod/dc1/prod/1")), trust.ErrNoIdentity},
		{"two URIs", th.sign(leaf(t, a1.String(), "ring://prod/dc1/prod/2")), trust.ErrNoIdentity},
		{"two roles", th.sign(leaf(t, a1.String(), alice.String())), trust.ErrNoIdentity},
		{"no path", th.sign(leaf(t, "ring://prod")), trust.ErrNoIdentity},
		{"strange path", th.sign(leaf(t, "ring://prod/dc1/../prod/1")), trust.ErrNoIdentity},
		{"query", th.sign(leaf(t, a1.String()+"?x=y")), trust.ErrNoIdentity},
		{"port", th.sign(leaf(t, "ring://prod:1/dc1/prod/1")), trust.ErrNoIdentity},
		{"user", th.sign(leaf(t, "ring://x@prod/dc1/prod/1")), trust.ErrNoIdentity},
		{"escaped", th.sign(leaf(t, "ring://prod/dc1%2Fprod/1")), trust.ErrNoIdentity},
		{"an authority itself", th.sign(authorityItself), trust.ErrMalformed},
		{"the root itself", own, trust.ErrMalformed},
		{"for nothing", th.sign(noUsage), trust.ErrMalformed},
		{"RSA", tls.Certificate{Certificate: [][]byte{rsaDER}, PrivateKey: rsaKey}, trust.ErrMalformed},
		{"five certificates", th.sign(leaf(t, a1.String()), belowCert, belowCert, belowCert, belowCert), trust.ErrMalformed},
		{"large chain", th.sign(fat), trust.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			served, _, err, _ := meet(t, victim.Server(), with(c.shows))
			wantReason(t, err, c.want)
			if id, err := victim.PeerOf(&served); err == nil {
				t.Errorf("PeerOf after a refusal is %v", id)
			}
			for _, peer := range []trust.ID{a1, {}} {
				_, _, _, err = meet(t, with(c.shows), victim.Client(peer))
				wantReason(t, err, c.want)
			}
		})
	}
	t.Run("serial of a root above", func(t *testing.T) {
		// A certificate that an intermediate has signed is good: the authority made it one.
		// If the authority revokes the intermediate it is not.
		sub := thief{t, below.PrivateKey.(*ecdsa.PrivateKey), belowCert}
		shows := sub.sign(leaf(t, a1.String()), belowCert)
		if _, _, err, _ := meet(t, victim.Server(), with(shows)); err != nil {
			t.Errorf("by way of an intermediate: %v", err)
		}
		crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(time.Now().Unix() + 1000), ThisUpdate: time.Now(), NextUpdate: time.Now(),
			RevokedCertificateEntries: []x509.RevocationListEntry{
				{SerialNumber: belowCert.SerialNumber, RevocationTime: time.Now()},
			},
		}, th.root, th.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := victim.Learn(nil, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl})); err != nil {
			t.Fatal(err)
		}
		_, _, err, _ = meet(t, victim.Server(), with(shows))
		wantReason(t, err, trust.ErrRevoked)
	})
}

// Whoever is real, but not who was meant.
func TestNotWhoWasMeant(t *testing.T) {
	a := authority(t, "prod")
	s0, s1, op := store(t, identity(t, a, a0)), store(t, identity(t, a, a1)), store(t, identity(t, a, alice))
	_, _, _, err := meet(t, s1.Server(), s0.Client(trust.ID{Role: trust.Instance, Ring: "prod", Name: "dc1/prod/2"}))
	wantReason(t, err, trust.ErrWrongName)
	_, _, _, err = meet(t, s1.Server(), s0.Client(trust.ID{Role: trust.Instance, Ring: "test", Name: a1.Name}))
	wantReason(t, err, trust.ErrWrongRing)

	// An operator's certificate where an instance must be: the role is wrong.
	shows := with(certificate(t, op.Material()))
	for _, peer := range []trust.ID{a1, {}} {
		_, _, _, err = meet(t, shows, s0.Client(peer))
		if peer == (trust.ID{}) {
			wantReason(t, err, trust.ErrWrongRole)
		} else if err == nil {
			t.Error("an operator was taken for an instance")
		}
	}
	// As a client it is who it is, and no instance.
	served, _, err, _ := meet(t, s0.Server(), op.Client(a0))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s0.PeerOf(&served); id != alice || err != nil {
		t.Errorf("the peer is %v, %v, want %v", id, err, alice)
	}
	sig, err := op.Sign([]byte("ring/test/1 x"))
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, s0.CheckSigned(a1, op.Chain(), []byte("ring/test/1 x"), sig), trust.ErrWrongRole)

	// Who gives no certificate is let in, and is nobody.
	served, _, err, _ = meet(t, s0.Server(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s0.PeerOf(&served)
	wantReason(t, err, trust.ErrNoCertificate)
	_, err = s0.PeerOf(nil)
	wantReason(t, err, trust.ErrNoCertificate)
}

// No older version, no other protocol, no session that is taken up again.
func TestNothingOlder(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	older := with(certificate(t, s1.Material()))
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err, _ := meet(t, s0.Server(), older); err == nil {
		t.Error("a client of TLS 1.2 was served")
	}
	if _, _, _, err := meet(t, older, s0.Client(trust.ID{})); err == nil {
		t.Error("a server of TLS 1.2 was taken")
	} else if got := trust.Explain(err).Error(); !strings.Contains(got, "TLS 1.3") {
		t.Errorf("that the other end is too old is told as %q", got)
	}
	h2 := with(certificate(t, s1.Material()))
	h2.NextProtos = []string{"h2"}
	if _, _, err, _ := meet(t, s0.Server(), h2); err == nil {
		t.Error("a client of HTTP/2 alone was served")
	}
	resuming := with(certificate(t, s1.Material()))
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		served, _, err0, err1 := meet(t, s0.Server(), resuming)
		if err0 != nil || err1 != nil || served.DidResume {
			t.Errorf("resumed %v, %v, %v", served.DidResume, err0, err1)
		}
	}
}

// The dialer hears that it was refused only as an alert. It is told what to do.
func TestExplain(t *testing.T) {
	a, other := authority(t, "prod"), authority(t, "prod")
	s0 := store(t, identity(t, a, a0))
	stranger := with(certificate(t, identity(t, other, a1)))
	_, _, _, err := meet(t, s0.Server(), stranger)
	if got := trust.Explain(err).Error(); !strings.Contains(got, "its log says why") {
		t.Errorf("a refusal is told as %q", got)
	}
	here, there := connected(t)
	go func() {
		io.ReadFull(there, make([]byte, 5))
		go io.Copy(io.Discard, there)
		io.WriteString(there, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}()
	err = tls.Client(here, s0.Client(a1)).Handshake()
	there.Close()
	if got := trust.Explain(err).Error(); !strings.Contains(got, "does not speak TLS") {
		t.Errorf("plain text is told as %q", got)
	}
	if trust.Explain(nil) != nil || trust.Explain(io.EOF) != io.EOF {
		t.Error("what needs no words is changed")
	}
}

// cutConn passes on that many bytes, and then is closed.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if len(b) >= c.left {
		n, _ := c.Conn.Write(b[:c.left])
		c.Conn.Close()
		c.left = 0
		return n, io.ErrClosedPipe
	}
	c.left -= len(b)
	return c.Conn.Write(b)
}

// Wherever the other end stops, nobody has been authenticated.
func TestTruncatedHandshake(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	for cut := 0; ; cut += 97 {
		here, there := connected(t)
		c := &cutConn{there, cut}
		served := make(chan error)
		server := tls.Server(here, s0.Server())
		go func() {
			err := server.Handshake()
			here.Close()
			served <- err
		}()
		tls.Client(c, s1.Client(a0)).Handshake()
		whole := c.left > 0
		err := <-served
		there.Close()
		cs := server.ConnectionState()
		if whole {
			if err != nil || cut < 500 {
				t.Fatalf("a whole handshake of less than %d bytes: %v", cut, err)
			}
			return
		}
		if err == nil {
			t.Errorf("a handshake cut at %d bytes was taken", cut)
		}
		if id, err := s0.PeerOf(&cs); err == nil {
			t.Errorf("cut at %d bytes the peer is %v", cut, id)
		}
	}
}

// What others can do with roots, statements and lists that are not from the newest root.
func TestLearnsFromNobodyElse(t *testing.T) {
	a, dir := authorityAt(t, "prod")
	_, otherDir := authorityAt(t, "prod")
	other, err := trust.OpenAuthority(otherDir)
	if err != nil {
		t.Fatal(err)
	}
	old := steal(t, dir)
	s := store(t, identity(t, a, a0))
	before := s.Material()
	refuses := func(want trust.Reason, roots, lists []byte) {
		t.Helper()
		changed, err := s.Learn(roots, lists)
		if changed {
			t.Errorf("changed by %q", want)
		}
		wantReason(t, err, want)
		if now := s.Material(); !bytes.Equal(now.Roots, before.Roots) || !bytes.Equal(now.Revoked, before.Revoked) {
			t.Errorf("an error (%v) and a change", err)
		}
	}
	refuses(trust.ErrUntrusted, other.Roots(), other.Revoked())
	refuses(trust.ErrMalformed, []byte("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"), nil)
	refuses(trust.ErrMalformed, bytes.Repeat(a.Roots(), 20), nil)
	refuses(trust.ErrMalformed, make([]byte, 2<<20), nil)
	if changed, err := s.Learn(nil, other.Revoked()); changed || err != nil {
		t.Errorf("a list of nobody known: %v, %v", changed, err)
	}
	// A list that another has signed in the name of the root.
	liar := *old.root
	forged := newKey(t)
	liar.PublicKey = &forged.PublicKey
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1 << 40), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, &liar, forged)
	if err != nil {
		t.Fatal(err)
	}
	refuses(trust.ErrBadSignature, nil, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl}))

	// A rotation: the old root's key, stolen before, brings nobody in and drops nobody.
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Learn(a.Roots(), a.Revoked()); err != nil {
		t.Fatal(err)
	}
	before = s.Material()
	evil, evilDir := authorityAt(t, "prod")
	evilThief := steal(t, evilDir)
	cross := *evilThief.root
	cross.SubjectKeyId, cross.AuthorityKeyId = evilThief.root.SubjectKeyId, nil
	der, err := x509.CreateCertificate(rand.Reader, &cross, old.root, &evilThief.key.PublicKey, old.key)
	if err != nil {
		t.Fatal(err)
	}
	bad := append(evil.Roots(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	refuses(trust.ErrUntrusted, bad, nil)
	noWord := bad[:bytes.Index(bad, []byte("-----BEGIN RING ROOTS"))]
	noWord = append(slices.Clone(noWord), bad[bytes.LastIndex(bad, []byte("-----BEGIN CERT")):]...)
	if changed, err := s.Learn(noWord, nil); changed || err != nil {
		t.Errorf("a root without a word: %v, %v", changed, err)
	}
}

// A backup of the authority that is brought back does not number behind what it has said.
func TestRestoredAuthority(t *testing.T) {
	a, dir := authorityAt(t, "prod")
	identity(t, a, a1)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(backup, "ca.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := trust.OpenAuthority(backup)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Unix()
	if gone, err := b.Revoke(a1, ""); err != nil || len(gone) != 1 {
		t.Fatalf("revoke: %v, %v", gone, err)
	}
	block, _ := pem.Decode(b.Revoked())
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if list.Number.Int64() < began {
		t.Errorf("the list has the number %v, want at least the second %d", list.Number, began)
	}
}
