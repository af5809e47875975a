package link

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sealedMax bounds what TLS has sealed and the kernel has not taken: a burst, what sealing
// adds to it, and the answers to key updates of a peer that asks for them and reads none.
const sealedMax = 4 * burst

// socket is what TLS sits on. At first it is the connection and no more: handshakes and the
// upgrade wait, within deadlines. Once it carries a link its Read goes past the scheduler,
// and its Write keeps what it is given until push or drain, so that sealing never waits.
//
//	tls.Conn.Write ─► [ sealed, bounded ] ─push─► kernel, at once
//	                                     └─drain─► kernel, waiting, by the goroutine of the link
//
// TLS itself writes too, from within Read: answers to key updates. So the lock here is taken
// behind those of tls.Conn, and nothing else is under it.
type socket struct {
	net.Conn
	raw   syscall.RawConn // nil where Conn is no bare socket
	first []byte          // of what was read before TLS began, given out first
	link  bool            // it carries one

	take    func(fd uintptr) bool // made once, so that Read allocates nothing
	into    []byte
	took    int
	readErr error

	pending atomic.Int64 // bytes that are sealed, and not in the kernel

	mu       sync.Mutex // guards what follows
	sealed   []byte
	spare    []byte // the other buffer: what drain writes
	draining bool
	err      error // why nothing can be written any more
	give     func(fd uintptr) bool
	wrote    int
	writeErr error
}

func newSocket(nc net.Conn, first []byte) *socket { return &socket{Conn: nc, first: first} }

// NetConn is the connection below.
func (s *socket) NetConn() net.Conn { return s.Conn }

// carry makes s carry a link from now on. Nobody reads or writes meanwhile.
func (s *socket) carry(raw syscall.RawConn) {
	s.raw, s.link = raw, true
	s.take = func(fd uintptr) bool {
		s.took, s.readErr = readNow(fd, s.into)
		return s.took > 0 || s.readErr != nil // else wait until there is something
	}
	s.give = func(fd uintptr) bool {
		s.wrote, s.writeErr = writeNow(fd, s.sealed)
		return true // whatever came of it: never wait in here
	}
}

// Read implements net.Conn. Of a link it first sends what the last one made TLS answer.
func (s *socket) Read(b []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(b, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	if s.link && s.pending.Load() > 0 {
		if err := s.push(); err != nil {
			return 0, err
		}
	}
	if s.raw == nil {
		return s.Conn.Read(b)
	}
	s.into = b
	err := s.raw.Read(s.take)
	s.into = nil
	if err != nil {
		return 0, err
	}
	return s.took, s.readErr
}

// Write implements net.Conn. Of a link it only keeps b.
func (s *socket) Write(b []byte) (int, error) {
	if !s.link {
		return s.Conn.Write(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.pending.Load()+int64(len(b)) > sealedMax {
		s.fail(ErrBehind)
		return 0, s.err
	}
	s.sealed = append(s.sealed, b...)
	s.pending.Add(int64(len(b)))
	return len(b), nil
}

// push writes what is sealed as far as the kernel takes it now.
func (s *socket) push() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.draining || s.raw == nil || len(s.sealed) == 0 {
		return s.err
	}
	s.wrote, s.writeErr = 0, nil
	err := s.raw.Write(s.give)
	if err == nil {
		err = s.writeErr
	}
	if err != nil {
		s.fail(err)
		return s.err
	}
	s.sealed = s.sealed[:copy(s.sealed, s.sealed[s.wrote:])]
	s.pending.Add(-int64(s.wrote))
	return nil
}

// drain writes what is sealed, and waits until the kernel has it all, or deadline.
func (s *socket) drain(deadline time.Time) error {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return s.err
	}
	s.draining = true
	batch := s.sealed
	s.sealed, s.spare = s.spare[:0], batch
	s.mu.Unlock()
	err := s.Conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = s.Conn.Write(batch)
	}
	if err == nil {
		err = s.Conn.SetWriteDeadline(time.Time{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = false
	s.pending.Add(-int64(len(batch)))
	if err != nil {
		s.fail(err)
	}
	return s.err
}

// fail ends the connection: whoever reads it is told by its error.
func (s *socket) fail(err error) {
	if s.err == nil {
		s.err = err
		s.Conn.Close()
	}
}

// SetDeadline and SetWriteDeadline are called by TLS too, when it says goodbye: on a link,
// where its writes never wait, they would bound those of drain.
func (s *socket) SetDeadline(t time.Time) error {
	if s.link {
		return s.Conn.SetReadDeadline(t)
	}
	return s.Conn.SetDeadline(t)
}

// SetWriteDeadline is for a connection that carries no link.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.link {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}
