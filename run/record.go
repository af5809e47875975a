package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// prefix is where jobs are on the bus, keys and leases.
const prefix = "run/"

// Key is the key of the bus that has the Record of a job.
func Key(name string) string { return prefix + name }

const (
	runsKept = 10 // runs that a record has; more only of those that have no end yet
	// runsMax bounds a record where very many overlap: with an error in each it is 25 kB, and
	// a value of the bus 32. The ends of those beyond are not kept.
	runsMax = 50
)

// errVersion is that a record was written by a later version of this program.
var errVersion = errors.New("run: written by a later version")

// Record is what the fleet agrees on about a job.
type Record struct {
	V        int    `json:"v"`
	Schedule string `json:"schedule"` // as of whoever claimed last
	Ticks    bool   `json:"ticks"`    // slots are ticks; else milliseconds since 1970
	Slot     int64  `json:"slot"`     // the newest that was claimed; at first, when the record was made
	Missed   uint64 `json:"missed"`   // in all
	// MissedMore is that more were: of a calendar no more than some are counted at a time.
	MissedMore bool  `json:"missed_more,omitempty"`
	Suspended  bool  `json:"suspended"`
	Runs       []Run `json:"runs"` // the newest first
}

// Run is one slot that was claimed.
type Run struct {
	Slot    int64      `json:"slot"`
	Fence   uint64     `json:"fence"`
	Tick    uint64     `json:"tick"` // the newest counted, when it was claimed
	By      string     `json:"by"`
	Missed  int        `json:"missed"` // slots between the one claimed before and this
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended"` // null: it runs, or nobody knows what became of it
	Exit    int        `json:"exit"`  // once it has ended
	Error   string     `json:"error,omitempty"`
	Lost    bool       `json:"lost,omitempty"` // who ran it is gone and has not said how it ended
}

// ParseRecord reads the value of a record's key.
func ParseRecord(value []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(value, &r); err != nil {
		return r, fmt.Errorf("run: not a record: %w", err)
	}
	if r.V != 1 {
		return r, fmt.Errorf("%w: %d", errVersion, r.V)
	}
	return r, nil
}

// Encode is the value of its key.
func (r Record) Encode() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic("BUG: " + err.Error()) // it is made of numbers, texts and times
	}
	return text
}

// claimed is the record once a slot is claimed, and those it now calls lost: the runs
// without an end that are gone.
func (r Record) claimed(run Run, schedule string, gone func(Run) bool) (next Record, lost []Run) {
	runs := append([]Run{run}, r.Runs...)
	for i := range runs[1:] {
		if old := &runs[1+i]; old.open() && gone(*old) {
			old.Lost = true
			lost = append(lost, *old)
		}
	}
	runs = kept(runs)
	r.Runs, r.Slot, r.Schedule = runs, run.Slot, schedule
	r.Missed += uint64(run.Missed)
	r.MissedMore = r.MissedMore || run.Missed >= manyMissed && strings.HasPrefix(schedule, "cron ")
	return r, lost
}

// open is whether a run may still say how it ended.
func (r Run) open() bool { return r.Ended == nil && !r.Lost }

// kept are the newest of those runs, and those that are open.
func kept(runs []Run) []Run {
	spare := len(runs) - runsKept
	for i := len(runs) - 1; i > 0 && spare > 0; i-- {
		if !runs[i].open() {
			runs = slices.Delete(runs, i, i+1)
			spare--
		}
	}
	return runs[:min(len(runs), runsMax)]
}

// find is the run of that fence, nil if it is not kept any more.
func (r Record) find(fence uint64) *Run {
	for i := range r.Runs {
		if r.Runs[i].Fence == fence {
			return &r.Runs[i]
		}
	}
	return nil
}
