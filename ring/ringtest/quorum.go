package ringtest

import (
	"slices"

	"ringofservers.dev/ring/internal/consensus"
)

// voters are who votes, as whoever has applied most knows it.
func (w *World) voters() []consensus.Voter {
	var best []consensus.Voter
	most := uint64(0)
	for i := range w.hosts {
		h := &w.hosts[i]
		if h.core == nil || h.odd {
			continue
		}
		if _, applied, _ := h.core.Revision(); best == nil || applied > most {
			best, most = h.core.Voters(), applied
		}
	}
	return best
}

// quorate reports whether most of those who vote are in the set, in both sets of
// them while they change; who has said goodbye does not count.
func (w *World) quorate(set []int32) bool {
	most := func(counts func(consensus.Voter) bool) bool {
		all, in := 0, 0
		for _, v := range w.voters() {
			if i := v.ID.Index(); counts(v) && !(w.hosts[i].core == nil && w.hosts[i].left) {
				all++
				if slices.Contains(set, int32(i)) {
					in++
				}
			}
		}
		return all == 0 || 2*in > all
	}
	return most(func(v consensus.Voter) bool { return v.Votes }) &&
		most(func(v consensus.Voter) bool { return v.Leaves })
}
