package ringtest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/overlay"
	"ringofservers.dev/ring/internal/wire"
)

// SpreadOptions say which fleet broadcasts. The same options give the same result.
type SpreadOptions struct {
	Seed     uint64
	Nodes    int       // 1 to wire.RosterMax
	Degree   int       // links of each, 0 for what a fleet of that size has
	Zones    int       // data centres, each WideHops from the others; 0 and 1: no such thing
	Sizes    []int     // bytes of payloads; nil: 100 and 4096, one flooded and one by the tree
	Messages int       // of each size under each trouble, 0: 10
	Troubles []Trouble // nil: all that Troubles lists
	Progress io.Writer // a line for each trouble, nil for none
}

// WideHops is how much longer a packet takes from one data centre to another than
// within one.
const WideHops = 20

// Trouble is what is wrong while messages are broadcast.
type Trouble string

// The troubles, in the order in which one fleet meets them.
const (
	Calm       Trouble = "none"
	Lost       Trouble = "lost"         // 5 % of the frames of the broadcast vanish
	Dead       Trouble = "dead"         // a tenth is dark, and nobody has noticed
	DeadLost   Trouble = "dead+lost"    // both
	Centre     Trouble = "centre"       // a data centre is dark, and nobody has noticed
	Late       Trouble = "late"         // 5 % of all packets are lost, and sent again by TCP
	Churn      Trouble = "churn"        // some are killed and some leave; all come back
	CentreGone Trouble = "centre-known" // a data centre is gone, and all know
)

// Troubles lists all there are.
func Troubles() []Trouble {
	return []Trouble{Calm, Lost, Dead, DeadLost, Centre, Late, Churn, CentreGone}
}

// Kinds of broadcasts: small messages are flooded, larger ones go down a tree.
const (
	Flood = "flood"
	Tree  = "tree"
)

// NoRoom is the Invariant of a Failure that is none of the broadcast: more was to be
// published than there is room for.
const NoRoom = "no room"

// SpreadResult is how one fleet broadcasts. Times are in hops: what a packet takes
// within a data centre.
type SpreadResult struct {
	Seed     uint64      `json:"seed"`
	Nodes    int         `json:"nodes"`
	Degree   int         `json:"degree"`
	Zones    int         `json:"zones"`
	FormedMS float64     `json:"formed_ms"` // of virtual time, until all agreed on who lives
	Frames   uint64      `json:"frames"`    // sent by all, of everything
	Bytes    uint64      `json:"bytes"`     // the same
	Steps    uint64      `json:"steps"`     // of cores
	Rows     []SpreadRow `json:"rows"`
	Hash     string      `json:"hash"`    // of the whole run
	Failure  *Failure    `json:"failure"` // nil if all invariants held
}

// SpreadRow is what became of some messages of one size under one trouble. Counts are
// means over these, and but for CopiesAfter of what came before there was any digest.
type SpreadRow struct {
	Trouble  Trouble `json:"trouble"`
	Troubled int     `json:"troubled"` // instances that are dark, or come and go
	Live     int     `json:"live"`     // the others, whom all else is about
	Kind     string  `json:"kind"`     // Flood or Tree
	Size     int     `json:"size"`     // bytes of a payload
	Messages int     `json:"messages"`

	Best   float64 `json:"best_hops"`   // to the last of the live by the shortest ways there are, at most
	Median float64 `json:"median_hops"` // until the last of the live had it
	Worst  float64 `json:"worst_hops"`
	// Without is Worst of the messages that all had before there was any digest.
	Without float64 `json:"worst_before_hops"`

	Whole      int `json:"whole_before"` // messages that all the live had before there was any digest
	WholeAfter int `json:"whole_after"`  // and that all had in the end, those that came back too

	Copies      float64 `json:"copies"` // of the payload, for each of the live
	CopiesAfter float64 `json:"copies_after"`
	Control     float64 `json:"control"` // announcements and requests, for each of the live
	Bytes       float64 `json:"bytes"`   // of all these frames, for each of the live

	CrossCopies float64 `json:"cross_copies"` // that went from zone to zone, in all
	WideDeep    int     `json:"wide_deep"`    // the most such hops one after the other that any came by

	// Reached is the share of the live that had it after so many hops.
	Reached []float64 `json:"reached"`
}

// How the fleet is run.
const (
	spreadHop = ms
	// spreadPatience is how long an instance must be silent to be doubted: long enough
	// for digests to be seen at work before the detector is.
	spreadPatience = 5 * time.Second
	// spreadWindow is for how long digests are kept back, and wideWindow how much
	// longer where there are zones.
	spreadWindow = 80 * spreadHop
	wideWindow   = 4 * WideHops * spreadHop
	// spreadBound is within what digests must have brought everything to everybody.
	spreadBound = 30 * second
	// recovers is how long the fleet has for itself after a trouble: longer than what TCP
	// still waits with retransmissions.
	recovers = 8 * second
	lostRate = 0.05
	// knownMax is up to how many instances a data centre dies for good: when a quarter
	// of ten thousand dies, the words about that are tens of gigabytes.
	knownMax  = 2000
	churnMax  = 20
	churnFew  = 4         // of more than knownMax: each view change costs the square of the fleet
	churnTime = 1500 * ms // in which they come and go
	churnAway = 500 * ms  // and for how long each is away
	// latePause keeps messages apart that a packet lost on the way of one would delay.
	latePause = 300 * ms
	reachMax  = 60 // hops that SpreadRow.Reached has
)

func (o SpreadOptions) withDefaults() (SpreadOptions, error) {
	o.Messages = cmp.Or(o.Messages, 10)
	o.Zones = max(o.Zones, 1)
	if o.Sizes == nil {
		o.Sizes = []int{100, 4096}
	}
	var errs []error
	if o.Nodes < 1 || o.Nodes > wire.RosterMax {
		errs = append(errs, fmt.Errorf("nodes is %d, want 1 to %d", o.Nodes, wire.RosterMax))
	}
	if o.Zones > max(o.Nodes, 1) {
		errs = append(errs, fmt.Errorf("zones is %d, more than the %d instances", o.Zones, o.Nodes))
	}
	if o.Messages < 1 {
		errs = append(errs, fmt.Errorf("messages is %d, want at least 1", o.Messages))
	}
	if o.Troubles == nil {
		o.Troubles = Troubles()
	}
	for _, t := range o.Troubles {
		if !slices.Contains(Troubles(), t) {
			errs = append(errs, fmt.Errorf("trouble %q is unknown; there are %v", t, Troubles()))
		}
	}
	if len(errs) == 0 && !slices.ContainsFunc(o.Troubles, o.can) {
		errs = append(errs, fmt.Errorf("%d instances cannot meet any of the troubles %v, nothing would "+
			"be measured", o.Nodes, o.Troubles))
	}
	errs = append(errs, overlay.CheckDegree(o.Degree))
	for _, size := range o.Sizes {
		if size < 0 || size > wire.CastMax {
			errs = append(errs, fmt.Errorf("size is %d, want 0 to %d", size, wire.CastMax))
		}
	}
	return o, errors.Join(errs...)
}

// can reports whether a fleet of that size can meet a trouble: nobody can be spared of up
// to three.
func (o SpreadOptions) can(t Trouble) bool {
	switch t {
	case Dead, DeadLost, Centre, Churn:
		return o.Nodes > 3
	case CentreGone: // a quorum must be left
		first := max(o.Nodes/4, 1)
		if o.Zones > 1 {
			first = (o.Nodes + o.Zones - 1) / o.Zones
		}
		return o.Nodes > 3 && o.Nodes <= knownMax && 2*first < o.Nodes
	}
	return true
}

// Check says why Spread would refuse these options, if it would.
func (o SpreadOptions) Check() error {
	_, err := o.withDefaults()
	return err
}

// Spread lets a fleet form, and measures what becomes of its broadcasts under one
// trouble after the other. The error is about the options.
func Spread(opt SpreadOptions) (SpreadResult, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return SpreadResult{}, err
	}
	w, err := newWorld(Options{
		Seed: opt.Seed, Nodes: opt.Nodes, Timing: "lan", Schedule: []Action{}, idle: true,
		degree: opt.Degree, zones: opt.Zones, hop: spreadHop, wide: WideHops * spreadHop,
		patience: spreadPatience,
	})
	if err != nil {
		return SpreadResult{}, err
	}
	s := &spreader{
		w: w, opt: opt, dice: dice(mix(opt.Seed, forSpread)), window: spreadWindow,
		res: SpreadResult{
			Seed: opt.Seed, Nodes: opt.Nodes, Degree: w.overlay.Degree, Zones: opt.Zones,
			Rows: []SpreadRow{},
		},
	}
	if opt.Zones > 1 {
		s.window += wideWindow
	}
	w.meter = &meter{flights: map[wire.CastID]*flight{}, dice: dice(mix(opt.Seed, forSpread, 1))}
	s.run()
	s.res.Frames, s.res.Bytes, s.res.Steps = w.frames, w.bytes, w.steps
	s.res.Hash, s.res.Failure = fmt.Sprintf("%016x", uint64(w.hash)), w.failure
	if f := w.failure; f != nil {
		f.Schedule, f.Replay = []string{}, opt.replay()
	}
	return s.res, nil
}

// replay is the command that does the same again.
func (o SpreadOptions) replay() string {
	text := fmt.Sprintf("ring sim broadcast --seed %d --nodes %d --messages %d", o.Seed, o.Nodes,
		o.Messages)
	list := func(flag string, of any) {
		text += " --" + flag + " " + strings.ReplaceAll(strings.Trim(fmt.Sprint(of), "[]"), " ", ",")
	}
	list("size", o.Sizes)
	list("trouble", o.Troubles)
	if o.Zones > 1 {
		list("zones", o.Zones)
	}
	if o.Degree > 0 {
		list("degree", o.Degree)
	}
	return text
}
