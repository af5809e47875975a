package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
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
	// parcelsBytes is how many bytes of payloads wait for their numbers to come.
	parcelsBytes = 8 << 20
	// overrunsMax is after how many overruns a station is not called again.
	overrunsMax = 3
	// failedPause is between two words about the failures of one station.
	failedPause = time.Minute
)

// ParcelTopic is the topic of messages whose numbers ride on the particle.
const ParcelTopic = "ring/passenger"

// ErrFull is what comes of a passenger for which there is no room at the stop.
var ErrFull = errors.New("too many passengers wait to board here")

// Rider is a passenger that was delivered here, or word of what was not.
type Rider struct {
	At     time.Time
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

	parcels     map[wire.CastID][]byte
	parcelOrder []wire.CastID
	parcelBytes int

	stations []*station
	job      *job

	boarded, delivered, home, lost, moved uint64
	works, overruns, failures             uint64
	held                                  time.Duration
	leaks                                 int // calls that go on though nobody waits for them
	slow                                  atomic.Uint64
}

func newRiding() riding {
	return riding{
		seats: make(chan struct{}), homes: map[uint64]chan train.Home{},
		parcels: map[wire.CastID][]byte{},
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
		n.expire(fx.Seq)
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
		p := Rider{At: now, Passenger: v.Delivered[i]}
		if p.Large {
			p.Payload, p.Lacks = n.parcel(p.Payload)
		}
		if n.riders.followed() {
			if !p.Large { // not to keep the whole train
				p.Payload = bytes.Clone(p.Payload)
			}
			p.Value = bytes.Clone(p.Value)
			n.tellRider(p)
		}
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

// OnRider calls each for every passenger from now on, in the manner of OnTick, with how many
// came before it for which each was too slow.
func (n *Node) OnRider(each func(missed uint64, p Rider)) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	newest, count := n.riders.newest(), n.ride.count
	stop, _ = n.riders.follow(newest, func(_ uint64, p Rider) {
		missed := p.count - 1 - count
		count = p.count
		n.ride.slow.Add(missed)
		each(missed, p)
	})
	return stop
}

// keepParcel keeps a payload until its number comes; the oldest goes first.
func (n *Node) keepParcel(m *wire.Cast) {
	r := &n.ride
	r.parcels[m.CastID] = m.Payload
	r.parcelOrder = append(r.parcelOrder, m.CastID)
	for r.parcelBytes += len(m.Payload); r.parcelBytes > parcelsBytes; {
		oldest := r.parcelOrder[0]
		r.parcelOrder = r.parcelOrder[1:]
		r.parcelBytes -= len(r.parcels[oldest])
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

// Station is code that may hold the particle at this stop.
type Station struct {
	Topic  string
	Budget time.Duration
	Every  bool // called at each pass
	// Work is called in a goroutine of its own, never twice at once.
	Work func(ctx context.Context, t core.Tick, ps []Rider) ([]core.Value, error)
}

// station is one that was added.
type station struct {
	Station
	work     chan *job
	at       *job // what it is at, nil for nothing
	overruns int
	failedAt time.Time
}

// job is what stations have to do while the particle is held.
type job struct {
	seq     uint64
	at      time.Time
	within  time.Duration
	open    int // stations that have not said anything
	values  []core.Value
	tick    core.Tick
	ps      []Rider
	expired bool
}

// ErrStation is that another station holds the particle for that topic.
var ErrStation = errors.New("there is a station that holds the particle for that topic already")

// AddStation has s called from now on, until remove.
func (n *Node) AddStation(s Station) (remove func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrEnded
	}
	for _, o := range n.ride.stations {
		if o.Topic == s.Topic {
			return nil, ErrStation
		}
	}
	st := &station{Station: s, work: make(chan *job, 1)}
	n.ride.stations = append(n.ride.stations, st)
	n.setStations()
	go n.man(st) // not waited for at the end: it may be in somebody else's code
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.dropStation(st)
	}, nil
}

// dropStation takes st away. The caller holds the baton.
func (n *Node) dropStation(st *station) {
	r := &n.ride
	for i, o := range r.stations {
		if o == st {
			r.stations = append(r.stations[:i:i], r.stations[i+1:]...)
			close(st.work)
			n.setStations()
			return
		}
	}
}

// setStations tells the core which stations there are.
func (n *Node) setStations() {
	set := &core.StationSet{Holds: map[string]time.Duration{}}
	for _, st := range n.ride.stations {
		set.Holds[st.Topic] = st.Budget
		if st.Every {
			set.Every = max(set.Every, st.Budget)
		}
	}
	if len(n.ride.stations) == 0 {
		set = nil
	}
	n.step(time.Now(), core.Event{Kind: core.Stations, Stations: set})
}

// startWork has the stations work that are asked for. The caller holds the baton.
func (n *Node) startWork(now time.Time, fx *core.Effect) {
	r := &n.ride
	j := &job{seq: fx.Seq, at: now, within: fx.Within, tick: fx.Tick}
	for _, p := range fx.Visit.Delivered {
		q := Rider{At: now, Passenger: p}
		if p.Large {
			q.Payload, q.Lacks = n.parcel(p.Payload)
		}
		j.ps = append(j.ps, q)
	}
	r.job = j
	r.works++
	for _, st := range r.stations {
		if st.at != nil || !st.Every && !j.concerns(st.Topic) {
			continue
		}
		st.at = j
		j.open++
		st.work <- j // it has room: st is at nothing
	}
	if j.open == 0 { // all who are asked are still at what was given up
		go func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.endWork(j)
		}()
	}
}

func (j *job) concerns(topic string) bool {
	for i := range j.ps {
		if j.ps[i].Topic == topic {
			return true
		}
	}
	return false
}

// expire is that the particle has gone on without what stations are at. The caller holds
// the baton.
func (n *Node) expire(seq uint64) {
	r := &n.ride
	j := r.job
	if j == nil || j.seq != seq {
		return
	}
	r.job, j.expired = nil, true
	took := time.Since(j.at)
	r.held += took
	for _, st := range r.stations {
		if st.at != j {
			continue
		}
		r.leaks++
		if took < st.Budget { // others have spent what there was, or another particle came
			continue
		}
		st.overruns++
		r.overruns++
		n.Say("station_overran", -1, fmt.Sprintf(
			"the particle has gone on without what the station %q is at: it has a budget of %v", st.Topic,
			st.Budget))
	}
}

// endWork lets the particle go on.
func (n *Node) endWork(j *job) {
	if n.ride.job != j {
		return // it has gone on already
	}
	n.ride.job = nil
	now := time.Now()
	n.ride.held += now.Sub(j.at)
	n.step(now, core.Event{Kind: core.Worked, Seq: j.seq, Values: j.values})
}

// man is the goroutine of a station.
func (n *Node) man(st *station) {
	for {
		var j *job
		var ok bool
		select {
		case j, ok = <-st.work:
			if !ok {
				return
			}
		case <-n.ctx.Done():
			return
		}
		ctx, cancel := context.WithDeadline(n.ctx, j.at.Add(min(st.Budget, j.within)))
		values, err := st.do(ctx, j)
		cancel()
		n.workDone(st, j, values, err)
	}
}

// do is one call, whose panic is contained.
func (st *station) do(ctx context.Context, j *job) (values []core.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			values, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	var mine []Rider
	for i := range j.ps {
		if j.ps[i].Topic == st.Topic {
			mine = append(mine, j.ps[i])
		}
	}
	return st.Work(ctx, j.tick, mine)
}

// workDone takes what a station has made, if that is not too late.
func (n *Node) workDone(st *station, j *job, values []core.Value, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.at = nil
	r := &n.ride
	if err != nil {
		r.failures++
		if now := time.Now(); now.Sub(st.failedAt) >= failedPause {
			st.failedAt = now
			n.Say("station_failed", -1, fmt.Sprintf("the station %q failed: %v", st.Topic, err))
		}
	}
	if j.expired {
		r.leaks--
		if st.overruns >= overrunsMax {
			n.Say("station_disabled", -1, fmt.Sprintf(
				"the station %q has overrun its budget %d times in a row, and is not called again", st.Topic,
				st.overruns))
			n.dropStation(st)
		}
		return
	}
	st.overruns = 0
	j.values = append(j.values, values...)
	if j.open--; j.open == 0 {
		n.endWork(j)
	}
}

// RideCounts are counters of passengers and stations.
type RideCounts struct {
	Boarded, Delivered, Home, Lost, Moved, Slow uint64
	Works, Overruns, Failures                   uint64
	Held                                        time.Duration
	Leaks                                       int
}

// counts is what there is to count. The caller holds the baton.
func (r *riding) counts() RideCounts {
	return RideCounts{
		Boarded: r.boarded, Delivered: r.delivered, Home: r.home, Lost: r.lost, Moved: r.moved,
		Slow: r.slow.Load(), Works: r.works, Overruns: r.overruns, Failures: r.failures, Held: r.held,
		Leaks: r.leaks,
	}
}
