package trust

import (
	"crypto/tls"
	"time"
)

// Onlooker returns a configuration for dialing instances, for who has no identity: whom it
// reaches must be any instance of the ring whose roots these are, as Material.Roots has
// them. Of revocations it knows those in revoked, which may be empty.
func Onlooker(roots, revoked []byte) (*tls.Config, error) {
	a, err := readAnchors(roots, revoked, "roots")
	if err != nil {
		return nil, err
	}
	s := a.bystander("")
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
			one = a.bystander(id.Ring)
		}
		h, err := one.verify(cs.PeerCertificates, time.Now())
		if err != nil {
			return err
		}
		return mustBe(h.id, ID{Role: Instance, Ring: h.id.Ring, Name: h.id.Name})
	}
	return c, nil
}
