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

// counting waits until a quorum stands behind what r does.
func counting(r *ring.Ring) {
	counts := make(chan struct{}, 1)
	stop := r.OnTick(func(t ring.Tick) {
		if t.Anchored {
			select {
			case counts <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	<-counts
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

// A tick is the number of one lap, the same at all instances, and never used
// twice. Laps that no quorum stamps go by uncounted.
func ExampleRing_OnTick() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	ticks := make(chan ring.Tick, 1024)
	rings[2].OnTick(func(t ring.Tick) {
		if !t.Anchored {
			return
		}
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

// One at a time in the whole fleet: the second has to wait, and its fence is
// higher. What is done under a lease should carry the fence, so that the resource
// can refuse one who does not know yet that he is late.
func ExampleRing_Lease() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	for _, r := range rings {
		defer r.Close()
		counting(r)
	}
	first, err := rings[0].Lease(ctx, "nightly report")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("first:", first.Valid())

	released := make(chan error, 1)
	go func() { released <- first.Release(ctx) }()
	second, err := rings[1].Lease(ctx, "nightly report")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("released:", <-released, "first:", first.Valid(), "second:", second.Valid())
	fmt.Println("fence grows:", second.Fence() > first.Fence())
	// Output:
	// first: true
	// released: <nil> first: false second: true
	// fence grows: true
}

// What one instance has written, all see; and of two who decide on the same
// state, one is told to read again.
func ExampleRing_Bus() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	for _, r := range rings {
		defer r.Close()
		counting(r)
	}
	old, err := rings[0].Bus().Set(ctx, "mode", []byte("slow"))
	if err != nil {
		log.Fatal(err)
	}
	e, err := rings[2].Bus().Get(ctx, "mode")
	fmt.Println(string(e.Value), e.Revision == old, err)

	_, err = rings[1].Bus().Swap(ctx, "mode", []byte("fast"), old)
	fmt.Println("the first to swap:", err)
	_, err = rings[2].Bus().Swap(ctx, "mode", []byte("off"), old)
	var conflict *ring.ConflictError
	fmt.Println("the second is told:", errors.As(err, &conflict), conflict.Revision > old)
	// Output:
	// slow true <nil>
	// the first to swap: <nil>
	// the second is told: true true
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

// Who is alive is told at once, and again each time that something changes.
func ExampleRing_OnView() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	alive := make(chan int, 1024)
	stop := rings[0].OnView(func(v ring.View) {
		n := 0
		for _, i := range v.Instances {
			if i.State == ring.Alive {
				n++
			}
		}
		alive <- n
	})
	defer stop()
	for <-alive < 3 {
	}
	fmt.Println("all three are alive")
	if err := rings[1].Leave(ctx); err != nil {
		fmt.Println(err)
	}
	for <-alive > 2 { // it may be told something else before
	}
	fmt.Println("one has left")
	for _, r := range rings {
		r.Close()
	}
	// Output:
	// all three are alive
	// one has left
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
