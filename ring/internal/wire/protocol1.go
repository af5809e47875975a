//go:build protocol1

package wire

// ProtocolVersion is that before the newest: the build tag protocol1 makes of this very source a
// program that says on the wire what the version before it said, for tests of upgrades.
const ProtocolVersion = 1
