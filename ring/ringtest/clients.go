package ringtest

import (
	"encoding/binary"
	"slices"

	"ringofservers.dev/ring/internal/bus"
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/internal/wire"
)

const (
	clients    = 3 // each asks one thing at a time, wherever it likes
	clientKeys = 3
)

// waiting is who waits for the answer to a request of one process: a client, or
// a contender for a lease, as the complement of its number.
type waiting struct {
	seq uint64
	who int32
}

// noOne waits for an answer that is of no interest.
const noOne = int32(1) << 30

// ask gives the process on h a request. The answer may come before ask returns.
func (w *World) ask(h *host, kind core.EventKind, cmd *bus.Command, who int32) {
	h.asked++
	h.waiting = append(h.waiting, waiting{h.asked, who})
	w.input(h.index, input{kind: kind, seq: h.asked, command: cmd})
}

// giveUp is a caller whose patience is over.
func (w *World) giveUp(h *host, who int32) {
	at := slices.IndexFunc(h.waiting, func(x waiting) bool { return x.who == who })
	if at < 0 {
		return
	}
	seq := h.waiting[at].seq
	h.waiting = slices.Delete(h.waiting, at, at+1)
	w.input(h.index, input{kind: core.Cancel, seq: seq})
}

// onAnswer gives an answer to whoever waits for it.
func (w *World) onAnswer(h *host, fx *core.Effect) {
	at := slices.IndexFunc(h.waiting, func(x waiting) bool { return x.seq == fx.Seq })
	if at < 0 {
		return
	}
	who := h.waiting[at].who
	h.waiting = slices.Delete(h.waiting, at, at+1)
	switch {
	case who >= rollBase:
		w.rollAnswered(h, who-rollBase, fx)
	case who == noOne:
	case who >= 0:
		w.clientAnswered(h, who, fx)
	default:
		w.leaseAnswered(h, ^who, fx)
	}
}

// orphan ends the wait for a process that is no more.
func (w *World) orphan(h *host) {
	for _, x := range h.waiting {
		if x.who >= 0 && x.who < noOne {
			w.lost(h, x.who)
		}
	}
	h.waiting, h.asked = h.waiting[:0], 0
}

// opKind is what a client asks.
type opKind uint8

const (
	opRead opKind = iota
	opPut
	opSwap   // a put, if the key is at revision old; at 0, if there is none
	opRemove // at old above 0, if it is at that revision
)

// op is one thing that a client asked, and what came of it.
type op struct {
	client  int32
	kind    opKind
	key     int
	value   uint64 // that it writes: no other operation of the run writes it
	old     uint64
	call    int64
	back    int64 // when it was answered; 0 if what became of it is not known
	code    bus.Code
	rev     uint64 // of the key after it, 0 for none
	read    uint64 // the value that was read
	history wire.History
	refused bool // it was not done, by what was said
}

// client is a user of the fleet, outside of it.
type client struct {
	dice dice
	turn uint32
	host int32
	busy int                // index of the operation under way, plus one
	seen [clientKeys]uint64 // the newest revisions it has seen
}

func keyName(key int) string { return "key/" + string(rune('a'+key)) }

// planUse draws who uses the fleet: clients in half of the seeds, in half of those
// contenders for leases too. What is agreed on costs steps, and what the fleet
// does when it has little to agree on is worth half of the seeds.
func (w *World) planUse() {
	d := dice(mix(w.seed, forClient))
	roll := d.below(4)
	if w.opt.busy {
		roll = 0
	}
	if casts := dice(mix(w.seed, forCast)); !w.opt.idle && (w.opt.busy || casts.below(2) == 0) {
		w.planCasts()
	}
	if rides := dice(mix(w.seed, forRide, 5<<32)); !w.opt.idle && (w.opt.busy || rides.below(2) == 0) {
		w.planRides()
	}
	if w.opt.idle || roll > 1 {
		return
	}
	w.planClients()
	if roll == 0 {
		w.planLeases()
	}
}

// planClients lets users come.
func (w *World) planClients() {
	w.clients = make([]client, clients)
	for i := range w.clients {
		c := &w.clients[i]
		c.dice = dice(mix(w.seed, forClient, uint64(i)))
		w.agenda.push(c.dice.below(second), atClient, int32(i), c.turn)
	}
}

// clientTurn is a client that has thought, or waited, for long enough.
func (w *World) clientTurn(i int32, turn uint32) {
	c := &w.clients[i]
	if turn != c.turn || w.resting {
		return
	}
	if c.busy > 0 {
		h := &w.hosts[c.host]
		w.lost(h, i)
		w.giveUp(h, i)
		return
	}
	c.host = int32(c.dice.below(int64(len(w.hosts))))
	h := &w.hosts[c.host]
	if h.core == nil || h.odd {
		w.clientRests(i)
		return
	}
	history, _, _ := h.core.Revision()
	o := op{client: i, key: int(c.dice.below(clientKeys)), call: w.now, history: history}
	w.ops = append(w.ops, o)
	p := &w.ops[len(w.ops)-1]
	c.busy = len(w.ops)
	kind, cmd := core.Propose, &bus.Command{Kind: bus.Put, Key: keyName(o.key)}
	switch roll := c.dice.below(20); {
	case roll < 8:
		p.kind, kind, cmd = opRead, core.Read, nil
	case roll < 12:
		p.kind = opPut
	case roll < 18:
		p.kind, p.old = opSwap, c.seen[o.key]
		cmd.If, cmd.Rev = bus.IfEqual, p.old
		if p.old == 0 {
			cmd.If = bus.IfAbsent
		}
	default:
		p.kind, p.old = opRemove, c.seen[o.key]
		cmd.Kind = bus.Delete
		if p.old > 0 {
			cmd.If, cmd.Rev = bus.IfEqual, p.old
		}
	}
	if p.kind == opPut || p.kind == opSwap {
		p.value = uint64(len(w.ops))
		cmd.Value = binary.BigEndian.AppendUint64(nil, p.value)
	}
	c.turn++
	w.agenda.push(w.now+50*ms+c.dice.below(2*second), atClient, i, c.turn)
	w.ask(h, kind, cmd, i)
}

// clientRests lets a client think about what to do next: a while, or hardly at all,
// for what is asked at the same time shows most.
func (w *World) clientRests(i int32) {
	c := &w.clients[i]
	c.busy = 0
	c.turn++
	think := 7 * second
	if c.dice.hit(0.4) {
		think = 50 * ms
	}
	w.agenda.push(w.now+c.dice.below(think), atClient, i, c.turn)
}

// lost is that a client will not learn what became of its operation.
func (w *World) lost(h *host, i int32) {
	o := &w.ops[w.clients[i].busy-1]
	if o.history == (wire.History{}) && h.core != nil {
		o.history, _, _ = h.core.Revision()
	}
	w.clientRests(i)
}

func (w *World) clientAnswered(h *host, i int32, fx *core.Effect) {
	c := &w.clients[i]
	o := &w.ops[c.busy-1]
	if fx.Kind == core.Denied {
		o.refused = fx.Why != consensus.Unknown
		w.lost(h, i)
		return
	}
	o.history, _, _ = h.core.Revision()
	o.back = w.now
	if fx.Kind == core.Readable {
		e, ok := h.core.State().Get(keyName(o.key))
		if ok {
			o.read, o.rev = binary.BigEndian.Uint64(e.Value), e.Modified
		}
	} else {
		o.code, o.rev = fx.Result.Code, fx.Result.Rev
		if o.kind == opRemove && o.code != bus.Conflict {
			o.rev = 0
		}
		if o.code == bus.Full || o.code == bus.Bad || o.code == bus.Gone && o.kind != opRemove {
			w.fail("S1", "s%d answers code %d to a write of %s", h.index, o.code, keyName(o.key))
		}
	}
	c.seen[o.key] = o.rev
	w.clientRests(i)
}
