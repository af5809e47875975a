package main

import (
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/bench/control"
)

// skewClocks are the times that instances of one machine can go by, for one tick.
var skewClocks = []struct {
	name string
	of   func(control.Pass) time.Time
}{
	{"Tick.At", func(p control.Pass) time.Time { return p.At }},
	{"the callback begins", func(p control.Pass) time.Time { return p.Seen }},
	{"Tick.At less Tick.Skew", func(p control.Pass) time.Time { return p.At.Add(-p.Skew) }},
}

// skewSteps are the upper ends of the histogram's columns.
var skewSteps = []time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// skew measures how far apart the instances of one machine count the same tick, at the
// default pace and at full speed.
func skew(b *bench) error {
	n := or(b.Nodes, 11)
	defer b.clear()
	f, err := b.riders(n, nil)
	if err != nil {
		return err
	}
	t := b.out.table(fmt.Sprintf("one tick at %d instances of one machine", n),
		"pace", "by", "ticks", "latest - earliest: p50", "p90", "p99", "max", "each from the first instance's: p50",
		"p90", "p99", "max")
	columns := []string{"pace", "by"}
	for _, step := range skewSteps {
		columns = append(columns, "<= "+step.String())
	}
	h := b.out.table("ticks whose latest - earliest is", append(columns, "more")...)
	for _, pace := range []struct {
		name string
		fast bool
		span time.Duration
	}{{"default", false, time.Minute}, {"full speed", true, 10 * time.Second}} {
		if !b.wants(pace.name) {
			continue
		}
		b.say("%s", pace.name)
		if err := f.pace(pace.fast); err != nil {
			return err
		}
		passes, err := f.watch(or(b.Span, pace.span))
		if err != nil {
			return err
		}
		for _, by := range skewClocks {
			apart, first := skews(passes, by.of)
			if len(apart) == 0 {
				return fmt.Errorf("no tick was counted by all\n%s", tail(f.logs()))
			}
			row := []any{pace.name, by.name, len(apart)}
			for _, values := range [][]time.Duration{apart, first} {
				for _, q := range []float64{0.5, 0.9, 0.99, 1} {
					row = append(row, short(quantile(values, q)))
				}
			}
			t.row(row...)
			h.row(append([]any{pace.name, by.name}, histogram(apart)...)...)
		}
	}
	b.out.note("a resting particle is at one stop after the other in the course of a second: that is the " +
		"skew of Tick.At at the default pace, and what Tick.Skew is there for")
	return nil
}

// skews are, in order, how far apart the instances counted each tick that all have
// counted, and how far each was from the first instance.
func skews(passes [][]control.Pass, of func(control.Pass) time.Time) (apart, first []time.Duration) {
	at := map[uint64][]time.Time{}
	for i, mine := range passes {
		for _, p := range mine {
			if p.Anchored && len(at[p.Tick]) == i {
				at[p.Tick] = append(at[p.Tick], of(p))
			}
		}
	}
	for _, times := range at {
		if len(times) < len(passes) {
			continue
		}
		earliest, latest := slices.MinFunc(times, time.Time.Compare), slices.MaxFunc(times, time.Time.Compare)
		apart = append(apart, latest.Sub(earliest))
		for _, t := range times[1:] {
			first = append(first, t.Sub(times[0]).Abs())
		}
	}
	return sorted(apart), sorted(first)
}

// histogram counts sorted values by skewSteps, and those above.
func histogram(values []time.Duration) (cells []any) {
	from := 0
	for _, step := range skewSteps {
		to, _ := slices.BinarySearch(values, step+1)
		cells = append(cells, to-from)
		from = to
	}
	return append(cells, len(values)-from)
}
