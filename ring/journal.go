package ring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/journal"
)

// savedLog is what the data directory has of the bus.
type savedLog struct {
	saved *consensus.Saved // nil: nothing, ever
	lost  bool             // there was something that cannot be read
}

// openJournal opens the log. A damaged one is moved aside, told, and not missed:
// the voters have what it had, and take this instance in under a new name.
func (r *Ring) openJournal() (savedLog, error) {
	if r.cfg.Data == "" {
		return savedLog{}, nil
	}
	owner := journal.Owner{Ring: r.cfg.Ring, Instance: string(r.cfg.Name)}
	j, saved, err := journal.Open(r.cfg.Data, owner)
	if errors.Is(err, journal.ErrCorrupt) {
		where, aerr := journal.SetAside(r.cfg.Data)
		if aerr != nil {
			return savedLog{}, fmt.Errorf("%w: %w", ErrData, errors.Join(err, aerr))
		}
		r.cfg.Logger.Error("the log of the bus is damaged and was moved aside; "+
			"this instance asks the others for all of it, and votes again once it has it",
			"err", err, "moved_to", where)
		j, saved, err = journal.Open(r.cfg.Data, owner)
	}
	if err != nil {
		return savedLog{}, fmt.Errorf("%w: %w", ErrData, err)
	}
	r.journal = j
	if saved.Identity.History != (consensus.History{}) {
		return savedLog{saved: &saved}, nil
	}
	aside, err := filepath.Glob(filepath.Join(r.cfg.Data, "bus.corrupt-*"))
	return savedLog{lost: len(aside) > 0}, err
}

// keeper is the journal, and a place for what the fleet's history leaves behind.
type keeper struct {
	journal *journal.Journal
	dir     string
}

// Append implements node.Journal.
func (k *keeper) Append(ws []consensus.Write) error {
	for i := range ws {
		if len(ws[i].Aside) > 0 {
			if err := k.putAside(ws[i].Aside); err != nil {
				return err
			}
		}
	}
	return k.journal.Append(ws)
}

// putAside writes a state that is given up where `ring bus restore` can read it.
func (k *keeper) putAside(state []byte) error {
	f, err := os.CreateTemp(k.dir, "bus.given-up-*")
	if err != nil {
		return fmt.Errorf("put aside what the bus had: %w; make room, and start again", err)
	}
	_, err = f.Write(state)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("put aside what the bus had: %w; make room, and start again", err)
	}
	return nil
}
