// Package respawn has dead instances started again by whoever is next to them.
//
//	a ──► b ──► c ✝   d ✝   e        a, b, e live: b is the nearest live
//	      └──────┴────┘              predecessor of c and of d, and runs the
//	       runs the command          command for c, then for d
//
// What it runs is a command of the operator's that asks a supervisor (systemd over ssh,
// kubectl, docker) to start that instance: the respawned is never a child of its
// neighbour. It runs with a quorum or without, after a grace for the supervisor on the
// dead one's own host, and once for each death:
//
//   - Within a component, the command succeeds once for an incarnation. Before it runs
//     the runner tells all, so that who takes over from a runner that dies waits as long
//     as the command may take, and the instance to come back.
//   - A command that fails, or after which the instance is not back in time, is run
//     again, each time later; after some attempts, whoever made them, it is told as given
//     up and asked for every quarter of an hour only.
//   - Who said goodbye, and whom no living instance has met, are left alone. Whose return
//     is damped may run: it is given until it could be back.
//
// Cut in two, each side respawns whom it misses: the command must do nothing where the
// instance runs, as starting a unit, a container or a pod does. Where there is no quorum
// it is asked once, if it succeeds, and then every quarter of an hour. When the parts are
// one again, what was tried is forgotten.
package respawn
