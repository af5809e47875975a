package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/lap"
)

// givenAt is where a person finds a setting that answers to a topic at this stop.
type givenAt struct {
	topic string // its topic or name
	hold  string // for how long it holds the particle
}

// answering is a setting that answers to passengers of a topic, for which it may hold the
// particle that long.
type answering struct {
	topic string
	hold  time.Duration
	at    givenAt
}

// answerings are the commands and filters of the settings, in this order.
func (d *draft) answerings() []answering {
	all := make([]answering, 0, len(d.Laps)+len(d.Stations))
	for i, c := range d.Laps {
		all = append(all, answering{lap.Topic(c.Name), c.Timeout, d.lapsAt[i]})
	}
	for i, s := range d.Stations {
		all = append(all, answering{s.Topic, s.Hold, d.stationsAt[i]})
	}
	return all
}

// checkStop says which of them cannot be at one stop, and which want to hold the particle for
// longer than a ring of the preset lets them.
func (d *draft) checkStop() error {
	var errs []error
	first := make(map[string]string) // topic -> where
	for _, one := range d.answerings() {
		at, twice := first[one.topic]
		switch {
		case slices.Contains(lap.Questions(), one.topic):
			errs = append(errs, fmt.Errorf("%s: topic %q is that of a question which every instance answers: "+
				"choose another", one.at.topic, one.topic))
		case twice:
			errs = append(errs, fmt.Errorf("%s: topic %q is there twice, first at %s: a stop has one command "+
				"for each, so choose another topic, or one command for both, such as 'one | two'",
				one.at.topic, one.topic, at))
		default:
			first[one.topic] = one.at.topic
		}
		if limit := holdLimit(d.Preset); one.hold > limit && !d.anyPreset {
			errs = append(errs, fmt.Errorf("%s: %v is too long: all stations of a fleet together hold the "+
				"particle for %v on a lap with preset %s, half of what makes it lost: give at most that%s",
				one.at.hold, one.hold, limit, d.Preset, orPreset(one.hold)))
		}
		if len(errs) >= faultsMax {
			break
		}
	}
	return errors.Join(errs...)
}

// holdLimit is for how long all stations of a fleet together hold the particle on a lap; see
// ring.Holds.
func holdLimit(preset string) time.Duration { return presets[preset]().Loss / 2 }

// orPreset names the presets that let the particle be held for so long.
func orPreset(hold time.Duration) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(presets)) {
		if hold <= holdLimit(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", or choose preset " + strings.Join(names, " or ")
}
