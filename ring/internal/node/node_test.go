package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

const patience = 20 * time.Second

var calm = link.Options{First: patience, Idle: patience, Write: patience}

// noBus is a Machine that agrees on nothing.
type noBus struct{}

func (noBus) BusView() *core.BusView { return &core.BusView{} }
func (noBus) CastKept() int          { return 17 }
func (noBus) State() *bus.State      { return bus.New() }
func (noBus) Backup() []byte         { return nil }

func (noBus) LeastProtocol() (int, int) { return wire.ProtocolVersion, 0 }
func (noBus) Greeting(int) *wire.Hello  { return &wire.Hello{} }

func (noBus) Refusal(h *wire.Hello, _ int) (wire.RefuseCode, string) {
	if h.Ring != "" {
		return wire.RefuseRing, "another ring"
	}
	return 0, ""
}

// script is a Machine that answers events as a test says.
type script struct {
	noBus
	step     func(ev core.Event) []core.Effect
	deadline time.Time
	steps    int
	version  uint64
	blind    bool // has no picture of itself
}

func (s *script) Step(_ time.Time, ev core.Event) []core.Effect {
	s.steps++
	if s.step == nil {
		return nil
	}
	return s.step(ev)
}

func (s *script) Deadline() time.Time    { return s.deadline }
func (s *script) ViewVersion() uint64    { return s.version }
func (s *script) TakeNews() bus.News     { return bus.News{} }
func (s *script) Links() []core.LinkView { return nil }
func (s *script) Late() time.Duration    { return 0 }

func (s *script) View() *core.View {
	if s.blind {
		panic("no picture")
	}
	return &core.View{}
}

func (s *script) Particle() (wire.Epoch, uint64, int, time.Duration, bool) {
	return wire.Epoch{}, 0, 0, 0, false
}

// run starts a node round m; others are the addresses of its peers.
func run(t testing.TB, m Machine, change func(*Config), others ...string) *Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Core: m, Listener: l, Degree: 1, Link: calm,
		Addr: func(peer int) string { return others[peer] },
	}
	if change != nil {
		change(&cfg)
	}
	n := Start(cfg)
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *Node) address() string { return n.cfg.Listener.Addr().String() }

func ended(t testing.TB, n *Node) error {
	t.Helper()
	select {
	case <-n.Done():
	case <-time.After(patience):
		t.Fatal("the node does not end")
	}
	return n.Err()
}

// echo sends every particle back, one lap on, and counts.
type echo struct {
	noBus
	script
	p      wire.Particle
	fx     [2]core.Effect
	passed chan struct{}
	left   atomic.Int64 // hops to make
}

func newEcho(dials bool) *echo {
	e := &echo{passed: make(chan struct{}, 1)}
	e.step = func(ev core.Event) []core.Effect {
		switch ev.Kind {
		case core.Start:
			if dials {
				e.fx[0] = core.Effect{Kind: core.Dial, Timeout: patience}
				return e.fx[:1]
			}
		case core.Dialed:
			e.left.Store(1)
			return e.hop(ev.Conn)
		case core.Received:
			e.p = *ev.Msg.(*wire.Particle)
			return e.hop(ev.Conn)
		}
		return nil
	}
	return e
}

func (e *echo) hop(conn core.ConnID) []core.Effect {
	e.p.Lap++
	e.fx[0] = core.Effect{Kind: core.Passed, Tick: core.Tick{Lap: e.p.Lap, Took: time.Microsecond}}
	e.fx[1] = core.Effect{Kind: core.Send, Conn: conn, Msg: &e.p}
	if e.left.Add(-1) == 0 {
		e.passed <- struct{}{}
	}
	return e.fx[:]
}

// TestHopAllocatesNothing lets a particle go to and fro between two nodes and
// counts what the whole process allocates meanwhile.
func TestHopAllocatesNothing(t *testing.T) {
	b := newEcho(false)
	nb := run(t, b, nil)
	a := newEcho(true)
	run(t, a, nil, nb.address())
	<-a.passed
	hops := func() {
		a.left.Store(100)
		<-a.passed
	}
	hops()
	// The runtime allocates a little of its own now and then.
	if n := testing.AllocsPerRun(20, hops); n > 5 {
		t.Errorf("200 hops allocate %v times, want none", n)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	far := newEcho(false)
	nb := run(b, far, nil)
	near := newEcho(true)
	run(b, near, nil, nb.address())
	<-near.passed
	b.ReportAllocs()
	b.ResetTimer()
	near.left.Store(int64(b.N))
	<-near.passed
}

func TestTicksReachFollowers(t *testing.T) {
	b := newEcho(false)
	nb := run(t, b, nil)
	ticks := make(chan Tick, 1)
	stop, ended := nb.OnTick(func(tick Tick) {
		select {
		case ticks <- tick:
		default:
		}
	})
	run(t, newEcho(true), nil, nb.address())
	if tick := <-ticks; tick.Lap == 0 || tick.At.IsZero() {
		t.Errorf("tick = %+v", tick)
	}
	stop()
	<-ended
	stop() // again is harmless
	if nb.ticks.followed() {
		t.Error("somebody still follows")
	}
}

func TestSaveComesBeforeWhatFollows(t *testing.T) {
	var order []string
	m := &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind != core.Start {
			return nil
		}
		return []core.Effect{
			{Kind: core.Save, Saved: core.Saved{Incarnation: 1}},
			{Kind: core.Tell, Report: core.Report{Kind: core.Joined}},
		}
	}}
	n := run(t, m, func(c *Config) {
		c.Save = func(core.Saved) error { order = append(order, "saved"); return nil }
	})
	reports, first := n.Reports(0)
	if len(order) != 1 || len(reports) != 1 || first != 1 {
		t.Errorf("saved %v, told %v from %d", order, reports, first)
	}
}

func TestReserveHoldsNothingUp(t *testing.T) {
	reserved := make(chan uint64, 1)
	m := &script{step: func(ev core.Event) []core.Effect {
		switch ev.Kind {
		case core.Start:
			return []core.Effect{
				{Kind: core.Reserve, Saved: core.Saved{Ceiling: 7}},
				{Kind: core.Tell, Report: core.Report{Kind: core.Joined}},
			}
		case core.Reserved:
			reserved <- ev.Seq
		}
		return nil
	}}
	disk := make(chan struct{})
	n := run(t, m, func(c *Config) {
		c.Save = func(core.Saved) error { <-disk; return nil }
	})
	if reports, _ := n.Reports(0); len(reports) != 1 {
		t.Error("what follows a reservation waits for it")
	}
	close(disk)
	if seq := <-reserved; seq != 7 {
		t.Errorf("reserved below %d, want 7", seq)
	}
}

// A reservation that the disk keeps waiting must not come behind what was saved
// after it.
func TestAnOlderReserveIsNeverWrittenOverANewerSave(t *testing.T) {
	const rounds = 200
	var disk atomic.Uint32 // the incarnation, which only grows
	var backwards, writing atomic.Bool
	left := make(chan struct{}, 2*rounds)
	inc := uint32(0)
	m := &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind == core.Reserved {
			left <- struct{}{}
			return nil
		}
		inc += 2
		return []core.Effect{
			{Kind: core.Reserve, Saved: core.Saved{Incarnation: inc - 1}},
			{Kind: core.Save, Saved: core.Saved{Incarnation: inc}},
		}
	}}
	n := run(t, m, func(c *Config) {
		c.Save = func(v core.Saved) error {
			if !writing.CompareAndSwap(false, true) {
				return errors.New("two write at once")
			}
			if disk.Swap(v.Incarnation) > v.Incarnation {
				backwards.Store(true)
			}
			runtime.Gosched()
			writing.Store(false)
			return nil
		}
	})
	for range rounds - 1 { // the first was Start
		n.do(core.Event{Kind: core.Timer})
		if got := disk.Load(); got%2 != 0 {
			t.Fatalf("a save came back with %d on disk", got)
		}
	}
	for range rounds {
		select {
		case <-left:
		case <-n.Done():
			t.Fatal(n.Err())
		}
	}
	if backwards.Load() || disk.Load() != 2*rounds {
		t.Errorf("on disk is %d, went backwards %v", disk.Load(), backwards.Load())
	}
}

func TestAFullDiskEndsTheInstanceThatReserves(t *testing.T) {
	full := errors.New("disk full")
	n := run(t, &script{step: func(core.Event) []core.Effect {
		return []core.Effect{{Kind: core.Reserve}}
	}}, func(c *Config) { c.Save = func(core.Saved) error { return full } })
	if err := ended(t, n); !errors.Is(err, full) || !errors.Is(err, ErrSave) {
		t.Errorf("Err = %v, want %v", err, full)
	}
}

func TestRoundTripsAreCountedByPeer(t *testing.T) {
	m := &script{step: func(ev core.Event) []core.Effect {
		return []core.Effect{
			{Kind: core.Echoed, Peer: 3, RTT: 2 * time.Millisecond},
			{Kind: core.Echoed, Peer: 3, RTT: 4 * time.Millisecond},
			{Kind: core.Echoed, Peer: 5, RTT: time.Hour},
		}
	}}
	rtts := run(t, m, nil).Counts().RTTs
	if len(rtts) != 2 || rtts[3].Hist.TotalCount() != 2 || rtts[3].Sum != 6*time.Millisecond ||
		rtts[5].Sum != time.Hour {
		t.Errorf("counted %v", rtts)
	}
}

func TestAFullDiskEndsTheInstance(t *testing.T) {
	m := &script{step: func(core.Event) []core.Effect {
		return []core.Effect{{Kind: core.Save}, {Kind: core.Tell}}
	}}
	full := errors.New("disk full")
	n := run(t, m, func(c *Config) { c.Save = func(core.Saved) error { return full } })
	if err := ended(t, n); !errors.Is(err, full) || !errors.Is(err, ErrSave) {
		t.Errorf("Err = %v, want %v", err, full)
	}
	if reports, _ := n.Reports(0); len(reports) != 0 {
		t.Error("what follows a failed save was done")
	}
}

func TestAPanicOfTheCoreEndsTheInstance(t *testing.T) {
	n := run(t, &script{
		step: func(core.Event) []core.Effect { panic("impossible") }, blind: true,
	}, nil)
	if err := ended(t, n); err == nil || !strings.Contains(err.Error(), "BUG: impossible") {
		t.Errorf("Err = %v", err)
	}
	if s := n.State(); n.View() == nil || s.View == nil || s.Bus == nil || n.Bus() == nil {
		t.Error("its owner asks how it is, and gets nothing to look at")
	}
}

func TestFatalEndsTheInstance(t *testing.T) {
	n := run(t, &script{step: func(core.Event) []core.Effect {
		return []core.Effect{{Kind: core.Fatal, Report: core.Report{Text: "name is taken"}}}
	}}, nil)
	var fatal *FatalError
	if err := ended(t, n); !errors.As(err, &fatal) || err.Error() != "name is taken" {
		t.Errorf("Err = %v", err)
	}
	if _, err := net.Dial("tcp", n.address()); err == nil {
		t.Error("it still listens")
	}
}

func TestLeaveWaitsForGone(t *testing.T) {
	m := &script{}
	m.step = func(ev core.Event) []core.Effect {
		switch ev.Kind {
		case core.Leave:
			m.deadline = time.Now().Add(20 * time.Millisecond)
		case core.Timer:
			return []core.Effect{{Kind: core.Gone}}
		}
		return nil
	}
	n := run(t, m, nil)
	if err := n.Leave(t.Context()); err != nil {
		t.Errorf("Leave = %v", err)
	}
	deaf := run(t, &script{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := deaf.Leave(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Leave = %v, want %v", err, context.Canceled)
	}
}

// The timer is armed once for many deadlines that move away, and fires at the
// one that holds.
func TestLazyTimer(t *testing.T) {
	fired := make(chan time.Time, 1)
	m := &script{}
	start := time.Now()
	m.step = func(ev core.Event) []core.Effect {
		switch ev.Kind {
		case core.Start:
			m.deadline = start.Add(20 * time.Millisecond)
		case core.SetPace:
			m.deadline = start.Add(60 * time.Millisecond)
		case core.Timer:
			m.deadline = time.Time{}
			fired <- time.Now()
		}
		return nil
	}
	n := run(t, m, nil)
	n.SetPace(0, false)
	if at := <-fired; at.Sub(start) < 60*time.Millisecond {
		t.Errorf("the timer reached the core after %v, want 60ms", at.Sub(start))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.steps != 3 {
		t.Errorf("%d steps, want Start, SetPace and one Timer", m.steps)
	}
}

func TestDialFailuresHaveCauses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	causes := make(chan core.Cause, 2)
	run(t, &script{step: func(ev core.Event) []core.Effect {
		switch ev.Kind {
		case core.Start:
			return []core.Effect{
				{Kind: core.Dial, Peer: 0, Timeout: patience},
				{Kind: core.Dial, Peer: 1, Timeout: patience},
			}
		case core.DialFailed:
			causes <- ev.Cause
		}
		return nil
	}}, nil, l.Addr().String(), "no-such-host.invalid:1")
	got := map[core.Cause]bool{<-causes: true, <-causes: true}
	if !got[core.Refused] || !got[core.Unresolved] {
		t.Errorf("causes = %v, want refused and unresolved", got)
	}
}

// opener upgrades and says nothing.
func opener(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		link.Path, link.Protocol)
	nc.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 12)
	if _, err := io.ReadFull(nc, head); err != nil || string(head) != "HTTP/1.1 101" {
		t.Fatalf("answer %q, %v", head, err)
	}
	return nc
}

func TestSilentOpenersAreBounded(t *testing.T) {
	var broken atomic.Int64
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind == core.Broken {
			broken.Add(1)
		}
		return nil
	}}, nil)
	first := opener(t, n.address())
	for end := time.Now().Add(patience); ; runtime.Gosched() { // it is the oldest once it is known
		n.mu.Lock()
		known := len(n.opening) > 0
		n.mu.Unlock()
		if known {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the first opener is not known")
		}
	}
	for range n.bound() + 4 {
		opener(t, n.address())
	}
	if _, err := io.Copy(io.Discard, first); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the oldest silent opener is still there: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.opening) > n.bound() {
		t.Errorf("%d links are opening, at most %d may", len(n.opening), n.bound())
	}
}

func TestGarbageIsBroken(t *testing.T) {
	broken := make(chan core.ConnID, 1)
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind == core.Broken {
			broken <- ev.Conn
		}
		return nil
	}}, nil)
	nc := opener(t, n.address())
	nc.Write([]byte{0, 0, 0, 2, byte(wire.KindBeat), 1})
	select {
	case <-broken:
	case <-time.After(patience):
		t.Error("a torn heartbeat does not end its link")
	}
}

// Bad frames are counted, and one sender is named; the others of the next minute are
// not, whoever they are.
func TestGarbageLeavesATrace(t *testing.T) {
	broken := make(chan struct{})
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind == core.Broken {
			broken <- struct{}{}
		}
		return nil
	}}, nil)
	var first string
	for _, frame := range [][]byte{
		{0, 0, 0, 0}, {255, 0, 0, 0}, {0, 0, 0, 1, byte(wire.KindBeat)}, nil,
	} {
		nc := opener(t, n.address())
		nc.Write(frame)
		first = cmp.Or(first, nc.LocalAddr().String())
		if frame == nil { // who only hangs up has sent nothing bad
			nc.Close()
		}
		select {
		case <-broken:
		case <-time.After(patience):
			t.Fatalf("%v does not end its link", frame)
		}
	}
	reports, _ := n.Reports(0)
	if bad := n.Counts().Bad; bad != 3 || len(reports) != 1 || reports[0].Kind != core.Refusing ||
		!strings.Contains(reports[0].Text, first+" sent what no instance sends") {
		t.Errorf("%d bad frames counted, want 3; told %+v, want one line of %s", bad, reports, first)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if since, tell := n.stats.badFrame(n.stats.badAt.Add(badPause)); since != 3 || !tell {
		t.Errorf("a minute on %d are told (%v), want 3", since, tell)
	}
}

func TestUnknownKindsAreSkipped(t *testing.T) {
	got := make(chan wire.Kind, 1)
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind == core.Received {
			got <- ev.Msg.Kind()
		}
		return nil
	}}, nil)
	nc := opener(t, n.address())
	nc.Write([]byte{0, 0, 0, 3, 200, 1, 2})
	nc.Write(wire.Append(nil, &wire.Bye{Text: "done"}))
	if k := <-got; k != wire.KindBye {
		t.Errorf("kind %d, want %d", k, wire.KindBye)
	}
}

// What was sent before a Close arrives, though the other side went on talking.
func TestCloseSendsItsLastWord(t *testing.T) {
	n := run(t, &script{step: func(ev core.Event) []core.Effect {
		if ev.Kind != core.Received {
			return nil
		}
		return []core.Effect{
			{Kind: core.Send, Conn: ev.Conn, Msg: &wire.Bye{Text: "because"}},
			{Kind: core.Close, Conn: ev.Conn},
		}
	}}, nil)
	nc := opener(t, n.address())
	for range 50 {
		nc.Write(wire.Append(nil, &wire.Bye{Text: "chatter"}))
	}
	all, err := io.ReadAll(nc)
	if err != nil || !strings.Contains(string(all), "because") {
		t.Errorf("read %q, %v", all, err)
	}
}

// narrow is a listener whose connections take little before somebody reads.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		err = nc.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return nc, err
}

// Words that a peer does not read are given up at Close, be they the last on
// their link or the goodbye of this instance.
func TestCloseDoesNotWaitForTheDeaf(t *testing.T) {
	for _, last := range []core.EffectKind{core.Close, core.Gone} {
		said := make(chan struct{})
		m := &script{step: func(ev core.Event) []core.Effect {
			if ev.Kind != core.Received {
				return nil
			}
			bye := core.Effect{
				Kind: core.Send, Conn: ev.Conn,
				Msg: &wire.Bye{Text: strings.Repeat("x", wire.TextMax)},
			}
			close(said)
			return append(slices.Repeat([]core.Effect{bye}, 1024),
				core.Effect{Kind: last, Conn: ev.Conn})
		}}
		n := run(t, m, func(c *Config) {
			c.Listener = narrow{c.Listener}
			c.Link = link.Options{First: time.Hour, Idle: time.Hour, Write: time.Hour}
		})
		nc := opener(t, n.address())
		if err := nc.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		nc.Write(wire.Append(nil, &wire.Bye{}))
		<-said
		go n.Close()
		if err := ended(t, n); err != nil {
			t.Errorf("Err = %v", err)
		}
	}
}

func TestOtherRequestsGoToTheHandler(t *testing.T) {
	n := run(t, &script{}, func(c *Config) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
		})
	})
	resp, err := http.Get("http://" + n.address() + link.Path) // no upgrade
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot {
		t.Errorf("status %d, want the handler's", resp.StatusCode)
	}
}

func TestIdleStrangersAreBounded(t *testing.T) {
	n := run(t, &script{}, nil)
	var all []net.Conn
	for range openMax + 1 {
		nc, err := net.Dial("tcp", n.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		all = append(all, nc)
	}
	oldest, newest := all[0], all[openMax]
	oldest.SetReadDeadline(time.Now().Add(headerTimeout / 2))
	if _, err := oldest.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the oldest of too many connections stays open: %v", err)
	}
	if _, err := io.WriteString(newest, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	newest.SetReadDeadline(time.Now().Add(headerTimeout))
	if _, err := newest.Read(make([]byte, 1)); err != nil {
		t.Errorf("the newest is not served: %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
