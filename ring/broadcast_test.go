package ring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// inbox is what one subscriber was given.
type inbox struct {
	mu   sync.Mutex
	list []Message
}

func (b *inbox) add(m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, m)
}

func (b *inbox) all() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Message(nil), b.list...)
}

// until waits for ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late, look := time.After(3*patience), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not %s within %v", what, 3*patience)
		}
	}
}

// B1 on real sockets: everybody sends to all at once, small and large.
func TestB1EachOnceInOrder(t *testing.T) {
	const n, each = 11, 30
	f := newFleet(t, n, nil)
	f.joined()
	boxes := make([]inbox, n)
	for i, r := range f.rings {
		r.Subscribe("load/", boxes[i].add)
	}
	var all sync.WaitGroup
	for i, r := range f.rings {
		all.Go(func() {
			for k := range each {
				payload := bytes.Repeat([]byte{byte(i), byte(k)}, 1+(k%3)*1500)
				if _, err := r.Broadcast(t.Context(), fmt.Sprintf("load/%d", k), payload); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i := range boxes {
		until(t, "all have all", func() bool {
			got := boxes[i].all()
			for _, m := range got {
				if m.Missed > 0 {
					t.Fatalf("%d is told that it missed %d of %s, up to %d", i, m.Missed, m.From, m.Seq)
				}
			}
			return len(got) >= n*each
		})
		next := map[Name]int{}
		for _, m := range boxes[i].all() {
			k := next[m.From]
			next[m.From]++
			if m.Topic != fmt.Sprintf("load/%d", k) || len(m.Payload) != 2*(1+(k%3)*1500) ||
				m.Payload[1] != byte(k) || f.roster.Names[m.Payload[0]] != m.From {
				t.Fatalf("%d: number %d of %s is %s, %d bytes", i, k, m.From, m.Topic,
					len(m.Payload))
			}
		}
	}
}

func TestSubscribeByTopic(t *testing.T) {
	f := newFleet(t, 2, nil)
	f.joined()
	var one, below, every inbox
	f.rings[1].Subscribe("a/b", one.add)
	f.rings[1].Subscribe("a/", below.add)
	stop := f.rings[1].Subscribe("", every.add)
	for _, topic := range []string{"a/b", "a/c", "ab", "a/b/c"} {
		if _, err := f.rings[0].Broadcast(t.Context(), topic, nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "delivered", func() bool { return len(every.all()) == 4 && len(below.all()) == 3 })
	if got := one.all(); len(got) != 1 || got[0].Topic != "a/b" || got[0].From != f.roster.Names[0] {
		t.Errorf("a/b got %v", got)
	}
	stop()
	for topic, payload := range map[string]int{
		"": 1, strings.Repeat("x", 256): 1, "\xff": 1, "fine": PayloadMax + 1,
	} {
		_, err := f.rings[0].Broadcast(t.Context(), topic, make([]byte, payload))
		if !errors.Is(err, ErrRefused) {
			t.Errorf("topic %.9q, %d bytes: %v", topic, payload, err)
		}
	}
}

// A process that starts again is given what its neighbours keep.
func TestB1RestartCatchesUp(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	var box inbox
	for k := range 10 {
		if _, err := f.rings[0].Broadcast(t.Context(), fmt.Sprint(k), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	f.rings[2].Close()
	if _, err := f.rings[0].Broadcast(t.Context(), "10", []byte("x")); err != nil {
		t.Fatal(err)
	}
	f.change = func(int, *Config) {}
	f.restart(2)
	f.rings[2].Subscribe("", box.add)
	f.joined()
	until(t, "caught up", func() bool { return len(box.all()) >= 11 })
	for k, m := range box.all() {
		if m.Topic != fmt.Sprint(k) || m.Missed > 0 {
			t.Errorf("number %d is %+v", k, m)
		}
	}
}

// A subscriber that hangs holds up nobody, and is told what it missed.
func TestSlowSubscriberIsTold(t *testing.T) {
	f := newFleet(t, 2, nil)
	f.joined()
	release, missed := make(chan struct{}), make(chan uint64, 1000)
	var quick inbox
	f.rings[1].Subscribe("", func(m Message) {
		<-release
		missed <- m.Missed
	})
	f.rings[1].Subscribe("", quick.add)
	for k := range 1000 {
		// More in all than is kept for one that is slow.
		if _, err := f.rings[0].Broadcast(t.Context(), "t", make([]byte, 8<<10)); err != nil {
			t.Fatal(err)
		}
		if k%100 == 99 { // the quick one is no slower than that
			until(t, "delivered", func() bool { return len(quick.all()) == k+1 })
		}
	}
	close(release)
	got, lost := uint64(0), uint64(0)
	until(t, "told of all", func() bool {
		for len(missed) > 0 {
			if n := <-missed; n > 0 {
				lost += n
			} else {
				got++
			}
		}
		return got+lost >= 1000
	})
	if got+lost != 1000 || lost == 0 {
		t.Errorf("it has %d messages and missed %d, of 1000", got, lost)
	}
	if c := f.rings[1].node.Counts().Casts; c.Slow != lost || c.Delivered != 1000 || c.Gone != 0 {
		t.Errorf("counted %+v, want 1000 delivered, of which one was too slow for %d", c, lost)
	}
}

// What was broadcast is counted where it was published, and where it came.
func TestBroadcastMetrics(t *testing.T) {
	regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	f := newFleet(t, 2, func(i int, c *Config) { c.Registerer = regs[i] })
	f.joined()
	var box inbox
	f.rings[1].Subscribe("", box.add)
	for range 3 {
		if _, err := f.rings[0].Broadcast(t.Context(), "t", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	// Questions are nobody's messages.
	if _, err := f.rings[0].Gather(t.Context(), "none", nil, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "delivered", func() bool { return len(box.all()) >= 3 })
	for i, published := range []string{"3", "0"} {
		labels := fmt.Sprintf("{node=%q,ring=\"test\"", f.roster.Names[i])
		want := fmt.Sprintf(`# HELP ring_broadcast_published_total Messages that this instance broadcast.
# TYPE ring_broadcast_published_total counter
ring_broadcast_published_total%[1]s} %[2]s
# HELP ring_broadcast_delivered_total Broadcasts delivered at this instance.
# TYPE ring_broadcast_delivered_total counter
ring_broadcast_delivered_total%[1]s} 3
# HELP ring_broadcast_missed_total Broadcasts that nobody has any more, or that a subscriber was too slow for.
# TYPE ring_broadcast_missed_total counter
ring_broadcast_missed_total%[1]s,why="gone"} 0
ring_broadcast_missed_total%[1]s,why="slow"} 0
# HELP ring_broadcast_waiting Publishers that wait for room.
# TYPE ring_broadcast_waiting gauge
ring_broadcast_waiting%[1]s} 0
`, labels, published)
		err := testutil.GatherAndCompare(regs[i], strings.NewReader(want),
			"ring_broadcast_published_total", "ring_broadcast_delivered_total",
			"ring_broadcast_missed_total", "ring_broadcast_waiting")
		if err != nil {
			t.Error(err)
		}
		// With an overhead for each; the question is kept, too.
		if kept := f.rings[i].node.Counts().Casts.Kept; kept < 3000 || kept > 9000 {
			t.Errorf("%d: %d bytes are kept of three messages of 1000", i, kept)
		}
	}
}

func TestBroadcastEndsWithItsInstance(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	f.rings[0].Close()
	if _, err := f.rings[0].Broadcast(context.Background(), "t", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Broadcast after Close: %v", err)
	}
}
