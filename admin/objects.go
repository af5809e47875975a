package admin

import (
	"encoding/json"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// Status is the answer of /v1/status: what the instance knows of the ring, and how the
// application beside it is, if there is one.
type Status struct {
	ring.Status
	// Instances are those of ring.Status with their applications: in JSON it is these.
	Instances []Instance        `json:"instances"`
	App       *supervise.Status `json:"app,omitempty"`
	Retired   int               `json:"retired"` // how many are out of the roster for good
}

// UnmarshalJSON sets the instances of ring.Status too.
func (s *Status) UnmarshalJSON(text []byte) error {
	type plain Status
	if err := json.Unmarshal(text, (*plain)(s)); err != nil {
		return err
	}
	s.Status.Instances = make([]ring.Instance, len(s.Instances))
	for i, one := range s.Instances {
		s.Status.Instances[i] = one.Instance
	}
	return nil
}

// Instance is one of them, and how the application beside it is, if it has told of one.
type Instance struct {
	ring.Instance
	App *lap.App `json:"app,omitempty"`
}

// withApps is the status of a ring with what is known of the applications; apps may be nil.
func withApps(s ring.Status, apps func() map[ring.Name]lap.App) Status {
	all := Status{Status: s, Instances: make([]Instance, len(s.Instances))}
	var known map[ring.Name]lap.App
	if apps != nil {
		known = apps()
	}
	for i, one := range s.Instances {
		all.Instances[i].Instance = one
		if app, ok := known[one.Name]; ok {
			all.Instances[i].App = &app
		}
	}
	return all
}

// The objects of package ring that know no version, with the one they have here.
type (
	viewObject struct {
		V int `json:"v"`
		ring.View
	}
	eventObject struct {
		V int `json:"v"`
		ring.Event
	}
	tickObject struct {
		V int `json:"v"`
		ring.Tick
	}
	entryObject struct {
		V int `json:"v"`
		ring.Entry
	}
)
