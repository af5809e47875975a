package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Identity is what this instance proves who it is with, and holds others to their names by.
// It is safe for concurrent use, and may change at any time; what its configurations do
// follows.
type Identity interface {
	Server() *tls.Config            // asks for a certificate, and verifies the one it is given
	Client(name string) *tls.Config // the other end must be that instance
	// Check says which instance of the ring chain, leaf first, proves its holder to be, now.
	Check(chain []*x509.Certificate) (name string, err error)
	Leaf() *x509.Certificate // its own certificate; another pointer is another one
	Why(err error) string    // in a word or two, of a few, for metrics; "" if it is not of Check
}

// tlsHeader in an answer says that links are not made in the clear there.
const tlsHeader = "Ring-Tls"

// handshake makes the client's end of TLS of nc. ctx bounds it.
func handshake(ctx context.Context, nc net.Conn, config *tls.Config) (*tls.Conn, Cause, error) {
	t := tls.Client(newSocket(nc, nil), config)
	if err := t.HandshakeContext(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(err, cause)
		}
		cause, err := untrusted(err)
		return nil, cause, err
	}
	return t, 0, nil
}

// untrusted tells an end that will not have the other from one that was cut off.
func untrusted(err error) (Cause, error) {
	var header tls.RecordHeaderError
	if no := refusal(err); no != nil {
		return Untrusted, no
	}
	switch {
	case errors.As(err, &header):
		return Untrusted, errors.New("it answers in plain text: that instance has no TLS and this " +
			"one has: give it an identity too (setting tls)")
	case isCut(err):
		return Unanswered, fmt.Errorf("no answer: %w", err)
	}
	return Untrusted, err
}

// refusal is what an alert says in err, nil if there is none. With TLS 1.3 the no to a
// client's certificate comes when the client has long done with its handshake.
func refusal(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return nil
	}
	return fmt.Errorf("it does not accept this instance: %s; its own log says more",
		strings.TrimPrefix(op.Err.Error(), "tls: "))
}

// isCut says whether err is the network's, and nobody's word.
func isCut(err error) bool {
	var (
		errno syscall.Errno
		ne    net.Error
	)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &errno) || errors.As(err, &ne) && ne.Timeout()
}
