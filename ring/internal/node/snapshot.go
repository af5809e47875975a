package node

import (
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/wire"
)

// How much is kept for followers, and of the story.
const (
	ticksKept   = 1024
	reportsKept = 4096
	keysKept    = 64 // of bus.News: who is slower than that looks at all
)

// Tick is a pass of the particle and when it was.
type Tick struct {
	At time.Time
	core.Tick
}

// Report is what the core told, or the program that it is embedded in, and when.
type Report struct {
	At time.Time
	core.Report
	Said bool // by that program: Text is all of it
}

// View returns the current view; it is built at most once for each change, when
// somebody asks, and must not be written to.
func (n *Node) View() *core.View {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.viewNow()
}

// unseen is for questions to a core that broke an invariant: the answer is what the
// results were before.
func (n *Node) unseen() {
	if n.broken {
		_ = recover() // the first panic has been told
	}
}

func (n *Node) viewNow() (v *core.View) {
	if n.view == nil {
		v = &core.View{}
		defer n.unseen()
		n.view = n.core.View()
	}
	return n.view
}

// State is everything a status needs, of one moment.
type State struct {
	View   *core.View
	Bus    *core.BusView
	Links  []core.LinkView
	Last   Tick // zero before the first pass
	Epoch  wire.Epoch
	Lap    uint64
	Slow   int           // the slowest stop of the lap before, -1 while unknown
	Half   time.Duration // half the round trip from Slow to its next
	Passes uint64
	P50    time.Duration // of lap latencies in the last half minute to minute
	P99    time.Duration
	Late   time.Duration // by how much this process ran late of late
}

// State takes a picture.
func (n *Node) State() (s State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s = State{View: &core.View{}, Bus: &core.BusView{Leader: -1}, Slow: -1}
	defer n.unseen()
	s = State{
		View: n.viewNow(), Bus: n.core.BusView(), Links: n.core.Links(), Last: n.last, Passes: n.stats.passes,
		Late: n.core.Late(),
	}
	var ok bool
	if s.Epoch, s.Lap, s.Slow, s.Half, ok = n.core.Particle(); !ok || s.Half == 0 {
		s.Slow = -1
	}
	recent := n.stats.recent[0].hist
	if old := n.stats.recent[1].hist; old.TotalCount() > 0 {
		recent = hdrhistogram.Import(recent.Export())
		recent.Merge(old)
	}
	s.P50 = time.Duration(recent.ValueAtQuantile(50)) * time.Microsecond
	s.P99 = time.Duration(recent.ValueAtQuantile(99)) * time.Microsecond
	return s
}

// Timings is a copy of a histogram of microseconds.
type Timings struct {
	Hist *hdrhistogram.Histogram
	Sum  time.Duration
}

func (t *timings) copy() Timings {
	return Timings{Hist: hdrhistogram.Import(t.hist.Export()), Sum: t.sum}
}

// Counts is everything a scrape needs.
type Counts struct {
	Traffic Traffic
	Passes  uint64
	Laps    Timings
	RTTs    map[int]Timings              // by peer
	Missed  uint64                       // ticks and reports that followers were too slow for
	Bad     uint64                       // frames that no instance sends
	Forged  uint64                       // claims that a certificate denies
	Entries [len(link.EntryNames)]uint64 // what came of who connected, where there is TLS
	Refused map[string]uint64            // who was not believed, by reason

	Skipped   uint64                    // ticks that name no lap, or one missed here
	Proposals [len(ProposalEnds)]uint64 // by how they ended
	Commits   Timings                   // of proposals that were agreed on
	Syncs     Timings                   // of the journal

	Casts CastCounts
	Rides RideCounts
}

// CastCounts is what became of broadcasts here, without the questions.
type CastCounts struct {
	Published uint64 // of this instance
	Delivered uint64 // to who subscribes here
	Gone      uint64 // not delivered: nobody had them any more
	Slow      uint64 // that subscribers were too slow for; each counts
	Kept      int    // bytes, for who comes late
	Waiting   int    // publishers that wait for room, of questions too
}

// Counts takes a copy of all counters.
func (n *Node) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := Counts{
		Traffic: n.stats.traffic, Passes: n.stats.passes, Laps: n.stats.laps.copy(),
		RTTs:   make(map[int]Timings, len(n.stats.rtts)),
		Missed: n.ticks.missed.Load() + n.reports.missed.Load(),
		Bad:    n.stats.bad, Forged: n.stats.forged,
		Entries: n.stats.doors, Refused: maps.Clone(n.stats.refused),

		Skipped: n.stats.skipped, Proposals: n.stats.proposals,
		Commits: n.stats.commits.copy(), Syncs: n.stats.syncs.copy(),

		Casts: CastCounts{
			Published: n.stats.published, Delivered: n.stats.delivered, Gone: n.stats.gone,
			Slow: n.cast.slow.Load(), Kept: n.core.CastKept(), Waiting: int(n.cast.waiting.Load()),
		},
		Rides: n.ride.counts(),
	}
	for peer, t := range n.stats.rtts {
		c.RTTs[peer] = t.copy()
	}
	return c
}

// Reports returns what is kept of the reports numbered above seq, and the
// number of the first of them.
func (n *Node) Reports(seq uint64) (reports []Report, first uint64) {
	return n.reports.since(seq)
}

// OnTick calls each for every pass from now on, see feed.follow.
func (n *Node) OnTick(each func(Tick)) (stop func(), ended <-chan struct{}) {
	return n.ticks.follow(n.ticks.newest(), func(_ uint64, t Tick) { each(t) })
}

// Say adds a line of the program's own to the reports. Subject is an index, or -1.
func (n *Node) Say(kind core.ReportKind, subject int, text string) {
	n.reports.push(Report{
		At: time.Now(), Said: true,
		Report: core.Report{Kind: kind, Subject: subject, Leader: -1, Text: text},
	})
	n.reports.wake()
}

// OnReport calls each for what is kept after seq and for all to come.
func (n *Node) OnReport(seq uint64, each func(seq uint64, r Report)) (
	stop func(), ended <-chan struct{},
) {
	return n.reports.follow(seq, each)
}

// OnView calls each with the view of now and after changes; of several in quick
// succession it may see only the last.
func (n *Node) OnView(each func(*core.View)) (stop func(), ended <-chan struct{}) {
	return n.news.follow(0, func(uint64, struct{}) { each(n.View()) })
}

// OnKeys calls each with which keys of the bus may have changed, from now on.
func (n *Node) OnKeys(each func(bus.News)) (stop func(), ended <-chan struct{}) {
	last := n.keys.newest()
	return n.keys.follow(last, func(seq uint64, k bus.News) {
		if seq != last+1 { // some were missed
			k = bus.News{All: true}
		}
		last = seq
		each(k)
	})
}
