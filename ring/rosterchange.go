package ring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/roster"
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
	steps, err := stepsOf(changes)
	if err != nil {
		return RosterPlan{}, err
	}
	now := r.rosterNow()
	p := planner{ring: r, was: now, state: r.node.Bus(), alive: map[int]bool{}}
	for _, in := range r.View().Instances {
		p.alive[in.Index] = in.State == Alive || in.State == Suspect
	}
	p.plan = RosterPlan{
		Base: versionOf(now), Changes: slices.Clone(changes), Before: now.Members(),
		VotersBefore: p.names(p.votersNow()),
	}
	p.plan.QuorumBefore = quorumOf(len(p.plan.VotersBefore))
	if p.now, err = now.With(steps); err != nil {
		p.plan.Refused = append(p.plan.Refused, eachOf(err)...)
		p.refuse()
		return p.plan, nil
	}
	p.plan.Next, p.plan.After = versionOf(p.now), p.now.Members()
	voters := p.votersThen()
	p.plan.VotersAfter = p.names(voters)
	p.plan.QuorumAfter = quorumOf(len(voters))
	p.plan.LinksMade, p.plan.LinksEnded = p.links()
	p.refuse()
	p.refuseVoters(voters)
	p.warn(steps)
	return p.plan, nil
}

var rosterKinds = map[RosterKind]roster.Kind{
	RosterAdd: roster.Add, RosterRetire: roster.Retire, RosterMove: roster.Move,
	RosterPromote: roster.Promote, RosterDemote: roster.Demote,
}

func stepsOf(changes []RosterChange) ([]roster.Change, error) {
	steps := make([]roster.Change, len(changes))
	for i, c := range changes {
		kind, ok := rosterKinds[c.Kind]
		if !ok {
			return nil, fmt.Errorf("%w: %q is no change of a roster; use add, retire, move, promote or demote",
				ErrConfig, c.Kind)
		}
		steps[i] = roster.Change{Kind: kind, Name: string(c.Name), Addr: c.Address}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%w: no change of the roster is given", ErrConfig)
	}
	return steps, nil
}

func versionOf(full *roster.Roster) RosterVersion {
	hash, chain, seed := full.Hash(), full.Chain(), full.Hash()
	if past := full.Past(); len(past) > 0 {
		seed = past[0]
	}
	return RosterVersion{
		Number: full.Version, Hash: hex.EncodeToString(hash[:]), Chain: hex.EncodeToString(chain[:]),
		Seed: hex.EncodeToString(seed[:]),
	}
}

func quorumOf(voters int) int { return voters/2 + 1 }

// eachOf takes joined errors apart.
func eachOf(err error) []string {
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{err.Error()}
	}
	var texts []string
	for _, e := range all.Unwrap() {
		texts = append(texts, e.Error())
	}
	return texts
}

// planner finds out what a change would come to.
type planner struct {
	ring     *Ring
	was, now *roster.Roster // now is nil if the change does not fit
	state    *core.BusView
	alive    map[int]bool
	plan     RosterPlan
}

func (p *planner) no(format string, args ...any) {
	p.plan.Refused = append(p.plan.Refused, fmt.Sprintf(format, args...))
}

func (p *planner) names(indexes []int) []Name {
	names := make([]Name, len(indexes))
	for at, i := range indexes {
		names[at] = p.ring.name(i)
		if p.now != nil {
			names[at] = Name(p.now.Names[i])
		}
	}
	return names
}

// votersNow are those whose votes count.
func (p *planner) votersNow() (out []int) {
	for _, v := range p.state.Voters {
		if v.Votes {
			out = append(out, v.ID.Index())
		}
	}
	return out
}

// votersThen are those to be expected: of those who vote now whoever may, and then others
// that live, those who are to vote first.
func (p *planner) votersThen() []int {
	var out []int
	may := func(i int) bool { return !p.now.Retired(i) && p.now.Wish(i) != roster.NotToVote }
	most := 0
	for i := range p.now.Len() {
		if may(i) {
			most++
		}
	}
	most = min(most, consensus.VotersMax)
	take := func(counts func(i int) bool) {
		for i := range p.now.Len() {
			if len(out) < most && may(i) && counts(i) && !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	now := p.votersNow()
	take(func(i int) bool { return p.now.Wish(i) == roster.ToVote && p.alive[i] })
	take(func(i int) bool { return slices.Contains(now, i) && p.alive[i] })
	take(func(i int) bool { return p.alive[i] })
	take(func(i int) bool { return slices.Contains(now, i) })
	slices.Sort(out)
	return out
}

// links counts those that only one of the two rosters has.
func (p *planner) links() (made, ended int) {
	before, after := linksOf(p.was), linksOf(p.now)
	for l := range after { // counted, in whichever order
		if !before[l] {
			made++
		}
	}
	for l := range before { // likewise
		if !after[l] {
			ended++
		}
	}
	return made, ended
}

func linksOf(full *roster.Roster) map[[2]int]bool {
	o := overlay.BuildOf(full.Names, full.Out(), full.Ring, full.Degree)
	links := map[[2]int]bool{}
	for i := range full.Len() {
		for _, j := range o.Neighbours(i) {
			links[[2]int{min(i, j), max(i, j)}] = true
		}
	}
	return links
}

// tooOld says who could not read a change of the roster, "" for nobody.
func (r *Ring) tooOld() string {
	protocol, who := r.node.LeastProtocol()
	if protocol >= core.RosterProtocol {
		return ""
	}
	return fmt.Sprintf("%s speaks protocol %d, and could not read the change: upgrade it first, or have it "+
		"say goodbye", r.name(who), protocol)
}

// refuse says what forbids any change.
func (p *planner) refuse() {
	if text := p.ring.tooOld(); text != "" {
		p.plan.Refused = append(p.plan.Refused, text)
	}
	if p.now == nil || p.ring.cfg.Insecure || p.ring.cfg.TLS != nil {
		return
	}
	for i := range p.now.Len() {
		if a := p.now.Addr(i); !p.now.Retired(i) && p.now.Moved(i) && a != "" && !onLoopback(a) {
			p.no("%s would be at %s, which is not on loopback, and this ring has no encryption: give it "+
				"TLS first (--tls), or run it with --insecure", p.now.Names[i], a)
		}
	}
}

// refuseVoters says what forbids the change for the sake of those who vote.
func (p *planner) refuseVoters(voters []int) {
	alive, wished, may := 0, 0, 0
	for i := range p.now.Len() {
		switch {
		case p.now.Retired(i):
		case p.now.Wish(i) == roster.ToVote:
			wished++
			may++
		case p.now.Wish(i) == 0:
			may++
		}
	}
	for _, i := range voters {
		if p.alive[i] {
			alive++
		}
	}
	if quorum := quorumOf(len(voters)); alive < quorum {
		p.no("of the %d who would vote then, %d live, and %d have to: start more of them first, or retire "+
			"those that are gone for good as well", len(voters), alive, quorum)
	}
	if wished > consensus.VotersMax {
		p.no("%d would be promoted, and at most %d can vote: demote or leave out some",
			wished, consensus.VotersMax)
	}
	if least := min(3, p.now.Members()); may < least {
		p.no("only %d could vote then, and %d have to: demote fewer, or promote somebody else", may, least)
	}
}

// warn says what has to be seen to besides.
func (p *planner) warn(steps []roster.Change) {
	warn := func(format string, args ...any) {
		p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, args...))
	}
	if !p.state.Quorum {
		warn("most of those who vote are out of reach now: it cannot be agreed on before they are back")
	}
	for _, c := range steps {
		i := p.was.Index(c.Name)
		switch c.Kind {
		case roster.Add:
			warn("%s counts as missing until it is started, with this roster, at %s", c.Name, c.Addr)
		case roster.Move:
			warn("%s has to be started anew to listen at %s", c.Name, c.Addr)
		case roster.Retire:
			if !p.alive[i] {
				warn("%s does not run: if it comes back it is told that it is retired, and ends", c.Name)
			}
			if i == p.state.Leader {
				warn("%s leads: another one takes over first", c.Name)
			}
		case roster.Promote:
			if !p.alive[i] {
				warn("%s does not run: it votes once it does", c.Name)
			}
		}
	}
	if n := p.plan.After; n == 2 {
		warn("with two instances nothing can be agreed on while one of them is away")
	}
}

// ChangeRoster has the fleet agree on plan, all of it or nothing, and returns the version that
// it made, which this instance then goes by. The others take it with the entries of the bus,
// at the latest when the particle passes them; RosterEverywhere waits for that. It fails with
// ErrRosterChanged if the roster is not plan.Base any more, with ErrRefused for what the plan
// names as Refused, and with ErrNoQuorum or ErrUncertain as a write to the bus does.
func (r *Ring) ChangeRoster(ctx context.Context, plan RosterPlan) (RosterVersion, error) {
	const what = "change the roster"
	steps, err := stepsOf(plan.Changes)
	if err != nil {
		return RosterVersion{}, err
	}
	var no []error
	for _, text := range plan.Refused {
		no = append(no, errors.New(text))
	}
	if len(no) > 0 {
		return RosterVersion{}, fmt.Errorf("%w: %w", ErrRefused, errors.Join(no...))
	}
	base := r.rosterNow()
	if versionOf(base) != plan.Base {
		return RosterVersion{}, ErrRosterChanged
	}
	if text := r.tooOld(); text != "" {
		return RosterVersion{}, fmt.Errorf("%w: %s", ErrRefused, text)
	}
	if err := r.plant(ctx, base); err != nil {
		return RosterVersion{}, err
	}
	cmd := bus.Command{
		Kind: bus.Reroll, Rev: base.Version, Key: bus.RosterKey(base.Chain()),
		Value: roster.AppendChanges(nil, steps),
	}
	if err := cmd.Check(); err != nil {
		return RosterVersion{}, fmt.Errorf("%w: %w: change fewer at once", ErrRefused, err)
	}
	res, err := r.node.Propose(ctx, cmd)
	if err != nil {
		return RosterVersion{}, busError(what, err)
	}
	switch res.Code {
	case bus.Done:
	case bus.Conflict:
		return RosterVersion{}, ErrRosterChanged
	default:
		return RosterVersion{}, fmt.Errorf("%w: it does not fit the roster: plan anew", ErrRefused)
	}
	err = r.await(ctx, func() bool { return r.rosterNow().Version >= res.Rev })
	return versionOf(r.rosterNow()), err
}

// plant has the bus know the roster that all go by: the one that they were started with, or
// a later one where the bus has lost what it knew. Where another roster was agreed on meanwhile it fails with ErrRosterChanged.
func (r *Ring) plant(ctx context.Context, base *roster.Roster) error {
	if err := r.node.Sync(ctx); err != nil {
		return readError("read the roster", err)
	}
	agreed := r.node.Roster()
	switch {
	case agreed != nil && agreed.Chain() == base.Chain():
		return nil
	case agreed != nil:
		return ErrRosterChanged
	}
	first := base.Encode()
	key := bus.RosterKey(sha256.Sum256(first))
	for at := 0; at < len(first); at += bus.ValueMax {
		res, err := r.node.Propose(ctx, bus.Command{
			Kind: bus.Seed, Key: key, Lap: uint64(at), Limit: uint64(len(first)),
			Value: first[at:min(at+bus.ValueMax, len(first))],
		})
		switch {
		case err != nil:
			return busError("tell the bus the roster", err)
		case res.Code == bus.Conflict: // somebody else does the same
			return ErrRosterChanged
		case res.Code != bus.Done:
			return fmt.Errorf("%w: the bus does not take this roster", ErrRefused)
		}
	}
	return nil
}

// await waits until it holds, which a change of the view brings about.
func (r *Ring) await(ctx context.Context, holds func() bool) error {
	news := make(chan struct{}, 1)
	stop, ended := r.node.OnView(func(*core.View) {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	defer stop()
	for !holds() {
		select {
		case <-news:
		case <-ended:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// RosterVersion is that of the roster this instance goes by now. OnView tells of changes.
func (r *Ring) RosterVersion() RosterVersion { return versionOf(r.rosterNow()) }

// RosterEverywhere waits until the particle has gone round once by stops all of which have
// the version of that number or a later one: whoever is in the ring goes by it; and until
// whoever is retired has given its vote to another, so that the next change may follow
// without a lap that does not count. It returns nil, the context's error, or ErrClosed.
func (r *Ring) RosterEverywhere(ctx context.Context, number uint64) error {
	return r.await(ctx, func() bool {
		return number <= 1 || r.node.View().RosterShown >= number && !r.retiredVotes()
	})
}

// retiredVotes reports whether somebody who is retired still has a vote. It does not stamp
// the laps any more: with too many of those no lap counts.
func (r *Ring) retiredVotes() bool {
	full := r.rosterNow()
	return slices.ContainsFunc(r.node.Bus().Voters, func(v consensus.VoterView) bool {
		i := v.ID.Index()
		return i < full.Len() && full.Retired(i)
	})
}
