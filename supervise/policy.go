package supervise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// State is what an application is in.
type State string

// The states of an application. Stopped and Failed are final.
const (
	Starting  State = "starting"  // it runs, and no check has succeeded yet
	Healthy   State = "healthy"   // it runs; the last checks succeeded, or there are none
	Unhealthy State = "unhealthy" // it runs, and the last check failed
	Waiting   State = "waiting"   // it does not run, and is started again in a while
	Stopping  State = "stopping"  // it was told to end
	Stopped   State = "stopped"   // it has ended and is meant to
	Failed    State = "failed"    // it has ended and is not started again
)

// Final says whether nothing more happens in this state.
func (s State) Final() bool { return s == Stopped || s == Failed }

// Restart says after which exits an application is started again.
type Restart string

// What restarts there are. After a failed health check OnFailure restarts too; Never
// makes of it a failure.
const (
	Always    Restart = "always"
	OnFailure Restart = "on-failure" // an exit code other than 0, or a signal
	Never     Restart = "never"
)

// Unlimited restarts never give up.
const Unlimited = -1

// Policy is when an application is looked at, restarted and given up. Zero values are
// the defaults.
type Policy struct {
	Interval    time.Duration // between two checks, 10 s
	Failures    int           // failed checks in a row for a restart, 3
	Grace       time.Duration // after a start failed checks do not count for so long, 30 s
	StopTimeout time.Duration // from the stop signal to SIGKILL, 10 s
	Restart     Restart       // Always
	Limit       int           // more restarts than this within Period are a failure, 5; or Unlimited
	Period      time.Duration // 2 minutes
	BackoffMin  time.Duration // before the first restart, 500 ms; each further in Period waits twice as long
	BackoffMax  time.Duration // but no longer than this, 30 s
}

func (p Policy) withDefaults() Policy {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&p.Interval, 10*time.Second)
	def(&p.Grace, 30*time.Second)
	def(&p.StopTimeout, 10*time.Second)
	def(&p.Period, 2*time.Minute)
	def(&p.BackoffMin, 500*time.Millisecond)
	def(&p.BackoffMax, 30*time.Second)
	p.BackoffMax = max(p.BackoffMax, p.BackoffMin)
	if p.Failures <= 0 {
		p.Failures = 3
	}
	if p.Limit == 0 {
		p.Limit = 5
	}
	if p.Restart == "" {
		p.Restart = Always
	}
	return p
}

// eventKind says which fields of an event count.
type eventKind uint8

const (
	evTimer   eventKind = iota + 1 // the deadline has come, or not: a stray one is harmless
	evStarted                      // run: it runs
	evEnded                        // run, ok, why: it has ended and nothing of it is left
	evChecked                      // run, ok, why
	evStop                         // it is to end
	evKill                         // it is to end at once
)

// event is one thing that happened. Those of another run than the present one are
// late, and change nothing.
type event struct {
	kind eventKind
	run  uint64
	ok   bool
	why  string
}

// effect is one thing to be done, in order.
type effect uint8

const (
	fxStart  effect = iota + 1 // evStarted or evEnded follows, in the end evEnded
	fxCheck                    // evChecked follows, unless the run ends
	fxSignal                   // the stop signal
	fxKill                     // everything of it
)

// keeper is the policy at work: told the time and what happens, it says what to do. It
// reads no clock, and chance is its source's.
type keeper struct {
	policy Policy
	checks bool // there are any
	rand   *rand.Rand

	state    State
	why      string // of the state, "" where there is nothing to say
	run      uint64 // counts the starts
	running  bool
	checking bool
	wanted   bool      // to run: nobody has asked for its end
	verdict  bool      // it is being stopped because of its health
	killed   bool      // fxKill was given for this run
	failures int       // failed checks in a row
	began    time.Time // of this run
	next     time.Time // the next start, check or kill, by state; zero for none
	restarts []time.Time
	count    uint64 // restarts of all time
}

// newKeeper makes a keeper whose first start is due now.
func newKeeper(now time.Time, p Policy, checks bool, r *rand.Rand) *keeper {
	return &keeper{
		policy: p.withDefaults(), checks: checks, rand: r, state: Waiting, wanted: true, next: now,
	}
}

// deadline is when step wants to be called with a timer, zero for never.
func (k *keeper) deadline() time.Time { return k.next }

// step takes one event.
func (k *keeper) step(now time.Time, ev event) []effect {
	if k.state.Final() {
		return nil
	}
	switch ev.kind {
	case evStop, evKill:
		return k.stop(now, ev.kind == evKill)
	case evTimer:
		if now.Before(k.next) {
			return nil
		}
		return k.due(now)
	}
	if ev.run != k.run {
		return nil
	}
	switch ev.kind {
	case evStarted:
		if k.running && k.state == Starting && !k.checks {
			k.state = Healthy
		}
	case evEnded:
		k.ended(now, ev)
	case evChecked:
		return k.checked(now, ev)
	}
	return nil
}

// due does what next was set for.
func (k *keeper) due(now time.Time) []effect {
	switch {
	case k.state == Waiting:
		k.state, k.why = Starting, ""
		k.run++
		k.running, k.checking, k.killed, k.failures, k.began = true, false, false, 0, now
		k.next = time.Time{}
		if k.checks {
			// The first looks are quick: most applications are up long before an
			// interval is over.
			k.next = now.Add(min(k.policy.Interval, firstCheck))
		}
		return []effect{fxStart}
	case k.state == Stopping && !k.killed:
		k.killed, k.next = true, time.Time{}
		return []effect{fxKill}
	case k.running && k.checks && !k.checking && k.state != Stopping:
		k.checking, k.next = true, time.Time{}
		return []effect{fxCheck}
	}
	k.next = time.Time{}
	return nil
}

// firstCheck is the longest pause between checks until the first has succeeded.
const firstCheck = 500 * time.Millisecond

func (k *keeper) checked(now time.Time, ev event) []effect {
	k.checking = false
	if k.state == Stopping || !k.running {
		return nil
	}
	k.next = now.Add(k.policy.Interval)
	if ev.ok {
		k.state, k.why, k.failures = Healthy, "", 0
		return nil
	}
	k.why = ev.why
	if k.state == Starting && now.Before(k.began.Add(k.policy.Grace)) {
		k.next = now.Add(min(k.policy.Interval, firstCheck))
		return nil
	}
	k.state = Unhealthy
	if k.failures++; k.failures < k.policy.Failures {
		return nil
	}
	k.verdict = true
	k.why = fmt.Sprintf("%d checks in a row failed: %s", k.failures, ev.why)
	return k.halt(now)
}

// halt begins the end of a run.
func (k *keeper) halt(now time.Time) []effect {
	k.state, k.next = Stopping, now.Add(k.policy.StopTimeout)
	return []effect{fxSignal}
}

// stop ends it for good. Asked twice it goes on as it was, and at once if that is asked.
func (k *keeper) stop(now time.Time, atOnce bool) []effect {
	var fx []effect
	first := k.wanted
	k.wanted = false
	switch {
	case !k.running:
		k.state, k.why, k.next = Stopped, "", time.Time{}
		return nil
	case k.state == Stopping && first:
		k.why = "" // it was on its way out for its health, and now it is for good
	case k.state != Stopping:
		k.why = ""
		fx = k.halt(now)
	}
	if atOnce && !k.killed {
		k.killed, k.next = true, time.Time{}
		fx = append(fx, fxKill)
	}
	return fx
}

// ended decides whether the application is started again, and when.
func (k *keeper) ended(now time.Time, ev event) {
	if !k.running {
		return
	}
	verdict := k.verdict
	k.running, k.checking, k.verdict, k.next = false, false, false, time.Time{}
	bad := !ev.ok || verdict
	if !verdict {
		k.why = ev.why
	}
	switch {
	case !k.wanted:
		k.state, k.why = Stopped, ""
		return
	case !bad && k.policy.Restart != Always:
		k.state = Stopped
		return
	case k.policy.Restart == Never:
		k.state = Failed
		return
	}
	k.restarts = slices.DeleteFunc(k.restarts, func(at time.Time) bool {
		return now.Sub(at) >= k.policy.Period
	})
	if k.policy.Limit != Unlimited && len(k.restarts) >= k.policy.Limit {
		k.state = Failed
		k.why = fmt.Sprintf("given up after %d restarts within %v; the last time: %s",
			len(k.restarts), k.policy.Period, k.why)
		return
	}
	k.state, k.next = Waiting, now.Add(k.backoff(len(k.restarts)))
	if len(k.restarts) >= restartsKept {
		k.restarts = k.restarts[1:]
	}
	k.restarts = append(k.restarts, now)
	k.count++
}

// restartsKept bounds what is remembered where restarts are unlimited: the backoff is at
// its most long before.
const restartsKept = 1024

// backoff is the pause before a restart after so many recent ones: somewhere in the
// upper half of what doubling comes to, so that a fleet that lost the same thing at
// once does not come back for it at once.
func (k *keeper) backoff(recent int) time.Duration {
	d := k.policy.BackoffMin
	for range recent {
		if d *= 2; d >= k.policy.BackoffMax {
			d = k.policy.BackoffMax
			break
		}
	}
	return d/2 + time.Duration(k.rand.Int64N(int64(d/2)+1))
}
