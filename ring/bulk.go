package ring

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"unicode/utf8"

	"ringofservers.dev/ring/internal/bulk"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// BulkMax is how many bytes BroadcastFrom sends at most.
const BulkMax = wire.BulkMax

const (
	// chainMax is up to how many living instances large payloads go along ring 0. It takes
	// twice a chunk's time to be told on, about, so that the last of more would wait for
	// more than a tenth of a transfer of a thousand chunks.
	chainMax = 64
	// helpers is how many before this instance in the chain it may have to turn to.
	helpers = 8
)

// Large is the payload of a message that had more than PayloadMax bytes.
type Large struct {
	Name   string `json:"name"` // in hexadecimal; equal payloads have equal names
	Size   int64  `json:"size_bytes"`
	SHA256 string `json:"sha256"` // by the sender's word; what came was checked in chunks

	payload *haul.Payload
}

// Open opens the payload for reading. It fails with ErrNotFound where it is not kept here any
// more. Who goes on reading then is not disturbed.
func (l *Large) Open() (io.ReadSeekCloser, error) {
	if l.payload == nil { // it came as JSON
		return nil, fmt.Errorf("%w: payload %.16s is at the instance that told of it", ErrNotFound, l.Name)
	}
	f, err := l.payload.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: payload %.16s is not kept here any more", ErrNotFound, l.Name)
	}
	return f, err
}

// Open opens the payload for reading, whatever its size.
func (m Message) Open() (io.ReadSeekCloser, error) {
	if m.Large != nil {
		return m.Large.Open()
	}
	return inMemory{bytes.NewReader(m.Payload)}, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// BroadcastFrom sends all that src has, up to BulkMax bytes, to all instances that live.
// More than PayloadMax bytes go the bulk way: from instance to instance over connections
// of their own, each chunk checked, and to a file first, here as there. Subscribers get
// the message when the payload is there whole, so that small ones that were sent later
// may come before it. Where an instance dies in between the others go on without it; one
// that starts again with its data directory goes on with what it has.
//
// It returns when all is read and the others know what is to come, and waits for none of
// them. What it sent is kept here, as everywhere, until Config.BulkKeep bytes of newer
// ones have come, or for a day; with less room than that some may get it no more. It
// fails with ErrRefused for what Broadcast refuses, for more than BulkMax bytes, and
// where Config.BulkKeep leaves no room.
func (r *Ring) BroadcastFrom(ctx context.Context, topic string, src io.Reader) (Message, error) {
	if err := checkTopic(topic); err != nil {
		return Message{}, err
	}
	head, err := io.ReadAll(io.LimitReader(src, PayloadMax+1))
	if err != nil {
		return Message{}, fmt.Errorf("read the payload: %w", err)
	}
	if len(head) <= PayloadMax {
		return r.Broadcast(ctx, topic, head)
	}
	manifest, p, err := r.bulk.Stage(ctx, io.MultiReader(bytes.NewReader(head), src))
	if err != nil {
		return Message{}, bulkError(err)
	}
	id, err := r.node.BroadcastLarge(ctx, topic, manifest)
	if err != nil {
		r.bulk.Unsent(p)
		return Message{}, bulkError(err)
	}
	m := r.messageOf(id, topic)
	m.Large = largeOf(p)
	return m, nil
}

func checkTopic(topic string) error {
	if topic == "" || len(topic) > wire.TopicMax || !utf8.ValidString(topic) {
		return fmt.Errorf("%w: a topic has 1 to %d bytes of UTF-8, %q has not", ErrRefused,
			wire.TopicMax, topic)
	}
	return nil
}

// bulkError turns the driver's errors into this package's.
func bulkError(err error) error {
	switch {
	case errors.Is(err, haul.ErrEnded), errors.Is(err, node.ErrEnded):
		return ErrClosed
	case errors.Is(err, haul.ErrFull):
		return fmt.Errorf("%w: %w; wait until others are through, or set a larger BulkKeep "+
			"(--bulk-keep)", ErrRefused, err)
	case errors.Is(err, haul.ErrLarge):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func largeOf(p *haul.Payload) *Large {
	return &Large{
		Name: hex.EncodeToString(p.Name[:]), Size: p.Size, SHA256: hex.EncodeToString(p.Sum[:]), payload: p,
	}
}

// Transfer is a large payload that is here or on its way.
type Transfer struct {
	Name    string  `json:"name"`
	Topic   string  `json:"topic"` // of the message that brought it first
	From    Name    `json:"from"`
	Size    int64   `json:"size_bytes"`
	Have    int64   `json:"have_bytes"`
	SHA256  string  `json:"sha256"`
	State   string  `json:"state"`                 // "waiting" for room, "running" or "whole"
	Rate    float64 `json:"rate_bytes_per_second"` // on average since it began; 0 where it was here
	Sources []Name  `json:"sources"`               // who is asked for chunks of it now
	Takers  int     `json:"takers"`                // who take it from here, or did
}

// The states of a Transfer.
const (
	TransferWaiting = "waiting"
	TransferRunning = "running"
	TransferWhole   = "whole"
)

// Transfers are the large payloads that are here or on their way, the oldest first and
// those that wait for room last.
func (r *Ring) Transfers() []Transfer {
	list := []Transfer{}
	for _, h := range r.bulk.Transfers() {
		t := Transfer{
			Name: hex.EncodeToString(h.Name[:]), Size: h.Size, Have: h.Have,
			SHA256: hex.EncodeToString(h.Sum[:]), State: TransferRunning, Sources: []Name{}, Takers: h.Takers,
			From: r.cfg.Name,
		}
		if c := h.Cast; c != nil {
			t.Topic, t.From = c.Topic, r.name(int(c.Origin))
		}
		switch {
		case h.Waiting:
			t.State = TransferWaiting
		case h.Whole:
			t.State = TransferWhole
		}
		if h.Took > 0 {
			t.Rate = float64(h.Have) / h.Took.Seconds()
		}
		for _, i := range h.Sources {
			t.Sources = append(t.Sources, r.name(i))
		}
		list = append(list, t)
	}
	return list
}

// PayloadTopic is a question that every instance answers, see [Ring.Gather]: how many bytes
// of the large payload of that name are there, in decimal digits. When it is all of them
// the payload is whole.
const PayloadTopic = "ring/payload"

// answerPayload is this instance's answer to it.
func (r *Ring) answerPayload(_ context.Context, q Question) ([]byte, error) {
	for _, t := range r.Transfers() {
		if t.Name != string(q.Payload) {
			continue
		}
		have := t.Have
		if t.State != TransferWhole { // the last chunk may be here, and not seen to yet
			have = min(have, t.Size-1)
		}
		return strconv.AppendInt(nil, have, 10), nil
	}
	return []byte("0"), nil
}

// Payload finds a large payload that is here whole, by its name. It fails with
// ErrNotFound where it is not, or not yet.
func (r *Ring) Payload(name string) (*Large, error) {
	var n wire.BulkName
	if b, err := hex.DecodeString(name); err == nil && len(b) == len(n) {
		copy(n[:], b)
		if p, ok := r.bulk.Payload(n); ok {
			return largeOf(p), nil
		}
	}
	return nil, fmt.Errorf("%w: no payload of that name is here whole", ErrNotFound)
}

// bulkView is whom large payloads are taken from, by a view.
func (r *Ring) bulkView(v *core.View) bulk.View {
	ov := r.links.Load()
	alive := func(i int) bool {
		return i == r.self || i < len(v.Instances) && v.Instances[i].State == wire.Alive
	}
	living := 0
	for i := range v.Instances {
		if alive(i) {
			living++
		}
	}
	b := bulk.View{Chain: living <= chainMax}
	if b.Chain {
		for i, ok := ov.Walk(0, r.self, -1, alive); ok && i != r.self && len(b.Before) < helpers; {
			b.Before = append(b.Before, i)
			i, ok = ov.Walk(0, i, -1, alive)
		}
		return b
	}
	for _, i := range ov.Live(alive).Near(r.self) {
		b.Links = append(b.Links, int(i))
	}
	return b
}
