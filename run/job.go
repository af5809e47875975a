package run

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
)

// Overlap is what becomes of a slot that comes while the one before it still runs.
type Overlap string

// The three of Kubernetes' CronJob.
const (
	Allow   Overlap = "allow"   // both run; the default
	Forbid  Overlap = "forbid"  // it waits; if another comes meanwhile, it is missed
	Replace Overlap = "replace" // what runs is ended first
)

const (
	// NameMax bounds the name of a job in bytes: keys and leases have it in theirs.
	NameMax = 64
	// JitterMax bounds Job.Jitter, which is below Every in any case.
	JitterMax = time.Hour
	// DefaultLease is Job.Lease if that is 0.
	DefaultLease = 10 * time.Second
)

// Job is what is run, and when. Every runner of a name should have the same. The zero
// values are the defaults of Kubernetes' CronJob.
type Job struct {
	Name string // letters, digits, and - _ . /, up to NameMax

	// One of these. Every is 1 s or more; its times are the multiples since 1970, so
	// that all runners reckon the same. Cron has five fields, or is @hourly and the
	// like. EveryTick N is at the ticks that N divides.
	Every     time.Duration
	Cron      string
	EveryTick uint64

	Zone             *time.Location // of Cron; nil: UTC
	Overlap          Overlap        // "": Allow
	StartingDeadline time.Duration  // a slot that is older is missed; 0: however old
	Jitter           time.Duration  // each slot begins later by up to so much, the same at all runners
	Lease            time.Duration  // for what runs, 2 s to 1 h; 0: DefaultLease
}

func (j Job) zone() *time.Location {
	if j.Zone == nil {
		return time.UTC
	}
	return j.Zone
}

// Ticks is whether its slots are ticks, not times.
func (j Job) Ticks() bool { return j.EveryTick != 0 }

// Check says all that is wrong with it.
func (j Job) Check() error {
	_, err := j.prepared()
	return err
}

// prepared fills in defaults, or says all that is wrong.
func (j Job) prepared() (plan, error) {
	errs := []error{CheckName(j.Name)}
	s, err := j.schedule()
	errs = append(errs, err)
	j.Overlap = cmp.Or(j.Overlap, Allow)
	j.Lease = cmp.Or(j.Lease, DefaultLease)
	if j.Overlap != Allow && j.Overlap != Forbid && j.Overlap != Replace {
		errs = append(errs, fmt.Errorf("overlap %q is unknown: choose allow, forbid or replace", j.Overlap))
	}
	if j.StartingDeadline < 0 {
		errs = append(errs, fmt.Errorf("starting_deadline is %v, less than zero", j.StartingDeadline))
	}
	if j.Lease < 2*time.Second || j.Lease > time.Hour {
		errs = append(errs, fmt.Errorf("lease is %v: give 2s to 1h", j.Lease))
	}
	switch {
	case j.Jitter < 0 || j.Jitter > JitterMax:
		errs = append(errs, fmt.Errorf("jitter is %v: give up to %v", j.Jitter, JitterMax))
	case j.Jitter > 0 && err == nil && !j.Ticks():
		if gap := shortest(s); j.Jitter >= gap { // slots would change places
			errs = append(errs, fmt.Errorf("jitter is %v, and there may be only %v between two", j.Jitter, gap))
		}
	}
	if j.Ticks() && (j.Jitter != 0 || j.StartingDeadline != 0) {
		errs = append(errs, errors.New("jitter and starting_deadline are of times of day, not of ticks"))
	}
	switch {
	case j.Cron == "" && j.Zone != nil:
		errs = append(errs, errors.New("time_zone is of cron alone"))
	case j.zone() == time.Local: // slots would differ from host to host
		errs = append(errs, errors.New(
			"time_zone Local is another at each host: write which, such as Europe/Berlin"))
	}
	return plan{j, s}, errors.Join(errs...)
}

// CheckName says what is wrong with the name of a job or a rollout.
func CheckName(name string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("-_./", r)
	}
	if name == "" || len(name) > NameMax || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("name %q: give 1 to %d letters, digits, and - _ . /", name, NameMax)
	}
	return nil
}

// plan is a job that was found right.
type plan struct {
	Job
	schedule schedule
}

// outlook is what a plan comes to at a moment.
type outlook struct {
	slot   int64 // to be run now; 0: none
	missed int   // slots between the last that was claimed and this; up to manyMissed
	next   int64 // when to look again, in the unit of slots
}

// look says what is due now, where last was claimed last: of several the newest.
func (p plan) look(last, now int64) outlook {
	o := outlook{next: p.due(p.schedule.next(now))}
	for before := now; ; {
		slot, n := p.schedule.newest(last, before)
		if n == 0 {
			return o
		}
		at := p.due(slot)
		switch {
		case at > now:
			o.next = min(o.next, at)
			before = slot - 1
			continue
		case p.StartingDeadline > 0 && now-at > p.StartingDeadline.Milliseconds():
			return o // those before it are older still
		}
		o.slot, o.missed = slot, n-1
		return o
	}
}

// due is when a slot begins: it, and what jitter makes of it.
func (p plan) due(slot int64) int64 {
	spread := uint64(p.Jitter.Milliseconds())
	if spread == 0 || slot == 1<<63-1 {
		return slot
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", p.Name, slot)
	return slot + int64(h.Sum64()%spread)
}

// lease is the name of the lease under which a slot is claimed and run: one for all,
// or, where they may overlap, one for each.
func (p plan) lease(slot int64) string {
	if p.Overlap == Allow {
		return fmt.Sprintf("%s%s %d", prefix, p.Name, slot)
	}
	return prefix + p.Name
}
