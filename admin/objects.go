package admin

import "ringofservers.dev/ring"

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
