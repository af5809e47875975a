package main

import (
	"time"

	"ringofservers.dev/bench/control"
)

const (
	gathers    = 200 // questions to each fleet
	gatherHeat = 20  // before that
)

// gatherAll asks all of a fleet one question, merged on the way back, beside what a lap of
// the particle takes in the same fleet at the same time, less its rests.
func gatherAll(b *bench) error {
	sizes := []int{3, 11, 50}
	if b.Nodes > 0 {
		sizes = []int{b.Nodes}
	}
	t := b.out.table("one question to all, beside a lap", "instances", "delay of a hop", "measured",
		"gather: median", "worst", "lap: median", "gather/lap")
	for _, delay := range castDelays {
		hop, err := b.hop(delay)
		if err != nil {
			return err
		}
		for _, n := range sizes {
			took, laps, err := b.gatherRound(n, delay)
			if err != nil {
				return err
			}
			worst := took[0]
			for _, d := range took {
				worst = max(worst, d)
			}
			t.row(n, delay, short(hop.p50), short(median(took)), short(worst), short(median(laps)),
				float64(median(took))/float64(median(laps)))
		}
	}
	b.out.note("the particle rests at its stops: a lap is its time less the rests, as the stops report them")
	return nil
}

func (b *bench) gatherRound(n int, delay time.Duration) (took, laps []time.Duration, err error) {
	f, err := b.castFleet(n, castKind{name: "ring", kind: "ring"}, delay)
	if err != nil {
		return nil, nil, err
	}
	defer f.end()
	if err := b.rest(5 * time.Second); err != nil {
		return nil, nil, err
	}
	if _, err := f.ask(control.Order{Do: control.Gather, ID: gatherHeat}, 0); err != nil {
		return nil, nil, err
	}
	for i := range min(n, 5) { // some origins are nearer to all than others
		answers, err := f.ask(control.Order{Do: control.Gather, ID: uint32(gathers / min(n, 5))}, i*n/min(n, 5))
		if err != nil {
			return nil, nil, err
		}
		took = append(took, answers[0].Took...)
	}
	if err := b.rest(5 * time.Second); err != nil {
		return nil, nil, err
	}
	counts, err := f.counts(0)
	if err != nil {
		return nil, nil, err
	}
	return took, counts[0].Laps, nil
}
