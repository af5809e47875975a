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
// TLS will slip in between the socket and Conn: any net.Conn will do, but only a
// bare socket is written to without a goroutine, and called past the scheduler.
package link

import (
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
	nc   net.Conn
	raw  syscall.RawConn // nil where nc is not a bare socket
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
	err      error          // why nothing can be sent any more
	writers  sync.WaitGroup // the drain goroutine

	give     func(fd uintptr) bool // made once, so that Flush allocates nothing
	wrote    int
	writeErr error
}

// newConn takes over nc, of which rest was already read.
func newConn(nc net.Conn, rest []byte, opts Options) (*Conn, error) {
	c := &Conn{nc: nc, opts: opts}
	c.in = make([]byte, max(readBuffer, len(rest)))
	c.tail = copy(c.in, rest)
	if t, ok := nc.(*net.TCPConn); ok {
		// A hop is one small frame: it must not wait for an acknowledgement.
		// Heartbeats do what keep-alives would.
		err := errors.Join(t.SetNoDelay(true), t.SetKeepAlive(false), boundUnsent(t, burst))
		if err != nil {
			return nil, fmt.Errorf("set up link: %w", err)
		}
	}
	if s, ok := nc.(syscall.Conn); ok && directIO {
		raw, err := s.SyscallConn()
		if err != nil {
			return nil, fmt.Errorf("set up link: %w", err)
		}
		c.raw = raw
	}
	c.take = func(fd uintptr) bool {
		c.took, c.readErr = readNow(fd, c.in[c.tail:])
		return c.took > 0 || c.readErr != nil // else wait until there is something
	}
	c.give = func(fd uintptr) bool {
		c.wrote, c.writeErr = writeNow(fd, c.out)
		return true // whatever came of it: never wait in here
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("set up link: %w", err)
	}
	if err := nc.SetReadDeadline(time.Now().Add(opts.First)); err != nil {
		return nil, fmt.Errorf("set up link: %w", err)
	}
	return c, nil
}

// RemoteAddr is the address of the peer's end.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

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
	return c.nc.SetReadDeadline(now.Add(c.opts.Idle))
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
	if len(c.out) > 0 && c.raw != nil {
		c.wrote, c.writeErr = 0, nil
		if err := c.raw.Write(c.give); err != nil {
			c.fail(err)
			return
		}
		if c.writeErr != nil {
			c.fail(c.writeErr)
			return
		}
		c.out = c.out[:copy(c.out, c.out[c.wrote:])]
	}
	switch {
	case len(c.out)+len(c.bulk) > 0:
		c.draining = true
		c.writers.Go(c.drain)
	case c.finished:
		c.hangUp()
	}
}

// drain writes until nothing is queued any more.
func (c *Conn) drain() {
	for {
		c.mu.Lock()
		c.inflight = 0
		if len(c.out) == 0 {
			c.refill()
		}
		if len(c.out) == 0 || c.err != nil {
			break
		}
		batch := c.out
		c.out, c.spare = c.spare[:0], batch
		c.inflight = len(batch)
		c.mu.Unlock()
		err := c.nc.SetWriteDeadline(time.Now().Add(c.opts.Write))
		if err == nil {
			_, err = c.nc.Write(batch)
		}
		if err != nil {
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
	if err := c.nc.SetWriteDeadline(time.Time{}); err != nil {
		c.fail(err)
		return
	}
	if c.finished {
		c.hangUp()
	}
}

// fail ends the link; whoever reads it is told by its error.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		c.nc.Close()
	}
}

// hangUp closes the writing side only, so that the peer reads all that was
// sent; the reader, which goes on, closes the rest.
func (c *Conn) hangUp() {
	c.err = net.ErrClosed
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		c.nc.Close()
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
	err := c.nc.SetReadDeadline(time.Now().Add(lingerMax))
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
	c.nc.Close() // again, where it was finished: only the writing side was closed
	c.mu.Unlock()
	c.writers.Wait()
}
