// Package haul carries out what bulk decides: connections of their own for large
// payloads, and a file for each.
//
//	givers ══ chunks ══► checked, written at their place ─┐
//	                                                      ├─► file ─► whole: delivered
//	takers ◄══ chunks ═══════ read from there ◄───────────┘
//
// Nothing of it holds the node's baton: a lock of its own guards the core of bulk, and
// nothing waits for a disk or a peer while it holds that, but the making of a file.
package haul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"ringofservers.dev/ring/internal/bulk"
	"ringofservers.dev/ring/internal/wire"
)

// Bounds on what transfers may cost.
const (
	runMax     = 16        // transfers on their way at a time; more wait
	waitMax    = 256       // that wait, and manifests that have just come
	castsMax   = 16        // messages about one payload that is on its way
	giveUp     = time.Hour // without a chunk of one, and it is given up
	keepFor    = 24 * time.Hour
	lookAfter  = time.Minute // between two looks for what is to go
	stagesMax  = 4           // payloads being taken in from their senders at a time
	KeepBytes  = 2 << 30     // kept by default
	dialWithin = 5 * time.Second
)

// What callers branch on.
var (
	ErrFull  = errors.New("there is no room for it")
	ErrEnded = errors.New("instance has ended")
	ErrLarge = fmt.Errorf("a payload has at most %d bytes", int64(wire.BulkMax))
	ErrEmpty = errors.New("the payload is empty")
)

// Config is what a Haul needs.
type Config struct {
	Self   int
	Dir    string // made if missing; if empty, files have no names and go at the end
	Keep   int64  // bytes kept on disk, 0 for KeepBytes
	Takers int    // connections of those who take
}

// Ties are what a Haul needs of its instance.
type Ties struct {
	Dial    func(ctx context.Context, peer int) (nc net.Conn, rest []byte, err error)
	Deliver func(c *wire.Cast, p *Payload) // p is whole; called in any goroutine, one at a time
	Missed  func(c *wire.Cast)             // it will not come
}

// Haul is one instance's large payloads. Its methods may be called by several goroutines.
type Haul struct {
	cfg    Config
	ties   Ties
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wakes  chan struct{} // one token: something is in inbox or out, or a deadline moved
	stages chan struct{} // a token for each
	loaded chan struct{} // closed when what an earlier process left is taken up

	mu      sync.Mutex // guards what follows
	core    *bulk.Core
	items   []*item // the oldest first
	givers  map[int]*pipe
	takers  map[int]*pipe
	lastID  int
	staged  int64         // bytes being taken in
	freed   chan struct{} // closed, and made anew, when less is owed
	inbox   []*wire.Cast
	waiting []*wire.Cast // for room
	out     []func()     // to be done without the lock
	ended   bool
	counts  Counts
	looked  time.Time
	armed   time.Time // when the loop will call Turn, zero for when it looks next
}

// Counts are since the start.
type Counts struct {
	In, Out uint64 // bytes of chunks
	Wrong   uint64 // chunks whose hash was not the manifest's
	Whole   uint64 // payloads that came whole
	Missed  uint64 // messages whose payload will not come
}

// Open makes the directory ready. Nothing happens before Run.
func Open(cfg Config) (*Haul, error) {
	if cfg.Keep == 0 {
		cfg.Keep = KeepBytes
	}
	h := &Haul{
		cfg: cfg, wakes: make(chan struct{}, 1), stages: make(chan struct{}, stagesMax),
		loaded: make(chan struct{}), freed: make(chan struct{}),
		givers: map[int]*pipe{}, takers: map[int]*pipe{}, looked: time.Now(),
	}
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	h.core = bulk.New(h.looked, bulk.Config{
		Self: cfg.Self, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// Run begins. Close must be called then.
func (h *Haul) Run(ties Ties) {
	h.ties = ties
	h.wg.Go(h.loop)
}

// Close ends all transfers and returns when no goroutine of them runs any more.
func (h *Haul) Close() error {
	h.cancel()
	h.mu.Lock()
	h.ended = true
	for _, p := range h.givers { // all: order does not matter
		p.nc.Close()
	}
	for _, p := range h.takers { // all: order does not matter
		p.nc.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, it := range h.items {
		it.file.release()
		if h.cfg.Dir == "" && it.path != "" {
			errs = append(errs, os.Remove(it.path))
		}
	}
	h.items = nil
	return errors.Join(errs...)
}

// loop does what waits for a disk, delivers, and watches the time.
func (h *Haul) loop() {
	if err := h.load(); err != nil {
		return // it has ended
	}
	close(h.loaded)
	timer := time.NewTimer(lookAfter)
	defer timer.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.wakes:
		case <-timer.C:
		}
		timer.Reset(h.turn())
	}
}

// turn does what there is to do and returns how long there will be nothing.
func (h *Haul) turn() time.Duration {
	for {
		h.mu.Lock()
		inbox, out := h.inbox, h.out
		h.inbox, h.out = nil, nil
		h.mu.Unlock()
		if len(inbox)+len(out) == 0 {
			break
		}
		for _, c := range inbox {
			h.begin(c)
		}
		for _, do := range out {
			do()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Sub(h.looked) >= lookAfter {
		h.looked = now
		h.outdated(now)
	}
	h.core.Turn(now)
	h.carry()
	h.armed = h.core.Deadline()
	if d := h.armed; !d.IsZero() {
		return min(max(time.Until(d), 0), lookAfter)
	}
	return lookAfter
}

func (h *Haul) wake() {
	select {
	case h.wakes <- struct{}{}:
	default:
	}
}

// See takes the view.
func (h *Haul) See(v bulk.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.core.See(time.Now(), v)
	h.carry()
}

// Announced takes a manifest that was delivered. It never waits.
func (h *Haul) Announced(c *wire.Cast) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.inbox) >= waitMax {
		h.miss(c)
		h.out = append(h.out, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.back(c)
		})
		return
	}
	h.inbox = append(h.inbox, c)
	h.wake()
}

// miss tells that the payload of c will not come.
func (h *Haul) miss(c *wire.Cast) {
	h.counts.Missed++
	h.out = append(h.out, func() { h.ties.Missed(c) })
	h.wake()
}

// deliver tells that the payload of c is here.
func (h *Haul) deliver(it *item, c *wire.Cast) {
	h.out = append(h.out, func() { h.ties.Deliver(c, it.payload()) })
	h.wake()
}

// carry does the effects of the core.
func (h *Haul) carry() {
	for fx := h.core.Effects(); len(fx) > 0; fx = h.core.Effects() {
		for i := range fx {
			h.do(&fx[i])
		}
	}
	if d := h.core.Deadline(); !d.IsZero() && (h.armed.IsZero() || d.Before(h.armed)) {
		h.armed = d
		h.wake()
	}
}

func (h *Haul) do(fx *bulk.Effect) {
	switch fx.Kind {
	case bulk.Dial:
		h.dial(fx.Peer)
	case bulk.Hang:
		if p := h.givers[fx.Peer]; p != nil {
			delete(h.givers, fx.Peer)
			p.nc.Close()
		}
	case bulk.Ask:
		h.givers[fx.Peer].say(fx.Msg)
	case bulk.Tell:
		h.takers[fx.Taker].say(fx.Msg)
	case bulk.Give:
		if p := h.takers[fx.Taker]; p != nil {
			p.job = job{h.item(fx.Name), fx.Chunk}
			p.stir()
		}
	case bulk.Expel:
		if p := h.takers[fx.Taker]; p != nil {
			p.nc.Close()
		}
	case bulk.Whole:
		name := fx.Name
		h.out = append(h.out, func() { h.finish(name) })
		h.wake()
	case bulk.Banned:
		h.counts.Wrong++
	}
}

func (h *Haul) item(name wire.BulkName) *item {
	for _, it := range h.items {
		if it.name == name {
			return it
		}
	}
	return nil
}

// Transfer is a payload that is here, or on its way.
type Transfer struct {
	Name    wire.BulkName
	Cast    *wire.Cast // that brought it first; nil where it was not sent yet
	Whole   bool
	Waiting bool // for room
	Size    int64
	Have    int64 // bytes
	Sum     [32]byte
	Took    time.Duration // from the manifest to the last byte, or to now; 0 for what was here
	Sources []int         // who has been asked for chunks, while not whole
	Takers  int           // who follow it here
}

// Transfers are all of them, the oldest first.
func (h *Haul) Transfers() []Transfer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Transfer
	for _, it := range h.items {
		have, from, takers, _ := h.core.Progress(it.name)
		t := Transfer{
			Name: it.name, Cast: it.first, Whole: it.whole, Size: int64(it.m.Size), Sum: it.m.Whole,
			Sources: from, Takers: takers, Took: it.took,
		}
		for i := range it.m.Chunks {
			if have.Has(i) {
				t.Have += int64(it.m.Len(i))
			}
		}
		if !it.whole {
			t.Took = time.Since(it.began)
		}
		list = append(list, t)
	}
	for _, c := range h.waiting {
		if m, err := wire.ReadManifest(c.Payload); err == nil {
			list = append(list, Transfer{
				Name: wire.NameOf(c.Payload), Cast: c, Waiting: true, Size: int64(m.Size), Sum: m.Whole,
			})
		}
	}
	return list
}

// Kept is how many bytes are on disk, or will be.
func (h *Haul) Kept() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept()
}

// Counts takes a copy.
func (h *Haul) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

// Payload finds one that is whole.
func (h *Haul) Payload(name wire.BulkName) (*Payload, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if it := h.item(name); it != nil && it.whole {
		return it.payload(), true
	}
	return nil, false
}

// running is how many are on their way.
func (h *Haul) running() (n int) {
	for _, it := range h.items {
		if !it.whole {
			n++
		}
	}
	return n
}

// outdated lets go what is old, and gives up what does not come.
func (h *Haul) outdated(now time.Time) {
	for _, it := range slices.Clone(h.items) {
		since, running := h.core.Quiet(it.name)
		switch {
		case running && now.Sub(since) > giveUp:
			h.abandon(it)
		case it.whole && it.owed == 0 && now.Sub(it.ended) > keepFor:
			h.drop(it)
		}
	}
	h.retry()
}
