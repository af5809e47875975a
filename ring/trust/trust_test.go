package trust_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringofservers.dev/ring/trust"
)

var (
	a0    = trust.ID{Role: trust.Instance, Ring: "prod", Name: "dc1/prod/0"}
	a1    = trust.ID{Role: trust.Instance, Ring: "prod", Name: "dc1/prod/1"}
	alice = trust.ID{Role: trust.Admin, Ring: "prod", Name: "alice"}
)

func authority(t testing.TB, ring string) *trust.Authority {
	t.Helper()
	a, err := trust.Init(filepath.Join(t.TempDir(), "ca"), ring, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func identity(t testing.TB, a *trust.Authority, id trust.ID) trust.Material {
	t.Helper()
	m, err := a.Identity(id, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func store(t testing.TB, m trust.Material) *trust.Store {
	t.Helper()
	s, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// meet has two configurations shake hands, and returns what each end says.
func meet(t testing.TB, server, client *tls.Config) (served, dialed tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	here, there := connected(t)
	accept := tls.Server(here, server)
	dial := tls.Client(there, client)
	done := make(chan error)
	go func() {
		err := accept.Handshake()
		if err == nil {
			_, err = accept.Write([]byte("x")) // the other end hears of a refusal only behind it
		}
		here.Close()
		done <- err
	}()
	clientErr = dial.Handshake()
	if clientErr == nil {
		_, clientErr = dial.Read(make([]byte, 1))
	}
	there.Close()
	serverErr = <-done
	return accept.ConnectionState(), dial.ConnectionState(), serverErr, clientErr
}

// connected is two ends of a connection that hold what is on its way, as sockets do: over
// net.Pipe two that refuse each other would wait for each other.
func connected(t testing.TB) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err == nil {
		here, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	here.SetDeadline(deadline)
	there.SetDeadline(deadline)
	return here, there
}

func wantReason(t *testing.T, err error, want trust.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want reason %q", err, want)
	}
	var e *trust.Error
	if !errors.As(err, &e) || e.Text == "" {
		t.Errorf("error %v is of type %T, want *trust.Error", err, err)
	}
}

func TestBothEndsKnowEachOther(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	served, dialed, err0, err1 := meet(t, s0.Server(), s1.Client(a0))
	if err0 != nil || err1 != nil {
		t.Fatalf("handshake: server %v, client %v", err0, err1)
	}
	if id, err := s0.PeerOf(&served); id != a1 || err != nil {
		t.Errorf("the server's peer is %v, %v, want %v", id, err, a1)
	}
	if id, err := s1.PeerOf(&dialed); id != a0 || err != nil {
		t.Errorf("the client's peer is %v, %v, want %v", id, err, a0)
	}
	if served.Version != tls.VersionTLS13 || served.NegotiatedProtocol != "http/1.1" {
		t.Errorf("version %x, protocol %q", served.Version, served.NegotiatedProtocol)
	}
}

func TestSigned(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	message := []byte("ring/test/1 hello")
	sig, err := s0.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // cold and warm
		if err := s1.CheckSigned(a0, s0.Chain(), message, sig); err != nil {
			t.Errorf("a good signature: %v", err)
		}
		wantReason(t, s1.CheckSigned(a1, s0.Chain(), message, sig), trust.ErrWrongName)
		wantReason(t, s1.CheckSigned(a0, s0.Chain(), append(message, 'x'), sig), trust.ErrBadSignature)
		wantReason(t, s1.CheckSigned(a1, s1.Chain(), message, sig), trust.ErrBadSignature)
		wantReason(t, s1.CheckSigned(a0, s0.Chain()[1:], message, sig), trust.ErrMalformed)
		wantReason(t, s1.CheckSigned(a0, nil, message, sig), trust.ErrMalformed)
	}
}

// Who knows only the old root takes certificates of the new one, also when the rotation is
// over; and who knows only the new one takes those of the old while it is under way.
func TestRotation(t *testing.T) {
	a := authority(t, "prod")
	s0 := store(t, identity(t, a, a0))
	asleep := store(t, identity(t, a, a1)) // hears of nothing
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	wantReason(t, a.Rotate(), trust.ErrInUse)
	m1 := identity(t, a, a1)
	s1 := store(t, m1)

	for _, pair := range [][2]*trust.Store{{s0, s1}, {s1, s0}} {
		if _, _, err0, err1 := meet(t, pair[0].Server(), pair[1].Client(pair[0].ID())); err0 != nil || err1 != nil {
			t.Fatalf("%v and %v of two roots: %v, %v", pair[0].ID(), pair[1].ID(), err0, err1)
		}
	}
	wantReason(t, a.FinishRotation(false), trust.ErrInUse)
	if changed, err := s0.Learn(a.Roots(), a.Revoked()); !changed || err != nil {
		t.Fatalf("learn: %v, %v", changed, err)
	}
	if changed, err := s0.Learn(a.Roots(), a.Revoked()); changed || err != nil {
		t.Fatalf("learn again: %v, %v", changed, err)
	}
	before := s0.Material()
	if err := s0.Replace(identity(t, a, a0)); err != nil {
		t.Fatal(err)
	}
	if err := a.FinishRotation(false); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*trust.Store{s0, s1} {
		if changed, err := s.Learn(a.Roots(), a.Revoked()); !changed || err != nil {
			t.Fatalf("learn the end: %v, %v", changed, err)
		}
	}
	if n := bytes.Count(s0.Material().Roots, []byte("BEGIN CERTIFICATE")); n != 2 {
		t.Errorf("%d certificates of authorities are left, want the root and one cross", n)
	}
	if _, err := asleep.Verify(chainOf(t, s0)); err != nil {
		t.Errorf("who slept does not take the new one: %v", err)
	}
	old := store(t, before)
	_, err := s0.Verify(chainOf(t, old))
	wantReason(t, err, trust.ErrUntrusted)

	// An old word comes again.
	if changed, err := s0.Learn(before.Roots, before.Revoked); changed || err != nil {
		t.Errorf("an old word: changed %v, %v", changed, err)
	}
	if changed, err := s0.Learn(asleep.Material().Roots, nil); changed || err != nil {
		t.Errorf("a word of before: changed %v, %v", changed, err)
	}
	if changed, err := asleep.Learn(s0.Material().Roots, s0.Material().Revoked); !changed || err != nil {
		t.Errorf("who slept learns: %v, %v", changed, err)
	}
}

func TestRevocation(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	served, _, err0, err1 := meet(t, s0.Server(), s1.Client(a0))
	if err0 != nil || err1 != nil {
		t.Fatal(err0, err1)
	}
	gone, err := a.Revoke(a1, "test")
	if err != nil || len(gone) != 1 || gone[0].ID != a1 {
		t.Fatalf("revoke: %v, %v", gone, err)
	}
	if changed, err := s0.Learn(nil, a.Revoked()); !changed || err != nil {
		t.Fatalf("learn: %v, %v", changed, err)
	}
	_, err = s0.PeerOf(&served)
	wantReason(t, err, trust.ErrRevoked)
	_, _, err0, _ = meet(t, s0.Server(), s1.Client(a0))
	wantReason(t, err0, trust.ErrRevoked)
}

func TestDirectory(t *testing.T) {
	a := authority(t, "prod")
	dir := t.TempDir()
	_, err := trust.Open(dir)
	wantReason(t, err, trust.ErrNoCertificate)
	if err := trust.WriteDir(dir, identity(t, a, a0)); err != nil {
		t.Fatal(err)
	}
	s, err := trust.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	stop := s.OnChange(func() { told++ })
	if err := s.Reload(); err != nil || told != 0 {
		t.Errorf("reload of the same: %v, told %d times", err, told)
	}
	leaf := s.Leaf()
	if err := s.Replace(identity(t, a, a0)); err != nil || told != 1 || s.Leaf().Equal(leaf) {
		t.Errorf("replace: %v, told %d times", err, told)
	}
	again, err := trust.Open(dir)
	if err != nil || !again.Leaf().Equal(s.Leaf()) {
		t.Errorf("what was replaced is not on disk: %v", err)
	}
	stop()
	if err := trust.WriteDir(dir, identity(t, a, a0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil || told != 1 || s.Leaf().Equal(again.Leaf()) {
		t.Errorf("reload of another: %v, told %d times", err, told)
	}
	if err := os.Chmod(filepath.Join(dir, "identity.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = s.Reload()
	wantReason(t, err, trust.ErrKeyExposed)
	if !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v does not say what to do", err)
	}
}

// chainOf is the chain that s shows, parsed.
func chainOf(t *testing.T, s *trust.Store) []*x509.Certificate {
	t.Helper()
	certs, err := x509.ParseCertificates(s.Chain())
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// One certificate is revoked by its number, and its holder's other one counts on.
func TestRevokeSerial(t *testing.T) {
	a := authority(t, "prod")
	s0 := store(t, identity(t, a, a0))
	first, second := identity(t, a, a1), identity(t, a, a1)
	issued, err := a.Issued()
	if err != nil || len(issued) != 3 {
		t.Fatalf("%d were issued, %v, want 3", len(issued), err)
	}
	if gone, err := a.RevokeSerial(issued[1].Serial, "lost"); err != nil || len(gone) != 1 || gone[0].Reason != "lost" {
		t.Fatalf("revoke: %v, %v", gone, err)
	}
	_, err = a.RevokeSerial("00", "")
	wantReason(t, err, trust.ErrNotFound)
	s1, s2 := store(t, first), store(t, second)
	if _, err := s0.Learn(nil, a.Revoked()); err != nil {
		t.Fatal(err)
	}
	_, err = s0.Verify(chainOf(t, s1))
	wantReason(t, err, trust.ErrRevoked)
	if id, err := s0.Verify(chainOf(t, s2)); id != a1 || err != nil {
		t.Errorf("the other one is of %v, %v", id, err)
	}
	// The holder hears of it too.
	if _, err := s1.Learn(nil, a.Revoked()); err != nil {
		t.Fatal(err)
	}
	wantReason(t, s1.Counts(), trust.ErrRevoked)
}

// What was learned is on disk, and a directory that is behind does not take it back.
func TestLearnedStays(t *testing.T) {
	a := authority(t, "prod")
	dir := t.TempDir()
	if err := trust.WriteDir(dir, identity(t, a, a0)); err != nil {
		t.Fatal(err)
	}
	s, err := trust.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	told := 0
	s.OnChange(func() { told++ })
	if changed, err := s.Learn(a.Roots(), a.Revoked()); !changed || err != nil || told != 1 {
		t.Fatalf("learn: %v, %v, told %d times", changed, err, told)
	}
	learned := s.Material()
	again, err := trust.Open(dir)
	if err != nil || !bytes.Equal(again.Material().Roots, learned.Roots) || !bytes.Equal(again.Material().Revoked, learned.Revoked) {
		t.Errorf("what was learned is not on disk: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), behind, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil || !bytes.Equal(s.Material().Roots, learned.Roots) {
		t.Errorf("a directory that is behind took roots back: %v", err)
	}
	// Another name is another process.
	if err := s.Replace(identity(t, a, a1)); err == nil || s.ID() != a0 {
		t.Errorf("this is %v now: %v", s.ID(), err)
	} else {
		wantReason(t, err, trust.ErrWrongName)
	}
}

// Handshakes, signatures and checks go on while identities are exchanged.
func TestExchangedMeanwhile(t *testing.T) {
	a := authority(t, "prod")
	s0, s1 := store(t, identity(t, a, a0)), store(t, identity(t, a, a1))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			m, err := a.Identity(a0, nil, time.Hour)
			if err == nil {
				err = s0.Replace(m)
			}
			if err != nil {
				t.Error(err)
			}
			if _, err := s1.Learn(a.Roots(), a.Revoked()); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 20 {
		if _, _, err0, err1 := meet(t, s0.Server(), s1.Client(a0)); err0 != nil || err1 != nil {
			t.Errorf("server %v, client %v", err0, err1)
		}
		chain := s0.Chain()
		_ = s1.CheckSigned(a0, chain, []byte("x"), nil)
	}
	<-done
}

// Who slept through three rotations wakes up among friends; through four, not.
func TestRotatedAgainAndAgain(t *testing.T) {
	a := authority(t, "prod")
	m := identity(t, a, a1)
	for n := 1; n <= 4; n++ {
		if err := a.Rotate(); err != nil {
			t.Fatal(err)
		}
		if err := a.FinishRotation(true); err != nil {
			t.Fatal(err)
		}
		awake, asleep := store(t, identity(t, a, a0)), store(t, m)
		chain := chainOf(t, awake)
		if want := min(n+1, 4); len(chain) != want {
			t.Errorf("after %d rotations a chain has %d certificates, want %d", n, len(chain), want)
		}
		id, err := asleep.Verify(chain)
		changed, learned := asleep.Learn(a.Roots(), a.Revoked())
		if n == 4 {
			wantReason(t, err, trust.ErrUntrusted)
			wantReason(t, learned, trust.ErrUntrusted)
			continue
		}
		if id != a0 || err != nil || !changed || learned != nil {
			t.Errorf("after %d rotations: %v, %v; learned %v, %v", n, id, err, changed, learned)
		}
		if got, want := asleep.Material().Roots, awake.Material().Roots; !bytes.Equal(got, want) {
			t.Errorf("after %d rotations who slept trusts %d bytes of roots, want %d", n, len(got), len(want))
		}
		// Its own certificate is of a root that counts no more, and it knows.
		wantReason(t, asleep.Counts(), trust.ErrUntrusted)
	}
}

// Certificates begin five minutes ago, for hosts whose clocks are behind, and end in time.
func TestLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := trust.Init(t.TempDir(), "prod", 100*24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		lives := func(life time.Duration) (*trust.Store, trust.Material) {
			t.Helper()
			m, err := a.Identity(a1, nil, life)
			if err != nil {
				t.Fatal(err)
			}
			return store(t, m), m
		}
		s, _ := lives(0)
		if got := now.Sub(s.Leaf().NotBefore); got != 5*time.Minute {
			t.Errorf("a certificate begins %v ago, want 5m", got)
		}
		if got := s.Leaf().NotAfter.Sub(now); got != 30*24*time.Hour {
			t.Errorf("it lives %v, want 30 days", got)
		}
		if s, _ := lives(1000 * 24 * time.Hour); s.Leaf().NotAfter.Sub(now) != 100*24*time.Hour {
			t.Errorf("a certificate lives until %v, after its root", s.Leaf().NotAfter)
		}
		if _, err := a.Identity(a1, nil, time.Second); err == nil {
			t.Error("a certificate for a second was issued")
		}
		witness := store(t, identity(t, a, a0))
		short, m := lives(10 * time.Minute)
		chain := chainOf(t, short)
		time.Sleep(10 * time.Minute)
		if _, err := witness.Verify(chain); err != nil {
			t.Errorf("in its last second: %v", err)
		}
		time.Sleep(time.Second)
		_, err = witness.Verify(chain) // which it remembers
		wantReason(t, err, trust.ErrExpired)
		wantReason(t, short.Counts(), trust.ErrExpired)
		_, err = trust.New(m)
		wantReason(t, err, trust.ErrExpired)

		time.Sleep(100 * 24 * time.Hour)
		_, err = a.Identity(a1, nil, 0)
		wantReason(t, err, trust.ErrExpired)
	})
}

// Where the directory cannot be written, what was learned counts all the same.
func TestLearnsWithoutADisk(t *testing.T) {
	a := authority(t, "prod")
	dir := filepath.Join(t.TempDir(), "tls")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := trust.WriteDir(dir, identity(t, a, a0)); err != nil {
		t.Fatal(err)
	}
	s, err := trust.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	gone := store(t, identity(t, a, a1))
	if _, err := a.Revoke(a1, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Learn(a.Roots(), a.Revoked()); !changed || err == nil {
		t.Errorf("learned without a disk: %v, %v", changed, err)
	}
	_, err = s.Verify(chainOf(t, gone))
	wantReason(t, err, trust.ErrRevoked)
	before := s.Leaf()
	if err := s.Reload(); err == nil || !s.Leaf().Equal(before) {
		t.Errorf("reloaded without a disk: %v", err)
	}
}

// A directory that cannot be written does not keep a renewed certificate from counting.
func TestReplacesWithoutADisk(t *testing.T) {
	a, err := trust.Init(t.TempDir(), "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	id := trust.ID{Role: trust.Instance, Ring: "test", Name: "a"}
	dir := filepath.Join(t.TempDir(), "identity")
	material := func() trust.Material {
		m, err := a.Identity(id, nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), trust.WriteDir(dir, material())); err != nil {
		t.Fatal(err)
	}
	s, err := trust.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before := s.Leaf()
	if err := s.Replace(material()); err == nil || !strings.Contains(err.Error(), "only while this process runs") {
		t.Errorf("without its directory: %v", err)
	}
	if s.Leaf().Equal(before) {
		t.Error("the renewed certificate does not count")
	}
}

// A seal is told from another by who has the same key, also by another process, until the
// authority rotates.
func TestSeal(t *testing.T) {
	dir := t.TempDir()
	a, err := trust.Init(dir, "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := a.Seal([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := trust.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Sealed([]byte("message"), seal) || b.Sealed([]byte("massage"), seal) || b.Sealed([]byte("message"), nil) {
		t.Error("a seal is not told from others")
	}
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	if b.Sealed([]byte("message"), seal) {
		t.Error("a seal counts after a rotation")
	}
}

// Who is in the way of the end of a rotation is named, the first ten of them.
func TestFinishNamesWhoIsLeft(t *testing.T) {
	a := authority(t, "prod")
	for i := range 12 {
		identity(t, a, trust.ID{Role: trust.Instance, Ring: "prod", Name: fmt.Sprintf("dc1/prod/%d", i)})
	}
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	says := func(want string, not string) {
		t.Helper()
		err := a.FinishRotation(false)
		wantReason(t, err, trust.ErrInUse)
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), not) {
			t.Errorf("it says %v, want %q and not %q", err, want, not)
		}
	}
	says("ring://prod/dc1/prod/9, and 2 more", "dc1/prod/10")
	for i := range 3 {
		identity(t, a, trust.ID{Role: trust.Instance, Ring: "prod", Name: fmt.Sprintf("dc1/prod/%d", i)})
	}
	says("9 still use", "more")
	says("ring://prod/dc1/prod/3, ring://prod/dc1/prod/4", "dc1/prod/2,")
}

// A file that has nothing of an identity in it is called that.
func TestGarbageIsNoIdentity(t *testing.T) {
	dir := t.TempDir()
	if err := trust.WriteDir(dir, identity(t, authority(t, "prod"), a0)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "garbage", "-----BEGIN CERTIFICATE-----\ntorn"} {
		if err := os.WriteFile(filepath.Join(dir, "identity.pem"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := trust.Open(dir)
		wantReason(t, err, trust.ErrMalformed)
		if err == nil || !strings.Contains(err.Error(), "holds no PEM") {
			t.Errorf("of %q it says %v", text, err)
		}
	}
}
