package node

import (
	"fmt"

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
		if err := n.cfg.Journal.Append(ws); err != nil {
			n.mu.Lock()
			n.end(fmt.Errorf("%w: %w", ErrSave, err), false)
			n.mu.Unlock()
			return
		}
		n.do(core.Event{Kind: core.Persisted, Seq: seq})
	}
}
