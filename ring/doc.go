// Package ring joins this process to a ring of servers.
//
//	A ─────────► B      ─► the particle's road: every instance, in order
//	▲ ╲       ╱  │      ╲╱ further links: who watches whom, and detours
//	│   ╲   ╱    ▼
//	D ◄───────── C      C dies: B reaches past it to D; the ring is whole
//
// A roster lists the instances by name. Each process is one of them: a [Ring].
// One particle goes round; each instance passes it on to the next one alive. A lap
// that a quorum of the voters has stamped is a tick. Who dies is known to all within
// milliseconds, because many hold a hand of each, and the ring closes; who comes back
// is let in again.
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
//	r.OnTick(func(t ring.Tick) { fmt.Println(t.Anchored, t.Tick) })
//	r.OnView(func(v ring.View) { fmt.Println(v.Self, "holds the hand of", v.Next) })
//	r.OnEvent(0, func(e ring.Event) { fmt.Println(e.Text) })
//	lease, err := r.Lease(ctx, "nightly report") // this instance alone, until Done
//	err = r.Exclusive(ctx, "cleanup", cleanUp)   // the same round a function
//	entry, err := r.Bus().Get(ctx, "mode")       // what the fleet agrees on
//	r.Subscribe("news/", func(m ring.Message) { fmt.Println(m.From, m.Topic) })
//	_, err = r.Broadcast(ctx, "news/eu", text)   // to all that live, within a few hops
//	_, err = r.BroadcastFrom(ctx, "image", file) // up to 1 GiB, within about one transfer time
//	r.OnPassenger("orders", func(p ring.Passenger) { fmt.Println(p.Number, p.From) })
//	home, err := r.Lap(ctx, "orders", order)     // once round all; home.Seen says who has it
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
//   - A tick names one lap: its number is never used twice, goes back at no
//     instance, and survives a restart of all, with [Config.Data]. Laps without a
//     quorum go by uncounted, and [Tick].Anchored is false.
//   - At any moment at most one [Lease] of a name is valid in the fleet, while
//     clocks differ in speed by less than a hundredth. Its Fence is higher than
//     that of every lease before.
//   - What [Bus] has acknowledged is kept by most voters, with [Config.Data] on
//     disk, and seen by all in one order. Changes of who is alive get their number
//     there: see [Event].Revision.
//   - What is broadcast comes to each instance once, and that of one sender in
//     order; who was away for long is told how much it missed. In what [Ring.Gather]
//     returns nobody counts twice.
//   - Passengers, see [Ring.Lap], come to all instances in one order, by their numbers;
//     each comes home with whom it has passed, or is told to be lost. A station, see
//     [Ring.Station], delays the particle only where it asked to, and no longer.
//
// Who is alive, and the particle, go on in every part of a divided fleet; what
// has to be decided needs most of the voters, which are all instances up to seven,
// and else seven of them. Without, it fails with [ErrNoQuorum] at once.
//
// # What is not, yet
//
// Off loopback Join wants Config.TLS, or to be told Config.Insecure.
//
// # Goroutines
//
// A Ring serves one port: links, and whatever is given to [Ring.Handle].
// Callbacks run on goroutines of their own; no user code runs where the
// particle is passed on. A panic of the protocol ends the Ring, with
// [Ring.Err], and not the process.
package ring
