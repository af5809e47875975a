package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The files of an authority's directory. The first holds key and roots together, so that
// they are exchanged in one rename; the last two are made of it and of the list.
const (
	authorityFile = "ca.key"
	issuedFile    = "issued.jsonl"
	authorityLock = "lock"
)

const (
	backdate   = 5 * time.Minute     // clocks of hosts may be that far behind the authority's
	keepGone   = 30 * 24 * time.Hour // how long after its end a revoked certificate stays on the list
	serialBits = 127
)

// LifeMin is the shortest life that a certificate is given.
const LifeMin = time.Minute

// Authority is the private side of a ring's trust: a directory with the key, and what was
// issued. Safe for concurrent use, also by several processes on one host (where there are
// file locks: not on Solaris and AIX).
//
//	ca.key        the key, the roots, cross certificates, the statement; mode 0600
//	ca.pem        what of it all may know
//	issued.jsonl  what was issued and revoked, a line each, behind a line with the version
//	crl.pem       the revocation list
type Authority struct {
	dir string

	mu     sync.Mutex
	ring   string
	key    *ecdsa.PrivateKey
	keyDER []byte
	trust  *anchors
	issued ledger
}

// Init makes an authority for a ring in dir, which is made and must not have one. Its root
// lives for life (0: ten years).
func Init(dir, ring string, life time.Duration) (*Authority, error) {
	if err := (ID{Instance, ring, "x"}).Check(); err != nil {
		return nil, err
	}
	if life == 0 {
		life = 10 * 365 * 24 * time.Hour
	}
	if life < LifeMin {
		return nil, because(ErrMalformed, "a life of %v is too short: give at least %v", life, LifeMin)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, ring: ring}
	lock, err := lockFile(filepath.Join(dir, authorityLock))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := os.Lstat(filepath.Join(dir, authorityFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, because(ErrInUse, "there is an authority in %s already, or something in its way: use it, or "+
			"give another directory", dir)
	}
	root, key, err := newRoot(ring, life)
	if err != nil {
		return nil, err
	}
	if err := a.issued.begin(filepath.Join(dir, issuedFile), ring); err != nil {
		return nil, err
	}
	a.trust = &anchors{}
	return a, a.take([]*x509.Certificate{root}, nil, key)
}

// OpenAuthority opens the directory of an authority.
func OpenAuthority(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	unlock, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return a, a.publish()
}

// enter takes the lock and reads what others have changed.
func (a *Authority) enter() (leave func(), err error) {
	a.mu.Lock()
	path := filepath.Join(a.dir, authorityFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		a.mu.Unlock()
		return nil, because(ErrNotFound, "there is no authority in %s (no %s): make one with ring ca init, or give "+
			"its directory", a.dir, authorityFile)
	}
	lock, err := lockFile(filepath.Join(a.dir, authorityLock))
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	leave = func() {
		lock.Close()
		a.mu.Unlock()
	}
	if err := a.read(path); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (a *Authority) read(path string) error {
	text, err := readFile(path, true)
	if err != nil {
		return err
	}
	b, err := parse(text, path)
	if err != nil {
		return err
	}
	t, err := newAnchors(b, &bundle{})
	if err != nil {
		return err
	}
	if b.key == nil || t.statement == nil || !b.key.PublicKey.Equal(t.roots[0].PublicKey) {
		return because(ErrKeyMismatch, "%s is damaged: its key is not that of the newest root; bring it back from "+
			"a backup", path)
	}
	if list, err := readFile(filepath.Join(a.dir, revokedFile), false); err == nil {
		// A list that is missing or damaged is made anew.
		if lists, err := parse(list, revokedFile); err == nil {
			var changed bool
			_ = t.revoke(lists, &changed)
		}
	}
	a.ring, a.key, a.keyDER, a.trust = t.statement.ring, b.key, b.keyDER, t
	return a.issued.read(filepath.Join(a.dir, issuedFile), a.ring)
}

// take makes roots what counts, the first with its key, and writes everything.
func (a *Authority) take(roots, crosses []*x509.Certificate, key *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	s, err := newStatement(numberAfter(a.trust.statementNumber()), a.ring, roots, key)
	if err != nil {
		return err
	}
	t := &anchors{roots: roots, crosses: crosses, statement: s, revoked: a.trust.revoked}
	if err := WriteFile(filepath.Join(a.dir, authorityFile),
		append(pemOf(keyBlock, keyDER), t.rootsPEM()...), 0o600); err != nil {
		return err
	}
	a.key, a.keyDER, a.trust = key, keyDER, t
	return a.publish()
}

func (a *anchors) statementNumber() uint64 {
	if a.statement == nil {
		return 0
	}
	return a.statement.number
}

// numberAfter is above last, and above what an authority that was brought back from a
// backup gave before: seconds since 1970.
func numberAfter(last uint64) uint64 { return max(last+1, uint64(max(0, time.Now().Unix()))) }

// publish makes the files that follow from the key, the roots and the list, where they do
// not.
func (a *Authority) publish() error {
	path := filepath.Join(a.dir, rootsFile)
	if old, err := readFile(path, false); err != nil || string(old) != string(a.trust.rootsPEM()) {
		if err := WriteFile(path, a.trust.rootsPEM(), 0o644); err != nil {
			return err
		}
	}
	entries := a.issued.revoked(time.Now().Add(-keepGone))
	head := a.trust.roots[0]
	last := a.trust.revoked[printOf(head)]
	if last != nil && last.has(entries) {
		return nil
	}
	number := uint64(0)
	if last != nil {
		number = last.number
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		RevokedCertificateEntries: entries,
		Number:                    new(big.Int).SetUint64(numberAfter(number)),
		ThisUpdate:                time.Now(),
		NextUpdate:                head.NotAfter, // the newest that is known counts
	}, head, a.key)
	if err != nil {
		return err
	}
	text := pemOf(revokedBlock, der)
	if len(text) > fileMax {
		return because(ErrMalformed, "%d certificates are revoked, more than a list of 1 MiB holds: begin a new "+
			"authority, or issue shorter lives", len(entries))
	}
	if err := WriteFile(filepath.Join(a.dir, revokedFile), text, 0o644); err != nil {
		return err
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	t := *a.trust
	t.revoked = map[fingerprint]*revocations{printOf(head): newRevocations(l)}
	a.trust = &t
	return nil
}

// has says whether r lists all of entries, and nothing else.
func (r *revocations) has(entries []x509.RevocationListEntry) bool {
	return len(r.serials) == len(entries) && !slices.ContainsFunc(entries, func(e x509.RevocationListEntry) bool {
		_, ok := r.serials[string(e.SerialNumber.Bytes())]
		return !ok
	})
}

func newRoot(ring string, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{short(ring)},
			CommonName:   fmt.Sprintf("%s authority %x", ring[max(0, len(ring)-40):], serial.Bytes()[:4]),
		},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	c, err := create(t, t, &key.PublicKey, key)
	return c, key, err
}

func create(t, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial is a random number with its highest bit set, so that all are of one length.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits-1))
	if err != nil {
		return nil, err
	}
	return n.SetBit(n, serialBits-1, 1), nil
}

// Ring returns the name of the ring.
func (a *Authority) Ring() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ring
}

// Sign issues a certificate for what a request asks, which must be id: PEM, the certificate
// and the cross certificates. It is valid from five minutes ago, for life (0: 30 days), but
// not longer than the root. The hosts of the request are taken over as they are:
// ReadRequest tells them.
func (a *Authority) Sign(csr []byte, id ID, life time.Duration) (chain []byte, err error) {
	r, err := ReadRequest(csr)
	if err != nil {
		return nil, err
	}
	leave, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	chain, issued, err := a.certify(r, id, life)
	if err != nil {
		return nil, err
	}
	// First the list: what was issued and is not on it could not be revoked.
	if err := a.issued.add(issued); err != nil {
		return nil, err
	}
	return chain, nil
}

// certify is Sign without the list. The caller has entered.
func (a *Authority) certify(r Request, id ID, life time.Duration) (chain []byte, issued record, err error) {
	if life == 0 {
		life = 30 * 24 * time.Hour
	}
	if life < LifeMin {
		return nil, record{}, because(ErrMalformed, "a life of %v is too short: give at least %v", life, LifeMin)
	}
	if err := mustAsk(r.ID, id, a.ring); err != nil {
		return nil, record{}, err
	}
	root, now := a.trust.roots[0], time.Now()
	if now.After(root.NotAfter) {
		return nil, record{}, because(ErrExpired, "the authority's root expired at %s: nothing that it signs is taken; make "+
			"a new authority, or check the clock", stamp(root.NotAfter))
	}
	uris, dns, ips, err := names(r.ID, r.Hosts)
	if err != nil {
		return nil, record{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, record{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: subject(id), URIs: uris, DNSNames: dns, IPAddresses: ips,
		NotBefore: latest(now.Add(-backdate), root.NotBefore), NotAfter: earliest(now.Add(life), root.NotAfter),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if id.Role == Instance {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	leaf, err := create(t, root, r.csr.PublicKey.(*ecdsa.PublicKey), a.key)
	if err != nil {
		return nil, record{}, err
	}
	certs := [][]byte{leaf.Raw}
	size := len(leaf.Raw)
	for _, c := range a.trust.crosses {
		if size += len(c.Raw); size <= chainLen && within(c, now) {
			certs = append(certs, c.Raw)
		}
	}
	return pemOf(certificateBlock, certs...), record{Op: opIssue, Issued: issuedOf(leaf, id, root)}, nil
}

func mustAsk(asked, id ID, ring string) error {
	switch {
	case id.Ring != ring || asked.Ring != ring:
		return because(ErrWrongRing, "the request is of %s, this authority is of ring %s: take it to the "+
			"authority of its ring", asked, quoted(ring))
	case asked.Role != id.Role:
		return because(ErrWrongRole, "the request asks to be %s, and %s was to be signed: make it anew with "+
			"--role %s", asked, id, id.Role)
	case asked != id:
		return because(ErrWrongName, "the request asks to be %s, and %s was to be signed: make it anew for that name",
			asked, id)
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Revoke revokes all certificates of id that are still valid, and returns them. The reason
// is for people.
func (a *Authority) Revoke(id ID, reason string) ([]Issued, error) {
	return a.revoke(reason, id.String(), func(c Issued) bool { return c.ID == id })
}

// RevokeSerial revokes the one certificate with that serial number, in hexadecimal digits.
func (a *Authority) RevokeSerial(serial, reason string) ([]Issued, error) {
	return a.revoke(reason, "serial number "+quoted(serial), func(c Issued) bool { return c.Serial == serial })
}

func (a *Authority) revoke(reason, what string, of func(Issued) bool) ([]Issued, error) {
	if len(reason) > reasonMax {
		return nil, because(ErrMalformed, "the reason has %d bytes: write at most %d", len(reason), reasonMax)
	}
	leave, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	now := time.Now()
	var gone []Issued
	found := false
	for _, c := range a.issued.all {
		if !of(c) {
			continue
		}
		found = true
		if c.Revoked.IsZero() && now.Before(c.NotAfter) {
			gone = append(gone, c)
		}
	}
	switch {
	case !found:
		return nil, because(ErrNotFound, "nothing was issued for %s: see ring ca list", what)
	case len(gone) == 0:
		return nil, because(ErrNotFound, "what was issued for %s has ended or is revoked already: there is nothing "+
			"to do", what)
	}
	for i := range gone {
		gone[i].Revoked, gone[i].Reason = now.UTC().Truncate(time.Second), reason
		if err := a.issued.add(record{Op: opRevoke, Issued: gone[i]}); err != nil {
			return nil, err
		}
	}
	return gone, a.publish()
}

// Issued returns all that was issued, the oldest first. What ended long ago may be
// missing.
func (a *Authority) Issued() ([]Issued, error) {
	leave, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return slices.Clone(a.issued.all), nil
}

// Rotate begins a rotation: it makes a new root, has the old one sign it, and destroys the
// old key. From then on the new root signs, and both count. The new one lives as long as
// the old one was to.
func (a *Authority) Rotate() error {
	leave, err := a.enter()
	if err != nil {
		return err
	}
	defer leave()
	if len(a.trust.roots) > 1 {
		return because(ErrInUse, "a rotation is under way: finish it first (ring ca rotate --finish)")
	}
	old, now := a.trust.roots[0], time.Now()
	root, key, err := newRoot(a.ring, old.NotAfter.Sub(old.NotBefore)-backdate)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	cross, err := create(&x509.Certificate{
		SerialNumber: serial, Subject: root.Subject,
		NotBefore: latest(now.Add(-backdate), old.NotBefore), NotAfter: earliest(old.NotAfter, root.NotAfter),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:     x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: root.SubjectKeyId,
	}, old, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	crosses := append([]*x509.Certificate{cross}, a.trust.crosses...)
	crosses = crosses[:min(len(crosses), crossMax)]
	return a.take([]*x509.Certificate{root, old}, crosses, key)
}

// Rotating says whether two roots count.
func (a *Authority) Rotating() bool { return len(a.current().roots) > 1 }

// current is what counts, as the directory says, or, if it cannot be read, as it said.
func (a *Authority) current() *anchors {
	leave, err := a.enter()
	if err != nil {
		a.mu.Lock()
		leave = a.mu.Unlock
	}
	defer leave()
	return a.trust
}

// FinishRotation has the old root count no more. It refuses (ErrInUse) while the newest
// certificate of anybody, still valid, is of the old root: they would be out; unless it is
// forced.
func (a *Authority) FinishRotation(force bool) error {
	leave, err := a.enter()
	if err != nil {
		return err
	}
	defer leave()
	if len(a.trust.roots) < 2 {
		return because(ErrNotFound, "no rotation is under way: begin one with ring ca rotate")
	}
	if left := a.issued.left(a.trust.roots[0], time.Now()); len(left) > 0 && !force {
		return because(ErrInUse, "%d still use a certificate of the old root: issue them new ones, wait until the "+
			"old ones end, or force it, and they are out: %s", len(left), someOf(left))
	}
	return a.take(a.trust.roots[:1], a.trust.crosses, a.key)
}

// Seal returns a code over message that only who has the key of the newest root can make, and
// tell from others (Sealed): for what issuers say to each other by way of anybody. It is no
// signature. It counts until the authority rotates.
func (a *Authority) Seal(message []byte) ([]byte, error) {
	leave, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	private, err := a.key.Bytes()
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(append([]byte("ring/seal/1\x00"), private...))
	code := hmac.New(sha256.New, key[:])
	code.Write(message)
	return code.Sum(nil), nil
}

// Sealed says whether seal is of message.
func (a *Authority) Sealed(message, seal []byte) bool {
	want, err := a.Seal(message)
	return err == nil && hmac.Equal(want, seal)
}

// someOf names the first of those to whom something was issued, and how many more they are.
func someOf(all []Issued) string {
	const most = 10
	var names []string
	for _, c := range all[:min(len(all), most)] {
		names = append(names, c.ID.String())
	}
	text := strings.Join(names, ", ")
	if more := len(all) - most; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Roots returns what Material.Roots is to be, PEM.
func (a *Authority) Roots() []byte { return a.current().rootsPEM() }

// Revoked returns what Material.Revoked is to be, PEM.
func (a *Authority) Revoked() []byte { return a.current().revokedPEM() }

// Identity makes a key and a certificate of id here, for tests and where all is on one
// host: a key that is made where it is used never travels (NewRequest).
func (a *Authority) Identity(id ID, hosts []string, life time.Duration) (Material, error) {
	csr, key, err := NewRequest(id, hosts)
	if err != nil {
		return Material{}, err
	}
	chain, err := a.Sign(csr, id, life)
	if err != nil {
		return Material{}, err
	}
	return Material{Certificate: chain, Key: key, Roots: a.Roots(), Revoked: a.Revoked()}, nil
}

// Identities is Identity for many at once, which takes little longer than for one.
func (a *Authority) Identities(ids []ID, life time.Duration) ([]Material, error) {
	out, requests := make([]Material, len(ids)), make([]Request, len(ids))
	for i, id := range ids {
		csr, key, err := NewRequest(id, nil)
		if err == nil {
			requests[i], err = ReadRequest(csr)
		}
		if err != nil {
			return nil, err
		}
		out[i].Key = key
	}
	leave, err := a.enter()
	if err != nil {
		return nil, err
	}
	issued := make([]record, len(ids))
	for i, id := range ids {
		if out[i].Certificate, issued[i], err = a.certify(requests[i], id, life); err != nil {
			leave()
			return nil, err
		}
	}
	err = a.issued.add(issued...)
	leave()
	if err != nil {
		return nil, err
	}
	roots, revoked := a.Roots(), a.Revoked()
	for i := range out {
		out[i].Roots, out[i].Revoked = roots, revoked
	}
	return out, nil
}

func hexOf(n *big.Int) string { return hex.EncodeToString(n.Bytes()) }
