package node

import (
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
)

func TestFeedKeepsTheNewest(t *testing.T) {
	f := newFeed[int](4)
	for i := 1; i <= 10; i++ {
		f.push(i)
	}
	for _, c := range []struct {
		seq   uint64
		first uint64
		want  []int
	}{{0, 7, []int{7, 8, 9, 10}}, {8, 9, []int{9, 10}}, {10, 11, nil}, {99, 100, nil}} {
		got, first := f.since(c.seq)
		if !slices.Equal(got, c.want) || first != c.first {
			t.Errorf("since(%d) = %v from %d, want %v from %d", c.seq, got, first, c.want, c.first)
		}
	}
}

func TestFollowersGetAllInOrderAndThenTheEnd(t *testing.T) {
	f := newFeed[int](1000)
	f.push(1)
	var got []int
	_, ended := f.follow(0, func(seq uint64, v int) {
		if seq != uint64(v) {
			t.Errorf("%d has sequence number %d", v, seq)
		}
		got = append(got, v)
	})
	for i := 2; i <= 500; i++ {
		f.push(i)
		f.wake()
	}
	f.close()
	<-ended
	if len(got) != 500 || !slices.IsSorted(got) {
		t.Errorf("followed %d of 500: %v", len(got), got)
	}
	_, ended = f.follow(499, func(_ uint64, v int) { got = []int{v} })
	<-ended
	if !slices.Equal(got, []int{500}) {
		t.Errorf("after the end: %v", got)
	}
}

func TestASlowFollowerMissesTheOldest(t *testing.T) {
	f := newFeed[int](4)
	entered, release := make(chan struct{}), make(chan struct{})
	var got []int
	_, ended := f.follow(0, func(_ uint64, v int) {
		if v == 1 {
			close(entered)
			<-release
		}
		got = append(got, v)
	})
	f.push(1)
	f.wake()
	<-entered
	for i := 2; i <= 10; i++ {
		f.push(i)
	}
	f.close()
	close(release)
	<-ended
	if want := []int{1, 7, 8, 9, 10}; !slices.Equal(got, want) || f.missed.Load() != 5 {
		t.Errorf("got %v and missed %d, want %v and 5", got, f.missed.Load(), want)
	}
}

func TestLapsTakeAnything(t *testing.T) {
	s := newStats()
	now := time.Now()
	for _, took := range []time.Duration{0, 1, time.Hour, 1 << 62} {
		s.lap(now, core.Tick{Took: took, Held: took / 2})
		now = now.Add(window)
	}
	if s.passes != 4 || s.laps.hist.TotalCount() != 3 {
		t.Errorf("%d passes, %d laps", s.passes, s.laps.hist.TotalCount())
	}
}

// What is kept is bounded by weight too, and who follows is told what it missed so.
func TestFeedKeepsWithinItsWeight(t *testing.T) {
	f := newFeed[int](8)
	f.weigh, f.most = func(v int) int { return v }, 10
	for _, tt := range []struct {
		push  int
		first uint64
		want  []int
	}{
		{3, 1, []int{3}},
		{3, 1, []int{3, 3}},
		{4, 1, []int{3, 3, 4}},
		{1, 2, []int{3, 4, 1}},
		{50, 5, []int{50}}, // the newest is kept, whatever it weighs
		{1, 6, []int{1}},
	} {
		f.push(tt.push)
		if items, first := f.since(0); first != tt.first || !slices.Equal(items, tt.want) {
			t.Errorf("after %d: %v from %d on, want %v from %d on", tt.push, items, first, tt.want, tt.first)
		}
	}
	for range 20 {
		f.push(0)
	}
	if items, first := f.since(0); first != 19 || len(items) != 8 || f.weight != 0 {
		t.Errorf("%d kept from %d on, which weigh %d", len(items), first, f.weight)
	}
}
