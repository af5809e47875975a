package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What the two sides of an upgrade agree on.
const (
	Path     = "/v1/link"
	Protocol = "ring/1"

	// BulkProtocol is for large payloads: what follows the upgrade is no link.
	BulkProtocol = "ring-bulk/1"
)

const (
	answerMax    = 4 << 10 // bytes of the HTTP answer to a dial
	addressesMax = 8       // of one name, tried in order
)

// Cause is why a dial failed, as far as the protocol is concerned.
type Cause uint8

// The causes. Only Refused is proof that nobody lives at the address.
const (
	Refused    Cause = iota + 1 // every address answered that nobody listens
	Unanswered                  // timed out, no route, reset on the way, busy
	Unresolved                  // the name has no address
	NotRing                     // something listens that does not speak our protocol
	Untrusted                   // one of the two ends does not accept who the other is
)

// DialError says why a dial failed, for the protocol in Cause and for a person.
type DialError struct {
	Cause Cause
	Addr  string
	Err   error
}

func (e *DialError) Error() string { return "dial " + e.Addr + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// Dial opens a link to addr, a host:port whose host is resolved anew each time, over TLS
// unless secure is nil. ctx bounds all of it, and connect what comes before the connection
// stands. The error is always a *DialError.
func Dial(
	ctx context.Context, addr string, secure *tls.Config, connect time.Duration, opts Options,
) (*Conn, error) {
	nc, rest, cause, err := dial(ctx, addr, secure, connect, Protocol)
	if err != nil {
		return nil, &DialError{Cause: cause, Addr: addr, Err: err}
	}
	c, err := newConn(nc, rest, opts)
	if err != nil {
		nc.Close()
		return nil, &DialError{Cause: Unanswered, Addr: addr, Err: err}
	}
	return c, nil
}

// DialBulk is Dial for a connection that is no link: both sides are to greet on it first.
// rest was read of it already.
func DialBulk(ctx context.Context, addr string, secure *tls.Config, connect time.Duration) (
	nc net.Conn, rest []byte, err error,
) {
	nc, rest, cause, err := dial(ctx, addr, secure, connect, BulkProtocol)
	if err != nil {
		return nil, nil, &DialError{Cause: cause, Addr: addr, Err: err}
	}
	return nc, rest, nil
}

func dial(
	ctx context.Context, addr string, secure *tls.Config, within time.Duration, protocol string,
) (_ net.Conn, rest []byte, _ Cause, _ error) {
	opening, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	targets, err := resolve(opening, addr)
	if err != nil {
		return nil, nil, Unresolved, err
	}
	nc, cause, err := connect(opening, targets)
	if err != nil {
		return nil, nil, cause, err
	}
	if secure != nil {
		t, cause, err := handshake(ctx, nc, secure)
		if err != nil {
			nc.Close()
			return nil, nil, cause, err
		}
		nc = t
	}
	rest, cause, err = ask(ctx, nc, addr, protocol)
	if err != nil {
		nc.Close()
		return nil, nil, cause, err
	}
	return nc, rest, 0, nil
}

// resolve turns a host:port into addresses. Nothing is remembered: a name may
// mean another host at the next dial.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number up to 65535", service)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var targets []netip.AddrPort
	for _, ip := range ips[:min(len(ips), addressesMax)] {
		targets = append(targets, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return targets, nil
}

// connect tries one address after the other, each with its share of the time
// that is left. Only a refusal by all of them counts as Refused: it is used as
// proof that nobody lives there.
func connect(ctx context.Context, targets []netip.AddrPort) (net.Conn, Cause, error) {
	var errs []error
	refused, other := 0, 0
	for i, target := range targets {
		nc, err := connectOne(ctx, target, len(targets)-i)
		switch {
		case err == nil:
			return nc, 0, nil
		case isRefused(err):
			refused++
		case !isForeign(err):
			other++
		}
		errs = append(errs, err)
	}
	if refused > 0 && other == 0 {
		return nil, Refused, errors.Join(errs...)
	}
	return nil, Unanswered, errors.Join(errs...)
}

// errSelf is a socket that was connected to itself, which TCP allows when the
// port dialed is in the range that dials get their own port from. It means
// that nobody listens there.
var errSelf = errors.New("connected to itself, nobody listens there")

func connectOne(ctx context.Context, target netip.AddrPort, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := time.Until(deadline) / time.Duration(left)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	d := net.Dialer{KeepAlive: -1}
	nc, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	if nc.LocalAddr().String() == nc.RemoteAddr().String() {
		nc.Close()
		return nil, &net.OpError{
			Op: "dial", Net: "tcp", Addr: nc.RemoteAddr(),
			Err: errors.Join(errSelf, syscall.ECONNREFUSED),
		}
	}
	return nc, nil
}

// ask sends the upgrade and reads the answer; rest is what came behind it.
func ask(ctx context.Context, nc net.Conn, addr, protocol string) (
	rest []byte, _ Cause, err error,
) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx) // too late: the deadline may strike any moment
		}
	}()
	request := "GET " + Path + " HTTP/1.1\r\nHost: " + addr +
		"\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"
	// A no to this instance's certificate is the first that is read, and may be there already:
	// then it says more than a write that fails.
	_, unsent := nc.Write([]byte(request))
	buf := make([]byte, 0, answerMax)
	for {
		n, err := nc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if head, rest, ok := bytes.Cut(buf, []byte("\r\n\r\n")); ok {
			cause, err := judge(string(head), protocol)
			return rest, cause, err
		}
		if no := refusal(err); no != nil {
			return nil, Untrusted, no
		}
		if len(buf) == cap(buf) {
			return nil, NotRing, fmt.Errorf("answer has no end within %d bytes", answerMax)
		}
		if !bytes.HasPrefix([]byte("HTTP/1.1 "), buf[:min(len(buf), 9)]) {
			return nil, NotRing, errors.New("what listens there does not speak HTTP/1.1")
		}
		if err != nil {
			return nil, Unanswered, fmt.Errorf("no answer: %w", cmp.Or(unsent, err))
		}
	}
}

// judge reads the head of an HTTP answer.
func judge(head, protocol string) (Cause, error) {
	status, fields, _ := strings.Cut(head, "\r\n")
	code, ok := strings.CutPrefix(status, "HTTP/1.1 ")
	if !ok {
		return NotRing, errors.New("what listens there does not speak HTTP/1.1")
	}
	if strings.HasPrefix(code, "503") {
		return Unanswered, fmt.Errorf("answered %q", code) // a ring, and busy
	}
	if field(fields, tlsHeader) != "" {
		return Untrusted, errors.New("that instance has TLS and this one has none: give this one an " +
			"identity (setting tls)")
	}
	if !strings.HasPrefix(code, "101 ") && code != "101" {
		return NotRing, fmt.Errorf("answered %q instead of switching to %s", code, protocol)
	}
	if field(fields, "Upgrade") == protocol {
		return 0, nil
	}
	return NotRing, fmt.Errorf("it switched to something else than %s", protocol)
}

// field is the value of that field of a head, "" without.
func field(fields, key string) string {
	for line := range strings.SplitSeq(fields, "\r\n") {
		if k, value, _ := strings.Cut(line, ":"); strings.EqualFold(k, key) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
