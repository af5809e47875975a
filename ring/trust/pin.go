package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"time"
)

// Pin is the SHA-256 of a root's certificate: what somebody can be told who knows no root
// yet.
type Pin [sha256.Size]byte

// PinOf returns that of the newest of roots, which are as in Material.
func PinOf(roots []byte) (Pin, error) {
	a, err := readAnchors(roots, nil, "roots")
	if err != nil {
		return Pin{}, err
	}
	return Pin(printOf(a.roots[0])), nil
}

// Pinned are roots that somebody knows by their Pin alone, of a ring. It is safe for
// concurrent use.
type Pinned struct{ snapshot *snapshot }

// ByPin returns those of roots, which may have come from anybody. The newest must be the
// pinned one, and have said which others count.
func ByPin(roots []byte, pin Pin, ring string) (*Pinned, error) {
	a, err := readAnchors(roots, nil, "roots")
	if err != nil {
		return nil, err
	}
	switch {
	case printOf(a.roots[0]) != fingerprint(pin):
		return nil, because(ErrUntrusted, "the authority there (%s) is not the pinned one (%x…): it is of another ring, "+
			"has rotated since, or somebody stands between; get the pin anew", shown(a.roots[0].Subject.CommonName), pin[:4])
	case a.statement == nil && len(a.roots) > 1:
		return nil, because(ErrUntrusted, "the pinned authority has not said which other roots count")
	case a.statement != nil && a.statement.ring != ring:
		return nil, because(ErrWrongRing, "the authority there is of ring %s, not of %s", quoted(a.statement.ring),
			quoted(ring))
	}
	return &Pinned{a.bystander(ring)}, nil
}

// Verify is Store.Verify by these roots; nothing is known to be revoked.
func (p *Pinned) Verify(chain []*x509.Certificate) (ID, error) {
	h, err := p.snapshot.verify(chain, time.Now())
	return h.id, err
}

// RenewAt is when the certificate should be renewed: with a third of its life left, or, where
// it is not of the newest root, now.
func (s *Store) RenewAt() time.Time {
	now := s.now.Load()
	if newest := now.anchors.roots[0]; !bytes.Equal(now.leaf.AuthorityKeyId, newest.SubjectKeyId) {
		return now.leaf.NotBefore
	}
	life := now.leaf.NotAfter.Sub(now.leaf.NotBefore.Add(backdate))
	return now.leaf.NotAfter.Add(-life / 3)
}
