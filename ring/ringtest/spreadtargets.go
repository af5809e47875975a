package ringtest

import (
	"fmt"
	"math"
)

// SpreadTarget is something that is wanted of a fleet of that kind.
type SpreadTarget struct {
	Want string  `json:"want"`
	Got  float64 `json:"got"` // the worst
	Met  bool    `json:"met"`
}

// Targets are what is wanted of this fleet: of any that all get everything in the end;
// of a thousand with six links the figures of the theory; and where there are zones that
// the tree enters each once, from the origin's own. There is none about what was not
// measured.
func (r *SpreadResult) Targets() []SpreadTarget {
	var out []SpreadTarget
	atMost := func(most float64, want string, of func(r *SpreadRow) float64, t Trouble, kind string) {
		worst, found := 0.0, false
		for i := range r.Rows {
			if row := &r.Rows[i]; row.Trouble == t && row.Kind == kind && row.Messages > 0 {
				worst, found = max(worst, of(row)), true
			}
		}
		if found {
			out = append(out, SpreadTarget{
				fmt.Sprintf("%s, %s: %s at most %g", t, kind, want, most), worst, worst <= most,
			})
		}
	}
	missing := 0.0
	for _, row := range r.Rows {
		missing = max(missing, float64(row.Messages-row.WholeAfter))
	}
	const none = "messages of a row that not all have in the end: none"
	if len(r.Rows) > 0 && (r.Failure == nil || missing > 0) {
		out = append(out, SpreadTarget{none, missing, missing == 0})
	}

	copies := func(r *SpreadRow) float64 { return math.Round(r.Copies*100) / 100 }
	worst := func(r *SpreadRow) float64 { return r.Worst }
	without := func(r *SpreadRow) float64 { return r.Without }
	if r.Nodes == 1000 && r.Degree == 6 && r.Zones == 1 {
		atMost(6, "hops", worst, Calm, Flood)
		atMost(6, "hops", worst, Calm, Tree)
		atMost(5, "copies", copies, Calm, Flood)
		atMost(1, "copies", copies, Calm, Tree)
		atMost(7, "hops where no digest was needed", without, DeadLost, Flood)
		atMost(1.25, "copies", copies, DeadLost, Tree)
	}
	if r.Zones > 1 {
		atMost(float64(r.Zones-1), "copies from zone to zone",
			func(r *SpreadRow) float64 { return r.CrossCopies }, Calm, Tree)
		atMost(1, "such hops one after the other",
			func(r *SpreadRow) float64 { return float64(r.WideDeep) }, Calm, Tree)
	}
	return out
}
