// Package bus is the small state machine that stands behind consensus: what the
// fleet has agreed on, entry by entry.
//
//	entry ─► Apply ─► State: keys · leases and their fences · the epoch and its
//	                         block of ticks · the numbered view · who may vote
//	            └───► Result, for whoever asked
//
// It is one machine: the config bus grows in it, and not beside it. It is pure:
// two States that applied the same entries are equal to the bit, which
// [State.Chain] shows. What takes time (a lease that runs out, a lost particle)
// is decided by the leader and written down as an entry; the machine itself
// knows no clock.
//
// A State is not safe for concurrent use. Nothing it returns may be changed.
package bus
