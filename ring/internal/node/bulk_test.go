package node

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// bulkNode runs a node that takes large payloads.
func bulkNode(t *testing.T) (n *Node, s *script, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := haul.Open(haul.Config{Takers: 8, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s = &script{}
	n = Start(Config{
		Core: s, Listener: l, Addr: func(int) string { return l.Addr().String() }, Degree: 2, Link: calm,
		Bulk: b,
	})
	t.Cleanup(func() { n.Close() })
	return n, s, l.Addr().String()
}

// A connection for large payloads is greeted on, and the core hears nothing of it.
func TestBulkConnectionIsNoLink(t *testing.T) {
	n, s, addr := bulkNode(t)
	before := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return s.steps
	}
	steps := before()
	nc, rest, err := n.dialBulk(t.Context(), 0)
	if err != nil || len(rest) > 0 {
		t.Fatalf("dialBulk = %q, %v", rest, err)
	}
	nc.Close()
	// Who says that it is of another ring is told so, and let go.
	nc, _, err = link.DialBulk(t.Context(), addr, nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write(wire.Append(nil, &wire.Hello{Ring: "other"})); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(nc)
	if err != nil || !strings.Contains(string(answer), "another ring") {
		t.Errorf("a stranger was answered %q, %v", answer, err)
	}
	if after := before(); after != steps {
		t.Errorf("the core was stepped %d times", after-steps)
	}
}

// A frame of a link says nothing there, before the greeting or after it.
func TestBulkConnectionTakesNoFrameOfALink(t *testing.T) {
	_, _, addr := bulkNode(t)
	for _, greets := range []bool{false, true} {
		nc, _, err := link.DialBulk(t.Context(), addr, nil, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		var b []byte
		if greets {
			b = wire.Append(b, &wire.Hello{})
		}
		if _, err := nc.Write(wire.Append(b, &wire.Beat{Seq: 1})); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, nc); err != nil {
			t.Errorf("greeted %v: it was not let go: %v", greets, err)
		}
	}
}
