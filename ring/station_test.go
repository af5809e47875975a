package ring

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func (f *fleet) station(i int, topic string, fn StationFunc, options ...StationOption) (remove func()) {
	f.t.Helper()
	remove, err := f.rings[i].Station(topic, fn, options...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(remove)
	return remove
}

func TestP5TransformsPipeThePassenger(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	for i, letter := range []string{"a", "b", "c"} {
		f.station(i, "word", Transform(func(in io.Reader, out io.Writer) error {
			if _, err := io.Copy(out, in); err != nil {
				return err
			}
			_, err := io.WriteString(out, letter)
			return err
		}), Holds(time.Second))
	}
	if l := f.lap(1, "word", []byte("<")); string(l.Value) != "<cab" || l.Folded != 3 {
		t.Errorf("it came home as %q of %d, want <cab of 3", l.Value, l.Folded)
	}
}

// A station that panics, fails or is too slow costs its own part and nothing else; one that
// is too slow again and again is not asked any more.
func TestP5StationsAreContained(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	hang := make(chan struct{})
	var called atomic.Int64
	folds := func(_ context.Context, p Passenger) ([]byte, error) { return append(p.Value, 'x'), nil }
	f.station(0, "t", Fold(folds), Holds(time.Second))
	f.station(1, "t", func(context.Context, *Stop) error {
		if called.Add(1) == 1 {
			panic("at the disco")
		}
		<-hang
		return nil
	}, Holds(20*time.Millisecond))
	f.station(2, "t", Fold(folds), Holds(time.Second))
	if l := f.lap(0, "t", nil); string(l.Value) != "xx" || len(l.Seen) != 3 {
		t.Errorf("past a panic: %+v", l)
	}
	if e := awaitEvent(t, f.rings[1], "station_failed", ""); !strings.Contains(e.Text, "disco") {
		t.Errorf("the event says %q", e.Text)
	}
	for overruns := range 3 {
		if l := f.lap(0, "t", nil); string(l.Value) != "xx" {
			t.Errorf("past an overrun: %q", l.Value)
		}
		// While it hangs it is not called again.
		if l := f.lap(0, "t", nil); string(l.Value) != "xx" || called.Load() != int64(overruns+2) {
			t.Errorf("past one that hangs: %q, called %d times", l.Value, called.Load())
		}
		hang <- struct{}{}
		until(t, "it is free again", func() bool { return f.rings[1].node.Counts().Rides.Leaks == 0 })
	}
	awaitEvent(t, f.rings[1], "station_overran", "")
	awaitEvent(t, f.rings[1], "station_disabled", "")
	f.lap(0, "t", nil)
	if called.Load() != 4 {
		t.Errorf("called %d times, though it is disabled", called.Load())
	}
	// There is room for another.
	f.station(1, "t", Fold(folds), Holds(time.Second))
	if l := f.lap(0, "t", nil); string(l.Value) != "xxx" {
		t.Errorf("with another station: %q", l.Value)
	}
}

// A slow station that did not ask for it holds nobody up.
func TestP5SlowStationDoesNotHoldTheTrain(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	free := make(chan struct{})
	entered := make(chan struct{}, 1)
	f.station(1, "t", func(_ context.Context, s *Stop) error {
		if err := s.SetValue(0, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("a bystander changes a value: %v", err)
		}
		entered <- struct{}{}
		<-free
		return s.Board("t2", []byte("added"))
	})
	h := f.hear(2, "t2")
	f.lap(0, "t", nil)
	<-entered
	f.lap(0, "u", nil) // others ride while it is at it
	close(free)
	until(t, "what it added is heard", func() bool {
		l := h.list()
		return len(l) == 1 && string(l[0].Payload) == "added"
	})
}

func (f *fleet) leaks(i int) int { return f.rings[i].node.Counts().Rides.Leaks }

// A station has its own budget, whatever another at the same stop has.
func TestP5TwoStationsHaveTwoBudgets(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	free := make(chan struct{})
	hangs := func(context.Context, *Stop) error {
		<-free
		return nil
	}
	f.station(0, "a", hangs, Holds(time.Millisecond))
	long := make(chan struct{})
	f.station(0, "b", func(ctx context.Context, _ *Stop) error {
		select {
		case <-long:
		case <-ctx.Done():
		}
		return nil
	}, Holds(time.Minute), EveryPass())
	done := make(chan Lapped)
	go func() { done <- f.lap(0, "a", nil) }()
	until(t, "the one with less is given up while the other has time", func() bool { return f.leaks(0) == 1 })
	close(long)
	<-done
	close(free)
	until(t, "it is back", func() bool { return f.leaks(0) == 0 })
}

// One that never comes back is not called again, and gives its topic away. What ends its
// goroutine is as good as a failure.
func TestP5HangingStationIsReplaced(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	free := make(chan struct{})
	var called atomic.Int64
	remove := f.station(1, "t", func(context.Context, *Stop) error {
		called.Add(1)
		<-free
		return nil
	}, Holds(20*time.Millisecond))
	for range 5 {
		f.lap(0, "t", nil)
	}
	if called.Load() != 1 {
		t.Errorf("one that hangs was called %d times", called.Load())
	}
	f.station(1, "t", func(context.Context, *Stop) error {
		if called.Add(1) == 2 {
			runtime.Goexit()
		}
		return nil
	}, Holds(time.Second))
	f.lap(0, "t", nil)
	awaitEvent(t, f.rings[1], "station_failed", "")
	f.lap(0, "t", nil)
	if called.Load() != 3 || f.leaks(1) != 1 {
		t.Errorf("called %d times, %d leak", called.Load(), f.leaks(1))
	}
	remove()
	close(free)
	until(t, "the first is back", func() bool { return f.leaks(1) == 0 })
}

// To remove a station while it is at it counts no leak twice, and none less than there are.
func TestP5RemovedWhileItWorks(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	free, in := make(chan struct{}), make(chan struct{})
	remove := f.station(0, "t", func(context.Context, *Stop) error {
		close(in)
		<-free
		return nil
	}, Holds(20*time.Millisecond))
	done := make(chan Lapped)
	go func() { done <- f.lap(0, "t", nil) }()
	<-in
	remove()
	<-done
	until(t, "it leaks", func() bool { return f.leaks(0) == 1 })
	close(free)
	until(t, "it is back", func() bool { return f.leaks(0) == 0 })
}

// What a station writes to what it was shown is nobody else's.
func TestP5StationsHaveCopies(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	f.station(0, "t", func(_ context.Context, s *Stop) error {
		s.Passengers[0].Payload[0] = 'Z'
		return s.SetValue(0, []byte("v"))
	}, Holds(time.Second))
	h := f.hear(0, "t")
	f.lap(0, "t", []byte("abc"))
	until(t, "it is heard", func() bool { return len(h.list()) == 1 })
	if p := h.list()[0]; string(p.Payload) != "abc" {
		t.Errorf("it came by as %q", p.Payload)
	}
}

func TestP5EveryPassAndBoarding(t *testing.T) {
	f := newFleet(t, 3, fast)
	f.joined()
	f.seeAllAlive()
	var boarded atomic.Bool
	f.station(0, "t", func(_ context.Context, s *Stop) error {
		if s.Tick.Lap > 0 && len(s.Passengers) == 0 && !boarded.Swap(true) {
			return s.Board("t", []byte("by itself"))
		}
		return nil
	}, Holds(time.Second), EveryPass())
	h := f.hear(2, "t")
	until(t, "it is heard", func() bool { return len(h.list()) == 1 })
}

func TestStationRefuses(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	nothing := func(context.Context, *Stop) error { return nil }
	f.station(0, "t", nothing, Holds(time.Second))
	f.station(0, "t", nothing)
	for topic, options := range map[string][]StationOption{
		"t":                      {Holds(time.Second)},
		"v":                      {EveryPass()},
		"":                       {Holds(time.Second)},
		"u":                      {Holds(-time.Second)},
		strings.Repeat("x", 256): nil,
	} {
		if _, err := f.rings[0].Station(topic, nothing, options...); !errors.Is(err, ErrRefused) {
			t.Errorf("a station at %.9q: %v", topic, err)
		}
	}
	if err := f.rings[0].Close(); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]StationOption{nil, {Holds(time.Second)}} {
		if _, err := f.rings[0].Station("w", nothing, options...); !errors.Is(err, ErrClosed) {
			t.Errorf("a station of a ring that is closed: %v", err)
		}
	}
}
