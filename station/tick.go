package station

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

// Ticks is what OnTick needs of an instance.
type Ticks interface {
	OnTick(f func(ring.Tick)) (stop func())
}

// TickConfig is what to run at ticks. Command is needed.
type TickConfig struct {
	Command  Command
	Stdout   *os.File      // given to it as it is; nil: discarded
	Grace    time.Duration // from SIGTERM to SIGKILL when it is to end, 5 s
	PauseMin time.Duration // after a failure, 1 s; after each further in a row twice as long
	PauseMax time.Duration // but no longer than this, 1 minute
	Logger   *slog.Logger  // of failures; nil: silent
}

// OnTick runs a command at the ticks that pass this stop until ctx ends, and then ends it.
// Only laps that count are ticks (ring.Tick.Anchored). One command runs at a time: ticks
// that pass meanwhile, or in the pause after a failure, are skipped. In its environment are
// RING_TICK, RING_EPOCH (a number), RING_LAP, RING_INSTANCE, and RING_TICKS_SKIPPED, how many
// have passed since the one it was run for before. It fails with what is wrong with cfg.
func OnTick(ctx context.Context, r Ticks, cfg TickConfig) error {
	if err := cfg.Command.check(); err != nil {
		return err
	}
	cfg.Grace = cmp.Or(cfg.Grace, 5*time.Second)
	cfg.PauseMin = cmp.Or(cfg.PauseMin, time.Second)
	cfg.PauseMax = max(cmp.Or(cfg.PauseMax, time.Minute), cfg.PauseMin)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Command.Env == nil {
		cfg.Command.Env = os.Environ()
	}
	t := &taker{next: make(chan taken, 1)}
	defer r.OnTick(t.see)()
	pause := cfg.PauseMin
	for {
		select {
		case <-ctx.Done():
			return nil
		case one := <-t.next:
			failure := cfg.run(ctx, one)
			if failure == "" || ctx.Err() != nil {
				pause = cfg.PauseMin
				break
			}
			cfg.Logger.Warn("command at a tick failed", "tick", one.tick.Tick, "why", failure,
				"again_in", pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, cfg.PauseMax)
		}
		t.free()
	}
}

// taken is a tick to run for.
type taken struct {
	tick    ring.Tick
	skipped uint64
}

// taker takes one tick at a time.
type taker struct {
	next chan taken // has room for one, which is there only while busy

	mu      sync.Mutex
	busy    bool   // guarded by mu, as is skipped
	skipped uint64 // since the last that was taken
}

// see is told each pass.
func (t *taker) see(tick ring.Tick) {
	if !tick.Anchored {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		t.skipped++
		return
	}
	t.next <- taken{tick, t.skipped}
	t.busy, t.skipped = true, 0
}

// free lets the next tick be taken.
func (t *taker) free() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
}

// run runs the command for one tick, and says how it failed, if it did.
func (c TickConfig) run(ctx context.Context, one taken) (failure string) {
	config := c.Command.guarded(c.Grace)
	if c.Stdout != nil {
		config.Stdout = c.Stdout
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	config.Env = append(slices.Clone(config.Env),
		"RING_TICK="+number(one.tick.Tick), "RING_EPOCH="+number(one.tick.Epoch.Number),
		"RING_LAP="+number(one.tick.Lap), "RING_INSTANCE="+string(one.tick.Instance),
		"RING_TICKS_SKIPPED="+number(one.skipped))
	p, err := guard.Start(config)
	if err != nil {
		return err.Error()
	}
	select {
	case <-ctx.Done():
		p.Stop()
	case <-p.Done():
	}
	if exit := p.Wait(); exit.Code != 0 {
		return exit.Text
	}
	return ""
}
