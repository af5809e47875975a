//go:build !linux

package link

import "net"

// boundUnsent makes the buffer small that holds both what is not on its way yet and
// what is: elsewhere there is no limit for the one alone.
func boundUnsent(t *net.TCPConn, bytes int) error { return t.SetWriteBuffer(8 * bytes) }
