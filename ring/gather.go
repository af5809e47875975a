package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/node"
	"ringofservers.dev/ring/internal/wire"
)

// GatherWait is for how long BroadcastAcked and Gather wait with a context that has no
// deadline.
const GatherWait = 10 * time.Second

// Absent is an instance of which nothing came, and what it is here.
type Absent struct {
	Name  Name  `json:"name"`
	State State `json:"state"`
}

// Receipt says who has a message.
type Receipt struct {
	Message
	Have    []Name   `json:"have"`
	Missing []Absent `json:"missing"` // all others of the roster but who has left
}

// BroadcastAcked is Broadcast, and returns when all instances that live have the
// message, or when nine tenths of the time that ctx leaves are over: the error is nil then
// too, and Missing says who has not said so. To have it is to have had it delivered, not
// to have been acted on.
func (r *Ring) BroadcastAcked(ctx context.Context, topic string, payload []byte) (Receipt, error) {
	id, o, err := r.ask(ctx, wire.AskReceipt, topic, payload)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{
		Message: r.messageOf(id, topic), Have: r.namesOf(o.Answered, nil),
		Missing: r.absent(o.Answered),
	}, nil
}

// Question is what was asked, as whoever answers gets it.
type Question struct {
	From    Name
	Topic   string
	Payload []byte // not to be written to
}

// Merge makes one answer of two. It must not matter in which order, and in which pairs,
// answers are merged.
type Merge func(a, b []byte) ([]byte, error)

// Answer has this instance answer what is asked under topic by Gather, until stop is
// called. answer runs in a goroutine of its own, several at once if several ask, and
// should end when ctx does; its error, a panic, or more than PayloadMax bytes mean that
// this instance has no answer. merge, which may be nil, lets the answers of others be
// merged here on their way. It fails with ErrRefused if somebody answers that topic
// already.
func (r *Ring) Answer(topic string, answer func(context.Context, Question) ([]byte, error),
	merge Merge,
) (stop func(), err error) {
	if err := checkCast(topic, nil); err != nil {
		return nil, err
	}
	a := &node.Answerer{
		Answer: func(ctx context.Context, from int, payload []byte) ([]byte, error) {
			return answer(ctx, Question{r.name(from), topic, payload})
		},
	}
	if merge != nil {
		a.Fold = merge.all
	}
	stop, ok := r.node.OnAsk(topic, a)
	if !ok {
		return nil, fmt.Errorf("%w: there is an answer to %q already", ErrRefused, topic)
	}
	return stop, nil
}

// all merges at least one value.
func (m Merge) all(values [][]byte) ([]byte, error) {
	one := values[0]
	for _, v := range values[1:] {
		var err error
		if one, err = m(one, v); err != nil {
			return nil, err
		}
	}
	return one, nil
}

// Reply is what one instance answered.
type Reply struct {
	From  Name   `json:"from"`
	Value []byte `json:"value"` // base64 in JSON
}

// Gathered is what came of a question.
type Gathered struct {
	Value    []byte   // of all who answered, merged; nil without merge
	Replies  []Reply  // without merge: of each, in roster order
	Answered []Name   // in roster order
	Failed   []Name   // who were asked and have no answer, or none that there was room for
	Missing  []Absent // of whom nothing came in time
}

// Gather asks all instances that live, this one included, and returns what they
// answer, see [Ring.Answer]: merged on the way back, or each answer as it is if merge is
// nil. It returns when all have answered, or when nine tenths of the time that ctx leaves
// are over, which is no error. Nobody counts twice. An instance has a part in at most 1,024
// open questions, its own and those of others, and keeps 16 MiB of answers: whoever asks
// more itself waits, and answers to what others ask beyond that do not come.
//
// The way there is a broadcast, the way back one hop up the same tree for each: about
// twice the depth of the overlay in all, 4 hops of 11 instances and 12 of 1,000.
func (r *Ring) Gather(ctx context.Context, topic string, payload []byte, merge Merge) (Gathered, error) {
	how := wire.AskFold
	if merge == nil {
		how = wire.AskEach
	}
	_, o, err := r.ask(ctx, how, topic, payload)
	if err != nil {
		return Gathered{}, err
	}
	g := Gathered{
		Answered: r.namesOf(o.Answered, nil), Failed: r.namesOf(o.Failed, o.Answered),
	}
	for _, a := range r.absent(o.Answered) {
		if !slices.Contains(g.Failed, a.Name) {
			g.Missing = append(g.Missing, a)
		}
	}
	slices.SortFunc(o.Pieces, func(a, b gather.Piece) int { return cmp.Compare(a.Who.First(), b.Who.First()) })
	if merge == nil {
		for _, p := range o.Pieces {
			g.Replies = append(g.Replies, Reply{r.name(p.Who.First()), p.Value})
		}
		return g, nil
	}
	var values [][]byte
	for _, p := range o.Pieces {
		values = append(values, p.Value)
	}
	if len(values) == 0 {
		return g, nil
	}
	if g.Value, err = merge.all(values); err != nil {
		return Gathered{}, fmt.Errorf("merge what was answered to %q: %w", topic, err)
	}
	return g, nil
}

// ask asks all, for nine tenths of the time there is: the rest is for the answer.
func (r *Ring) ask(ctx context.Context, how wire.How, topic string, payload []byte) (
	wire.CastID, *gather.Outcome, error,
) {
	if err := checkCast(topic, payload); err != nil {
		return wire.CastID{}, nil, err
	}
	return r.askOwn(ctx, how, topic, payload)
}

// askOwn is ask for topics of the ring's own, too.
func (r *Ring) askOwn(ctx context.Context, how wire.How, topic string, payload []byte) (
	wire.CastID, *gather.Outcome, error,
) {
	wait := GatherWait
	if by, ok := ctx.Deadline(); ok {
		wait = min(time.Until(by)*9/10, wire.WaitMax*time.Millisecond)
	}
	id, o, err := r.node.Ask(ctx, how, wait, topic, payload)
	if errors.Is(err, node.ErrEnded) {
		return id, nil, ErrClosed
	}
	return id, o, err
}

// namesOf is who is in s, and not in but, in roster order.
func (r *Ring) namesOf(s, but gather.Set) []Name {
	names := []Name{}
	for i, name := range r.rosterNow().Names {
		if s.Has(i) && !but.Has(i) {
			names = append(names, Name(name))
		}
	}
	return names
}

// absent is who is not in s and has not left.
func (r *Ring) absent(s gather.Set) []Absent {
	missing := []Absent{}
	for _, i := range r.View().Instances {
		if !s.Has(i.Index) && i.State != Left {
			missing = append(missing, Absent{i.Name, i.State})
		}
	}
	return missing
}
