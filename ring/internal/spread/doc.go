// Package spread carries messages from any instance to all: each once, those of one
// origin in the order in which it sent them.
//
//	small    flooded: whoever gets one first hands it on over all other links.
//	         Every link carries it about once; it takes the shortest way there is.
//	large    down the tree that all compute for the origin (overlay.Live.Tree): one
//	         copy each. The other links carry its name only (Have). Who has heard
//	         the name and not got the message asks for it (Want): at once if its
//	         parent is gone, else after a while.
//	missed   now and then two neighbours compare what they hold (Digest), and each
//	         asks for what it lacks. That closes the last gap, and is how who was
//	         away catches up.
//
// After Plumtree (Leitão et al., SRDS 2007), but that trees are computed, not learnt:
// everybody knows the roster and the view.
//
// A message is named by its origin, the origin's life (a number that grows with each of
// its processes) and its place in that life, from 1 on. What came is kept for a while,
// within a budget of bytes, for those who missed it. Who comes so late that nobody has
// what it lacks any more is told how many it missed.
//
// A Core is one instance's part. It decides and never does, as all cores do.
package spread
