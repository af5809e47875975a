package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"
)

// verifiedMax is how many chains are remembered: those of the largest roster, and some.
const verifiedMax = 20_000

// snapshot is an identity and whom it trusts, whole. It is never written once it is used,
// but for what it remembers of chains that it has verified.
type snapshot struct {
	id      ID
	leaf    *x509.Certificate
	key     *ecdsa.PrivateKey
	keyDER  []byte
	crosses []*x509.Certificate // behind leaf in the chain
	chain   []byte              // DER, leaf first
	anchors *anchors
	pool    *x509.CertPool
	cert    tls.Certificate
	server  *tls.Config

	mu       sync.Mutex
	verified map[fingerprint]holder // guarded by mu
}

// holder is what is left of a chain once it is verified.
type holder struct {
	id          ID
	key         *ecdsa.PublicKey
	from, until time.Time // of all its certificates together
}

// newSnapshot checks that the parts fit together, not whether the certificate counts.
func newSnapshot(b *bundle, a *anchors) (*snapshot, error) {
	switch {
	case b.key == nil:
		return nil, because(ErrKeyMismatch, "there is no key beside the certificate in %s: make a request where "+
			"it is used (ring ca request) and install what the authority answers (ring ca install)",
			identityFile)
	case len(b.chain) == 0:
		return nil, because(ErrNoCertificate, "there is no certificate beside the key in %s: take the request to "+
			"the authority (ring ca issue) and install its answer (ring ca install)", identityFile)
	case len(b.chain) > 1:
		return nil, because(ErrMalformed, "%s has %d certificates of holders: leave the one of the key",
			identityFile, len(b.chain))
	}
	s := &snapshot{
		leaf: b.chain[0], key: b.key, keyDER: b.keyDER, crosses: b.crosses, anchors: a,
		pool: a.pool(), verified: map[fingerprint]holder{},
	}
	var err error
	if s.id, err = IDOf(s.leaf); err != nil {
		return nil, err
	}
	if !s.key.PublicKey.Equal(s.leaf.PublicKey) {
		return nil, because(ErrKeyMismatch, "the key does not fit %s: both must come of one request "+
			"(ring ca request)", describe(s.leaf))
	}
	certs := append([]*x509.Certificate{s.leaf}, s.crosses...)
	for _, c := range certs {
		s.chain = append(s.chain, c.Raw...)
	}
	s.cert = tls.Certificate{Certificate: raws(certs), PrivateKey: s.key, Leaf: s.leaf}
	return s, nil
}

// verify returns who holds the first certificate of chain, if it may be believed now.
func (s *snapshot) verify(chain []*x509.Certificate, now time.Time) (holder, error) {
	if len(chain) == 0 {
		return holder{}, because(ErrNoCertificate, "the other end has given no certificate: it needs one of "+
			"ring %s", quoted(s.id.Ring))
	}
	size := 0
	for _, c := range chain {
		size += len(c.Raw)
	}
	if len(chain) > chainMax || size > chainLen {
		return holder{}, because(ErrMalformed, "a chain of %d certificates and %d bytes came, at most %d and %d "+
			"are possible: leave out what is not needed", len(chain), size, chainMax, chainLen)
	}
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw)
	}
	return s.remember(fingerprint(h.Sum(nil)), now, func() ([]*x509.Certificate, error) { return chain, nil })
}

// remember verifies the chain with that hash, unless it did before.
func (s *snapshot) remember(sum fingerprint, now time.Time,
	chain func() ([]*x509.Certificate, error),
) (holder, error) {
	s.mu.Lock()
	h, ok := s.verified[sum]
	s.mu.Unlock()
	if ok && !now.Before(h.from) && !now.After(h.until) {
		return h, nil
	}
	certs, err := chain()
	if err != nil {
		return holder{}, err
	}
	if h, err = s.examine(certs, now); err != nil {
		return holder{}, err
	}
	s.mu.Lock()
	if len(s.verified) >= verifiedMax {
		clear(s.verified)
	}
	s.verified[sum] = h
	s.mu.Unlock()
	return h, nil
}

// examine does all of verify's work.
func (s *snapshot) examine(chain []*x509.Certificate, now time.Time) (holder, error) {
	leaf := chain[0]
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || leaf.IsCA {
		return holder{}, because(ErrMalformed, "%s is not of a kind that a ring's authority issues: ECDSA P-256, "+
			"and no authority itself", describe(leaf))
	}
	path, err := s.path(chain, now)
	if err != nil {
		return holder{}, err
	}
	h := holder{key: key, from: leaf.NotBefore, until: leaf.NotAfter}
	if h.id, err = IDOf(leaf); err != nil {
		return holder{}, err
	}
	switch {
	case h.id.Ring != s.id.Ring:
		return holder{}, because(ErrWrongRing, "%s is of another ring, this is ring %s: give it one of this ring's "+
			"authority", describe(leaf), quoted(s.id.Ring))
	case now.Before(leaf.NotBefore):
		return holder{}, because(ErrNotYetValid, "%s is not yet valid: it is from %s, and here it is %s; check the "+
			"clocks of both hosts", describe(leaf), stamp(leaf.NotBefore), stamp(now))
	case now.After(leaf.NotAfter):
		return holder{}, because(ErrExpired, "%s expired at %s, and here it is %s: issue another (ring ca issue), "+
			"or check the clock", describe(leaf), stamp(leaf.NotAfter), stamp(now))
	}
	for _, c := range path {
		h.from, h.until = latest(h.from, c.NotBefore), earliest(h.until, c.NotAfter)
	}
	return h, nil
}

// path returns how a chain comes to a root that counts, at now or, where its leaf is not
// valid then, when it is.
func (s *snapshot) path(chain []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	leaf := chain[0]
	at := earliest(latest(now, leaf.NotBefore), leaf.NotAfter)
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots: s.pool, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, because(ErrExpired, "%s was signed by an authority that is valid from %s until %s, not at %s: "+
			"check the clock, or let the authority rotate (ring ca rotate)", describe(leaf),
			stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter), stamp(at))
	case errors.As(err, &invalid):
		return nil, because(ErrMalformed, "%s cannot be used: %v", describe(leaf), invalid)
	case err != nil && slices.ContainsFunc(s.anchors.roots, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, leaf.RawIssuer)
	}):
		return nil, because(ErrUntrusted, "%s was not signed by the authority that it names (%s): it is damaged or "+
			"forged", describe(leaf), shown(leaf.Issuer.CommonName))
	case err != nil:
		return nil, because(ErrUntrusted, "%s was signed by an authority that is not trusted here (%s): the trusted "+
			"one is %s; use a certificate of that one, or, if the authority was replaced, its %s",
			describe(leaf), shown(leaf.Issuer.CommonName), shown(s.anchors.roots[0].Subject.CommonName), rootsFile)
	}
	var gone error
	for _, path := range paths {
		if gone = s.revoked(path); gone == nil {
			return path, nil
		}
	}
	return nil, gone
}

// revoked says whether a certificate of a path was revoked, its root apart.
func (s *snapshot) revoked(path []*x509.Certificate) error {
	for i, c := range slices.Backward(path[:len(path)-1]) {
		if e, ok := s.anchors.revocation(c, path[i+1]); ok {
			return because(ErrRevoked, "%s was revoked at %s (serial number %x): issue another one (ring ca issue) "+
				"if it is to have one", describe(c), stamp(e.RevocationTime), c.SerialNumber)
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
