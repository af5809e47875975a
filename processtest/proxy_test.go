//go:build linux

package processtest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// manners of a proxy towards the bytes it should pass on.
const (
	polite int32 = iota
	stingy       // reads a byte a minute, writes nothing
)

// proxy stands before one instance: others know only its address.
type proxy struct {
	listener net.Listener
	to       string
	manners  atomic.Int32

	mu    sync.Mutex
	conns []net.Conn
}

// newProxy listens at addr, which is free, for the instance that listens at to.
func newProxy(t *testing.T, addr, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to}
	go p.accept()
	t.Cleanup(func() {
		l.Close()
		p.reset()
	})
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.keep(in)
		// Small buffers: a peer that does not read is felt, not hidden.
		_ = in.(*net.TCPConn).SetReadBuffer(4 << 10)
		go func() {
			out, err := net.Dial("tcp", p.to)
			if err != nil {
				// A refusal must look like one as far as a proxy can do that.
				_ = in.(*net.TCPConn).SetLinger(0)
				in.Close()
				return
			}
			p.keep(out)
			go p.pass(in, out)
			go p.pass(out, in)
		}()
	}
}

func (p *proxy) keep(c net.Conn) {
	p.mu.Lock()
	p.conns = append(p.conns, c)
	p.mu.Unlock()
}

// pass copies, or does not, as its manners are at the moment.
func (p *proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 4<<10)
	for {
		if p.manners.Load() == stingy {
			if _, err := from.Read(b[:1]); err != nil {
				return
			}
			for end := time.Now().Add(time.Minute); time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
				if p.manners.Load() == polite {
					return // bytes are missing: nothing sensible can follow
				}
			}
			continue
		}
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if p.manners.Load() == stingy {
			continue // these bytes were among those it is slow with
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// reset breaks all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// deaf listens at addr, accepts and never says a word.
func deaf(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.keep(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		p.reset()
	})
}
