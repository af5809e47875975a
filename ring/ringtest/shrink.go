package ringtest

import (
	"slices"
	"time"
)

// shrinkRuns bounds the search: each run costs what the failing one did.
const shrinkRuns = 300

// shrink looks for the shortest schedule that breaks the same invariant, by
// delta debugging: leave out ever smaller parts for as long as it still fails.
func shrink(opt Options, script []Action, invariant string) []Action {
	runs := 0
	fails := func(s []Action) bool {
		if runs++; runs > shrinkRuns {
			return false
		}
		o := opt
		o.Schedule, o.Trace, o.Progress, o.keep = nonNil(s), nil, nil, false
		_, res, err := play(o)
		return err == nil && res.Failure != nil && res.Failure.Invariant == invariant
	}
	if fails(nil) {
		return nil
	}
	for part := (len(script) + 1) / 2; part >= 1; {
		shorter := false
		for at := 0; at < len(script); {
			s := slices.Delete(slices.Clone(script), at, min(at+part, len(script)))
			if fails(s) {
				script, shorter = s, true
			} else {
				at += part
			}
		}
		if part == 1 && !shorter {
			break
		}
		part = max(part/2, 1)
	}
	return shorten(script, fails)
}

// shorten halves how long actions last for as long as it still fails.
func shorten(script []Action, fails func([]Action) bool) []Action {
	for i := range script {
		for script[i].For >= 2*time.Second {
			s := slices.Clone(script)
			s[i].For /= 2
			if !fails(s) {
				break
			}
			script = s
		}
	}
	return script
}
