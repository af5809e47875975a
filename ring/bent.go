//go:build liar

package ring

import (
	"math/rand/v2"
	"os"

	"ringofservers.dev/ring/internal/liar"
)

// bend makes a liar of this instance, as RING_LIES says: see package liar. It is in no
// program but those that are built for it, with the tag liar.
func (r *Ring) bend() func(frame []byte) [][]byte {
	lies, err := liar.Parse(os.Getenv("RING_LIES"))
	if err != nil || r.cfg.TLS == nil {
		return nil
	}
	return liar.New(liar.Config{
		Self: r.self, N: func() int { return r.rosterNow().Len() }, Ring: r.cfg.Ring, Sign: r.proof().Sign, Lies: lies,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}).Bend
}
