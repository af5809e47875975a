package spread

import (
	"fmt"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// FuzzCore feeds a core whatever neighbours may say, in any order, sound as package core
// lets it through. It never panics, keeps within its bounds, and what it delivers is in
// order and without holes but those it tells of.
func FuzzCore(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x01\x00\x01\x01\x02\x00\x01\x01\x05\x03\x01\x01\x04"))
	f.Add([]byte("\x00\x02\x01\xff\x05\x02\x01\xf0\x06\x00\x00\x00\x07\x02\x01\x01\x00\x02\x02\x01"))
	f.Add([]byte("\x01\x00\x02\x09\x08\x00\x00\x00\x00\x00\x03\x01\x02\x01\x01\xff\x04\x03\x01\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const n, keep = 6, 4 << 10
		c, fleet, now := lone(n, 4, keep)
		c.cfg.Small, c.cfg.Turn = 32, 3
		last := map[uint32]ID{}
		for k := 0; k+4 <= len(data) && k < 4*400; k += 4 {
			op, who, life, num := data[k], data[k+1], data[k+2], data[k+3]
			from := 1 + int(op>>4)%4
			id := ID{Origin: uint32(who) % n, Life: 8 + uint64(life)%5, Seq: number(num)}
			r := Range{Origin: id.Origin, Life: id.Life, From: number(who>>3 + life>>3), To: id.Seq}
			r.From = min(r.From, r.To+1)
			switch op & 15 {
			case 0, 1, 2:
				m := message(id.Origin, id.Life, id.Seq, int(who)+int(num))
				c.Receive(now, from, m)
			case 3:
				c.Has(now, from, []ID{id, {Origin: (id.Origin + 1) % n, Life: id.Life, Seq: 1 + id.Seq/2}})
			case 4:
				c.Wanted(now, from, []Range{r, r})
			case 5:
				c.Compare(now, from, []Range{r}, who > 99)
			case 6:
				c.Compare(now, from, []Range{{Origin: r.Origin, Life: 9, From: 4, To: 3}, r}, true)
			case 7:
				c.Compare(now, from, nil, true)
			case 8:
				c.Publish(now, &Message{Topic: "t", Payload: make([]byte, num)})
			case 9:
				c.Up(now, from)
			case 10:
				c.Down(from)
				fleet.links = append([]int(nil), 1, 2, 3, 4)[:who%5]
			case 11:
				fleet.stuck[from] = who > 127
			case 12:
				c.Room(now, from)
			case 13:
				fleet.view++
			default:
				now = now.Add(time.Duration(num) * hop)
				c.Turn(now)
			}
			for _, fx := range c.Effects() {
				if text := sensible(&fx, last, n); text != "" {
					t.Fatalf("step %d: %+v: %s", k/4, fx, text)
				}
			}
			if text := c.untidy(n); text != "" {
				t.Fatalf("step %d: %s", k/4, text)
			}
		}
	})
}

// number is small as a rule, else near the end of what the wire carries.
func number(b byte) uint64 {
	if b >= 0xf0 {
		return wire.CounterMax - 1 - uint64(b-0xf0)
	}
	return 1 + uint64(b)%24
}

// sensible says what is wrong with an effect.
func sensible(fx *Effect, last map[uint32]ID, n int) string {
	switch fx.Kind {
	case Deliver, Missed:
		from, to := ID{}, ID{}
		if fx.Kind == Deliver {
			from, to = fx.Msg.CastID, fx.Msg.CastID
		} else {
			r := fx.Ranges[0]
			from = ID{Origin: r.Origin, Life: r.Life, Seq: r.From}
			to = ID{Origin: r.Origin, Life: r.Life, Seq: r.To}
		}
		was := last[from.Origin]
		last[from.Origin] = to
		switch {
		case from.Life < was.Life || to.Seq < from.Seq,
			from.Life == was.Life && from.Seq != was.Seq+1,
			from.Life > was.Life && from.Seq != 1:
			return fmt.Sprintf("it comes after %+v", was)
		}
		return ""
	}
	if fx.To < 1 || fx.To >= n {
		return "it is to nobody"
	}
	if len(fx.Ranges) > wire.RangesMax {
		return "it is longer than a frame may be"
	}
	for _, r := range fx.Ranges {
		if r.From > r.To+1 || r.From == 0 || r.From > wire.CounterMax || r.Life > wire.CounterMax ||
			fx.Kind == Want && (r.From > r.To || r.To-r.From >= span) {
			return fmt.Sprintf("%+v is no range", r)
		}
	}
	return ""
}

// untidy says what of a core is not as it must be between two steps.
func (c *Core) untidy(n int) string {
	kept, bytes, waiting := 0, 0, 0
	for o, s := range c.streams { // sums and faults: order does not matter
		for seq, m := range s.held {
			switch {
			case seq > s.done:
				waiting += size(m)
			case seq < s.first:
				return fmt.Sprintf("%d keeps %d before its first, %d", o, seq, s.first)
			default:
				kept++
				bytes += size(m)
			}
		}
		switch {
		case s.done+1-s.first > uint64(len(s.held)):
			return fmt.Sprintf("%d keeps %d to %d, and holds %d messages", o, s.first, s.done, len(s.held))
		case s.high < s.done:
			return fmt.Sprintf("%d has %d and heard of %d", o, s.done, s.high)
		case len(s.floors) > n || len(s.past) > pastMax:
			return fmt.Sprintf("%d has %d floors and %d lives", o, len(s.floors), len(s.past))
		}
	}
	switch {
	case bytes != c.bytes || waiting != c.waiting || kept != len(c.kept):
		return fmt.Sprintf("%d bytes of %d messages are kept and %d wait, counted as %d, %d, %d", bytes,
			kept, waiting, c.bytes, len(c.kept), c.waiting)
	case bytes > c.cfg.Keep || waiting > c.cfg.Keep/2:
		return fmt.Sprintf("%d bytes are kept and %d wait, of %d", bytes, waiting, c.cfg.Keep)
	case len(c.streams) > n || len(c.order) != len(c.streams) || len(c.wants) > wantsMax ||
		len(c.behind) > n:
		return fmt.Sprintf("%d streams in %d places, %d wants, %d behind", len(c.streams), len(c.order),
			len(c.wants), len(c.behind))
	}
	for _, w := range c.wants {
		if len(w.from) > n {
			return fmt.Sprintf("%+v is to be had of %d", w.id, len(w.from))
		}
	}
	return ""
}
