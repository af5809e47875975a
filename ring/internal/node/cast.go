package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/haul"
	"ringofservers.dev/ring/internal/wire"
)

const (
	// castsKept is how many messages wait for a subscriber that is slow.
	castsKept = 4096
	// castsBytes is how many bytes of them do.
	castsBytes = 4 << 20
)

// Cast is a message to all, or that some will not come.
type Cast struct {
	At     time.Time
	Msg    *wire.Cast     // nil where some were missed
	Missed wire.CastRange // those
	Body   *haul.Payload  // of a large one

	count uint64 // delivered here or missed, up to this
}

// casting is what the broadcast needs. The baton guards it.
type casting struct {
	id      wire.CastID // of the Publish under way
	crowded bool
	emptied chan struct{} // closed when there is room again
	told    bool          // something was delivered in this Step
	count   uint64        // delivered or missed by this process

	waiting atomic.Int32  // publishers that wait for room; the baton need not be had
	slow    atomic.Uint64 // messages that followers were too slow for, of each; nor for this

	asking  chan *gather.Outcome // of the Publish under way, nil if nobody is asked
	asked   map[wire.CastID]chan *gather.Outcome
	answers map[string]*Answerer // by topic
}

func newCasting() casting {
	return casting{
		emptied: make(chan struct{}), asked: map[wire.CastID]chan *gather.Outcome{},
		answers: map[string]*Answerer{},
	}
}

// Answerer is how this instance answers questions of one topic. Both are called from
// goroutines of their own, and their errors are nobody's but the caller's.
type Answerer struct {
	Answer func(ctx context.Context, from int, payload []byte) ([]byte, error)
	Fold   func(values [][]byte) ([]byte, error) // nil: values stay as they are
}

// Broadcast sends payload to all that live, this instance included. While there is no
// room for it, it waits for that.
func (n *Node) Broadcast(ctx context.Context, topic string, payload []byte) (wire.CastID, error) {
	return n.publishCast(ctx, &wire.Cast{Topic: topic, Payload: bytes.Clone(payload)}, nil)
}

// BroadcastLarge sends the manifest of a payload that is staged.
func (n *Node) BroadcastLarge(ctx context.Context, topic string, manifest []byte) (wire.CastID, error) {
	return n.publishCast(ctx, &wire.Cast{Topic: topic, Payload: manifest, Large: true}, nil)
}

// Ask broadcasts a question and returns what came of it: when all that live have
// answered, or after wait. The error is ctx's, or ErrEnded.
func (n *Node) Ask(ctx context.Context, how wire.How, wait time.Duration, topic string,
	payload []byte,
) (wire.CastID, *gather.Outcome, error) {
	answer := make(chan *gather.Outcome, 1)
	id, err := n.publishCast(ctx, &wire.Cast{
		Topic: topic, Payload: bytes.Clone(payload),
		Question: &wire.Question{How: how, WaitMS: uint32(max(wait.Milliseconds(), 1))},
	}, answer)
	if err != nil {
		return id, nil, err
	}
	select {
	case o := <-answer:
		return id, o, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-n.ctx.Done():
		err = ErrEnded
	}
	n.mu.Lock()
	delete(n.cast.asked, id)
	n.mu.Unlock()
	return id, nil, err
}

// publishCast has the core publish m, as soon as it takes it; answer gets what comes of it.
func (n *Node) publishCast(ctx context.Context, m *wire.Cast, answer chan *gather.Outcome) (wire.CastID, error) {
	for {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return wire.CastID{}, ErrEnded
		}
		emptied := n.cast.emptied
		n.cast.asking = answer
		n.step(time.Now(), core.Event{Kind: core.Publish, Cast: m})
		n.cast.asking = nil
		id, crowded := n.cast.id, n.cast.crowded
		n.mu.Unlock()
		if !crowded {
			return id, nil
		}
		if err := n.awaitRoom(ctx, emptied); err != nil {
			return wire.CastID{}, err
		}
	}
}

// awaitRoom waits until there may be room to publish.
func (n *Node) awaitRoom(ctx context.Context, emptied <-chan struct{}) error {
	n.cast.waiting.Add(1)
	defer n.cast.waiting.Add(-1)
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.ctx.Done():
		return ErrEnded
	}
}

// OnAsk has a answer questions of topic, until stop. It reports whether nobody did yet.
func (n *Node) OnAsk(topic string, a *Answerer) (stop func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cast.answers[topic] != nil {
		return nil, false
	}
	n.cast.answers[topic] = a
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cast.answers[topic] == a {
			delete(n.cast.answers, topic)
		}
	}, true
}

// carryCast does an effect of the broadcast.
func (n *Node) carryCast(now time.Time, fx *core.Effect) {
	switch fx.Kind {
	case core.Published:
		n.cast.id, n.cast.crowded = fx.Cast.CastID, false
		if q := fx.Cast.Question; q == nil || q.How == wire.AskReceipt {
			n.stats.published++
		}
		if n.cast.asking != nil {
			n.cast.asked[fx.Cast.CastID] = n.cast.asking
		}
	case core.Crowded:
		n.cast.crowded = true
	case core.Emptied:
		close(n.cast.emptied)
		n.cast.emptied = make(chan struct{})
	case core.Delivered:
		if fx.Cast.Large && n.cfg.Bulk != nil {
			n.cfg.Bulk.Announced(fx.Cast)
			return
		}
		if q := fx.Cast.Question; q != nil && (q.How != wire.AskReceipt || q.First != fx.Cast.Seq) {
			return // nobody who subscribes is to see it, or to see it again
		}
		if fx.Cast.Topic == ParcelTopic {
			n.keepParcel(fx.Cast)
			return
		}
		n.tellCast(Cast{At: now, Msg: fx.Cast})
	case core.Missed:
		n.tellCast(Cast{At: now, Missed: fx.Range})
	case core.Answer:
		m := fx.Cast
		n.work(core.Answered, m, func(ctx context.Context, a *Answerer) ([]byte, error) {
			return a.Answer(ctx, int(m.Origin), m.Payload)
		})
	case core.Fold:
		values := fx.Values
		n.work(core.Folded, fx.Cast, func(_ context.Context, a *Answerer) ([]byte, error) {
			if a.Fold == nil {
				return nil, errNoAnswer
			}
			return a.Fold(values)
		})
	case core.Gathered:
		if ch := n.cast.asked[fx.Outcome.ID]; ch != nil {
			delete(n.cast.asked, fx.Outcome.ID)
			ch <- fx.Outcome
		}
	}
}

var errNoAnswer = errors.New("nobody here has an answer")

// work has a question's answerer do something, and feeds the core what came of it.
func (n *Node) work(kind core.EventKind, m *wire.Cast,
	do func(ctx context.Context, a *Answerer) ([]byte, error),
) {
	a := n.cast.answers[m.Topic]
	go func() { // not waited for at the end: it is somebody else's, and may not heed ctx
		ctx, cancel := context.WithTimeout(n.ctx, time.Duration(m.Question.WaitMS)*time.Millisecond)
		defer cancel()
		value, err := []byte(nil), errNoAnswer
		if a != nil {
			value, err = contained(func() ([]byte, error) { return do(ctx, a) })
		}
		n.do(core.Event{
			Kind: kind, Cast: m, Payload: value, OK: err == nil && len(value) <= wire.CastMax,
		})
	}()
}

// contained turns a panic of somebody else's code into an error.
func contained(do func() ([]byte, error)) (value []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			value, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}

func (n *Node) tellCast(c Cast) {
	if c.Msg != nil {
		n.stats.delivered++
	} else {
		n.stats.gone += c.many()
	}
	n.cast.count += c.many()
	c.count = n.cast.count
	n.casts.push(c)
	n.cast.told = true
}

// weight is how many bytes c keeps.
func (c Cast) weight() int {
	if c.Msg == nil {
		return 0
	}
	return len(c.Msg.Payload)
}

// many is how many messages c is about.
func (c *Cast) many() uint64 {
	if c.Msg != nil {
		return 1
	}
	return c.Missed.To - c.Missed.From + 1
}

// OnCast calls each for every message from now on, in the manner of OnTick, with how many
// came before it for which each was too slow.
func (n *Node) OnCast(each func(missed uint64, c Cast)) (stop func(), ended <-chan struct{}) {
	n.mu.Lock()
	newest, count := n.casts.newest(), n.cast.count
	n.mu.Unlock()
	return n.casts.follow(newest, func(_ uint64, c Cast) {
		missed := c.count - c.many() - count
		count = c.count
		n.cast.slow.Add(missed)
		each(missed, c)
	})
}
