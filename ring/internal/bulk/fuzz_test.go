package bulk

import (
	"math/rand/v2"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Whatever peers say, and whenever they come and go: nothing panics, no more is asked for
// than may be, and nothing is given that is not there.
func FuzzCore(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 1, 1, 5, 1, 255, 9, 1, 0, 11, 0, 0, 12, 0, 3, 8, 1, 2, 10, 1, 4, 13, 0, 0})
	f.Add([]byte{2, 0, 0, 7, 3, 1, 12, 0, 0, 12, 0, 1, 13, 0, 0, 4, 1, 0, 6, 1, 0, 14, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		const count = 40
		now := time.Unix(1000, 0)
		c := New(now, Config{Self: 0, Rand: rand.New(rand.NewPCG(1, 2)), Follows: 3})
		names := []Name{{1}, {2}, {3}}
		here := map[Name]*Bits{}
		taker := 0
		for ; len(script) >= 3; script = script[3:] {
			op, a, b := script[0]%16, int(script[1]), int(script[2])
			name, peer, chunk := names[a%len(names)], 1+a%5, b%count
			now = now.Add(time.Duration(b) * 7 * time.Millisecond)
			switch op {
			case 0:
				c.See(now, View{Chain: b%2 == 0, Before: []int{5, 4, 3, 2, 1}, Links: []int{1, 2, 3}})
			case 1, 2:
				if here[name] == nil {
					here[name] = new(Bits)
					if op == 2 {
						*here[name] = All(count)
					}
					c.Add(now, name, count, *here[name], b%2*3)
				}
			case 3:
				c.Up(now, peer)
			case 4:
				c.Down(now, peer)
			case 5:
				c.Received(now, peer, &wire.Holds{Name: name, First: uint32(b % 64), Bits: []byte{byte(b), byte(a)}})
			case 6:
				c.Received(now, peer, &wire.Gone{Name: name})
			case 7, 8:
				if asked, useful := c.Expects(peer, name, chunk); asked {
					if useful && op == 7 {
						here[name].Add(chunk)
					}
					c.Got(now, peer, name, chunk, op == 7 || !useful)
				}
			case 9:
				taker++
				c.Joined(taker, peer)
			case 10:
				c.Left(now, a%(taker+1))
			case 11:
				c.Hear(now, a%(taker+1), &wire.Follow{Name: name, Bits: []byte{byte(b)}})
			case 12:
				c.Hear(now, a%(taker+1), &wire.Fetch{Name: name, Chunks: []uint32{uint32(chunk), uint32(b)}})
			case 13:
				c.Gave(now, a%(taker+1))
			case 14:
				c.Remove(now, name)
				delete(here, name)
			case 15:
				now = now.Add(time.Duration(a) * time.Second)
				c.Turn(now)
			}
			for _, fx := range c.Effects() {
				if fx.Kind == Give && (here[fx.Name] == nil || !here[fx.Name].Has(fx.Chunk)) {
					t.Fatalf("chunk %d of %x is given and not here", fx.Chunk, fx.Name[:1])
				}
				if fx.Msg != nil {
					wire.Append(nil, fx.Msg) // panics at what is over a limit
				}
			}
			for _, g := range c.givers {
				if len(g.wants) > 64 || !g.up && len(g.wants) > 0 {
					t.Fatalf("%d chunks are asked of %d, which is up: %v", len(g.wants), g.at, g.up)
				}
			}
			for _, k := range c.takers {
				if len(k.follows) > 3 || len(k.queue) > 2*wire.FetchMax {
					t.Fatalf("a taker follows %d and waits for %d", len(k.follows), len(k.queue))
				}
			}
			for _, x := range c.transfers {
				if want := count - x.have.Count(); x.left != want || x.have != *here[x.name] {
					t.Fatalf("%d chunks are to come, want %d", x.left, want)
				}
			}
		}
	})
}
