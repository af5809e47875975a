package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	simEvery = 30 * time.Second
	simTTL   = 5 * time.Second
	// simAfter is how long behind a fault a slot may still be missed for it: until the
	// lease has run out, and whoever waits has looked again.
	simAfter = 2 * simTTL
)

// simJob is the job of a seed: all kinds of overlap, and of time.
func simJob(seed uint64) Job {
	j := Job{Name: "job", Every: simEvery, Lease: simTTL, Overlap: []Overlap{Allow, Forbid, Replace}[seed%3]}
	switch seed / 3 % 3 {
	case 1:
		j.Jitter = 10 * time.Second
	case 2:
		j.Every, j.EveryTick = 0, uint64(simEvery/time.Second)
	}
	return j
}

// simulate is a time of a fleet of five under faults, in virtual time.
func simulate(t *testing.T, w *world, job Job, long time.Duration) {
	t.Helper()
	w.alone = job.Overlap != Allow
	names := []string{"a", "b", "c", "d", "e"}
	chance := rand.New(rand.NewPCG(w.seed, 0))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	lives := uint64(0)
	start := func(name string, skew time.Duration) *station {
		lives++
		s := &station{
			w: w, name: name, all: names, skew: skew, gone: make(chan struct{}),
			chaos: rand.New(rand.NewPCG(w.seed, lives)),
		}
		work := rand.New(rand.NewPCG(w.seed, 1<<32|lives))
		var mu sync.Mutex
		took := func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			longest := 12 // so that a slot is missed for no work but its own
			if job.Overlap != Forbid {
				longest = 45
			}
			return time.Duration(1+work.IntN(longest)) * time.Second
		}
		r := &Runner{Fleet: s, Job: job, Exec: s.exec(took), Now: s.now}
		life, end := context.WithCancel(ctx)
		all.Go(func() {
			if err := r.Run(life); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		all.Go(func() {
			select {
			case <-s.gone:
			case <-ctx.Done():
			}
			end()
		})
		return s
	}
	stations := make([]*station, len(names))
	for i, name := range names {
		stations[i] = start(name, time.Duration(chance.IntN(400)-200)*time.Millisecond)
	}
	for time.Since(w.began) < long {
		time.Sleep(time.Duration(5+chance.IntN(90)) * time.Second)
		i := chance.IntN(len(names))
		s, d := stations[i], time.Duration(1+chance.IntN(40))*time.Second
		w.mu.Lock()
		from := time.Now()
		w.mu.Unlock()
		what := []string{"kill", "stop", "cut", "election", "outage"}[chance.IntN(5)]
		switch what {
		case "kill":
			close(s.gone)
			time.Sleep(d)
			stations[i] = start(s.name, s.skew)
		case "stop":
			s.mu.Lock()
			s.paused = time.Now().Add(d)
			s.mu.Unlock()
			time.Sleep(d)
		case "cut":
			s.mu.Lock()
			s.cut = true
			s.mu.Unlock()
			time.Sleep(d)
			s.mu.Lock()
			s.cut = false
			s.mu.Unlock()
		case "outage":
			for _, s := range stations {
				s.mu.Lock()
				s.paused = time.Now().Add(2 * d)
				s.mu.Unlock()
			}
			time.Sleep(2 * d)
		case "election":
			d /= 10
			w.mu.Lock()
			w.electing = time.Now().Add(d)
			w.mu.Unlock()
			time.Sleep(d)
		}
		w.mu.Lock()
		w.faults = append(w.faults, fault{what, from, time.Now().Add(simAfter)})
		w.mu.Unlock()
	}
	time.Sleep(2 * simEvery)
	cancel()
	all.Wait()
	for _, s := range stations {
		if !s.dead() {
			close(s.gone)
		}
	}
	time.Sleep(time.Minute) // what waits inside of the model ends
}

// count compares what was run with what should have been: each slot never twice, and
// missed only for a reason, which the record has counted.
func (w *world) count(t *testing.T, job Job) (runs, missed int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	rec, err := ParseRecord(w.values[Key(job.Name)])
	if err != nil {
		t.Fatal(err)
	}
	first := int64(0)
	for slot := range w.claimed { // the least of them does not depend on order
		if first == 0 || slot < first {
			first = slot
		}
	}
	p, err := job.prepared()
	if err != nil {
		t.Fatal(err)
	}
	for slot := first; slot <= rec.Slot; slot = p.schedule.next(slot) {
		ran := len(w.starts[SlotText(slot, job.Ticks())])
		if runs += ran; ran > 0 {
			continue
		}
		if !w.claimed[slot] {
			missed++
		}
		if !w.excused(p, slot) {
			w.wrong("%s was missed, and nothing was wrong", SlotText(slot, job.Ticks()))
		}
	}
	if rec.Missed < uint64(missed) {
		w.wrong("%d were missed, and the record says %d", missed, rec.Missed)
	}
	return runs, missed
}

// excused is whether a fault explains that a slot was missed.
func (w *world) excused(p plan, slot int64) bool {
	at := time.UnixMilli(p.due(slot))
	if p.Ticks() {
		at = w.began.Add(time.Duration(slot-1000) * time.Second)
	}
	for _, f := range w.faults {
		if f.from.Before(at.Add(simEvery)) && f.to.After(at.Add(-time.Second)) {
			return true
		}
	}
	return false
}

// simSeeds are those of every test run, one for each kind of overlap and of time, or as
// many as RINGTEST_SEEDS says (make soak).
func simSeeds(t *testing.T) []uint64 {
	t.Helper()
	text := os.Getenv("RINGTEST_SEEDS")
	if text == "" {
		return []uint64{0, 4, 8}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i)
	}
	return seeds
}

// An hour of a fleet whose processes are killed, stopped for longer than a lease and cut
// off, whose clocks differ and whose leaders change: nothing is run twice, and missed
// only as is said.
func TestP2HourOfVirtualTime(t *testing.T) {
	for _, seed := range simSeeds(t) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, job := newWorld(seed, simTTL), simJob(seed)
				simulate(t, w, job, time.Hour)
				runs, missed := w.count(t, job)
				for _, b := range w.broke {
					t.Error(b)
				}
				if runs < 80 || missed == 0 {
					t.Errorf("%d of 120 were run, %d were missed", runs, missed)
				}
				t.Logf("%s: %d runs, %d missed, %d faults", job.Overlap, runs, missed, len(w.faults))
			})
		})
	}
}

// The observer is not blind: what it looks for is found where the fleet does not keep
// its promises.
func TestP2MutantsAreCaught(t *testing.T) {
	for name, mutate := range map[string]func(*world){
		"neither conditions nor leases": func(w *world) { w.blind, w.generous = true, true },
		"leases for everybody":          func(w *world) { w.generous = true },
	} {
		t.Run(name, func(t *testing.T) {
			caught := 0
			for seed := uint64(2); seed < 18 && caught == 0; seed += 3 { // those that replace
				synctest.Test(t, func(t *testing.T) {
					w, job := newWorld(seed, simTTL), simJob(seed)
					mutate(w)
					simulate(t, w, job, 20*time.Minute)
					w.count(t, job)
					caught += len(w.broke)
				})
			}
			if caught == 0 {
				t.Error("nobody has noticed")
			}
		})
	}
}
