package main

import (
	"cmp"
	"slices"
	"time"
)

const (
	// orderFor is how long a line waits for older ones that are still on their way:
	// an instance writes when it is given a core. Nobody notices it on a screen.
	orderFor = 100 * time.Millisecond
	// orderMax is how many lines wait so; beyond it the oldest go before their time.
	orderMax = 4096
)

// The kinds of a screenLine. Of one moment of one instance the story comes first: it
// tells of the particle that is then seen to pass.
const (
	ofStory = iota
	ofLap
	ofTick
)

// screenLine is a line for the terminal.
type screenLine struct {
	at   int64     // when that was which it tells of, in unix nanoseconds
	came time.Time // when it was told
	kind int
	text string
}

// order is the lines that wait, those that tell of older things first. All processes
// of `ring up` share the clock of their machine, so this is the order in which things
// happened, through whichever pipe they were told. It is told the time.
type order []screenLine

func (o *order) add(l screenLine) {
	i, _ := slices.BinarySearchFunc(*o, l, func(held, l screenLine) int {
		// Behind all that are equal, as they came.
		return cmp.Or(cmp.Compare(held.at, l.at), cmp.Compare(held.kind, l.kind), -1)
	})
	*o = slices.Insert(*o, i, l)
}

// ripe is how many lines are to go out now: all that have waited long enough, and
// whatever stands before them. So none waits longer, also where a clock is set back.
func (o order) ripe(now time.Time) int {
	for i, l := range slices.Backward(o) {
		if now.Sub(l.came) >= orderFor {
			return i + 1
		}
	}
	return 0
}

// wait is how long until the first of them has waited long enough. There must be one.
func (o order) wait(now time.Time) time.Duration {
	first := slices.MinFunc(o, func(a, b screenLine) int { return a.came.Compare(b.came) })
	return orderFor - now.Sub(first.came)
}
