package admin

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Bounds on what a caller at a socket may cost; they are those of the ring's port.
const (
	socketHeader = 5 * time.Second
	socketRead   = 10 * time.Second
	socketWrite  = 30 * time.Second
	socketIdle   = time.Minute
	socketBytes  = 16 << 10 // of a header
)

// Socket is a unix socket at which the user that the instance runs as, and root, may do
// everything. Its methods are for one goroutine.
type Socket struct {
	l      net.Listener
	remove func() error // the file, while it is this socket's
	server *http.Server // nil: nobody answers yet
	gone   chan struct{}
}

// ListenSocket makes a socket at path. It has mode 0600 from the moment on that it is there:
// it is made in a directory that nobody else can enter, and then moved. One that is left of a
// process which was killed is replaced; one where somebody listens is an error that says who.
// The directory should be one in which nobody else may write: whoever may, can put a socket
// of his own there while no instance runs.
func ListenSocket(path string) (*Socket, error) {
	l, remove, err := listenAt(path)
	if err != nil {
		return nil, err
	}
	return &Socket{l: l, remove: remove, gone: make(chan struct{})}, nil
}

// Serve begins to answer with h, which is what New returns. It is called once.
func (s *Socket) Serve(h http.Handler) {
	s.server = &http.Server{
		Handler: h, ReadHeaderTimeout: socketHeader, ReadTimeout: socketRead, WriteTimeout: socketWrite,
		IdleTimeout: socketIdle, MaxHeaderBytes: socketBytes, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerAt(c))
		},
	}
	go func() {
		defer close(s.gone)
		_ = s.server.Serve(s.l) // it ends with Close
	}()
}

// Close removes the socket, ends what is answered there, and returns when nobody listens any
// more.
func (s *Socket) Close() error {
	err := s.remove()
	if s.server == nil {
		return errors.Join(err, s.l.Close())
	}
	err = errors.Join(err, s.server.Close())
	<-s.gone
	return err
}
