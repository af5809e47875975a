package node

import (
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/core"
)

// keep is the goroutine of the journal: whatever has come while it was busy goes
// to disk with one sync, and then the core is told. Nothing else waits for it.
func (n *Node) keep() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.write:
		}
		n.mu.Lock()
		ws, seq := n.writes, n.written
		n.writes = nil
		n.mu.Unlock()
		if len(ws) == 0 {
			continue
		}
		begun := time.Now()
		err := n.cfg.Journal.Append(ws)
		n.mu.Lock()
		if err != nil {
			n.end(fmt.Errorf("%w: %w", ErrSave, err), false)
			n.mu.Unlock()
			return
		}
		now := time.Now()
		n.stats.syncs.record(now.Sub(begun))
		n.step(now, core.Event{Kind: core.Persisted, Seq: seq})
		n.mu.Unlock()
	}
}
