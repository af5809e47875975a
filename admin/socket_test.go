//go:build unix && !solaris && !aix

package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// overSocket asks whoever listens at path.
func overSocket(t *testing.T, path, method, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	req, err := http.NewRequest(method, "http://any.host"+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(textOf(t, resp))
}

// A socket is its user's alone, all is allowed there, and its callers have a name.
func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.sock")
	s, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v; want a socket with 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it there is %v, %v", entries, err)
	}
	var log lines
	s.Serve(New(ringOfOne(t, nil), Options{Certificate: certificates, Logger: log.logger(), LoopbackRole: Nobody}))
	if code, body := overSocket(t, path, "PUT", "/v1/bus/keys/k"); code != 200 {
		t.Errorf("a write: %d %s", code, body)
	}
	if got := log.audits(t); len(got) != 1 || got[0]["via"] != "socket" ||
		runtime.GOOS == "linux" && (got[0]["uid"] != float64(os.Getuid()) || got[0]["pid"] != float64(os.Getpid())) {
		t.Errorf("audit: %v", got)
	}

	_, err = ListenSocket(path)
	if err == nil || !strings.Contains(err.Error(), `instance "a" of ring "test"`) {
		t.Errorf("a second one: %v, want who listens there", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it stays behind: %v", err)
	}
}

// What is left of a process that was killed is replaced, and what is no socket is not. Who
// goes removes what is his, not what has taken its place.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.sock")
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	killed.Close()
	first, err := ListenSocket(path)
	if err != nil {
		t.Fatalf("where a stale one is: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second.Serve(http.NotFoundHandler())
	if code, _ := overSocket(t, path, "GET", "/"); code != 404 {
		t.Errorf("the second one answers %d", code)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("where a file is: %v", err)
	}
	long := filepath.Join(filepath.Dir(path), strings.Repeat("x", 200))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(filepath.Join(long, "s")); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := ListenSocket(filepath.Join(path, "none", "s")); err == nil {
		t.Error("a socket in no directory")
	}
}

// Of many that find a stale socket at once one replaces it, and the others find that one.
func TestOneSocketOfMany(t *testing.T) {
	for range 30 {
		raceForSocket(t, filepath.Join(t.TempDir(), "ring.sock"))
	}
}

func raceForSocket(t *testing.T, path string) {
	t.Helper()
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	killed.Close()
	all, begin := make([]*Socket, 8), make(chan struct{})
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() {
			<-begin
			s, err := ListenSocket(path)
			if err == nil {
				s.Serve(http.NotFoundHandler())
				all[i] = s
			} else if !strings.Contains(err.Error(), "listens at "+path+" already") {
				t.Error(err)
			}
		})
	}
	close(begin)
	group.Wait()
	n := 0
	for _, s := range all {
		if s != nil {
			n++
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d have the socket, want 1", n)
	}
}
