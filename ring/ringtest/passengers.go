package ringtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/train"
	"ringofservers.dev/ring/internal/wire"
)

// boarders is how many hosts have passengers board.
const boarders = 3

// Topics of passengers.
const (
	topicSeen = "seen" // no station holds the particle for it
	topicHeld = "held" // one does at every host, in some worlds
	topicLast = "last" // of those who board once all is calm
)

// Kinds of worlds, by who rides in them.
const (
	usual   = iota
	large   // half of the passengers may be as large as they get
	crowded // somebody rides nearly always
	endless // now and then more want to board than may wait
)

// ticket is a passenger in its place.
type ticket struct {
	number uint64
	id     wire.CastID
}

// booked is a passenger of which nothing has come yet.
type booked struct {
	host  int32
	life  uint32
	at    int64 // when it began to wait
	folds int   // how often a value was made of it
	doubt bool  // perhaps more often, or less
}

// rail is what the checkers know of all passengers. It keeps those of dead processes too.
type rail struct {
	booked map[wire.CastID]*booked
	sums   map[wire.CastID]uint64 // what they carry, by a hash
	seen   map[ticket][]uint64    // where they were delivered: a set of hosts
	before map[ticket]wire.CastID // who is before them in the order
	spent  map[lapPlace]int64     // for how long stations have held the particle
	kind   int
	rides  bool // there are any
	firm   bool // stations may hold it
	dull   bool // most of them do not answer
	last   int  // of topicLast, those who are home
}

type lapPlace struct {
	epoch wire.Epoch
	lap   uint64
}

// journey is what passengers one process was given.
type journey struct {
	next   uint64 // the number that comes next, 0 for any
	last   wire.CastID
	had    map[wire.CastID]bool
	moves  int
	joins  int
	joined int64       // when it did last
	full   bool        // it was told that too many wait
	board  *wire.Rider // of the step under way
	work   work
}

// work is what stations do while the particle waits.
type work struct {
	seq      uint64 // 0 for nothing
	place    lapPlace
	at       int64
	within   int64
	ids      []wire.CastID
	answered bool
}

func newRail() rail {
	return rail{
		booked: map[wire.CastID]*booked{}, sums: map[wire.CastID]uint64{},
		seen: map[ticket][]uint64{}, before: map[ticket]wire.CastID{}, spent: map[lapPlace]int64{},
	}
}

// planRides has some hosts have passengers board now and then, until the last fault is over.
func (w *World) planRides() {
	d := dice(mix(w.seed, forRide))
	w.rail.rides, w.rail.firm, w.rail.dull = true, d.below(3) == 0, d.below(4) == 0
	switch roll := d.below(16); {
	case roll < 4:
		w.rail.kind = large
	case roll < 8:
		w.rail.kind = crowded
	case roll == 8:
		w.rail.kind = endless
	}
	w.planTurns(boarders, forRide, atRide)
}

// ride is the turn of one of them.
func (w *World) ride(i int32, turn uint32) {
	if w.hushed {
		return
	}
	d, h := w.turnOf(i, boarders, forRide, turn)
	if h.core != nil && !h.odd && !h.full {
		many := int64(1)
		if d.below(8) == 0 {
			many += d.below(20)
		}
		if w.rail.kind == endless && d.below(100) == 0 {
			many = 5000
		}
		for range many {
			size := d.below(64)
			if h.full {
				break
			}
			if w.rail.kind == large && d.below(2) == 0 || many < 100 && d.below(16) == 0 {
				size = d.below(wire.PassengerMax + 1)
			}
			topic := topicSeen
			if d.below(2) == 0 {
				topic = topicHeld
			}
			w.letBoard(h, topic, size, &d)
		}
	}
	pause := second
	if w.rail.kind == crowded {
		pause /= 16
	}
	w.agenda.push(w.now+20*ms+d.below(pause), atRide, i, turn+1)
}

func (w *World) letBoard(h *host, topic string, size int64, d *dice) {
	w.input(h.index, input{kind: core.Board, rider: &wire.Rider{Topic: topic, Payload: d.bytes(size)}})
}

// openStations tells a process that begins of its stations.
func (w *World) openStations(h *host) {
	if !w.rail.firm {
		return
	}
	d := dice(mix(w.seed, forRide, 2<<32, uint64(h.index), uint64(h.life)))
	set := &core.StationSet{Holds: map[string]time.Duration{
		topicHeld: time.Duration(5*ms + d.below(60*ms)),
	}}
	if d.below(4) == 0 {
		set.Every = time.Duration(1 + d.below(3*ms))
	}
	w.input(h.index, input{kind: core.Stations, stations: set})
}

// onBoarding is that a passenger waits.
func (w *World) onBoarding(h *host, seq uint64) {
	id := wire.CastID{Origin: uint32(h.index), Life: uint64(w.bootOf(h)), Seq: seq}
	if _, ok := w.rail.sums[id]; ok {
		w.fail("P4", "s%d calls a second passenger %v", h.index, id)
	}
	w.rail.booked[id] = &booked{host: h.index, life: h.life, at: w.now}
	w.rail.sums[id] = sumOf(h.board.Topic, h.board.Payload)
}

// onVisit is P4 at one stop: what it is given is in order, once, and as it boarded.
func (w *World) onVisit(h *host, v *train.Visit) {
	if v.Moved {
		w.onMoved(h)
	}
	for i := range v.Delivered {
		w.onDelivered(h, &v.Delivered[i])
	}
	for i := range v.Home {
		w.onHome(h, &v.Home[i])
	}
}

// onMoved is that what a stop is given is of another order from now on. It is told of none
// where nobody has gone past it, nor dropped a particle in another part of the fleet.
func (w *World) onMoved(h *host) {
	w.say(h, "MOVED")
	if !h.odd && w.bad < 0 && h.joins == 1 && (w.onlyCrashes() || w.untroubled(w.now)) {
		w.fail("P4", "s%d moves to another order, and was never away", h.index)
	}
	h.moves++
	h.next, h.had = 0, nil
}

func (w *World) onDelivered(h *host, p *train.Passenger) {
	w.say(h, "DELIVERED %d %v %s, %d bytes", p.Number, p.CastID, p.Topic, len(p.Payload))
	if sum, ok := w.rail.sums[p.CastID]; !ok || sum != sumOf(p.Topic, p.Payload) {
		w.fail("P4", "s%d is given %v, which is not what boarded", h.index, p.CastID)
	}
	if h.next != 0 && p.Number != h.next {
		w.fail("P4", "s%d is given number %d %v, and %d comes next", h.index, p.Number, p.CastID, h.next)
	}
	if h.had[p.CastID] {
		w.fail("P4", "s%d is given %v twice", h.index, p.CastID)
	}
	here := ticket{p.Number, p.CastID}
	if h.next != 0 {
		if was, ok := w.rail.before[here]; ok && was != h.last {
			w.fail("P4", "s%d is given %v as number %d after %v, and another was after %v", h.index,
				p.CastID, p.Number, h.last, was)
		}
		w.rail.before[here] = h.last
	}
	if h.had == nil {
		h.had = map[wire.CastID]bool{}
	}
	h.had[p.CastID] = true
	h.next, h.last = p.Number+1, p.CastID
	set := w.rail.seen[here]
	if set == nil {
		set = make([]uint64, (len(w.hosts)+63)/64)
		w.rail.seen[here] = set
	}
	set[h.index/64] |= 1 << (h.index % 64)
}

// onHome is P4 for the origin: the receipt is true, and where nothing was the matter, whole.
func (w *World) onHome(h *host, p *train.Home) {
	w.say(h, "HOME %d %v lost %v seen %x folded %d", p.Number, p.CastID, p.Lost, p.Seen, p.Folded)
	b := w.rail.booked[p.CastID]
	if b == nil || b.host != h.index || b.life != h.life {
		w.fail("P4", "s%d is told of %v, which is not its own, or was told of before", h.index, p.CastID)
		return
	}
	delete(w.rail.booked, p.CastID)
	calm := w.untroubled(b.at)
	if p.Lost {
		if calm || w.onlyCrashes() && h.joins == 1 {
			w.fail("P4", "%v is lost, and nothing was the matter", p.CastID)
		}
		return
	}
	if p.Topic == topicLast {
		w.rail.last++
	}
	w.checkSeen(h, p, calm || w.onlyCrashes() && h.joins == 1, b.at)
	w.checkValue(p, calm && !b.doubt, b.folds)
}

// checkSeen is the receipt itself.
func (w *World) checkSeen(h *host, p *train.Home, whole bool, since int64) {
	saw := w.rail.seen[ticket{p.Number, p.CastID}]
	for i := range w.hosts {
		k := &w.hosts[i]
		switch in := has(p.Seen, i); {
		case in && !has(saw, i):
			w.fail("P4", "s%d is told that s%d has seen %v as number %d", h.index, i, p.CastID, p.Number)
		case !in && whole && k.core != nil && !k.odd && !k.retired && k.joins == 1 && k.joined < since-w.lapTime():
			w.fail("P4", "s%d is told that s%d has not seen %v, and nothing was the matter", h.index, i,
				p.CastID)
		}
	}
	for k := len(w.hosts); k < 64*len(p.Seen); k++ {
		if has(p.Seen, k) {
			w.fail("P4", "s%d is told that %d has seen %v, and there is none", h.index, k, p.CastID)
		}
	}
}

// checkValue is that what stations made of a passenger is of those who have seen it, once
// of each, and of all who answered in time where nothing was the matter.
func (w *World) checkValue(p *train.Home, whole bool, folds int) {
	n := 0
	for v := p.Value; len(v) >= 2; v = v[2:] {
		i := int(binary.BigEndian.Uint16(v))
		for u := v[2:]; len(u) >= 2; u = u[2:] {
			if int(binary.BigEndian.Uint16(u)) == i {
				w.fail("P4", "s%d has changed %v twice", i, p.CastID)
			}
		}
		if !has(p.Seen, i) {
			w.fail("P4", "s%d has changed %v, and is not said to have seen it", i, p.CastID)
		}
		n++
	}
	if n != int(p.Folded) {
		w.fail("P4", "%v was changed %d times, and is said to have been %d times", p.CastID, n, p.Folded)
	}
	if whole && n != folds {
		w.fail("P4", "%v was changed by %d stations, and %d had answered in time", p.CastID, n, folds)
	}
}

func has(set []uint64, i int) bool {
	return i/64 < len(set) && set[i/64]>>(i%64)&1 != 0
}

// onWork has the stations of a process answer after a while: late now and then, or never.
func (w *World) onWork(h *host, fx *core.Effect) {
	h.work = work{
		seq: fx.Seq, place: lapPlace{fx.Tick.Epoch, fx.Tick.Lap}, at: w.now, within: int64(fx.Within),
	}
	var values []core.Value
	for i := range fx.Visit.Delivered {
		p := &fx.Visit.Delivered[i]
		h.work.ids = append(h.work.ids, p.CastID)
		value := binary.BigEndian.AppendUint16(append([]byte(nil), p.Value...), uint16(h.index))
		values = append(values, core.Value{Number: p.Number, Value: value})
		if h.dice.below(50) == 0 { // one word too many
			values = append(values, values[len(values)-1])
		}
	}
	if left := int64(w.timing.Loss)/2 - w.rail.spent[h.work.place]; h.work.within > left+slack && w.untroubled(w.now) {
		w.fail("P5", "stations of s%d may hold the particle for %v, and %v are left for them on lap %d",
			h.index, span(h.work.within), span(left), fx.Tick.Lap)
	}
	d := dice(mix(w.seed, forRide, 3<<32, uint64(h.index), uint64(h.life), fx.Seq))
	if never := d.below(20); never < 2 || w.rail.dull && never < 12 {
		return
	}
	after := d.below(4 * ms)
	switch d.below(16) {
	case 0, 1, 2, 3:
		after = d.below(h.work.within * 5 / 4)
	case 4:
		after = h.work.within + d.below(100*ms)
	}
	w.sayings = append(w.sayings, saying{h.life, input{kind: core.Worked, seq: fx.Seq, values: values}})
	w.agenda.push(w.now+after, atSay, h.index, uint32(len(w.sayings)-1))
}

// slack is how much later than they should things may happen by the clocks.
const slack = 1 * ms

// onWorked is that they have.
func (w *World) onWorked(h *host, seq uint64) {
	k := &h.work
	if k.seq != seq || k.answered {
		return
	}
	k.answered = true
	w.rail.spent[k.place] += min(w.now-k.at, k.within)
	for _, id := range k.ids {
		if b := w.rail.booked[id]; b != nil {
			b.folds++
			b.doubt = b.doubt || w.now > k.at+k.within-slack
		}
	}
}

// onDeparted is P5: the particle has left a stop.
func (w *World) onDeparted(h *host, p *wire.Particle) {
	k := &h.work
	if k.seq == 0 {
		return
	}
	if !k.answered {
		stayed := w.now - k.at
		w.rail.spent[k.place] += min(stayed, k.within)
		most := k.within
		if !ridesOn(h, p) {
			most = max(most, w.lapTime()/int64(len(w.everybody())))
		}
		if stayed < k.within-slack && w.untroubled(w.now) {
			w.fail("P5", "the particle left s%d after %v, and its stations had %v and were not done",
				h.index, span(stayed), span(k.within))
		}
		if stayed > most+slack && w.untroubled(w.now) {
			w.fail("P5", "stations of s%d held the particle for %v, and had %v", h.index, span(stayed),
				span(k.within))
		}
	}
	h.work = work{}
}

// ridesOn reports whether somebody is aboard who has not boarded at h: then the particle does
// not rest.
func ridesOn(h *host, p *wire.Particle) bool {
	return p.Train != nil && slices.ContainsFunc(p.Train.Riders, func(r wire.Rider) bool {
		return r.Stop != uint32(h.index)
	})
}

// untroubled reports whether nothing was the matter since then, nor for a while before: the
// ring has formed, and nobody has come or gone.
func (w *World) untroubled(since int64) bool {
	if !w.watch.formed || since < w.watch.forming+second {
		return false
	}
	for i := range w.script {
		a := &w.script[i]
		if int64(a.At) <= w.now && int64(a.over())+w.timing.forgive() > since {
			return false
		}
	}
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.core != nil && (h.odd || h.joins != 1 || h.joined > since-w.timing.forgive() || !h.core.Head().Joined) {
			return false
		}
	}
	return true
}

// onlyCrashes reports whether nothing can be the matter in this world but that processes
// die and start, one or few at a time, once it has formed.
func (w *World) onlyCrashes() bool {
	if !w.watch.formed || w.now < w.watch.forming+second {
		return false
	}
	for i := range w.script {
		switch a := &w.script[i]; a.Fault {
		case Crash, Third, Blank, Torn:
			if int64(a.At) < w.watch.forming {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// ridesOver is that something has come of each passenger of those who live. Of which not.
func (w *World) ridesOver() string {
	least := ""
	for id, b := range w.rail.booked { // the least text: order does not matter
		if w.alive(b.host, b.life) {
			if text := fmt.Sprintf("nothing came of %v, waiting since %s", id, stamp(b.at)); least == "" || text < least {
				least = text
			}
		}
	}
	for i := range w.hosts {
		if h := &w.hosts[i]; h.core != nil && h.full {
			return fmt.Sprintf("s%d was not told that there is room", i)
		}
	}
	return least
}

// checkRides is the end of P4: nobody waits for ever, and then all are given the same. From
// a rest a passenger is home long before a lap with rests would be over.
func (w *World) checkRides(set []int32) {
	for tries := 0; w.failure == nil; tries++ {
		text := w.ridesOver()
		if text == "" {
			break
		}
		if tries == 10 {
			w.fail("P4", "after calm: %s", text)
			return
		}
		w.run(w.now + w.lapTime())
	}
	moves := make([]int, len(w.hosts))
	for _, i := range set {
		moves[i] = w.hosts[i].moves
	}
	w.run(w.now + w.lapTime() + second/7)
	d := dice(mix(w.seed, forRide, 4<<32))
	one := d.below(int64(len(set))) // the others know of it by word alone
	w.checkHurried(set[one:one+1], &d)
	w.run(w.now + w.lapTime() + second/7)
	w.checkHurried(set[:min(len(set), 40)], &d)
	w.run(w.now + w.hurriedTime())
	if w.failure != nil {
		return
	}
	first := &w.hosts[set[0]]
	for _, i := range set {
		h := &w.hosts[i]
		if h.moves != moves[i] {
			w.fail("P4", "s%d moves to another order, long after calm", i)
		}
		if h.next != first.next || h.last != first.last {
			w.fail("P4", "after calm s%d was given %v as number %d, and s%d %v as number %d", i, h.last,
				h.next-1, set[0], first.last, first.next-1)
		}
	}
}

// checkHurried has a passenger board at some stops while the particle rests.
func (w *World) checkHurried(set []int32, d *dice) {
	w.rail.last = 0
	for _, i := range set {
		w.letBoard(&w.hosts[i], topicLast, d.below(100), d)
	}
	w.run(w.now + w.hurriedTime())
	if w.rail.last < len(set) {
		w.fail("P4", "%d of %d who boarded a particle at rest are home after %v", w.rail.last, len(set),
			span(w.hurriedTime()))
	}
}

// hurriedTime is within what a passenger is home, once all is calm: word for the particle
// gets round, it comes, and goes round once; twice where somebody else's has begun.
func (w *World) hurriedTime() int64 {
	n := int64(len(w.hosts))
	t := 4*n*w.timing.far*9/8 + 2*n*ms + 5*ms
	if w.rail.firm { // those at each pass
		t += 3 * n * 3 * ms
	}
	return t + 3*n*int64(w.opt.Hold)
}
