//go:build unix

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ringofservers.dev/ring"
)

// wires are the addresses of a test: each connection is one end of a pipe, at whose other end
// the function speaks.
type wires map[string]func(nc net.Conn) error

func (w wires) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	here, there := net.Pipe()
	speak := w[address]
	if speak == nil {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	if err := speak(nil); err != nil {
		return nil, err
	}
	go func() {
		defer there.Close()
		_ = speak(there)
	}()
	return here, nil
}

// says answers a request with text, or with nothing where it is empty.
func says(text string) func(net.Conn) error {
	return func(nc net.Conn) error {
		if nc == nil {
			return nil
		}
		buf := make([]byte, 1024)
		for read := ""; !strings.HasSuffix(read, "\r\n\r\n"); {
			n, err := nc.Read(buf)
			if err != nil {
				return err
			}
			read += string(buf[:n])
		}
		_, err := io.WriteString(nc, text)
		if text == "" {
			_, err = nc.Read(buf) // until the other end gives up
		}
		return err
	}
}

func fails(err error) func(net.Conn) error { return func(net.Conn) error { return err } }

type late struct{}

func (late) Error() string { return "late" }
func (late) Timeout() bool { return true }

const livez = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"

func TestKnock(t *testing.T) {
	w := wires{
		"well":     says(livez + "Ring-Instance: b\r\n\r\nok\n"),
		"old":      says(livez + "\r\nok\n"),
		"other":    says(livez + "Ring-Instance: c\r\n\r\nok\n"),
		"ssh":      says("SSH-2.0-OpenSSH\r\n"),
		"mute":     says(""),
		"nowhere":  fails(&net.DNSError{Err: "no such host", Name: "nowhere"}),
		"far":      fails(&net.OpError{Op: "dial", Err: late{}}),
		"no route": fails(&net.OpError{Op: "dial", Err: errors.New("no route to host")}),
	}
	for addr, want := range map[string]struct{ kind, what string }{
		"well":     {"", ""},
		"old":      {"", ""},
		"other":    {strangerPath, "c"},
		"ssh":      {brokenPath, "what no instance does"},
		"mute":     {mutePath, "says nothing"},
		"nowhere":  {unresolvedPath, "no such host: nowhere"},
		"far":      {silentPath, "no answer"},
		"no route": {brokenPath, "no route to host"},
		"refused":  {refusedPath, "nobody listens"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if addr == "mute" {
			ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		}
		r := knocker{dialer: w}.knock(ctx, addr, "b", true)
		cancel()
		if r.kind != want.kind || !strings.Contains(r.what, want.what) || r.addr != addr {
			t.Errorf("knock at %s = %+v, want %+v", addr, r, want)
		}
	}
}

// Few are dialed at a time, all are, and each bad one is told.
func TestTryPaths(t *testing.T) {
	var now, most, all atomic.Int32
	w := wires{}
	var targets []target
	for i := range 60 {
		addr := fmt.Sprint(i)
		targets = append(targets, target{name: ring.Name(addr), addr: addr})
		if i%10 == 0 {
			continue // refused
		}
		w[addr] = func(nc net.Conn) error {
			if nc == nil {
				all.Add(1)
				for n := now.Add(1); n > most.Load(); {
					most.Store(n)
				}
				return nil
			}
			defer now.Add(-1)
			return says(livez + "Ring-Instance: " + addr + "\r\n\r\nok\n")(nc)
		}
	}
	paths, tried, untried := knocker{dialer: w}.tryPaths(t.Context(), "me", targets)
	if tried != 60 || untried != 0 || len(paths) != 6 || all.Load() != 54 {
		t.Errorf("%d tried, %d not, %d bad, %d dialed: %+v", tried, untried, len(paths), all.Load(), paths)
	}
	if most.Load() > 2*dialsMax { // a connection is counted until its other end has seen the end
		t.Errorf("%d were dialed at a time", most.Load())
	}
	if p := paths[0]; p.To != "0" || p.Case != refusedPath || !slices.Equal(p.From, []ring.Name{"me"}) {
		t.Errorf("the first bad path is %+v", p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, tried, untried := (knocker{dialer: w}).tryPaths(ctx, "me", targets); tried+untried != 60 {
		t.Errorf("without time %d were tried and %d not, want 60 together", tried, untried)
	}
}

func TestTargets(t *testing.T) {
	view := func(n int) (v []ring.Instance) {
		for i := range n {
			name := ring.Name(fmt.Sprintf("a/%d", i))
			v = append(v, ring.Instance{Name: name, Address: string(name), State: ring.Alive})
		}
		return v
	}
	small := view(AllPairs)
	small[1].State, small[2].State, small[3].State = ring.Dead, ring.Left, ring.Unreachable
	if got, sampled := targets(small, "a/0", "", nil, 1); len(got) != AllPairs-3 || sampled {
		t.Errorf("of %d: %d, sampled %v", AllPairs, len(got), sampled)
	}
	links := []ring.Link{{Peer: "a/5", Up: true}, {Peer: "a/6", Needed: true}, {Peer: "a/7"}}
	large := view(1000)
	got, sampled := targets(large, "a/0", "", links, 1)
	if len(got) != 2+SamplePaths || !sampled || got[16].name != "a/5" || got[17].name != "a/6" {
		t.Errorf("of 1,000: %+v, sampled %v", got, sampled)
	}
	again, _ := targets(large, "a/0", "", links, 1)
	other, _ := targets(large, "a/1", "", links, 1)
	next, _ := targets(large, "a/0", "", links, 2)
	if !slices.Equal(got, again) || slices.Equal(got[:16], other[:16]) || slices.Equal(got[:16], next[:16]) {
		t.Error("whom it tries does not depend on seed and name, or on more")
	}
	if got, sampled := targets(large, "a/0", "a/9", links, 1); len(got) != 1 || got[0].name != "a/9" || sampled {
		t.Errorf("asked for its way to one: %+v, sampled %v", got, sampled)
	}
}

// A pair of which one reaches the other is told, where it is known.
func TestOneWays(t *testing.T) {
	names := func(n ...ring.Name) []ring.Name { return n }
	paths := []Path{
		{To: "a", Case: refusedPath, Count: 1, From: names("b")},
		{To: "b", Case: silentPath, Count: 2, From: names("a", "c")},
		{To: "c", Case: silentPath, Count: 9, From: names("d")}, // and eight more
		{To: "d", Case: slowPath, Count: 1, From: names("a")},
	}
	got := oneWays(paths, names("a", "b", "c", "d"), false)
	if got[0].OneWay != nil {
		t.Errorf("a and b reach each other in no direction, got one way %v", got[0].OneWay)
	}
	if got[1].OneWay != nil { // b may be among those who do not reach c
		t.Errorf("one way to b: %v", got[1].OneWay)
	}
	if !slices.Equal(got[2].OneWay, names("d")) && got[2].OneWay != nil {
		t.Errorf("one way to c: %v", got[2].OneWay)
	}
	paths[2] = Path{To: "c", Case: silentPath, Count: 1, From: names("d")}
	got = oneWays(paths, names("a", "b", "c", "d"), false)
	if !slices.Equal(got[1].OneWay, names("c")) {
		t.Errorf("one way to b: %v, want c", got[1].OneWay)
	}
	if !slices.Equal(got[2].OneWay, names("d")) || got[3].OneWay != nil {
		t.Errorf("one way to c: %v, to d: %v", got[2].OneWay, got[3].OneWay)
	}
	for _, p := range oneWays(paths, names("a", "b", "c", "d"), true) {
		if p.OneWay != nil {
			t.Errorf("where not all were tried one way to %s is said to be %v", p.To, p.OneWay)
		}
	}
}

// What is slow or says nothing is tried once more, and only what stays so is told.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var once, ever atomic.Int32
		mute := func(times *atomic.Int32, until int32, name string) func(net.Conn) error {
			return func(nc net.Conn) error {
				if nc != nil && times.Add(1) <= until {
					return says("")(nc)
				}
				return says(livez + "Ring-Instance: " + name + "\r\n\r\nok\n")(nc)
			}
		}
		w := wires{"1": mute(&once, 1, "1"), "2": mute(&ever, 9, "2")}
		paths, tried, untried := knocker{dialer: w}.tryPaths(t.Context(), "me",
			[]target{{name: "1", addr: "1"}, {name: "2", addr: "2"}})
		if len(paths) != 1 || paths[0].To != "2" || paths[0].Case != mutePath || tried != 2 || untried != 0 {
			t.Errorf("%+v, %d tried, %d not; want 2 to be mute", paths, tried, untried)
		}
		if once.Load() != 2 || ever.Load() != 2 {
			t.Errorf("they were tried %d and %d times, want twice each", once.Load(), ever.Load())
		}
	})
}

// Each instance begins behind itself, and few of a larger fleet must prove who they are.
func TestTargetsAreSpread(t *testing.T) {
	var v []ring.Instance
	for i := range 20 {
		name := ring.Name(fmt.Sprintf("a/%02d", i))
		v = append(v, ring.Instance{Name: name, Address: string(name), State: ring.Alive})
	}
	got, _ := targets(v, "a/18", "", nil, 1)
	if len(got) != 19 || got[0].name != "a/19" || got[1].name != "a/00" || got[18].name != "a/17" {
		t.Errorf("a/18 tries %v", got)
	}
	for i, one := range got {
		if one.prove != (i < proveSome) {
			t.Errorf("of 20, number %d must prove itself: %v", i, one.prove)
		}
	}
	if got, _ = targets(v[:proveAll], "a/00", "", nil, 1); !got[len(got)-1].prove {
		t.Errorf("of %d not all must prove themselves", proveAll)
	}
}
