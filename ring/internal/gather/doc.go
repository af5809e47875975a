// Package gather brings answers home: a broadcast asks, and what all have to say comes
// back along the tree by which large messages go out, made one on the way.
//
//	origin ◄── fold ◄── A ◄── fold ◄── C      each waits for its children, folds what
//	                 ◄── B                    they say and its own, and sends that up
//
// A part says for whom it speaks, so that nobody is counted twice: of parts that speak
// for the same instance only the first counts, whatever ways they took. Whoever has waited long enough
// sends up what it has; what comes later goes on as it comes. A child whose link is gone
// is not waited for. If some are missing when all is in, the origin asks those again,
// under the view of then: who has answered before gives the same answer.
//
// Nothing is kept beyond the time for which the origin waits. A Core is one instance's
// part in all questions. It decides and never does.
package gather
