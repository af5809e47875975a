package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

var calm = Options{First: 10 * time.Second, Idle: 10 * time.Second, Write: 10 * time.Second}

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func mustQueue(t *testing.T, c *Conn, body string) {
	t.Helper()
	if err := c.Queue(frame(body)); err != nil {
		t.Fatalf("Queue: %v", err)
	}
}

func wantFrame(t *testing.T, c *Conn, body string) {
	t.Helper()
	got, err := c.Next()
	if err != nil || string(got) != body {
		t.Fatalf("Next = %.40q, %v, want %.40q", got, err, body)
	}
}

func TestFramesBothWays(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		a, b := over.pair(t, calm)
		big := strings.Repeat("x", wire.FrameMax)
		for range 3 {
			mustQueue(t, a, "hello")
			mustQueue(t, a, big)
			mustQueue(t, a, "again")
			a.Flush()
			wantFrame(t, b, "hello")
			wantFrame(t, b, big)
			wantFrame(t, b, "again")
			mustQueue(t, b, "answer")
			b.Flush()
			wantFrame(t, a, "answer")
		}
	})
}

func TestHopAllocatesNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		a, b := over.pair(t, calm)
		f := frame("particle")
		hop := func() {
			if err := a.Queue(f); err != nil {
				t.Fatal(err)
			}
			a.Flush()
			if _, err := b.Next(); err != nil {
				t.Fatal(err)
			}
		}
		hop()
		want := 0.0
		if over.client != nil {
			want = 1 // crypto/tls makes a reader of a few bytes for each read
			if raced {
				want = 3 // and under the race detector its pools forget what they are given
			}
		}
		if n := testing.AllocsPerRun(200, hop); n > want {
			t.Errorf("a hop allocates %v times, want %v", n, want)
		}
	})
}

// What a peer sends along with its upgrade, in one packet, is not lost.
func TestFramesBehindTheUpgrade(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		addr, links := over.server(t, calm)
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.Write(append([]byte("GET "+Path+" HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: "+
			Protocol+"\r\n\r\n"), frame("early")...))
		c := <-links
		defer c.Close()
		wantFrame(t, c, "early")
	})
}

func TestGarbageEndsTheLink(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		for _, garbage := range []string{
			"\x00\x00\x00\x00", "\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n", "\x00\x01\x00\x02xxxx",
		} {
			nc, c := over.rawPair(t, calm)
			nc.Write([]byte(garbage))
			if f, err := c.Next(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Next after %q = %q, %v, want a framing error", garbage, f, err)
			}
			if len(c.in) > readBuffer {
				t.Errorf("%q made the read buffer %d bytes long", garbage, len(c.in))
			}
		}
	})
}

func TestEveryCutOfAStream(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		nc, c := over.rawPair(t, calm)
		stream := bytes.Join([][]byte{frame("a"), frame("bcd"), frame("efghij")}, nil)
		go func() {
			for cut := 1; cut < len(stream); cut++ {
				nc.Write(stream[:cut])
				nc.Write(stream[cut:])
			}
		}()
		for range len(stream) - 1 {
			wantFrame(t, c, "a")
			wantFrame(t, c, "bcd")
			wantFrame(t, c, "efghij")
		}
	})
}

// Each side waits for the other at every frame, so that one wake-up that is
// lost ends the game.
func TestNoWakeUpIsLost(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		const rallies = 5000
		a, b := over.pair(t, calm)
		go func() {
			for {
				f, err := b.Next()
				if err != nil || b.Queue(frame(string(f))) != nil {
					return
				}
				b.Flush()
			}
		}()
		for i := range rallies {
			body := fmt.Sprint("rally ", i)
			mustQueue(t, a, body)
			a.Flush()
			wantFrame(t, a, body)
		}
	})
}

func TestManyFramesInOnePiece(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		nc, c := over.rawPair(t, calm)
		var stream []byte
		for i := range 1000 {
			stream = append(stream, frame(strings.Repeat("x", i%10)+fmt.Sprint(i))...)
		}
		nc.Write(stream)
		for i := range 1000 {
			wantFrame(t, c, strings.Repeat("x", i%10)+fmt.Sprint(i))
		}
	})
}

// The end of a stream is seen though it came in together with the last frame:
// the kernel tells of both in one event.
func TestEndBehindTheLastFrame(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		nc, c := over.rawPair(t, calm)
		nc.Write(frame("last words"))
		nc.Close()
		wantFrame(t, c, "last words")
		if _, err := c.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("Next = %v, want EOF", err)
		}
		for range 200 { // with a reader that waits already
			nc, c := over.rawPair(t, calm)
			go func() {
				nc.Write(frame("last words"))
				nc.Close()
			}()
			wantFrame(t, c, "last words")
			if _, err := c.Next(); !errors.Is(err, io.EOF) {
				t.Fatalf("Next = %v, want EOF", err)
			}
			c.Close()
		}
	})
}

// A process that is killed with something unread sends a reset.
func TestResetBehindTheLastFrame(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		nc, c := over.rawPair(t, calm)
		nc.Write(frame("last words"))
		if err := bareOf(nc).(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		if f, err := c.Next(); err == nil && string(f) == "last words" {
			_, err = c.Next()
			if err == nil || isTimeout(err) {
				t.Errorf("Next = %v, want a reset", err)
			}
		} else if err == nil || isTimeout(err) {
			t.Errorf("Next = %q, %v, want a frame or a reset", f, err)
		}
	})
}

func TestCloseEndsAWaitingNext(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		nc, c := over.rawPair(t, calm)
		nc.Write(frame("one"))
		read, done := make(chan struct{}), make(chan error)
		go func() {
			if _, err := c.Next(); err != nil {
				t.Errorf("Next = %v", err)
			}
			close(read)
			_, err := c.Next()
			done <- err
		}()
		<-read
		c.Close()
		if err := <-done; err == nil || isTimeout(err) {
			t.Errorf("Next = %v, want the link closed", err)
		}
	})
}

func TestDribblerIsDropped(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		opts := calm
		opts.First, opts.Idle = 100*time.Millisecond, 100*time.Millisecond
		nc, c := over.rawPair(t, opts)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			nc.Write(frame("a whole one first"))
			for _, b := range frame(strings.Repeat("slow", 1000)) {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					nc.Write([]byte{b})
				}
			}
		}()
		wantFrame(t, c, "a whole one first")
		start := time.Now()
		if _, err := c.Next(); !isTimeout(err) {
			t.Errorf("Next = %v, want a timeout", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the dribbler was dropped after %v", took)
		}
	})
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestSilentOpenerIsDropped(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		opts := calm
		opts.First = 50 * time.Millisecond
		_, c := over.rawPair(t, opts)
		if _, err := c.Next(); !isTimeout(err) {
			t.Errorf("Next = %v, want a timeout", err)
		}
	})
}

// A particle that comes while a state is being sent waits for what the kernel has of
// it, and for no more than a burst of what we have.
func TestBulkIsOvertaken(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		peer, c := over.rawPair(t, calm)
		if err := bareOf(peer).(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		const pieces, size = 60, 32 << 10
		for i := range pieces {
			body := fmt.Sprintf("%03d", i) + strings.Repeat("x", size-3)
			if err := c.QueueBulk(frame(body)); err != nil {
				t.Fatal(err)
			}
			c.Flush()
		}
		mustQueue(t, c, "particle")
		c.Flush()
		c.Finish()
		b, err := io.ReadAll(peer)
		if err != nil {
			t.Fatal(err)
		}
		total, piece, passed := len(b), 0, 0
		for len(b) > 0 {
			body, rest, err := wire.Split(b)
			switch {
			case err != nil:
				t.Fatal(err)
			case string(body) == "particle":
				passed = total - len(b)
			case string(body[:3]) != fmt.Sprintf("%03d", piece):
				t.Fatalf("piece %s comes as number %d", body[:3], piece)
			default:
				piece++
			}
			b = rest
		}
		if piece != pieces {
			t.Errorf("%d pieces of %d came", piece, pieces)
		}
		if passed == 0 || passed > total/2 {
			t.Errorf("the particle came after %d bytes of %d", passed, total)
		}
	})
}

func TestDeafPeerHitsTheBound(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		for name, queue := range map[string]func(*Conn, []byte) error{
			"control": (*Conn).Queue, "bulk": (*Conn).QueueBulk,
		} {
			t.Run(name, func(t *testing.T) { deafPeer(t, over, queue) })
		}
	})
}

func deafPeer(t *testing.T, over transport, queue func(*Conn, []byte) error) {
	_, c := over.rawPair(t, calm)
	body := strings.Repeat("x", 32<<10)
	var err error
	start := time.Now()
	for range 4096 { // 128 MiB is more than any socket buffer
		if err = queue(c, frame(body)); err != nil {
			break
		}
		c.Flush()
	}
	if !errors.Is(err, ErrBehind) {
		t.Errorf("Queue = %v, want ErrBehind", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a deaf peer held the sender for %v", took)
	}
	if _, err := c.Next(); err == nil {
		t.Error("Next goes on after the link failed")
	}
}

// clog sends until the socket takes no more.
func clog(t *testing.T, c *Conn) {
	t.Helper()
	body := strings.Repeat("x", 32<<10)
	for !c.drains() {
		mustQueue(t, c, body)
		c.Flush()
	}
}

func (c *Conn) drains() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Close waits for the goroutine that writes, and does not let it wait.
func TestCloseEndsTheWriter(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		opts := calm
		opts.Write = time.Hour
		_, c := over.rawPair(t, opts)
		clog(t, c)
		c.Finish() // what is left has all the time there is, until Close
		c.Close()
		if c.drains() {
			t.Error("the writing goroutine outlives Close")
		}
	})
}

func TestDeafPeerHitsTheWriteDeadline(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		opts := calm
		opts.Write = 100 * time.Millisecond
		_, c := over.rawPair(t, opts)
		clog(t, c)
		if _, err := c.Next(); err == nil || isTimeout(err) {
			t.Errorf("Next = %v, want the link closed by the writer", err)
		}
	})
}

func TestFinishSendsWhatIsQueued(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		a, b := over.pair(t, calm)
		mustQueue(t, b, "unread, as a peer's last frame often is")
		b.Flush()
		big := strings.Repeat("x", wire.FrameMax)
		mustQueue(t, a, big)
		mustQueue(t, a, "refused: because")
		a.Finish()
		go a.Drain()
		wantFrame(t, b, big)
		wantFrame(t, b, "refused: because")
		if _, err := b.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("Next = %v, want EOF", err)
		}
		if err := a.Queue(frame("late")); err == nil {
			t.Error("Queue after Finish succeeded")
		}
	})
}

func TestAcceptedByNobodyKnown(t *testing.T) {
	overBoth(t, func(t *testing.T, over transport) {
		a, b := over.pair(t, calm)
		b.Close()
		if _, err := a.Next(); err == nil {
			t.Error("Next after the peer's Close succeeded")
		}
	})
}

// A net.Conn that is no socket is written to by the goroutine alone.
func TestWithoutASocket(t *testing.T) {
	x, y := net.Pipe()
	a, err := newConn(x, nil, calm)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newConn(y, frame("rest"), calm)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wantFrame(t, b, "rest")
	for i := range 100 {
		mustQueue(t, a, fmt.Sprint("frame ", i))
		a.Flush()
	}
	for i := range 100 {
		wantFrame(t, b, fmt.Sprint("frame ", i))
	}
	a.Finish()
	if _, err := b.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("Next = %v, want EOF", err)
	}
}

func wantCause(t *testing.T, addr string, want Cause) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c, err := Dial(ctx, addr, nil, time.Second, calm)
	if err == nil {
		c.Close()
		t.Fatalf("Dial(%s) succeeded", addr)
	}
	var de *DialError
	if !errors.As(err, &de) || de.Cause != want {
		t.Errorf("Dial(%s) = %v with cause %v, want cause %v", addr, err, de.Cause, want)
	}
}

// speaker answers every connection with text and leaves it open.
func speaker(t *testing.T, text string, hangUp bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.Write([]byte(text))
			if hangUp {
				nc.Close()
				continue
			}
			t.Cleanup(func() { nc.Close() })
		}
	}()
	return l.Addr().String()
}

func TestDialCauses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	wantCause(t, l.Addr().String(), Refused)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	wantCause(t, "localhost:"+port, Refused)
	wantCause(t, "no-such-host.invalid:1", Unresolved)
	wantCause(t, "127.0.0.1", Unresolved)
	wantCause(t, "127.0.0.1:http", Unresolved)
	wantCause(t, speaker(t, "", false), Unanswered) // accepts and never answers
	wantCause(t, speaker(t, "", true), Unanswered)
	wantCause(t, speaker(t, "HTTP/1.1 503 Busy\r\n\r\n", false), Unanswered)
	wantCause(t, speaker(t, "HTTP/1.1 404 Not Found\r\n\r\n", false), NotRing)
	wantCause(t, speaker(t, "SSH-2.0-OpenSSH_9.9\r\n", false), NotRing)
	wantCause(t, speaker(t, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", false),
		NotRing)
	wantCause(t, speaker(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", answerMax), false),
		NotRing)
}

func TestDialStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := speaker(t, "", false)
	done := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, addr, nil, time.Second, calm)
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("Dial succeeded after its context was cancelled")
	}
}

func TestOnlyAnUpgradeIsAnUpgrade(t *testing.T) {
	for _, c := range []struct {
		method, path, connection, upgrade string
		want                              bool
	}{
		{"GET", Path, "Upgrade", Protocol, true},
		{"GET", Path, "keep-alive, upgrade", Protocol, true},
		{"POST", Path, "Upgrade", Protocol, false},
		{"GET", "/", "Upgrade", Protocol, false},
		{"GET", Path, "keep-alive", Protocol, false},
		{"GET", Path, "Upgrade", "websocket", false},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Connection", c.connection)
		r.Header.Set("Upgrade", c.upgrade)
		if got := IsUpgrade(r); got != c.want {
			t.Errorf("IsUpgrade(%+v) = %v", c, got)
		}
	}
}

func BenchmarkHop(b *testing.B) {
	for name, over := range map[string]transport{"plain": {}, "tls": overTLS(b)} {
		b.Run(name, func(b *testing.B) {
			from, to := over.pair(b, calm)
			f := frame("a particle of about forty bytes, all told")
			b.ReportAllocs()
			for b.Loop() {
				if err := from.Queue(f); err != nil {
					b.Fatal(err)
				}
				from.Flush()
				if _, err := to.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
