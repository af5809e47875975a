package ringtest

// kind says what a moment is about; ref and gen are read accordingly.
type kind uint8

const (
	atStart    kind = iota // ref: host that starts for the first time
	atTimer                // ref: host, gen: its life
	atWake                 // ref: host, gen: its life; a slow one gets the processor
	atStream               // ref: stream, gen: of its link
	atSyn                  // ref: link, gen
	atSynAck               // ref: link, gen
	atRefused              // ref: link, gen
	atTimeout              // ref: link, gen
	atReset                // ref: stream whose reader learns that the link is gone, gen
	atBegin                // ref: action
	atEnd                  // ref: action
	atFlap                 // ref: action
	atCheck                // ref: expectation
	atSynced               // ref: host, gen: its life; its log is on disk
	atReserved             // ref: host, gen: its life; what it had reserved is on disk
	atTold                 // ref: host, gen: its life; it learns of that
	atClient               // ref: client, gen: its turn
	atLease                // ref: contender
	atWrite                // ref: write
	atCry                  // ref: crier, gen: its turn
	atSay                  // ref: host, gen: which saying
	atRide                 // ref: boarder, gen: its turn
	atLie                  // ref: host
	atRenewed              // ref: host, gen: its life
	atRoll                 // ref: how many change the roster
)

// moment is one entry of the world's agenda.
type moment struct {
	at   int64  // nanoseconds since the world began
	seq  uint64 // breaks ties: first planned, first served
	gen  uint32
	ref  int32
	kind kind
}

func (m *moment) before(o *moment) bool {
	return m.at < o.at || m.at == o.at && m.seq < o.seq
}

// agenda is a heap of four children a node, which keeps it shallow and its
// entries without pointers.
type agenda struct {
	heap []moment
	seq  uint64
}

func (a *agenda) push(at int64, k kind, ref int32, gen uint32) {
	a.seq++
	m := moment{at: at, seq: a.seq, gen: gen, ref: ref, kind: k}
	a.heap = append(a.heap, m)
	i := len(a.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !m.before(&a.heap[up]) {
			break
		}
		a.heap[i] = a.heap[up]
		i = up
	}
	a.heap[i] = m
}

// pop removes the earliest moment; the agenda must not be empty.
func (a *agenda) pop() moment {
	first := a.heap[0]
	last := len(a.heap) - 1
	m := a.heap[last]
	a.heap = a.heap[:last]
	if last == 0 {
		return first
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= last {
			break
		}
		for c := least + 1; c < min(4*i+5, last); c++ {
			if a.heap[c].before(&a.heap[least]) {
				least = c
			}
		}
		if !a.heap[least].before(&m) {
			break
		}
		a.heap[i] = a.heap[least]
		i = least
	}
	a.heap[i] = m
	return first
}
