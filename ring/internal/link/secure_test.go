package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Who is not whom it should be makes no link, and both ends say why; none of it is taken
// for proof of a death.
func TestUntrustedDials(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	future := time.Now().Add(3 * time.Hour) // not valid for an hour yet
	a, b := ours.identity(t, "a", soon), ours.identity(t, "b", soon)
	older := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }
	for _, c := range []struct {
		name           string
		client, server Identity
		change         func(*tls.Config)
		said           string // where it was dialed from
		heard          string // at the other end
	}{
		{"wrong name", a, ours.identity(t, "c", soon), nil, "that is c, not b", ""},
		{"another authority", a, theirs.identity(t, "b", soon), nil, "unknown authority", ""},
		{"of another authority", theirs.identity(t, "a", soon), b, nil, "unknown authority", ""},
		{"expired there", a, ours.identity(t, "b", past), nil, "expired", ""},
		{"expired here", ours.identity(t, "a", past), b, nil, "does not accept this instance", "expired"},
		{"not valid yet here", ours.identity(t, "a", future), b, nil, "does not accept", "not yet valid"},
		{"TLS 1.2", a, b, older, "version", "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan error, 9)
			addr := guarded(t, c.server, func(e Entry, err error) {
				if e == Rejected {
					heard <- err
				}
			})
			config := c.client.Client("b")
			if c.change != nil {
				c.change(config)
			}
			_, err := Dial(t.Context(), addr, config, time.Second, calm)
			var de *DialError
			if !errors.As(err, &de) || de.Cause != Untrusted || !strings.Contains(err.Error(), c.said) {
				t.Errorf("Dial = %v, want untrusted with %q", err, c.said)
			}
			if c.heard == "" {
				return
			}
			if err := <-heard; !strings.Contains(err.Error(), c.heard) {
				t.Errorf("the other end says %v, want %q", err, c.heard)
			}
		})
	}
}

// guarded serves nothing but refusals behind a Door.
func guarded(t testing.TB, id Identity, told func(Entry, error)) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.TLS == nil && IsUpgrade(r):
			RefuseClear(w)
		case r.TLS == nil:
			fmt.Fprint(w, "clear")
		default:
			fmt.Fprint(w, "encrypted")
		}
	}))
	d := Guard(s.Listener, id, func(_ net.Addr, e Entry, err error) { told(e, err) })
	s.Listener = d
	s.Start()
	t.Cleanup(func() { s.Close(); d.Wait() })
	return d.Addr().String()
}

func ignore(Entry, error) {}

func TestDialCausesOverTLS(t *testing.T) {
	over := overTLS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, c := range []struct {
		what, addr string
		secure     *tls.Config
		want       Cause
		said       string
	}{
		{"nobody", l.Addr().String(), over.config(), Refused, ""},
		{"a silent one", speaker(t, "", false), over.config(), Unanswered, ""},
		{"one that hangs up", speaker(t, "", true), over.config(), Unanswered, ""},
		{"half a handshake", speaker(t, "\x16\x03\x03\x00\x7a\x02\x00", true), over.config(), Unanswered, ""},
		{"SSH", speaker(t, "SSH-2.0-OpenSSH_9.9\r\n", false), over.config(), Untrusted, "no TLS"},
		{"one without TLS", plain.Listener.Addr().String(), over.config(), Untrusted, "no TLS"},
		{"one with TLS", guarded(t, over.listener, ignore), nil, Untrusted, "has TLS and this one has none"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := Dial(ctx, c.addr, c.secure, time.Second, calm)
			var de *DialError
			if !errors.As(err, &de) || de.Cause != c.want || !strings.Contains(err.Error(), c.said) {
				t.Errorf("Dial = %v, want cause %d with %q", err, c.want, c.said)
			}
		})
	}
}

// Plain HTTP is for this host alone.
func TestDoorForPlainText(t *testing.T) {
	over := overTLS(t)
	addr := guarded(t, over.listener, ignore)
	resp, err := http.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "clear" {
		t.Errorf("plain HTTP from this host = %q, %v", b, err)
	}

	// Of another host there is none in a test: an address is enough.
	here, there := net.Pipe()
	heard := make(chan error, 1)
	d := Guard(&oneConn{nc: far{there}}, over.listener, func(_ net.Addr, e Entry, err error) {
		if e == Rejected {
			heard <- err
		}
	})
	go fmt.Fprint(here, "GET / HTTP/1.1\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https://") {
		t.Errorf("plain HTTP from elsewhere = %s, %q, %v", answer.Status, body, err)
	}
	if err := <-heard; !errors.Is(err, ErrClear) {
		t.Errorf("it was told of as %v", err)
	}
	d.Close()
	d.Wait()
}

// far is a connection from another host.
type far struct{ net.Conn }

func (far) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7} }

// oneConn is a listener at which one connection comes.
type oneConn struct {
	once sync.Once
	nc   net.Conn
}

func (l *oneConn) Accept() (nc net.Conn, err error) {
	err = net.ErrClosed
	l.once.Do(func() { nc, err = l.nc, nil })
	return nc, err
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.nc.LocalAddr() }

// However many say nothing at the door, or stop in their handshake, the next one is let in.
func TestSlowOnesHoldNobodyUp(t *testing.T) {
	over := overTLS(t)
	addr := guarded(t, over.listener, ignore)
	for i := range doorMax + 20 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if i%2 == 0 {
			nc.Write([]byte{0x16, 3, 1, 2}) // and no more
		}
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: over.config()}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "encrypted" {
		t.Errorf("got %q, %v", b, err)
	}
}

// forger is a client that seals its records itself, and so may send any.
type forger struct {
	net.Conn
	t      *testing.T
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// forge does a handshake, and upgrades.
func forge(t *testing.T, over transport) (*forger, *Conn) {
	t.Helper()
	addr, links := over.server(t, calm)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	var log strings.Builder
	config := over.config()
	config.KeyLogWriter = &log
	client := tls.Client(nc, config)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if client.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("SKIPPED: this processor has no AES, and the test no other cipher; CI's has")
	}
	f := &forger{Conn: nc, t: t}
	for line := range strings.Lines(log.String()) {
		if words := strings.Fields(line); words[0] == "CLIENT_TRAFFIC_SECRET_0" {
			if f.secret, err = hex.DecodeString(words[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.rekey()
	f.send(23, []byte("GET "+Path+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "+
		Protocol+"\r\n\r\n"))
	c := <-links
	t.Cleanup(c.Close)
	return f, c
}

func (f *forger) expand(label string, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(info, byte(len(label)+6))
	info = append(info, "tls13 "+label...)
	out, err := hkdf.Expand(sha256.New, f.secret, string(append(info, 0)), size)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

func (f *forger) rekey() {
	block, err := aes.NewCipher(f.expand("key", 16))
	if err != nil {
		f.t.Fatal(err)
	}
	if f.aead, err = cipher.NewGCM(block); err != nil {
		f.t.Fatal(err)
	}
	f.iv, f.seq = f.expand("iv", 12), 0
}

// seal returns a record of that type.
func (f *forger) seal(kind byte, text []byte) []byte {
	head := []byte{23, 3, 3}
	head = binary.BigEndian.AppendUint16(head, uint16(len(text)+1+f.aead.Overhead()))
	nonce := append([]byte(nil), f.iv...)
	for i := range 8 {
		nonce[4+i] ^= byte(f.seq >> (56 - 8*i))
	}
	f.seq++
	inner := append(append([]byte(nil), text...), kind)
	return f.aead.Seal(head, nonce, inner, head)
}

func (f *forger) send(kind byte, text []byte) error {
	_, err := f.Write(f.seal(kind, text))
	return err
}

// update asks for new keys, and for those of the other side.
func (f *forger) update() []byte {
	record := f.seal(22, []byte{24, 0, 0, 1, 1})
	f.secret = f.expand("traffic upd", sha256.Size)
	f.rekey()
	return record
}

// A peer that asks for new keys again and again, and reads none of the answers, ends its
// link, and cannot make them pile up here; one that asks now and then may.
func TestFloodOfKeyUpdates(t *testing.T) {
	f, c := forge(t, overTLS(t))
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	for n := 0; ; n++ {
		batch := append(f.update(), f.seal(23, frame("alive"))...)
		if _, err := f.Write(batch); err != nil {
			break
		}
		if got := c.sock.pending.Load(); got > sealedMax {
			t.Fatalf("%d bytes of answers are kept", got)
		}
		if n > 1<<20 {
			t.Fatal("a million updates are answered and never read")
		}
	}
	if err := <-ended; err == nil {
		t.Error("the link goes on")
	}
}

// Answers to key updates leave without a frame of ours to go with.
func TestKeyUpdateIsAnswered(t *testing.T) {
	f, c := forge(t, overTLS(t))
	f.Write(append(f.update(), f.seal(23, frame("after it"))...))
	wantFrame(t, c, "after it")
	done := make(chan struct{})
	go func() { defer close(done); c.Next() }()
	for late := time.Now().Add(10 * time.Second); c.sock.pending.Load() > 0; {
		if time.Now().After(late) {
			t.Fatal("the answer stays here")
		}
		time.Sleep(time.Millisecond)
	}
	c.Close()
	<-done
	all, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	answer := []byte{23, 3, 3, 0, 5 + 1 + 16} // the head of one: five bytes, their type and a tag
	if at := len(all) - len(answer) - 22; at < 0 || !bytes.HasPrefix(all[at:], answer) {
		t.Errorf("what came ends without an answer: %x", all)
	}
}

// What no TLS end sends ends the link, and with it nothing else.
func TestForgedRecords(t *testing.T) {
	over := overTLS(t)
	for name, make := range map[string]func(*forger) []byte{
		"not sealed":        func(*forger) []byte { return append([]byte{23, 3, 3, 0, 30}, make([]byte, 30)...) },
		"too long":          func(*forger) []byte { return []byte{23, 3, 3, 0xff, 0xff} },
		"another handshake": func(f *forger) []byte { return f.seal(22, []byte{1, 0, 0, 2, 3, 3}) },
		"a plain alert":     func(*forger) []byte { return []byte{21, 3, 3, 0, 2, 2, 40} },
		"an unknown kind":   func(f *forger) []byte { return f.seal(77, []byte("x")) },
		"nothing, for ever": func(f *forger) []byte {
			var all []byte
			for range 100 {
				all = append(all, f.seal(23, nil)...)
			}
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := forge(t, over)
			f.Write(make(f))
			if got, err := c.Next(); err == nil {
				t.Errorf("Next = %q", got)
			}
		})
	}
}
