// Package link carries frames over one connection between two instances.
//
//	Queue ─────► [ out, bounded ] ─Flush─► socket, at once, never waiting
//	                 ▲      │ what did not fit
//	QueueBulk ─► [ bulk ]   └─► a goroutine that writes it with a deadline, then ends
//
// Bulk goes behind all that is not, a frame's length at a time, and the kernel is
// asked to hold little that is not on the wire: a particle waits for no more of it.
//
//	socket ─► Next ─► one frame at a time, in a buffer that is used again
//
// A connection begins as HTTP/1.1 on the port that serves everything else too:
// `GET /v1/link` with `Upgrade: ring/1`, answered 101, then frames both ways.
// [Dial] and [Upgrade] are the two ends of that; what they return is the same.
// TLS is between the socket and Conn where a ring has it (see socket): a frame is sealed by
// whoever flushes it, and the kernel is called past the scheduler as without. Any other
// net.Conn will do, but is written to by a goroutine.
package link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// QueueMax is how many bytes a peer may be behind before its link fails, of bulk and
// of the rest: the records of the largest roster twice over, and tens of thousands of
// heartbeats.
const QueueMax = 32 * wire.FrameMax

// burst is how many bytes of bulk, or one frame if it is longer, may stand before what
// is more urgent: in our buffer, and once more in the kernel's.
const burst = wire.FrameMax

// lingerMax is how long a closing side waits for the other one to close too,
// so that what it sent last is read and not destroyed by a reset.
const lingerMax = time.Second

// readBuffer is the first size of the read buffer. It doubles as bytes come in,
// never because a header announces them.
const readBuffer = 4 << 10

// ErrBehind is the end of a link whose peer does not read.
var ErrBehind = errors.New("link: peer does not read what it is sent")

// Options are the times of a link. All must be positive.
type Options struct {
	First time.Duration // for the first frame to arrive whole
	Idle  time.Duration // for every later one, give or take a quarter
	Write time.Duration // for what is queued to be taken by the socket
}

// Conn is one link. One goroutine at a time may call Next; Queue, Flush,
// Finish and Close may be called by any, and none of them waits for the peer.
type Conn struct {
	nc   net.Conn        // what is read and written: of TLS, or bare
	bare net.Conn        // what is below it: nc itself without TLS
	raw  syscall.RawConn // nil where nc is not a bare socket
	sock *socket         // what TLS sits on, nil without
	opts Options

	in         []byte // in[head:tail] was read and not yet given out
	head, tail int
	armed      time.Time // when the read deadline was last set

	take    func(fd uintptr) bool // made once, so that Next allocates nothing
	took    int
	readErr error

	mu       sync.Mutex     // guards what follows
	out      []byte         // queued
	bulk     []byte         // queued behind it, whole frames
	spare    []byte         // the other buffer, empty while no drain runs
	inflight int            // bytes the drain goroutine is writing
	draining bool           // a drain goroutine owns the writing side
	finished bool           // close the writing side once out is empty
	notified bool           // TLS has said that nothing follows
	err      error          // why nothing can be sent any more
	writers  sync.WaitGroup // the drain goroutine

	give     func(fd uintptr) bool // made once, so that Flush allocates nothing
	wrote    int
	writeErr error
}

// newConn takes over nc, of which rest was already read.
func newConn(nc net.Conn, rest []byte, opts Options) (*Conn, error) {
	c := &Conn{nc: nc, bare: nc, opts: opts}
	c.in = make([]byte, max(readBuffer, len(rest)))
	c.tail = copy(c.in, rest)
	if t, ok := nc.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*socket); ok {
			c.sock, c.bare = s, s.Conn
		}
	}
	if t, ok := c.bare.(*net.TCPConn); ok {
		// A hop is one small frame: it must not wait for an acknowledgement.
		// Heartbeats do what keep-alives would.
		err := errors.Join(t.SetNoDelay(true), t.SetKeepAlive(false), boundUnsent(t, burst))
		if err != nil {
			return nil, fmt.Errorf("set up link: %w", err)
		}
	}
	var raw syscall.RawConn
	if s, ok := c.bare.(syscall.Conn); ok && directIO {
		var err error
		if raw, err = s.SyscallConn(); err != nil {
			return nil, fmt.Errorf("set up link: %w", err)
		}
	}
	c.take = func(fd uintptr) bool {
		c.took, c.readErr = readNow(fd, c.in[c.tail:])
		return c.took > 0 || c.readErr != nil // else wait until there is something
	}
	c.give = func(fd uintptr) bool {
		c.wrote, c.writeErr = writeNow(fd, c.out)
		return true // whatever came of it: never wait in here
	}
	if err := c.bare.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("set up link: %w", err)
	}
	if c.sock != nil {
		c.sock.carry(raw)
	} else {
		c.raw = raw
	}
	if err := c.bare.SetReadDeadline(time.Now().Add(opts.First)); err != nil {
		return nil, fmt.Errorf("set up link: %w", err)
	}
	return c, nil
}

// RemoteAddr is the address of the peer's end.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// TLS is what is known of the encryption of c, nil without.
func (c *Conn) TLS() *tls.ConnectionState {
	if t, ok := c.nc.(*tls.Conn); ok {
		return new(t.ConnectionState())
	}
	return nil
}

// Next returns the next frame, kind byte first; it is valid until the call
// after. An error is final. A peer that does not complete a frame in time, be
// it silent or dribbling, is an error.
func (c *Conn) Next() ([]byte, error) {
	for {
		frame, rest, err := wire.Split(c.in[c.head:c.tail])
		if err == nil {
			c.head = c.tail - len(rest)
			return frame, c.arm()
		}
		if !errors.Is(err, wire.ErrShort) {
			return nil, err
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// More reports whether Next has something to return without waiting. It may be called by
// who calls Next.
func (c *Conn) More() bool {
	_, _, err := wire.Split(c.in[c.head:c.tail])
	return !errors.Is(err, wire.ErrShort)
}

// arm moves the read deadline on, but not at every frame: that would be a
// timer of the runtime touched at every hop.
func (c *Conn) arm() error {
	now := time.Now()
	if now.Sub(c.armed) < c.opts.Idle/4 {
		return nil
	}
	c.armed = now
	return c.bare.SetReadDeadline(now.Add(c.opts.Idle))
}

// fill reads once. wire.Split bounds a frame, so the buffer is bounded too.
func (c *Conn) fill() error {
	switch {
	case c.head == c.tail:
		c.head, c.tail = 0, 0
	case c.tail == len(c.in) && c.head > 0:
		c.tail = copy(c.in, c.in[c.head:c.tail])
		c.head = 0
	case c.tail == len(c.in):
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
	n, err := c.receive()
	c.tail += n
	if n > 0 {
		return nil // an error with it comes again
	}
	return err
}

// receive reads behind what is there. It waits only once the kernel has said
// that there is nothing, though a read that came back short would let it wait
// a call sooner: the end of a stream that came together with its last bytes
// makes no event of its own, and the death of the peer would go unseen.
func (c *Conn) receive() (int, error) {
	if c.raw == nil {
		return c.nc.Read(c.in[c.tail:])
	}
	if err := c.raw.Read(c.take); err != nil {
		return 0, err
	}
	return c.took, c.readErr
}

// Queue takes a frame, header and all, to be sent at the next Flush. It copies
// it. An error says that the link has failed; Next fails too, then.
func (c *Conn) Queue(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.out)+c.inflight+len(frame) > QueueMax {
		c.fail(ErrBehind)
		return c.err
	}
	c.out = append(c.out, frame...)
	return nil
}

// QueueBulk is Queue for a frame that may be overtaken by those of Queue.
func (c *Conn) QueueBulk(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(c.bulk)+len(frame) > QueueMax {
		c.fail(ErrBehind)
		return c.err
	}
	c.bulk = append(c.bulk, frame...)
	return nil
}

// refill puts bulk behind what is queued, a burst of it at most.
func (c *Conn) refill() {
	n := 0
	for n < len(c.bulk) {
		frame, _, err := wire.Split(c.bulk[n:])
		if err != nil {
			panic("BUG: link: what was queued is no row of frames: " + err.Error())
		}
		end := n + wire.HeaderLen + len(frame)
		if len(c.out)+end > burst && len(c.out)+n > 0 {
			break
		}
		n = end
	}
	if n > 0 {
		c.out = append(c.out, c.bulk[:n]...)
		c.bulk = c.bulk[:copy(c.bulk, c.bulk[n:])]
	}
}

// Flush writes what is queued as far as the socket takes it now, and leaves
// the rest to a goroutine.
func (c *Conn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

func (c *Conn) flush() {
	if c.draining || c.err != nil {
		return
	}
	c.refill()
	if err := c.push(); err != nil {
		c.fail(err)
		return
	}
	switch {
	case len(c.out)+len(c.bulk) > 0, c.sealed():
		c.draining = true
		c.writers.Go(c.drain)
	case c.finished:
		c.hangUp()
	}
}

// push writes what the socket takes now.
func (c *Conn) push() error {
	switch {
	case c.sock != nil:
		for {
			if err := c.seal(); err != nil {
				return err
			}
			if err := c.sock.push(); err != nil || len(c.out) == 0 || c.sealed() {
				return err
			}
		}
	case c.raw != nil && len(c.out) > 0:
		c.wrote, c.writeErr = 0, nil
		if err := c.raw.Write(c.give); err != nil {
			return err
		}
		if c.writeErr != nil {
			return c.writeErr
		}
		c.out = c.out[:copy(c.out, c.out[c.wrote:])]
	}
	return nil
}

// seal has TLS seal a burst of what is queued, unless the kernel has not taken all of the
// last one yet: what is sealed cannot be overtaken any more.
func (c *Conn) seal() error {
	if len(c.out) == 0 || c.sealed() {
		return nil
	}
	n, err := c.nc.Write(c.out[:min(len(c.out), burst)])
	c.out = c.out[:copy(c.out, c.out[n:])]
	return err
}

// sealed reports whether TLS has something for the kernel.
func (c *Conn) sealed() bool { return c.sock != nil && c.sock.pending.Load() > 0 }

// drain writes until nothing is queued any more.
func (c *Conn) drain() {
	for {
		c.mu.Lock()
		c.inflight = 0
		if len(c.out) == 0 {
			c.refill()
		}
		if c.err != nil || !c.stage() {
			break
		}
		c.mu.Unlock()
		if err := c.write(time.Now().Add(c.opts.Write)); err != nil {
			c.mu.Lock()
			c.fail(err)
			break
		}
	}
	defer c.mu.Unlock()
	c.draining = false
	if c.err != nil {
		return
	}
	if err := c.bare.SetWriteDeadline(time.Time{}); err != nil {
		c.fail(err)
		return
	}
	if c.finished {
		c.flush()
	}
}

// stage takes what drain is to write next; false if there is nothing.
func (c *Conn) stage() bool {
	if c.sock != nil {
		if err := c.seal(); err != nil {
			c.fail(err)
			return false
		}
		return c.sealed()
	}
	batch := c.out
	c.out, c.spare = c.spare[:0], batch
	c.inflight = len(batch)
	return c.inflight > 0
}

// write waits until what was staged is written.
func (c *Conn) write(deadline time.Time) error {
	if c.sock != nil {
		return c.sock.drain(deadline)
	}
	if err := c.nc.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.nc.Write(c.spare)
	return err
}

// fail ends the link; whoever reads it is told by its error.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		c.bare.Close()
	}
}

// hangUp closes the writing side only, so that the peer reads all that was
// sent; the reader, which goes on, closes the rest. The goodbye of TLS goes before.
func (c *Conn) hangUp() {
	if t, ok := c.nc.(*tls.Conn); ok && c.sock != nil && !c.notified {
		c.notified = true
		if err := t.CloseWrite(); err != nil {
			c.fail(err)
			return
		}
		c.flush()
		return
	}
	c.err = net.ErrClosed
	half, ok := c.bare.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.bare.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		c.bare.Close()
	}
}

// Finish closes the link once what was queued is out. Whoever calls Next should
// call Drain then.
func (c *Conn) Finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.finished = true
	c.flush()
}

// Drain throws away what the peer still sends to a link that was finished, for
// a second at most, and closes it. It takes the place of further calls of Next.
func (c *Conn) Drain() {
	err := c.bare.SetReadDeadline(time.Now().Add(lingerMax))
	for err == nil {
		_, err = c.nc.Read(c.in)
	}
	c.Close()
}

// Close ends the link now: what was not sent is lost, and when it returns no
// goroutine of the link runs any more.
func (c *Conn) Close() {
	c.mu.Lock()
	c.fail(net.ErrClosed)
	c.bare.Close() // again, where it was finished: only the writing side was closed
	c.mu.Unlock()
	c.writers.Wait()
}
