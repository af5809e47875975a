package node

import (
	"errors"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// Histograms count microseconds, exact to two digits: 1 µs to an hour in
// 20 KB. What is outside counts as the nearest.
const (
	shortestUS = 1
	longestUS  = int64(time.Hour / time.Microsecond)
	digits     = 2
)

// window is how far back Recent looks, at least; at most twice that.
const window = 30 * time.Second

// Directions of frames.
const (
	inward = iota
	outward
	directions
)

// kinds bounds the table of frames by kind; later ones are counted as 0.
const kinds = 64

// Traffic counts frames by kind and bytes, headers of frames included, of TCP
// not; [0] is in, [1] is out.
type Traffic struct {
	Frames [directions][kinds]uint64
	Bytes  [directions]uint64
}

// stats is guarded by the baton.
type stats struct {
	traffic Traffic
	passes  uint64
	laps    timings // of the whole life
	recent  [2]timings
	turned  time.Time // when recent last moved on
	rtts    map[int]*timings

	bad     uint64    // frames that no instance sends
	badTold uint64    // of these when they were last told of
	badAt   time.Time // when that was

	forged  uint64 // claims of who has another's certificate, or none
	doors   [len(link.EntryNames)]uint64
	refused map[string]uint64 // by reason, of a few

	published uint64 // messages of this instance
	delivered uint64 // messages given to who subscribes here
	gone      uint64 // messages that nobody had any more

	skipped   uint64 // ticks that name no lap, or one missed here
	proposals [len(ProposalEnds)]uint64
	commits   timings // of proposals that were agreed on
	syncs     timings // of the journal
}

// ProposalEnds are what can become of a proposal: agreed on and done, agreed on
// and to no effect (a condition was false, a lease held, the bus full), refused
// for want of a quorum, or not known.
var ProposalEnds = [...]string{"done", "denied", "no_quorum", "unknown"}

// timings is a histogram and what it cannot tell exactly.
type timings struct {
	hist *hdrhistogram.Histogram
	sum  time.Duration
}

func newTimings() timings {
	return timings{hist: hdrhistogram.New(shortestUS, longestUS, digits)}
}

func (t *timings) record(d time.Duration) {
	t.sum += d
	us := min(max(d.Microseconds(), shortestUS), longestUS)
	if err := t.hist.RecordValue(us); err != nil {
		panic("BUG: node: histogram refuses " + d.String())
	}
}

func newStats() stats {
	return stats{
		laps: newTimings(), recent: [2]timings{newTimings(), newTimings()},
		refused: map[string]uint64{}, rtts: map[int]*timings{}, commits: newTimings(), syncs: newTimings(),
	}
}

// proposal counts one that has ended.
func (s *stats) proposal(res bus.Result, err error, took time.Duration) {
	end := 0
	switch {
	case errors.Is(err, ErrNoQuorum), errors.Is(err, ErrBusy):
		end = 2
	case err != nil:
		end = 3
	case res.Code != bus.Done:
		end = 1
	}
	s.proposals[end]++
	if err == nil {
		s.commits.record(took)
	}
}

// badPause is between two reports of bad frames: whoever sends them may go on.
const badPause = time.Minute

// badFrame counts one. It returns how many there were since the last report, if it is
// time for the next.
func (s *stats) badFrame(now time.Time) (since uint64, tell bool) {
	s.bad++
	since = s.bad - s.badTold
	if tell = s.badAt.IsZero() || now.Sub(s.badAt) >= badPause; tell {
		s.badTold, s.badAt = s.bad, now
	}
	return since, tell
}

func (s *stats) count(direction int, kind wire.Kind, size int) {
	if kind >= kinds {
		kind = 0
	}
	s.traffic.Frames[direction][kind]++
	s.traffic.Bytes[direction] += uint64(size)
}

// lap takes one pass. The latency of a lap is what is left of its time without
// the rests that stops declared.
func (s *stats) lap(now time.Time, t core.Tick) {
	s.passes++
	if t.Took <= 0 {
		return
	}
	if now.Sub(s.turned) >= window {
		s.turned = now
		s.recent[0], s.recent[1] = s.recent[1], s.recent[0]
		s.recent[0].hist.Reset()
		s.recent[0].sum = 0
	}
	latency := max(t.Took-t.Held, 0)
	s.laps.record(latency)
	s.recent[0].record(latency)
}

func (s *stats) rtt(peer int, d time.Duration) {
	t := s.rtts[peer]
	if t == nil {
		t = new(newTimings())
		s.rtts[peer] = t
	}
	t.record(d)
}
