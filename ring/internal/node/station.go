package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"ringofservers.dev/ring/internal/core"
)

const (
	// A station that has overrun its budget has two strikes more, one that has not one
	// less. Who has strikesMax is not called again.
	strikesMax = 6
	// saidPause is between two words about one station's trouble.
	saidPause = time.Minute
)

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
	leaking  bool // nobody waits for that any more
	strikes  int
	saidAt   time.Time // of an overrun
	failedAt time.Time // when a failure was told
}

// job is what stations have to do while the particle is held.
type job struct {
	seq      uint64
	at       time.Time
	within   time.Duration
	stations []*station // who were asked
	open     int        // how many of them have not said anything
	values   []core.Value
	tick     core.Tick
	ps       []Rider
}

var (
	// ErrStation is that another station holds the particle for that topic.
	ErrStation = errors.New("there is a station that holds the particle for that topic already")
	errGoexit  = errors.New("it has ended its goroutine")
)

// AddStation has s called from now on, until remove.
func (n *Node) AddStation(s Station) (remove func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrEnded
	}
	if n.stationOf(s.Topic) != nil {
		return nil, ErrStation
	}
	st := &station{Station: s, work: make(chan *job, 1)}
	n.ride.stations = append(n.ride.stations, st)
	n.ride.changed = true
	n.tellStations()
	go n.man(st) // not waited for at the end: it may be in somebody else's code
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.dropStation(st)
		n.tellStations()
	}, nil
}

// stationOf is the station that is called for a topic, nil if there is none, or only one
// that has not come back from what was given up.
func (n *Node) stationOf(topic string) *station {
	for _, st := range n.ride.stations {
		if st.Topic == topic && !st.leaking {
			return st
		}
	}
	return nil
}

// dropStation takes st away. The caller holds the baton.
func (n *Node) dropStation(st *station) {
	r := &n.ride
	for i, o := range r.stations {
		if o == st {
			r.stations = append(r.stations[:i:i], r.stations[i+1:]...)
			r.changed = true
			close(st.work)
			return
		}
	}
}

// tellStations tells the core which stations there are, if that has changed. It is not for
// within a Step.
func (n *Node) tellStations() {
	if !n.ride.changed {
		return
	}
	n.ride.changed = false
	var set *core.StationSet
	for _, st := range n.ride.stations {
		if st.leaking {
			continue
		}
		if set == nil {
			set = &core.StationSet{Holds: map[string]time.Duration{}}
		}
		set.Holds[st.Topic] = st.Budget
		if st.Every {
			set.Every = max(set.Every, st.Budget)
		}
	}
	n.step(time.Now(), core.Event{Kind: core.Stations, Stations: set})
}

// startWork has the stations work that are asked for. The caller holds the baton.
func (n *Node) startWork(now time.Time, fx *core.Effect) {
	r := &n.ride
	j := &job{seq: fx.Seq, at: now, within: fx.Within, tick: fx.Tick}
	for _, p := range fx.Visit.Delivered {
		q := Rider{At: now, Passenger: p}
		if q.Payload = bytes.Clone(p.Payload); p.Large { // what goes on is not theirs to write to
			q.Payload, q.Lacks = n.parcel(p.Payload)
		}
		q.Value = bytes.Clone(p.Value)
		j.ps = append(j.ps, q)
	}
	r.job = j
	r.works++
	for _, st := range r.stations {
		if st.at != nil || !st.Every && !j.concerns(st.Topic) {
			continue
		}
		st.at = j
		j.stations = append(j.stations, st)
		j.open++
		st.work <- j // it has room: st is at nothing
		if st.Budget < j.within {
			time.AfterFunc(st.Budget, func() { n.outOfTime(st, j) })
		}
	}
	if j.open == 0 { // who were asked have just been removed
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

// outOfTime is that a station has had its own budget, while others may have more.
func (n *Node) outOfTime(st *station, j *job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.at != j || st.leaking || n.ride.job != j {
		return
	}
	n.giveUp(time.Now(), st)
	if j.open--; j.open == 0 {
		n.endWork(j)
	}
	n.tellStations()
}

// expire is that the particle has gone on without what stations are at. The caller holds
// the baton.
func (n *Node) expire(now time.Time, seq uint64) {
	r := &n.ride
	j := r.job
	if j == nil || j.seq != seq {
		return
	}
	r.job = nil
	r.held += now.Sub(j.at)
	for _, st := range j.stations {
		if st.at == j && !st.leaking {
			n.giveUp(now, st)
		}
	}
}

// giveUp waits no longer for what a station is at. It is not called before it has come back.
func (n *Node) giveUp(now time.Time, st *station) {
	st.leaking = true
	n.ride.leaks++
	n.ride.changed = true
	n.strike(now, st)
}

// strike is that a station has taken too long; where it had less than half of its budget,
// because others had spent what there was, that says nothing about it.
func (n *Node) strike(now time.Time, st *station) {
	if now.Sub(st.at.at) < st.Budget/2 {
		return
	}
	n.ride.overruns++
	if st.strikes += 2; now.Sub(st.saidAt) >= saidPause {
		st.saidAt = now
		n.Say("station_overran", -1, fmt.Sprintf("the particle has gone on without what the station %q "+
			"is at: it has a budget of %v, and is not called before it has come back", st.Topic, st.Budget))
	}
	if st.strikes >= strikesMax {
		n.Say("station_disabled", -1, fmt.Sprintf("the station %q has overrun its budget of %v too often, "+
			"and is not called again", st.Topic, st.Budget))
		n.dropStation(st)
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
		select {
		case j, ok := <-st.work:
			if !ok {
				return
			}
			n.call(st, j)
		case <-n.ctx.Done():
			return
		}
	}
}

// call has a station do a job. Where that ends the goroutine, another takes over.
func (n *Node) call(st *station, j *job) {
	values, err, back := []core.Value(nil), errGoexit, false
	defer func() {
		n.workDone(st, j, values, err)
		if !back {
			go n.man(st)
		}
	}()
	ctx, cancel := context.WithDeadline(n.ctx, j.at.Add(min(st.Budget, j.within)))
	defer cancel()
	values, err = st.do(ctx, j)
	back = true
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
	defer n.tellStations()
	if err != nil {
		n.failed(st.Topic, err, &st.failedAt)
	}
	now, leaked := time.Now(), st.leaking
	if !leaked && now.Sub(j.at) > st.Budget { // its timer is late, too
		n.strike(now, st)
		values = nil
	} else if !leaked {
		st.strikes = max(st.strikes-1, 0)
	}
	st.at, st.leaking = nil, false
	if leaked {
		n.ride.leaks--
		n.ride.changed = true
		for _, o := range n.ride.stations {
			if o != st && o.Topic == st.Topic { // another has taken its place meanwhile
				n.dropStation(st)
				break
			}
		}
		return
	}
	j.values = append(j.values, values...)
	if j.open--; j.open == 0 {
		n.endWork(j)
	}
}

// StationFailed counts a failure of a station that does not hold the particle, and tells of
// it, if that was long enough ago.
func (n *Node) StationFailed(topic string, err error, toldAt *time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed(topic, err, toldAt)
}

func (n *Node) failed(topic string, err error, toldAt *time.Time) {
	n.ride.failures++
	if now := time.Now(); now.Sub(*toldAt) >= saidPause {
		*toldAt = now
		n.Say("station_failed", -1, fmt.Sprintf("the station %q failed: %v", topic, err))
	}
}
