// Package bulk brings a large payload from where it is to everybody.
//
//	origin ── manifest, by broadcast ──► all: a name, and the hash of each chunk
//
//	chain    A ═══► B ═══► C ═══► D       up to 64: each takes the chunks in order from
//	                                      who is before it on ring 0, and so hands on
//	swarm    A ══╦═► B ◄══► D             above: each takes from its neighbours on the
//	             ╚═► C ◄══► E             overlay what it lacks, in no order
//
// Chunks are always asked for. Who takes dials who gives, says what it follows (Follow),
// hears which chunks are there (Holds), asks for some (Fetch), and is given them one by
// one. Giving is one-sided: where two give to each other there are two connections.
//
//	chain    Who is before one that died gives to the one behind it, from the chunk it was
//	         at. One that does not get on is helped by the next further back.
//	swarm    The origin tells of chunks that nobody was given yet to one neighbour each,
//	         and of the others only when there are no such left: else it would give the
//	         same chunks over and over, while all wait for the others. Whoever takes asks
//	         for chunks at random, so that neighbours have different ones to give.
//
// A chunk is kept, told of and handed on only when its hash is what the manifest says. Who
// sends another one is not asked again.
//
// A Core is one instance's part. It decides and never does, as all cores do.
package bulk
