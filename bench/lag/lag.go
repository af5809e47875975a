// Package lag puts the latency of a network between processes of one machine.
//
//	socket ─► reader ─► [ Line: in order, each Delay old ] ─► Read
//	Write ─► [ Line ] ─► writer ─► socket
//
// One side of a connection does it for both directions, so the other may be any
// program. What is on its way does not hold up what comes behind it: latency is
// added, and throughput left, up to a window of bytes.
package lag

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Line delays everything given to it by the same time, in order. Its methods may be
// called by any goroutine.
type Line struct {
	delay time.Duration
	alarm *alarm

	mu    sync.Mutex
	queue []parcel // by due, as all wait for the same time
	wake  chan struct{}
}

type parcel struct {
	due  time.Time
	give func()
}

// New makes a line. Of a delay of 0 nothing is delayed, and Conn and Listener return
// what they are given. It runs to the end of the process.
func New(delay time.Duration) (*Line, error) {
	l := &Line{delay: delay, wake: make(chan struct{}, 1)}
	if delay <= 0 {
		return l, nil
	}
	var err error
	if l.alarm, err = newAlarm(); err != nil {
		return nil, fmt.Errorf("make a delay line: %w", err)
	}
	go l.run()
	return l, nil
}

// After calls give when the delay is over, in the order of the calls. give must not
// block.
func (l *Line) After(give func()) {
	if l.delay <= 0 {
		give()
		return
	}
	l.mu.Lock()
	l.queue = append(l.queue, parcel{time.Now().Add(l.delay), give})
	first := len(l.queue) == 1
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

func (l *Line) run() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.mu.Unlock()
			<-l.wake
			continue
		}
		p := l.queue[0]
		wait := time.Until(p.due)
		if wait <= 0 {
			l.queue[0] = parcel{}
			l.queue = l.queue[1:]
		}
		l.mu.Unlock()
		if wait > 0 {
			l.alarm.sleep(wait)
			continue
		}
		p.give()
	}
}

// Listener returns l with every connection that it accepts delayed both ways.
func (l *Line) Listener(from net.Listener) net.Listener {
	if l.delay <= 0 {
		return from
	}
	return &listener{from, l}
}

type listener struct {
	net.Listener
	line *Line
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.line.Conn(c), nil
}

// Conn returns nc with what is read from it and what is written to it delayed.
func (l *Line) Conn(nc net.Conn) net.Conn {
	if l.delay <= 0 {
		return nc
	}
	c := &conn{Conn: nc, line: l, in: newPipe(), out: newPipe()}
	go c.read()
	go c.write()
	return c
}

// chunk is how much is read at once.
const chunk = 64 << 10

// conn is one delayed connection. Only read and write touch the socket.
type conn struct {
	net.Conn
	line    *Line
	in, out *pipe
}

func (c *conn) read() {
	b := make([]byte, chunk)
	for {
		n, err := c.Conn.Read(b)
		if n > 0 {
			piece := append([]byte(nil), b[:n]...)
			if c.in.reserve(n) != nil {
				return // closed
			}
			c.line.After(func() { c.in.put(piece) })
		}
		if err != nil {
			c.line.After(func() { c.in.end(err) })
			return
		}
	}
}

// write writes what is due until Close or CloseWrite.
func (c *conn) write() {
	b := make([]byte, chunk)
	for {
		n, err := c.out.take(b)
		if err == errHalf {
			if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // the reader hears of it if it is broken
			}
			return
		}
		if err == nil {
			_, err = c.Conn.Write(b[:n])
		}
		if err != nil {
			c.Conn.Close()
			c.out.end(err)
			return
		}
	}
}

func (c *conn) Read(b []byte) (int, error) { return c.in.take(b) }

func (c *conn) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		piece := append([]byte(nil), b[done:min(len(b), done+chunk)]...)
		if err := c.out.reserve(len(piece)); err != nil {
			return done, err
		}
		c.line.After(func() { c.out.put(piece) })
		done += len(piece)
	}
	return len(b), nil
}

// CloseWrite ends the stream behind what was written.
func (c *conn) CloseWrite() error {
	c.line.After(func() { c.out.end(errHalf) })
	return nil
}

// Close closes this side at once, and the socket behind what was written.
func (c *conn) Close() error {
	c.in.shut()
	c.line.After(func() {
		if !c.out.end(net.ErrClosed) { // else write does it
			c.Conn.Close()
		}
	})
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.by(true, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.by(false, t)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.in.by(true, t)
	c.out.by(false, t)
	return nil
}
