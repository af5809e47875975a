package ring

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"ringofservers.dev/ring/internal/link"
)

// localHost is where commands and the page look for the instance of their own host.
const localHost = "127.0.0.1"

// alsoLocal has l, which may listen at one address that other hosts reach, listen over loopback
// at the same port too, where that is free: else nobody on this host finds the instance without
// being told its address.
func (c Config) alsoLocal(ctx context.Context, l net.Listener) net.Listener {
	at, ok := l.Addr().(*net.TCPAddr)
	if c.Listener != nil || !ok || at.IP.IsLoopback() || at.IP.IsUnspecified() {
		return l
	}
	local := net.JoinHostPort(localHost, strconv.Itoa(at.Port))
	lc := net.ListenConfig{KeepAlive: -1}
	second, err := lc.Listen(ctx, "tcp", local)
	if err != nil {
		c.Logger.Info("this instance is not at "+local+": local commands need --addr "+at.String(),
			"ring", c.Ring, "node", string(c.Name), "err", err)
		return l
	}
	return newBoth(l, second)
}

// both is a listener and one for this host beside it, as one. Errors are those of the first.
type both struct {
	net.Listener
	local  net.Listener
	came   chan came
	ended  chan struct{} // closed by Close
	end    sync.Once
	takers sync.WaitGroup
}

func newBoth(l, local net.Listener) *both {
	b := &both{Listener: l, local: local, came: make(chan came), ended: make(chan struct{})}
	b.takers.Go(func() { b.take(l) })
	b.takers.Go(func() { b.take(local) })
	return b
}

// came is what an Accept has returned.
type came struct {
	nc  net.Conn
	err error
}

// take hands on what comes at l, and waits with the next until that was taken.
func (b *both) take(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil && l == b.local && !link.Passes(err) {
			return // the port itself goes on
		}
		select {
		case b.came <- came{nc, err}:
		case <-b.ended:
			if nc != nil {
				nc.Close()
			}
			return
		}
	}
}

// Accept implements net.Listener.
func (b *both) Accept() (net.Conn, error) {
	select {
	case c := <-b.came:
		return c.nc, c.err
	case <-b.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Nobody listens at either address when it returns.
func (b *both) Close() error {
	err := net.ErrClosed
	b.end.Do(func() {
		close(b.ended)
		err = errors.Join(b.Listener.Close(), b.local.Close())
		b.takers.Wait()
	})
	return err
}

// localOf is where this host reaches who accepts from l.
func localOf(l net.Listener) net.Addr {
	if b, ok := l.(*both); ok {
		return b.local.Addr()
	}
	return l.Addr()
}

// Local is where this host reaches the instance: over loopback if it listens there, else Addr.
func (r *Ring) Local() net.Addr { return r.local }
