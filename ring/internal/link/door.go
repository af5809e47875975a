package link

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds on those at the door, of whom it is not known yet what they want.
const (
	doorMax     = 256             // at a time; past that the oldest goes, not the newcomer
	doorTimeout = 5 * time.Second // for a first byte, and a handshake to its end
	lingerBytes = 64 << 10        // read of one that was refused, so that it reads why
)

// Entry is what came of somebody at the door.
type Entry uint8

// The entries.
const (
	Encrypted Entry = iota + 1 // TLS stands; a certificate that was given is good
	Clear                      // plain HTTP, from this host
	Rejected                   // no TLS where it must be, or none that we can have: see the error
	Abandoned                  // it hung up, or took too long
	entries
)

// EntryNames are the entries as metrics name them.
var EntryNames = [entries]string{
	Encrypted: "ok", Clear: "plain", Rejected: "refused", Abandoned: "abandoned",
}

// ErrClear is why somebody was rejected who did not speak TLS.
var ErrClear = errors.New("it speaks in the clear: this is TLS")

// plainAnswer is for who speaks in the clear from another host.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + tlsHeader + ": required\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s"

const plainText = "this is TLS: use https://, with a client certificate or a token; an instance needs " +
	"an identity (setting tls)\n"

// Door is a listener that decides by the first byte. See Guard.
type Door struct {
	net.Listener
	config *tls.Config
	told   func(from net.Addr, e Entry, err error)

	in      chan net.Conn // those that are let in
	stopped chan struct{}
	stop    context.CancelFunc
	ctx     context.Context
	wg      sync.WaitGroup

	mu      sync.Mutex // guards what follows
	waiting list.List  // of net.Conn, oldest first
	err     error      // of the listener
}

// Guard makes l accept TLS, by whose end each handshake is done already, and plain
// connections of this host. What else comes is told what to do and closed. told hears of
// each that came; it is called by many goroutines and must not wait. Nobody waits for
// somebody who is slow.
func Guard(l net.Listener, id Identity, told func(from net.Addr, e Entry, err error)) *Door {
	d := &Door{
		Listener: l, config: id.Server(), told: told,
		in: make(chan net.Conn), stopped: make(chan struct{}),
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.wg.Go(d.accept)
	return d
}

// accept takes what the listener has until it is closed.
func (d *Door) accept() {
	for {
		nc, err := d.Listener.Accept()
		if err != nil {
			if !Passes(err) {
				d.mu.Lock()
				d.err = err
				d.mu.Unlock()
				close(d.stopped)
				return
			}
			select { // as net/http does
			case <-time.After(50 * time.Millisecond):
			case <-d.ctx.Done():
			}
			continue
		}
		e := d.admit(nc)
		d.wg.Go(func() { d.decide(nc, e) })
	}
}

// Passes says whether accepting may go on after err: out of descriptors, most likely.
func Passes(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

// admit counts nc among those at the door.
func (d *Door) admit(nc net.Conn) *list.Element {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting.Len() >= doorMax {
		oldest := d.waiting.Front()
		d.waiting.Remove(oldest)
		oldest.Value.(net.Conn).Close()
	}
	if d.ctx.Err() != nil {
		nc.Close()
	}
	return d.waiting.PushBack(nc)
}

// decide finds out what nc is.
func (d *Door) decide(nc net.Conn, e *list.Element) {
	c, entry, err := d.open(nc)
	d.told(nc.RemoteAddr(), entry, err)
	if entry == Rejected {
		linger(nc)
	}
	d.mu.Lock()
	d.waiting.Remove(e) // nothing, where it was too many
	d.mu.Unlock()
	if c == nil {
		nc.Close()
		return
	}
	select {
	case d.in <- c:
	case <-d.ctx.Done():
		nc.Close()
	}
}

// open returns what nc is to be taken for, nil for nothing.
func (d *Door) open(nc net.Conn) (net.Conn, Entry, error) {
	if err := nc.SetDeadline(time.Now().Add(doorTimeout)); err != nil {
		return nil, Abandoned, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(nc, first); err != nil {
		return nil, Abandoned, err
	}
	s := newSocket(nc, first)
	const handshakeRecord = 0x16
	if first[0] == handshakeRecord {
		return d.secure(s)
	}
	if !isLocal(nc.RemoteAddr()) {
		_, err := fmt.Fprintf(nc, plainAnswer, len(plainText), plainText)
		return nil, Rejected, errors.Join(ErrClear, err)
	}
	return s, Clear, nc.SetDeadline(time.Time{})
}

func (d *Door) secure(s *socket) (net.Conn, Entry, error) {
	t := tls.Server(s, d.config)
	ctx, cancel := context.WithTimeout(d.ctx, doorTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if isCut(err) {
			return nil, Abandoned, err
		}
		return nil, Rejected, err
	}
	return t, Encrypted, s.SetDeadline(time.Time{})
}

// linger lets who is refused read why: with something unread, a close is a reset, which
// may destroy what was sent.
func linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || nc.SetDeadline(time.Now().Add(lingerMax)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, nc, lingerBytes)
}

// isLocal says whether a is of this host.
func isLocal(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// Accept implements net.Listener.
func (d *Door) Accept() (net.Conn, error) {
	select {
	case c := <-d.in:
		return c, nil
	case <-d.stopped:
		d.mu.Lock()
		defer d.mu.Unlock()
		return nil, d.err
	}
}

// Close implements net.Listener. Those at the door are cut off.
func (d *Door) Close() error {
	err := d.Listener.Close()
	d.stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := d.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	return err
}

// Wait returns after Close when no goroutine of d runs any more.
func (d *Door) Wait() { d.wg.Wait() }
