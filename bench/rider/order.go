package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/ring"
)

// order is what was delivered here, and in what order: from one mark to the next.
type order struct {
	got atomic.Uint64 // in all

	mu   sync.Mutex // guards what follows
	open bool       // between two marks
	sum  control.Sum
	hash uint64
	done chan struct{} // one for each second mark
}

func newOrder() *order { return &order{done: make(chan struct{}, 1)} }

// Payloads begin with a word that says whether they are marks.
const aMark, noMark = 1, 2

// mark has one ride; it returns when all have been passed by it.
func (r *rider) mark() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := r.ring.Lap(ctx, topic, binary.BigEndian.AppendUint64(nil, aMark))
	return err
}

// take is called with each passenger, in order.
func (o *order) take(p ring.Passenger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.Moved || p.Missed > 0 { // word of what does not come
		o.sum.Missed += p.Missed
		if p.Moved {
			o.sum.Moved++
		}
		return
	}
	if len(p.Payload) == 8 && binary.BigEndian.Uint64(p.Payload) == aMark {
		if o.open = !o.open; o.open {
			o.sum, o.hash = control.Sum{}, 0
		} else {
			o.done <- struct{}{}
		}
		return
	}
	o.got.Add(1)
	o.sum.All++
	o.hash = mix(mix(o.hash, p.Number.Epoch.Number), p.Number.N)
	for b := p.Payload; len(b) >= 8; b = b[8:] {
		o.hash = mix(o.hash, binary.LittleEndian.Uint64(b))
	}
}

// mix is as in bench/totem.
func mix(hash, word uint64) uint64 { return (bits.RotateLeft64(hash, 5) ^ word) * 0x100000001b3 }

// summed waits for the second mark.
func (o *order) summed(wait time.Duration) (*control.Sum, error) {
	select {
	case <-o.done:
	case <-time.After(wait):
		o.mu.Lock()
		defer o.mu.Unlock()
		return nil, fmt.Errorf("the second mark has not come after %v, and %d were missed", wait, o.sum.Missed)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sum
	s.Hash = fmt.Sprintf("%016x", o.hash)
	return &s, nil
}

// ride has passengers ride, so many at a time, and times those of the span behind warm.
func (r *rider) ride(o control.Order) (*control.Rate, error) {
	begin := control.Clock() + o.Warm
	end := begin + o.For
	ctx, cancel := context.WithTimeout(context.Background(), o.Warm+o.For+patience)
	defer cancel()
	took, errs := make([][]time.Duration, o.Callers), make([]error, o.Callers)
	var callers sync.WaitGroup
	for k := range o.Callers {
		callers.Go(func() { took[k], errs[k] = r.calls(ctx, o.Size, k, begin, end) })
	}
	delivered := r.order.rate(begin, end)
	callers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	a := &control.Rate{Delivered: delivered, Calls: len(all)}
	if len(all) > 0 {
		a.P50, a.P99 = all[len(all)/2], all[len(all)*99/100]
	}
	return a, nil
}

// calls is one caller: the next passenger boards when the last is home.
func (r *rider) calls(ctx context.Context, size, caller int, begin, end time.Duration) (
	took []time.Duration, err error,
) {
	for i := uint64(0); ; i++ {
		at := control.Clock()
		if at >= end {
			return took, nil
		}
		payload := make([]byte, size)
		binary.BigEndian.PutUint64(payload, noMark)
		binary.BigEndian.PutUint64(payload[8:], uint64(r.index)<<32|uint64(caller))
		binary.BigEndian.PutUint64(payload[16:], i)
		if _, err := r.ring.Lap(ctx, topic, payload); err != nil {
			return nil, err
		}
		if home := control.Clock(); at >= begin && home < end {
			took = append(took, home-at)
		}
	}
}

// rate is how many a second are delivered here between these times.
func (o *order) rate(begin, end time.Duration) float64 {
	time.Sleep(begin - control.Clock())
	from, got := control.Clock(), o.got.Load()
	time.Sleep(end - control.Clock())
	return float64(o.got.Load()-got) / (control.Clock() - from).Seconds()
}
