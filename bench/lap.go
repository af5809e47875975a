package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"ringofservers.dev/bench/control"
)

const (
	lapCalls  = 6 // of each instance, from rest
	lapFactor = 8 // so many times that at full speed
	lapFolded = "folded"
	lapPlain  = "plain"
	lapGather = "gather"
	lapWant   = 1.2 // of a lap at full speed
)

// lap times a passenger's way round beside a lap of the same particle at full speed, while
// it goes at that and when it rests, with stations that add to it and without.
func lap(b *bench) error {
	n, calls := or(b.Nodes, 11), or(b.Trials, lapCalls)
	defer b.clear()
	f, err := b.riders(n, nil)
	if err != nil {
		return err
	}
	if err := f.pace(true); err != nil {
		return err
	}
	passes, err := f.watch(or(b.Span, 5*time.Second), 0)
	if err != nil {
		return err
	}
	var laps []time.Duration
	for _, p := range passes[0] {
		laps = append(laps, p.Took)
	}
	if len(laps) == 0 {
		return fmt.Errorf("no lap was seen\n%s", tail(f.logs()))
	}
	laps = sorted(laps)
	if _, err := f.ask(control.Order{Do: control.Station, Topic: lapFolded}); err != nil {
		return err
	}
	t := b.out.table(fmt.Sprintf("once round %d instances, beside a lap at full speed of %s, p99 %s",
		n, short(quantile(laps, 0.5)), short(quantile(laps, 0.99))),
		"particle", "what", "calls", "p50", "p99", "of a lap's p50", "of a lap's p99")
	for _, from := range []struct {
		name  string
		fast  bool
		calls int
		pause time.Duration // and up to half of it more
	}{
		{"at full speed", true, calls * lapFactor, 20 * time.Millisecond},
		{"at rest", false, calls, 2 * time.Second},
	} {
		if !b.wants(from.name) {
			continue
		}
		b.say("%s", from.name)
		if err := f.pace(from.fast); err != nil {
			return err
		}
		found, err := f.calls(from.calls, from.pause)
		if err != nil {
			return fmt.Errorf("%s: %w", from.name, err)
		}
		for _, what := range []string{lapPlain, lapFolded, lapGather} {
			b.judgeLap(t, from.name, what, laps, found[what])
		}
	}
	b.out.note("from before Lap, or Gather, to its return: with the way of the particle to who calls, which " +
		"is half a lap on the average")
	b.out.note("calls at random moments, by each instance in turn; %s: every stop has a station that adds "+
		"a byte; %s: a sum, merged on the way back, half a pause before each of the others", lapFolded, lapGather)
	return nil
}

// calls has each instance in turn call once of each kind, so many times, with a pause before
// each.
func (f *riderFleet) calls(times int, pause time.Duration) (map[string][]time.Duration, error) {
	found := map[string][]time.Duration{}
	some := func() time.Duration { return pause/2 + rand.N(pause/4) }
	for range times {
		for i := range f.conns {
			for _, what := range []string{lapGather, lapPlain, lapGather, lapFolded} {
				if err := f.b.rest(some()); err != nil {
					return nil, err
				}
				took, err := f.call(i, what)
				if err != nil {
					return nil, err
				}
				found[what] = append(found[what], took)
			}
		}
	}
	return found, nil
}

// call has instance i call once.
func (f *riderFleet) call(i int, what string) (time.Duration, error) {
	o, folds := control.Order{Do: control.Lap, Topic: what}, 0
	switch what {
	case lapGather:
		o = control.Order{Do: control.Gather, ID: 1}
	case lapFolded:
		folds = len(f.conns)
	}
	answers, err := f.ask(o, i)
	if err != nil {
		return 0, err
	}
	if n := answers[0].Folded; n != folds {
		return 0, fmt.Errorf("%s: %d stops have folded a passenger, and %d are to", what, n, folds)
	}
	return answers[0].Took[0], nil
}

func (b *bench) judgeLap(t *table, from, what string, laps, calls []time.Duration) {
	calls = sorted(calls)
	of := func(q float64) float64 { return float64(quantile(calls, q)) / float64(quantile(laps, q)) }
	t.row(from, what, len(calls), short(quantile(calls, 0.5)), short(quantile(calls, 0.99)), of(0.5), of(0.99))
	if what != lapGather {
		b.out.target(of(0.5) <= lapWant, fmt.Sprintf("a call, %s, %s: median against a lap's at full speed",
			from, what), fmt.Sprintf("<= %.2f", lapWant), fmt.Sprintf("%.2f", of(0.5)))
	}
}
