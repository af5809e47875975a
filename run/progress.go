package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const rollPrefix = "roll/"

// RolloutKey is the key of the bus that has the state of a rollout.
func RolloutKey(name string) string { return rollPrefix + name }

// PartState is how far an instance is with its part of a rollout.
type PartState string

// The states of a part.
const (
	Waiting PartState = "waiting" // for its turn, or it is not in the ring
	Running PartState = "running"
	Lost    PartState = "lost" // whoever ran it is gone and has not said how it ended; it is waited for
	Done    PartState = "done"
	Failed  PartState = "failed"
)

// Part is what one instance has to do in a rollout.
type Part struct {
	Instance string     `json:"instance"`
	State    PartState  `json:"state"`
	Living   bool       `json:"living"`          // it is in the ring
	Fence    uint64     `json:"fence,omitempty"` // of who runs, is lost or has failed; else 0
	Started  *time.Time `json:"started"`         // of the same; else null
	Exit     int        `json:"exit"`            // of who has failed; -1 where there is none
	Error    string     `json:"error,omitempty"`
}

// Progress is how far a rollout is.
type Progress struct {
	Began   *time.Time `json:"began"`   // when the first instance began; null before
	Changed *time.Time `json:"changed"` // when somebody began or ended last
	Done    int        `json:"done"`
	Parts   []Part     `json:"parts"` // of all instances of the roster, in the order of the ring
}

// State is that of the rollout as a whole: Failed where anybody has, else Running or Lost
// where anybody is, Done where all are, and Waiting.
func (p Progress) State() PartState {
	for _, state := range []PartState{Failed, Running, Lost, Waiting} {
		if len(p.In(state)) > 0 {
			return state
		}
	}
	return Done
}

// In are the parts in one state, in the order of the ring.
func (p Progress) In(state PartState) (parts []Part) {
	for _, one := range p.Parts {
		if one.State == state {
			parts = append(parts, one)
		}
	}
	return parts
}

// Judge calls those lost who say that they run and whose fences are not held any more.
func (p Progress) Judge(held map[uint64]bool) {
	for i := range p.Parts {
		if one := &p.Parts[i]; one.State == Running && !held[one.Fence] {
			one.State = Lost
		}
	}
}

// ParseProgress reads the value of a rollout's key; all are the instances of the roster
// in the order of the ring.
func ParseProgress(value []byte, all []Instance) (Progress, error) {
	s, err := parseRoll(value, len(all))
	return s.progress(all), err
}

// LookAt asks how far a rollout is, as the instance of this fleet has it, which may be
// behind.
func LookAt(ctx context.Context, fleet Fleet, name string) (Progress, error) {
	value, _, err := fleet.Peek(ctx, RolloutKey(name))
	if err != nil {
		return Progress{}, err
	}
	all := fleet.Instances(ctx)
	if len(all) == 0 {
		return Progress{}, errSilent
	}
	return ParseProgress(value, all)
}

// errNoRollout is that the key of a rollout has something else.
var errNoRollout = errors.New("run: not a rollout")

// errSilent is that the instance which is asked for the others does not answer.
var errSilent = errors.New("run: this instance does not answer")

// rollState is the value of a rollout's key. States has a letter for each instance, by its
// index in the roster, so that the largest fleet fits into one value.
type rollState struct {
	V       int        `json:"v"`
	Began   *time.Time `json:"began"`
	Changed *time.Time `json:"changed"`
	States  string     `json:"states"`
	Open    []rollOpen `json:"open"` // of those who run or have failed
}

// The letters of rollState.States.
const (
	rollWaits  = '.'
	rollRuns   = 'r'
	rollDone   = 'd'
	rollFailed = 'f'
)

type rollOpen struct {
	Instance string    `json:"instance"`
	Fence    uint64    `json:"fence"`
	Started  time.Time `json:"started"`
	Exit     int       `json:"exit"`
	Error    string    `json:"error,omitempty"`
}

// parseRoll reads the state of a rollout of n instances, also where there is none yet.
func parseRoll(value []byte, n int) (s rollState, err error) {
	s.V = 1
	if len(value) > 0 {
		if err := json.Unmarshal(value, &s); err != nil {
			return s, fmt.Errorf("%w: %w", errNoRollout, err)
		}
		if s.V != 1 {
			return s, fmt.Errorf("%w: %d", errVersion, s.V)
		}
	}
	s.States += strings.Repeat(string(rollWaits), max(0, n-len(s.States)))
	return s, nil
}

// put sets the state of one instance, and what there is to say of it.
func (s *rollState) put(i int, letter byte, open rollOpen) {
	letters := []byte(s.States)
	letters[i] = letter
	s.States = string(letters)
	s.Open = slices.DeleteFunc(s.Open, func(o rollOpen) bool { return o.Instance == open.Instance })
	if letter != rollDone {
		s.Open = append(s.Open, open)
	}
	s.Changed = new(time.Now().UTC().Round(time.Millisecond))
	if s.Began == nil {
		s.Began = s.Changed
	}
}

// progress says the same in words.
func (s rollState) progress(all []Instance) Progress {
	p := Progress{Began: s.Began, Changed: s.Changed, Parts: make([]Part, 0, len(all))}
	for i, one := range all {
		if one.Name == "" {
			continue
		}
		part := Part{Instance: one.Name, State: Waiting, Living: one.Living}
		if i < len(s.States) {
			switch s.States[i] {
			case rollRuns:
				part.State = Running
			case rollDone:
				part.State = Done
				p.Done++
			case rollFailed:
				part.State = Failed
			}
		}
		at := slices.IndexFunc(s.Open, func(o rollOpen) bool { return o.Instance == one.Name })
		if at >= 0 && part.State != Waiting && part.State != Done {
			o := s.Open[at]
			part.Fence, part.Started, part.Exit, part.Error = o.Fence, &o.Started, o.Exit, o.Error
		}
		p.Parts = append(p.Parts, part)
	}
	return p
}
