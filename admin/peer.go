package admin

import (
	"fmt"
	"net/http"
)

// Peer is the process at the other end of a unix socket.
type Peer struct {
	PID int
	UID int
}

// who is the peer's user; p may be nil.
func (p *Peer) who() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("uid %d", p.UID)
}

type peerKey struct{}

// peerOf is who is at the other end of the socket that req came by, if it came by one;
// p is nil where the system does not tell.
func peerOf(req *http.Request) (p *Peer, socket bool) {
	p, socket = req.Context().Value(peerKey{}).(*Peer)
	return p, socket
}
