package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	rollLook  = 500 * time.Millisecond // at how far the others are
	retryWait = 30 * time.Second       // for others to begin again what has failed there
)

// FailedError is that a rollout has stopped.
type FailedError struct {
	Instance string // where it failed
	Exit     int
	Why      string // more than the exit code, or ""
}

func (e *FailedError) Error() string {
	text := fmt.Sprintf("run: the rollout has stopped: %s failed, exit code %d", e.Instance, e.Exit)
	if e.Why != "" {
		text += " (" + e.Why + ")"
	}
	return text
}

// Rollout is something that every instance does in its turn, in the order of the ring,
// one at a time. One of it runs beside each instance, with the same settings.
type Rollout struct {
	Fleet    Fleet
	Name     string        // as of a Job; a new rollout has a new name
	Parallel bool          // one at a time in each data centre: the first elements of names
	SkipDead bool          // who is not in the ring is passed over; else it is waited for
	Retry    bool          // a failure here is done again; others' are waited for a while, if they do
	Lease    time.Duration // as of a Job; 0: DefaultLease
	Exec     Exec
	Logger   *slog.Logger
	// Look is told how far all of it is, about twice a second while Run waits and when it
	// returns, by Run's goroutine; then what it waits for is not logged. nil: nobody is.
	Look func(Progress)
}

// rolling is a rollout at work.
type rolling struct {
	Rollout
	log     *slog.Logger
	self    int
	old     map[uint64]bool // fences of failures that were there at first
	begun   time.Time       // when those were seen
	said    string
	started bool // the old ones are known
}

// Run waits for this instance's turn, does the work, and returns nil when it is done here,
// however far the others are. It returns a *FailedError where it has failed here, or elsewhere
// before that, which is told to who is started again though its part is done; an error where
// what the fleet has of it cannot be read; and the context's error. While it is cut off from
// the fleet it waits.
func (r Rollout) Run(ctx context.Context) error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	r.Lease = cmp.Or(r.Lease, DefaultLease)
	w := &rolling{Rollout: r, log: r.Logger, old: map[uint64]bool{}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.log = w.log.With("rollout", r.Name)
	if r.Look != nil {
		defer w.last()
	}
	for {
		over, err := w.turn(ctx)
		var failed *FailedError
		switch {
		case over, errors.As(err, &failed), errors.Is(err, errVersion), errors.Is(err, errNoRollout):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			w.say("waiting: " + err.Error())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rollLook):
		}
	}
}

// last has Look told of how it ended.
func (w *rolling) last() {
	ask, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if p, err := LookAt(ask, w.Fleet, w.Name); err == nil {
		w.Look(p)
	}
}

// say logs what has changed since it was said last.
func (w *rolling) say(text string) {
	if text != w.said {
		w.said = text
		w.log.Info(text)
	}
}

// look has whoever wants to know told how far it is, in words or not.
func (w *rolling) look(s rollState, all []Instance, first string) {
	p := s.progress(all)
	if w.Look != nil {
		w.Look(p)
		return
	}
	w.say(fmt.Sprintf("%d of %d done, waiting for %s", p.Done, len(p.Parts), first))
}

// turn looks how far the rollout is, and does this instance's part if it is its turn.
func (w *rolling) turn(ctx context.Context) (over bool, err error) {
	ask, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	value, _, err := w.Fleet.Peek(ask, RolloutKey(w.Name))
	if err != nil {
		return false, err
	}
	all := w.Fleet.Instances(ask)
	w.self = slices.IndexFunc(all, func(i Instance) bool { return i.Name == w.Fleet.Self() })
	if w.self < 0 {
		return false, errSilent
	}
	if !w.started { // what was before is to be known for sure
		if value, _, err = w.Fleet.Get(ask, RolloutKey(w.Name)); err != nil {
			return false, err
		}
	}
	s, err := parseRoll(value, len(all))
	if err != nil {
		return false, err
	}
	w.began(s)
	if over, err := w.ended(s); over || err != nil {
		return over, err
	}
	if first := w.before(s, all); first != "" {
		w.look(s, all, first)
		return false, nil
	}
	return w.attempt(ctx, all)
}

// began notes which failures were there before. One here is done again. One elsewhere
// is borne for a while: only whoever is started there can do it again, and in what order
// the runners are started should not matter.
func (w *rolling) began(s rollState) {
	if !w.started && w.Retry {
		w.begun = time.Now()
		for _, o := range s.Open {
			w.old[o.Fence] = true
		}
	}
	w.started = true
}

// ended is whether nothing is left to do here: it is done, or it has failed somewhere.
func (w *rolling) ended(s rollState) (bool, error) {
	for _, o := range s.Open {
		mine := o.Instance == w.Fleet.Self()
		borne := w.old[o.Fence] && (mine || time.Since(w.begun) < retryWait)
		if o.Exit != 0 && !borne {
			return true, &FailedError{o.Instance, o.Exit, o.Error}
		}
	}
	if s.States[w.self] == rollDone {
		w.say("done here")
		return true, nil
	}
	return false, nil
}

// before is who must be done first, "" for nobody.
func (w *rolling) before(s rollState, all []Instance) string {
	for i, one := range all {
		switch {
		case i == w.self || s.States[i] == rollDone || one.Name == "":
		case w.Parallel && centre(one.Name) != centre(all[w.self].Name):
		case !one.Living && w.SkipDead:
		case i > w.self && s.States[i] != rollRuns:
		case !one.Living:
			return one.Name + ", which is not in the ring"
		default:
			return one.Name
		}
	}
	return ""
}

// centre is the data centre of an instance, as its name has it.
func centre(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

// attempt takes the lease, looks again, and does the work.
func (w *rolling) attempt(ctx context.Context, all []Instance) (over bool, err error) {
	name := RolloutKey(w.Name)
	if w.Parallel {
		name += " " + centre(all[w.self].Name)
	}
	wait, cancel := context.WithTimeout(ctx, claimTime)
	lease, err := w.Fleet.Lease(wait, name, w.Lease)
	late := wait.Err() != nil
	cancel()
	if err != nil {
		if late {
			return false, nil
		}
		return false, err
	}
	defer func() {
		release, cancel := lastWord(ctx)
		defer cancel()
		_ = lease.Release(release)
	}()
	open := rollOpen{Instance: all[w.self].Name, Fence: lease.Fence(), Started: time.Now().UTC()}
	claimed := false
	err = w.change(ctx, all, func(s *rollState) (bool, error) {
		if over, err = w.ended(*s); over || err != nil || w.before(*s, all) != "" {
			return false, err
		}
		claimed = true
		s.put(w.self, rollRuns, open)
		return true, nil
	})
	if err != nil || over || !claimed {
		return over, err
	}
	return true, w.work(ctx, all, open, lease)
}

// work does this instance's part and writes how it ended.
func (w *rolling) work(ctx context.Context, all []Instance, open rollOpen, lease Lease) error {
	w.say("running")
	exit, err := -1, ErrLost
	if lease.Left() > 0 {
		exit, err = w.Exec(ctx, Start{
			Job: w.Name, Fence: open.Fence, Tick: w.Fleet.Tick(ctx), Self: open.Instance,
		}, lease)
	}
	open.Exit = exit
	letter := byte(rollDone)
	if err != nil {
		open.Error, letter = short(err), rollFailed
		if open.Exit == 0 {
			open.Exit = -1
		}
	} else if exit != 0 {
		letter = rollFailed
	}
	last, cancel := lastWord(ctx)
	defer cancel()
	told := w.change(last, all, func(s *rollState) (bool, error) {
		s.put(w.self, letter, open)
		return true, nil
	})
	switch {
	case letter == rollFailed:
		return errors.Join(&FailedError{open.Instance, open.Exit, open.Error}, told)
	case told != nil:
		return fmt.Errorf("run: it is done here, and the fleet could not be told: %w", told)
	}
	w.say("done here")
	return nil
}

// change writes what do makes of the state, unless do returns false, and again where
// somebody else was faster. What may have been written is written again.
func (w *rolling) change(ctx context.Context, all []Instance, do func(*rollState) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for {
		again, err := w.changeOnce(ctx, all, do)
		if !again {
			return err
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(rollLook):
		}
	}
}

// changeOnce says whether to try again, and with an error only after a while.
func (w *rolling) changeOnce(ctx context.Context, all []Instance, do func(*rollState) (bool, error)) (
	again bool, err error,
) {
	value, revision, err := w.Fleet.Get(ctx, RolloutKey(w.Name))
	if err != nil {
		return true, err
	}
	s, err := parseRoll(value, len(all))
	if err != nil {
		return false, err
	}
	if write, err := do(&s); err != nil || !write {
		return false, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return false, err
	}
	switch err = w.Fleet.Swap(ctx, RolloutKey(w.Name), text, revision); {
	case errors.Is(err, ErrConflict):
		return true, nil
	case err != nil:
		return true, err
	}
	return false, nil
}
