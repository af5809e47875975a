package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"ringofservers.dev/bench/control"
)

// hubMember is a client of a nats-server. It speaks the protocol itself, in which a
// message is one line and its bytes. The latency is on its connection, both ways: a
// message takes two hops.
type hubMember struct {
	cfg    config
	conn   net.Conn
	copies atomic.Uint64
	up     atomic.Bool // the server has taken the subscription

	mu sync.Mutex // guards the writing side
}

func newHub(cfg config) (member, error) {
	nc, err := dial(cfg.addrs[0])
	if err != nil {
		return nil, err
	}
	m := &hubMember{cfg: cfg, conn: cfg.line.Conn(nc)}
	go m.read()
	return m, m.write("CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n" +
		"SUB bench 1\r\nPING\r\n")
}

func (m *hubMember) write(text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := io.WriteString(m.conn, text)
	return err
}

func (m *hubMember) read() {
	in := bufio.NewReader(m.conn)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return // it is being taken down
		}
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			var size int
			if _, err := fmt.Sscanf(string(line), "MSG bench 1 %d", &size); err != nil {
				return
			}
			b := make([]byte, size+2)
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			m.copies.Add(1)
			m.cfg.receive(b[:size], false)
		case bytes.HasPrefix(line, []byte("PING")):
			if m.write("PONG\r\n") != nil {
				return
			}
		case bytes.HasPrefix(line, []byte("PONG")):
			m.up.Store(true)
		}
	}
}

func (m *hubMember) ready() bool { return m.up.Load() }

func (m *hubMember) publish(payload []byte) error {
	return m.write(fmt.Sprintf("PUB bench %d\r\n%s\r\n", len(payload), payload))
}

func (m *hubMember) count(c *control.Count) error {
	c.Copies = m.copies.Load()
	return nil
}
