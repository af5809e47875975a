package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/graph"
)

const (
	castPace     = 20                     // messages a second, from random members, the same for all kinds
	castPaceBig  = 5                      // of the large ones
	castSmall    = 100                    // bytes
	castBig      = 16 << 10               // bytes
	castPatience = 10 * time.Second       // for the last to come
	castDelayed  = 500 * time.Microsecond // the delay at which there is a target
)

var castDelays = []time.Duration{castDelayed, 20 * time.Millisecond}

// casts is what one kind showed at one delay with one size.
type casts struct {
	messages, notAll int
	pairs, lost      int // messages times receivers
	twice            uint64
	copies           uint64
	toAll, toOne     []time.Duration // of what arrived everywhere, and anywhere
	cpu, busy        []float64
	frames           map[string]uint64
}

// broadcast sends messages to all of n processes by ours, along the bare base ring, by
// memberlist and by way of a hub, with the latency of a network on every hop. A round
// is each kind in turn, so that what else the machine does is felt by all.
func broadcast(b *bench) error {
	n, rounds, span := or(b.Nodes, 50), or(b.Trials, 5), or(b.Span, 10*time.Second)
	kinds := b.castKinds()
	for _, delay := range castDelays {
		hop, err := b.hop(delay)
		if err != nil {
			return err
		}
		small, big := map[string]*casts{}, map[string]*casts{}
		for round := range rounds {
			for i := range kinds {
				k := kinds[(i+round)%len(kinds)]
				b.say("%v, round %d: %s", delay, round+1, k.name)
				if err := b.castRound(n, span, delay, k, small, big); err != nil {
					return fmt.Errorf("%s: %w", k.name, err)
				}
			}
		}
		if err := b.judgeCasts(n, delay, hop, kinds, small, big); err != nil {
			return err
		}
	}
	b.out.note("ring: castnode, which joins by the public package; the rings and the hub have the " +
		"latency on one end of each connection, both ways; memberlist on packets and streams as they arrive")
	b.out.note("time to all: from before the call that sends to the last callback of the others; copies: " +
		"of a message, that came in over the network, for each member; lost %%: of messages times receivers")
	return nil
}

func (b *bench) castKinds() []castKind {
	kinds := []castKind{
		{name: "ring", kind: "ring"},
		{name: "base ring, both ways", kind: "chain"},
	}
	if b.Peers {
		kinds = append(kinds,
			castKind{name: "memberlist LAN", kind: "memberlist", gossip: true},
			castKind{
				name: "memberlist local", kind: "memberlist", gossip: true,
				args: []string{"-preset", "local"},
			})
		if err := b.need("nats-server"); err != nil {
			b.out.note("without nats-server: %v", err)
		} else {
			kinds = append(kinds, castKind{name: "nats-server", kind: "hub", hub: true})
		}
	}
	return slices.DeleteFunc(kinds, func(k castKind) bool { return !b.wants(k.name) })
}

// castRound is one fleet: small messages and then, where they can be sent, large ones.
func (b *bench) castRound(n int, span, delay time.Duration, k castKind,
	small, big map[string]*casts,
) error {
	f, err := b.castFleet(n, k, delay)
	if err != nil {
		return err
	}
	defer f.end()
	if err := b.rest(3 * time.Second); err != nil { // what starting cost is over
		return err
	}
	// What is done for the first time is not what is measured.
	if err := f.cast(new(casts), 1<<20, 2*castPace, castPace, castSmall); err != nil {
		return err
	}
	of := func(m map[string]*casts) *casts {
		if m[k.name] == nil {
			m[k.name] = &casts{frames: map[string]uint64{}}
		}
		return m[k.name]
	}
	count := int(span.Seconds() * castPace)
	if err := f.cast(of(small), 1, count, castPace, castSmall); err != nil || k.gossip {
		return err
	}
	return f.cast(of(big), 1<<24, max(1, count/10), castPaceBig, castBig)
}

// cast sends so many messages, numbered from first on, and adds what became of them.
func (f *castFleet) cast(c *casts, first uint32, count, pace, size int) error {
	before, err := f.counts()
	if err != nil {
		return err
	}
	idle, err := f.load()
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / time.Duration(pace))
	defer tick.Stop()
	for i := range count {
		select {
		case <-tick.C:
		case <-f.b.ctx.Done():
			return f.b.ctx.Err()
		}
		o := control.Order{Do: control.Publish, ID: first + uint32(i), Size: size}
		if err := f.conns[rand.IntN(len(f.conns))].Send(o); err != nil {
			return err
		}
	}
	done, err := f.load()
	if err != nil {
		return err
	}
	cpu, busy := done.since(idle)
	c.cpu, c.busy = append(c.cpu, cpu), append(c.busy, busy)
	after, err := f.receipts(first, count)
	if err != nil {
		return err
	}
	c.add(after, len(f.conns)-1)
	counts, err := f.counts()
	if err != nil {
		return err
	}
	for i, now := range counts {
		c.copies += now.Copies - before[i].Copies
		c.twice += now.Twice - before[i].Twice
		for kind, n := range now.Frames {
			if c.frames != nil {
				c.frames[kind] += n - before[i].Frames[kind]
			}
		}
	}
	return nil
}

// receipts are how long each message took to each member that has it; it waits for
// those that are on their way.
func (f *castFleet) receipts(first uint32, count int) ([][]time.Duration, error) {
	for begin := time.Now(); ; {
		if err := f.b.rest(time.Second); err != nil {
			return nil, err
		}
		answers, err := f.ask(control.Order{Do: control.Report})
		if err != nil {
			return nil, err
		}
		after := make([][]time.Duration, count)
		got := 0
		for _, a := range answers {
			for _, r := range a.Receipts {
				if r.ID >= first && r.ID < first+uint32(count) {
					after[r.ID-first] = append(after[r.ID-first], r.After)
					got++
				}
			}
		}
		if got == count*(len(f.conns)-1) || time.Since(begin) > castPatience {
			return after, nil
		}
	}
}

// add takes what became of messages with so many receivers.
func (c *casts) add(after [][]time.Duration, receivers int) {
	for _, times := range after {
		c.messages++
		c.pairs += receivers
		c.lost += receivers - len(times)
		c.toOne = append(c.toOne, times...)
		if len(times) < receivers {
			c.notAll++
			continue
		}
		c.toAll = append(c.toAll, slices.Max(times))
	}
}

func (b *bench) judgeCasts(n int, delay time.Duration, hop hopTimes, kinds []castKind,
	small, big map[string]*casts,
) error {
	far, err := farthest(n)
	if err != nil {
		return err
	}
	// How many hops the last member is away from the origin, on average.
	reach := map[string]float64{
		"ring": far, "base ring, both ways": float64(n / 2), "nats-server": 2,
	}
	for _, part := range []struct {
		size  int
		pace  int
		casts map[string]*casts
	}{{castSmall, castPace, small}, {castBig, castPaceBig, big}} {
		t := b.out.table(fmt.Sprintf("%d bytes to %d processes, %d a second; a hop of %v takes %s, p99 %s",
			part.size, n, part.pace, delay, short(hop.p50), short(hop.p99)),
			"system", "messages", "not to all", "lost %", "to all: p50", "p99", "max", "to one: p50", "copies",
			"hops to the last", "x hop", "CPU % it, all")
		for _, k := range kinds {
			c := part.casts[k.name]
			if c == nil {
				continue
			}
			hops, ideal := "-", "-"
			if r := reach[k.name]; r > 0 {
				hops, ideal = fmt.Sprintf("%.2f", r), short(time.Duration(r*float64(hop.p50)))
			}
			slices.Sort(c.toAll)
			slices.Sort(c.toOne)
			t.row(k.name, c.messages, c.notAll, fmt.Sprintf("%.3f", 100*float64(c.lost)/float64(c.pairs)),
				short(quantile(c.toAll, 0.5)), short(quantile(c.toAll, 0.99)), short(quantile(c.toAll, 1)),
				short(quantile(c.toOne, 0.5)), float64(c.copies)/float64(c.messages*n), hops, ideal,
				fmt.Sprintf("%.0f, %.0f", 100*median(c.cpu), 100*median(c.busy)))
		}
	}
	b.castTargets(n, delay, small, big)
	return nil
}

func (b *bench) castTargets(n int, delay time.Duration, small, big map[string]*casts) {
	for _, part := range []struct {
		size  int
		casts *casts
	}{{castSmall, small["ring"]}, {castBig, big["ring"]}} {
		c := part.casts
		if c == nil {
			continue
		}
		what := fmt.Sprintf("%v a hop, %d bytes: ", delay, part.size)
		b.out.target(c.lost == 0 && c.twice == 0, what+"complete, and each once", "0 lost, 0 twice",
			fmt.Sprintf("%d, %d of %d", c.lost, c.twice, c.pairs))
		b.out.note("%sother frames of ring for each message and member: have %.2f, want %.4f, digest %.2f",
			what, c.per("have", n), c.per("want", n), c.per("digest", n))
	}
	ours, lan := small["ring"], small["memberlist LAN"]
	if ours == nil || lan == nil {
		return
	}
	ratio := float64(median(lan.toAll)) / float64(median(ours.toAll))
	what := fmt.Sprintf("%v a hop: median to all against memberlist's", delay)
	if delay == castDelayed {
		b.out.target(ratio >= 25, what, ">= 25.0 x", fmt.Sprintf("%.1f x", ratio))
	} else {
		b.out.note("%s: %.1f x", what, ratio)
	}
	for _, name := range []string{"memberlist local", "base ring, both ways", "nats-server"} {
		if o := small[name]; o != nil {
			b.out.note("%v a hop: median to all of %s is %.2f times ours", delay, name,
				float64(median(o.toAll))/float64(median(ours.toAll)))
		}
	}
}

// per is how many frames of a kind came in for each message and member.
func (c *casts) per(kind string, n int) float64 {
	return float64(c.frames[kind]) / float64(c.messages*n)
}

// quantile of sorted values, 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// farthest is how many hops the farthest instance is away, the mean over all origins.
func farthest(n int) (float64, error) {
	var roster ring.Roster
	for _, name := range fleet.Names(n) {
		roster.Names = append(roster.Names, ring.Name(name))
	}
	g, err := graph.Of("real", roster)
	if err != nil {
		return 0, err
	}
	next := make([][]int, n)
	for _, l := range g.Links() {
		next[l[0]], next[l[1]] = append(next[l[0]], l[1]), append(next[l[1]], l[0])
	}
	sum := 0
	for origin := range n {
		away := map[int]int{origin: 0}
		queue := []int{origin}
		for len(queue) > 0 {
			i := queue[0]
			queue = queue[1:]
			for _, j := range next[i] {
				if _, ok := away[j]; !ok {
					away[j] = away[i] + 1
					queue = append(queue, j)
				}
			}
			if len(queue) == 0 {
				sum += away[i]
			}
		}
	}
	return float64(sum) / float64(n), nil
}

// hopTimes is what a hop takes.
type hopTimes struct{ p50, p99 time.Duration }

// hop measures what a hop takes on a connection with nothing else on it, half of the
// way there and back between two processes.
func (b *bench) hop(delay time.Duration) (h hopTimes, err error) {
	defer b.clear()
	bin, err := b.binary("castnode")
	if err != nil {
		return h, err
	}
	addrs, err := fleet.Loopback(1)
	if err != nil {
		return h, err
	}
	if _, err := b.group.Start(fleet.Spec{
		Name: "echo", Path: bin,
		Args: []string{"-kind", "echo", "-addrs", addrs[0], "-delay", delay.String()},
	}); err != nil {
		return h, err
	}
	var c net.Conn
	err = fleet.Await(10*time.Second, "the echo listens", func() bool {
		c, err = net.Dial("tcp", addrs[0])
		return err == nil
	})
	if err != nil {
		return h, err
	}
	defer c.Close()
	var took []time.Duration
	buf := make([]byte, castSmall)
	for range 200 {
		if err := b.rest(5 * time.Millisecond); err != nil {
			return h, err
		}
		begin := time.Now()
		_, err := c.Write(buf)
		for n := 0; n < len(buf) && err == nil; {
			var k int
			k, err = c.Read(buf[n:])
			n += k
		}
		if err != nil {
			return h, errors.Join(errors.New("measure a hop"), err)
		}
		took = append(took, time.Since(begin)/2)
	}
	slices.Sort(took)
	return hopTimes{quantile(took, 0.5), quantile(took, 0.99)}, nil
}
