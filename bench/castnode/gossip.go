package main

import (
	"bytes"
	"io"
	"log"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/bench/lag"
)

// gossipMember is a member of a memberlist that hands messages on as its delegate, in
// the manner of serf: what is new is queued, and the library transmits it as often as
// its settings say.
type gossipMember struct {
	cfg    config
	list   *memberlist.Memberlist
	queue  *memberlist.TransmitLimitedQueue
	copies atomic.Uint64

	mu   sync.Mutex
	seen map[string]bool
}

func newGossip(cfg config) (member, error) {
	host, text, err := net.SplitHostPort(cfg.addrs[cfg.index])
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	m := &gossipMember{cfg: cfg, seen: map[string]bool{}}
	c := memberlist.DefaultLANConfig()
	if cfg.preset == "local" {
		c = memberlist.DefaultLocalConfig()
	}
	quiet := log.New(io.Discard, "", 0)
	net, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{host}, BindPort: port, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	c.Name, c.BindAddr, c.BindPort, c.AdvertisePort = strconv.Itoa(cfg.index), host, port, port
	c.Logger, c.Delegate, c.Transport = quiet, m, delayed(net, cfg.line)
	m.queue = &memberlist.TransmitLimitedQueue{
		NumNodes: func() int { return len(cfg.addrs) }, RetransmitMult: c.RetransmitMult,
	}
	if m.list, err = memberlist.Create(c); err != nil {
		return nil, err
	}
	go m.join()
	return m, nil
}

func (m *gossipMember) join() {
	for !m.ready() {
		_, _ = m.list.Join(m.cfg.addrs[:1]) // it may not listen yet
		time.Sleep(500 * time.Millisecond)
	}
}

func (m *gossipMember) ready() bool { return m.list.NumMembers() == len(m.cfg.addrs) }

func (m *gossipMember) publish(payload []byte) error {
	m.fresh(payload)
	m.queue.QueueBroadcast(packet(payload))
	return nil
}

func (m *gossipMember) fresh(payload []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := string(payload[:control.HeadLen])
	if m.seen[id] {
		return false
	}
	m.seen[id] = true
	return true
}

func (m *gossipMember) count(c *control.Count) error {
	c.Copies = m.copies.Load()
	return nil
}

// NotifyMsg implements memberlist.Delegate, as do the following.
func (m *gossipMember) NotifyMsg(b []byte) {
	m.copies.Add(1)
	if m.fresh(b) {
		b = bytes.Clone(b)
		m.queue.QueueBroadcast(packet(b))
		m.cfg.receive(b, false)
	}
}

func (m *gossipMember) GetBroadcasts(overhead, limit int) [][]byte {
	return m.queue.GetBroadcasts(overhead, limit)
}

func (m *gossipMember) NodeMeta(int) []byte           { return nil }
func (m *gossipMember) LocalState(bool) []byte        { return nil }
func (m *gossipMember) MergeRemoteState([]byte, bool) {}

// packet is a message in the queue of broadcasts. None replaces another.
type packet []byte

func (packet) Invalidates(memberlist.Broadcast) bool { return false }
func (p packet) Message() []byte                     { return p }
func (packet) Finished()                             {}
func (packet) UniqueBroadcast()                      {}

// delayedTransport delays packets where they arrive, and streams both ways where they
// are accepted.
type delayedTransport struct {
	*memberlist.NetTransport
	packets chan *memberlist.Packet
	streams chan net.Conn
}

func delayed(t *memberlist.NetTransport, line *lag.Line) *delayedTransport {
	d := &delayedTransport{t, make(chan *memberlist.Packet, 1<<16), make(chan net.Conn)}
	go func() {
		for p := range t.PacketCh() {
			line.After(func() {
				p.Timestamp = time.Now()
				d.packets <- p
			})
		}
	}()
	go func() {
		for c := range t.StreamCh() {
			d.streams <- line.Conn(c)
		}
	}()
	return d
}

func (d *delayedTransport) PacketCh() <-chan *memberlist.Packet { return d.packets }
func (d *delayedTransport) StreamCh() <-chan net.Conn           { return d.streams }
