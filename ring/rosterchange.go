package ring

import (
	"context"
	"fmt"
)

// RosterKind says what a RosterChange does.
type RosterKind string

// The changes there are.
const (
	RosterAdd     RosterKind = "add"     // Name at Address, under the next index
	RosterRetire  RosterKind = "retire"  // Name, for good: its index is never used again
	RosterMove    RosterKind = "move"    // Name listens at Address from now on
	RosterPromote RosterKind = "promote" // Name is to be one of those who vote
	RosterDemote  RosterKind = "demote"  // Name is not to vote
)

// RosterChange is one step of a change of the roster.
type RosterChange struct {
	Kind    RosterKind `json:"kind"`
	Name    Name       `json:"name"`
	Address string     `json:"address,omitempty"` // host:port, of RosterAdd and RosterMove
}

// RosterVersion names one version of a ring's roster. Version 1 is what all instances were
// started with, their seed; each change makes the next one. Versions form one chain.
type RosterVersion struct {
	Number uint64 `json:"number"`
	Hash   string `json:"hash"`  // of its names, see Roster.Hash: 64 hexadecimal digits
	Chain  string `json:"chain"` // of this version and all before it, likewise
	Seed   string `json:"seed"`  // Hash of version 1, empty where this instance does not know it
}

// RosterPlan is what a change of the roster would come to, as one instance sees it now. It
// changes nothing by itself: see Ring.ChangeRoster.
type RosterPlan struct {
	Base    RosterVersion  `json:"base"` // the version it was planned on
	Changes []RosterChange `json:"changes"`
	Next    RosterVersion  `json:"next"`

	Before       int      `json:"before"` // instances that are not retired
	After        int      `json:"after"`
	VotersBefore []Name   `json:"voters_before"`
	VotersAfter  []Name   `json:"voters_after"`  // those to be expected, if all stay as alive as they are
	QuorumBefore int      `json:"quorum_before"` // how many of VotersBefore must live
	QuorumAfter  int      `json:"quorum_after"`
	LinksMade    int      `json:"links_made"` // between instances of both rosters
	LinksEnded   int      `json:"links_ended"`
	Warnings     []string `json:"warnings,omitempty"`
	Refused      []string `json:"refused,omitempty"` // why it may not be done, and what to do; empty: it may
}

// PlanRoster says what changes, taken together as one step, would come to, and what forbids
// them. It asks nobody and works without a quorum. The error wraps ErrConfig where there is
// nothing to plan: no change at all, or a kind that there is not.
func (r *Ring) PlanRoster(changes ...RosterChange) (RosterPlan, error) {
	return RosterPlan{}, fmt.Errorf("%w: rosters cannot be changed while running yet", ErrConfig)
}

// ChangeRoster has the fleet agree on plan, all of it or nothing, and returns the version that
// it made, which this instance then goes by. The others take it with the entries of the bus,
// at the latest when the particle passes them; RosterEverywhere waits for that. It fails with
// ErrRosterChanged if the roster is not plan.Base any more, with ErrRefused for what the plan
// names as Refused, and with ErrNoQuorum or ErrUncertain as a write to the bus does.
func (r *Ring) ChangeRoster(ctx context.Context, plan RosterPlan) (RosterVersion, error) {
	return RosterVersion{}, fmt.Errorf("%w: rosters cannot be changed while running yet", ErrRefused)
}

// RosterVersion is that of the roster this instance goes by now. OnView tells of changes.
func (r *Ring) RosterVersion() RosterVersion {
	hash := r.Roster().Hash(r.cfg.Ring)
	return RosterVersion{Number: 1, Hash: hash, Chain: hash, Seed: hash}
}

// RosterEverywhere waits until the particle has gone round once by stops all of which have
// the version of that number or a later one: whoever is in the ring goes by it. It returns
// nil, the context's error, or ErrClosed.
func (r *Ring) RosterEverywhere(ctx context.Context, number uint64) error {
	return fmt.Errorf("%w: rosters cannot be changed while running yet", ErrRefused)
}
