package ring

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"ringofservers.dev/ring/trust"
)

// Certificate is what this instance proves who it is with.
type Certificate struct {
	Identity  string    `json:"identity"` // its URI, ring://RING/NAME
	Serial    string    `json:"serial"`   // hexadecimal digits
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// TLS returns Config.TLS, with which what it holds can be renewed and asked; nil without.
func (r *Ring) TLS() *trust.Store { return r.cfg.TLS }

// certificate is that of Status, nil without TLS.
func (r *Ring) certificate() *Certificate {
	if r.cfg.TLS == nil {
		return nil
	}
	leaf := r.cfg.TLS.Leaf()
	return &Certificate{
		Identity: r.cfg.TLS.ID().String(), Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		Issuer: leaf.Issuer.CommonName, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
}

// speaksFor says whether c.TLS is the identity of this very instance.
func (c Config) speaksFor() error {
	if c.TLS == nil {
		return nil
	}
	want := trust.ID{Role: trust.Instance, Ring: c.Ring, Name: string(c.Name)}
	if got := c.TLS.ID(); got != want {
		return fmt.Errorf("the identity is of %s, and this instance is %s; issue one for it "+
			"(ring ca issue)", got, want)
	}
	return nil
}

// identity is a trust.Store as the node sees it: instances of this ring, by their names.
type identity struct {
	store *trust.Store
	ring  string
}

func (i identity) Server() *tls.Config     { return i.store.Server() }
func (i identity) Leaf() *x509.Certificate { return i.store.Leaf() }

func (i identity) Client(name string) *tls.Config {
	return i.store.Client(trust.ID{Role: trust.Instance, Ring: i.ring, Name: name})
}

func (i identity) Check(chain []*x509.Certificate) (name string, err error) {
	if len(chain) == 0 {
		return "", noCertificate{}
	}
	id, err := i.store.Verify(chain)
	switch {
	case err != nil:
		return "", err
	case id.Role != trust.Instance:
		return "", operator{id}
	}
	return id.Name, nil
}

func (i identity) Why(err error) string {
	var reason trust.Reason
	if errors.As(err, &reason) {
		return reason.Error()
	}
	return ""
}

// noCertificate is somebody who wants to be an instance and proves nothing.
type noCertificate struct{}

func (noCertificate) Error() string {
	return "it has shown no certificate: give that instance an identity (setting tls)"
}
func (noCertificate) Unwrap() error { return trust.ErrNoCertificate }

// operator is an operator who wants to be an instance.
type operator struct{ id trust.ID }

func (o operator) Error() string {
	return fmt.Sprintf("it has the certificate of %s, who is an operator: give that instance one of "+
		"its own (ring ca issue)", o.id)
}
func (operator) Unwrap() error { return trust.ErrWrongRole }
