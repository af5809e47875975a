// Package run has the instances of a ring run something at its times, each time on one
// of them.
//
//	        :00        :30        :00        every instance reckons the same slots
//	a  ──────┼──── ✓ ───┼──────────┼────     each time one of them claims the slot, by
//	b  ──────┼──────────┼──── ✓ ───┼────     compare and set on the bus, and only then
//	c  ── ✓ ─┼──────────┼──────────┼────     starts; whose turn it is goes round
//
// A [Job] says what is run and when; a [Runner] beside each instance of the fleet keeps
// to it. What it asks of the ring is a [Fleet]: [Over] makes one of a ring.Ring, and the
// ring command has another, over HTTP.
//
// # What is promised
//
// A slot is claimed at most once, whatever the clocks and whoever is killed, stopped or
// cut off: so nothing is run twice for it. It is missed where nobody could claim it
// before the next one came (no quorum, no runner alive, suspended, or the one before it
// still ran and may not overlap), or only behind the starting deadline; the next claim
// says how many were. One that was claimed by a process which then died is not run
// again, and its [Run] has no end; the next claim calls it lost. Only what takes
// claims away can have a slot run again: `ring bus restore` of an older backup, `ring bus
// recover` from an instance that had not heard of them, or `ring run forget`. Who claims a
// slot is whoever comes first: the living in the order of the ring, from behind the one who
// ran last, each a tenth of a second behind the one before, or less where half of the time
// between two slots would not be enough. Who has waited for its turn since before a slot
// came does not wait anew, so runners beside only some of the instances do.
//
// What runs has a lease, and must end before that could be given away: [Exec] is told
// for how long it may go on. What a stopped host still does is for the resource to
// refuse by the fence; see package fence.
//
// A [Rollout] is done by every instance once, in the order of the ring.
//
// Clocks say when a slot has come, and nothing else: an instance whose clock is ahead
// claims slots early by as much, and one that is set back repeats none. One that is far
// ahead claims a slot of the future, and nothing is run until that has come: runners and
// `ring run status` warn of it, and `ring run forget` is the way out.
package run
