package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring/trust"
)

// holders says whom a client certificate is for, and what he may do; it is nil where there is
// no identity. An instance may know what others know; it changes nothing over HTTP.
func holders(store *trust.Store) func(*tls.ConnectionState) (who string, role admin.Role, err error) {
	if store == nil {
		return nil
	}
	return func(cs *tls.ConnectionState) (string, admin.Role, error) {
		id, err := store.PeerOf(cs) // anew with each request: it may have been revoked meanwhile
		if err != nil {
			return "", 0, err
		}
		roles := map[trust.Role]admin.Role{
			trust.Instance: admin.Read, trust.Read: admin.Read, trust.Admin: admin.Admin,
		}
		return id.Name, roles[id.Role], nil
	}
}

// openIdentity reads the directory of an identity, or none if that is empty.
func openIdentity(dir string) (*trust.Store, error) {
	if dir == "" {
		return nil, nil
	}
	store, err := trust.Open(dir)
	if err != nil {
		return nil, exitf(exitUsage, "identity: %w", err)
	}
	return store, nil
}

// socket is the unix socket of an instance; without one it is empty.
type socket struct{ *admin.Socket }

// listenSocket makes it at path, or none if that is empty.
func listenSocket(path string) (socket, error) {
	if path == "" {
		return socket{}, nil
	}
	s, err := admin.ListenSocket(path)
	if err != nil {
		return socket{}, exitf(exitFailed, "%w", err)
	}
	return socket{s}, nil
}

func (s socket) serve(h http.Handler) {
	if s.Socket != nil {
		s.Serve(h)
	}
}

func (s socket) close(logger *slog.Logger) {
	if s.Socket == nil {
		return
	}
	if err := s.Close(); err != nil {
		logger.Warn("socket stays behind", "err", err)
	}
}
