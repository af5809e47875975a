//go:build race

package ringtest

// The simulator is one goroutine: the race detector finds nothing in it and makes
// it eight times slower. Under it we try that the tests run, and little else.
const seedShare = 50
