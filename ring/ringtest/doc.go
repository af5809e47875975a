// Package ringtest runs a whole ring of servers in one goroutine and in
// virtual time, and breaks it on purpose.
//
//	seed ──► schedule of faults ──┐
//	                              ▼
//	        ┌── world: one clock, one heap of moments ──┐
//	        │  host 0      host 1      host 2    …      │    checkers
//	        │  core,disk   core,disk   core,disk        │──► R1 R2 P1 H1
//	        │  own clock   own clock   own clock        │    H2 H4 H5
//	        │     └─ frames ──┴── frames ──┘            │    P2–P5 S1
//	        └─────▲───────────────▲───────────────▲─────┘    look on from outside
//	              └─ clients of the bus, holders ─┘
//	                 of leases, what these guard
//
// What steps here is the code that runs between real processes: the same
// cores, and every frame encoded and decoded by the same codec. Only sockets,
// disk and clock are played:
//
//	res, err := ringtest.Run(ringtest.Options{Seed: 17, Nodes: 5, Faults: "crash,cut"})
//
// Spread measures what broadcasts take in such a fleet while one thing after the other is
// wrong.
//
// Guarantees: the same Options give the same run to the byte (Result.Hash); no
// wall clock, no goroutine and no global chance is used; a failure names its
// invariant and carries the shortest schedule found that still fails.
//
// Limits: links are streams, as TCP is, so loss shows as delay; a frame is one
// packet; processing takes no virtual time unless an instance is made slow.
package ringtest
