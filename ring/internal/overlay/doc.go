// Package overlay computes the rings whose union is the expander. It is a pure
// function of the names in order, the ring's name and the degree: integers and
// SHA-256 only, so that all instances of all builds compute the same.
//
//	ring 0   0 ─ 1 ─ 2 ─ 3 ─ 4 ─ 5 ─ … ─ 0     the roster, closed
//	ring 1   4 ─ 0 ─ 7 ─ 2 ─ 9 ─ 5 ─ … ─ 4     by hash(ring number, name)
//	ring 2   6 ─ 3 ─ 0 ─ 8 ─ 1 ─ 4 ─ … ─ 6     by another hash
//	         └─ a link that an earlier ring has is repaired by a swap
//
// Where the first elements of the names, dc1/prod/0, name data centres that follow each
// other along the roster, ring 1 goes through one centre after the other, so that some
// links stay within. Whoever names them the other way round has ring 0 for that.
//
// Each instance has a link to the one before and the one after it on each of
// the K rings: d = 2K neighbours, the same d for everybody. Such a graph stays
// connected with nine in ten of the fleet alive and has a diameter of about
// log n to the base d-1.
//
//	o := overlay.Build(names, "prod", 0)
//	o.Neighbours(3)                                   // sorted indexes
//	next, ok := o.Walk(0, 3, 1, func(i int) bool { return alive[i] })
//
// Up to nine instances, and up to one and a half times the degree, the graph is
// complete and only ring 0 exists. Above, a roster that grows by one name
// keeps all but a few of its links.
package overlay
