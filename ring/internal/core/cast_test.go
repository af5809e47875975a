package core

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// publish has a host send a message, and reports whether there was room for it.
func (l *lan) publish(h *host, bytes int) (ok bool) {
	m := &wire.Cast{Topic: "t", Payload: make([]byte, bytes)}
	for _, fx := range h.core.Step(l.now, Event{Kind: Publish, Cast: m}) {
		if fx.Kind == Published {
			ok = true
		}
		l.carryOut(h, fx)
	}
	return ok
}

// linksTo are the ends of links at a with b.
func (l *lan) linksTo(a, b *host) (ids []ConnID) {
	for id, to := range l.peers { // each is used alike: order does not matter
		if to.host == b && l.peers[to.id].host == a {
			ids = append(ids, id)
		}
	}
	return ids
}

// Who waits to publish since its neighbours are stuck may go on once these are dead, or
// silent: nobody will give their links room any more.
func TestStuckNeighboursThatDieHoldNobodyUp(t *testing.T) {
	for _, die := range []bool{true, false} {
		l := newLAN(t, 3)
		l.run(5 * time.Second)
		h := l.hosts[0]
		l.hosts[1].frozen, l.hosts[2].frozen = true, true
		sent := 0
		for ; l.publish(h, 10_000); sent++ {
			if sent > 1000 {
				t.Fatalf("%d messages of 10,000 bytes on their way to who takes none", sent)
			}
		}
		if l.emptied > 0 {
			t.Fatal("there is said to be room, and nobody has taken anything")
		}
		if die {
			l.kill(1)
			l.kill(2)
		}
		l.run(5 * time.Second)
		if l.emptied == 0 || !l.publish(h, 10_000) {
			t.Errorf("dead %v: told %d times that there is room", die, l.emptied)
		}
	}
}

// A neighbour that takes nothing for a moment has more than its share told of when it goes
// on, at once: the next comparison may be a second away.
func TestASlowNeighbourIsToldWhenItGoesOn(t *testing.T) {
	l := newLAN(t, 2)
	l.run(5 * time.Second)
	l.hosts[1].frozen = true
	const many = 2 * castWindow / 10_000
	sent := 0
	for ; sent < many && l.publish(l.hosts[0], 10_000); sent++ {
	}
	if sent == many {
		t.Fatalf("%d messages of 10,000 bytes on their way to who takes none", sent)
	}
	l.run(100 * hop)
	l.thaw(1)
	l.run(50 * hop)
	if l.emptied == 0 {
		t.Error("nobody is told that there is room again")
	}
	if got := l.delivered[1]; got != sent {
		t.Errorf("it has %d of %d messages", got, sent)
	}

	// Of three the two others go on; one of them has no link with the slow one.
	l = newLAN(t, 3)
	l.run(5 * time.Second)
	l.lost = func(from, to int) bool { return from != 0 && to != 0 }
	l.run(5 * time.Second)
	l.hosts[1].frozen = true
	for n := range many {
		if !l.publish(l.hosts[0], 10_000) {
			t.Fatalf("no room after %d messages, and one of two neighbours takes all", n)
		}
		l.run(hop)
	}
	l.run(50 * hop)
	if got := l.delivered[2]; got != many {
		t.Errorf("beside a slow neighbour %d of %d messages arrive", got, many)
	}
	l.thaw(1)
	l.run(50 * hop)
	if got := l.delivered[1]; got != many {
		t.Errorf("the slow neighbour has %d of %d messages", got, many)
	}
}

// Numbers at the end of what the wire carries are not taken over: what followed from
// them nobody could read, and every link of ours would break by it.
func TestNumbersWithoutASuccessorAreRefused(t *testing.T) {
	const end = wire.CounterMax
	for _, m := range []wire.Msg{
		&wire.Cast{CastID: wire.CastID{Origin: 0, Life: end, Seq: 1}},
		&wire.Cast{CastID: wire.CastID{Origin: 1, Life: 1 << 60, Seq: end}},
		&wire.Have{Names: []wire.CastID{{Origin: 0, Life: end, Seq: 1}, {Origin: 2, Life: end, Seq: end}}},
		&wire.Digest{Ranges: []wire.CastRange{{Origin: 0, Life: end, From: 1, To: 1}}, Ask: true},
		&wire.Digest{Ranges: []wire.CastRange{{Origin: 2, Life: 1 << 60, From: end, To: end}}, Ask: true},
		&wire.Want{Ranges: []wire.CastRange{{Origin: 2, Life: end, From: 1, To: end}}},
	} {
		l := newLAN(t, 3)
		l.run(5 * time.Second)
		h := l.hosts[0]
		for _, id := range l.linksTo(h, l.hosts[1]) {
			l.step(h, Event{Kind: Received, Conn: id, Msg: m})
		}
		l.run(20 * time.Second) // until what nobody has is given up
		if !l.publish(h, 10) {
			t.Fatalf("no room after %T", m)
		}
		l.run(20 * time.Second) // the played network fails the test by what cannot be read
	}
}
