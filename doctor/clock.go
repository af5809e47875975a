package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

// ClockTopic is the question whose answers are the wall clocks, as RFC 3339 in UTC.
const ClockTopic = "ring/clock"

const (
	clockWarn   = 250 * time.Millisecond
	clockFail   = time.Second
	clockRounds = 3
	// clockWait bounds a round. Where somebody does not answer it takes all of it, and there
	// is no other.
	clockWait = 2 * time.Second
)

// offset is by how much a clock differs from that of who asks: it lies between low and high.
type offset struct {
	name      ring.Name
	low, high time.Duration
}

func (o offset) middle() time.Duration { return o.low + (o.high-o.low)/2 }

// askClocks asks all for the time, more than once: each answer was given between the question
// and the end of the round, so each round narrows down what the offset can be.
func askClocks(ctx context.Context, r Ring) (offsets []offset, err error) {
	at := map[ring.Name]int{}
	for range clockRounds {
		round, cancel := context.WithTimeout(ctx, clockWait)
		from := time.Now()
		g, err := r.Gather(round, ClockTopic, nil, nil)
		to := time.Now()
		cancel()
		if err != nil {
			return offsets, err
		}
		for _, reply := range g.Replies {
			there, err := time.Parse(time.RFC3339Nano, string(reply.Value))
			if err != nil {
				continue // it says something else under this name
			}
			// By the wall: a monotonic reading is not comparable with that of another host.
			o := offset{reply.From, there.Sub(to.Round(0)), there.Sub(from.Round(0))}
			i, known := at[o.name]
			if !known {
				at[o.name] = len(offsets)
				offsets = append(offsets, o)
				continue
			}
			offsets[i] = offsets[i].with(o)
		}
		if len(g.Missing)+len(g.Failed) > 0 || ctx.Err() != nil {
			break
		}
	}
	return offsets, nil
}

// with is what both say; where they exclude each other, as with a clock that was set between
// them, the later.
func (o offset) with(later offset) offset {
	low, high := max(o.low, later.low), min(o.high, later.high)
	if low > high {
		return later
	}
	return offset{o.name, low, high}
}

// judgeClocks compares every clock with the one in the middle of all, so that it is not
// everybody else who is wrong where the one that asks is. A clock counts as wrong by as much
// as it is at least: what the answers took on their way may be on either side.
func judgeClocks(offsets []offset) (found []Problem, note string) {
	if len(offsets) < 2 {
		return nil, ""
	}
	byMiddle := slices.SortedFunc(slices.Values(offsets), func(a, b offset) int {
		if a.middle() != b.middle() {
			return int(min(max(a.middle()-b.middle(), -1), 1))
		}
		return strings.Compare(string(a.name), string(b.name))
	})
	of := byMiddle[(len(byMiddle)-1)/2]
	var widest, doubt time.Duration
	for _, o := range offsets {
		by := o.middle() - of.middle()
		// Both lie somewhere between their ends, and are far apart if all of that is.
		least := max(o.low-of.high, of.low-o.high, 0)
		widest, doubt = max(widest, by.Abs()), max(doubt, (o.high-o.low)/2)
		if least <= clockWarn {
			continue
		}
		v, kind := Warn, "off"
		if least > clockFail {
			v, kind = Fail, "far off"
		}
		f := finder{self: o.name}
		f.say(v, Clocks, kind, "let a daemon keep the clock (chrony, systemd-timesyncd) and look whether it can "+
			"reach its servers: certificates, schedules and logs go by it; the ring itself does not",
			"%v %s of the clock in the middle (%s), to within %v", short(by.Abs()), side(by), of.name,
			short((o.high-o.low)/2+(of.high-of.low)/2))
		found = append(found, f.found...)
	}
	return found, fmt.Sprintf("%d clocks within %v of the one in the middle, measured to within %v", len(offsets),
		short(widest), short(doubt))
}

// short is a time with as many digits as matter.
func short(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func side(by time.Duration) string {
	if by < 0 {
		return "behind"
	}
	return "ahead"
}
