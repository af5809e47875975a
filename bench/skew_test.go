package main

import (
	"slices"
	"testing"
	"time"

	"ringofservers.dev/bench/control"
)

// Only ticks that all have counted say how far apart they are.
func TestSkewsOfTicksOfAll(t *testing.T) {
	const ms = time.Millisecond
	begin := time.Unix(0, 0)
	pass := func(tick uint64, at time.Duration) control.Pass {
		return control.Pass{Tick: tick, Anchored: true, At: begin.Add(at)}
	}
	passes := [][]control.Pass{
		{pass(1, 5*ms), pass(2, 10*ms), pass(3, 20*ms), {Tick: 3, At: begin}},
		{pass(2, 13*ms), pass(3, 21*ms), pass(4, 30*ms)},
		{pass(2, 11*ms), pass(3, 18*ms)},
	}
	apart, first := skews(passes, func(p control.Pass) time.Time { return p.At })
	if want := []time.Duration{3 * ms, 3 * ms}; !slices.Equal(apart, want) {
		t.Errorf("latest - earliest of each tick = %v, want %v", apart, want)
	}
	if want := []time.Duration{1 * ms, 1 * ms, 2 * ms, 3 * ms}; !slices.Equal(first, want) {
		t.Errorf("from the first instance's = %v, want %v", first, want)
	}
	if got := histogram(apart); got[5] != 2 { // up to 5 ms
		t.Errorf("histogram = %v, want 2 up to %v", got, skewSteps[5])
	}
}
