package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ringofservers.dev/bench/control"
)

// chainMember is a stop of the bare base ring: it hands a message on to the next and
// to the one before, both ways round until they meet.
type chainMember struct {
	cfg    config
	copies atomic.Uint64
	next   net.Conn
	before net.Conn

	mu   sync.Mutex // guards seen, and the writing side of both links
	seen map[string]bool
}

func newChain(cfg config) (member, error) {
	m := &chainMember{cfg: cfg, seen: map[string]bool{}}
	l, err := net.Listen("tcp", cfg.addrs[cfg.index])
	if err != nil {
		return nil, err
	}
	if m.next, err = dial(cfg.addrs[(cfg.index+1)%len(cfg.addrs)]); err != nil {
		return nil, err
	}
	if m.before, err = cfg.line.Listener(l).Accept(); err != nil {
		return nil, err
	}
	go m.pass(m.next, m.before)
	go m.pass(m.before, m.next)
	return m, nil
}

// dial waits up to 30 seconds for the other side to listen.
func dial(addr string) (net.Conn, error) {
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil || time.Since(begin) > 30*time.Second {
			return c, err
		}
	}
}

func (m *chainMember) ready() bool { return true }

func (m *chainMember) publish(payload []byte) error {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	f = append(f, payload...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[string(payload[:control.HeadLen])] = true
	if _, err := m.next.Write(f); err != nil {
		return err
	}
	_, err := m.before.Write(f)
	return err
}

// pass hands on what is new.
func (m *chainMember) pass(from, to net.Conn) {
	in := bufio.NewReader(from)
	for {
		f := make([]byte, 4)
		if _, err := io.ReadFull(in, f); err != nil {
			return // it is being taken down
		}
		f = append(f, make([]byte, binary.BigEndian.Uint32(f))...)
		if _, err := io.ReadFull(in, f[4:]); err != nil {
			return
		}
		m.copies.Add(1)
		m.mu.Lock()
		id := string(f[4 : 4+control.HeadLen])
		fresh := !m.seen[id]
		m.seen[id] = true
		if fresh {
			if _, err := to.Write(f); err != nil {
				m.mu.Unlock()
				return
			}
		}
		m.mu.Unlock()
		if fresh {
			m.cfg.receive(f[4:], false)
		}
	}
}

func (m *chainMember) count(c *control.Count) error {
	c.Copies = m.copies.Load()
	return nil
}
