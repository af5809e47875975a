//go:build linux

package fleet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreePorts are n TCP ports of loopback that nobody listens on, below the
// range from which the system takes ports for outgoing connections: nobody
// gets one by chance before it is used.
func FreePorts(n int) ([]int, error) {
	var ports []int
	seen := map[int]bool{}
	for try := 0; len(ports) < n; try++ {
		if try > 20*n+200 {
			return nil, fmt.Errorf("no %d free ports between 12000 and 32000", n)
		}
		port := 12000 + rand.IntN(20000)
		if seen[port] {
			continue
		}
		seen[port] = true
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		l.Close()
		ports = append(ports, port)
	}
	return ports, nil
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
