package core

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// lan is a fleet on a perfect network of one millisecond: enough to test the
// core's own rules. Faults are the simulator's business (package ringtest).
type lan struct {
	t     *testing.T
	now   time.Time
	q     timeline
	order int
	hosts []*host
	peers map[ConnID]far
	ids   ConnID
	said  []string
	lost  func(from, to int) bool // what does not arrive

	emptied   int         // how often somebody was told that there is room to publish
	delivered map[int]int // messages, by host

	seats int                  // the same of room for passengers
	homes map[int][]train.Home // what came of them, by host
	works []Effect
}

type host struct {
	i    int
	core *Core
	up   bool
	wake time.Time

	frozen bool
	inbox  []Event // what came while frozen

	picture *View // of version
	version uint64
}

type far struct {
	host *host
	id   ConnID
}

type moment struct {
	at    time.Time
	order int
	do    func()
}

type timeline []moment

func (q timeline) Len() int { return len(q) }
func (q timeline) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}
func (q timeline) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *timeline) Push(x any)   { *q = append(*q, x.(moment)) }
func (q *timeline) Pop() any {
	old := *q
	m := old[len(old)-1]
	*q = old[:len(old)-1]
	return m
}

var lanTiming = Timing{
	Beat: 800 * time.Millisecond, Patience: 250 * time.Millisecond, Answer: 300 * time.Millisecond,
	Redial: 400 * time.Millisecond, Settle: 10 * time.Millisecond, Gather: 250 * time.Millisecond,
	Lap: time.Second, Loss: 400 * time.Millisecond, HoldDown: time.Minute,
}

func newLAN(t *testing.T, n int) *lan {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("dc1/prod/%d", i)
	}
	r, err := roster.New("test", names, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := overlay.Build(names, "test", 0)
	l := &lan{
		t: t, now: time.Unix(1000, 0), peers: map[ConnID]far{}, delivered: map[int]int{},
		homes: map[int][]train.Home{},
	}
	for i := range n {
		c, err := New(Config{
			Roster: r, Overlay: o, Self: i, Boot: uint32(i + 1), PID: uint32(100 + i), Build: "v1",
			Memory: true, Timing: lanTiming, Rand: rand.New(rand.NewPCG(1, uint64(i))),
		})
		if err != nil {
			t.Fatal(err)
		}
		l.hosts = append(l.hosts, &host{i: i, up: true, core: c})
	}
	for _, h := range l.hosts {
		l.step(h, Event{Kind: Start})
	}
	return l
}

func (l *lan) after(d time.Duration, do func()) {
	l.order++
	heap.Push(&l.q, moment{l.now.Add(d), l.order, do})
}

func (l *lan) run(d time.Duration) {
	end := l.now.Add(d)
	for len(l.q) > 0 && !l.q[0].at.After(end) {
		m := heap.Pop(&l.q).(moment)
		l.now = m.at
		m.do()
	}
	l.now = end
}

func (l *lan) step(h *host, ev Event) {
	if !h.up {
		return
	}
	if h.frozen {
		if ev.Kind != Timer {
			h.inbox = append(h.inbox, ev)
		}
		return
	}
	for _, fx := range h.core.Step(l.now, ev) {
		l.carryOut(h, fx)
	}
	l.checkPicture(h)
	if d := h.core.Deadline(); !d.IsZero() && (!d.Equal(h.wake) || !d.After(l.now)) {
		h.wake = d
		l.after(max(d.Sub(l.now), 0), func() {
			if h.wake.Equal(d) {
				h.wake = time.Time{}
				l.step(h, Event{Kind: Timer})
			}
		})
	}
}

const hop = time.Millisecond

// checkPicture holds ViewVersion to its word: who keeps a picture by it has no old one.
func (l *lan) checkPicture(h *host) {
	l.t.Helper()
	now := h.core.View()
	if was := h.picture; was != nil && h.version == h.core.ViewVersion() && !reflect.DeepEqual(was, now) {
		l.t.Fatalf("the view of %d is another, its version is not:\n%+v\n%+v", h.i, *was, *now)
	}
	h.picture, h.version = now, h.core.ViewVersion()
}

func (l *lan) carryOut(h *host, fx Effect) {
	switch fx.Kind {
	case Send:
		frame := wire.Append(nil, fx.Msg)[wire.HeaderLen:]
		to := l.peers[fx.Conn]
		if to.host == nil || l.lost != nil && l.lost(h.i, to.host.i) {
			return
		}
		l.after(hop, func() {
			var d wire.Decoder
			m, err := d.Decode(frame)
			if err != nil {
				l.t.Fatalf("decode: %v", err)
			}
			if _, ok := l.peers[to.id]; ok {
				l.step(to.host, Event{Kind: Received, Conn: to.id, Msg: m})
			}
		})
	case Dial:
		to := l.hosts[fx.Peer]
		if l.lost != nil && (l.lost(h.i, to.i) || l.lost(to.i, h.i)) {
			l.after(fx.Timeout, func() {
				l.step(h, Event{Kind: DialFailed, Peer: to.i, Cause: Unanswered})
			})
			return
		}
		l.after(2*hop, func() {
			if !to.up {
				l.step(h, Event{Kind: DialFailed, Peer: to.i, Cause: Refused})
				return
			}
			a, b := l.ids+1, l.ids+2
			l.ids += 2
			l.peers[a], l.peers[b] = far{to, b}, far{h, a}
			l.step(to, Event{Kind: Accepted, Conn: b})
			l.step(h, Event{Kind: Dialed, Conn: a, Peer: to.i})
		})
	case Close:
		l.hang(fx.Conn)
	case Tell:
		l.said = append(l.said, fmt.Sprintf("%v %d %s %d %v %s", l.now.Sub(time.Unix(1000, 0)), h.i,
			fx.Report.Kind, fx.Report.Subject, fx.Report.By, fx.Report.Text))
	case Emptied:
		l.emptied++
	case Delivered:
		l.delivered[h.i]++
	case Seats:
		l.seats++
	case Visited:
		l.homes[h.i] = append(l.homes[h.i], fx.Visit.Home...)
	case Work:
		l.works = append(l.works, fx)
	case Fatal:
		l.t.Errorf("%d: fatal: %s", h.i, fx.Report.Text)
	}
}

// hang closes one end; the other hears of it a hop later.
func (l *lan) hang(id ConnID) {
	to, ok := l.peers[id]
	if !ok {
		return
	}
	from := l.peers[to.id].host
	delete(l.peers, id)
	if l.lost != nil && from != nil && l.lost(from.i, to.host.i) {
		return
	}
	l.after(2*hop, func() {
		if _, ok := l.peers[to.id]; ok {
			delete(l.peers, to.id)
			l.step(to.host, Event{Kind: Broken, Conn: to.id})
		}
	})
}

func (l *lan) kill(i int) {
	l.hosts[i].up = false
	var ids []ConnID
	for id := range l.peers {
		if l.peers[l.peers[id].id].host == l.hosts[i] {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		l.hang(id)
	}
}

func (l *lan) tail() {
	for _, s := range l.said[max(0, len(l.said)-1200):] {
		l.t.Log(s)
	}
}

func TestFormsAndSpins(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 11, 40} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newLAN(t, n)
			l.run(5 * time.Second)
			for _, h := range l.hosts {
				v := h.core.View()
				if v.ID != l.hosts[0].core.View().ID {
					t.Errorf("%d sees another view", h.i)
				}
				if v.Next != (h.i+1)%n {
					t.Errorf("next of %d = %d", h.i, v.Next)
				}
				if _, lap, _, _, _ := h.core.Particle(); lap < 2 {
					t.Errorf("%d saw %d laps", h.i, lap)
				}
			}
			if t.Failed() {
				l.tail()
			}
		})
	}
}

func TestKilledIsKnownDeadAndTheRingCloses(t *testing.T) {
	for _, n := range []int{2, 3, 5, 11, 40} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newLAN(t, n)
			l.run(5 * time.Second)
			l.kill(1)
			l.run(150 * time.Millisecond)
			for _, h := range l.hosts {
				if v := h.core.View(); h.up && v.Instances[1].State != wire.Down {
					t.Errorf("%d thinks 1 is %v", h.i, v.Instances[1].State)
				}
			}
			_, before, _, _, _ := l.hosts[0].core.Particle()
			l.run(4 * time.Second)
			if _, lap, _, _, _ := l.hosts[0].core.Particle(); lap < before+2 {
				t.Errorf("lap %d, was %d: the ring stands still", lap, before)
			}
			if t.Failed() {
				l.tail()
			}
		})
	}
}

// Whoever waits for a death must hear of it, also where no quorum was at hand when
// the instance was missed, as in the first moments of a fleet.
func TestOutOfReachIsDeadOnceAQuorumSaysSo(t *testing.T) {
	l := newLAN(t, 3)
	l.run(5 * time.Second)
	l.kill(1)
	l.kill(2)
	l.run(5 * time.Second)
	if l.count(Unreached, 1) != 1 || l.count(Died, 1) != 0 {
		t.Fatal("one of three calls another dead")
	}
	c := l.hosts[0].core
	deaths := func(i, inc uint32, s wire.State) (n int) {
		told := len(c.fx)
		c.numbered(&consensus.Effect{Rev: 9, View: []bus.Change{{
			Index: i, State: uint8(s), Incarnation: inc, Proof: true, By: []uint32{2},
		}}})
		for _, fx := range c.fx[told:] {
			if fx.Report.Kind == Died && fx.Report.Subject == int(i) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		i, inc uint32
		state  wire.State
		want   int
	}{
		{2, 1, wire.Alive, 0},
		{2, 2, wire.Down, 0}, // another life
		{1, 1, wire.Down, 1},
		{1, 1, wire.Down, 0}, // it is told
	} {
		if got := deaths(tt.i, tt.inc, tt.state); got != tt.want {
			t.Errorf("%d deaths told after %+v", got, tt)
		}
	}
}

func (l *lan) thaw(i int) {
	h := l.hosts[i]
	h.frozen = false
	in := h.inbox
	h.inbox = nil
	for _, ev := range in {
		l.step(h, ev)
	}
	l.step(h, Event{Kind: Timer})
}

// count is how many lines of a kind about a subject were told by others.
func (l *lan) count(kind ReportKind, subject int) (n int) {
	for _, s := range l.said {
		var d, k string
		var i, sub int
		if fmt.Sscanf(s, "%s %d %s %d", &d, &i, &k, &sub); k == string(kind) && sub == subject &&
			i != subject {
			n++
		}
	}
	return n
}

// wantBackOnce wants i to be in everybody's ring again, and to have died once.
func (l *lan) wantBackOnce(t *testing.T, i int) {
	t.Helper()
	for _, h := range l.hosts {
		if v := h.core.View(); v.Instances[i].State != wire.Alive || v.CutOff {
			t.Errorf("%d thinks %d is %v, cut off %v", h.i, i, v.Instances[i].State, v.CutOff)
		}
	}
	if got, want := l.count(Died, i), len(l.hosts)-1; got != want {
		t.Errorf("%d deaths told, want %d", got, want)
	}
	if t.Failed() {
		l.tail()
	}
}

func TestFrozenIsFoundAndComesBack(t *testing.T) {
	for _, n := range []int{3, 7, 11} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l := newLAN(t, n)
			l.run(5 * time.Second)
			l.hosts[2].frozen = true
			l.run(1500 * time.Millisecond)
			for _, h := range l.hosts {
				if v := h.core.View(); h.i != 2 && v.Instances[2].State != wire.Down {
					t.Errorf("%d thinks 2 is %v", h.i, v.Instances[2].State)
				}
			}
			l.run(time.Second)
			l.thaw(2)
			l.run(time.Second)
			l.wantBackOnce(t, 2)
		})
	}
}

func TestH4BadLinkIsNotABadInstance(t *testing.T) {
	for _, n := range []int{3, 7, 11, 24} {
		for name, lost := range map[string]func(from, to int) bool{
			"one way":   func(from, to int) bool { return from == 1 && to == 2 },
			"both ways": func(from, to int) bool { return from+to == 3 && from > 0 && to > 0 },
		} {
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				l := newLAN(t, n)
				l.run(5 * time.Second)
				changes := l.hosts[0].core.View().Changes
				l.lost = lost
				l.run(3 * time.Second)
				_, before, _, _, _ := l.hosts[0].core.Particle()
				l.run(10 * time.Second)
				v := l.hosts[0].core.View()
				if v.Changes != changes {
					t.Errorf("%d view changes", v.Changes-changes)
				}
				if len(v.BadLinks) == 0 {
					t.Error("no bad link shown")
				}
				if _, lap, _, _, _ := l.hosts[0].core.Particle(); lap < before+7 {
					t.Errorf("%d laps in 10 s", lap-before)
				}
				l.lost = nil
				l.run(3 * time.Second)
				if v := l.hosts[0].core.View(); len(v.BadLinks) > 0 {
					t.Errorf("bad links after healing: %v", v.BadLinks)
				}
				if t.Failed() {
					l.tail()
				}
			})
		}
	}
}

func TestH5CutOffKnowsItAndComesBack(t *testing.T) {
	for _, n := range []int{3, 7, 11} {
		for name, lost := range map[string]func(from, to int) bool{
			"black hole": func(from, to int) bool { return from == 2 || to == 2 },
			"mute":       func(from, to int) bool { return from == 2 },
			"deaf":       func(from, to int) bool { return to == 2 },
		} {
			t.Run(fmt.Sprint(n, " ", name), func(t *testing.T) {
				l := newLAN(t, n)
				l.run(5 * time.Second)
				l.lost = lost
				l.run(1600 * time.Millisecond)
				if !l.hosts[2].core.View().CutOff {
					t.Error("it does not know that it is cut off")
				}
				l.run(5 * time.Second)
				for i, w := range l.hosts[2].core.View().Instances {
					if i != 2 && w.State == wire.Alive {
						t.Errorf("it shows %d as alive", i)
					}
				}
				for _, h := range l.hosts {
					if v := h.core.View(); h.i != 2 && (v.Instances[2].State != wire.Down || v.CutOff) {
						t.Errorf("%d thinks 2 is %v, cut off %v", h.i, v.Instances[2].State, v.CutOff)
					}
				}
				l.lost = nil
				l.run(time.Second)
				l.wantBackOnce(t, 2)
			})
		}
	}
}

// TestCalmGrowsSlowly holds the quiet before a cut to what it is there for.
func TestCalmGrowsSlowly(t *testing.T) {
	const settle = 10 * time.Millisecond
	for _, tt := range []struct {
		n    int
		most time.Duration
	}{
		{2, 11 * time.Millisecond},
		{11, 20 * time.Millisecond},
		{1000, 110 * time.Millisecond},
		{10_000, 400 * time.Millisecond},
	} {
		names := make([]string, tt.n)
		for i := range names {
			names[i] = fmt.Sprint("s", i)
		}
		window := floodWindow + time.Duration(tt.n)*floodWindow/1000
		got := calm(settle, overlay.Build(names, "t", 0), window)
		if got < settle || got > tt.most {
			t.Errorf("quiet of %d instances = %v, want %v to %v", tt.n, got, settle, tt.most)
		}
	}
}
