package lease

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/bus"
)

func at(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }

func TestP2CountsFromBeforeItAsked(t *testing.T) {
	h := New("job", 3*time.Second)
	if c := h.Turn(at(0)); c == nil || c.Kind != bus.Grant || c.TTL != 3*time.Second {
		t.Fatalf("first: %+v", c)
	}
	if h.Turn(at(10)) != nil {
		t.Error("asks twice")
	}
	h.Answer(at(900), bus.Result{Fence: 7}, true)
	if !h.Valid(at(2999)) || h.Valid(at(3000)) || h.Fence() != 7 {
		t.Errorf("valid until %v, fence %d", h.Until(), h.Fence())
	}
	if h.Turn(at(999)) != nil {
		t.Error("renews too early")
	}
	if c := h.Turn(at(1000)); c == nil || c.Kind != bus.Renew || c.Fence != 7 {
		t.Fatalf("renewal: %+v", c)
	}
	h.Answer(at(1900), bus.Result{Fence: 7}, true)
	if !h.Valid(at(3999)) || h.Valid(at(4000)) {
		t.Errorf("renewed until %v", h.Until())
	}
}

func TestP2LateAnswerIsNoLease(t *testing.T) {
	h := New("job", time.Second)
	h.Turn(at(0))
	h.Answer(at(1500), bus.Result{Fence: 7}, true)
	if h.Valid(at(1500)) || !h.Over(at(1500)) {
		t.Error("a grant that came too late counts")
	}
}

func TestP2LostRenewalEndsIt(t *testing.T) {
	h := New("job", 3*time.Second)
	h.Turn(at(0))
	h.Answer(at(1), bus.Result{Fence: 7}, true)
	h.Turn(at(1000))
	h.Answer(at(1100), bus.Result{}, false)
	if !h.Valid(at(1200)) || h.Turn(at(2100)) == nil {
		t.Error("gives up before it has to, or does not try again")
	}
	h.Answer(at(2200), bus.Result{Code: bus.Gone}, true)
	if h.Valid(at(2200)) || !h.Over(at(2200)) {
		t.Error("somebody else has it, and it goes on")
	}
}

func TestHeldByAnother(t *testing.T) {
	h := New("job", time.Second)
	h.Turn(at(0))
	h.Answer(at(1), bus.Result{Code: bus.Held, Fence: 3}, true)
	if h.Fence() != 0 || h.Over(at(1)) {
		t.Error("what another holds counts")
	}
	if h.Turn(at(2)) == nil {
		t.Error("does not ask again")
	}
	if h.Release() != nil {
		t.Error("releases what it does not have")
	}
}
