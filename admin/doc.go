// Package admin is the HTTP face of one instance of a ring: what operators,
// probes, dashboards, the command line and the built-in page read.
//
//	GET  /              one page that draws the ring, live
//	GET  /v1/status     all that `ring status --json` prints
//	GET  /v1/view       who is alive, as this instance knows it   ?follow=1
//	GET  /v1/events     the instance's story      ?since=N&limit=N&follow=1
//	GET  /v1/ticks      the particle's passes here      ?follow=1&every=100ms
//	GET  /v1/live       all of it as one event stream, for the page
//	GET  /v1/roster     the enumeration, its version and its hash
//	GET  /v1/roster/everywhere   who has a version of it        ?version=N&timeout=10s
//	POST /v1/roster/plan     what {"changes":[…]} would come to; changes nothing
//	POST /v1/roster          do what a plan says
//	GET  /v1/doctor     what is wrong, and what to do   ?name=N&timeout=10s
//	POST /v1/broadcast/T     send the body to all
//	GET  /v1/messages   what is delivered here, as it comes   ?topic=T
//	POST /v1/gather/T   ask all, and answer with what each says   ?timeout=10s
//	POST /v1/lap/T      have the body ride once round             ?timeout=10s
//	GET  /v1/passengers what rides by here, in the one order   ?topic=T
//	GET  /v1/bulk       large payloads that are here or on their way
//	GET  /v1/bulk/NAME  the bytes of one, or a range of them
//	GET  /v1/bus        who votes, who leads, revisions, leases
//	GET  /v1/bus/keys   the keys that the fleet agrees on   ?prefix=P
//	GET  /v1/bus/keys/K one of them                         ?local
//	PUT  /v1/bus/keys/K      write it                  ?if_revision=N
//	DELETE /v1/bus/keys/K                              ?if_revision=N
//	GET  /v1/bus/backup
//	POST /v1/bus/restore
//	POST /v1/bus/recover                               ?force=true
//	GET  /v1/tokens     the tokens of operators, without their secrets
//	POST /v1/tokens/NAME     make one                  ?role=read&expires=2160h
//	DELETE /v1/tokens/NAME   revoke it
//	POST /v1/leases/NAME     take a lease, on this host only       ?ttl=5s
//	POST /v1/leases/NAME/ID  keep it
//	DELETE /v1/leases/NAME/ID
//	DELETE /v1/leases/NAME   one that this instance held before its restart   ?fence=N
//	POST /v1/leave      leave the ring
//	GET  /metrics       Prometheus and OpenMetrics
//	GET  /livez /readyz /healthz       ?verbose
//	GET  /version
//
// It stands on the public API of package ring, so that an application
// with its own HTTP server can mount it, or write another:
//
//	r, err := ring.Join(ctx, cfg)
//	...
//	r.Handle(admin.New(r, admin.Options{Gatherer: registry, Version: "v1.2.3"}))
//
// Every request has a caller, with a role: read for what changes nothing (each GET but the
// backup, and questions of ours), admin for the rest; the probes are for everybody, in one
// word. What a caller shows decides: a token (Authorization: Bearer), or a client certificate
// ([Options].Certificate). Who shows nothing has the role of his place: this host's own
// loopback [Options].LoopbackRole, others none, or read where the ring has no TLS. The answer
// is 401 to who has shown nothing or something wrong (429 after too much of that), 403 to
// whose role is too low. What needed admin, and what was refused, has an audit line in
// [Options].Logger.
//
// Answers are JSON objects with "v": 1, the version of what is in them. What follows
// (follow=1) comes as one such object per line, or as server-sent events to a client
// that accepts text/event-stream; each item is flushed at once. A client that does not
// read is disconnected after ten seconds, and at most [StreamsMax] streams run at a
// time: neither can hold up the ring.
//
// What the fleet has to agree on first takes ?timeout=10s. It is answered 503
// without a quorum, 409 where a condition does not hold, 404 where there is no such
// key or nothing to back up, 422 where it is refused, and 504 where it is not known
// what came of it.
//
// A roster is changed by sending a plan back: 409 says that it is no longer the one that this
// was planned on, 422 that the change is refused, which the plan has said already (refused;
// the plan itself is answered 200 all the same). Who has a version is asked of all who live,
// if it is not everywhere within ?timeout=.
//
// A lap is answered when the passenger is home, with who has seen it and what they have made
// of it. Below ring/ only the questions are to be had, without a body.
//
// A lease is held by the instance for a program of its host, at most [LeasesMax] at a
// time. The answer has its fence, an ID, and how long the program may act
// (remaining_ms, counted from before it asked); before that is over it asks again to
// keep it. One that is silent for ?ttl= has it no more: the instance lets it go.
//
// /livez asks nothing of peers: it fails only where this process is of no use
// any more. /readyz is 200 while the instance is in the ring, whether or not there
// is a quorum.
package admin
