package ring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// PayloadMax is how many bytes Broadcast sends at most.
	PayloadMax = wire.CastMax
	// TopicMax is how many bytes a topic has at most.
	TopicMax = wire.TopicMax
)

// Message is one that was broadcast, or word that some will not come.
type Message struct {
	At      time.Time `json:"at"`   // here
	From    Name      `json:"from"` // who sent it
	Life    uint64    `json:"life"` // of From: a later process of it has a higher one
	Seq     uint64    `json:"seq"`  // in From's life, over all topics and questions, from 1 on
	Topic   string    `json:"topic,omitempty"`
	Payload []byte    `json:"payload,omitempty"` // base64 in JSON; not to be written to
	Large   *Large    `json:"large,omitempty"`   // instead of Payload, see BroadcastFrom
	Missed  uint64    `json:"missed,omitempty"`
}

// Broadcast sends payload to all instances that live, this one included, and returns
// how it was numbered, without the payload: each process gets it once, and those of one
// sender in the order in which they were sent. It does not wait for anybody to have it.
// Before this instance is in the ring, and where more is sent than half of its links
// carry, or by all together than some 6 MiB a second, it waits for room, or for ctx; a
// slow neighbour of several holds nothing up, it gets what it missed later. It fails with
// ErrRefused for a topic that is empty, over TopicMax bytes or no UTF-8, and for more than
// PayloadMax bytes, for which there is BroadcastFrom.
//
// An instance that was cut off gets what it missed from its neighbours, as long as these
// keep it (8 MiB in all), and else is told how many it missed.
func (r *Ring) Broadcast(ctx context.Context, topic string, payload []byte) (Message, error) {
	if err := checkCast(topic, payload); err != nil {
		return Message{}, err
	}
	id, err := r.node.Broadcast(ctx, topic, payload)
	switch {
	case errors.Is(err, node.ErrEnded):
		return Message{}, ErrClosed
	case err != nil:
		return Message{}, err
	}
	return r.messageOf(id, topic), nil
}

// messageOf is how one of ours was numbered.
func (r *Ring) messageOf(id wire.CastID, topic string) Message {
	return Message{At: time.Now(), From: r.cfg.Name, Life: id.Life, Seq: id.Seq, Topic: topic}
}

func checkCast(topic string, payload []byte) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	if topic == node.ParcelTopic {
		return fmt.Errorf("%w: the topic %s is the ring's own", ErrRefused, topic)
	}
	if len(payload) > PayloadMax {
		return fmt.Errorf("%w: the payload has %d bytes, a broadcast takes at most %d; "+
			"BroadcastFrom sends more", ErrRefused, len(payload), PayloadMax)
	}
	return nil
}

// Subscribe calls f for each message of topic that is delivered here from now on, in
// the manner of OnTick; of one that ends with a slash, for all below it, and of an empty
// one for all. Where some will not come any more, because this instance was away for
// long or f was too slow for 4,096 of them or 4 MiB, it is called with Missed, and no topic:
// nobody knows any more what they were about.
//
// A process that has just started is given what its neighbours keep, also what an earlier
// process of its name was given, from the moment on at which it has joined: subscribe
// before you wait for [Ring.Joined], or what came until then is not heard.
func (r *Ring) Subscribe(topic string, f func(Message)) (stop func()) {
	stop, _ = r.node.OnCast(func(missed uint64, c node.Cast) {
		if missed > 0 {
			f(Message{At: c.At, Missed: missed})
		}
		switch m := c.Msg; {
		case m == nil:
			x := c.Missed
			f(Message{
				At: c.At, From: r.name(int(x.Origin)), Life: x.Life, Seq: x.To, Missed: x.To - x.From + 1,
			})
		case node.TopicHas(topic, m.Topic):
			msg := Message{
				At: c.At, From: r.name(int(m.Origin)), Life: m.Life, Seq: m.Seq, Topic: m.Topic,
			}
			if c.Body != nil {
				msg.Large = largeOf(c.Body)
			} else {
				msg.Payload = m.Payload
			}
			f(msg)
		}
	})
	return stop
}
