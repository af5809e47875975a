package ringtest

import (
	"bytes"
	"slices"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

// meter looks on while messages are broadcast.
type meter struct {
	flights map[wire.CastID]*flight
	newest  *flight
	live    []bool // whose costs count

	// What becomes of the frames by which it is done.
	lost float64 // this share of them vanishes
	held bool    // digests do, so that it shows what is done without them
	dice dice
}

// flight is one message on its way to all.
type flight struct {
	origin int32
	body   []byte
	sent   int64
	at     []int64 // by host: when it was given the message, since sent; negative for not
	wide   []uint8 // by host: how many of the hops it came by went from zone to zone
	tally
	early tally // the same before there was any digest
	whole bool  // all of the live had it by then
}

// tally is what a message has cost those who live.
type tally struct{ copies, control, bytes, cross uint64 }

// given is that a host has the message; the first to have it sent it.
func (m *meter) given(w *World, i int32, c *wire.Cast) {
	f := m.flights[c.CastID]
	if f == nil {
		n := len(w.hosts)
		f = &flight{
			origin: i, body: c.Payload, sent: w.now, at: make([]int64, n), wide: make([]uint8, n),
		}
		for k := range f.at {
			f.at[k] = -1
		}
		m.flights[c.CastID], m.newest = f, f
	}
	f.at[i] = w.now - f.sent
}

// loses reports whether a frame is to vanish.
func (m *meter) loses(msg wire.Msg) bool {
	switch msg.(type) {
	case *wire.Digest:
		return m.held || m.dice.hit(m.lost)
	case *wire.Cast, *wire.Have, *wire.Want:
		return m.dice.hit(m.lost)
	}
	return false
}

// heard takes a frame that has come from one host to another.
func (m *meter) heard(w *World, from, to int32, msg wire.Msg, size int) {
	if len(m.flights) == 0 || !m.live[to] {
		return
	}
	switch msg := msg.(type) {
	case *wire.Cast:
		f := m.flights[msg.CastID]
		if f == nil {
			return
		}
		if bytes.Equal(msg.Payload, f.body) {
			msg.Payload = f.body // all instances are in one memory
		}
		f.copies++
		f.bytes += uint64(size)
		wide := uint8(0)
		if w.zone(from) != w.zone(to) {
			f.cross++
			wide = 1
		}
		if f.at[to] < 0 { // it will be given it in this very step
			f.wide[to] = f.wide[from] + wide
		}
	case *wire.Have:
		for _, id := range msg.Names {
			m.about(id, size/len(msg.Names))
		}
	case *wire.Want:
		for _, r := range msg.Ranges {
			m.about(wire.CastID{Origin: r.Origin, Life: r.Life, Seq: r.To}, size/len(msg.Ranges))
		}
	}
}

// about counts a word about a message.
func (m *meter) about(id wire.CastID, size int) {
	if f := m.flights[id]; f != nil {
		f.control++
		f.bytes += uint64(size)
	}
}

// publish sends a message of so many bytes from a host to all.
func (w *World) publish(i int32, size int) *flight {
	w.meter.newest = nil
	w.input(i, input{kind: core.Publish, cast: &wire.Cast{Topic: "t", Payload: make([]byte, size)}})
	if w.meter.newest == nil && w.failure == nil {
		w.fail(NoRoom, "s%d has none for a message of %d bytes: fewer or smaller ones fit", i, size)
	}
	return w.meter.newest
}

// reached says how many of a set have the message, and after how long the last of
// them had it.
func (f *flight) reached(set []int32) (have int, last int64) {
	for _, i := range set {
		if f.at[i] >= 0 {
			have++
			last = max(last, f.at[i])
		}
	}
	return have, last
}

// farthest is how long the way is, over links that near gives, from a host to the last
// of those who live.
func (w *World) farthest(from int32, near func(i int) []int, lives []bool) int64 {
	at := make([]int64, len(w.hosts))
	for i := range at {
		at[i] = -1
	}
	at[from] = 0
	for queue := []int32{from}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		for _, j := range near(int(i)) {
			t := at[i] + w.latency(i, int32(j), nil)
			if lives[j] && (at[j] < 0 || t < at[j]) {
				at[j] = t
				queue = append(queue, int32(j))
			}
		}
	}
	return slices.Max(at)
}
