package trust

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Onlooker returns a configuration for dialing instances, for who has no identity: whom it
// reaches must be any instance of the ring whose roots these are, as Material.Roots has
// them. Of revocations it knows those in revoked, which may be empty.
func Onlooker(roots, revoked []byte) (*tls.Config, error) {
	trusted, err := parse(roots, "roots")
	if err != nil {
		return nil, err
	}
	lists, err := parse(revoked, revokedFile)
	if err != nil {
		return nil, err
	}
	a, err := newAnchors(trusted, lists)
	if err != nil {
		return nil, err
	}
	s := &snapshot{anchors: a, pool: x509.NewCertPool(), verified: map[fingerprint]holder{}}
	for _, c := range a.roots {
		s.pool.AddCert(c)
	}
	if a.statement != nil {
		s.id.Ring = a.statement.ring
	}
	c := tls13()
	c.InsecureSkipVerify = true // as in Store.Client
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		one := s
		if s.id.Ring == "" && len(cs.PeerCertificates) > 0 { // roots alone name no ring: what they have signed does
			id, err := IDOf(cs.PeerCertificates[0])
			if err != nil {
				return err
			}
			one = &snapshot{id: ID{Ring: id.Ring}, anchors: a, pool: s.pool, verified: map[fingerprint]holder{}}
		}
		h, err := one.verify(cs.PeerCertificates, time.Now())
		if err != nil {
			return err
		}
		return mustBe(h.id, ID{Role: Instance, Ring: h.id.Ring, Name: h.id.Name})
	}
	return c, nil
}
