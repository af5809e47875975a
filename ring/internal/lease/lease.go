// Package lease is the holder's side of a lease on the bus: when to ask, when to
// renew, and until when it may act.
//
//	ask ──────────────► granted ·····renew·····► renewed ···► let go
//	 │◄─ counted from here, by the holder ──────►│
//	                     │◄─ by the leader, from when it applied it, and longer ─►│
//
// So with clocks that differ in speed by less than one part in a hundred the
// holder stops before anybody else may begin (Gray and Cheriton, Leases, 1989,
// section 2). What outlasts even that is refused by the fence, which only grows.
//
// A Holder is told the time by a clock that counts time in which the host slept.
// It is not safe for concurrent use.
package lease

import (
	"time"

	"ringofservers.dev/ring/internal/bus"
)

// Holder wants one lease, or has it. Use New.
type Holder struct {
	name  string
	ttl   time.Duration
	fence uint64
	asked time.Time // when the request that is under way, or was answered last, was made
	until time.Time // not to act from then on
	busy  bool      // a request is under way
	over  bool      // let go, lost, or released
}

// New wants name for ttl at a time.
func New(name string, ttl time.Duration) *Holder { return &Holder{name: name, ttl: ttl} }

// Fence is the number that everything done under the lease must carry; 0 before
// it is granted.
func (h *Holder) Fence() uint64 { return h.fence }

// Valid reports whether the holder may act now.
func (h *Holder) Valid(now time.Time) bool { return h.fence > 0 && !h.over && now.Before(h.until) }

// Until is from when on it may not, unless it is renewed.
func (h *Holder) Until() time.Time { return h.until }

// Over reports whether the lease was had and is no more.
func (h *Holder) Over(now time.Time) bool {
	return h.over || h.fence > 0 && !now.Before(h.until)
}

// Next is when Turn has something to do.
func (h *Holder) Next() time.Time {
	if h.fence == 0 || h.busy {
		return h.until
	}
	return h.asked.Add(h.ttl / 3)
}

// Turn is the command to propose now, nil for none. Its answer goes to Answer.
func (h *Holder) Turn(now time.Time) *bus.Command {
	switch {
	case h.busy || h.over:
		return nil
	case h.fence == 0:
		h.asked, h.busy = now, true
		return &bus.Command{Kind: bus.Grant, Key: h.name, TTL: h.ttl}
	case !h.Valid(now):
		h.over = true
		return nil
	case now.Before(h.Next()):
		return nil
	}
	h.asked, h.busy = now, true
	return &bus.Command{Kind: bus.Renew, Key: h.name, Fence: h.fence}
}

// Answer takes what came of the command; ok is false where it is not known. The
// lease counts from when it was asked for.
func (h *Holder) Answer(now time.Time, r bus.Result, ok bool) {
	h.busy = false
	switch {
	case h.over:
	case !ok:
		// A renewal may have been done; what is known stands.
	case r.Code != bus.Done:
		h.over = h.fence > 0
	case h.fence == 0:
		h.fence, h.until = r.Fence, h.asked.Add(h.ttl)
		h.over = !now.Before(h.until)
	default:
		h.until = h.asked.Add(h.ttl)
	}
}

// Release is the command that gives it back, nil if there is nothing to give.
func (h *Holder) Release() *bus.Command {
	if h.over || h.fence == 0 {
		return nil
	}
	h.over = true
	return &bus.Command{Kind: bus.Release, Key: h.name, Fence: h.fence}
}
