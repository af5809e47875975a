package lag

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is a connection whose accepted side is delayed.
func pair(t *testing.T, delay time.Duration) (bare, delayed net.Conn) {
	t.Helper()
	line, err := New(delay)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := line.Listener(tcp)
	t.Cleanup(func() { l.Close() })
	if bare, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if delayed, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bare.Close(); delayed.Close() })
	return bare, delayed
}

// Both directions are delayed, by at least what was asked for.
func TestBothWays(t *testing.T) {
	const delay = 5 * time.Millisecond
	bare, delayed := pair(t, delay)
	b := make([]byte, 1)
	for _, way := range [][2]net.Conn{{bare, delayed}, {delayed, bare}} {
		begin := time.Now()
		if _, err := way[0].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := way[1].Read(b); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < delay {
			t.Errorf("a hop took %v, want at least %v", took, delay)
		}
	}
}

// Many bytes come in order and whole, both ways, and then the end of the stream.
func TestInOrder(t *testing.T) {
	bare, delayed := pair(t, time.Millisecond)
	sent := make([]byte, 3*window)
	for i := range sent {
		sent[i] = byte(i >> 10)
	}
	for _, way := range [][2]net.Conn{{bare, delayed}, {delayed, bare}} {
		go func() {
			_, _ = way[0].Write(sent)
			_ = way[0].(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(way[1])
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes came, %v", len(got), len(sent), err)
		}
	}
}

// What was written before Close still arrives, and a Read that waits ends.
func TestClose(t *testing.T) {
	bare, delayed := pair(t, time.Millisecond)
	ended := make(chan error)
	go func() {
		_, err := delayed.Read(make([]byte, 1))
		ended <- err
	}()
	if _, err := delayed.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	delayed.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close = %v", err)
	}
	if got, err := io.ReadAll(bare); err != nil || string(got) != "last words" {
		t.Errorf("before the end came %q, %v", got, err)
	}
}

func TestDeadline(t *testing.T) {
	bare, delayed := pair(t, time.Millisecond)
	if err := delayed.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := delayed.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read behind its deadline = %v", err)
	}
	if err := delayed.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := delayed.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read without a deadline = %d, %v", n, err)
	}
}
