package ring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

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
	journal  *journal.Journal
	dir      string
	ring     string
	instance Name
	history  consensus.History // of the log, by the last write of it
}

func (r *Ring) keeper(log savedLog) *keeper {
	k := &keeper{journal: r.journal, dir: r.cfg.Data, ring: r.cfg.Ring, instance: r.cfg.Name}
	if log.saved != nil {
		k.history = log.saved.Identity.History
	}
	return k
}

// Append implements node.Journal.
func (k *keeper) Append(ws []consensus.Write) error {
	for i := range ws {
		if len(ws[i].Aside) > 0 { // of the history before the one that this writes
			if err := k.putAside(ws[i].Aside); err != nil {
				return err
			}
		}
		if ws[i].Identity != nil {
			k.history = ws[i].Identity.History
		}
	}
	return k.journal.Append(ws)
}

// putAside writes a state that is given up where `ring bus restore` can read it.
func (k *keeper) putAside(state []byte) error {
	b, err := newBackup(k.ring, k.instance, k.history, state)
	if err != nil {
		return fmt.Errorf("put aside what the bus had: %w", err)
	}
	f, err := os.CreateTemp(k.dir, "bus.given-up-*")
	if err != nil {
		return fmt.Errorf("put aside what the bus had: %w; make room, and start again", err)
	}
	_, err = f.Write(b.encode())
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(k.dir)); err != nil {
		return fmt.Errorf("put aside what the bus had: %w; make room, and start again", err)
	}
	return nil
}

// syncDir makes the names in dir durable. On Windows directories cannot be synced:
// names are journalled by the file system.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
