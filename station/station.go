package station

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

// ErrUnsupported is that the system has no process groups.
var ErrUnsupported = errors.New("station: this system has no process groups")

// ErrConfig is wrapped by errors about what cannot be.
var ErrConfig = errors.New("station: config")

// Ring is what a station needs of an instance.
type Ring interface {
	Station(topic string, f ring.StationFunc, options ...ring.StationOption) (remove func(), err error)
}

// Command is what is run, and how. Words and Guard are needed.
type Command struct {
	Words []string // it and its arguments
	Env   []string // whole, as of exec.Cmd; nil: this process's own
	// Guard is a command that calls guard.Run with the arguments behind these and exits
	// with what that returns, and GuardName what ps shows for it; see guard.Config.
	Guard     []string
	GuardName string
	Stderr    *os.File // given to it as it is; nil: discarded
}

func (c Command) check() error {
	switch {
	case !guard.Supported:
		return ErrUnsupported
	case len(c.Words) == 0 || c.Words[0] == "":
		return fmt.Errorf("%w: there is no command", ErrConfig)
	case len(c.Guard) == 0:
		return fmt.Errorf("%w: there is no guard", ErrConfig)
	}
	return nil
}

func (c Command) guarded(grace time.Duration) guard.Config {
	config := guard.Config{
		Command: c.Words, Guard: c.Guard, Name: c.GuardName, Env: c.Env, Grace: grace,
	}
	if c.Stderr != nil {
		config.Stderr = c.Stderr
	}
	return config
}

// HoldDefault and HoldMax are of Config.Hold. No ring lets its stations hold the particle
// for more than HoldMax on a lap, all together: it is half of Timing.Loss, 200 ms for LAN.
const (
	HoldDefault = 100 * time.Millisecond
	HoldMax     = time.Second
)

// Config is a filter and what it is asked. Topic and Command are needed.
type Config struct {
	Topic   string
	Command Command
	Format  Format // "": Text
	// Hold is for how long it holds the particle at most, each time that this passes with
	// any of Topic aboard, 1 ms to HoldMax; 0: HoldDefault. A tenth of it is for the way
	// back to the ring.
	Hold       time.Duration
	Startup    time.Duration // for the first answer of a filter that was started, 10 s
	Grace      time.Duration // from SIGTERM to SIGKILL in Close, 1 s
	BackoffMin time.Duration // before the first restart, 500 ms; each further waits twice as long
	BackoffMax time.Duration // but no longer than this, 30 s
	Logger     *slog.Logger  // nil: silent
}

// withDefaults returns a whole copy.
func (c Config) withDefaults() (Config, error) {
	c.Hold = cmp.Or(c.Hold, HoldDefault)
	c.Format = cmp.Or(c.Format, Text)
	c.Startup = cmp.Or(c.Startup, 10*time.Second)
	c.Grace = cmp.Or(c.Grace, time.Second)
	c.BackoffMin = cmp.Or(c.BackoffMin, 500*time.Millisecond)
	c.BackoffMax = max(cmp.Or(c.BackoffMax, 30*time.Second), c.BackoffMin)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	err := c.Command.check()
	if c.Topic == "" {
		err = errors.Join(err, fmt.Errorf("%w: there is no topic", ErrConfig))
	}
	if c.Hold < time.Millisecond || c.Hold > HoldMax {
		err = errors.Join(err, fmt.Errorf("%w: hold is %v: choose 1ms to %v", ErrConfig, c.Hold, HoldMax))
	}
	if c.Format != Text && c.Format != JSON {
		err = errors.Join(err, fmt.Errorf("%w: format %q is unknown: choose text or json", ErrConfig, c.Format))
	}
	return c, err
}

// Station is a filter at this stop.
type Station struct {
	cfg    Config
	remove func()
	cancel context.CancelFunc
	ended  chan struct{}
	quiet  quiet // of the ring's one goroutine for this station

	mu    sync.Mutex
	child *child // guarded by mu, as is why; nil while none runs
	why   string // that none does
}

// Start injects a filter at the stop of r, until Close. Errors wrap ErrConfig, are
// ErrUnsupported, or r's. That the command does not start is none: it is tried again.
func Start(r Ring, cfg Config) (*Station, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Station{cfg: cfg, cancel: cancel, ended: make(chan struct{}), why: "it has not started yet"}
	s.remove, err = r.Station(cfg.Topic, s.stop, ring.Holds(cfg.Hold))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("station of %q: %w", cfg.Topic, err)
	}
	go s.keep(ctx)
	return s, nil
}

// Close removes the station and ends its filter: the end of its input and SIGTERM, and after
// Config.Grace SIGKILL. It returns when nothing of it is left, and may be called again.
func (s *Station) Close() {
	s.remove()
	s.cancel()
	<-s.ended
}

// steady is how long a filter must have run for its next restart to be quick.
const steady = time.Minute

// keep keeps the filter running until ctx ends.
func (s *Station) keep(ctx context.Context) {
	defer close(s.ended)
	for pause := s.cfg.BackoffMin; ctx.Err() == nil; {
		began := time.Now()
		why := s.run(ctx)
		s.use(nil, why)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= steady {
			pause = s.cfg.BackoffMin
		}
		s.cfg.Logger.Warn("station's filter has ended", "topic", s.cfg.Topic, "why", why, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, s.cfg.BackoffMax)
	}
}

// run runs the filter once, and says why it has ended.
func (s *Station) run(ctx context.Context) (why string) {
	c, err := startChild(s.cfg.Command, s.cfg.Grace)
	if err != nil {
		return err.Error()
	}
	s.use(c, "")
	return c.await(ctx)
}

// use has c be asked from now on; nil is none, and why.
func (s *Station) use(c *child, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.child, s.why = c, why
}

// stop is the ring.StationFunc.
func (s *Station) stop(ctx context.Context, stop *ring.Stop) error {
	return s.pass(ctx, stop.Passengers, stop.SetValue)
}

// pass has each passenger go through the filter, in order, as far as the time goes. Its error
// is for the ring to tell: what set fails with, or what was wrong with an answer.
func (s *Station) pass(ctx context.Context, aboard []ring.Passenger, set func(int, []byte) error) error {
	s.mu.Lock()
	c, why := s.child, s.why
	s.mu.Unlock()
	if c == nil {
		return unanswered(fmt.Errorf("%w: %s", errNoAnswer, why), len(aboard), len(aboard))
	}
	late := time.Now().Add(s.cfg.Hold)
	if at, ok := ctx.Deadline(); ok && at.Before(late) {
		late = at
	}
	ctx, cancel := context.WithDeadline(ctx, late.Add(-s.cfg.Hold/10))
	defer cancel()
	var failed error // what was wrong with an answer first, where others can follow it
	for i, p := range aboard {
		line, err := s.cfg.Format.question(p)
		if err != nil {
			s.unchanged(p, err)
			continue
		}
		answer, err := c.ask(ctx, line, s.cfg.Startup)
		if err != nil {
			return unanswered(err, len(aboard)-i, len(aboard))
		}
		value, folded, err := s.cfg.Format.answer(p, answer)
		switch {
		case errors.Is(err, errStray):
			c.fail(err.Error())
			return err
		case err != nil:
			failed = cmp.Or(failed, err)
		case folded:
			if err := set(i, value); err != nil {
				return fmt.Errorf("change a passenger of %q: %w", s.cfg.Topic, err)
			}
		}
	}
	return failed
}

// unanswered says for how many passengers there is no answer.
func unanswered(why error, n, of int) error {
	return fmt.Errorf("%w: %d of %d passengers go on unchanged", why, n, of)
}

// unchanged tells of a passenger that goes on as it was, since no line can ask about it.
func (s *Station) unchanged(p ring.Passenger, why error) {
	if more, now := s.quiet.due(time.Now()); now {
		s.cfg.Logger.Warn("passenger goes on unchanged", "topic", p.Topic, "from", p.From, "why", why,
			"before", more)
	}
}

// quiet lets one line through a minute: there are thousands of laps in a second.
type quiet struct {
	last time.Time
	held uint64
}

// due is whether to tell it now, and how many like it were not told since the last.
func (q *quiet) due(now time.Time) (held uint64, ok bool) {
	if !q.last.IsZero() && now.Sub(q.last) < time.Minute {
		q.held++
		return 0, false
	}
	held, q.held, q.last = q.held, 0, now
	return held, true
}
