// Package ring joins this process to a ring of servers.
//
//	A ─────────► B      ─► the particle's road: every instance, in order
//	▲ ╲       ╱  │      ╲╱ further links: who watches whom, and detours
//	│   ╲   ╱    ▼
//	D ◄───────── C      C dies: B reaches past it to D; the ring is whole
//
// A roster lists the instances by name. Each process is one of them: a [Ring].
// One particle goes round; each instance passes it on to the next one alive and
// calls that a tick. Who dies is known to all within milliseconds, because many
// hold a hand of each, and the ring closes; who comes back is let in again.
//
//	r, err := ring.Join(ctx, ring.Config{
//		Ring:   "fleet",
//		Name:   "dc1/prod/0",
//		Roster: roster, // ring.Roster{Names: …, Addresses: …}
//	})
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	r.OnTick(func(t ring.Tick) { fmt.Println("tick", t.Tick) })
//	r.OnView(func(v ring.View) { fmt.Println(v.Self, "holds the hand of", v.Next) })
//	r.OnEvent(0, func(e ring.Event) { fmt.Println(e.Text) })
//	<-r.Done()
//
// # What is promised
//
//   - In each part of the fleet whose instances reach each other, exactly one
//     particle spins; a lost one is replaced, a duplicate dies.
//   - A process that ends is known dead to all without waiting for a timeout.
//     One that is silent is known within the time of its preset, see [Timing].
//   - One that is slow is not declared dead, and a bad link is not a bad
//     instance: the particle takes a detour, see View.BadLinks.
//   - An instance that is cut off knows it, see View.CutOff, and calls what it
//     cannot reach unreachable, not dead.
//
// # What is not, yet
//
// No quorum stands behind a tick: two parts of a divided fleet count each their
// own, and Tick.Anchored is false. Links are plain TCP, so off loopback Join
// wants to be told Config.Insecure.
//
// # Goroutines
//
// A Ring serves one port: links, and whatever is given to [Ring.Handle].
// Callbacks run on goroutines of their own; no user code runs where the
// particle is passed on. A panic of the protocol ends the Ring, with
// [Ring.Err], and not the process.
package ring
