package ringtest

import (
	"ringofservers.dev/ring/internal/consensus"
	"ringofservers.dev/ring/internal/core"
)

// logDisk is where a host keeps its log: what was written is there only once a
// sync has taken its time, and a crash takes what was under way, or some of it.
type logDisk struct {
	has     bool
	since   int64 // when it began
	saved   consensus.Saved
	pending []logWrite
	busy    bool // a sync is under way
	syncing int  // how many of pending it is of
}

// data reports whether there is more than the beginning of a history.
func (d *logDisk) data() bool {
	return d.has && d.saved.Snapshot.GetMetadata().GetIndex()+uint64(len(d.saved.Entries)) > 1
}

type logWrite struct {
	seq uint64
	w   *consensus.Write
}

// load is what a process finds that starts here.
func (d *logDisk) load() *consensus.Saved {
	if !d.has {
		return nil
	}
	return d.saved.Clone()
}

func (d *logDisk) apply(w *World, one *consensus.Write) {
	if !d.has {
		d.has, d.since = true, w.now
	}
	if err := d.saved.Apply(one); err != nil {
		w.fail("S1", "a log would not be whole: %v", err)
	}
}

// persist takes a write in; one sync serves all that have come by its beginning.
func (w *World) persist(h *host, fx *core.Effect) {
	h.log.pending = append(h.log.pending, logWrite{fx.Seq, fx.Write})
	w.sync(h)
}

func (w *World) sync(h *host) {
	d := &h.log
	if d.busy || len(d.pending) == 0 {
		return
	}
	d.busy, d.syncing = true, len(d.pending)
	took := 100*us + h.dice.below(3*ms)
	if h.dice.hit(0.01) { // now and then a disk has something else to do
		took += h.dice.below(300 * ms)
	}
	w.agenda.push(w.now+took, atSynced, h.index, h.life)
}

func (w *World) onSynced(h *host) {
	d := &h.log
	done := d.pending[:d.syncing]
	d.busy = false
	for i := range done {
		d.apply(w, done[i].w)
	}
	seq := done[len(done)-1].seq
	d.pending = append([]logWrite(nil), d.pending[d.syncing:]...)
	w.sync(h)
	w.input(h.index, input{kind: core.Persisted, seq: seq})
}

// reserveTime is how long a reservation of ticks takes to be on disk, and to be told of:
// long, now and then, for nothing waits for it.
func (h *host) reserveTime() int64 {
	took := 100*us + h.dice.below(20*ms)
	if h.dice.hit(0.1) {
		took += h.dice.below(3 * second)
	}
	return took
}

// cutPower is what a crash makes of the writes under way: the first few of them
// may be there, whole, and nothing after.
func (w *World) cutPower(h *host) {
	d := &h.log
	n := int(h.dice.below(int64(len(d.pending) + 1)))
	for i := range n {
		d.apply(w, d.pending[i].w)
	}
	d.pending, d.busy = nil, false
}
