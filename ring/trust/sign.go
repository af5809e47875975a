package trust

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"
)

// Sign signs a message with the key of the identity: ASN.1 ECDSA over its SHA-256, at most
// 72 bytes. A message begins with words of its caller that say what it is, such as
// "ring/record/1", so that what was signed for one purpose is of no use for another.
func (s *Store) Sign(message []byte) ([]byte, error) {
	// TLS signs what begins with spaces, and ASN.1 begins with 0x30.
	if len(message) == 0 || message[0] <= ' ' || message[0] == 0x30 {
		return nil, because(ErrMalformed, "BUG: a message to sign begins with no words that say what it is")
	}
	now := s.now.Load()
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, now.key, digest[:])
}

// Chain returns the certificates that CheckSigned needs, DER, one behind the other, leaf
// first: at most 8 KiB. It is the caller's.
func (s *Store) Chain() []byte { return slices.Clone(s.now.Load().chain) }

// CheckSigned returns nil if chain is one that counts now, for exactly id, and its key has
// signed the message. A chain that was seen before costs only the signature.
func (s *Store) CheckSigned(id ID, chain, message, sig []byte) error {
	if err := checkLen(chain); err != nil {
		return err
	}
	h, err := s.now.Load().remember(sha256.Sum256(chain), time.Now(), func() ([]*x509.Certificate, error) {
		return parseChain(chain)
	})
	if err != nil {
		return err
	}
	return h.signed(id, message, sig)
}

// CheckLapsed is CheckSigned for a chain that CheckSigned refuses for its time alone, with
// ErrExpired or ErrNotYetValid: nil if it counted for exactly id while its first
// certificate was valid, and has not been revoked. It remembers nothing.
func (s *Store) CheckLapsed(id ID, chain, message, sig []byte) error {
	if err := checkLen(chain); err != nil {
		return err
	}
	certs, err := parseChain(chain)
	if err != nil {
		return err
	}
	h, err := s.now.Load().examine(certs, certs[0].NotAfter)
	if err != nil {
		return err
	}
	return h.signed(id, message, sig)
}

// checkLen is done before anything is made of a chain from elsewhere.
func checkLen(chain []byte) error {
	if len(chain) > chainLen {
		return because(ErrMalformed, "a chain of %d bytes came, at most %d are possible", len(chain), chainLen)
	}
	return nil
}

func parseChain(chain []byte) ([]*x509.Certificate, error) {
	certs, err := x509.ParseCertificates(chain)
	if err != nil || len(certs) == 0 || len(certs) > chainMax {
		return nil, because(ErrMalformed, "a chain came that is none: whoever sent it is broken or lies")
	}
	return certs, nil
}

// signed says why a message is not one that id, who must be the holder, has signed.
func (h holder) signed(id ID, message, sig []byte) error {
	if err := mustBe(h.id, id); err != nil {
		return err
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(h.key, digest[:], sig) {
		return because(ErrBadSignature, "a message of %s came that it has not signed: whoever sent it is broken "+
			"or lies", id)
	}
	return nil
}

// mustBe says why got is not want.
func mustBe(got, want ID) error {
	switch {
	case got == want:
		return nil
	case got.Ring != want.Ring:
		return because(ErrWrongRing, "%s answers where %s was meant: that is another ring; correct the address",
			got, want)
	case got.Role != want.Role:
		return because(ErrWrongRole, "%s answers where %s was meant: that is not its role; give it a certificate "+
			"of that role (ring ca issue --role %s)", got, want, want.Role)
	}
	return because(ErrWrongName, "%s answers where %s was meant: correct the address in the roster, or give each "+
		"host its own identity", got, want)
}
