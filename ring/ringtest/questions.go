package ringtest

import (
	"encoding/binary"
	"fmt"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/gather"
	"ringofservers.dev/ring/internal/wire"
)

// question is one that a process has asked.
type question struct {
	host int32
	life uint32
	how  wire.How
	due  int64 // its outcome is there by then, if the process ran meanwhile
}

// saying is what a process says to a question, or to a Fold, a moment later.
type saying struct {
	life uint32
	in   input
}

// question gives one message in three a question.
func (w *World) question(d *dice) *wire.Question {
	if d.below(3) > 0 {
		return nil
	}
	return &wire.Question{
		How:    wire.AskReceipt + wire.How(d.below(3)),
		WaitMS: uint32(d.below(5000)) + 500,
	}
}

// onAsked notes what a process has asked.
func (w *World) onAsked(h *host, id wire.CastID, q *wire.Question) {
	w.watch.asked[id] = question{
		host: h.index, life: h.life, how: q.How, due: w.now + int64(q.WaitMS)*ms + second,
	}
}

// onQuestion has a process answer with its index, after a while.
func (w *World) onQuestion(h *host, m *wire.Cast) {
	value := binary.BigEndian.AppendUint16(nil, uint16(h.index))
	w.sayLater(h, input{kind: core.Answered, cast: m, payload: value, ok: h.dice.below(20) > 0})
}

// onFold merges by putting one behind the other.
func (w *World) onFold(h *host, fx *core.Effect) {
	var all []byte
	for _, v := range fx.Values {
		all = append(all, v...)
	}
	w.sayLater(h, input{kind: core.Folded, cast: fx.Cast, payload: all, ok: h.dice.below(20) > 0})
}

func (w *World) sayLater(h *host, in input) {
	w.sayings = append(w.sayings, saying{h.life, in})
	w.agenda.push(w.now+h.dice.below(30)*ms, atSay, h.index, uint32(len(w.sayings)-1))
}

func (w *World) sayingIsDue(i int32, at uint32) {
	if s := w.sayings[at]; w.alive(i, s.life) {
		w.input(i, s.in)
	}
	w.sayings[at] = saying{}
}

// onGathered holds what came of a question against whom it is said to be of.
func (w *World) onGathered(h *host, o *gather.Outcome) {
	q, ok := w.watch.asked[o.ID]
	if !ok || q.host != h.index || q.life != h.life {
		w.fail("B1", "s%d is told what came of %v, which it has not asked, or was told before",
			h.index, o.ID)
		return
	}
	delete(w.watch.asked, o.ID)
	counted := gather.NewSet(len(w.hosts))
	for _, p := range o.Pieces {
		for v := p.Value; len(v) > 0; v = v[2:] {
			i := int(binary.BigEndian.Uint16(v))
			if counted.Has(i) || !p.Who.Has(i) {
				w.fail("B1", "in the answer to %v s%d counts twice, or for another", o.ID, i)
			}
			counted.Add(i)
		}
	}
	if w.now < q.due-second && !w.roughly(h) { // all who live were heard, or it would have waited
		for i := range w.hosts {
			if h.core.Row(i).State == alive && !o.Answered.Has(i) && !o.Failed.Has(i) {
				w.fail("B1", "%v has an outcome early, and nothing of s%d is in it", o.ID, i)
			}
		}
	}
	for i := range w.hosts {
		if q.how != wire.AskReceipt && o.Answered.Has(i) != counted.Has(i) {
			w.fail("B1", "of %v s%d answered: %v, and counts: %v", o.ID, i, o.Answered.Has(i),
				counted.Has(i))
		}
	}
}

// roughly reports whether the clock or the processor of h is not to be relied on.
func (w *World) roughly(h *host) bool { return h.rough.ever || h.starve.ever || h.ppm != 0 }

// questionsOver is that every question has had its outcome. What has not.
func (w *World) questionsOver() string {
	least := ""
	for id, q := range w.watch.asked { // the least text: order does not matter
		if w.alive(q.host, q.life) && w.now > q.due+10*second {
			if text := fmt.Sprintf("nothing came of %v, which s%d asked", id, q.host); least == "" || text < least {
				least = text
			}
		}
	}
	return least
}
