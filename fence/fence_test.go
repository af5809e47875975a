package fence_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"ringofservers.dev/fence"
)

// Who holds a fence writes as often as he likes, until one with a higher one came.
func Example() {
	gate := fence.New(nil)
	write := func(n uint64) {
		err := gate.Do(n, func() error { fmt.Println("written under", n); return nil })
		if errors.Is(err, fence.ErrOld) {
			fmt.Println("refused:", n)
		}
	}
	write(7)
	write(7)
	write(8)
	write(7)
	// Output:
	// written under 7
	// written under 7
	// written under 8
	// refused: 7
}

func TestGateKeepsTheFenceOfAWriteThatFailed(t *testing.T) {
	gate, broken := fence.New(nil), errors.New("broken")
	if err := gate.Do(3, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the write's error came out as %v", err)
	}
	for _, n := range []uint64{0, 2} {
		called := false
		err := gate.Do(n, func() error { called = true; return nil })
		if !errors.Is(err, fence.ErrOld) || called {
			t.Errorf("fence %d behind 3: %v, written: %v", n, err, called)
		}
	}
}

// mute is a store that can keep nothing.
type mute struct{ err error }

func (m mute) Hold(do func(uint64, func(uint64) error) error) error {
	return do(0, func(uint64) error { return m.err })
}

func TestGateWritesNothingThatItCannotRemember(t *testing.T) {
	full := errors.New("disk full")
	err := fence.New(mute{full}).Do(1, func() error { t.Error("written"); return nil })
	if !errors.Is(err, full) {
		t.Errorf("got %v, want the store's error", err)
	}
}

// Whatever the order in which goroutines come, what is written never goes back.
func TestP2GateNeverGoesBack(t *testing.T) {
	gate := fence.New(nil)
	var last uint64 // guarded by the gate: that is what is tested, with -race
	var all sync.WaitGroup
	for n := range uint64(100) {
		all.Go(func() {
			err := gate.Do(n+1, func() error {
				if n+1 < last {
					t.Errorf("%d written behind %d", n+1, last)
				}
				last = n + 1
				return nil
			})
			if err != nil && !errors.Is(err, fence.ErrOld) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if last != 100 {
		t.Errorf("the last is %d, want 100", last)
	}
}
