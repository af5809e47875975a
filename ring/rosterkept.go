package ring

import (
	"fmt"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/roster"
	"ringofservers.dev/ring/internal/store"
)

// rosterNow is the roster that the core goes by.
func (r *Ring) rosterNow() *roster.Roster { return r.roster.Load() }

// identity is whose the data directory is, by that roster.
func (r *Ring) identity(full *roster.Roster) store.Identity {
	return store.Identity{
		Ring: r.cfg.Ring, Instance: string(r.cfg.Name), Roster: full.Hash(),
		Count: uint32(full.Len()), Names: full.Prefix(full.Len()), Prefix: full.Prefix,
	}
}

// settle decides between the roster of the configuration and the one that the data
// directory keeps.
func (r *Ring) settle(k *store.Kept) (store.Identity, error) {
	given := r.rosterNow()
	if k == nil {
		return r.identity(given), nil
	}
	kept, err := roster.Decode(k.Roster)
	if err != nil {
		return store.Identity{}, fmt.Errorf("the roster in %s: %w", r.cfg.Data, err)
	}
	switch {
	case kept.Ring != given.Ring:
		return r.identity(given), nil // the state says so better
	case kept.Knows(given.Hash()):
		if r.self = kept.Index(string(r.cfg.Name)); r.self != int(k.Self) {
			return store.Identity{}, fmt.Errorf("%w, since version %d of it at the latest: remove this "+
				"instance from its host; to have it back, add it anew (`ring roster add`), with an empty "+
				"data directory in the place of %s", ErrRetired, kept.Version, r.cfg.Data)
		}
		r.era = k.Era
		r.roster.Store(kept.WithAddrs(given))
		return r.identity(kept), nil
	case !given.Extends(kept):
		return store.Identity{}, fmt.Errorf("%w: the roster given is not what version %d, which %s keeps, came "+
			"from, nor came from it: give this instance the one that `ring roster show` of a running "+
			"one tells, or, if the one given is right, an empty data directory",
			store.ErrRoster, kept.Version, r.cfg.Data)
	case r.self != int(k.Self):
		return store.Identity{}, fmt.Errorf("%w as index %d, and added anew as index %d: give it an empty "+
			"data directory in the place of %s", ErrRetired, k.Self, r.self, r.cfg.Data)
	}
	return r.identity(given), nil
}

// moved returns the roster to go by, and sees that this instance listens where it has it,
// and nowhere in the clear. given is that of the configuration.
func (r *Ring) moved(given *roster.Roster) (*roster.Roster, error) {
	full := r.rosterNow()
	if full == given {
		return full, nil
	}
	if r.cfg.Listener == nil && r.cfg.Listen == given.Addr(given.Index(string(r.cfg.Name))) {
		r.cfg.Listen = full.Addr(r.self)
	}
	return full, r.cfg.secure(full)
}

// reroll has all round the core go by another roster, and keeps it.
func (r *Ring) reroll(fx *core.Effect) error {
	if fx.Overlay != nil {
		r.links.Store(fx.Overlay)
		r.roster.Store(fx.Roster)
	}
	if r.store == nil || fx.Roster.Version == 1 {
		return nil
	}
	return r.store.SaveRoster(store.Kept{
		Roster: fx.Roster.Encode(), Era: fx.Era, Self: uint32(r.self),
	}, r.identity(fx.Roster))
}
