package node

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// ridersKept is how many passengers wait for a subscriber that is slow.
	ridersKept = 16384
	// ridersBytes is how many bytes of them do.
	ridersBytes = 8 << 20
	// ParcelsBytes is how many bytes of payloads wait for their numbers to come.
	ParcelsBytes = 16 << 20
	// parcelLeast is what each of them counts for at least.
	parcelLeast = 256
)

// ParcelTopic is the topic of messages whose numbers ride on the particle.
const ParcelTopic = "ring/passenger"

// ErrFull is what comes of a passenger for which there is no room at the stop.
var ErrFull = errors.New("too many passengers wait to board here")

// Rider is a passenger that was delivered here, or word of what was not.
type Rider struct {
	At     time.Time
	Tick   Tick   // the pass
	Moved  bool   // what follows is of another order
	Missed uint64 // of that, as far as can be said
	train.Passenger
	Lacks bool // it is large, and its payload has not come

	count uint64 // delivered here, up to this
}

// riding is what passengers and stations need. The baton guards it.
type riding struct {
	boarders struct { // those that nobody has fed the core yet; not the baton guards it
		mu   sync.Mutex
		list []*boarder
	}
	boarding []*boarder    // of the Board under way, those without an effect yet
	seats    chan struct{} // closed when there may be room again
	homes    map[uint64]chan train.Home
	told     bool
	count    uint64
	topics   map[string]int // what is followed, and by how many

	parcels     map[wire.CastID][]byte
	parcelOrder []wire.CastID
	parcelBytes int

	stations []*station
	changed  bool // stations, since the core was told of them
	job      *job

	boarded, delivered, home, lost, moved uint64
	works, overruns, failures, unfolded   uint64
	held                                  time.Duration
	leaks                                 int // calls that go on though nobody waits for them
	slow                                  atomic.Uint64
}

func newRiding() riding {
	return riding{
		seats: make(chan struct{}), homes: map[uint64]chan train.Home{},
		parcels: map[wire.CastID][]byte{}, topics: map[string]int{},
	}
}

// boarder is a passenger of which the core has not heard yet.
type boarder struct {
	rider wire.Rider
	home  chan train.Home // gets what comes of it; nil: nobody waits
	seq   uint64          // 0: there is no room
	seats <-chan struct{} // then: closed when there may be
	err   error
	done  chan struct{} // closed when the rest is set
}

// Board has a passenger ride once round and does not wait for it. It fails with ErrFull, or
// ErrEnded.
func (n *Node) Board(topic string, payload []byte) error {
	b := n.board(wire.Rider{Topic: topic, Payload: payload}, nil)
	if b.err == nil && b.seq == 0 {
		return ErrFull
	}
	return b.err
}

// Lap has a passenger ride once round and returns it as it came home. While too many wait to
// board here, it waits. The error is ctx's, or ErrEnded.
func (n *Node) Lap(ctx context.Context, topic string, payload []byte, large bool) (train.Home, error) {
	if ctx.Err() != nil {
		return train.Home{}, context.Cause(ctx)
	}
	r := wire.Rider{Topic: topic, Payload: bytes.Clone(payload), Large: large}
	home := make(chan train.Home, 1)
	for {
		b := n.board(r, home)
		if b.err != nil {
			return train.Home{}, b.err
		}
		select { // of home and seats one never comes
		case h := <-home:
			return h, nil
		case <-b.seats:
			continue
		case <-ctx.Done():
			b.err = context.Cause(ctx)
		case <-n.ctx.Done():
			b.err = ErrEnded
		}
		if b.seq > 0 {
			n.mu.Lock()
			delete(n.ride.homes, b.seq)
			n.step(time.Now(), core.Event{Kind: core.Unboard, Seq: b.seq})
			n.mu.Unlock()
		}
		return train.Home{}, b.err
	}
}

// board feeds the core a passenger. Who comes while another waits for the baton leaves it to
// that one: with a thousand of them the particle would stand in line behind each.
func (n *Node) board(r wire.Rider, home chan train.Home) *boarder {
	b := &boarder{rider: r, home: home, done: make(chan struct{})}
	q := &n.ride.boarders
	q.mu.Lock()
	q.list = append(q.list, b)
	first := len(q.list) == 1
	q.mu.Unlock()
	if first {
		n.mu.Lock()
		q.mu.Lock()
		list := q.list
		q.list = nil
		q.mu.Unlock()
		n.boardAll(list)
		n.mu.Unlock()
	}
	<-b.done
	return b
}

// boardAll feeds the core all of list. The caller holds the baton.
func (n *Node) boardAll(list []*boarder) {
	r := &n.ride
	riders := make([]wire.Rider, len(list))
	for i, b := range list {
		riders[i] = b.rider
		if b.err = nil; n.closed {
			b.err = ErrEnded
		}
	}
	r.boarding = list
	seats := r.seats
	n.step(time.Now(), core.Event{Kind: core.Board, Riders: riders})
	for _, b := range list {
		if b.seq == 0 {
			b.seats = seats
			if len(r.boarding) > 0 && b.err == nil { // the step came to no end
				b.err = ErrEnded
			}
		}
		close(b.done)
	}
	r.boarding = nil
}

// carryRide does an effect of passengers and stations.
func (n *Node) carryRide(now time.Time, fx *core.Effect) {
	r := &n.ride
	switch fx.Kind {
	case core.Boarding:
		b := r.boarding[0]
		r.boarding = r.boarding[1:]
		b.seq = fx.Seq
		if b.home != nil {
			r.homes[fx.Seq] = b.home
		}
		r.boarded++
	case core.Full:
		r.boarding = r.boarding[1:]
	case core.Seats:
		close(r.seats)
		r.seats = make(chan struct{})
	case core.Visited:
		n.visit(now, fx.Visit)
	case core.Work:
		n.startWork(now, fx)
	case core.Overdue:
		n.expire(now, fx.Seq)
	case core.Unfolded:
		r.unfolded += fx.Seq
	}
}

// visit tells what the particle has brought.
func (n *Node) visit(now time.Time, v *train.Visit) {
	r := &n.ride
	n.flush() // it goes on first
	if v.Moved {
		r.moved++
		n.tellRider(Rider{At: now, Moved: true, Missed: v.Missed})
	}
	r.delivered += uint64(len(v.Delivered))
	for i := range v.Delivered {
		if !r.follows(v.Delivered[i].Topic) {
			continue
		}
		p := Rider{At: now, Tick: n.last, Passenger: v.Delivered[i]}
		if p.Large {
			p.Payload, p.Lacks = n.parcel(p.Payload)
		} else { // not to keep the whole train
			p.Payload = bytes.Clone(p.Payload)
		}
		p.Value = bytes.Clone(p.Value)
		n.tellRider(p)
	}
	for i := range v.Home {
		h := v.Home[i]
		r.home++
		if h.Lost {
			r.lost++
		}
		if ch := r.homes[h.Seq]; ch != nil {
			delete(r.homes, h.Seq)
			h.Value = bytes.Clone(h.Value)
			ch <- h
		}
	}
}

// follows reports whether anybody wants to hear of a topic. Who does not is not woken.
func (r *riding) follows(topic string) bool {
	for t := range r.topics { // it is the same for whichever it is
		if TopicHas(t, topic) {
			return true
		}
	}
	return false
}

// TopicHas reports whether who listens to topic is to hear of one: of all below a topic
// that ends with a slash, and of all with an empty one.
func TopicHas(topic, one string) bool {
	return topic == "" || one == topic ||
		strings.HasSuffix(topic, "/") && strings.HasPrefix(one, topic)
}

func (n *Node) tellRider(p Rider) {
	if !n.riders.followed() {
		return
	}
	n.ride.count++
	p.count = n.ride.count
	n.riders.push(p)
	n.ride.told = true
}

// weight is how many bytes p keeps.
func (p Rider) weight() int { return 64 + len(p.Payload) + len(p.Value) }

// OnRider calls each for every passenger of topic from now on, in the manner of OnTick, for
// word of moves, and for how many came before it for which each was too slow, of whatever topic
// is followed.
func (n *Node) OnRider(topic string, each func(missed uint64, p Rider)) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ride.topics[topic]++
	newest, count := n.riders.newest(), n.ride.count
	end, _ := n.riders.follow(newest, func(_ uint64, p Rider) {
		missed := p.count - 1 - count
		count = p.count
		n.ride.slow.Add(missed)
		if missed > 0 || p.Moved || TopicHas(topic, p.Topic) {
			each(missed, p)
		}
	})
	return sync.OnceFunc(func() {
		end()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.ride.topics[topic]--; n.ride.topics[topic] == 0 {
			delete(n.ride.topics, topic)
		}
	})
}

// keepParcel keeps a payload until its number comes; the oldest goes first.
func (n *Node) keepParcel(m *wire.Cast) {
	r := &n.ride
	r.parcels[m.CastID] = m.Payload
	r.parcelOrder = append(r.parcelOrder, m.CastID)
	for r.parcelBytes += max(len(m.Payload), parcelLeast); r.parcelBytes > ParcelsBytes; {
		oldest := r.parcelOrder[0]
		r.parcelOrder = r.parcelOrder[1:]
		r.parcelBytes -= max(len(r.parcels[oldest]), parcelLeast)
		delete(r.parcels, oldest)
	}
}

// parcel is the payload of that name.
func (n *Node) parcel(name []byte) (payload []byte, lacks bool) {
	id, ok := wire.CastName(name)
	if ok {
		payload, ok = n.ride.parcels[id]
	}
	return payload, !ok
}

// RideCounts are counters of passengers and stations.
type RideCounts struct {
	Boarded, Delivered, Home, Lost, Moved, Slow uint64
	Works, Overruns, Failures, Unfolded         uint64
	Held                                        time.Duration
	Leaks                                       int
}

// counts is what there is to count. The caller holds the baton.
func (r *riding) counts() RideCounts {
	return RideCounts{
		Boarded: r.boarded, Delivered: r.delivered, Home: r.home, Lost: r.lost, Moved: r.moved,
		Slow: r.slow.Load(), Works: r.works, Overruns: r.overruns, Failures: r.failures, Unfolded: r.unfolded,
		Held:  r.held,
		Leaks: r.leaks,
	}
}
