package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"ringofservers.dev/ring/internal/link"
)

// Bounds on what strangers may cost. Links have their own, see Node.bound.
const (
	headerTimeout  = 5 * time.Second // for a request's header to be read whole
	idleTimeout    = time.Minute     // of a kept connection without a request
	headerMax      = 16 << 10        // bytes
	openMax        = 512             // HTTP connections at a time; more are closed unread
	farewellAnswer = time.Second     // for requests being answered at the end
)

func newServer(n *Node) *http.Server {
	return &http.Server{
		Handler:           n,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerMax,
		ConnState:         n.counted,
		// Port scanners and torn requests are told 400 and nobody else.
		ErrorLog: log.New(io.Discard, "", 0),
	}
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

// counted bounds the connections that have not become links.
func (n *Node) counted(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if n.open.Add(1) > openMax {
			c.Close() // the server finds that out and says StateClosed
		}
	case http.StateHijacked, http.StateClosed:
		n.open.Add(-1)
	}
}

// ServeHTTP makes a link of what asks for one, and hands on the rest.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case link.IsUpgrade(r):
		n.accept(w)
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
	n.server.Close() // the listener is closed already: what it says of that is no news
}
