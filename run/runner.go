package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	headStart  = 100 * time.Millisecond // between two instances that would claim a slot
	headMax    = time.Second            // after that all may
	claimTime  = 2 * time.Second        // to wait for a lease, until looking again
	askTime    = 5 * time.Second        // for anything else that is asked of the fleet
	endTime    = 2 * time.Second        // the same, where all is to end
	retryAfter = 500 * time.Millisecond // when that failed
	lookEvery  = 30 * time.Second       // at a clock that may have been set meanwhile
	tickEvery  = 200 * time.Millisecond // at the ticks, and at what should change soon
	resumeLook = time.Second            // at a job that is suspended
	errorMax   = 300                    // bytes of an error that are kept
)

// The causes of the context of an [Exec].
var (
	// ErrReplaced is that the next slot has come.
	ErrReplaced = errors.New("run: the next one replaces it")
	// ErrLost is that the lease is over, or about to be.
	ErrLost = errors.New("run: the lease is lost")
)

// Start is what a command is told.
type Start struct {
	Job   string
	Slot  string // see SlotText
	Fence uint64
	Tick  uint64 // the newest counted here
	Self  string
}

// Exec does the work of one slot and returns when nothing of it runs any more. It ends
// early when ctx does, and in any case before lease.Left() is 0, however it has to. An
// error is that it could not be started, or was ended.
type Exec func(ctx context.Context, s Start, lease Lease) (exit int, err error)

// Runner runs a job beside one instance.
type Runner struct {
	Fleet  Fleet
	Job    Job
	Exec   Exec
	Logger *slog.Logger     // nil: silence
	Now    func() time.Time // what time of day it is; nil: time.Now
	// Done is told of each run of this runner when it has ended; nil: nobody is. It may
	// be called by several goroutines.
	Done func(Run)
	// Retire has Run claim nothing more once it is closed, and return when what runs has
	// ended by itself; nil: it never is.
	Retire <-chan struct{}
}

// Run keeps to the job until ctx ends, ends what runs then, and returns; see Retire, too. It fails at
// once where the job is wrong, or the fleet's record of it is of another kind.
func (r *Runner) Run(ctx context.Context) error {
	p, err := r.Job.prepared()
	if err != nil {
		return err
	}
	l := &loop{Runner: r, plan: p, log: r.Logger}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.log = l.log.With("run", p.Name)
	defer l.all.Wait()
	fail := ""
	for {
		wait, err := l.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errKind) || errors.Is(err, errVersion):
			return err
		case err != nil:
			if text := err.Error(); text != fail { // once, not twice a second
				fail = text
				l.log.Warn("cannot run for now", "err", err)
			}
			wait = retryAfter
		default:
			fail = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.Retire:
			return nil
		case <-time.After(wait):
		}
	}
}

// errKind is that somebody else runs that name by ticks, or by time.
var errKind = errors.New("run: the name is taken by another kind of schedule")

// loop is a runner at work. One goroutine takes its turns.
type loop struct {
	*Runner
	plan plan
	log  *slog.Logger
	all  sync.WaitGroup // of what runs

	last  int64     // the newest claimed slot known here; 0 before any is
	due   time.Time // since when something was due without a claim; zero: nothing was
	ahead bool      // the record is ahead of the clock, which was said
	other string    // the schedule of another runner that was told of last

	mu   sync.Mutex // guards stop
	stop func()     // replaces what runs here; nil: nothing does, or it may overlap
}

func (l *loop) now(ctx context.Context) int64 {
	switch {
	case l.plan.Ticks():
		return int64(l.Fleet.Tick(ctx))
	case l.Now != nil:
		return l.Now().UnixMilli()
	}
	return time.Now().UnixMilli()
}

// turn looks what is due, does what can be done about it, and says when to look again.
func (l *loop) turn(ctx context.Context) (wait time.Duration, err error) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if l.last > 0 && !l.ahead { // what is claimed only grows, so nobody need be asked
		if o := l.plan.look(l.last, l.now(ask)); o.slot == 0 {
			return l.until(ask, o.next), nil
		}
	}
	value, revision, err := l.Fleet.Peek(ask, Key(l.plan.Name))
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		l.last, l.due, l.ahead = 0, time.Time{}, false
		return tickEvery, l.begin(ask)
	}
	rec, err := l.parse(value)
	if err != nil {
		return 0, err
	}
	now := l.now(ask)
	l.heed(rec, now)
	o := l.plan.look(rec.Slot, now)
	switch {
	case o.slot == 0:
		return max(l.until(ask, o.next), tickEvery), nil
	case rec.Suspended:
		return min(max(l.until(ask, o.next), tickEvery), resumeLook), nil
	case l.due.IsZero():
		l.due = time.Now()
	}
	// Not since this slot has come: where they come faster than it is this runner's turn,
	// and who is before it has no runner, nothing would ever be run.
	if d := l.turnOf(ask, rec) - time.Since(l.due); d > 0 {
		return d, nil
	}
	if l.busyHere() {
		return tickEvery, nil
	}
	return tickEvery, l.attempt(ctx, o.slot)
}

// heed takes notice of what the record says.
func (l *loop) heed(rec Record, now int64) {
	if rec.Slot != l.last {
		l.due = time.Time{}
	}
	l.last = rec.Slot
	if l.other != rec.Schedule {
		if l.other = rec.Schedule; rec.Schedule != l.plan.times() {
			l.log.Warn("whoever claimed last has another schedule for this name",
				"theirs", rec.Schedule, "here", l.plan.times())
		}
	}
	ahead := rec.Ahead(now)
	if ahead && !l.ahead {
		l.log.Warn("a slot far ahead of the clock was claimed: nothing is run before it. Which "+
			"clock is wrong? If it was another, and is set right: ring run forget "+l.plan.Name,
			"slot", SlotText(rec.Slot, false))
	}
	l.ahead = ahead
}

// until is how long it is to that time or tick, at most as long as nobody need look.
func (l *loop) until(ctx context.Context, next int64) time.Duration {
	if l.plan.Ticks() {
		return tickEvery
	}
	ms := min(next-l.now(ctx), lookEvery.Milliseconds())
	return time.Duration(max(ms, 1)) * time.Millisecond
}

// turnOf is how long others come first: those in the ring from behind the last runner.
// Within half of the time between two slots all have had their turn.
func (l *loop) turnOf(ctx context.Context, rec Record) time.Duration {
	if len(rec.Runs) == 0 {
		return 0
	}
	living := Living(l.Fleet.Instances(ctx))
	self, last := slices.Index(living, l.Fleet.Self()), slices.Index(living, rec.Runs[0].By)
	if self < 0 {
		return headMax
	}
	rank, step := (self-last-1+len(living))%len(living), headStart
	if l.plan.Every > 0 {
		step = min(step, l.plan.Every/2/time.Duration(len(living)))
	}
	return min(time.Duration(rank)*step, headMax)
}

// busyHere is whether what runs here keeps the next from being run; to be replaced it is
// told to end.
func (l *loop) busyHere() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop == nil {
		return false
	}
	if l.plan.Overlap == Replace {
		l.stop()
	}
	return true
}

// begin makes the record: the first slot is the first from now on.
func (l *loop) begin(ctx context.Context) error {
	rec := Record{
		V: 1, Schedule: l.plan.times(), Ticks: l.plan.Ticks(), Slot: l.now(ctx), Runs: []Run{},
	}
	err := l.Fleet.Swap(ctx, Key(l.plan.Name), rec.Encode(), 0)
	if errors.Is(err, ErrConflict) { // somebody was first, and this instance will hear of it
		return nil
	}
	return err
}

func (l *loop) parse(value []byte) (Record, error) {
	rec, err := ParseRecord(value)
	if err == nil && rec.Ticks != l.plan.Ticks() {
		err = fmt.Errorf("%w: %s is %s so far; choose another name, or: ring run forget %s",
			errKind, l.plan.Name, rec.Schedule, l.plan.Name)
	}
	return rec, err
}

// attempt claims a slot, if nobody else has meanwhile, and sets its work going.
func (l *loop) attempt(ctx context.Context, slot int64) error {
	wait, cancel := context.WithTimeout(ctx, claimTime)
	lease, err := l.Fleet.Lease(wait, l.plan.lease(slot), l.plan.Lease)
	late := wait.Err() != nil
	cancel()
	switch {
	case err != nil && late:
		return nil // somebody else has it; the record says what he did with it
	case err != nil:
		return err
	}
	run, err := l.claim(ctx, lease, slot)
	if err != nil || run.Slot == 0 {
		l.release(ctx, lease)
		return err
	}
	work, stop := context.WithCancelCause(ctx)
	if l.plan.Overlap != Allow {
		l.mu.Lock()
		l.stop = func() { stop(ErrReplaced) }
		l.mu.Unlock()
	}
	l.all.Go(func() {
		l.work(work, run, lease)
		stop(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.plan.Overlap != Allow {
			l.stop = nil
		}
	})
	return nil
}

// claim writes into the record that this slot is run here. The Run is zero if it need
// not be.
func (l *loop) claim(ctx context.Context, lease Lease, slot int64) (Run, error) {
	ctx, cancel := context.WithTimeout(ctx, min(askTime, lease.Left()))
	defer cancel()
	key := Key(l.plan.Name)
	for {
		value, revision, err := l.Fleet.Get(ctx, key)
		if err != nil || revision == 0 {
			return Run{}, err // it was deleted: the next turn makes it anew
		}
		rec, err := l.parse(value)
		if err != nil {
			return Run{}, err
		}
		if l.retired() {
			return Run{}, nil
		}
		o := l.plan.look(rec.Slot, l.now(ctx))
		behind := len(rec.Runs) > 0 && rec.Runs[0].Fence >= lease.Fence()
		if o.slot == 0 || rec.Suspended || behind || l.plan.lease(o.slot) != l.plan.lease(slot) {
			return Run{}, nil
		}
		run := Run{
			Slot: o.slot, Fence: lease.Fence(), Tick: l.Fleet.Tick(ctx), By: l.Fleet.Self(),
			Missed: o.missed, Started: l.date(),
		}
		next, lost := rec.claimed(run, l.plan.times(), l.gone(ctx, rec, revision))
		switch err := l.Fleet.Swap(ctx, key, next.Encode(), revision); {
		case err == nil:
			l.told(run, lost)
			return run, nil
		case errors.Is(err, ErrConflict):
			continue
		default: // it may have been done, and must not be done again then
			return l.confirm(ctx, run, err)
		}
	}
}

// retired is whether nothing more is to be claimed, also where that was under way.
func (l *loop) retired() bool {
	select {
	case <-l.Retire:
		return true
	default:
		return false
	}
}

// gone says of a run that has no end whether whoever ran it is: nobody holds its lease
// any more. Where that is not known, it says no.
func (l *loop) gone(ctx context.Context, rec Record, revision uint64) func(Run) bool {
	if l.plan.Overlap != Allow { // the one lease of the job is held here
		return func(Run) bool { return true }
	}
	if !slices.ContainsFunc(rec.Runs, Run.open) {
		return func(Run) bool { return false }
	}
	held, at, err := l.Fleet.Held(ctx)
	return func(r Run) bool { return err == nil && at >= revision && !held[r.Fence] }
}

// confirm finds out whether a claim that nobody answered was written.
func (l *loop) confirm(ctx context.Context, run Run, why error) (Run, error) {
	for {
		if value, _, err := l.Fleet.Get(ctx, Key(l.plan.Name)); err == nil {
			if rec, err := l.parse(value); err == nil && rec.find(run.Fence) != nil {
				return run, nil
			}
			// Not yet; but what was asked for may come yet. If it does, the slot is lost.
			return Run{}, why
		}
		select {
		case <-ctx.Done():
			return Run{}, why
		case <-time.After(retryAfter):
		}
	}
}

// told logs what a claim says of those before.
func (l *loop) told(run Run, lost []Run) {
	slot := SlotText(run.Slot, l.plan.Ticks())
	switch {
	case run.Missed >= manyMissed:
		l.log.Warn("many slots were missed; is a starting deadline missing?",
			"slot", slot, "missed", run.Missed)
	case run.Missed > 0:
		l.log.Warn("slots were missed", "slot", slot, "missed", run.Missed)
	}
	for _, old := range lost {
		l.log.Warn("a run before this has not said how it ended, and whoever ran it is gone",
			"by", old.By, "slot", SlotText(old.Slot, l.plan.Ticks()))
	}
}

func (l *loop) date() time.Time {
	now := time.Now
	if l.Now != nil {
		now = l.Now
	}
	return now().UTC().Round(time.Millisecond)
}

// work does what was claimed, writes how it ended, and gives the lease back.
func (l *loop) work(ctx context.Context, run Run, lease Lease) {
	slot := SlotText(run.Slot, l.plan.Ticks())
	log := l.log.With("slot", slot, "fence", run.Fence)
	log.Info("running")
	exit, err := -1, ErrLost
	if lease.Left() > 0 { // the claim may have taken long
		exit, err = l.Exec(ctx, Start{
			Job: l.plan.Name, Slot: slot, Fence: run.Fence, Tick: run.Tick, Self: run.By,
		}, lease)
	}
	ended := l.date()
	run.Ended, run.Exit = &ended, exit
	if err != nil {
		run.Error = short(err)
	}
	took := ended.Sub(run.Started)
	if err != nil || exit != 0 {
		log.Warn("failed", "exit", exit, "err", err, "took", took)
	} else {
		log.Info("done", "took", took)
	}
	if err := l.finish(ctx, run); err != nil {
		log.Warn("the fleet does not know how it ended", "err", err)
	}
	l.release(ctx, lease)
	if l.Done != nil {
		l.Done(run)
	}
}

// short is what is kept of an error.
func short(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), errorMax)], "")
}

// finish writes how a run ended, also where ctx is why.
func (l *loop) finish(ctx context.Context, run Run) error {
	ctx, cancel := lastWord(ctx)
	defer cancel()
	for {
		value, revision, err := l.Fleet.Get(ctx, Key(l.plan.Name))
		if err == nil && revision == 0 {
			return nil // it was deleted
		}
		if err == nil {
			var rec Record
			if rec, err = l.parse(value); err == nil {
				mine := rec.find(run.Fence)
				if mine == nil { // so many came since that it is not kept
					l.log.Warn("how this run ended is not kept: too many have come since",
						"slot", SlotText(run.Slot, l.plan.Ticks()), "fence", run.Fence)
					return nil
				}
				*mine = run
				err = l.Fleet.Swap(ctx, Key(l.plan.Name), rec.Encode(), revision)
			}
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrConflict) {
			continue
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter):
		}
	}
}

// release gives a lease back; if that cannot be done, it runs out by itself.
func (l *loop) release(ctx context.Context, lease Lease) {
	ctx, cancel := lastWord(ctx)
	defer cancel()
	_ = lease.Release(ctx)
}

// lastWord is the time for what has to be said behind a run, less from when all is to end:
// the whole fleet may be on its way, and nobody there to hear it.
func lastWord(ctx context.Context) (context.Context, context.CancelFunc) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-last.Done():
		case <-time.After(endTime):
			cancel()
		}
	})
	return last, func() {
		stop()
		cancel()
	}
}
