// Command rider is one instance of a ring whose passengers are counted and timed. The
// experiments passengers, lap and skew tell it what to do, see package control.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
	"ringofservers.dev/ring"
)

const (
	topic    = "bench"          // of a ride
	patience = 20 * time.Second // for a call
)

// rider is the instance.
type rider struct {
	index int
	ring  *ring.Ring
	order *order
}

func main() {
	index := flag.Int("index", 0, "of this instance")
	addrs := flag.String("addrs", "", "addresses of all instances, comma-separated")
	driver := flag.String("control", "", "address of the program that says what to do")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*index, strings.Split(*addrs, ","), *driver); err != nil {
		log.Fatal("rider: ", err)
	}
}

func run(index int, addrs []string, driver string) error {
	nc, err := net.Dial("tcp", driver)
	if err != nil {
		return err
	}
	c := control.NewConn(nc)
	err = serve(c, index, addrs)
	if errors.Is(err, io.EOF) {
		return nil // the experiment is over
	}
	return errors.Join(err, c.Send(control.Answer{Index: index, Error: err.Error()}))
}

func join(index int, addrs []string) (*rider, error) {
	roster := ring.Roster{Addresses: addrs}
	for _, name := range fleet.Names(len(addrs)) {
		roster.Names = append(roster.Names, ring.Name(name))
	}
	in, err := ring.Join(context.Background(), ring.Config{
		Ring: "real", Name: roster.Names[index], Roster: roster, Insecure: true,
	})
	if err != nil {
		return nil, err
	}
	r := &rider{index: index, ring: in, order: newOrder()}
	in.OnPassenger(topic, r.order.take)
	_, err = in.Answer(topic, func(context.Context, ring.Question) ([]byte, error) {
		return binary.BigEndian.AppendUint64(nil, 1), nil
	}, sum)
	return r, err
}

func sum(a, b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
}

// serve does what it is told, one thing at a time.
func serve(c *control.Conn, index int, addrs []string) error {
	r, err := join(index, addrs)
	if err != nil {
		return err
	}
	for !r.ready() {
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.Send(control.Answer{Index: index, Ready: true}); err != nil {
		return err
	}
	for {
		var o control.Order
		if err := c.Receive(&o); err != nil {
			return err
		}
		a := control.Answer{Index: index}
		if err := r.do(o, &a); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
		if err := c.Send(a); err != nil {
			return err
		}
	}
}

func (r *rider) do(o control.Order, a *control.Answer) (err error) {
	switch o.Do {
	case control.Pace:
		r.ring.SetPace(0, o.Fast)
	case control.Station:
		_, err = r.ring.Station(o.Topic, ring.Fold(r.add), ring.Holds(time.Second))
	case control.Lap:
		a.Took, a.Folded, err = r.lap(o.Topic)
	case control.Gather:
		a.Took, err = r.gather(int(o.ID))
	case control.Mark:
		err = r.mark()
	case control.Ride:
		a.Rate, err = r.ride(o)
	case control.Ridden:
		a.Sum, err = r.order.summed(o.For)
	case control.Watch:
		a.Passes = r.watch(o.For)
	default:
		err = errors.New("nobody does that here")
	}
	return err
}

func (r *rider) ready() bool {
	v := r.ring.View()
	return v.Joined && !slices.ContainsFunc(v.Instances, func(in ring.Instance) bool {
		return in.State != ring.Alive
	})
}

// add is the station.
func (r *rider) add(_ context.Context, p ring.Passenger) ([]byte, error) {
	return append(slices.Clone(p.Value), byte(r.index)), nil
}

// lap has a passenger without a payload ride; it returns how long that took, and how many
// stops have folded it.
func (r *rider) lap(topic string) (took []time.Duration, folded int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	l, err := r.ring.Lap(ctx, topic, nil)
	took = []time.Duration{time.Since(begun)}
	if err != nil {
		return nil, 0, err
	}
	if len(l.Unseen) > 0 {
		return nil, 0, fmt.Errorf("%v have not seen it", l.Unseen)
	}
	if l.Folded != len(l.Value) { // a byte for each
		return nil, 0, fmt.Errorf("%d stops have folded it, and its value is %v", l.Folded, l.Value)
	}
	return took, l.Folded, nil
}

// gather counts all instances so many times.
func (r *rider) gather(times int) (took []time.Duration, err error) {
	all := uint64(len(r.ring.View().Instances))
	for range times {
		begun := time.Now()
		g, err := r.ring.Gather(context.Background(), topic, nil, sum)
		took = append(took, time.Since(begun))
		if err != nil {
			return nil, err
		}
		if n := binary.BigEndian.Uint64(g.Value); n != all {
			return nil, fmt.Errorf("the instances are %d, and were counted as %d", all, n)
		}
	}
	return took, nil
}

// watch returns the passes of the next while.
func (r *rider) watch(span time.Duration) []control.Pass {
	const most = 1 << 16
	passes := make(chan control.Pass, most)
	stop := r.ring.OnTick(func(t ring.Tick) {
		select {
		case passes <- control.Pass{
			Tick: t.Tick, Anchored: t.Anchored, At: t.At, Seen: time.Now(), Skew: t.Skew, Took: t.Took - t.Held,
		}:
		default: // more than that nobody has asked for
		}
	})
	time.Sleep(span)
	stop()
	var list []control.Pass
	for {
		select {
		case p := <-passes:
			list = append(list, p)
		default:
			return list
		}
	}
}
