package ring_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"
	"time"

	"ringofservers.dev/ring"
)

// joinAll starts a ring of three in this process, on free ports of loopback,
// and returns when all are in it.
func joinAll(ctx context.Context) []*ring.Ring {
	roster := ring.Roster{Names: []ring.Name{"dc1/prod/0", "dc2/prod/0", "dc3/prod/0"}}
	var listeners []net.Listener
	for range roster.Names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		listeners = append(listeners, l)
		roster.Addresses = append(roster.Addresses, l.Addr().String())
	}
	var rings []*ring.Ring
	for i, l := range listeners {
		r, err := ring.Join(ctx, ring.Config{
			Ring: "example", Name: roster.Names[i], Roster: roster, Listener: l, MaxSpeed: true,
		})
		if err != nil {
			log.Fatal(err)
		}
		rings = append(rings, r)
	}
	for _, r := range rings {
		if err := r.Joined(ctx); err != nil {
			log.Fatal(err)
		}
	}
	return rings
}

// until waits for a view.
func until(r *ring.Ring, ok func(ring.View) bool) {
	seen := make(chan struct{}, 1)
	stop := r.OnView(func(v ring.View) {
		if ok(v) {
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	<-seen
}

// Three instances tick in step; one leaves, and the others close the ring.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	a, b := rings[0], rings[1]
	defer a.Close()
	defer rings[2].Close()

	until(a, func(v ring.View) bool { return v.Next == "dc2/prod/0" })
	fmt.Println(a.View().Self, "holds the hand of", a.View().Next)

	if err := b.Leave(ctx); err != nil {
		fmt.Println(err)
	}
	until(a, func(v ring.View) bool { return v.Instances[1].State == ring.Left })
	fmt.Println(a.View().Self, "holds the hand of", a.View().Next)
	// Output:
	// dc1/prod/0 holds the hand of dc2/prod/0
	// dc1/prod/0 holds the hand of dc3/prod/0
}

// Ticks grow, and are the same at all instances.
func ExampleRing_OnTick() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	ticks := make(chan ring.Tick, 1024)
	rings[2].OnTick(func(t ring.Tick) {
		select {
		case ticks <- t:
		default:
		}
	})
	first, second := <-ticks, <-ticks
	fmt.Println(first.Instance, second.Tick > first.Tick)
	for _, r := range rings {
		r.Close()
	}
	// Output:
	// dc3/prod/0 true
}

// A process that ends without a word is known dead, and by whom that was said.
func ExampleRing_OnEvent() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	until(rings[0], func(v ring.View) bool { return v.Instances[2].State == ring.Alive })
	died := make(chan ring.Event, 1)
	rings[0].OnEvent(0, func(e ring.Event) {
		if e.Kind == "died" {
			died <- e
		}
	})
	rings[2].Close()
	e := <-died
	fmt.Println(e.Kind, e.Subject, "with proof:", e.Proof)
	for _, r := range rings {
		r.Close()
	}
	// Output:
	// died dc3/prod/0 with proof: true
}

// Without encryption Join keeps to loopback, and says which address is not.
func ExampleJoin_insecure() {
	_, err := ring.Join(context.Background(), ring.Config{
		Ring: "fleet", Name: "a", Listen: "127.0.0.1:3000",
		Roster: ring.Roster{
			Names:     []ring.Name{"a", "b"},
			Addresses: []string{"127.0.0.1:3000", "10.0.0.7:3000"},
		},
	})
	fmt.Println(errors.Is(err, ring.ErrInsecure))
	fmt.Println(strings.Contains(err.Error(), "b at 10.0.0.7:3000"))
	// Output:
	// true
	// true
}
