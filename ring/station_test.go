package ring

import (
	"context"
	"errors"
	"io"
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
		"":                       {Holds(time.Second)},
		"u":                      {Holds(-time.Second)},
		strings.Repeat("x", 256): nil,
	} {
		if _, err := f.rings[0].Station(topic, nothing, options...); !errors.Is(err, ErrRefused) {
			t.Errorf("a station at %.9q: %v", topic, err)
		}
	}
}
