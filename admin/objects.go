package admin

import (
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// Status is the answer of /v1/status: what the instance knows of the ring, and how the
// application beside it is, if there is one.
type Status struct {
	ring.Status
	App *supervise.Status `json:"app,omitempty"`
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
