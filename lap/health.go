package lap

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"ringofservers.dev/ring"
)

// AppTopic is that of the passengers by which applications tell how they are; their payload
// is the JSON of an App.
const AppTopic = "ring/app"

// App is how the application beside an instance is.
type App struct {
	State    string    `json:"state"` // as package supervise has it
	Since    time.Time `json:"since"` // of the state, by the instance's clock
	Restarts uint64    `json:"restarts"`
	Why      string    `json:"why,omitempty"` // what was wrong last
}

// What bounds that of others, and of ours: bytes.
const (
	stateMax = 32
	whyMax   = 256
)

// none is the state that rides where an application was taken away.
const none = "none"

// rode is an App as it rides.
type rode struct {
	App
	Incarnation uint32 `json:"incarnation"` // of the instance
}

// Fleet is what of a ring.Ring a Health needs.
type Fleet interface {
	Lap(ctx context.Context, topic string, payload []byte) (ring.Lapped, error)
	OnPassenger(topic string, f func(ring.Passenger)) (stop func())
	OnView(f func(ring.View)) (stop func())
}

// When the state of an application rides.
const (
	// rideApart is the time between two rides: of an application that flaps faster only the
	// newest state is told.
	rideApart = time.Second
	// rideAgain is after how long a state that has not changed rides again, for whoever has
	// not had it, and rideAgainEach what it is for each instance where that is more: at most
	// ten a second in all ride so. Give or take a fifth.
	rideAgain     = 30 * time.Second
	rideAgainEach = 100 * time.Millisecond
	// rideFor bounds one ride, and is the time to the next attempt after one in vain.
	rideFor = 5 * time.Second
	// rideEach spreads those that ride because somebody has come back, by the size of the
	// fleet, so that not all of them board for one lap.
	rideEach    = 10 * time.Millisecond
	rideEachMax = rideAgain
)

// Health tells all instances how the application beside this one is, and knows how theirs
// are. Its methods may be called by several goroutines.
type Health struct {
	fleet  Fleet
	logger *slog.Logger
	wake   chan struct{} // holds one where due has changed

	mu   sync.Mutex // guards what follows
	own  *App       // nil while there is none here
	view ring.View
	apps map[ring.Name]rode // of the others, as they came
	due  time.Time          // when ours is to ride; zero for never
}

// NewHealth makes one that does nothing until Run. logger may be nil.
func NewHealth(fleet Fleet, logger *slog.Logger) *Health {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Health{
		fleet: fleet, logger: logger, wake: make(chan struct{}, 1), apps: make(map[ring.Name]rode),
	}
}

// Set says how the application beside this instance is. It does not block.
func (h *Health) Set(now App) {
	now.State, now.Why = clipped(now.State, stateMax), clipped(now.Why, whyMax)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.own = &now
	h.ask(time.Now())
}

// Clear says that there is no application beside this instance any more. It does not block.
func (h *Health) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own == nil || h.own.State == none {
		return // nobody has heard of one
	}
	h.own = &App{State: none, Since: time.Now()} // which goes on riding, for who has not had it
	h.ask(time.Now())
}

// All is how the applications of those are who are in the ring, as far as that is known
// here. Who has none is not in it.
func (h *Health) All() map[ring.Name]App {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[ring.Name]App)
	for _, i := range h.view.Instances {
		one, ok := h.apps[i.Name]
		switch {
		case i.Name == h.view.Self && h.own != nil && h.own.State != none:
			all[i.Name] = *h.own
		case i.Name != h.view.Self && ok && lives(i) && one.Incarnation >= i.Incarnation:
			all[i.Name] = one.App
		}
	}
	return all
}

// Run tells and hears until ctx ends, and returns its cause.
func (h *Health) Run(ctx context.Context) error {
	stopView := h.fleet.OnView(h.look)
	defer stopView()
	stopHearing := h.fleet.OnPassenger(AppTopic, h.hear)
	defer stopHearing()
	var last time.Time // when ours rode last
	timer := time.NewTimer(rideAgain)
	defer timer.Stop()
	for {
		if due := h.dueAt(); due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(due), time.Until(last.Add(rideApart))))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.wake:
		case <-timer.C:
			last = time.Now()
			h.ride(ctx)
		}
	}
}

func (h *Health) dueAt() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.due
}

// ask has ours ride at that time, if it is not to ride before. The caller holds mu.
func (h *Health) ask(at time.Time) {
	if h.own == nil || !h.due.IsZero() && !at.Before(h.due) {
		return
	}
	h.due = at
	select {
	case h.wake <- struct{}{}:
	default: // it will look
	}
}

// ride tells all how ours is now, once, and says when to do so again.
func (h *Health) ride(ctx context.Context) {
	h.mu.Lock()
	h.due = time.Time{} // what changes from here on rides once more
	payload, err := json.Marshal(rode{*h.own, h.incarnation()})
	again := max(rideAgain, time.Duration(len(h.view.Instances))*rideAgainEach)
	h.mu.Unlock()
	next := again*4/5 + rand.N(again*2/5)
	if err == nil {
		err = h.board(ctx, payload)
	}
	if err != nil && ctx.Err() == nil {
		h.logger.Debug("the state of the application did not go round", "err", err)
		next = rideFor
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ask(time.Now().Add(next))
}

func (h *Health) board(ctx context.Context, payload []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rideFor, fmt.Errorf("not within %v", rideFor))
	defer cancel()
	_, err := h.fleet.Lap(ctx, AppTopic, payload)
	return err
}

// incarnation is that of this instance. The caller holds mu.
func (h *Health) incarnation() uint32 {
	for _, i := range h.view.Instances {
		if i.Name == h.view.Self {
			return i.Incarnation
		}
	}
	return 0
}

// hear notes what rides by.
func (h *Health) hear(p ring.Passenger) {
	var one rode
	if p.Moved || json.Unmarshal(p.Payload, &one) != nil || one.State == "" {
		return // of another version of this program, or none of ours
	}
	one.State, one.Why = clipped(one.State, stateMax), clipped(one.Why, whyMax)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case p.From == h.view.Self:
	case one.State == none:
		delete(h.apps, p.From)
	default:
		h.apps[p.From] = one
	}
}

// look forgets who is gone, and has ours ride again for who is back.
func (h *Health) look(view ring.View) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := make(map[ring.Name]ring.Instance, len(h.view.Instances))
	for _, i := range h.view.Instances {
		before[i.Name] = i
	}
	first := len(before) == 0
	back := false
	for _, i := range view.Instances {
		was := before[i.Name]
		switch {
		case lives(i):
			back = back || !lives(was) || i.Incarnation > was.Incarnation
		case h.apps[i.Name].Incarnation <= i.Incarnation: // not of a later life that is not seen yet
			delete(h.apps, i.Name)
		}
	}
	h.view = view
	if back && !first {
		h.ask(time.Now().Add(spread(len(view.Instances))))
	}
}

// spread is a time to wait where all of so many do the same.
func spread(instances int) time.Duration {
	return rand.N(min(rideEachMax, time.Duration(max(1, instances))*rideEach))
}

// lives says whether an instance is in the ring; a suspected one still is.
func lives(i ring.Instance) bool { return i.State == ring.Alive || i.State == ring.Suspect }
