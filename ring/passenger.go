package ring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// PassengerMax is how many bytes of payload, or of value, ride on the particle at most.
// Larger payloads go over the overlay, and their numbers on the particle.
const PassengerMax = wire.PassengerMax

// ErrLost is what Lap fails with where the passenger did not come home and nobody can say
// who has seen it: the part of the fleet that it rode in was not the one that went on.
var ErrLost = errors.New("ring: the passenger was lost")

// Number is a passenger's place in the order in which all stops deliver passengers: those
// of a later epoch come later, and within an epoch those with a greater N.
type Number struct {
	Epoch Epoch  `json:"epoch"`
	N     uint64 `json:"n"`
}

// Passenger is one that passed this stop, or word that what follows is of another order, or
// that some were missed.
type Passenger struct {
	At      time.Time `json:"at"` // here
	Number  Number    `json:"number"`
	From    Name      `json:"from,omitempty"`
	Topic   string    `json:"topic,omitempty"`
	Payload []byte    `json:"payload,omitempty"` // base64 in JSON; not to be written to
	// Value is what the stations that it has passed have made of it, nil before the first.
	Value  []byte `json:"value,omitempty"`
	Folded int    `json:"folded,omitempty"` // how many stops have changed Value
	// Lacks says that its payload was too large for the particle and has not come here.
	Lacks bool `json:"lacks,omitempty"`
	// Moved says that this instance has moved to another part of the fleet, or was passed
	// by: what follows is not in one order with what was delivered here before. Missed
	// passengers of it had gone by, as far as that can be said. Missed without Moved is how
	// many f was too slow for. Nothing else is set but At.
	Moved  bool   `json:"moved,omitempty"`
	Missed uint64 `json:"missed,omitempty"`
}

// Lapped is what came of a passenger: the receipt.
type Lapped struct {
	Number Number        `json:"number"`
	Topic  string        `json:"topic"`
	Value  []byte        `json:"value"`  // what stations made of it; base64 in JSON
	Folded int           `json:"folded"` // how many of them did
	Seen   []Name        `json:"seen"`   // at which stops it was delivered, in roster order
	Unseen []Absent      `json:"unseen"` // all others of the roster but who has left: it is not known that they were given it
	Took   time.Duration `json:"took_ns"`
}

// Lap has payload ride once round the ring and returns it as it came home: each stop was
// given it, see [Ring.OnPassenger], and its station of that topic, if there is one, has
// folded its part into the value, see [Ring.Station]. This instance is the last of them.
//
// It takes one lap at full speed: the particle does not rest while somebody is aboard, and
// is asked to hurry where it rests. All stops together send at most 32 KiB on a lap, each
// half of the room that it finds; while 4,096 wait to board here, Lap waits for room.
//
// More than PassengerMax bytes, and up to PayloadMax, are broadcast first, and board when
// all that live have them: Seen is whom the passenger has passed of those who have said so. Each stop
// keeps 16 MiB of them until their numbers come. An instance has its share of half of that
// under way, and waits with more; where several hundred do so at once a stop may have let go
// of one by then, which its Passenger.Lacks says.
//
// What Config.Hold declares is kept at each stop, whoever is aboard.
//
// It fails with ErrLost if the passenger has not come home, which may be whether or not
// others have seen it; with ErrRefused for a topic that is empty, over TopicMax bytes or no
// UTF-8, or for too large a payload; with ErrClosed, and with ctx's error. What has boarded
// rides on, whatever becomes of ctx.
func (r *Ring) Lap(ctx context.Context, topic string, payload []byte) (Lapped, error) {
	if err := checkCast(topic, payload); err != nil {
		return Lapped{}, err
	}
	begun := time.Now()
	var have gather.Set
	large := len(payload) > PassengerMax
	if large {
		done, err := r.loads.take(ctx, len(payload), r.parcelRoom())
		if err != nil {
			return Lapped{}, err
		}
		defer done()
		id, o, err := r.askOwn(ctx, wire.AskReceipt, node.ParcelTopic, payload)
		if err != nil {
			return Lapped{}, err
		}
		have, payload = o.Answered, wire.AppendCastName(nil, id)
	}
	h, err := r.node.Lap(ctx, topic, payload, large)
	switch {
	case errors.Is(err, node.ErrEnded):
		return Lapped{}, ErrClosed
	case err != nil:
		return Lapped{}, err
	case h.Lost:
		return Lapped{}, fmt.Errorf("%w: it is not known who has seen it", ErrLost)
	}
	seen := gather.Set(h.Seen)
	if large {
		seen = slices.Clone(seen) // others who came home with it have the same
		for i := range seen {
			if i < len(have) {
				seen[i] &= have[i]
			} else {
				seen[i] = 0
			}
		}
	}
	return Lapped{
		Number: r.number(&h.Passenger), Topic: topic, Value: h.Value, Folded: int(h.Folded),
		Seen: r.namesOf(seen, nil), Unseen: r.absent(seen), Took: time.Since(begun),
	}, nil
}

// parcelRoom is how many bytes of large payloads this instance has under way at most.
func (r *Ring) parcelRoom() int {
	alive := 0
	for _, i := range r.View().Instances {
		if i.State == Alive || i.State == Suspect {
			alive++
		}
	}
	return node.ParcelsBytes / 2 / max(alive, 1)
}

// loads is the large payloads that are under way.
type loads struct {
	mu    sync.Mutex
	bytes int
	freed chan struct{} // closed, and another in its place, when some are not any more
}

// take waits until there is room for size bytes, of room in all, or for nobody else, and
// takes it until done is called. The error is ctx's.
func (l *loads) take(ctx context.Context, size, room int) (done func(), err error) {
	for {
		l.mu.Lock()
		if l.bytes == 0 || l.bytes+size <= room {
			l.bytes += size
			l.mu.Unlock()
			return func() { l.give(size) }, nil
		}
		if l.freed == nil {
			l.freed = make(chan struct{})
		}
		freed := l.freed
		l.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *loads) give(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes -= size
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}

func (r *Ring) number(p *train.Passenger) Number {
	return Number{r.epoch(p.Epoch), p.Number}
}

// OnPassenger calls f for each passenger of topic that passes this stop from now on, in
// the manner of OnTick; of a topic that ends with a slash, for all below it, and of an
// empty one for all. All stops are given them in the order of their numbers, those of this
// instance when they come home. Word of a move, and of what f was too slow for (16,384 of
// them, or 8 MiB), goes to all.
func (r *Ring) OnPassenger(topic string, f func(Passenger)) (stop func()) {
	return r.node.OnRider(topic, func(missed uint64, p node.Rider) {
		if missed > 0 {
			f(Passenger{At: p.At, Missed: missed})
		}
		switch {
		case p.Moved:
			f(Passenger{At: p.At, Moved: true, Missed: p.Missed})
		case node.TopicHas(topic, p.Topic):
			f(r.passenger(&p))
		}
	})
}

func (r *Ring) passenger(p *node.Rider) Passenger {
	one := Passenger{
		At: p.At, Number: r.number(&p.Passenger), From: r.name(int(p.Origin)), Topic: p.Topic,
		Payload: p.Payload, Folded: int(p.Folded), Lacks: p.Lacks,
	}
	if p.Folded > 0 {
		one.Value = p.Value
	}
	return one
}
