package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// greetTimeout bounds the greeting on a connection for large payloads.
const greetTimeout = 5 * time.Second

// dialBulk opens a connection for large payloads. It is greeted on as on a link, so that
// names and rosters are held against each other, and the core is told nothing: it counts
// for no link, and its end for no death.
func (n *Node) dialBulk(ctx context.Context, peer int) (nc net.Conn, rest []byte, err error) {
	var secure *tls.Config
	name := ""
	if n.cfg.Identity != nil {
		name = n.cfg.Name(peer)
		secure = n.cfg.Identity.Client(name)
	}
	nc, rest, err = link.DialBulk(ctx, n.cfg.Addr(peer), secure, greetTimeout)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	rest, _, err = n.greet(nc, rest, peer, name)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return n.keepLarge(nc), rest, nil
}

// acceptBulk makes a connection for large payloads of a request.
func (n *Node) acceptBulk(w http.ResponseWriter, name string) {
	n.mu.Lock()
	if n.closed || n.cfg.Bulk == nil || n.greeting >= n.bound() {
		n.mu.Unlock()
		http.Error(w, "this instance takes no such connection now", http.StatusServiceUnavailable)
		return
	}
	n.greeting++
	n.wg.Add(1) // under the baton, so that it is before the wait of finish
	n.mu.Unlock()
	nc, rest, err := link.UpgradeBulk(w)
	if err != nil {
		n.greeted()
		return // the dialer knows
	}
	// A goroutine of its own: the server's holds buffers for as long as it runs.
	go func() {
		stop := context.AfterFunc(n.ctx, func() { nc.Close() })
		rest, peer, err := n.greet(nc, rest, -1, name)
		stop()
		n.greeted()
		if err != nil {
			nc.Close() // who dialed was told why
			return
		}
		n.cfg.Bulk.Accept(peer, n.keepLarge(nc), rest)
	}()
}

// greeted ends the greeting of who dialed this instance.
func (n *Node) greeted() {
	n.mu.Lock()
	n.greeting--
	n.mu.Unlock()
	n.wg.Done()
}

// greet exchanges Hellos, that of the dialer first. dialed is the instance that was, -1
// where nc was accepted, and name whose certificate the other end has, "" without TLS.
func (n *Node) greet(nc net.Conn, rest []byte, dialed int, name string) (
	_ []byte, peer int, err error,
) {
	if err := nc.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return nil, 0, err
	}
	if dialed >= 0 {
		if err := n.sayHello(nc, dialed); err != nil {
			return nil, 0, err
		}
	}
	// No more is read than the Hello has: what follows is for who reads on.
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), nc), wire.FrameMax+wire.HeaderLen+1)
	m, err := firstFrame(in)
	if err != nil {
		return nil, 0, err
	}
	h, ok := m.(*wire.Hello)
	if !ok {
		if r, ok := m.(*wire.Refuse); ok {
			return nil, 0, errors.New(r.Text)
		}
		return nil, 0, fmt.Errorf("%T instead of a Hello", m)
	}
	n.mu.Lock()
	code, text := n.core.Refusal(h, dialed)
	if name != "" && h.FromName != name {
		code, text = wire.RefuseName, core.ForgedText(name, h)
		n.stats.forged++
	}
	n.mu.Unlock()
	if code != 0 {
		_, err := nc.Write(wire.Append(nil, &wire.Refuse{Code: code, Text: text}))
		return nil, 0, errors.Join(errors.New(text), err)
	}
	if dialed < 0 {
		if err := n.sayHello(nc, int(h.From)); err != nil {
			return nil, 0, err
		}
	}
	rest, err = in.Peek(in.Buffered())
	if err != nil {
		return nil, 0, err
	}
	return rest, int(h.From), nc.SetDeadline(time.Time{})
}

func (n *Node) sayHello(nc net.Conn, peer int) error {
	n.mu.Lock()
	h := n.core.Greeting(peer)
	n.mu.Unlock()
	_, err := nc.Write(wire.Append(nil, h))
	return err
}

func firstFrame(in *bufio.Reader) (wire.Msg, error) {
	for want := wire.HeaderLen; ; {
		text, err := in.Peek(want)
		if err != nil {
			return nil, err
		}
		frame, _, err := wire.Split(text)
		switch {
		case err == nil:
			var d wire.Decoder
			m, err := d.Decode(frame)
			if err == nil {
				_, err = in.Discard(wire.HeaderLen + len(frame))
			}
			return m, err
		case errors.Is(err, wire.ErrShort):
			want = max(len(text)+1, in.Buffered())
		default:
			return nil, err
		}
	}
}

// deliverLarge hands a payload that is whole to who follows its topic.
func (n *Node) deliverLarge(c *wire.Cast, p *haul.Payload) {
	n.tellLarge(Cast{At: time.Now(), Msg: c, Body: p})
}

// missLarge tells that a payload will not come.
func (n *Node) missLarge(c *wire.Cast) {
	n.tellLarge(Cast{At: time.Now(), Missed: wire.CastRange{
		Origin: c.Origin, Life: c.Life, From: c.Seq, To: c.Seq,
	}})
}

func (n *Node) tellLarge(c Cast) {
	n.mu.Lock()
	n.tellCast(c)
	n.cast.told = false
	n.mu.Unlock()
	n.casts.wake()
}

// closeBulk ends the transfers; what of their directory could not be removed is told, but
// only if nothing worse is.
func (n *Node) closeBulk() {
	if err := n.cfg.Bulk.Close(); err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.err == nil {
			n.err = fmt.Errorf("remove large payloads: %w", err)
		}
	}
}
