package trust_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"ringofservers.dev/ring/trust"
)

// What was signed before a certificate ran out can still be told from what was not.
func TestCheckLapsed(t *testing.T) {
	a, dir := authorityAt(t, "prod")
	th := steal(t, dir)
	s := store(t, identity(t, a, a0))
	message := []byte("ring/test/1 x")
	digest := sha256.Sum256(message)
	_, otherDir := authorityAt(t, "prod")
	old := leaf(t, a1.String())
	old.NotBefore, old.NotAfter = time.Now().Add(-3*time.Minute), time.Now().Add(-time.Minute)
	sign := func(th thief) (chain, sig []byte) {
		cert := th.sign(old)
		sig, err := ecdsa.SignASN1(rand.Reader, cert.PrivateKey.(*ecdsa.PrivateKey), digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return cert.Certificate[0], sig
	}
	chain, sig := sign(th)
	wantReason(t, s.CheckSigned(a1, chain, message, sig), trust.ErrExpired)
	if err := s.CheckLapsed(a1, chain, message, sig); err != nil {
		t.Errorf("what it signed in its time: %v", err)
	}
	wantReason(t, s.CheckLapsed(a0, chain, message, sig), trust.ErrWrongName)
	wantReason(t, s.CheckLapsed(a1, chain, []byte("another"), sig), trust.ErrBadSignature)
	wantReason(t, s.CheckLapsed(a1, chain[1:], message, sig), trust.ErrMalformed)
	strange, sig := sign(steal(t, otherDir))
	wantReason(t, s.CheckLapsed(a1, strange, message, sig), trust.ErrUntrusted)
}
