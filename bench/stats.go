package main

import (
	"fmt"
	"slices"
	"time"
)

// sorted returns values in order.
func sorted(values []time.Duration) []time.Duration { return slices.Sorted(slices.Values(values)) }

// median of the values, 0 of none; of two middle ones the mean.
func median[T ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// spread prints min / median / max.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s / %s / %s", short(slices.Min(d)), short(median(d)), short(slices.Max(d)))
}

// short prints a duration with three digits that matter.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d us", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
