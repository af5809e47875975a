package bulk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/wire"
)

// slot is what a chunk takes at the full rate of an instance, up or down.
const slot = time.Millisecond

// world is a fleet on a played network: who gives sends chunks one after the other, at
// the rate of its uplink, who takes gets them at that of its downlink, and everything
// takes the latency besides.
type world struct {
	t       testing.TB
	now     time.Time
	agenda  []moment // a heap
	order   uint32
	latency time.Duration
	o       *overlay.Overlay
	hosts   []*host
	known   []bool // alive, as all know
	name    Name
	count   int
	killed  func() // called when the half of all chunks has come
	chunks  int    // that came
	wasted  int    // that came twice
	liar    int
	begun   time.Time
}

type host struct {
	w      *world
	i      int
	core   *Core
	up     bool
	life   int
	sends  time.Duration // when its uplink is free
	gets   time.Duration
	wakes  time.Time
	done   time.Time
	has    Bits
	banned []int
	most   int // chunks asked for at a time
}

type moment struct {
	at         time.Duration // after the world began
	order      uint32
	to, from   int32
	life, back int16 // of to, and of from
	chunk      int16
	kind       uint8
	msg        wire.Msg
}

const (
	atGiver uint8 = iota // msg
	atTaker              // msg
	lands                // chunk, at its taker's downlink
	came
	left // the uplink
	dialed
	broke
	turns
	does
)

func (a moment) before(b moment) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (w *world) plan(m moment) {
	w.order++
	m.order = w.order
	w.agenda = append(w.agenda, m)
	for i := len(w.agenda) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.agenda[i].before(w.agenda[up]) {
			return
		}
		w.agenda[i], w.agenda[up] = w.agenda[up], w.agenda[i]
		i = up
	}
}

func (w *world) pop() moment {
	top, last := w.agenda[0], len(w.agenda)-1
	w.agenda[0] = w.agenda[last]
	w.agenda = w.agenda[:last]
	for i := 0; ; {
		least := i
		for _, k := range []int{2*i + 1, 2*i + 2} {
			if k < last && w.agenda[k].before(w.agenda[least]) {
				least = k
			}
		}
		if least == i {
			return top
		}
		w.agenda[i], w.agenda[least] = w.agenda[least], w.agenda[i]
		i = least
	}
}

// newWorld is a fleet that all knows of one payload of so many chunks, which is at the
// first of them.
func newWorld(t testing.TB, n, chunks int, latency time.Duration, seed uint64) *world {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i)
	}
	w := &world{
		t: t, now: time.Unix(1000, 0), latency: latency, o: overlay.Build(names, "prod", 0),
		name: Name{1}, count: chunks, liar: -1, known: make([]bool, n),
	}
	w.begun = w.now
	for i := range n {
		w.known[i] = true
		w.hosts = append(w.hosts, &host{w: w, i: i})
	}
	for i := range n {
		w.start(i, seed, Bits{})
	}
	w.look()
	return w
}

func (w *world) start(i int, seed uint64, have Bits) {
	h := w.hosts[i]
	h.up, h.has, h.life = true, have, h.life+1
	h.core = New(w.now, Config{Self: i, Rand: rand.New(rand.NewPCG(seed, uint64(i)))})
	if i == 0 {
		h.has = All(w.count)
	}
	h.core.Add(w.now, w.name, w.count, h.has, 0)
	if h.has.Count() == w.count {
		h.done = w.now
	}
}

// look gives all the view that all have.
func (w *world) look() {
	live := w.o.Live(func(i int) bool { return w.known[i] })
	alive := 0
	for _, k := range w.known {
		if k {
			alive++
		}
	}
	for _, h := range w.hosts {
		if !h.up {
			continue
		}
		v := View{Chain: alive <= 64}
		for j := (h.i + len(w.hosts) - 1) % len(w.hosts); j != h.i && len(v.Before) < 8; j = (j + len(w.hosts) - 1) % len(w.hosts) {
			if w.known[j] {
				v.Before = append(v.Before, j)
			}
		}
		for _, j := range live.Near(h.i) {
			v.Links = append(v.Links, int(j))
		}
		h.core.See(w.now, v)
		h.do()
	}
}

// kill ends an instance: those linked with it feel that at once, the view has it later.
func (w *world) kill(i int) {
	h := w.hosts[i]
	h.up = false
	for _, o := range w.hosts {
		if o.up {
			w.plan(w.soon(1, broke, o, h))
		}
	}
}

// freeze has an instance say nothing any more, which nobody feels until it is buried.
func (w *world) freeze(i int) { w.hosts[i].up = false }

// bury has all know who is dead.
func (w *world) bury() {
	for i, h := range w.hosts {
		w.known[i] = h.up
	}
	w.look()
}

func (w *world) after(d time.Duration, do func()) {
	w.plan(moment{at: w.now.Sub(w.begun) + d, kind: does, msg: deed{do}})
}

type deed struct{ do func() }

func (deed) Kind() wire.Kind { return 0 }

// id is that of the connection from a process of peer to one of ours.
func id(peer, life int) int { return peer + 1_000_000*life }

// soon is a moment so many latencies from now.
func (w *world) soon(latencies time.Duration, kind uint8, to, from *host) moment {
	return moment{
		at: w.now.Sub(w.begun) + latencies*w.latency, kind: kind, to: int32(to.i), from: int32(from.i),
		life: int16(to.life), back: int16(from.life),
	}
}

// do carries out what a core wants.
func (h *host) do() {
	w := h.w
	for _, fx := range h.core.Effects() {
		taker, life := w.hosts[fx.Taker%1_000_000], int16(fx.Taker/1_000_000)
		switch fx.Kind {
		case Dial:
			w.plan(w.soon(2, dialed, h, w.hosts[fx.Peer]))
		case Hang:
			w.plan(w.soon(1, broke, w.hosts[fx.Peer], h))
		case Ask:
			m := w.soon(1, atGiver, w.hosts[fx.Peer], h)
			m.msg = fx.Msg
			w.plan(m)
		case Tell:
			m := w.soon(1, atTaker, taker, h)
			m.life, m.msg = life, fx.Msg
			w.plan(m)
		case Give:
			m := w.soon(1, lands, taker, h)
			begin := max(w.now.Sub(w.begun), h.sends)
			m.at, m.life, m.chunk = begin+w.latency, life, int16(fx.Chunk)
			w.plan(m)
			h.sends = begin + slot
			m = w.soon(0, left, h, taker)
			m.at, m.back = h.sends, life
			w.plan(m)
		case Whole:
			h.done = w.now
		case Banned:
			h.banned = append(h.banned, fx.Peer)
		}
	}
	asked := 0
	for _, g := range h.core.givers {
		asked += len(g.wants)
	}
	h.most = max(h.most, asked)
	if d := h.core.Deadline(); !d.IsZero() && (h.wakes.IsZero() || d.Before(h.wakes)) {
		h.wakes = d
		m := w.soon(0, turns, h, h)
		m.at = d.Sub(w.begun)
		w.plan(m)
	}
}

func (w *world) step(m moment) {
	w.now = w.begun.Add(m.at)
	if m.kind == does {
		m.msg.(deed).do()
		return
	}
	h := w.hosts[m.to]
	if !h.up || h.life != int(m.life) {
		return
	}
	from := w.hosts[m.from]
	switch m.kind {
	case dialed:
		if !from.up {
			h.core.Down(w.now, from.i)
			break
		}
		from.core.Joined(id(h.i, h.life), h.i)
		h.core.Up(w.now, from.i)
	case broke:
		for life := 1; life <= from.life; life++ {
			h.core.Left(w.now, id(from.i, life))
		}
		if !from.up {
			h.core.Down(w.now, from.i)
		}
	case atGiver:
		if !h.core.Hear(w.now, id(from.i, int(m.back)), m.msg) {
			w.t.Fatalf("%d was told %+v by %d", m.to, m.msg, m.from)
		}
	case atTaker:
		if from.up && !h.core.Received(w.now, from.i, m.msg) {
			w.t.Fatalf("%d was told %+v by %d", m.to, m.msg, m.from)
		}
	case left:
		h.core.Gave(w.now, id(from.i, int(m.back)))
	case lands:
		if !from.up || from.life != int(m.back) {
			return // half of it
		}
		h.gets = max(m.at, h.gets) + slot
		m.at, m.kind = h.gets, came
		w.plan(m)
		return
	case came:
		if !from.up || from.life != int(m.back) {
			return
		}
		w.came(h, from.i, int(m.chunk))
	case turns:
		h.wakes = time.Time{}
		h.core.Turn(w.now)
	}
	h.do()
}

func (w *world) came(h *host, from, chunk int) {
	asked, useful := h.core.Expects(from, w.name, chunk)
	if !asked {
		if !slices.Contains(h.banned, from) {
			w.t.Fatalf("%d got chunk %d from %d and had not asked for it", h.i, chunk, from)
		}
		return
	}
	sound := from != w.liar
	if sound && useful {
		h.has.Add(chunk)
	} else if sound {
		w.wasted++
	}
	h.core.Got(w.now, from, w.name, chunk, sound || !useful)
	if w.chunks++; w.chunks == w.count*len(w.hosts)/2 && w.killed != nil {
		w.killed()
	}
}

// run goes on until all who live have all, and returns when the last had it, in
// transfer times. Nothing may take longer than most of these.
func (w *world) run(most float64) float64 {
	w.t.Helper()
	whole := time.Duration(w.count) * slot
	for w.pending() {
		if len(w.agenda) == 0 || w.now.Sub(w.begun) > time.Duration(most*float64(whole)) {
			w.t.Fatalf("not all have all after %v transfer times: %s", most, w.lacking())
		}
		w.step(w.pop())
	}
	last := w.begun
	for _, h := range w.hosts {
		if !h.up {
			continue
		}
		if h.has != All(w.count) {
			w.t.Fatalf("%d says it has all, and has %d of %d", h.i, h.has.Count(), w.count)
		}
		if h.done.After(last) {
			last = h.done
		}
	}
	return float64(last.Sub(w.begun)) / float64(whole)
}

func (w *world) pending() bool {
	for k := range w.hosts { // the last of a chain first
		if h := w.hosts[len(w.hosts)-1-k]; h.up && h.done.IsZero() {
			return true
		}
	}
	return false
}

func (w *world) lacking() (text string) {
	for _, h := range w.hosts {
		if h.up && h.done.IsZero() && len(text) < 200 {
			text += fmt.Sprintf("%d has %d; ", h.i, h.has.Count())
		}
	}
	return text
}

// The targets: near one transfer time, however many there are.
func TestBulkTakesOneTransferTime(t *testing.T) {
	for _, test := range []struct {
		n       int
		latency time.Duration
		most    float64
	}{
		{11, 0, 1.1}, {11, slot, 1.1}, {64, slot, 1.2}, {100, 0, 1.2}, {100, slot, 1.2}, {1000, slot, 1.2},
	} {
		t.Run(fmt.Sprintf("n=%d,latency=%v", test.n, test.latency), func(t *testing.T) {
			if test.n > 11 && (raced || testing.Short()) {
				t.Skip("SKIPPED: one goroutine: the race detector finds nothing in it; CI runs it without")
			}
			w := newWorld(t, test.n, 1024, test.latency, 1)
			took := w.run(3)
			t.Logf("%.3f transfer times", took)
			if took > test.most {
				t.Errorf("took %.3f transfer times, want at most %v", took, test.most)
			}
		})
	}
}

// A member of the chain dies in the middle: the one behind it goes on with the one before
// it, where it was.
func TestBulkChainResumes(t *testing.T) {
	for _, dies := range [][]int{{5}, {1}, {10}, {4, 5, 6}} {
		t.Run(fmt.Sprint(dies), func(t *testing.T) {
			w := newWorld(t, 11, 1024, slot, 2)
			w.killed = func() {
				for _, i := range dies {
					w.kill(i)
				}
				w.after(100*slot, w.bury)
			}
			took := w.run(3)
			t.Logf("%.3f transfer times", took)
			if sent := w.chunks - w.wasted; sent > 10*1024 {
				t.Errorf("%d chunks were sent to 10", sent)
			}
			if limit := float64(w.count) * 0.1; float64(w.wasted) > limit {
				t.Errorf("%d chunks came twice, want at most %v", w.wasted, limit)
			}
		})
	}
}

// A member falls silent: nothing breaks, and the view alone says that it is gone.
func TestBulkOutlivesTheSilent(t *testing.T) {
	for _, n := range []int{11, 100} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			w := newWorld(t, n, 1024, slot, 8)
			w.killed = func() {
				w.freeze(5)
				w.after(1500*slot, w.bury)
			}
			took := w.run(4)
			t.Logf("%.3f transfer times", took)
			if most := 1.5 + 1500.0/1024; took > most {
				t.Errorf("took %.3f transfer times, want at most %v", took, most)
			}
		})
	}
}

// One in ten dies at once, of a swarm.
func TestBulkSwarmOutlivesATenth(t *testing.T) {
	w := newWorld(t, 100, 512, slot, 3)
	w.killed = func() {
		for i := 5; i < 100; i += 10 {
			w.kill(i)
		}
		w.after(100*slot, w.bury)
	}
	took := w.run(3)
	t.Logf("%.3f transfer times, %d chunks twice", took, w.wasted)
	if took > 1.5 { // OVERLAY.md measured 1.28 to 1.31 with the dead never found
		t.Errorf("took %.3f transfer times", took)
	}
}

// Who gives wrong chunks is found out by each, and by each once.
func TestBulkLiarIsDropped(t *testing.T) {
	for _, n := range []int{11, 100} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			w := newWorld(t, n, 256, slot, 4)
			w.liar = 5
			took := w.run(3)
			t.Logf("%.3f transfer times", took)
			banned := 0
			for _, h := range w.hosts {
				if len(h.banned) > 1 || len(h.banned) == 1 && h.banned[0] != w.liar {
					t.Errorf("%d banned %v, and only %d lies", h.i, h.banned, w.liar)
				}
				banned += len(h.banned)
			}
			if banned == 0 {
				t.Error("nobody has met the liar")
			}
		})
	}
}

// Who starts again in the middle goes on with what it had, and nobody gives it that twice.
func TestBulkRestartResumes(t *testing.T) {
	for _, n := range []int{11, 100} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			w := newWorld(t, n, 256, slot, 5)
			had := 0
			w.killed = func() {
				w.kill(5)
				w.after(50*slot, func() {
					had = w.hosts[5].has.Count()
					w.start(5, 5, w.hosts[5].has)
					w.look()
					w.hosts[5].do()
				})
			}
			w.run(3)
			if had == 0 || had == w.count {
				t.Fatalf("it had %d of %d chunks when it started again", had, w.count)
			}
			if w.chunks-w.wasted > (n-1)*w.count {
				t.Errorf("%d chunks were taken, want at most %d", w.chunks-w.wasted, (n-1)*w.count)
			}
		})
	}
}

// Nobody asks for more at a time than it may, whatever the size of the fleet.
func TestBulkAsksWithinBounds(t *testing.T) {
	for n, most := range map[int]int{11: 64, 100: 6 * 4} {
		w := newWorld(t, n, 256, slot, 6)
		w.run(3)
		for _, h := range w.hosts {
			if h.most > most {
				t.Errorf("n=%d: %d asked for %d chunks at a time, want at most %d", n, h.i, h.most, most)
			}
		}
	}
}

// The origin itself may start again: those that have something go on among themselves
// and with it.
func TestBulkOriginStartsAgain(t *testing.T) {
	for _, n := range []int{11, 100} {
		w := newWorld(t, n, 256, slot, 7)
		w.killed = func() {
			w.kill(0)
			w.after(50*slot, func() {
				w.start(0, 7, All(w.count))
				w.look()
				w.hosts[0].do()
			})
		}
		w.run(4)
	}
}
