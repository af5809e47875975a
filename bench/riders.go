package main

import (
	"fmt"
	"net"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
)

// riderFleet is instances of ours that have passengers ride, see bench/rider.
type riderFleet struct{ *castFleet }

// riders starts n of them at the default pace, in namespaces or on loopback, and waits
// until each sees all.
func (b *bench) riders(n int, spaces *fleet.Net) (*riderFleet, error) {
	bin, err := b.binary("rider")
	if err != nil {
		return nil, err
	}
	host := "127.0.0.1"
	var addrs []string
	if spaces == nil {
		addrs, err = fleet.Loopback(n)
	} else {
		host = spaces.Host()
		for i := range n {
			addrs = append(addrs, spaces.Addr(i)+":3000")
		}
	}
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f := &riderFleet{&castFleet{b: b, conns: make([]*control.Conn, n)}}
	if err := f.start(l, addrs, spaces, fleet.Spec{Name: "rider", Path: bin}); err != nil {
		return nil, err
	}
	return f, b.rest(3 * time.Second) // what starting cost is over
}

// pace has the particle go at full speed everywhere, or at the default pace.
func (f *riderFleet) pace(fast bool) error {
	if _, err := f.ask(control.Order{Do: control.Pace, Fast: fast}); err != nil {
		return err
	}
	return f.b.rest(3 * time.Second)
}

// ride has the first so many send, each with so many calls open at once.
func (f *riderFleet) ride(senders, callers int, span time.Duration) (*ordering, error) {
	if _, err := f.ask(control.Order{Do: control.Mark}, 0); err != nil {
		return nil, err
	}
	for i, c := range f.conns {
		o := control.Order{Do: control.Ride, Size: orderSize, Warm: orderWarm, For: span}
		if i < senders {
			o.Callers = callers
		}
		if err := c.Send(o); err != nil {
			return nil, err
		}
	}
	cpu, err := f.cpuOver(orderWarm, span)
	if err != nil {
		return nil, err
	}
	o := new(ordering)
	for i, c := range f.conns {
		var a control.Answer
		if err := c.Receive(&a); err != nil || a.Error != "" {
			return nil, fmt.Errorf("member %d: %s (%v)\n%s", i, a.Error, err, tail(f.members[i].Output()))
		}
		o.got = append(o.got, a.Rate.Delivered)
		if i < senders {
			o.p50, o.p99 = append(o.p50, a.Rate.P50), append(o.p99, a.Rate.P99)
		}
	}
	if _, err := f.ask(control.Order{Do: control.Mark}, 0); err != nil {
		return nil, err
	}
	sums, err := f.ask(control.Order{Do: control.Ridden, For: orderPatience})
	if err != nil {
		return nil, err
	}
	for i, a := range sums {
		if a.Sum.Missed > 0 || a.Sum.Moved > 0 {
			return nil, fmt.Errorf("member %d missed %d passengers, and moved %d times to another order",
				i, a.Sum.Missed, a.Sum.Moved)
		}
		o.all, o.hash = append(o.all, a.Sum.All), append(o.hash, a.Sum.Hash)
	}
	return o, o.close(cpu, span)
}

// cpuOver is the processor time of all members in a span that begins after warm.
func (f *riderFleet) cpuOver(warm, span time.Duration) (time.Duration, error) {
	var spent [2]time.Duration
	for i, d := range []time.Duration{warm, span} {
		if err := f.b.rest(d); err != nil {
			return 0, err
		}
		var err error
		if spent[i], err = cpuOf(f.members); err != nil {
			return 0, err
		}
	}
	return spent[1] - spent[0], nil
}

// watch returns the passes of the particle in that time at these members, of all if none
// are named.
func (f *riderFleet) watch(span time.Duration, whom ...int) ([][]control.Pass, error) {
	answers, err := f.ask(control.Order{Do: control.Watch, For: span}, whom...)
	var passes [][]control.Pass
	for _, a := range answers {
		passes = append(passes, a.Passes)
	}
	return passes, err
}
