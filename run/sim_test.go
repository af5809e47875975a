package run

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
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

// simNames are the instances; there are runners beside simRunners of them.
const (
	simNames   = "abcdefgh"
	simRunners = "bcefh"
)

// simSkew is how far clocks of a seed are off, either way.
func simSkew(seed uint64) time.Duration {
	return []time.Duration{200 * time.Millisecond, 3 * time.Second}[seed/2%2]
}

// sim is a fleet under faults, in virtual time; runners are beside five of its eight.
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
	for _, name := range strings.Split(simRunners, "") {
		skew := time.Duration(s.chance.Int64N(2*int64(simSkew(w.seed)))) - simSkew(w.seed)
		s.stations = append(s.stations, s.start(name, skew))
	}
	for time.Since(w.began) < long && !(w.hunt && w.caught()) {
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
		w: s.w, name: name, all: strings.Split(simNames, ""), skew: skew,
		gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(s.w.seed, s.lives)),
	}
	one.lag = time.Duration(one.chaos.IntN(3)) * 700 * time.Millisecond
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
	down := func(is bool) {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		s.w.down[one.name] = is
	}
	what = []string{"kill", "stop", "cut", "election", "stall", "outage", "behind", "suspend"}[s.chance.IntN(8)]
	switch what {
	case "kill":
		close(one.gone)
		down(true)
		time.Sleep(d)
		down(false)
		s.stations[i] = s.start(one.name, one.skew)
	case "stop":
		set(func() { one.paused = time.Now().Add(d) })
		time.Sleep(d)
	case "cut":
		set(func() { one.cut = true })
		time.Sleep(d)
		set(func() { one.cut = false })
	case "behind":
		set(func() { one.frozen = time.Now().Add(-one.lag) })
		time.Sleep(d)
		set(func() { one.frozen = time.Time{} })
	case "suspend":
		s.suspend(true)
		time.Sleep(d)
		s.suspend(false)
	case "stall": // between two messages of a claim, until the next slot or so
		set(func() { one.stall = simEvery - 4*time.Second + d/8 })
		time.Sleep(2 * simEvery)
		set(func() { one.stall, one.stallIn, d = 0, 0, time.Until(one.paused) })
		time.Sleep(d)
	case "outage":
		for _, one = range s.stations {
			set(func() { one.paused = time.Now().Add(2 * d) })
		}
		time.Sleep(2 * d)
	case "election":
		s.w.mu.Lock()
		s.w.electing = time.Now().Add(d)
		s.w.mu.Unlock()
		time.Sleep(d + 5*time.Second) // until all that comes late has
	}
	return what
}

// caught is whether the observer has seen something already.
func (w *world) caught() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.broke) > 0
}

// suspend does what `ring run suspend` and `resume` do.
func (s *sim) suspend(is bool) {
	s.lives++
	one := &station{
		w: s.w, name: operator, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(s.w.seed, s.lives)),
	}
	for {
		value, revision, err := one.Get(s.ctx, Key(s.job.Name))
		rec, wrong := ParseRecord(value)
		if err != nil || wrong != nil {
			s.t.Errorf("%q: %v, %v", value, err, wrong)
			return
		}
		if rec.Suspended = is; one.Swap(s.ctx, Key(s.job.Name), rec.Encode(), revision) == nil {
			return
		}
	}
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
		early := at.Add(-time.Second - simSkew(w.seed))
		if f.from.Before(at.Add(simEvery+simSkew(w.seed))) && f.to.After(early) {
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
				if runs < 80 {
					t.Errorf("%d of 120 were run, %d were missed", runs, missed)
				}
				t.Logf("%s: %d runs, %d missed, %d faults", job.Overlap, runs, missed, len(w.faults))
			})
		})
	}
}

// The observer is not blind: what it looks for is found where the fleet does not keep its
// promises. Package ring/ringtest/mutants leaves checks out of the runner; see TestHunt.
func TestP2ObserverSees(t *testing.T) {
	for name, c := range map[string]struct {
		from            uint64 // the first seed that is tried
		blind, generous bool
	}{
		"neither conditions nor leases": {0, true, true},
		"leases for everybody":          {1, false, true},
		"writes without a condition":    {0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, seed := hunt(t, c.from, 40, func(w *world) { w.blind, w.generous = c.blind, c.generous })
			if t.Log(seed, wrong); wrong == "" {
				t.Error("nobody has noticed")
			}
		})
	}
}

// hunt is the first thing that the observer sees in a third of an hour of one of so many
// seeds, "" if there is none.
func hunt(t *testing.T, from, seeds uint64, change func(*world)) (wrong string, seed uint64) {
	for seed = from; seed < from+seeds && wrong == ""; seed++ {
		synctest.Test(t, func(t *testing.T) {
			w, job := newWorld(seed, simTTL), simJob(seed)
			w.hunt = true
			change(w)
			simulate(t, w, job, 20*time.Minute)
			w.count(t, job)
			if len(w.broke) > 0 {
				wrong = w.broke[0]
			}
		})
	}
	return wrong, seed - 1
}

// TestHunt is how the mutants program (ring/ringtest/mutants) looks for what it has broken
// in the runner. RINGTEST_HUNT says what for and in which seeds.
func TestHunt(t *testing.T) {
	var want string
	var from, seeds uint64
	text := os.Getenv("RINGTEST_HUNT")
	if text == "" {
		t.Skip("SKIPPED: RINGTEST_HUNT is not set; the mutants program, which CI runs, sets it")
	}
	if _, err := fmt.Sscan(text, &want, &from, &seeds); err != nil || want != "P2" {
		t.Fatalf("RINGTEST_HUNT is %q: %v", text, err)
	}
	if wrong, seed := hunt(t, from, seeds, func(*world) {}); wrong != "" {
		fmt.Printf("FOUND P2 with seed %d: %s\n", seed, wrong)
		return
	}
	fmt.Printf("LIVES after %d seeds\n", seeds)
}

// alone is the fleet as a runner sees it that knows of no turns.
type alone struct{ *station }

func (a alone) Instances(context.Context) []Instance { return []Instance{{a.name, true}} }

// calm is a fleet without faults with runners beside some, for that long; it says who has
// claimed, in order. Each run takes a third of a second.
func calm(t *testing.T, w *world, job Job, n int, beside []int, long time.Duration) []string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%02d", i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var all sync.WaitGroup
	for _, i := range beside {
		one := &station{
			w: w, name: names[i], all: names, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, uint64(i))),
		}
		r := &Runner{Fleet: one, Job: job, Exec: one.exec(func() time.Duration { return time.Second / 3 })}
		if w.mutate != nil {
			r.Fleet = w.mutate(one)
		}
		all.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	time.Sleep(time.Minute) // what renews leases ends
	for _, b := range w.broke {
		t.Error(b)
	}
	return w.order
}

// Where nothing is wrong, each has its turn in the order of the ring; and that the turns
// are what makes it so.
func TestRunsGoRound(t *testing.T) {
	for _, without := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1, simTTL)
			if without {
				w.mutate = func(s *station) Fleet { return alone{s} }
			}
			order := calm(t, w, Job{Name: "job", Every: simEvery, Lease: simTTL}, 5, []int{0, 1, 2, 3, 4}, 20*time.Minute)
			odd := 0
			for i := range order[1:] {
				before, _ := strconv.Atoi(order[i])
				if order[i+1] != fmt.Sprintf("%02d", (before+1)%5) {
					odd++
				}
			}
			if len(order) < 38 || (odd > 0) != without {
				t.Errorf("turns left out: %v; %d of %d claims were out of turn", without, odd, len(order))
			}
		})
	}
}

// Runners beside only some of a fleet miss no slots for those that are not there,
// however fast they come, or at least run as often as their turn allows.
func TestFewRunnersAreNotStarved(t *testing.T) {
	const long = 2 * time.Minute
	for name, c := range map[string]struct {
		job    Job
		n      int
		beside []int
		least  int // claims
	}{
		"every second, one of 11": {Job{Every: time.Second}, 11, []int{3}, 118},
		"every second, two of 20": {Job{Every: time.Second}, 20, []int{3, 4}, 118},
		"every minute, one of 20": {Job{Every: time.Minute}, 20, []int{3}, 1},
		"two ticks, one of 11":    {Job{EveryTick: 2}, 11, []int{3}, 60},
		"deadline, one of 20": {
			Job{Every: 10 * time.Second, StartingDeadline: 500 * time.Millisecond}, 20, []int{3}, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1, simTTL)
				w.lap = 200 * time.Millisecond
				c.job.Name, c.job.Lease = "job", simTTL
				if order := calm(t, w, c.job, c.n, c.beside, long); len(order) < c.least {
					t.Errorf("%d claims in %v, want %d", len(order), long, c.least)
				}
			})
		})
	}
}

// Where runs may overlap, one whose process died is called lost by the next claim, and
// one that goes on is not.
func TestLostIsToldWhereRunsOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, simTTL)
		var said strings.Builder
		log := slog.New(slog.NewTextHandler(&said, nil)) // one for both: it is what keeps them apart
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		stations := map[string]*station{}
		for i, name := range []string{"a", "b"} {
			one := &station{
				w: w, name: name, all: []string{"a", "b"}, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, uint64(i))),
			}
			stations[name] = one
			life, end := context.WithCancel(ctx)
			r := &Runner{
				Fleet: one, Job: Job{Name: "job", Every: simEvery, Lease: simTTL}, Logger: log,
				Exec: one.exec(func() time.Duration { return 100 * time.Second }),
			}
			all.Go(func() { _ = r.Run(life) })
			all.Go(func() {
				select {
				case <-one.gone:
				case <-ctx.Done():
				}
				end()
			})
		}
		time.Sleep(simEvery + 5*time.Second)
		w.mu.Lock()
		dead := w.order[0]
		w.mu.Unlock()
		close(stations[dead].gone)
		time.Sleep(2 * simEvery) // two claims, of which the second finds the first at work
		w.mu.Lock()
		rec, err := ParseRecord(w.values[Key("job")])
		w.mu.Unlock()
		if err != nil || len(rec.Runs) < 3 {
			t.Fatalf("%+v, %v", rec, err)
		}
		for i, one := range rec.Runs {
			if one.Lost != (i == len(rec.Runs)-1) || one.Ended != nil {
				t.Errorf("run %d by %s: lost %v, ended %v", i, one.By, one.Lost, one.Ended)
			}
		}
		cancel()
		all.Wait()
		time.Sleep(time.Minute)
		if n := strings.Count(said.String(), "whoever ran it is gone"); n != 1 {
			t.Errorf("told %d times:\n%s", n, said.String())
		}
	})
}

// One that is retired claims nothing more, lets what runs end by itself, and returns then.
func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1, simTTL)
		one := &station{
			w: w, name: "a", all: []string{"a"}, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, 1)),
		}
		retire, returned := make(chan struct{}), make(chan error, 1)
		var ended []Run
		r := &Runner{
			Fleet: one, Job: Job{Name: "job", Every: simEvery, Lease: simTTL, Overlap: Forbid}, Retire: retire,
			Exec: one.exec(func() time.Duration { return 5 * simEvery }), Done: func(r Run) { ended = append(ended, r) },
		}
		go func() { returned <- r.Run(t.Context()) }()
		time.Sleep(simEvery + 5*time.Second) // so one runs
		close(retire)
		time.Sleep(simEvery)
		select {
		case err := <-returned:
			t.Fatalf("it has returned (%v) before what runs has ended", err)
		default:
		}
		if err := <-returned; err != nil {
			t.Error(err)
		}
		if len(ended) != 1 || ended[0].Exit != 0 || ended[0].Error != "" || len(w.order) != 1 {
			t.Errorf("ended: %+v; claimed by %v", ended, w.order)
		}
		time.Sleep(time.Minute)
	})
}

// retiring is a fleet that has its runner retired while that waits for the lease.
type retiring struct {
	Fleet
	retire func()
}

func (r retiring) Lease(ctx context.Context, name string, ttl time.Duration) (Lease, error) {
	l, err := r.Fleet.Lease(ctx, name, ttl)
	r.retire()
	return l, err
}

// Who is retired in the middle of a claim does not go on with it.
func TestRetireWithinAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &station{
			w: newWorld(1, simTTL), name: "a", all: []string{"a"}, gone: make(chan struct{}), chaos: rand.New(rand.NewPCG(1, 1)),
		}
		retire := make(chan struct{})
		r := &Runner{
			Fleet: retiring{one, sync.OnceFunc(func() { close(retire) })}, Retire: retire,
			Job: Job{Name: "job", Every: simEvery, Lease: simTTL},
			Exec: func(context.Context, Start, Lease) (int, error) {
				t.Error("it is run")
				return 0, nil
			},
		}
		if err := r.Run(t.Context()); err != nil {
			t.Error(err)
		}
		rec, err := ParseRecord(one.w.values[Key("job")])
		if err != nil || len(rec.Runs) > 0 {
			t.Errorf("claimed: %+v, %v", rec.Runs, err)
		}
		close(one.gone)
		time.Sleep(time.Minute)
	})
}
