package main

import (
	"fmt"
	"slices"
	"time"
)

const (
	orderWarm     = time.Second      // of sending, before it is measured
	orderPatience = 30 * time.Second // for what is on the way to come
	orderSize     = 64               // bytes
	orderAll      = 1 << 30          // on the way: as many as corosync takes
)

// orderKind is one way to have messages delivered everywhere in one order.
type orderKind struct {
	name   string
	totem  bool
	all    bool // all send, else the first instance alone
	window int  // messages on the way of each that sends; of ours, calls of Lap
}

var orderKinds = []orderKind{
	{"corosync, one sends", true, false, orderAll},
	{"corosync, one sends, 1024 on the way", true, false, 1024},
	{"corosync, all send", true, true, orderAll},
	{"corosync, all send, 1024 on the way each", true, true, 1024},
	{"corosync, all send, 256 on the way each", true, true, 256},
	{"ring, one sends, 256 on the way", false, false, 256},
	{"ring, all send, 64 on the way each", false, true, 64},
	{"ring, all send, 256 on the way each", false, true, 256},
	{"ring, all send, 1024 on the way each", false, true, 1024},
}

// ordering is what came of one measurement, by member.
type ordering struct {
	got      []float64 // a second, in the span
	all      []uint64
	hash     []string // of all, in their order
	p50, p99 []time.Duration

	rate float64       // of the member that got the fewest, a second
	cpu  time.Duration // of all processes, for a message
}

// close checks that all members have the same in the same order, and sums up.
func (o *ordering) close(cpu, span time.Duration) error {
	for i := range o.all {
		if o.all[i] != o.all[0] || o.hash[i] != o.hash[0] {
			return fmt.Errorf("member %d has %d messages with hash %s, and member 0 has %d with hash %s",
				i, o.all[i], o.hash[i], o.all[0], o.hash[0])
		}
	}
	least := slices.Min(o.got)
	if least == 0 {
		return fmt.Errorf("a member got nothing in %v", span)
	}
	o.rate, o.cpu = least, time.Duration(float64(cpu)/(least*span.Seconds()))
	return nil
}

// passengers compares ordered messages a second, delivered at every one of n processes,
// with those of corosync's totem in the same namespaces. A round is each of the two in
// turn, and only ratios of a round count.
func passengers(b *bench) error {
	rounds, span := or(b.Trials, 3), or(b.Span, 5*time.Second)
	sizes := []int{3, 11}
	if b.Nodes > 0 {
		sizes = []int{b.Nodes}
	}
	kinds := b.orderKinds()
	for _, n := range sizes {
		found := map[string][]*ordering{}
		for round := range rounds {
			for i := range 2 {
				totem := (i+round)%2 == 0
				these := slices.DeleteFunc(slices.Clone(kinds), func(k orderKind) bool { return k.totem != totem })
				if err := b.orderRound(n, span, totem, these, found); err != nil {
					return err
				}
			}
		}
		b.judgeOrder(n, span, kinds, found)
	}
	b.out.note("each process in a network namespace of its own; that all have the same in the same order is " +
		"checked each time; corosync with its defaults but for sched_rr: no, libcpg from one client at each")
	b.out.note("a message's time: of ours the whole call of Lap, which is once round; of corosync from " +
		"sending to delivery at the sender, which waits only until it may send")
	return nil
}

func (b *bench) orderKinds() []orderKind {
	kinds := slices.DeleteFunc(slices.Clone(orderKinds), func(k orderKind) bool { return !b.wants(k.name) })
	if _, err := b.cpgbench(); !b.Corosync || err != nil {
		if err != nil {
			b.out.note("without corosync: %v", err)
		}
		kinds = slices.DeleteFunc(kinds, func(k orderKind) bool { return k.totem })
	}
	return kinds
}

// orderRound measures these kinds with one fleet.
func (b *bench) orderRound(n int, span time.Duration, totem bool, kinds []orderKind,
	found map[string][]*ordering,
) error {
	if len(kinds) == 0 {
		return nil
	}
	defer b.clear()
	var measure func(orderKind, int) (*ordering, error)
	if totem {
		c, err := b.corosyncFleet(n)
		if err != nil {
			return err
		}
		measure = func(k orderKind, senders int) (*ordering, error) {
			return b.totem(c, senders, k.window, span)
		}
	} else {
		net, err := b.net(n)
		if err != nil {
			b.out.note("on loopback: %v", err)
			net = nil
		}
		f, err := b.riders(n, net)
		if err != nil {
			return err
		}
		measure = func(k orderKind, senders int) (*ordering, error) {
			return f.ride(senders, k.window, span)
		}
	}
	for _, k := range kinds {
		if err := b.rest(2 * time.Second); err != nil { // what was before is over
			return err
		}
		b.say("%d processes: %s", n, k.name)
		senders := 1
		if k.all {
			senders = n
		}
		o, err := measure(k, senders)
		if err != nil {
			return fmt.Errorf("%d processes: %s: %w", n, k.name, err)
		}
		b.say("%.0f a second", o.rate)
		found[k.name] = append(found[k.name], o)
	}
	return nil
}

func (b *bench) corosyncFleet(n int) (*corosyncSystem, error) {
	net, err := b.net(n)
	if err != nil {
		return nil, err
	}
	c, err := newCorosyncSystem(b, net, n, 0)
	if err != nil {
		return nil, err
	}
	b.say("starting %d corosyncs", n)
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(c.logs()))
	}
	return c, nil
}

// judgeOrder prints the kinds beside the best one of corosync's in each round.
func (b *bench) judgeOrder(n int, span time.Duration, kinds []orderKind, found map[string][]*ordering) {
	t := b.out.table(fmt.Sprintf("%d bytes, delivered in one order at each of %d processes, %v each",
		orderSize, n, span),
		"system", "a second, each round", "median", "of corosync's best", "p50", "p99", "processor for one")
	var totem, ours []float64 // the best of a round
	for _, k := range kinds {
		best := &ours
		if k.totem {
			best = &totem
		}
		for i, o := range found[k.name] {
			if i == len(*best) {
				*best = append(*best, 0)
			}
			(*best)[i] = max((*best)[i], o.rate)
		}
	}
	ratios := func(rates []float64) (list []float64) {
		for i := range min(len(rates), len(totem)) {
			list = append(list, rates[i]/totem[i])
		}
		return list
	}
	for _, k := range kinds {
		var rates []float64
		var p50, p99, cpu []time.Duration
		each := ""
		for _, o := range found[k.name] {
			rates = append(rates, o.rate)
			each += fmt.Sprintf("%.0f ", o.rate)
			p50, p99 = append(p50, median(o.p50)), append(p99, median(o.p99))
			cpu = append(cpu, o.cpu)
		}
		ratio := "-"
		if r := ratios(rates); len(r) > 0 {
			ratio = fmt.Sprintf("%.2f", median(r))
		}
		t.row(k.name, each, fmt.Sprintf("%.0f", median(rates)), ratio, short(median(p50)), short(median(p99)),
			fmt.Sprintf("%.1f us", float64(median(cpu))/1e3))
	}
	if r := ratios(ours); len(r) > 0 {
		b.out.target(median(r) > 1, fmt.Sprintf("%d processes: passengers against corosync's messages, the "+
			"best of each, median of ratios", n), "> 1.00", fmt.Sprintf("%.2f", median(r)))
	}
}
