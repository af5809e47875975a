package spread

import (
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Of what no neighbour has any more all holes are told without another comparison, and
// what lies between them is delivered: one after the other they would take the patience of
// each. But not in one Turn: heartbeats wait for it.
func TestAllHolesAreGivenUpAtOnce(t *testing.T) {
	const holes, turn = 16_000, 256
	c, _, now := lone(3, 2, 8<<20)
	for seq := uint64(2); seq <= 2*holes; seq += 2 {
		c.Receive(now, 1, message(2, 1, seq, 1))
	}
	c.Effects()
	now = now.Add((patience + 1) * 20 * hop)
	for _, from := range []int{1, 2} {
		c.Compare(now, from, []Range{{Origin: 2, Life: 1, From: 2*holes + 1, To: 2 * holes}}, false)
	}
	delivered, missed := 0, uint64(0)
	for turns := 0; turns == 0 || !c.Deadline().After(now); turns++ {
		if turns > 0 {
			c.Turn(now)
		}
		effects := c.Effects()
		for _, fx := range effects {
			switch fx.Kind {
			case Deliver:
				delivered++
			case Missed:
				missed += fx.Ranges[0].To - fx.Ranges[0].From + 1
			}
		}
		if len(effects) > turn+1 || turns > 2*holes/turn+1 {
			t.Fatalf("%d effects in turn %d", len(effects), turns)
		}
	}
	if delivered != holes || missed != holes {
		t.Errorf("%d delivered and %d told as missed, want %d of each", delivered, missed, holes)
	}
	if c.waiting != 0 {
		t.Errorf("%d bytes still wait", c.waiting)
	}
}

// A message that is here and not yet delivered, because it is for the next Turn, is not
// given up when neighbours say that they have let it go, or when the origin begins anew,
// and not asked for.
func TestWhatIsForTheNextTurnIsHere(t *testing.T) {
	const last = 2000
	newest := []Range{{Origin: 2, Life: 1, From: last - 9, To: last}}
	for name, c := range map[string]struct {
		fill, then func(c *Core, now time.Time)
		missed     uint64
	}{
		"given up": {
			func(c *Core, now time.Time) {
				c.Compare(now, 1, newest, false)
				c.Compare(now, 2, newest, false)
			},
			func(c *Core, now time.Time) { c.Compare(now, 1, newest, false) }, 1,
		},
		"filled": {
			func(c *Core, now time.Time) {
				c.Compare(now, 2, newest, false)
				c.Receive(now, 1, message(2, 1, 1, 1))
			},
			func(c *Core, now time.Time) { c.Compare(now, 1, newest, false) }, 0,
		},
		"begun anew": {
			func(c *Core, now time.Time) { c.Receive(now, 1, message(2, 1, 1, 1)) },
			func(c *Core, now time.Time) { c.Receive(now, 1, message(2, 2, 1, 1)) }, 0,
		},
		"more of it": {
			func(c *Core, now time.Time) { c.Receive(now, 1, message(2, 1, 1, 1)) },
			func(c *Core, now time.Time) { c.Receive(now, 1, message(2, 1, last+1, 1)) }, 0,
		},
	} {
		core, _, now := lone(3, 2, 8<<20)
		for seq := uint64(2); seq <= last; seq++ {
			core.Receive(now, 1, message(2, 1, seq, 1))
		}
		core.Effects()
		delivered, missed, wants := uint64(0), uint64(0), 0
		take := func() {
			for _, fx := range core.Effects() {
				switch {
				case fx.Kind == Deliver && fx.Msg.Life == 1 && fx.Msg.Seq <= last:
					delivered++
				case fx.Kind == Missed:
					missed += fx.Ranges[0].To - fx.Ranges[0].From + 1
				case fx.Kind == Want:
					wants++
				}
			}
		}
		c.fill(core, now)
		take()
		wants = 0
		now = now.Add(hop)
		c.then(core, now)
		take()
		for !core.Deadline().After(now) {
			core.Turn(now)
			take()
		}
		if delivered != last-c.missed || missed != c.missed || wants > 0 || core.waiting != 0 {
			t.Errorf("%s: %d delivered, %d missed, asked for %d times, %d bytes wait", name, delivered,
				missed, wants, core.waiting)
		}
		if text := core.untidy(3); text != "" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// One origin of which much is to be delivered does not hold up another.
func TestTurnsAreShared(t *testing.T) {
	core, _, now := lone(4, 2, 8<<20)
	for _, origin := range []uint32{2, 3} {
		for seq := uint64(2); seq <= 5000; seq++ {
			core.Receive(now, 1, message(origin, 1, seq, 1))
		}
	}
	core.Effects()
	core.Receive(now, 1, message(2, 1, 1, 1))
	core.Receive(now, 1, message(3, 1, 1, 1))
	for range 4 {
		core.Effects()
		core.Turn(now)
	}
	if a, b := core.streams[2].done, core.streams[3].done; a < 512 || b < 512 {
		t.Errorf("%d of one and %d of the other", a, b)
	}
}

// Who can send, because its neighbours take all it has, leaves room to those who cannot,
// because their links are full of that: it sends about as much as they do. One of several
// that waits, for whatever reason, holds up nobody.
func TestWhoHasRoomWaitsForThoseWithout(t *testing.T) {
	for _, c := range []struct {
		waiting, theirs int // neighbours, and what each of them sends in a hop
		least, most     int // of what is sent beside them, for each of theirs
	}{
		{0, 1, 10, 10}, {1, 1, 10, 10}, {2, 1, 1, 3}, {4, 1, 1, 3}, {4, 3, 1, 3}, {4, 0, 0, 0},
	} {
		core, f, now := lone(9, 4, 64<<20)
		f.waits = map[int]bool{}
		for i := range c.waiting {
			f.waits[i+1] = true
		}
		sent := 0
		for turn := range uint64(5000) {
			now = now.Add(hop)
			for i := range c.waiting * min(c.theirs, 1) {
				for k := range uint64(c.theirs) {
					core.Receive(now, i+1, message(uint32(i+1), 1, turn*uint64(c.theirs)+k+1, 1))
				}
			}
			for range 10 * max(c.theirs, 1) {
				if core.Ready(now) {
					core.Publish(now, message(0, 0, 0, 1))
					sent++
				}
			}
			core.Effects()
		}
		per := sent / 5000
		if c.theirs > 0 {
			per /= c.theirs
		}
		if per < c.least || per > c.most {
			t.Errorf("%+v: %d sent in 5,000 hops", c, sent)
		}
		if sent < 5*64 {
			t.Errorf("%+v: %d sent in 5,000 hops, less than anybody may", c, sent)
		}
	}
}

// Where so much is sent that what is kept is younger than a comparison, publishers wait
// until it is not: the core asks to be turned then.
func TestPublishersWaitForRetention(t *testing.T) {
	c, _, now := lone(3, 2, 1<<20)
	sent := 0
	for ; c.Ready(now); sent++ {
		c.Publish(now, &wire.Cast{Topic: "t", Payload: make([]byte, 10<<10)})
		if sent > 1000 {
			t.Fatal("no end of room at one moment")
		}
	}
	if kept := len(c.kept); kept != sent {
		t.Errorf("%d of %d are kept: some went at once", kept, sent)
	}
	due := c.Deadline()
	for c.Turn(due); !c.Ready(due); c.Turn(due) {
		next := c.Deadline()
		if !next.After(due) || next.After(now.Add(40*20*hop)) {
			t.Fatalf("no room at %v, and the next to be done is at %v", due, next)
		}
		due = next
	}
	if age := due.Sub(now); age < c.cfg.Every {
		t.Errorf("there is room after %v, want %v", age, c.cfg.Every)
	}
}

// Who lacks what others have sent, and must keep much because of it, sends nothing
// itself until that is given up or has come.
func TestWhoIsBehindDoesNotPublish(t *testing.T) {
	c, _, now := lone(3, 2, 1<<20)
	for seq := uint64(2); c.Ready(now); seq++ {
		if seq > 1000 {
			t.Fatal("no end of room")
		}
		c.Receive(now, 1, message(2, 1, seq, 10<<10))
	}
	c.Receive(now.Add(time.Millisecond), 1, message(2, 1, 1, 1))
	if !c.Ready(now.Add(time.Millisecond)) {
		t.Error("what it lacked has come, and there still is no room")
	}
}

// Who had no room for every other message of many gets what it lacks within round trips,
// not one hole per comparison.
func TestManyHolesAreFilledAtOnce(t *testing.T) {
	const holes = 200
	c, _, now := lone(3, 2, 8<<20)
	for seq := uint64(2); seq <= 2*holes; seq += 2 {
		c.Receive(now, 1, message(2, 1, seq, 1))
	}
	asked := 0
	for range 2 * holes { // whoever is asked sends what is wanted a hop later
		for _, fx := range c.Effects() {
			if fx.Kind != Want {
				continue
			}
			asked++
			now = now.Add(hop)
			for r, seq := fx.Ranges[0], fx.Ranges[0].From; seq <= r.To; seq++ {
				c.Receive(now, fx.To, message(2, 1, seq, 1))
			}
		}
	}
	if s := c.streams[2]; s.done != 2*holes {
		t.Errorf("after %d requests up to %d is delivered, want %d", asked, s.done, 2*holes)
	}
}

// Whoever was asked in vain says so, and who is known to have it is asked at once.
func TestWhoWasAskedInVainSaysSo(t *testing.T) {
	c, _, now := lone(3, 2, 8<<20)
	c.Receive(now, 1, message(2, 1, 5, 1)) // 1 is asked for what lies before it
	c.Compare(now, 2, []Range{{Origin: 2, Life: 1, From: 1, To: 4}}, false)
	for _, fx := range c.Effects() {
		if fx.Kind == Want && fx.To != 1 {
			t.Errorf("%d is asked while 1 is", fx.To)
		}
	}
	c.Compare(now, 1, []Range{{Origin: 2, Life: 1, From: 1, To: 0}}, false)
	asked := 0
	for _, fx := range c.Effects() {
		if fx.Kind == Want && fx.To == 2 && fx.Ranges[0].From == 1 && fx.Ranges[0].To == 4 {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("2 is asked %d times for what 1 has not", asked)
	}

	other, _, now := lone(3, 2, 8<<20)
	other.Receive(now, 1, message(2, 1, 5, 1))
	other.Effects()
	other.Wanted(now, 1, []Range{{Origin: 2, Life: 1, From: 1, To: 4}})
	fx := other.Effects()
	if len(fx) != 1 || fx[0].Kind != Digest || fx[0].To != 1 || fx[0].Ask {
		t.Errorf("who has nothing of what is wanted says %+v", fx)
	}
}
