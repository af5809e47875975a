package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"ringofservers.dev/ring"
)

// ownTopics begins the topics of what runs within instances, such as package respawn:
// whoever else can reach this port must not speak for it.
const ownTopics = "ring/"

// messageObject is a message with its version.
type messageObject struct {
	V int `json:"v"`
	ring.Message
}

// receiptObject is a receipt with its version.
type receiptObject struct {
	V int `json:"v"`
	ring.Receipt
}

// broadcast sends the body to all, and answers with how it was numbered; with ?wait once
// all have it, or the time is over, and with who has. A large body may take as long as it
// goes on coming, where no ?timeout= is given; there is no waiting for who has it.
func (a *api) broadcast(w http.ResponseWriter, req *http.Request) {
	topic := req.PathValue("topic")
	if strings.HasPrefix(topic, ownTopics) {
		refuse(w, http.StatusForbidden, fmt.Sprintf("topics below %s are what instances tell each "+
			"other themselves; choose another", ownTopics))
		return
	}
	if req.URL.Query().Has("wait") {
		payload, ok := castBody(w, req)
		if !ok {
			return
		}
		a.within(w, req, func(ctx context.Context) (any, error) {
			receipt, err := a.ring.BroadcastAcked(ctx, topic, payload)
			return receiptObject{1, receipt},
				late(err, "nobody has said that the message came, and it may come yet")
		})
		return
	}
	send := func(ctx context.Context) (any, error) {
		m, err := a.ring.BroadcastFrom(ctx, topic, &upload{req.Body, http.NewResponseController(w)})
		return messageObject{1, m},
			late(err, "nothing is sent, for want of room or of the whole payload")
	}
	if req.URL.Query().Has("timeout") {
		a.within(w, req, send)
		return
	}
	answer, err := send(req.Context())
	if err != nil {
		refuseBus(w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// gatherObject is what came of a question, with its version.
type gatherObject struct {
	V       int           `json:"v"`
	Topic   string        `json:"topic"`
	Replies []ring.Reply  `json:"replies"`
	Failed  []ring.Name   `json:"failed"`
	Missing []ring.Absent `json:"missing"`
}

// gather asks all, and answers with what each said.
func (a *api) gather(w http.ResponseWriter, req *http.Request) {
	payload, ok := castBody(w, req)
	if !ok {
		return
	}
	topic := req.PathValue("topic")
	a.within(w, req, func(ctx context.Context) (any, error) {
		g, err := a.ring.Gather(ctx, topic, payload, nil)
		return gatherObject{
			1, topic, append([]ring.Reply{}, g.Replies...), append([]ring.Name{}, g.Failed...),
			append([]ring.Absent{}, g.Missing...),
		}, late(err, "no answers came")
	})
}

// late says what has not come where err is that the time is over.
func late(err error, what string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// castBody reads what is to be sent, or refuses it.
func castBody(w http.ResponseWriter, req *http.Request) (payload []byte, ok bool) {
	payload, err := io.ReadAll(http.MaxBytesReader(w, req.Body, ring.PayloadMax))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("this takes a payload of %d bytes at most", ring.PayloadMax))
	case err != nil:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("the payload broke off: %v", err))
	}
	return payload, err == nil
}

// messages streams what is delivered here from now on, of ?topic=, one ending with a
// slash for all below it, none for all.
func (a *api) messages(w http.ResponseWriter, req *http.Request) {
	topic := req.URL.Query().Get("topic")
	a.stream(w, req, func(offer func(item)) func() {
		return a.ring.Subscribe(topic, func(m ring.Message) { offer(item{body: messageObject{1, m}}) })
	})
}
