//go:build linux

package processtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// lapName is what a tick may name.
type lapName struct{ epoch, lap uint64 }

// gap is a step of more than one tick that a process has shown.
type gap struct {
	who           int
	pid           int
	before, after uint64
}

// watcher follows the ticks of every instance, in all its lives, and keeps what
// must never be.
type watcher struct {
	k    *kept
	stop func()

	mu     sync.Mutex
	ticks  map[uint64]lapName
	laps   map[lapName]uint64
	newest []uint64 // counted, by instance, over all its lives
	seen   int
	gaps   []gap
	broke  []string
}

// watch begins; the test's end is its end.
func watch(k *kept) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{
		k: k, ticks: map[uint64]lapName{}, laps: map[lapName]uint64{},
		newest: make([]uint64, len(k.Names)),
	}
	var all sync.WaitGroup
	w.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	k.t.Cleanup(w.stop)
	for i := range k.Names {
		all.Go(func() {
			for ctx.Err() == nil {
				w.follow(ctx, i)
				select { // it is not there, and will be
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return w
}

// follow follows one life of instance i.
func (w *watcher) follow(ctx context.Context, i int) {
	pid := 0
	if p := w.k.Proc(i); p != nil {
		pid = p.PID()
	}
	var last fleet.Tick
	var counted uint64
	_ = w.k.API.Follow(ctx, w.k.Addrs[i], func(t fleet.Tick) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if t.Tick < last.Tick {
			w.wrong("%s shows tick %d behind %d", w.k.Names[i], t.Tick, last.Tick)
		}
		last = t
		if !t.Anchored {
			return
		}
		if t.Tick <= counted {
			w.wrong("%s counts tick %d behind %d", w.k.Names[i], t.Tick, counted)
		}
		if counted > 0 && t.Tick > counted+1 {
			w.gaps = append(w.gaps, gap{i, pid, counted, t.Tick})
		}
		counted = t.Tick
		w.count(i, t)
	})
}

// count takes a tick that names a lap. The caller holds mu.
func (w *watcher) count(i int, t fleet.Tick) {
	w.seen++
	name := lapName{t.Epoch.Number, t.Lap}
	if t.Epoch.Counter != 0 {
		w.wrong("%s counts a lap of a detached particle: %+v", w.k.Names[i], t)
	}
	if had, ok := w.ticks[t.Tick]; ok && had != name {
		w.wrong("tick %d names %v, and at %s %v", t.Tick, had, w.k.Names[i], name)
	}
	if had, ok := w.laps[name]; ok && had != t.Tick {
		w.wrong("lap %v is tick %d, and at %s %d", name, had, w.k.Names[i], t.Tick)
	}
	w.ticks[t.Tick], w.laps[name] = name, t.Tick
	// A process that was started again may see the lap of its end once more.
	if t.Tick < w.newest[i] {
		w.wrong("%s goes back from %d to %d", w.k.Names[i], w.newest[i], t.Tick)
	}
	w.newest[i] = max(w.newest[i], t.Tick)
}

// wrong keeps what must never be, the first of it. The caller holds mu.
func (w *watcher) wrong(format string, args ...any) {
	if len(w.broke) < 20 {
		w.broke = append(w.broke, fmt.Sprintf(format, args...))
	}
}

// highest is the highest tick that anybody has counted.
func (w *watcher) highest() (tick uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.newest {
		tick = max(tick, n)
	}
	return tick
}

// told checks that each gap that an instance has shown in this life of its is
// told there as an event.
func (w *watcher) told() {
	w.k.t.Helper()
	w.mu.Lock()
	gaps := w.gaps
	w.gaps = nil
	w.mu.Unlock()
	for _, g := range gaps {
		if p := w.k.Proc(g.who); p.PID() != g.pid || !p.Running() {
			continue // whom nobody can ask any more
		}
		await(w.k.t, fmt.Sprintf("%s tells of the gap from %d to %d", w.k.Names[g.who], g.before,
			g.after), func() bool {
			events, err := w.k.API.Events(w.k.Addrs[g.who], 0)
			for _, e := range events {
				if e.Kind == "ticks_skipped" && e.Tick == g.after && e.Skipped == g.after-g.before-1 {
					return true
				}
			}
			return err != nil && !w.k.Proc(g.who).Running()
		})
	}
}

// check ends the watch and says what was wrong.
func (w *watcher) check() {
	w.k.t.Helper()
	w.stop()
	if w.seen == 0 {
		w.k.t.Error("no tick was seen")
	}
	w.k.t.Logf("%d ticks at %d instances, %d of them different", w.seen, len(w.newest),
		len(w.ticks))
	for _, b := range w.broke {
		w.k.t.Error(b)
	}
}

// restarted kills all at once and starts them again: ticks go on above all there
// were, in the same history.
func (w *watcher) restarted() {
	w.k.t.Helper()
	history := w.k.bus(0).History
	w.told()
	w.k.kill(w.k.All()...)
	high := w.highest()
	w.k.up(w.k.All(), w.k.All())
	for i := range w.k.Names {
		if s := status(w.k.t, w.k.Ring, i); s.Tick <= high {
			w.k.t.Errorf("%s counts %d after a restart of all, behind %d", w.k.Names[i], s.Tick, high)
		}
		if b := w.k.bus(i); b.History != history {
			w.k.t.Errorf("%s goes by history %s after a restart of all, not by %s", w.k.Names[i],
				b.History, history)
		}
	}
}

func TestP3TicksOfThreeNameOneLapEach(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, true)
	k.up(k.All(), k.All())
	w := watch(k)
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		// Nobody is hit so often that its return would be held up.
		order := k.rand.Perm(3)
		faults := []func(){
			func() { k.killed(k.ticking, order[0]) },
			func() { k.stopped(k.ticking, order[1]) },
			func() { k.cut(k.ticking, order[2], k.oneWay()) },
		}
		for _, f := range k.rand.Perm(len(faults)) {
			faults[f]()
			w.told()
		}
		w.restarted()
		// Two of three gone: the third spins on and says that nothing counts.
		k.killed(k.uncounted, order[0], order[1])
		w.told()
	}
	w.check()
}

func TestP3TicksOfSevenNameOneLapEach(t *testing.T) {
	long(t)
	k := newKept(t, 7, true)
	k.up(k.All(), k.All())
	w := watch(k)
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		order := k.rand.Perm(7)
		k.parted(func(few, rest []int) {
			k.ticking(rest)
			k.uncounted(few)
		}, order[:3]...)
		w.told()
		w.restarted()
		order = k.rand.Perm(7)
		k.killed(k.ticking, order[0], order[1])
		k.stopped(k.ticking, k.leader(k.Except(order[:2]...)))
		w.told()
		k.killed(k.uncounted, order[:4]...)
		w.told()
		w.restarted()
	}
	w.check()
}

// oneWay is a cut of one direction, or of both.
func (k *kept) oneWay() func(int) error {
	return []func(int) error{k.Net.Mute, k.Net.Deafen, func(i int) error {
		if err := k.Net.Mute(i); err != nil {
			return err
		}
		return k.Net.Deafen(i)
	}}[k.rand.IntN(3)]
}
