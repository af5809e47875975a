package ringtest

import (
	"fmt"
	"testing"
	"time"
)

// TestR3Liar plays one member gone bad, each lie by itself and all at once: it has a
// certificate of its own, and everybody else does as it should.
func TestR3Liar(t *testing.T) {
	lies := []string{"all"}
	for _, l := range Lies() {
		lies = append(lies, string(l))
	}
	for _, row := range []struct {
		nodes int
		seeds uint64
	}{{3, 8}, {7, 8}, {24, 2}} {
		if seedShare > 1 && row.nodes > 7 {
			continue
		}
		for _, lie := range lies {
			for seed := range few(row.seeds) {
				t.Run(fmt.Sprintf("nodes=%d/lies=%s/seed=%d", row.nodes, lie, seed), func(t *testing.T) {
					check(t, Options{
						Seed: seed, Nodes: row.nodes, Lies: lie, Signed: true, Duration: 8 * time.Second,
					})
				})
			}
		}
	}
}
