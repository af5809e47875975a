package ring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// sum merges numbers.
func sum(a, b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func (f *fleet) answer(i int, topic string, answer func(context.Context, Question) ([]byte, error),
	merge Merge,
) {
	f.t.Helper()
	stop, err := f.rings[i].Answer(topic, answer, merge)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(stop)
}

func TestGatherAsksAll(t *testing.T) {
	for _, n := range []int{1, 2, 3, 11, 24} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFleet(t, n, nil)
			f.joined()
			f.seeAllAlive()
			var merged atomic.Int64
			for i := range n {
				f.answer(i, "sum", func(_ context.Context, q Question) ([]byte, error) {
					if q.From != f.roster.Names[n-1] || q.Topic != "sum" || string(q.Payload) != "of all" {
						t.Errorf("%d is asked %+v", i, q)
					}
					return number(1 << i), nil
				}, func(a, b []byte) ([]byte, error) {
					merged.Add(1)
					return sum(a, b)
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			g, err := f.rings[n-1].Gather(ctx, "sum", []byte("of all"), sum)
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint64(g.Value); got != 1<<n-1 {
				t.Errorf("the sum is %b, want every bit of %d", got, n)
			}
			if len(g.Answered) != n || len(g.Failed)+len(g.Missing) > 0 {
				t.Errorf("answered %v, failed %v, missing %v", g.Answered, g.Failed, g.Missing)
			}
			if n == 24 && merged.Load() == 0 {
				t.Error("nothing was merged on the way")
			}
			g, err = f.rings[n-1].Gather(ctx, "sum", []byte("of all"), nil)
			if err != nil || len(g.Replies) != n {
				t.Fatalf("%d replies, %v", len(g.Replies), err)
			}
			for i, reply := range g.Replies {
				if reply.From != f.roster.Names[i] || binary.BigEndian.Uint64(reply.Value) != 1<<i {
					t.Errorf("reply %d is %v", i, reply)
				}
			}
		})
	}
}

// Who has no answer, or no time for one, or is dead is told apart.
func TestGatherSaysWhoDidNotAnswer(t *testing.T) {
	f := newFleet(t, 5, nil)
	f.joined()
	f.seeAllAlive()
	f.answer(0, "q", func(context.Context, Question) ([]byte, error) { return []byte("0"), nil }, nil)
	f.answer(1, "q", func(context.Context, Question) ([]byte, error) { panic("on purpose") }, nil)
	f.answer(2, "q", func(ctx context.Context, _ Question) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	f.rings[4].Close()
	f.sees(4, Dead, 4)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	g, err := f.rings[0].Gather(ctx, "q", nil, func(a, b []byte) ([]byte, error) {
		return append(a, b...), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := f.roster.Names
	if string(g.Value) != "0" || !slices.Equal(g.Answered, names[:1]) {
		t.Errorf("value %q of %v", g.Value, g.Answered)
	}
	if !slices.Contains(g.Failed, names[1]) || !slices.Contains(g.Failed, names[3]) {
		t.Errorf("failed are %v: want the one that panics and the one without an answer", g.Failed)
	}
	if len(g.Missing) == 0 || g.Missing[len(g.Missing)-1] != (Absent{names[4], Dead}) {
		t.Errorf("missing are %v", g.Missing)
	}
}

func TestAnswerRefuses(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	answer := func(context.Context, Question) ([]byte, error) { return nil, nil }
	stop, err := f.rings[0].Answer("q", answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.rings[0].Answer("q", answer, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a second answer to one topic: %v", err)
	}
	if _, err := f.rings[0].Answer(strings.Repeat("x", 256), answer, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("a topic that is too long: %v", err)
	}
	stop()
	if stop, err = f.rings[0].Answer("q", answer, nil); err != nil {
		t.Errorf("after stop: %v", err)
	}
	stop()
}

func TestBroadcastAckedSaysWhoHasIt(t *testing.T) {
	f := newFleet(t, 11, nil)
	f.joined()
	f.seeAllAlive()
	var came atomic.Int64
	for _, r := range f.rings {
		t.Cleanup(r.Subscribe("t", func(m Message) {
			if string(m.Payload) == "payload" {
				came.Add(1)
			}
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	receipt, err := f.rings[3].BroadcastAcked(ctx, "t", []byte("payload"))
	if err != nil || len(receipt.Have) != 11 || len(receipt.Missing) != 0 {
		t.Fatalf("%+v, %v", receipt, err)
	}
	f.rings[7].Close()
	f.sees(7, Dead, 7)
	receipt, err = f.rings[3].BroadcastAcked(ctx, "t", []byte("payload"))
	if err != nil || len(receipt.Have) != 10 || len(receipt.Missing) != 1 ||
		receipt.Missing[0] != (Absent{f.roster.Names[7], Dead}) {
		t.Fatalf("%+v, %v", receipt, err)
	}
	until(t, "21 are delivered", func() bool { return came.Load() == 21 })
}
