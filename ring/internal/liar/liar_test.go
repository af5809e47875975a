package liar

import (
	"math/rand/v2"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

// Whatever it is given a liar sends something for it, and each lie comes, as frames.
func TestBend(t *testing.T) {
	for _, lie := range all {
		lies, err := Parse(lie)
		if err != nil {
			t.Fatal(err)
		}
		signed := 0
		l := New(Config{
			Self: 1, N: func() int { return 3 }, Ring: "prod", Lies: lies, Rand: rand.New(rand.NewPCG(1, 2)),
			Sign: func([]byte) (chain, sig []byte) { signed++; return []byte("chain"), []byte("sig") },
		})
		mine := wire.Record{Origin: 1, Incarnation: 1, Seq: 1}
		mine.Seal.Body = wire.RecordBody(nil, &mine)
		l.Bend(wire.Append(nil, &wire.Sealed{Records: []wire.Record{mine}}))
		frames := 0
		for range 50 {
			out := l.Bend(wire.Append(nil, &wire.Beat{Seq: 1}))
			frames += len(out) - 1
			for _, frame := range out {
				if _, rest, err := wire.Split(frame); err != nil || len(rest) > 0 {
					t.Fatalf("%s: what goes out is no frame: %v, %d bytes more", lie, err, len(rest))
				}
			}
		}
		if lie != "beats" && lie != "flood" && frames == 0 {
			t.Errorf("%s: nothing but the beats", lie)
		}
		switch lie {
		case "accuse", "names", "verdict", "relay":
			if signed == 0 {
				t.Errorf("%s: nothing was signed", lie)
			}
		}
	}
	if _, err := Parse("gossip"); err == nil {
		t.Error("an unknown lie is taken")
	}
}
