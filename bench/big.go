package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

// beat is the heartbeat interval of the LAN preset, in which times of a big
// fleet are told too.
const beat = 800 * time.Millisecond

// bigFleet forms a ring of 200 processes on this machine, watches it rest,
// kills a tenth of it at once and watches it close.
func bigFleet(b *bench) error {
	n, span := or(b.Nodes, 200), or(b.Span, 60*time.Second)
	r, err := newRingSystem(b, n, nil)
	if err != nil {
		return err
	}
	r.Env = []string{"GOMAXPROCS=1"}
	begin := time.Now()
	for i := range n {
		if err := r.restart(i); err != nil {
			return err
		}
	}
	started := time.Since(begin)
	if err := r.AwaitWhole(120*time.Second, r.All()); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(r.logs()))
	}
	formed := time.Since(begin)
	b.say("formed in %v", formed)
	t := b.out.table(fmt.Sprintf("%d instances on this machine", n), "what", "measured", "in beats")
	inBeats := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()/beat.Seconds()) }
	t.row("processes started", short(started), inBeats(started))
	t.row("the ring whole", short(formed), inBeats(formed))
	if err := b.rest(5 * time.Second); err != nil {
		return err
	}
	c, err := b.resting(r, nil, n, span)
	if err != nil {
		return err
	}
	share := fmt.Sprintf("%.2f / %.2f %%", 100*c.cpu, 100*c.cpuMax)
	t.row("CPU of an instance, mean / max", share, "")
	t.row("resident of an instance", fmt.Sprintf("%.1f MiB", c.resident), "")
	b.out.target(c.cpu <= 0.0025, "CPU of one of a big fleet", "<= 0.25 %",
		fmt.Sprintf("%.2f %%", 100*c.cpu))
	return b.tenth(t, r, n, inBeats)
}

// tenth kills a tenth at once and reads from all survivors what they saw.
func (b *bench) tenth(t *table, r *ringSystem, n int, inBeats func(time.Duration) string) error {
	victims := rand.Perm(n)[:n/10]
	at := time.Now()
	for _, v := range victims {
		if err := r.proc(v).Signal(syscall.SIGKILL); err != nil {
			return err
		}
	}
	live := r.Except(victims...)
	if err := r.AwaitWhole(60*time.Second, live); err != nil {
		return fmt.Errorf("a tenth killed: %w\n%s", err, tail(r.logs()))
	}
	if err := b.rest(3 * time.Second); err != nil {
		return err
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	most, total := 0, 0
	var known, hands []time.Duration
	var failed error
	gate := make(chan struct{}, 8)
	for _, i := range live {
		wait.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			events, err := r.Events(i, at)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			changes := 0
			var last, hand time.Duration
			for _, e := range events {
				switch e.Kind {
				case "view_changed":
					changes++
				case "died":
					last = max(last, e.At.Sub(at))
				case "next_changed":
					hand = max(hand, e.At.Sub(at))
				}
			}
			most, total = max(most, changes), total+changes
			known = append(known, last)
			if hand > 0 {
				hands = append(hands, hand)
			}
		})
	}
	wait.Wait()
	if failed != nil {
		return failed
	}
	t.row("a tenth killed: last death known, by survivor", spread(known), inBeats(median(known)))
	t.row("a tenth killed: hand held again, by predecessor", spread(hands), inBeats(median(hands)))
	t.row("view changes of a survivor, mean / most",
		fmt.Sprintf("%.2f / %d", float64(total)/float64(len(live)), most), "")
	b.out.target(most == 1, "view changes for a tenth killed at once, most of a survivor", "1",
		fmt.Sprint(most))
	return nil
}
