package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/bench/control"
	"ringofservers.dev/internal/fleet"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// ringMember is an instance of ours. The latency is on the links that it accepts, both
// ways.
type ringMember struct {
	ring    *ring.Ring
	metrics *prometheus.Registry

	mu     sync.Mutex     // guards what follows
	deaths map[string]int // by whose
	laps   []time.Duration
}

const lapsKept = 4096

func newRing(cfg config) (member, error) {
	l, err := net.Listen("tcp", cfg.addrs[cfg.index])
	if err != nil {
		return nil, err
	}
	m := &ringMember{metrics: prometheus.NewRegistry(), deaths: map[string]int{}}
	roster := ring.Roster{Addresses: cfg.addrs}
	for _, name := range fleet.Names(len(cfg.addrs)) {
		roster.Names = append(roster.Names, ring.Name(name))
	}
	var identity *trust.Store
	if cfg.trusts != "" {
		if identity, err = trust.Open(filepath.Join(cfg.trusts, string(roster.Names[cfg.index]))); err != nil {
			return nil, err
		}
	}
	m.ring, err = ring.Join(context.Background(), ring.Config{
		Ring: "real", Name: roster.Names[cfg.index], Roster: roster, TLS: identity,
		Listener: cfg.line.Listener(l), Registerer: m.metrics,
	})
	if err != nil {
		return nil, err
	}
	m.ring.Subscribe("", func(msg ring.Message) {
		if msg.Missed > 0 {
			cfg.missed(msg.Missed, msg.From != "")
			return
		}
		cfg.receive(msg.Payload, msg.From == roster.Names[cfg.index])
	})
	_, err = m.ring.Answer("bench", func(context.Context, ring.Question) ([]byte, error) {
		return binary.BigEndian.AppendUint64(nil, 1), nil
	}, sum)
	if err != nil {
		return nil, err
	}
	m.ring.OnEvent(0, func(e ring.Event) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.Kind == "died" {
			for _, subject := range append(e.Also, e.Subject) {
				m.deaths[string(subject)]++
			}
		}
	})
	m.ring.OnTick(func(t ring.Tick) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.laps = append(m.laps, t.Took-t.Held); len(m.laps) > lapsKept {
			m.laps = slices.Delete(m.laps, 0, lapsKept/4)
		}
	})
	return m, nil
}

func sum(a, b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
}

// gather counts all members so many times.
func (m *ringMember) gather(times int) (took []time.Duration, err error) {
	all := uint64(len(m.ring.View().Instances))
	for range times {
		begun := time.Now()
		g, err := m.ring.Gather(context.Background(), "bench", nil, sum)
		took = append(took, time.Since(begun))
		if err != nil {
			return nil, err
		}
		if n := binary.BigEndian.Uint64(g.Value); n != all {
			return nil, fmt.Errorf("the members are %d, and were counted as %d", all, n)
		}
	}
	return took, nil
}

func (m *ringMember) ready() bool {
	v := m.ring.View()
	return v.Joined && !slices.ContainsFunc(v.Instances, func(in ring.Instance) bool {
		return in.State != ring.Alive
	})
}

func (m *ringMember) publish(payload []byte) error {
	_, err := m.ring.Broadcast(context.Background(), "bench", payload)
	return err
}

func (m *ringMember) count(c *control.Count) error {
	families, err := m.metrics.Gather()
	if err != nil {
		return err
	}
	c.Frames = map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "ring_frames_total" {
			continue
		}
		for _, one := range f.GetMetric() {
			in, kind := false, ""
			for _, l := range one.GetLabel() {
				in = in || l.GetName() == "direction" && l.GetValue() == "in"
				if l.GetName() == "kind" {
					kind = l.GetValue()
				}
			}
			if in {
				c.Frames[kind] = uint64(one.GetCounter().GetValue())
			}
		}
	}
	c.Copies = c.Frames["cast"]
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Deaths = maps.Clone(m.deaths)
	c.Laps = slices.Clone(m.laps)
	return nil
}
