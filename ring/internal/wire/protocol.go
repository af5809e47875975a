//go:build !protocol1

package wire

// ProtocolVersion is what this build speaks; a peer may be one version behind.
//
//	1  everything up to passengers
//	2  rosters change while the ring runs; with TLS instances sign what they say
const ProtocolVersion = 2
