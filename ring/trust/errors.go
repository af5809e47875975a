package trust

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Reason is why somebody is not trusted, or an identity cannot be used. It is an error, to
// ask for with errors.Is; the error that is returned says more.
type Reason uint8

// The reasons.
const (
	ErrMalformed     Reason = iota + 1 // not what it should be, or above a limit
	ErrNoCertificate                   // the other end gave none
	ErrNoIdentity                      // no URI of a ring in it, or more than one
	ErrWrongRing                       // of another ring
	ErrWrongName                       // of another instance or operator
	ErrWrongRole                       // of an operator where an instance must be, or the reverse
	ErrExpired
	ErrNotYetValid
	ErrRevoked
	ErrUntrusted    // signed by an authority that is not trusted here
	ErrKeyMismatch  // the key does not fit the certificate
	ErrKeyExposed   // others may read the file with the key
	ErrBadSignature // not what the holder of the certificate signed
	ErrInUse        // certificates of the old root are, FinishRotation would end them
	ErrNotFound     // nothing of that name or number was issued
)

var reasons = [...]string{
	ErrMalformed:     "malformed",
	ErrNoCertificate: "no certificate",
	ErrNoIdentity:    "no ring identity in the certificate",
	ErrWrongRing:     "wrong ring",
	ErrWrongName:     "wrong name",
	ErrWrongRole:     "wrong role",
	ErrExpired:       "certificate expired",
	ErrNotYetValid:   "certificate not yet valid",
	ErrRevoked:       "certificate revoked",
	ErrUntrusted:     "authority not trusted",
	ErrKeyMismatch:   "key does not fit the certificate",
	ErrKeyExposed:    "key can be read by others",
	ErrBadSignature:  "bad signature",
	ErrInUse:         "old root in use",
	ErrNotFound:      "not found",
}

// Error names the reason in a few words that never change.
func (r Reason) Error() string {
	if int(r) < len(reasons) && reasons[r] != "" {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error is what all functions of this package return where trust is refused or an
// identity cannot be used.
type Error struct {
	Reason Reason
	Text   string // what is wrong, with whom, and what to do; for people
}

func (e *Error) Error() string { return e.Text }

// Unwrap lets errors.Is find the Reason.
func (e *Error) Unwrap() error { return e.Reason }

func because(r Reason, format string, args ...any) error {
	return &Error{r, fmt.Sprintf(format, args...)}
}

// Explain returns an error of a connection with TLS in words that say what to do, where
// the standard library's do not: what the other end has refused it tells by a number.
func Explain(err error) error {
	var plain tls.RecordHeaderError
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &plain):
		return fmt.Errorf("the other end does not speak TLS: start it with an identity (tls = …), or correct the "+
			"address: %w", err)
	case !errors.As(err, &op) || op.Op != "remote error":
		return err
	}
	switch op.Err.Error() { // of a type that has no name outside the library
	case alertBadCertificate.Error():
		return fmt.Errorf("the other end refuses this certificate, and its log says why: it may have ended or been "+
			"revoked there, be of another ring, or that clock is wrong: %w", err)
	case alertProtocolVersion.Error():
		return fmt.Errorf("one of the two ends does not speak TLS 1.3, which both need: %w", err)
	}
	return err
}

// Alerts of TLS, RFC 8446, section 6.
const (
	alertBadCertificate  tls.AlertError = 42
	alertProtocolVersion tls.AlertError = 70
)
