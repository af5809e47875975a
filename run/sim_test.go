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

// sim is a fleet of five under faults, in virtual time.
type sim struct {
	t        *testing.T
	w        *world
	job      Job
	chance   *rand.Rand
	ctx      context.Context
	all      sync.WaitGroup
	lives    uint64
	stations []*station
}

// simulate goes on for that long.
func simulate(t *testing.T, w *world, job Job, long time.Duration) {
	t.Helper()
	w.alone = job.Overlap != Allow
	ctx, cancel := context.WithCancel(t.Context())
	s := &sim{t: t, w: w, job: job, chance: rand.New(rand.NewPCG(w.seed, 0)), ctx: ctx}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		skew := time.Duration(s.chance.IntN(400)-200) * time.Millisecond
		s.stations = append(s.stations, s.start(name, skew))
	}
	for time.Since(w.began) < long {
		time.Sleep(time.Duration(5+s.chance.IntN(90)) * time.Second)
		from := time.Now()
		what := s.harm(s.chance.IntN(len(s.stations)), time.Duration(1+s.chance.IntN(40))*time.Second)
		w.mu.Lock()
		w.faults = append(w.faults, fault{what, from, time.Now().Add(simAfter)})
		w.mu.Unlock()
	}
	time.Sleep(2 * simEvery)
	cancel()
	s.all.Wait()
	for _, one := range s.stations {
		close(one.gone)
	}
	time.Sleep(time.Minute) // what waits inside of the model ends
}

// start begins a life of a process beside an instance.
func (s *sim) start(name string, skew time.Duration) *station {
	s.lives++
	one := &station{
		w: s.w, name: name, all: []string{"a", "b", "c", "d", "e"}, skew: skew,
		gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(s.w.seed, s.lives)),
	}
	work := rand.New(rand.NewPCG(s.w.seed, 1<<32|s.lives))
	var mu sync.Mutex
	took := func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		longest := 12 // so that a slot is missed for no work but its own
		if s.job.Overlap != Forbid {
			longest = 45
		}
		return time.Duration(1+work.IntN(longest)) * time.Second
	}
	r := &Runner{Fleet: one, Job: s.job, Exec: one.exec(took), Now: one.now}
	life, end := context.WithCancel(s.ctx)
	s.all.Go(func() {
		if err := r.Run(life); err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	})
	s.all.Go(func() {
		select {
		case <-one.gone:
		case <-s.ctx.Done():
		}
		end()
	})
	return one
}

// harm does something to an instance, or to all, for that long or so.
func (s *sim) harm(i int, d time.Duration) (what string) {
	one := s.stations[i]
	set := func(do func()) {
		one.mu.Lock()
		defer one.mu.Unlock()
		do()
	}
	what = []string{"kill", "stop", "cut", "election", "outage"}[s.chance.IntN(5)]
	switch what {
	case "kill":
		close(one.gone)
		time.Sleep(d)
		s.stations[i] = s.start(one.name, one.skew)
	case "stop":
		set(func() { one.paused = time.Now().Add(d) })
		time.Sleep(d)
	case "cut":
		set(func() { one.cut = true })
		time.Sleep(d)
		set(func() { one.cut = false })
	case "outage":
		for _, one = range s.stations {
			set(func() { one.paused = time.Now().Add(2 * d) })
		}
		time.Sleep(2 * d)
	case "election":
		s.w.mu.Lock()
		s.w.electing = time.Now().Add(d / 10)
		s.w.mu.Unlock()
		time.Sleep(d / 10)
	}
	return what
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
