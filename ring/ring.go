package ring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/journal"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/store"
)

// Times of a link that depend on no preset.
const (
	writeTimeout = 5 * time.Second  // for a peer to take what is queued for it
	idleBeats    = 10               // heartbeats a peer may be silent for, at the very last
	idleMin      = 15 * time.Second // the detector is far ahead of this in any case
	firstMin     = 2 * time.Second  // for a stranger to say its first word
)

// Ring is one instance of a ring, running in this process. Its methods may be
// called by several goroutines.
type Ring struct {
	cfg     Config
	roster  atomic.Pointer[roster.Roster]   // the one that the core goes by
	links   atomic.Pointer[overlay.Overlay] // of it
	era     uint32                          // of the bus that agreed on it, at the start
	self    int
	addr    net.Addr // where it listens
	local   net.Addr // where this host reaches it best
	node    *node.Node
	store   *store.Store // nil without Config.Data
	journal *journal.Journal
	bulk    *haul.Haul
	loads   loads
	metrics *collector // nil without Config.Registerer
	handler atomic.Pointer[http.Handler]
	joined  chan struct{}
	done    chan struct{}
	err     error // once done is closed

	stopTrust func() // nil without TLS
}

// Join makes this process an instance of a ring and returns when it listens;
// [Ring.Joined] waits until the others have let it in. The context bounds this
// call only. Errors wrap ErrConfig, ErrInsecure, ErrAddress or ErrData. On an
// error a given Listener stays open.
func Join(ctx context.Context, cfg Config) (*Ring, error) {
	cfg, full, self, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := cfg.secure(full); err != nil {
		return nil, err
	}
	r := &Ring{
		cfg: cfg, self: self,
		joined: make(chan struct{}), done: make(chan struct{}),
	}
	r.roster.Store(full)
	saved, err := r.openStore()
	if err != nil {
		return nil, err
	}
	if full, err = r.moved(full); err != nil {
		return nil, errors.Join(err, r.closeStore())
	}
	cfg = r.cfg
	log, err := r.openJournal()
	if err != nil {
		return nil, errors.Join(err, r.closeStore())
	}
	l, err := cfg.listen(ctx)
	if err != nil {
		return nil, errors.Join(err, r.closeStore())
	}
	l = cfg.alsoLocal(ctx, l)
	cfg.warnInsecure(full)
	r.addr, r.local = l.Addr(), localOf(l)
	ov := overlay.BuildOf(full.Names, full.Out(), full.Ring, full.Degree)
	r.links.Store(ov)
	r.metrics = newCollector(r)
	if err := r.register(); err != nil {
		if cfg.Listener == nil {
			err = errors.Join(err, l.Close())
		}
		return nil, errors.Join(err, r.closeStore())
	}
	if err := r.start(l, ov, saved, log); err != nil {
		r.unregister()
		if cfg.Listener == nil {
			err = errors.Join(err, l.Close())
		}
		return nil, errors.Join(err, r.closeStore())
	}
	return r, nil
}

// start builds the core and sets it going.
func (r *Ring) start(l net.Listener, ov *overlay.Overlay, saved core.Saved, log savedLog) error {
	t := r.cfg.Timing
	machine, err := core.New(core.Config{
		Roster: r.rosterNow(), RosterEra: r.era, Overlay: ov, Self: r.self,
		Boot: 1 + rand.Uint32N(math.MaxUint32), PID: uint32(os.Getpid()), Build: r.cfg.Version,
		Saved: saved, Bus: log.saved, Lost: log.lost, Memory: r.journal == nil,
		Timing: t.core(), Hold: r.cfg.Hold, Fast: r.cfg.MaxSpeed,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), Proof: r.proof(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	dir := ""
	if r.cfg.Data != "" {
		dir = filepath.Join(r.cfg.Data, "bulk")
	}
	r.bulk, err = haul.Open(haul.Config{
		Self: r.self, Dir: dir, Keep: r.cfg.BulkKeep, Takers: 4*len(ov.Neighbours(r.self)) + 16,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	cfg := node.Config{
		Bulk: r.bulk, Core: machine, Listener: l, Handler: http.HandlerFunc(r.serve),
		Addr:   func(peer int) string { return r.rosterNow().Addr(peer) },
		Degree: len(ov.Neighbours(r.self)), Reroll: r.reroll,
		Link: link.Options{
			First: max(firstMin, 4*t.Answer),
			Idle:  max(idleMin, idleBeats*(t.Beat+t.Patience)),
			Write: writeTimeout,
		},
	}
	if r.store != nil {
		cfg.Save = func(v core.Saved) error { return r.store.Save(store.Saved(v)) }
		cfg.Journal = r.keeper(log)
	}
	cfg.Bend = r.bend()
	if r.cfg.TLS != nil {
		cfg.Identity = identity{r.cfg.TLS, r.cfg.Ring}
		cfg.Name = func(peer int) string { return string(r.name(peer)) }
	}
	r.node = node.Start(cfg)
	if r.cfg.TLS != nil {
		r.stopTrust = r.cfg.TLS.OnChange(r.node.Vouch)
	}
	if r.metrics != nil {
		r.metrics.ready(r.node)
	}
	if _, err := r.Answer(PayloadTopic, r.answerPayload, nil); err != nil {
		return err // not the first to answer it, which cannot be
	}
	r.node.OnView(func(v *core.View) { r.bulk.See(r.bulkView(v)) })
	_, logged := r.node.OnReport(0, r.log)
	go r.finish(logged)
	return nil
}

func (r *Ring) openStore() (core.Saved, error) {
	if r.cfg.Data == "" {
		return core.Saved{}, nil
	}
	id := r.identity(r.rosterNow())
	id.Settle = r.settle
	s, saved, err := store.Open(r.cfg.Data, id)
	if errors.Is(err, ErrRetired) {
		return core.Saved{}, err
	}
	if err != nil {
		return core.Saved{}, fmt.Errorf("%w: %w", ErrData, err)
	}
	r.store = s
	return core.Saved(saved), nil
}

func (r *Ring) closeStore() error {
	if r.store == nil {
		return nil
	}
	var err error
	if r.journal != nil {
		err = r.journal.Close()
	}
	return errors.Join(err, r.store.Close())
}

// finish waits for the node to end and then ends the rest. logged is closed
// after the last line was logged; a log that does not move is not waited for.
func (r *Ring) finish(logged <-chan struct{}) {
	<-r.node.Done()
	select {
	case <-logged:
	case <-time.After(time.Second):
	}
	if r.stopTrust != nil {
		r.stopTrust()
	}
	r.unregister()
	r.err = r.explain(r.node.Err())
	if err := r.closeStore(); err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrData, err)
	}
	level := slog.LevelError
	if errors.Is(r.err, ErrRetired) {
		level = slog.LevelWarn // which an operator wanted
	}
	if r.err != nil {
		r.cfg.Logger.Log(context.Background(), level, "instance has ended", "err", r.err)
	}
	close(r.done)
}

// explain turns what the node ended with into this package's errors.
func (r *Ring) explain(err error) error {
	var fatal *node.FatalError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fatal) && fatal.Report.Kind == core.Retired:
		return fmt.Errorf("%w: %w", ErrRetired, err)
	case errors.As(err, &fatal):
		return fmt.Errorf("%w: %w", ErrTaken, err)
	case errors.Is(err, node.ErrSave):
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	return fmt.Errorf("ring: %w", err)
}

// Joined waits until this instance has been let into the ring, which may be
// for ever: the others may not have started. It returns nil, the context's
// error, or why the instance ended before.
func (r *Ring) Joined(ctx context.Context) error {
	select {
	case <-r.joined:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.done:
		if r.err != nil {
			return r.err
		}
		return ErrClosed
	}
}

// Leave says goodbye, so that the others need not find out, and returns when
// everything has ended. If ctx ends first, the rest happens without the caller;
// Close then cuts it short.
func (r *Ring) Leave(ctx context.Context) error {
	if err := r.node.Leave(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	<-r.done
	return r.err
}

// Close ends the instance at once, to the others as if it had crashed, and
// returns when nothing of it is left but callbacks that are still running. It
// returns what Err does.
func (r *Ring) Close() error {
	r.node.Close() // what it returns comes back as r.err
	<-r.done
	return r.err
}

// Done is closed when the instance has ended, whatever the reason.
func (r *Ring) Done() <-chan struct{} { return r.done }

// Err says why the instance ended: nil until Done is closed, and after Leave
// and Close; otherwise it wraps ErrTaken, ErrRetired or ErrData, or tells of a bug.
func (r *Ring) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Addr is where the instance listens.
func (r *Ring) Addr() net.Addr { return r.addr }

// SetPace changes how long the particle rests at this stop: hold, or an even
// share of the lap time if hold is zero, or not at all if maxSpeed.
func (r *Ring) SetPace(hold time.Duration, maxSpeed bool) {
	r.node.SetPace(min(max(hold, 0), holdMax), maxSpeed)
}

// Handle serves h at the instance's port, beside the links of the ring. It may
// be called again to serve something else. Before it every request is answered
// 503: an answer of 404 would be taken for h's word.
func (r *Ring) Handle(h http.Handler) { r.handler.Store(&h) }

func (r *Ring) serve(w http.ResponseWriter, req *http.Request) {
	if h := r.handler.Load(); h != nil && *h != nil {
		(*h).ServeHTTP(w, req)
		return
	}
	http.Error(w, "this instance serves nothing here, or not yet", http.StatusServiceUnavailable)
}

// OnTick calls f for each pass of the particle at this stop from now on, in
// order, from one goroutine, which is not the one that passes it on: f may take
// its time. After a thousand passes that f was too slow for it misses the
// oldest; ring_missed_total counts them. After stop, which may be called from
// within f, no further call begins.
func (r *Ring) OnTick(f func(Tick)) (stop func()) {
	stop, _ = r.node.OnTick(func(t node.Tick) { f(r.tick(t)) })
	return stop
}

// OnEvent calls f for each event numbered above since, those that are still
// kept first and then all to come, in the manner of OnTick.
func (r *Ring) OnEvent(since uint64, f func(Event)) (stop func()) {
	stop, _ = r.node.OnReport(since, func(seq uint64, t node.Report) { f(r.event(seq, t)) })
	return stop
}

// OnView calls f with the view of now and then whenever it has changed, in the
// manner of OnTick; of changes that come faster than f takes them it sees the
// last.
func (r *Ring) OnView(f func(View)) (stop func()) {
	stop, _ = r.node.OnView(func(*core.View) { f(r.View()) })
	return stop
}

// Events returns the events numbered above since that are still kept, which is
// the last 4096.
func (r *Ring) Events(since uint64) []Event {
	reports, first := r.node.Reports(since)
	events := make([]Event, len(reports))
	for i, t := range reports {
		events[i] = r.event(first+uint64(i), t)
	}
	return events
}
