// Package roster is the enumeration of a ring's instances: who there is, in
// which order, and where to find them. It decides nothing else and does no I/O.
//
//	dc{1..2}/prod/{0..1}           Expand: the leftmost brace is the fastest
//	        │
//	        ▼
//	index  name         address    New: every fault is found at once
//	  0    dc1/prod/0   10.1.0.1:3000  ╮
//	  1    dc2/prod/0   10.2.0.1:3000  │ order is the base ring's
//	  2    dc1/prod/1   10.1.0.2:3000  │
//	  3    dc2/prod/1   10.2.0.2:3000  ╯
//	└───────┬────────┘
//	      Hash: ring, degree, names in order, who is retired; never the addresses
//
// In use:
//
//	names, err := roster.Expand("dc{1..2}/prod/{0..1}")
//	r, err := roster.New("prod", names, addrs, 0)
//	r.Index("dc1/prod/1") // 2
//	next, err := r.With([]roster.Change{{Kind: roster.Retire, Name: "dc1/prod/1"}})
//
// A change makes another version (With), which knows the hashes of those before it: so
// two instances tell whether one's version came from the other's. Whoever is retired keeps
// its index, which nobody else ever gets, and has a place in nothing else.
//
// Guarantees: an index never changes; two instances with one Hash compute one
// overlay; addresses may differ from place to place without splitting a ring.
// Limits: wire.RosterMax instances, wire.NameMax bytes a name.
package roster
