package ring_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/fence"
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

// next waits for what comes out of c.
func next[T any](ctx context.Context, c <-chan T) T {
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		panic("waited in vain")
	}
}

// until waits for a view.
func until(ctx context.Context, r *ring.Ring, ok func(ring.View) bool) {
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
	next(ctx, seen)
}

// meet waits until each knows all others.
func meet(ctx context.Context, rings []*ring.Ring) {
	for _, r := range rings {
		until(ctx, r, func(v ring.View) bool {
			return !slices.ContainsFunc(v.Instances, func(i ring.Instance) bool { return i.State != ring.Alive })
		})
	}
}

// counting waits until a quorum stands behind what r does.
func counting(ctx context.Context, r *ring.Ring) {
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
	next(ctx, counts)
}

// Three instances tick in step; one leaves, and the others close the ring.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	a, b := rings[0], rings[1]
	defer a.Close()
	defer rings[2].Close()

	until(ctx, a, func(v ring.View) bool { return v.Next == "dc2/prod/0" })
	fmt.Println(a.View().Self, "holds the hand of", a.View().Next)

	if err := b.Leave(ctx); err != nil {
		fmt.Println(err)
	}
	until(ctx, a, func(v ring.View) bool { return v.Instances[1].State == ring.Left })
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
	first, second := next(ctx, ticks), next(ctx, ticks)
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
		counting(ctx, r)
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
	fmt.Println("released:", next(ctx, released), "first:", first.Valid(), "second:", second.Valid())
	fmt.Println("fence grows:", second.Fence() > first.Fence())
	// Output:
	// first: true
	// released: <nil> first: false second: true
	// fence grows: true
}

// All want to do it, one does at a time. The resource takes no older fence than it has
// seen, so that it is safe even from one that was stopped and does not know it is late.
func ExampleRing_Exclusive() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	for _, r := range rings {
		defer r.Close()
		counting(ctx, r)
	}
	gate, written := fence.New(nil), 0
	done := make(chan error, len(rings))
	for _, r := range rings {
		go func() {
			done <- r.Exclusive(ctx, "nightly report", func(ctx context.Context, n uint64) error {
				return gate.Do(n, func() error { written++; return nil })
			})
		}()
	}
	for range rings {
		if err := next(ctx, done); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(written, "reports, one after the other")
	// Output:
	// 3 reports, one after the other
}

// What one instance has written, all see; and of two who decide on the same
// state, one is told to read again.
func ExampleRing_Bus() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	for _, r := range rings {
		defer r.Close()
		counting(ctx, r)
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

// What one says all hear, itself included.
func ExampleRing_Broadcast() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	meet(ctx, rings)
	heard := make(chan string, len(rings))
	for _, r := range rings {
		defer r.Close()
		r.Subscribe("news/", func(m ring.Message) {
			heard <- fmt.Sprintf("%s: %s from %s", m.Topic, m.Payload, m.From)
		})
	}
	receipt, err := rings[1].BroadcastAcked(ctx, "news/eu", []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(receipt.Have), "have it")
	for range rings {
		fmt.Println(next(ctx, heard))
	}
	// Output:
	// 3 have it
	// news/eu: hello from dc2/prod/0
	// news/eu: hello from dc2/prod/0
	// news/eu: hello from dc2/prod/0
}

// Each says how busy it is; on their way back the numbers become one.
func ExampleRing_Gather() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	meet(ctx, rings)
	add := func(a, b []byte) ([]byte, error) {
		x, err := strconv.Atoi(string(a))
		if err != nil {
			return nil, err
		}
		y, err := strconv.Atoi(string(b))
		return strconv.AppendInt(nil, int64(x+y), 10), err
	}
	for i, r := range rings {
		defer r.Close()
		busy := func(context.Context, ring.Question) ([]byte, error) {
			return strconv.AppendInt(nil, int64(10+i), 10), nil
		}
		if _, err := r.Answer("busy", busy, add); err != nil {
			log.Fatal(err)
		}
	}
	g, err := rings[0].Gather(ctx, "busy", nil, add)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(g.Answered), "answer, together:", string(g.Value))
	// Output:
	// 3 answer, together: 33
}

// A process that ends without a word is known dead, and by whom that was said.
func ExampleRing_OnEvent() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	until(ctx, rings[0], func(v ring.View) bool { return v.Instances[2].State == ring.Alive })
	died := make(chan ring.Event, 1)
	rings[0].OnEvent(0, func(e ring.Event) {
		if e.Kind == "died" {
			died <- e
		}
	})
	rings[2].Close()
	e := next(ctx, died)
	fmt.Println(e.Kind, e.Subject, "with proof:", e.Proof)
	for _, r := range rings {
		r.Close()
	}
	// Output:
	// died dc3/prod/0 with proof: true
}

// A passenger rides once round; each stop pipes it through its Transform.
func ExampleRing_Lap() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rings := joinAll(ctx)
	for _, r := range rings {
		edit := func(in io.Reader, out io.Writer) error {
			word, err := io.ReadAll(in)
			if err == nil {
				_, err = fmt.Fprintf(out, "%s!", word)
			}
			return err
		}
		if _, err := r.Station("word", ring.Transform(edit), ring.Holds(time.Second)); err != nil {
			fmt.Println(err)
		}
	}
	var l ring.Lapped
	for l.Folded < 3 && ctx.Err() == nil { // not all may have met yet
		l, _ = rings[1].Lap(ctx, "word", []byte("round"))
	}
	fmt.Printf("%s, by %d; seen at %v\n", l.Value, l.Folded, l.Seen)
	for _, r := range rings {
		r.Close()
	}
	// Output:
	// round!!!, by 3; seen at [dc1/prod/0 dc2/prod/0 dc3/prod/0]
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
	for next(ctx, alive) < 3 {
	}
	fmt.Println("all three are alive")
	if err := rings[1].Leave(ctx); err != nil {
		fmt.Println(err)
	}
	for next(ctx, alive) > 2 { // it may be told something else before
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
