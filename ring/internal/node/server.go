package node

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"ringofservers.dev/ring/internal/link"
)

// Bounds on what strangers may cost. Links have their own, see Node.bound.
const (
	headerTimeout  = 5 * time.Second  // for a request's header to be read whole
	readTimeout    = 10 * time.Second // for all of a request
	writeTimeout   = 30 * time.Second // for all of an answer; streams set their own
	idleTimeout    = time.Minute      // of a kept connection without a request
	headerMax      = 16 << 10         // bytes
	openMax        = 512              // HTTP connections at a time; past that the oldest goes
	farewellAnswer = time.Second      // for requests being answered at the end
)

func newServer(n *Node) (*http.Server, *guests) {
	g := &guests{at: map[net.Conn]*list.Element{}}
	s := &http.Server{
		Handler:           n,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		ConnState:         g.counted,
		// Port scanners and torn requests are told 400 and nobody else.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return s, g
}

// serve accepts until the listener is closed.
func (n *Node) serve() {
	err := n.server.Serve(n.cfg.Listener)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && !errors.Is(err, http.ErrServerClosed) {
		n.end(fmt.Errorf("serve %s: %w", n.cfg.Listener.Addr(), err), false)
	}
}

// guests are the connections that have not become links, oldest first. When
// they are too many the oldest is closed, not the newcomer: that may be a
// neighbour.
type guests struct {
	mu    sync.Mutex
	order list.List // of net.Conn
	at    map[net.Conn]*list.Element
}

// counted keeps the guests. It is called by the server for each connection.
func (g *guests) counted(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.at[c] = g.order.PushBack(c)
		if g.order.Len() > openMax {
			oldest := g.order.Front()
			g.remove(oldest.Value.(net.Conn))
			cut(oldest.Value.(net.Conn)) // the server finds that out by itself
		}
	case http.StateHijacked, http.StateClosed:
		g.remove(c)
	}
}

func (g *guests) remove(c net.Conn) {
	if e, ok := g.at[c]; ok {
		g.order.Remove(e)
		delete(g.at, c)
	}
}

// cut closes c without a goodbye of TLS, which would wait for who does not read.
func cut(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.Close()
}

// cutAll closes all of them.
func (g *guests) cutAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.order.Front(); e != nil; e = e.Next() {
		cut(e.Value.(net.Conn))
	}
}

// ServeHTTP makes a link of what asks for one, and hands on the rest.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case link.IsUpgrade(r):
		if p, ok := n.proofOf(w, r); ok {
			n.accept(w, p)
		}
	case link.IsBulk(r):
		if p, ok := n.proofOf(w, r); ok {
			n.acceptBulk(w, p.name)
		}
	case link.IsOtherUpgrade(r):
		link.Refuse(w)
	case n.cfg.Handler != nil:
		n.cfg.Handler.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// closeServer ends the HTTP side.
func (n *Node) closeServer(graceful bool) {
	if graceful {
		ctx, cancel := context.WithTimeout(context.Background(), farewellAnswer)
		defer cancel()
		if n.server.Shutdown(ctx) == nil {
			return
		}
	}
	n.guests.cutAll()
	n.server.Close() // the listener is closed already: what it says of that is no news
}
