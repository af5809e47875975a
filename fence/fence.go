// Package fence is the check at a resource that several may write to one after the
// other: it takes what carries the highest fence so far, and refuses whatever is older.
//
//	holder of fence 7 ── write ──► Gate ── highest seen: 7 ──► done
//	   (stopped, its lease ran out, and it does not know)
//	holder of fence 8 ── write ──► Gate ── highest seen: 8 ──► done
//	holder of fence 7 ── write ──► Gate ── 7 < 8 ───────────► ErrOld
//
// A lease of the ring ends for others only once its holder has stopped, by clocks. What
// no clock can help with is the holder that looked at its lease and was stopped before
// it wrote. So every [ringofservers.dev/ring.Lease] has a number that is greater than
// that of all before it, and the resource, which is the only one to see all writes,
// compares it. The check and the write must be one step there:
//
//   - In SQL, in the statement itself: see the README.
//   - For files of one host, File (not on Windows).
//   - For whatever else is written by one process, [New] with a [Store] of its own.
package fence

import (
	"errors"
	"fmt"
	"sync"
)

// ErrOld is that a fence is lower than one seen before, or 0, which is none.
var ErrOld = errors.New("fence: somebody else has come since")

// Store keeps the highest fence that was seen.
type Store interface {
	// Hold calls do with the highest fence kept, 0 before the first, and keeps all
	// other callers out until do has returned, those of other processes as well if
	// there can be any. What do gives save is kept for good once save returned nil.
	Hold(do func(highest uint64, save func(uint64) error) error) error
}

// Gate lets writes pass in the order of their fences. Its methods may be called by
// several goroutines.
type Gate struct{ store Store }

// New is a gate on that store; with nil it remembers as long as the process lives,
// which is right for a resource that lives no longer.
func New(s Store) *Gate {
	if s == nil {
		s = new(memory)
	}
	return &Gate{s}
}

// Do calls write unless a higher fence was seen before, alone: others wait until it has
// returned, however long that takes; a process that is stopped within write holds up the
// others of its file until it goes on or is ended. The fence is kept first, so that a crash in between lets nobody older in. It
// returns ErrOld, what write does, or why the store could not keep the fence, in which
// case write was not called.
func (g *Gate) Do(fence uint64, write func() error) error {
	return g.store.Hold(func(highest uint64, save func(uint64) error) error {
		if fence == 0 || fence < highest {
			return fmt.Errorf("%w: fence %d, and %d was here", ErrOld, fence, highest)
		}
		if fence > highest {
			if err := save(fence); err != nil {
				return err
			}
		}
		return write()
	})
}

// memory is a store that forgets.
type memory struct {
	mu      sync.Mutex // guards highest, and keeps the others out
	highest uint64
}

func (m *memory) Hold(do func(uint64, func(uint64) error) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return do(m.highest, func(fence uint64) error {
		m.highest = fence
		return nil
	})
}
