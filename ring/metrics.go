package ring

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/link"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// bucketsUS are the upper bounds, in microseconds, that a scrape shows of the
// finer histograms kept inside: of a hop on loopback to a lap of a slow WAN.
var bucketsUS = []int64{
	50, 100, 250, 500, 1e3, 2_500, 5e3, 10e3, 25e3, 50e3, 100e3, 250e3, 500e3, 1e6, 2_500e3,
	5e6, 10e6,
}

// kindNames are the kinds of frames as metrics name them.
var kindNames = map[wire.Kind]string{
	wire.KindHello: "hello", wire.KindRefuse: "refuse", wire.KindBeat: "beat",
	wire.KindFlood: "flood", wire.KindCut: "cut", wire.KindSync: "sync",
	wire.KindParticle: "particle", wire.KindRelay: "relay", wire.KindBye: "bye",
	wire.KindStatus: "status", wire.KindRaft: "raft", wire.KindPropose: "propose",
	wire.KindAsk: "ask", wire.KindAnswer: "answer", wire.KindPull: "pull",
	wire.KindEntries: "entries", wire.KindChunk: "chunk",
	wire.KindCast: "cast", wire.KindHave: "have", wire.KindWant: "want",
	wire.KindDigest: "digest", wire.KindCredit: "credit",
	wire.KindPart: "part", wire.KindHurry: "hurry",
}

// collector makes the metrics of one Ring when it is scraped, never before.
type collector struct {
	ring *Ring
	node atomic.Pointer[node.Node] // nil until it runs

	laps, lapTime, rtt, instances, changes, badLinks, cutOff, joined *prometheus.Desc
	epoch, tick, frames, bytes, bad, missed, build                   *prometheus.Desc

	tlsExpiry, tlsHandshakes, tlsRefused, forged *prometheus.Desc

	anchored, skipped, revision, leads, term *prometheus.Desc
	proposals, commitTime, syncTime, leases  *prometheus.Desc

	castPublished, castDelivered, castMissed, castKept, castWaiting *prometheus.Desc

	riders, ridersMoved, ridersSlow                                                      *prometheus.Desc
	stationCalls, stationHeld, stationOver, stationFailed, stationUnfolded, stationLeaks *prometheus.Desc

	bulkTransfers, bulkBytes, bulkKept, bulkWrong, bulkWhole, bulkMissed *prometheus.Desc
}

func newCollector(r *Ring) *collector {
	if r.cfg.Registerer == nil {
		return nil
	}
	constant := prometheus.Labels{"ring": r.cfg.Ring, "node": string(r.cfg.Name)}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ring_"+name, help, labels, constant)
	}
	return &collector{
		ring:      r,
		laps:      desc("laps_total", "Passes of the particle at this stop."),
		lapTime:   desc("lap_seconds", "Lap times without the rests that stops declared."),
		rtt:       desc("link_rtt_seconds", "Round trips of heartbeats, by neighbour.", "peer"),
		instances: desc("instances", "Instances of the roster, by state.", "state"),
		changes:   desc("view_changes_total", "Changes of who is alive."),
		badLinks:  desc("bad_links", "Links that do not carry while both ends live."),
		cutOff:    desc("cut_off", "1 while this instance sees no quorum, or a quorum has cut it."),
		joined:    desc("joined", "1 while this instance is in the ring."),
		epoch:     desc("epoch", "Number of the particle's epoch."),
		tick:      desc("tick", "Newest tick counted at this stop."),
		frames:    desc("frames_total", "Frames on links.", "direction", "kind"),
		bytes:     desc("bytes_total", "Bytes of frames on links.", "direction"),
		bad:       desc("bad_frames_total", "Frames that no instance sends; each ends its link."),
		missed:    desc("missed_total", "Ticks and events that callbacks were too slow for."),
		build:     desc("build_info", "1, labelled with the build.", "version", "goversion"),

		tlsExpiry: desc("tls_certificate_expiry_seconds",
			"When the certificate of this instance ends, in seconds since 1970."),
		tlsHandshakes: desc("tls_handshakes_total",
			"Connections that others opened, by what came of them.", "result"),
		tlsRefused: desc("tls_refused_total", "Others that were not believed, by reason.", "reason"),
		forged:     desc("forged_total", "Claims of instances that their certificates deny."),

		anchored: desc("anchored", "1 while laps count: a quorum stamps the particle."),
		skipped:  desc("ticks_skipped_total", "Ticks that name no lap, or one that this stop missed."),
		revision: desc("bus_revision", "Newest entry of the bus applied here."),
		leads:    desc("bus_leader", "1 while this instance leads the voters."),
		term:     desc("bus_term", "Term of the voters, 0 where this instance does not vote."),
		proposals: desc("bus_proposals_total",
			"What this instance proposed to the bus, by what became of it.", "result"),
		commitTime: desc("bus_commit_seconds",
			"From a proposal at this instance to its being agreed on and applied here."),
		syncTime: desc("bus_fsync_seconds", "Writes of the bus's log, each with its sync."),
		leases:   desc("leases_held", "Leases that this instance holds, as it knows."),

		castPublished: desc("broadcast_published_total", "Messages that this instance broadcast."),
		castDelivered: desc("broadcast_delivered_total", "Broadcasts delivered at this instance."),
		castMissed: desc("broadcast_missed_total",
			"Broadcasts that nobody has any more, or that a subscriber was too slow for.", "why"),
		castKept:    desc("broadcast_kept_bytes", "Bytes of broadcasts kept for who comes late."),
		castWaiting: desc("broadcast_waiting", "Publishers that wait for room."),

		riders: desc("passengers_total",
			"Passengers of this instance that boarded, came home or were lost, and those delivered here.",
			"what"),
		ridersMoved:   desc("passenger_moves_total", "How often this stop came into another order of passengers."),
		ridersSlow:    desc("passengers_missed_total", "Passengers that a subscriber was too slow for."),
		stationCalls:  desc("station_holds_total", "How often stations held the particle here."),
		stationHeld:   desc("station_held_seconds_total", "For how long they did, together."),
		stationOver:   desc("station_overruns_total", "Calls of stations that took longer than their budget."),
		stationFailed: desc("station_failures_total", "Calls of stations that failed or panicked."),
		stationUnfolded: desc("station_unfolded_total",
			"Passengers that went on without a station's part, for want of time on their lap or of room."),
		stationLeaks: desc("station_leaks", "Calls of stations that go on though nobody waits for them."),

		bulkTransfers: desc("bulk_transfers", "Large payloads, by state.", "state"),
		bulkBytes:     desc("bulk_bytes_total", "Bytes of chunks of large payloads.", "direction"),
		bulkKept:      desc("bulk_kept_bytes", "Bytes on disk for large payloads, or reserved there."),
		bulkWrong:     desc("bulk_wrong_chunks_total", "Chunks that were not what their hash said."),
		bulkWhole:     desc("bulk_whole_total", "Large payloads that have come whole."),
		bulkMissed:    desc("bulk_missed_total", "Messages whose large payload will not come."),
	}
}

func (r *Ring) register() error {
	if r.metrics == nil {
		return nil
	}
	if err := r.cfg.Registerer.Register(r.metrics); err != nil {
		return fmt.Errorf("%w: register metrics: %w", ErrConfig, err)
	}
	return nil
}

func (r *Ring) unregister() {
	if r.metrics != nil {
		r.cfg.Registerer.Unregister(r.metrics)
	}
}

func (c *collector) ready(n *node.Node) { c.node.Store(n) }

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.laps, c.lapTime, c.rtt, c.instances, c.changes, c.badLinks, c.cutOff, c.joined,
		c.epoch, c.tick, c.frames, c.bytes, c.bad, c.missed, c.build,
		c.tlsExpiry, c.tlsHandshakes, c.tlsRefused, c.forged,
		c.anchored, c.skipped, c.revision, c.leads, c.term, c.proposals, c.commitTime, c.syncTime,
		c.leases,
		c.castPublished, c.castDelivered, c.castMissed, c.castKept, c.castWaiting,
		c.riders, c.ridersMoved, c.ridersSlow,
		c.stationCalls, c.stationHeld, c.stationOver, c.stationFailed, c.stationUnfolded, c.stationLeaks,
		c.bulkTransfers, c.bulkBytes, c.bulkKept, c.bulkWrong, c.bulkWhole, c.bulkMissed,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	n := c.node.Load()
	if n == nil {
		return
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, k := n.State(), n.Counts()
	counter(c.laps, k.Passes)
	out <- histogram(c.lapTime, k.Laps)
	for peer, t := range k.RTTs {
		if name := c.ring.name(peer); name != "" {
			out <- histogram(c.rtt, t, string(name))
		}
	}
	for state, count := range c.ring.census(s) {
		gauge(c.instances, float64(count), string(state))
	}
	counter(c.changes, s.View.Changes)
	gauge(c.badLinks, float64(len(s.View.BadLinks)))
	gauge(c.cutOff, truth(s.View.CutOff))
	gauge(c.joined, truth(s.View.Joined))
	gauge(c.epoch, float64(s.Epoch.Number))
	gauge(c.tick, float64(s.Bus.Tick))
	gauge(c.anchored, truth(s.Bus.Anchored))
	gauge(c.revision, float64(s.Bus.Applied))
	gauge(c.leads, truth(s.Bus.Leading))
	gauge(c.term, float64(s.Bus.Term))
	gauge(c.leases, float64(c.ring.held(s.Bus)))
	counter(c.skipped, k.Skipped)
	for end, name := range node.ProposalEnds {
		counter(c.proposals, k.Proposals[end], name)
	}
	out <- histogram(c.commitTime, k.Commits)
	out <- histogram(c.syncTime, k.Syncs)
	for i, direction := range []string{"in", "out"} {
		counter(c.bytes, k.Traffic.Bytes[i], direction)
		for kind, name := range kindNames {
			counter(c.frames, k.Traffic.Frames[i][kind], direction, name)
		}
	}
	counter(c.castPublished, k.Casts.Published)
	counter(c.castDelivered, k.Casts.Delivered)
	counter(c.castMissed, k.Casts.Gone, "gone")
	counter(c.castMissed, k.Casts.Slow, "slow")
	gauge(c.castKept, float64(k.Casts.Kept))
	gauge(c.castWaiting, float64(k.Casts.Waiting))
	for what, v := range map[string]uint64{
		"boarded": k.Rides.Boarded, "delivered": k.Rides.Delivered, "home": k.Rides.Home, "lost": k.Rides.Lost,
	} {
		counter(c.riders, v, what)
	}
	counter(c.ridersMoved, k.Rides.Moved)
	counter(c.ridersSlow, k.Rides.Slow)
	counter(c.stationCalls, k.Rides.Works)
	out <- prometheus.MustNewConstMetric(c.stationHeld, prometheus.CounterValue, k.Rides.Held.Seconds())
	counter(c.stationOver, k.Rides.Overruns)
	counter(c.stationFailed, k.Rides.Failures)
	counter(c.stationUnfolded, k.Rides.Unfolded)
	gauge(c.stationLeaks, float64(k.Rides.Leaks))
	states := map[string]int{TransferWaiting: 0, TransferRunning: 0, TransferWhole: 0}
	for _, t := range c.ring.Transfers() {
		states[t.State]++
	}
	for state, count := range states {
		gauge(c.bulkTransfers, float64(count), state)
	}
	large := c.ring.bulk.Counts()
	counter(c.bulkBytes, large.In, "in")
	counter(c.bulkBytes, large.Out, "out")
	gauge(c.bulkKept, float64(c.ring.bulk.Kept()))
	counter(c.bulkWrong, large.Wrong)
	counter(c.bulkWhole, large.Whole)
	counter(c.bulkMissed, large.Missed)
	counter(c.bad, k.Bad)
	counter(c.forged, k.Forged)
	if store := c.ring.cfg.TLS; store != nil {
		gauge(c.tlsExpiry, float64(store.Leaf().NotAfter.Unix()))
		for e, name := range link.EntryNames {
			if name != "" {
				counter(c.tlsHandshakes, k.Entries[e], name)
			}
		}
		for reason, v := range k.Refused {
			counter(c.tlsRefused, v, reason)
		}
	}
	counter(c.missed, k.Missed)
	gauge(c.build, 1, strings.ToValidUTF8(c.ring.cfg.Version, "?"), runtime.Version())
}

// census counts instances by state; every state is there.
func (r *Ring) census(s node.State) map[State]int {
	count := map[State]int{Alive: 0, Suspect: 0, Dead: 0, Left: 0, Unreachable: 0}
	for _, in := range s.View.Instances {
		count[stateOf(in, s.View.Quorum)]++
	}
	return count
}

// held counts the leases of this instance.
func (r *Ring) held(b *core.BusView) int {
	n := 0
	for _, l := range b.Leases {
		if int(l.Holder) == r.self {
			n++
		}
	}
	return n
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histogram shows t in our buckets.
func histogram(d *prometheus.Desc, t node.Timings, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bucketsUS))
	var below uint64
	bars := t.Hist.Distribution()
	for _, le := range bucketsUS {
		for len(bars) > 0 && bars[0].To <= le {
			below += uint64(bars[0].Count)
			bars = bars[1:]
		}
		buckets[(time.Duration(le) * time.Microsecond).Seconds()] = below
	}
	return prometheus.MustNewConstHistogram(d, uint64(t.Hist.TotalCount()), t.Sum.Seconds(),
		buckets, labels...)
}
