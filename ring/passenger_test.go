package ring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// hear collects the passengers that pass instance i.
func (f *fleet) hear(i int, topic string) *heard {
	h := &heard{}
	f.t.Cleanup(f.rings[i].OnPassenger(topic, func(p Passenger) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all = append(h.all, p)
	}))
	return h
}

type heard struct {
	mu  sync.Mutex
	all []Passenger
}

func (h *heard) list() []Passenger {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

func (f *fleet) lap(i int, topic string, payload []byte) Lapped {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	l, err := f.rings[i].Lap(ctx, topic, payload)
	if err != nil {
		f.t.Fatalf("Lap at %d: %v\n%s", i, err, story(f.rings[i]))
	}
	return l
}

func TestP4LapComesHomeWithWhoSawIt(t *testing.T) {
	for _, n := range []int{1, 2, 3, 11} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFleet(t, n, nil)
			f.joined()
			f.seeAllAlive()
			f.ticks(2)
			var heards []*heard
			for i := range n {
				heards = append(heards, f.hear(i, "sum"))
				remove, err := f.rings[i].Station("sum", Fold(func(_ context.Context, p Passenger) ([]byte, error) {
					if string(p.Payload) != "of all" || p.From != f.roster.Names[n-1] {
						t.Errorf("%d is shown %+v", i, p)
					}
					var sum uint64
					if p.Folded > 0 {
						sum = binary.BigEndian.Uint64(p.Value)
					}
					return number(sum + 1<<i), nil
				}), Holds(time.Second))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(remove)
			}
			for range 3 { // from rest, each
				l := f.lap(n-1, "sum", []byte("of all"))
				if got := binary.BigEndian.Uint64(l.Value); got != 1<<n-1 || l.Folded != n {
					t.Errorf("the sum is %b of %d, want every bit of %d", got, l.Folded, n)
				}
				if !slices.Equal(l.Seen, f.roster.Names) || len(l.Unseen) > 0 {
					t.Errorf("seen by %v, not by %v", l.Seen, l.Unseen)
				}
			}
			for i, h := range heards {
				until(t, fmt.Sprint("three are heard at ", i), func() bool { return len(h.list()) == 3 })
			}
		})
	}
}

// All stops are given all passengers in one order, whoever sends them.
func TestP4OneOrderAtAllStops(t *testing.T) {
	const n, each = 5, 200
	f := newFleet(t, n, nil)
	f.joined()
	f.seeAllAlive()
	var heards []*heard
	for i := range n {
		heards = append(heards, f.hear(i, "x/"))
	}
	var wg sync.WaitGroup
	for i := range n {
		for k := range each {
			wg.Go(func() {
				l, err := f.rings[i].Lap(t.Context(), fmt.Sprint("x/", i), []byte(fmt.Sprint(k)))
				if err != nil || len(l.Seen) != n {
					t.Errorf("passenger %d of %d: %+v, %v", k, i, l, err)
				}
			})
		}
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, h := range heards {
		until(t, fmt.Sprint("all are heard at ", i), func() bool { return len(h.list()) == n*each })
	}
	first := heards[0].list()
	for i, h := range heards[1:] {
		for k, p := range h.list() {
			if a := first[k]; a.Number != p.Number || a.From != p.From || !bytes.Equal(a.Payload, p.Payload) {
				t.Fatalf("the %dth is %v %s %q at 0, and %v %s %q at %d", k, a.Number, a.From, a.Payload,
					p.Number, p.From, p.Payload, i+1)
			}
		}
	}
}

// What does not fit on the particle goes another way, its number does not.
func TestP4LargePayload(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	var heards []*heard
	for i := range 3 {
		heards = append(heards, f.hear(i, ""))
	}
	messages := make(chan Message, 10)
	t.Cleanup(f.rings[1].Subscribe("", func(m Message) { messages <- m }))
	large := bytes.Repeat([]byte("much "), PayloadMax/5)
	f.lap(0, "before", nil)
	if l := f.lap(0, "large", large); len(l.Seen) != 3 {
		t.Errorf("seen by %v", l.Seen)
	}
	f.lap(1, "behind", nil)
	for i, h := range heards {
		until(t, fmt.Sprint("all are heard at ", i), func() bool { return len(h.list()) == 3 })
		for k, topic := range []string{"before", "large", "behind"} {
			p := h.list()[k]
			if p.Topic != topic || p.Lacks || topic == "large" && !bytes.Equal(p.Payload, large) {
				t.Errorf("%d heard %q with %d bytes, lacking %v", i, p.Topic, len(p.Payload), p.Lacks)
			}
		}
	}
	select {
	case m := <-messages:
		t.Errorf("who subscribes to messages is shown %+v", m)
	default:
	}
	_, err := f.rings[0].Lap(t.Context(), "x", make([]byte, PayloadMax+1))
	if !errors.Is(err, ErrRefused) {
		t.Errorf("too much: %v", err)
	}
}

// Many large ones at once: whoever is named by a receipt has had both.
func TestP4ManyLargePayloads(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	var heards []*heard
	for i := range 3 {
		heards = append(heards, f.hear(i, "t"))
	}
	const each = 60 // more than are kept for their numbers
	var wg sync.WaitGroup
	for i := range 3 {
		for k := range each {
			wg.Go(func() {
				size := PayloadMax
				if k%3 == 0 {
					size = 10
				}
				l, err := f.rings[i].Lap(t.Context(), "t", bytes.Repeat([]byte{byte(k)}, size))
				if err != nil || len(l.Seen) != 3 {
					t.Errorf("%d of %d: seen by %v, %v", k, i, l.Seen, err)
				}
			})
		}
	}
	wg.Wait()
	for i, h := range heards {
		until(t, fmt.Sprint("all are heard at ", i), func() bool { return len(h.list()) >= 3*each || t.Failed() })
		for _, p := range h.list() {
			if p.Lacks {
				t.Errorf("%d lacks number %d", i, p.Number.N)
			}
		}
	}
}

// Who has given up before boards nobody.
func TestLapOfACancelledContext(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := f.hear(0, "")
	for range 50 {
		if _, err := f.rings[0].Lap(ctx, "t", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the context's", err)
		}
	}
	f.lap(0, "u", nil)
	until(t, "the last is heard", func() bool { return len(h.list()) > 0 })
	if p := h.list()[0]; p.Topic != "u" {
		t.Errorf("somebody boarded: %+v", p)
	}
}

// When an instance dies with the particle, what rides on it is known to the others all the
// same, and comes home.
func TestP4LapsSurviveADeath(t *testing.T) {
	f := newFleet(t, 5, fast)
	f.joined()
	f.seeAllAlive()
	f.counting()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for k := range 300 {
				l, err := f.rings[i].Lap(ctx, "x", []byte("y"))
				switch {
				case errors.Is(err, ErrLost): // told: as good as delivered to nobody
				case err != nil:
					t.Errorf("lap %d of %d: %v", k, i, err)
					return
				case len(l.Seen) < 4:
					t.Errorf("lap %d of %d was seen by %v only", k, i, l.Seen)
				}
			}
		})
	}
	time.AfterFunc(20*time.Millisecond, func() { _ = f.rings[3].Close() })
	wg.Wait()
	l := f.lap(4, "x", nil)
	if len(l.Seen) != 4 || len(l.Unseen) != 1 || l.Unseen[0].State != Dead {
		t.Errorf("after a death: %+v", l)
	}
}
