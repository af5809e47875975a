package ring

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
	"ringofservers.dev/ring/trust"
)

// authority is that of the ring of tests, and the directory it is in.
type authority struct {
	*trust.Authority
	dir string
}

func newAuthority(t testing.TB, ring string) authority {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := trust.Init(dir, ring, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authority{a, dir}
}

func (a authority) material(t testing.TB, id trust.ID, life time.Duration) trust.Material {
	t.Helper()
	m, err := a.Identity(id, nil, life)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (a authority) store(t testing.TB, name Name) *trust.Store {
	t.Helper()
	return storeOf(t, a.material(t, instanceID(name), time.Hour))
}

func storeOf(t testing.TB, m trust.Material) *trust.Store {
	t.Helper()
	s, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instanceID(name Name) trust.ID {
	return trust.ID{Role: trust.Instance, Ring: "test", Name: string(name)}
}

// forge makes a certificate that the authority would not.
func (a authority) forge(t *testing.T, id trust.ID, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	m := a.material(t, id, time.Hour)
	pair, err := tls.X509KeyPair(m.Certificate, m.Key)
	if err != nil {
		t.Fatal(err)
	}
	root, key := a.root(t)
	template := *pair.Leaf
	template.SerialNumber = big.NewInt(77)
	change(&template)
	der, err := x509.CreateCertificate(rand.Reader, &template, root, pair.Leaf.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: pair.PrivateKey}
}

// root is the newest root and its key, as they are on disk.
func (a authority) root(t *testing.T) (root *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			if c, err := x509.ParseCertificate(block.Bytes); err == nil && root == nil {
				root = c
			}
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			key = k.(*ecdsa.PrivateKey)
		}
	}
	if root == nil || key == nil {
		t.Fatalf("no root and key in %s", text)
	}
	return root, key
}

// newTLSFleet is a fleet whose instances have identities of a.
func newTLSFleet(t *testing.T, a authority, n int) *fleet {
	t.Helper()
	return newFleet(t, n, func(_ int, c *Config) { c.TLS = a.store(t, c.Name) })
}

func TestRingOverTLS(t *testing.T) {
	f := newTLSFleet(t, newAuthority(t, "test"), 3)
	f.joined()
	f.counting()
	f.ticks(3)
	s := f.rings[1].Status()
	if s.Insecure || s.TLS == nil || s.TLS.Identity != "ring://test/dc1/prod/1" ||
		time.Until(s.TLS.NotAfter) > time.Hour {
		t.Errorf("status says %v, %+v", s.Insecure, s.TLS)
	}
	f.rings[2].Close()
	f.sees(2, Dead, 2) // by proof, as without
	f.restart(2)
	f.seeAllAlive()
}

// A certificate is of one instance: no other starts with it.
func TestIdentityOfAnother(t *testing.T) {
	a := newAuthority(t, "test")
	_, err := Join(t.Context(), Config{
		Ring: "test", Name: "a", Roster: Roster{Names: []Name{"a", "b"}, Addresses: []string{"127.0.0.1:1", "127.0.0.1:2"}},
		TLS: a.store(t, "b"),
	})
	if err == nil || !strings.Contains(err.Error(), "ring://test/b") {
		t.Errorf("Join = %v", err)
	}
}

// guest is somebody who dials an instance.
type guest struct {
	what   string
	cert   *tls.Certificate // nil: none
	change func(*tls.Config)
	say    func(nc net.Conn) // instead of a handshake
	reason string            // by which it is counted, "" where it is not
	text   string            // told here
	hello  string            // the name it gives itself, "" if it does not get so far
}

// Whatever stands at the door of a running instance: it gets no link, the log says why, and
// the ring goes on.
func TestAttacksOnTheDoor(t *testing.T) {
	ours, theirs, other := newAuthority(t, "test"), newAuthority(t, "test"), newAuthority(t, "other")
	f := newTLSFleet(t, ours, 3)
	f.joined()
	pair := func(a authority, id trust.ID) *tls.Certificate {
		m := a.material(t, id, time.Hour)
		c, err := tls.X509KeyPair(m.Certificate, m.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	bent := func(id trust.ID, from, to time.Duration) *tls.Certificate {
		c := ours.forge(t, id, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to)
		})
		return &c
	}
	one := instanceID("dc1/prod/1")
	revoked := pair(ours, one)
	if _, err := ours.RevokeSerial(fmt.Sprintf("%x", revoked.Leaf.SerialNumber), "stolen"); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.rings {
		if _, err := r.TLS().Learn(ours.Roots(), ours.Revoked()); err != nil {
			t.Fatal(err)
		}
	}
	foreign := trust.ID{Role: trust.Instance, Ring: "other", Name: "dc1/prod/1"}
	for i, g := range []guest{
		{what: "of another ring", cert: pair(other, foreign), reason: trust.ErrUntrusted.Error(), text: "other"},
		{what: "of a stranger's authority", cert: pair(theirs, one), reason: trust.ErrUntrusted.Error(), text: "dc1/prod/1"},
		{what: "expired", cert: bent(one, -time.Hour, -time.Minute), reason: trust.ErrExpired.Error(), text: "dc1/prod/1"},
		{what: "not valid yet", cert: bent(one, time.Minute, time.Hour), reason: trust.ErrNotYetValid.Error(), text: "dc1/prod/1"},
		{what: "revoked", cert: revoked, reason: trust.ErrRevoked.Error(), text: "dc1/prod/1"},
		{what: "no certificate", reason: trust.ErrNoCertificate.Error(), text: "no certificate"},
		{
			what: "an operator", cert: pair(ours, trust.ID{Role: trust.Admin, Ring: "test", Name: "alice"}),
			reason: trust.ErrWrongRole.Error(), text: "alice",
		},
		{what: "TLS 1.2", cert: pair(ours, one), change: func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		}, reason: "other", text: "version"},
		{what: "in the clear", say: func(nc net.Conn) { askLink(nc) }, reason: "plain text", text: "in the clear"},
		{what: "half a handshake", say: func(nc net.Conn) { nc.Write([]byte{0x16, 3, 1, 2, 0, 1, 0}) }},
		{what: "somebody else", cert: pair(ours, one), hello: "dc1/prod/2", text: `says that it is "dc1/prod/2"`},
	} {
		t.Run(g.what, func(t *testing.T) {
			before := f.rings[0].node.Counts()
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i))}}
			nc, err := from.DialContext(t.Context(), "tcp", f.roster.Addresses[0])
			if err != nil {
				t.Skipf("SKIPPED: this host has no second address of its own: %v; CI's has", err)
			}
			defer nc.Close()
			g.attack(t, nc, f)
			after := f.rings[0].node.Counts()
			if g.reason != "" {
				until(t, "it is counted as "+g.reason, func() bool {
					after = f.rings[0].node.Counts()
					return after.Refused[g.reason] == before.Refused[g.reason]+1
				})
			} else if g.hello == "" && !maps.Equal(before.Refused, after.Refused) {
				t.Errorf("it is counted: %v, then %v", before.Refused, after.Refused)
			}
			if g.hello != "" && after.Forged != before.Forged+1 {
				t.Errorf("%d claims are counted, then %d", before.Forged, after.Forged)
			}
			if g.text != "" {
				until(t, "it is told with "+g.text, func() bool { return strings.Contains(story(f.rings[0]), g.text) })
			}
		})
	}
	f.ticks(2)
	for _, in := range f.rings[0].View().Instances {
		if in.State != Alive || in.Incarnation != 1 {
			t.Errorf("%s is %s, as incarnation %d", in.Name, in.State, in.Incarnation)
		}
	}
}

// attack does what g does, and fails if it gets a link by it.
func (g guest) attack(t *testing.T, nc net.Conn, f *fleet) {
	t.Helper()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if g.say != nil {
		g.say(nc)
		nc.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(nc); err == nil && strings.Contains(string(b), "101 Switching") {
			t.Errorf("it is answered %q", b)
		}
		return
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	if g.cert != nil {
		// Whatever the other end asks for: a crypto/tls that means well would not show it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return g.cert, nil }
	}
	if g.change != nil {
		g.change(config)
	}
	c := tls.Client(nc, config)
	if c.Handshake() != nil {
		return
	}
	in := bufio.NewReader(c)
	askLink(c)
	resp, err := http.ReadResponse(in, nil)
	if g.hello == "" {
		if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
			t.Error("it has a link")
		}
		return
	}
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no link for a good certificate: %v", err)
	}
	c.Write(wire.Append(nil, g.greeting(f)))
	// What comes is a no, then the end.
	rest, err := io.ReadAll(in)
	frame, rest, err2 := wire.Split(rest)
	var d wire.Decoder
	m, err3 := d.Decode(frame)
	if no, ok := m.(*wire.Refuse); !ok || len(rest) > 0 || !strings.Contains(no.Text, g.hello) {
		t.Errorf("it is answered %+v, %q, %v, %v, %v", m, rest, err, err2, err3)
	}
}

// greeting is a Hello in another's name that would do without TLS.
func (g guest) greeting(f *fleet) *wire.Hello {
	r := f.rings[0]
	i := r.rosterNow().Index(g.hello)
	return &wire.Hello{
		Version: wire.ProtocolVersion, Ring: "test", Roster: r.rosterNow().Hash(), Size: uint32(r.rosterNow().Len()),
		From: uint32(i), To: 0, FromName: g.hello, Boot: 77, Incarnation: 9,
	}
}

func askLink(nc net.Conn) {
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		link.Path, link.Protocol)
}

// Who is revoked is out, everywhere, as soon as word of it is there: the links it has are
// closed, and it makes no other.
func TestRevokedInstanceIsOut(t *testing.T) {
	a := newAuthority(t, "test")
	f := newTLSFleet(t, a, 4)
	f.joined()
	f.counting()
	if _, err := a.Revoke(instanceID("dc1/prod/3"), "stolen"); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.rings[:3] {
		if _, err := r.TLS().Learn(a.Roots(), a.Revoked()); err != nil {
			t.Fatal(err)
		}
	}
	f.sees(3, Dead, 3)
	f.ticks(2, 3)
	if text := story(f.rings[0]) + story(f.rings[2]); !strings.Contains(text, "revoked") {
		t.Errorf("nobody says why:\n%s", text)
	}
	if text := story(f.rings[3]); !strings.Contains(text, "does not accept this instance") {
		t.Errorf("the revoked one does not say why:\n%s", text)
	}
}

// New certificates, and then a new root, break no link.
func TestRenewalBreaksNoLink(t *testing.T) {
	a := newAuthority(t, "test")
	f := newTLSFleet(t, a, 3)
	f.joined()
	f.counting()
	renewAll := func() {
		t.Helper()
		for i, r := range f.rings {
			if err := r.TLS().Replace(a.material(t, instanceID(f.roster.Names[i]), time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		// Who dialed a link has renewed it, and the other end has seen its new certificate.
		for i, r := range f.rings {
			until(t, fmt.Sprintf("all who dialed %d have shown it their new certificate", i), func() bool {
				for _, p := range r.node.Peers() {
					own := f.rings[r.rosterNow().Index(p.Name)].TLS().Leaf()
					if !p.Dialed && !p.Chain[0].Equal(own) {
						return false
					}
				}
				return len(r.node.Peers()) == 2
			})
		}
	}
	renewAll()
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	renewAll()
	if err := a.FinishRotation(false); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.rings {
		if _, err := r.TLS().Learn(a.Roots(), a.Revoked()); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range f.rings {
		until(t, fmt.Sprintf("%d has links by certificates of the new root alone", i), func() bool {
			for _, p := range r.node.Peers() {
				if _, err := r.TLS().Verify(p.Chain); err != nil {
					return false
				}
			}
			return len(r.node.Peers()) == 2
		})
	}
	f.ticks(3)
	for _, r := range f.rings {
		for _, e := range r.Events(0) {
			switch e.Kind {
			case "link_lost", "died", "accused", "suspected", "unanchored", "ticks_skipped", "refused":
				t.Errorf("%s tells: %s", r.cfg.Name, e.Text)
			}
		}
	}
}

// Whoever has a good certificate and sends what it should not, at random or what it was sent
// with something changed in it, loses its link at most: nobody ends by it or keeps what it
// sends, and when it is gone the others have their ring.
func TestMemberThatSendsAnything(t *testing.T) {
	a := newAuthority(t, "test")
	f := newFleet(t, 4, func(i int, c *Config) { c.TLS = a.store(t, c.Name) })
	f.joined()
	f.counting()
	f.rings[3].Close()
	f.sees(3, Dead, 3)
	before := heap()
	bad := &badMember{
		f: f, rng: mathrand.New(mathrand.NewPCG(6, 3)), identity: identity{a.store(t, "dc1/prod/3"), "test"},
	}
	for range 60 {
		bad.connect(t, bad.rng.IntN(3))
	}
	if bad.frames < 1000 || len(bad.heard) < 100 {
		t.Errorf("it has sent %d frames, and heard %d", bad.frames, len(bad.heard))
	}
	for i, r := range f.rings[:3] {
		if err := r.Err(); err != nil {
			t.Fatalf("%d has ended: %v", i, err)
		}
		if s := r.Status(); len(s.Instances) != 4 { // it answers
			t.Errorf("%d has %d instances", i, len(s.Instances))
		}
	}
	for i := range 3 {
		f.sees(i, Alive, 3)
	}
	f.sees(3, Dead, 3)
	f.ticks(2, 3)
	if after := heap(); after > before+(64<<20) {
		t.Errorf("%d bytes are kept, and were %d", after, before)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// badMember is an instance that is none.
type badMember struct {
	f        *fleet
	rng      *mathrand.Rand
	identity identity
	frames   int
	boot     uint32
	heard    [][]byte // frames that it was sent, headers and all
}

// connect makes a link with instance i, and sends until that has had enough.
func (b *badMember) connect(t *testing.T, i int) {
	t.Helper()
	opts := link.Options{First: patience, Idle: patience, Write: patience}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	name := string(b.f.roster.Names[i])
	c, err := link.Dial(ctx, b.f.roster.Addresses[i], b.identity.Client(name), patience, opts)
	if err != nil {
		return // it may be full of those before
	}
	defer c.Close()
	full := b.f.rings[i].rosterNow()
	b.boot++
	hello := wire.Append(nil, &wire.Hello{
		Version: wire.ProtocolVersion, Ring: "test", Roster: full.Hash(), Size: uint32(full.Len()),
		From: 3, To: uint32(i), FromName: "dc1/prod/3", Boot: 1000 + b.boot,
	})
	ended := make(chan [][]byte, 1)
	go func() { // what it hears is what it learns to say
		var heard [][]byte
		for {
			frame, err := c.Next()
			if err != nil {
				ended <- heard
				return
			}
			whole := append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
			if heard = append(heard, whole); len(heard) > 1000 {
				heard = heard[500:]
			}
		}
	}()
	c.Queue(hello)
	for range 200 {
		if c.Queue(b.frame()) != nil {
			break
		}
		b.frames++
		c.Flush()
	}
	c.Finish()
	heard := <-ended
	b.heard = append(b.heard, heard...)
	b.heard = b.heard[max(0, len(b.heard)-2000):]
}

// frame is what comes to its mind.
func (b *badMember) frame() []byte {
	var out []byte
	switch n := b.rng.IntN(20); {
	case n == 0: // as long as it says, and nothing that anybody would say
		out = make([]byte, 5+b.rng.IntN(200))
		for i := range out {
			out[i] = byte(b.rng.Uint32())
		}
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		out[4] = byte(b.rng.IntN(64))
	case len(b.heard) > 0:
		out = slices.Clone(b.heard[b.rng.IntN(len(b.heard))])
		for range b.rng.IntN(4) {
			if len(out) > 5 {
				out[5+b.rng.IntN(len(out)-5)] ^= 1 << b.rng.IntN(8)
			}
		}
	default:
		out = wire.Append(nil, &wire.Beat{Records: b.rng.Uint32(), View: b.rng.Uint32(), Echo: 1})
	}
	return out
}
