//go:build unix && !solaris && !aix

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// socketPathMax is how long the path of a socket may be on all systems, in bytes, with what
// is before it while it is made.
const socketPathMax = 100

// listenAt makes the socket. The directory is locked meanwhile, so that of two processes
// that find a stale socket one waits and finds the other's.
func listenAt(path string) (_ net.Listener, remove func() error, err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w: make that directory, for this user alone", err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return nil, nil, fmt.Errorf("socket: lock %s: %w", dir.Name(), err)
	}
	if err := checkVacant(path); err != nil {
		return nil, nil, err
	}
	closed, err := os.MkdirTemp(dir.Name(), ".ring-") // mode 0700
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	defer os.RemoveAll(closed)
	at := filepath.Join(closed, "s")
	if len(at) > socketPathMax {
		return nil, nil, fmt.Errorf("socket: the path %s is too long for a socket: choose a shorter one", path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the name that it knows is not the one that it has
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if err := os.Chmod(at, 0o600); err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	own, err := os.Lstat(at)
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	if err := os.Rename(at, path); err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	return l, func() error { return removeOwn(path, own) }, nil
}

// checkVacant says why no socket can be made at path.
func checkVacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket: %s is there and is no socket: choose another path, or remove it", path)
	}
	c, err := net.DialTimeout("unix", path, socketHeader)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil // stale
	}
	if err != nil {
		return fmt.Errorf("socket: %s is there, and it is not known whether somebody listens: %w", path, err)
	}
	defer c.Close()
	return fmt.Errorf("socket: %s listens at %s already: give each instance a socket of its own", listener(path, c), path)
}

// listener says who answers at a socket.
func listener(path string, c net.Conn) string {
	who := "somebody"
	if p := peerAt(c); p != nil {
		who = fmt.Sprintf("process %d (uid %d)", p.PID, p.UID)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v1/status", nil)
	if err != nil {
		return who
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return who
	}
	defer resp.Body.Close()
	var status struct{ Ring, Self string }
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&status) == nil && status.Self != "" {
		who = fmt.Sprintf("instance %q of ring %q, %s,", status.Self, status.Ring, who)
	}
	return who
}

// removeOwn removes path if it is still that file.
func removeOwn(path string, own fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err != nil || !os.SameFile(now, own) {
		return nil //nolint:nilerr // somebody else has removed or replaced it
	}
	return os.Remove(path)
}
