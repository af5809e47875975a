package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Material is an identity and whom it trusts, all of it PEM.
type Material struct {
	Certificate []byte // the holder's, then cross certificates, if any
	Key         []byte // PKCS 8
	Roots       []byte // roots, cross certificates and the statement of which count
	Revoked     []byte // revocation lists; may be empty
}

// Store holds an identity, which can be exchanged while connections are made: each
// handshake, signature and check goes by what is there at that moment. Safe for concurrent
// use.
type Store struct {
	dir string // empty: in memory
	now atomic.Pointer[snapshot]

	writing  sync.Mutex // held while now is replaced
	mu       sync.Mutex // held for moments
	watchers []*func()  // guarded by mu
}

// Open reads a directory with an identity; the package's comment says what is in it. An
// identity that cannot be used, because it does not fit together, ran out, was revoked,
// or others may read its key, is an error of type *Error.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	m, err := ReadDir(dir)
	if err != nil {
		return nil, err
	}
	return s, s.begin(m)
}

// New makes a Store in memory. Errors are as Open's.
func New(m Material) (*Store, error) {
	s := &Store{}
	return s, s.begin(m)
}

func (s *Store) begin(m Material) error {
	now, err := s.usable(m, nil)
	if err == nil {
		s.now.Store(now)
	}
	return s.at(err)
}

// at adds where the identity is that err is about.
func (s *Store) at(err error) error {
	if err == nil || s.dir == "" {
		return err
	}
	return fmt.Errorf("identity in %s: %w", s.dir, err)
}

// ReadDir reads the files of a directory with an identity, and checks of them only that
// others cannot read the key.
func ReadDir(dir string) (Material, error) {
	var m Material
	b, err := readFile(filepath.Join(dir, identityFile), true)
	if errors.Is(err, fs.ErrNotExist) {
		return m, because(ErrNoCertificate, "there is no identity in %s (no %s): make one with ring ca issue, or "+
			"with ring ca request here and ring ca install of what the authority answers", dir, identityFile)
	}
	if err != nil {
		return m, err
	}
	if block, _ := pem.Decode(b); block == nil {
		return m, because(ErrMalformed, "%s holds no PEM, so neither a key nor a certificate: bring it back, or make "+
			"it anew (ring ca issue)", filepath.Join(dir, identityFile))
	}
	identity, err := parse(b, filepath.Join(dir, identityFile))
	if err != nil {
		return m, err
	}
	m.Certificate = pemOf(certificateBlock, append(raws(identity.chain), raws(identity.crosses)...)...)
	if identity.key != nil {
		m.Key = pemOf(keyBlock, identity.keyDER)
	}
	if m.Roots, err = readFile(filepath.Join(dir, rootsFile), false); errors.Is(err, fs.ErrNotExist) {
		return m, because(ErrUntrusted, "there is no %s in %s: copy the one of the ring's authority there",
			rootsFile, dir)
	} else if err != nil {
		return m, err
	}
	if m.Revoked, err = readFile(filepath.Join(dir, revokedFile), false); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return m, err
}

// usable makes a snapshot of m that is good now. What old has learned is kept where m's
// roots lead to it.
func (s *Store) usable(m Material, old *snapshot) (*snapshot, error) {
	now := time.Now()
	identity, err := parse(m.Certificate, "certificate")
	if err != nil {
		return nil, err
	}
	key, err := parse(m.Key, "key")
	if err != nil {
		return nil, err
	}
	identity.key, identity.keyDER = key.key, key.keyDER
	a, err := readAnchors(m.Roots, m.Revoked, rootsFile)
	if err != nil {
		return nil, err
	}
	if old != nil {
		known, lists := old.anchors.bundles()
		if more, err := a.learn(known, lists, old.id.Ring, now); err == nil {
			a = more
		}
	}
	next, err := newSnapshot(identity, a)
	if err != nil {
		return nil, err
	}
	if a.statement != nil && a.statement.ring != next.id.Ring {
		return nil, because(ErrWrongRing, "the roots are of ring %s, the certificate is of %s: copy both from one "+
			"authority", quoted(a.statement.ring), quoted(next.id.Ring))
	}
	if err := next.counts(now); err != nil {
		return nil, err
	}
	if old != nil {
		if err := sameAs(old.id, next.id); err != nil {
			return nil, err
		}
	}
	next.server = s.serverOf(next)
	return next, nil
}

// sameAs says why a running process cannot become next.
func sameAs(old, next ID) error {
	const do = "the new identity is %s, this is %s: start anew with it, or install one of this name"
	switch {
	case next.Ring != old.Ring:
		return because(ErrWrongRing, do, next, old)
	case next.Role != old.Role:
		return because(ErrWrongRole, do, next, old)
	case next != old:
		return because(ErrWrongName, do, next, old)
	}
	return nil
}

// bundles is a as learn takes it.
func (a *anchors) bundles() (roots, lists *bundle) {
	roots, lists = &bundle{roots: a.roots, crosses: a.crosses}, &bundle{}
	if a.statement != nil {
		roots.statements = []*statement{a.statement}
	}
	if more, err := parse(a.revokedPEM(), revokedFile); err == nil {
		lists = more
	}
	return roots, lists
}

// Reload reads the directory again. All of it is taken or, after an error, nothing. Of
// roots and revocations that were learned the newer ones stay. A Store in memory has
// nothing to read.
func (s *Store) Reload() error {
	if s.dir == "" {
		return nil
	}
	m, err := ReadDir(s.dir)
	if err != nil {
		return err
	}
	s.writing.Lock()
	now, err := s.usable(m, s.now.Load())
	changed := err == nil && s.use(now)
	s.writing.Unlock()
	s.tell(changed)
	return s.at(err)
}

// Replace takes another certificate of the same ID. It is checked, written to the directory
// if there is one, and used from then on. After an error of what m is nothing has changed;
// after one of the directory the new identity counts while this process runs, as the text
// says. Of roots and revocations the newer ones stay. Empty Roots or Revoked leave what there
// is.
func (s *Store) Replace(m Material) error {
	s.writing.Lock()
	old := s.now.Load()
	if len(m.Roots) == 0 {
		m.Roots = old.anchors.rootsPEM()
	}
	if len(m.Revoked) == 0 {
		m.Revoked = old.anchors.revokedPEM()
	}
	now, err := s.usable(m, old)
	if err != nil {
		s.writing.Unlock()
		return s.at(err)
	}
	if s.dir != "" {
		if err = WriteDir(s.dir, now.material()); err != nil {
			err = fmt.Errorf("the new identity counts, but only while this process runs: %w", s.at(err))
		}
	}
	changed := s.use(now)
	s.writing.Unlock()
	s.tell(changed)
	return err
}

// Learn takes roots and revocation lists that came over any way, from anybody. A root is
// taken in only if the newest of those here has signed it, dropped only if the newest says
// so, and a list is taken only if a root that counts has signed it and its number is
// higher. It says whether anything changed. An error is of what came, and then nothing
// changed; or of the directory, and then what came counts while this process runs
// (changed is true).
func (s *Store) Learn(roots, revoked []byte) (changed bool, err error) {
	came, err := parse(roots, "roots that came")
	if err != nil {
		return false, err
	}
	lists, err := parse(revoked, "revocation lists that came")
	if err != nil {
		return false, err
	}
	s.writing.Lock()
	old := s.now.Load()
	a, err := old.anchors.learn(came, lists, old.id.Ring, time.Now())
	if err != nil || a == old.anchors {
		s.writing.Unlock()
		return false, err
	}
	now := &snapshot{
		id: old.id, leaf: old.leaf, key: old.key, keyDER: old.keyDER, crosses: old.crosses, chain: old.chain,
		anchors: a, pool: a.pool(), cert: old.cert, verified: map[fingerprint]holder{},
	}
	now.server = s.serverOf(now)
	if s.dir != "" {
		if err = WriteDir(s.dir, Material{Roots: a.rootsPEM(), Revoked: a.revokedPEM()}); err != nil {
			err = fmt.Errorf("what was learned counts, but only while this process runs: %w", s.at(err))
		}
	}
	changed = s.use(now)
	s.writing.Unlock()
	s.tell(changed)
	return changed, err
}

// WriteDir writes the files of an identity, each whole or not at all, in an order that the
// package's comment explains. Without a Certificate identity.pem stays as it is, and
// without Revoked crl.pem does.
func WriteDir(dir string, m Material) error {
	if err := WriteFile(filepath.Join(dir, rootsFile), m.Roots, 0o644); err != nil {
		return err
	}
	if len(m.Certificate) > 0 {
		identity := slices.Concat(m.Key, m.Certificate)
		if err := WriteFile(filepath.Join(dir, identityFile), identity, 0o600); err != nil {
			return err
		}
	}
	if len(m.Revoked) > 0 {
		return WriteFile(filepath.Join(dir, revokedFile), m.Revoked, 0o644)
	}
	return nil
}

// use makes now what counts, and says whether that is another thing than before.
func (s *Store) use(now *snapshot) bool {
	old := s.now.Load()
	if bytes.Equal(old.chain, now.chain) && bytes.Equal(old.keyDER, now.keyDER) &&
		bytes.Equal(old.anchors.rootsPEM(), now.anchors.rootsPEM()) &&
		bytes.Equal(old.anchors.revokedPEM(), now.anchors.revokedPEM()) {
		return false
	}
	s.now.Store(now)
	return true
}

// OnChange has f called after each Reload, Replace and Learn that changed something, by
// whoever called that, one call at a time or several, until stop is called. What f
// needs it asks the Store for.
func (s *Store) OnChange(f func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &f
	s.watchers = append(s.watchers, w)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watchers = slices.DeleteFunc(s.watchers, func(o *func()) bool { return o == w })
	}
}

func (s *Store) tell(changed bool) {
	if !changed {
		return
	}
	s.mu.Lock()
	watchers := slices.Clone(s.watchers)
	s.mu.Unlock()
	for _, f := range watchers {
		(*f)()
	}
}

// ID returns who this is.
func (s *Store) ID() ID { return s.now.Load().id }

// Leaf returns the certificate of this identity. It must not be written.
func (s *Store) Leaf() *x509.Certificate { return s.now.Load().leaf }

// Counts says why others that know what this Store knows refuse it now, or nil: its
// certificate ran out or was revoked, or its root counts no more.
func (s *Store) Counts() error { return s.at(s.now.Load().counts(time.Now())) }

func (s *snapshot) counts(now time.Time) error {
	_, err := s.verify(append([]*x509.Certificate{s.leaf}, s.crosses...), now)
	return err
}

// Material returns all that the Store holds, the key too.
func (s *Store) Material() Material { return s.now.Load().material() }

func (s *snapshot) material() Material {
	return Material{
		Certificate: pemOf(certificateBlock, append([][]byte{s.leaf.Raw}, raws(s.crosses)...)...),
		Key:         pemOf(keyBlock, s.keyDER),
		Roots:       s.anchors.rootsPEM(),
		Revoked:     s.anchors.revokedPEM(),
	}
}

// Server returns a configuration for accepting. It shows this identity, asks for a
// certificate and verifies one that is given; whoever gives none is let in, and PeerOf
// tells. It follows what the Store holds, and must not be changed but in a clone.
func (s *Store) Server() *tls.Config {
	c := tls13()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.now.Load().server, nil
	}
	// Not used, but net/http looks for one of these before it serves.
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &s.now.Load().cert, nil
	}
	return c
}

// serverOf is Server while now counts. Its roots go out as a hint which certificate to
// give, so that browsers do not ask about others.
func (s *Store) serverOf(now *snapshot) *tls.Config {
	c := tls13()
	c.Certificates = []tls.Certificate{now.cert}
	c.ClientAuth = tls.RequestClientCert
	c.ClientCAs = now.pool
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		_, err := s.Verify(cs.PeerCertificates)
		return err
	}
	return c
}

// Client returns a configuration for dialing. The other end must be exactly peer, or, if
// that is the zero ID, any instance of this ring. It follows what the Store holds.
func (s *Store) Client(peer ID) *tls.Config {
	c := tls13()
	// Names are URIs here, which the standard library does not look at: all that it
	// would verify is verified by VerifyConnection.
	c.InsecureSkipVerify = true
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &s.now.Load().cert, nil
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		got, err := s.Verify(cs.PeerCertificates)
		if err != nil {
			return err
		}
		want := peer
		if want == (ID{}) {
			want = ID{Role: Instance, Ring: got.Ring, Name: got.Name}
		}
		return mustBe(got, want)
	}
	return c
}

func tls13() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // a resumed session would not be verified again
		// A frame is of use when it is whole: small records at the beginning would cost more.
		DynamicRecordSizingDisabled: true,
	}
}

// PeerOf returns who the other end of a connection is, which was made by Server or Client.
// It verifies again: who was revoked or ran out meanwhile is an error, and so is who gave
// no certificate (ErrNoCertificate).
func (s *Store) PeerOf(cs *tls.ConnectionState) (ID, error) {
	if cs == nil || !cs.HandshakeComplete {
		return ID{}, because(ErrNoCertificate, "the other end has given no certificate: the connection is not "+
			"encrypted; use https")
	}
	return s.Verify(cs.PeerCertificates)
}

// Verify returns whom the first certificate of a chain names, if it counts now: a root
// that is trusted has signed it, by cross certificates in the chain or directly, it is of
// this ring, it is valid by this host's clock, and nothing of the chain was revoked. That
// the other end has its key is for TLS, or a signature, to show.
func (s *Store) Verify(chain []*x509.Certificate) (ID, error) {
	h, err := s.now.Load().verify(chain, time.Now())
	return h.id, err
}
