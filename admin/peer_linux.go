package admin

import (
	"net"
	"syscall"
)

// peerAt is the process at the other end, as it was when it connected, or listened.
func peerAt(c net.Conn) *Peer {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var p *Peer
	err = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			p = &Peer{PID: int(cred.Pid), UID: int(cred.Uid)}
		}
	})
	if err != nil {
		return nil
	}
	return p
}
