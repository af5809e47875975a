package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ringofservers.dev/ring"
)

// train is what of a ring lets passengers ride.
type train interface {
	Lap(ctx context.Context, topic string, payload []byte) (ring.Lapped, error)
	OnPassenger(topic string, f func(ring.Passenger)) (stop func())
}

// lappedObject is what came of a passenger, with its version.
type lappedObject struct {
	V int `json:"v"`
	ring.Lapped
	// Question says that it is one of Options.Questions, which all are to answer: who has seen
	// the passenger and not folded has failed to.
	Question bool `json:"question"`
}

// passengerObject is a passenger with its version.
type passengerObject struct {
	V int `json:"v"`
	ring.Passenger
}

// lap has the body ride once round, and answers with who has seen it and what they have
// made of it.
func (a *api) lap(w http.ResponseWriter, req *http.Request) {
	topic := req.PathValue("topic")
	question := slices.Contains(a.options.Questions, topic)
	own := strings.HasPrefix(topic, ownTopics)
	if own && !question {
		refuse(w, http.StatusForbidden, fmt.Sprintf("topics below %s are what instances tell each "+
			"other themselves; choose another, or a question that they answer", ownTopics))
		return
	}
	payload, ok := castBody(w, req)
	if !ok {
		return
	}
	if own && len(payload) > 0 {
		refuse(w, http.StatusUnprocessableEntity, topic+" is a question that takes no payload")
		return
	}
	a.within(w, req, func(ctx context.Context) (any, error) {
		l, err := a.train.Lap(ctx, topic, payload)
		l.Value = append([]byte{}, l.Value...)
		l.Seen = append([]ring.Name{}, l.Seen...)
		l.Unseen = append([]ring.Absent{}, l.Unseen...)
		return lappedObject{1, l, question},
			late(err, "the passenger did not come home, and it is not known who has seen it")
	})
}

// passengers streams those that pass here from now on, in the one order, of ?topic=, one
// ending with a slash for all below it, none for all.
func (a *api) passengers(w http.ResponseWriter, req *http.Request) {
	topic := req.URL.Query().Get("topic")
	a.stream(w, req, func(offer func(item)) func() {
		return a.train.OnPassenger(topic, func(p ring.Passenger) {
			offer(item{body: passengerObject{1, p}})
		})
	})
}
