package ring

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostAddress is an address of this host that others reach, if it has one.
func hostAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED: this host has no address but loopback; CI's has")
	return ""
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Who listens where other hosts reach it is found over loopback by its own host, by plain HTTP
// also where it has TLS; and not being able to is no error.
func TestLocalToo(t *testing.T) {
	host := hostAddress(t)
	roster := Roster{Names: []Name{"a"}, Addresses: []string{net.JoinHostPort(host, "3000")}}
	ca := newAuthority(t, "test")
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"plain", func(c *Config) { c.Insecure = true }},
		{"TLS", func(c *Config) { c.TLS = ca.store(t, "a") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log lockedBuffer
			free := listener(t, "127.0.0.1:0") // and so most likely at host
			_, port, _ := net.SplitHostPort(free.Addr().String())
			free.Close()
			cfg := Config{
				Ring: "test", Name: "a", Roster: roster, Listen: net.JoinHostPort(host, port),
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			c.change(&cfg)
			r, err := Join(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if want := "127.0.0.1:" + port; r.Local().String() != want {
				t.Fatalf("Local = %s, want %s beside %s; log:\n%s", r.Local(), want, r.Addr(), log.String())
			}
			r.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
			places := []string{r.Local().String()}
			if cfg.TLS == nil {
				places = append(places, r.Addr().String())
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for _, place := range places {
				answer, err := client.Get("http://" + place)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || string(text) != "hello" {
					t.Errorf("%s answers %q, %v", place, text, err)
				}
			}

			beside := cfg // at the same port over loopback, which is taken
			beside.Listen = r.Local().String()
			if _, err := Join(t.Context(), beside); !errors.Is(err, ErrAddress) {
				t.Errorf("a second one listens at %s: %v", beside.Listen, err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			for _, place := range []string{r.Local().String(), r.Addr().String()} {
				if nc, err := net.Dial("tcp", place); err == nil {
					nc.Close()
					t.Errorf("after Close somebody listens at %s", place)
				}
			}
			if insecure := cfg.TLS == nil; strings.Contains(log.String(), "not encrypted") != insecure {
				t.Errorf("insecure is %v, and the log is\n%s", insecure, log.String())
			}
		})
	}
	t.Run("taken", func(t *testing.T) {
		taken := listener(t, "127.0.0.1:0")
		defer taken.Close()
		_, port, _ := net.SplitHostPort(taken.Addr().String())
		var log lockedBuffer
		r, err := Join(t.Context(), Config{
			Ring: "test", Name: "a", Listen: net.JoinHostPort(host, port), Insecure: true,
			Roster: roster,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Local().String() != r.Addr().String() {
			t.Errorf("Local = %s, want %s", r.Local(), r.Addr())
		}
		if !strings.Contains(log.String(), "level=INFO") || !strings.Contains(log.String(), "--addr "+r.Addr().String()) {
			t.Errorf("the log does not say so:\n%s", log.String())
		}
	})
}

// When one of both ends by itself, the port goes on; when it is closed, what waited is closed.
func TestBothListeners(t *testing.T) {
	first, second := listener(t, "127.0.0.1:0"), listener(t, "127.0.0.1:0")
	b := newBoth(first, second)
	for _, l := range []net.Listener{first, second} {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		got, err := b.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got.RemoteAddr().String() != nc.LocalAddr().String() {
			t.Errorf("accepted %s, want %s", got.RemoteAddr(), nc.LocalAddr())
		}
		got.Close()
	}
	second.Close()
	waits, err := net.Dial("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if got, err := b.Accept(); err != nil {
		t.Errorf("after one of both has ended: %v", err)
	} else {
		got.Close()
	}
	more, err := net.Dial("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	if err := b.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close = %v", err)
	}
	if _, err := b.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v", err)
	}
	if err := more.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(more); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("what waited to be accepted is open after Close")
	}
}
