package ring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/node"
)

// StationFunc is code at a stop: see [Ring.Station]. Its error is told as an event; the values
// that it has set count all the same, unless it panics.
type StationFunc func(ctx context.Context, s *Stop) error

// Stop is the particle at this instance, as a station sees it. It is for the goroutine of
// the call only, and only until that returns.
type Stop struct {
	Tick       Tick        // the pass
	Passengers []Passenger // of the station's topic, in order, each once on its lap

	ring   *Ring
	values map[int][]byte // nil where the particle is not held
}

// SetValue changes the value with which s.Passengers[i] goes on, and counts as folded. It
// fails with ErrRefused where the station does not hold the particle, for an i that is
// none, and for more than PassengerMax bytes. Value is not copied. Where all values together are too much for
// the particle, this one is dropped and does not count as folded.
func (s *Stop) SetValue(i int, value []byte) error {
	switch {
	case s.values == nil:
		return fmt.Errorf("%w: only a station that holds the particle can change who is aboard: "+
			"see ring.Holds", ErrRefused)
	case i < 0 || i >= len(s.Passengers):
		return fmt.Errorf("%w: there is no passenger %d of %d", ErrRefused, i, len(s.Passengers))
	case len(value) > PassengerMax:
		return fmt.Errorf("%w: the value has %d bytes, at most %d ride", ErrRefused, len(value),
			PassengerMax)
	}
	s.values[i] = value
	return nil
}

// Board has a passenger of this instance board behind those who wait: on this very pass, if
// the station holds the particle and there is room. Nobody waits for it to come home. It
// fails with ErrRefused for what Lap refuses, for more than PassengerMax bytes, and where
// too many wait.
func (s *Stop) Board(topic string, payload []byte) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	if len(payload) > PassengerMax {
		return fmt.Errorf("%w: the payload has %d bytes, at most %d ride", ErrRefused, len(payload),
			PassengerMax)
	}
	switch err := s.ring.node.Board(topic, bytes.Clone(payload)); {
	case errors.Is(err, node.ErrEnded):
		return ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// StationOption says how a station works.
type StationOption func(*stationOptions)

type stationOptions struct {
	budget time.Duration
	every  bool
}

// Holds lets the station hold the particle until it is done, for budget at most at each
// stop. All stations of a fleet together hold it for half of Timing.Loss on a lap, 200 ms by
// default, and no budget is more than that: who comes when most is spent has what is left,
// which the context of the call says, and who comes later is not called, and its stop counts
// as not folded.
func Holds(budget time.Duration) StationOption {
	return func(o *stationOptions) { o.budget = budget }
}

// EveryPass has the station, which must hold the particle, called each time that it passes,
// also where nobody of its topic is aboard. [Ring.OnTick] tells of each pass and holds nothing.
func EveryPass() StationOption { return func(o *stationOptions) { o.every = true } }

// Station injects code at this stop, for passengers of topic, until remove is called. f
// runs in a goroutine of the station's own, never twice at once.
//
// By default it is called when the particle has gone on, and holds nothing up: it sees its
// passengers as they came, those of this instance when they come home, and can add others,
// with [Stop.Board]. With [Holds] the particle waits for it, and it can change their values,
// each once on its lap; the origin's station is the last. A passenger that a new particle
// took over begins its lap, and its value, anew: f may see it a second time.
//
// An f that is not done within its budget is left alone with what it does, which is not used
// any more: the particle goes on, f is not called again before it has returned, and another
// station may take the topic. Until then it counts in the gauge ring_station_leaks. One that
// overruns its budget again and again (three times in a row, or every other time for some
// time) is not called any more. Overruns, failures and that are events, at most one of a kind a
// minute. A panic is contained.
//
// There is one station that holds the particle for a topic: another is refused with
// ErrRefused, as are a budget below zero, topics that Lap refuses, and EveryPass without Holds.
func (r *Ring) Station(topic string, f StationFunc, options ...StationOption) (remove func(), err error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	var o stationOptions
	for _, option := range options {
		option(&o)
	}
	switch {
	case o.budget < 0:
		return nil, fmt.Errorf("%w: a station cannot hold the particle for %v", ErrRefused, o.budget)
	case o.budget == 0 && o.every:
		return nil, fmt.Errorf("%w: EveryPass is for a station that holds the particle, with Holds; "+
			"OnTick tells of each pass", ErrRefused)
	case o.budget == 0:
		return r.bystander(topic, f)
	}
	remove, err = r.node.AddStation(node.Station{
		Topic: topic, Budget: min(o.budget, r.cfg.Timing.Loss/2), Every: o.every,
		Work: func(ctx context.Context, t core.Tick, riders []node.Rider) ([]core.Value, error) {
			s := &Stop{Tick: r.tick(node.Tick{At: time.Now(), Tick: t}), ring: r, values: map[int][]byte{}}
			for i := range riders {
				s.Passengers = append(s.Passengers, r.passenger(&riders[i]))
			}
			err := f(ctx, s)
			values := make([]core.Value, 0, len(s.values))
			for i := range riders {
				if v, ok := s.values[i]; ok {
					values = append(values, core.Value{Number: riders[i].Number, Value: v})
				}
			}
			return values, err
		},
	})
	switch {
	case errors.Is(err, node.ErrEnded):
		return nil, ErrClosed
	case err != nil:
		return nil, fmt.Errorf("%w: %w (%q)", ErrRefused, err, topic)
	}
	return remove, nil
}

// bystander is a station that sees the particle after it has gone on.
func (r *Ring) bystander(topic string, f StationFunc) (remove func(), err error) {
	select {
	case <-r.Done():
		return nil, ErrClosed
	default:
	}
	var toldAt time.Time
	ctx, cancel := context.WithCancel(context.Background())
	stop := r.node.OnRider(topic, func(_ uint64, p node.Rider) {
		if p.Topic != topic || ctx.Err() != nil {
			return
		}
		s := &Stop{Tick: r.tick(p.Tick), Passengers: []Passenger{r.passenger(&p)}, ring: r}
		if err := contained(func() error { return f(ctx, s) }); err != nil {
			r.node.StationFailed(topic, err, &toldAt)
		}
	})
	go func() { // it ends with the ring, too
		select {
		case <-r.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return func() { cancel(); stop() }, nil
}

// contained turns a panic of somebody else's code into an error.
func contained(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// Transform is a station that pipes each passenger through f: what f reads is the value so
// far, or the payload where no stop has changed it yet; what it writes, PassengerMax bytes at
// most, goes on. It takes [Holds].
func Transform(f func(in io.Reader, out io.Writer) error) StationFunc {
	return Fold(func(_ context.Context, p Passenger) ([]byte, error) {
		in := p.Payload
		if p.Folded > 0 {
			in = p.Value
		}
		out := bounded{}
		err := f(bytes.NewReader(in), &out)
		return out.b, err
	})
}

// bounded is a buffer that takes no more than can ride.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > PassengerMax {
		return 0, fmt.Errorf("%w: more than %d bytes cannot ride", ErrRefused, PassengerMax)
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// Fold is a station that makes the next value of each passenger by its last, p.Value, which
// is nil at the first. It takes [Holds]. Those that f fails for go on as they came, and the
// first error is told.
func Fold(f func(ctx context.Context, p Passenger) (value []byte, err error)) StationFunc {
	return func(ctx context.Context, s *Stop) error {
		var failed error
		for i, p := range s.Passengers {
			value, err := f(ctx, p)
			if err == nil {
				err = s.SetValue(i, value)
			}
			if err != nil && failed == nil {
				failed = err
			}
		}
		return failed
	}
}
