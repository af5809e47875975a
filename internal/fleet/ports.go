//go:build linux

package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// FreePorts are n TCP ports of loopback, below the range from which the system takes
// ports for outgoing connections, that nobody else gets: each is bound by this process
// until it ends, without listening. A bind of another FreePorts, which shares with nobody,
// fails then; a program that listens there is let in, since it allows for sharing and so
// does this.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for try := 0; len(ports) < n; try++ {
		if try > 20*n+200 {
			return nil, fmt.Errorf("no %d free ports between %d and %d", n, portsFrom, portsTo)
		}
		port := portsFrom + rand.IntN(portsTo-portsFrom)
		err := hold(port)
		switch {
		case err == nil:
			ports = append(ports, port)
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("hold a port: %w", err)
		}
	}
	return ports, nil
}

// Other tests of this module take theirs outside of these.
const portsFrom, portsTo = 12000, 32000

// hold binds a port that nobody has bound, and then shares it with who listens.
func hold(port int) error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = syscall.Bind(s, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = syscall.SetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err != nil {
		return errors.Join(err, syscall.Close(s))
	}
	return nil // it stays open: that is what holds the port
}

// Loopback are n free addresses of loopback.
func Loopback(n int) ([]string, error) {
	ports, err := FreePorts(n)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, n)
	for i, port := range ports {
		addrs[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return addrs, nil
}
