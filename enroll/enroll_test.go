package enroll

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// patience is how long a test waits for what takes milliseconds.
const patience = time.Minute

// fleet is a ring in this process whose first instance gives certificates. The last name of
// the roster has no instance.
type fleet struct {
	t         *testing.T
	dir       string // of the authority
	authority *trust.Authority
	rings     []*ring.Ring
	stores    []*trust.Store
	issuer    *Issuer  // that of the first instance
	urls      []string // host:port where the instances' desks are
}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	dir := t.TempDir()
	a, err := trust.Init(dir, "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, dir: dir, authority: a}
	roster, listeners := ring.Roster{}, make([]net.Listener, n+1)
	for i := range n + 1 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		roster.Names = append(roster.Names, ring.Name(fmt.Sprintf("dc/%d", i)))
		roster.Addresses = append(roster.Addresses, l.Addr().String())
	}
	listeners[n].Close() // nobody is there
	timing := ring.LAN() // but nobody is dead because other tests have the processors
	timing.Patience, timing.Answer = 5*time.Second, 5*time.Second
	for i := range n {
		r, err := ring.Join(t.Context(), ring.Config{
			Ring: "test", Name: roster.Names[i], Roster: roster, Listener: listeners[i], Timing: timing,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		f.rings, f.stores = append(f.rings, r), append(f.stores, f.identity(string(roster.Names[i])))
	}
	f.until("a leader", func() bool { return f.rings[0].Bus().Status().Leader != "" })
	f.issuer = f.serve(0, f.authority)
	for i, r := range f.rings {
		f.urls = append(f.urls, f.desk(r, f.stores[i], f.issuer))
	}
	return f
}

// desk serves what new hosts ask, by the identity of store.
func (f *fleet) desk(r *ring.Ring, store *trust.Store, issuer *Issuer) (addr string) {
	d, mux := NewDesk(r, store, issuer, "lan", nil), http.NewServeMux()
	mux.HandleFunc("GET "+RootPath, d.Roots)
	mux.HandleFunc("POST "+JoinPath, d.Join)
	mux.HandleFunc("POST "+RootPath, d.Published)
	mux.HandleFunc("POST /v1/invites/{name...}", func(w http.ResponseWriter, req *http.Request) {
		d.Invite(w, req, "a test")
	})
	s := httptest.NewUnstartedServer(mux)
	s.TLS = store.Server()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	f.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func (f *fleet) identity(name string) *trust.Store {
	f.t.Helper()
	m, err := f.authority.Identity(instance(name), nil, time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := trust.New(m)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func instance(name string) trust.ID {
	return trust.ID{Role: trust.Instance, Ring: "test", Name: name}
}

// serve makes an issuer of instance i.
func (f *fleet) serve(i int, a *trust.Authority) *Issuer {
	f.t.Helper()
	s, err := Serve(f.rings[i], f.stores[i], a, IssuerOptions{
		Life: time.Hour, Logger: slog.New(slog.NewTextHandler(f.t.Output(), nil)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	f.background(s.Run)
	return s
}

func (f *fleet) background(run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	f.t.Cleanup(func() { cancel(); <-done })
}

func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	late, look := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			f.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// invite makes an invitation for the name that has no instance, to be used at every desk.
func (f *fleet) invite(life time.Duration) *Invitation {
	f.t.Helper()
	name := fmt.Sprintf("dc/%d", len(f.rings))
	i, err := f.issuer.Invite(f.t.Context(), name, life, "a test")
	if err != nil {
		f.t.Fatal(err)
	}
	i, err = ParseInvitation(i.String()) // as it is copied from one terminal to another
	if err != nil {
		f.t.Fatal(err)
	}
	i.At = f.urls
	return i
}

func request(t *testing.T, name string) (csr, key []byte) {
	t.Helper()
	csr, key, err := trust.NewRequest(instance(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

// An invitation gives one certificate, of a key that stays where it was made; the same
// request may be repeated, by way of another instance, too.
func TestInvitation(t *testing.T) {
	f := newFleet(t, 3)
	i := f.invite(time.Hour)
	csr, key := request(t, i.Name)
	var first *trust.Material
	for _, at := range f.urls {
		i.At = []string{at}
		m, w, err := i.Accept(t.Context(), csr, key)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if len(w.Roster.Names) != 4 || w.Preset != "lan" {
			t.Errorf("a new host is told the roster %v at pace %q", w.Roster.Names, w.Preset)
		}
		if first != nil && !bytes.Equal(first.Certificate, m.Certificate) {
			t.Errorf("%s: the same request is given another certificate", at)
		}
		first = m
	}
	s, err := trust.New(*first)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID() != instance("dc/3") {
		t.Errorf("the certificate is of %s", s.ID())
	}
	if _, err := f.stores[1].Verify(chainOf(t, s)); err != nil {
		t.Errorf("another instance does not take it: %v", err)
	}

	other, otherKey := request(t, i.Name)
	i.At = f.urls
	if _, _, err := i.Accept(t.Context(), other, otherKey); !errors.Is(err, ring.ErrRefused) ||
		!strings.Contains(err.Error(), "used already") {
		t.Errorf("a second use, for another key: %v", err)
	}
}

// chainOf is what an identity shows.
func chainOf(t *testing.T, s *trust.Store) []*x509.Certificate {
	t.Helper()
	chain, err := x509.ParseCertificates(s.Chain())
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// What gives nobody a certificate.
func TestInvitationRefused(t *testing.T) {
	f := newFleet(t, 3)
	name := "dc/3"
	csr, key := request(t, name)
	refused := func(what string, i *Invitation, csr []byte, want string) {
		t.Helper()
		_, _, err := i.Accept(t.Context(), csr, key)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}

	never := &Invitation{Ring: "test", Name: name, Key: f.invite(time.Hour).Key, At: f.urls}
	never.Pin, _ = trust.PinOf(f.authority.Roots())
	if _, err := f.rings[0].Bus().Delete(t.Context(), inviteKey(name), 0); err != nil {
		t.Fatal(err)
	}
	refused("nobody was invited", never, csr, "is not invited")

	older, newer := f.invite(time.Hour), f.invite(time.Hour)
	refused("an older invitation", older, csr, "use the newest one")

	otherPin := *newer
	otherPin.Pin[0]++
	refused("another authority", &otherPin, csr, "is not the pinned one")

	otherName, _ := request(t, "dc/1")
	refused("a request for another name", newer, otherName, "dc/1")

	short := f.invite(time.Nanosecond)
	refused("an expired one", short, csr, "expired at")

	stranger := *newer
	stranger.Name = "dc/9"
	refused("a name that is not in the roster", &stranger, csr, "is not invited")

	for what, c := range map[string]struct {
		name string
		life time.Duration
	}{
		"one that lives":      {"dc/1", time.Hour},
		"one not in it":       {"dc/9", time.Hour},
		"no time at all":      {name, 0},
		"longer than is sane": {name, 365 * 24 * time.Hour},
	} {
		if _, err := f.issuer.Invite(t.Context(), c.name, c.life, ""); !errors.Is(err, ring.ErrRefused) {
			t.Errorf("inviting %s: %v", what, err)
		}
	}

	still := f.invite(time.Hour)
	plan, err := f.rings[0].PlanRoster(ring.RosterChange{Kind: ring.RosterRetire, Name: ring.Name(name)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.rings[0].ChangeRoster(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	refused("one who was retired since", still, csr, "is not in the roster")
}

// Somebody between a new host and the ring, with a certificate of an authority of his own,
// learns nothing and gives nothing.
func TestInvitationWithSomebodyBetween(t *testing.T) {
	f := newFleet(t, 3)
	mine, err := trust.Init(t.TempDir(), "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mine.Identity(instance("dc/0"), nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	his, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	asked := false
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+RootPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(f.authority.Roots()) // which are no secret
	})
	mux.HandleFunc("POST "+JoinPath, func(http.ResponseWriter, *http.Request) { asked = true })
	s := httptest.NewUnstartedServer(mux)
	s.TLS = his.Server()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()

	i := f.invite(time.Hour)
	i.At = []string{s.Listener.Addr().String()}
	csr, key := request(t, i.Name)
	if _, _, err := i.Accept(t.Context(), csr, key); err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("he was taken for an instance: %v", err)
	}
	if asked {
		t.Error("he was asked for a certificate")
	}
}

// A rotation of the authority reaches all by the bus, and all renew by it over the ring; one
// that was away meanwhile does so when it is back.
func TestRotationRenewsAll(t *testing.T) {
	f := newFleet(t, 3)
	away := f.stores[2]
	for i := range 2 {
		f.background(func(ctx context.Context) { Keep(ctx, f.rings[i], f.stores[i], nil) })
	}
	before := f.stores[1].Leaf()
	awayBefore := away.Leaf()
	if err := f.authority.Rotate(); err != nil {
		t.Fatal(err)
	}
	f.until("two renew", func() bool {
		for _, s := range f.stores[:2] {
			if bytes.Equal(s.Leaf().AuthorityKeyId, before.AuthorityKeyId) {
				return false
			}
		}
		return true
	})
	if bytes.Equal(f.stores[1].Leaf().RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
		t.Error("a renewed certificate is of the old key")
	}
	// Who was away knows nothing of the new root, and takes a certificate of it all the same.
	if _, err := away.Verify(chainOf(t, f.stores[1])); err != nil {
		t.Errorf("who was away does not take a renewed certificate: %v", err)
	}
	if err := f.authority.FinishRotation(false); err == nil {
		t.Error("a rotation is finished while one still has a certificate of the old root")
	}
	f.background(func(ctx context.Context) { Keep(ctx, f.rings[2], away, nil) })
	f.until("the third renews", func() bool { return !away.Leaf().Equal(awayBefore) })
	if err := f.authority.FinishRotation(false); err != nil {
		t.Fatal(err)
	}
	old := mustPin(t, f.stores[2])
	f.until("the old root is gone everywhere", func() bool {
		for _, s := range f.stores {
			if bytes.Count(s.Material().Roots, []byte("BEGIN CERTIFICATE")) > 2 || mustPin(t, s) != old {
				return false
			}
		}
		return true
	})
}

func mustPin(t *testing.T, s *trust.Store) trust.Pin {
	t.Helper()
	p, err := trust.PinOf(s.Material().Roots)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is revoked is known to all, from any instance on; an authority of one's own says
// nothing, and who is revoked does not renew.
func TestRevokedEverywhere(t *testing.T) {
	f := newFleet(t, 3)
	for i := range 3 {
		f.background(func(ctx context.Context) { Keep(ctx, f.rings[i], f.stores[i], nil) })
	}
	bad := f.identity("dc/2")
	if _, err := f.authority.Revoke(instance("dc/2"), "stolen"); err != nil {
		t.Fatal(err)
	}
	for _, s := range f.stores[:2] {
		f.until("it is known", func() bool {
			_, err := s.Verify(chainOf(t, bad))
			return errors.Is(err, trust.ErrRevoked)
		})
	}
	csr, _ := request(t, "dc/2")
	q, err := renewal(bad, csr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(t.Context(), f.rings[2], q); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("who was revoked renews: %v", err)
	}

	mine, err := trust.Init(t.TempDir(), "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	there, _ := f.rings[1].Bus().Peek(trustKey)
	if _, err := Publish(t.Context(), f.rings[1], f.stores[1], mine.Roots(), mine.Revoked()); err == nil {
		t.Error("another authority was published")
	}
	// An operator who writes the key has nobody take what he wrote.
	text, _ := json.Marshal(says{V: version, Roots: mine.Roots()})
	if _, err := f.rings[1].Bus().Set(t.Context(), trustKey, text); err != nil {
		t.Fatal(err)
	}
	f.until("the issuer puts it right", func() bool {
		e, ok := f.rings[1].Bus().Peek(trustKey)
		return ok && bytes.Equal(e.Value, there.Value)
	})
	for i, s := range f.stores {
		if mustPin(t, s) != mustPin(t, f.stores[0]) {
			t.Errorf("instance %d goes by another authority", i)
		}
	}
}

// Requests that an issuer gives nothing for.
func TestRenewalRefused(t *testing.T) {
	f := newFleet(t, 2)
	good := func() Request {
		csr, _ := request(t, "dc/1")
		q, err := renewal(f.stores[1], csr)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	if _, err := Ask(t.Context(), f.rings[1], good()); err != nil {
		t.Fatalf("a good request: %v", err)
	}
	if _, err := Ask(t.Context(), f.rings[1], good()); err == nil || !strings.Contains(err.Error(), "ask again in") {
		t.Errorf("a second one at once: %v", err)
	}
	for what, c := range map[string]struct {
		spoil func(*Request)
		want  string
	}{
		"of another name": {func(q *Request) { q.Name = "dc/0" }, "dc/1"},
		"of another ring": {func(q *Request) { q.Ring = "other" }, `not "other"`},
		"of nobody":       {func(q *Request) { q.Name = "dc/7" }, "not in the roster"},
		"changed on the way": {func(q *Request) {
			q.CSR, _ = request(t, "dc/1")
		}, "sign"},
		"of another version": {func(q *Request) { q.V = 9 }, "version 9"},
		"without a request":  {func(q *Request) { q.CSR = []byte("hello") }, "without a PEM"},
	} {
		q := good()
		c.spoil(&q)
		if _, err := Ask(t.Context(), f.rings[1], q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a request %s: %v, want %q", what, err, c.want)
		}
	}
	if _, err := Serve(f.rings[1], f.stores[1], f.authority, IssuerOptions{Life: time.Second}); err == nil {
		t.Error("an issuer of certificates for a second")
	}
	other, err := trust.Init(t.TempDir(), "other", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(f.rings[1], f.stores[1], other, IssuerOptions{}); err == nil {
		t.Error("an issuer of another ring's authority")
	}
}

// Over HTTP: an invitation is made and used, what it is good for is bounded, and what comes
// is, too.
func TestDesk(t *testing.T) {
	f := newFleet(t, 3)
	post := func(path, body string) (code int, answer string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+f.urls[0]+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, code, err := fetch(nil, req)
		if err != nil {
			t.Fatal(err)
		}
		return code, string(text)
	}
	for _, c := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/v1/invites/dc/3", "", 200, "ring+join://"},
		{"/v1/invites/dc/3?life=soon", "", 400, "is no duration"},
		{"/v1/invites/dc/0", "", 422, "is in the ring"},
		{"/v1/invites/dc/5", "", 422, "not in the roster"},
		{JoinPath, "{", 400, "no request"},
		{JoinPath, `{"v":1}`, 400, "without a PEM"},
		{JoinPath, strings.Repeat(" ", requestMax+1), 400, "too large"},
		{RootPath, "{}", 400, "no roots"},
		{RootPath, "]", 400, "invalid"},
	} {
		if code, text := post(c.path, c.body); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("POST %s: %d %s, want %d with %q", c.path, code, text, c.code, c.want)
		}
	}
}

// What a member can write to the bus is no invitation, and who lives gives his name to nobody.
func TestInvitationOfAMember(t *testing.T) {
	f := newFleet(t, 3)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := trust.PinOf(f.authority.Roots())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"dc/3": "not made by who has the authority", "dc/1": "is in the ring"} {
		text, err := json.Marshal(invited{V: version, Key: public, Expires: time.Now().Add(time.Hour), Seal: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.rings[2].Bus().Set(t.Context(), inviteKey(name), text); err != nil {
			t.Fatal(err)
		}
		f.until("it is there", func() bool { _, ok := f.rings[0].Bus().Peek(inviteKey(name)); return ok })
		mine := &Invitation{Ring: "test", Name: name, Key: private, Pin: pin, At: f.urls[:1]}
		csr, key := request(t, name)
		if _, _, err := mine.Accept(t.Context(), csr, key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	// One that was sealed for another name, or for longer.
	good := f.invite(time.Hour)
	e, _ := f.rings[0].Bus().Peek(inviteKey("dc/3"))
	var one invited
	if err := json.Unmarshal(e.Value, &one); err != nil {
		t.Fatal(err)
	}
	one.Expires = one.Expires.Add(time.Hour)
	text, _ := json.Marshal(one)
	if _, err := f.rings[2].Bus().Set(t.Context(), inviteKey("dc/3"), text); err != nil {
		t.Fatal(err)
	}
	csr, key := request(t, "dc/3")
	if _, _, err := good.Accept(t.Context(), csr, key); err == nil || !strings.Contains(err.Error(), "not made by who has") {
		t.Errorf("an invitation whose end was put off: %v", err)
	}
}

// Of two copies of an authority the one that is behind says nothing, rather than take back what
// the other has said.
func TestTwoCopiesOfAnAuthority(t *testing.T) {
	f := newFleet(t, 3)
	for i := range 3 {
		f.background(func(ctx context.Context) { Keep(ctx, f.rings[i], f.stores[i], nil) })
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(f.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	behind, err := trust.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	bad := f.identity("dc/3")
	if _, err := f.authority.Revoke(instance("dc/3"), "stolen"); err != nil {
		t.Fatal(err)
	}
	known := func() bool {
		_, err := f.stores[1].Verify(chainOf(t, bad))
		return errors.Is(err, trust.ErrRevoked)
	}
	f.until("it is known", known)
	other, err := Serve(f.rings[1], f.stores[1], behind, IssuerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.publish(t.Context()); !errors.Is(err, errCopy) {
		t.Errorf("a copy that is behind publishes: %v", err)
	}
	if !known() {
		t.Error("a revocation was taken back")
	}
}

// Names of hosts are for a person to grant, and stay when a certificate is renewed.
func TestHosts(t *testing.T) {
	f := newFleet(t, 2)
	m, err := f.authority.Identity(instance("dc/1"), []string{"shop.example.net", "192.0.2.7"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.New(m)
	if err != nil {
		t.Fatal(err)
	}
	k := keeper{ring: f.rings[1], store: s}
	if err := k.ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := trust.HostsOf(s.Leaf()); len(got) != 2 || got[0] != "shop.example.net" {
		t.Errorf("a renewed certificate has the hosts %q", got)
	}
	csr, _, err := trust.NewRequest(instance("dc/0"), []string{"bank.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	q, err := renewal(f.stores[0], csr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(t.Context(), f.rings[0], q); err == nil || !strings.Contains(err.Error(), "bank.example.com") {
		t.Errorf("a host that nobody has granted: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	i := &Invitation{At: []string{"10.0.0.1:3000", "a:1"}, Ring: "test", Name: "dc1/prod/0", Key: make([]byte, 64)}
	f.Add([]byte(i.String()))
	f.Add([]byte(`{"v":1,"ring":"r","name":"a","csr":"LS0t","signature":"AA=="}`))
	f.Add([]byte(`{"v":1,"error":"no"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if i, err := ParseInvitation(string(text)); err == nil {
			again, err := ParseInvitation(i.String())
			if err != nil || again.Name != i.Name || again.Pin != i.Pin || !again.Key.Equal(i.Key) {
				t.Fatalf("%q: %+v came back as %+v, %v", text, i, again, err)
			}
		}
		if q, err := parseRequest(text); err == nil && (q.V != version || len(q.CSR) > csrMax) {
			t.Fatalf("%q: %+v was taken", text, q)
		}
		if _, err := parseAnswer(text); err == nil && len(text) > answerMax {
			t.Fatal("too long, and taken")
		}
	})
}
