package main

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// costs is what one instance of a system costs while nothing happens, the
// mean over all.
type costs struct {
	cpu      float64 // share of a core
	cpuMax   float64
	resident float64 // MiB
	sent     float64 // bytes a second on the interface
	received float64
	silence  time.Duration // until all know of a SIGSTOP, right after
}

// idle measures what a ring costs at rest, each instance in a namespace of its
// own whose interface counts every byte, and how soon the same settings find
// an instance that fell silent; beside memberlist.
func idle(b *bench) error {
	n, span := or(b.Nodes, 11), or(b.Span, 60*time.Second)
	t := b.out.table(fmt.Sprintf("idle, %d instances in namespaces, %v", n, span),
		"system", "CPU mean %", "CPU max %", "resident MiB", "sent B/s", "received B/s",
		"both B/s", "SIGSTOP known by all")
	kinds := []struct {
		name string
		make func(*fleet.Net) (system, error)
		on   bool
	}{
		{"ring LAN", func(net *fleet.Net) (system, error) { return newRingSystem(b, n, net) }, true},
		{"ring quiet", func(net *fleet.Net) (system, error) {
			return newRingSystem(b, n, net, "--preset", "quiet")
		}, true},
		{"memberlist LAN", func(net *fleet.Net) (system, error) {
			return newMemberlistSystem(b, n, net, "lan")
		}, b.Peers},
		{"memberlist tuned", func(net *fleet.Net) (system, error) {
			return newMemberlistSystem(b, n, net, "tuned")
		}, b.Peers},
	}
	for _, k := range kinds {
		if !k.on || !b.wants(k.name) {
			continue
		}
		c, err := b.costs(n, span, k.make)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		t.row(k.name, 100*c.cpu, 100*c.cpuMax, c.resident, fmt.Sprintf("%.0f", c.sent),
			fmt.Sprintf("%.0f", c.received), fmt.Sprintf("%.0f", c.sent+c.received), short(c.silence))
		switch k.name {
		case "ring LAN":
			b.judgeIdle(c)
		case "ring quiet":
			b.out.target(c.sent <= 500, "quiet preset: sent by an instance", "<= 500 B/s",
				fmt.Sprintf("%.0f B/s", c.sent))
		}
	}
	b.out.note("bytes are those of Ethernet frames; what one instance sends another receives, " +
		"so `sent` counts each byte of the fleet once")
	return nil
}

func (b *bench) judgeIdle(c *costs) {
	b.out.target(c.cpu < 0.01, "LAN preset: CPU", "< 1 % of a core",
		fmt.Sprintf("%.2f %%", 100*c.cpu))
	b.out.target(c.resident < 25, "LAN preset: resident", "< 25 MiB",
		fmt.Sprintf("%.1f MiB", c.resident))
	b.out.target(c.sent <= 2500, "LAN preset: sent by an instance", "<= 2500 B/s",
		fmt.Sprintf("%.0f B/s", c.sent))
	b.out.target(c.silence < 1500*time.Millisecond, "LAN preset: silence found", "< 1.5 s",
		short(c.silence))
}

func (b *bench) costs(n int, span time.Duration, make func(*fleet.Net) (system, error)) (
	*costs, error,
) {
	defer b.clear()
	net, err := b.net(n)
	if err != nil {
		return nil, err
	}
	s, err := make(net)
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(s.logs()))
	}
	if err := b.rest(5 * time.Second); err != nil { // what starting cost is over
		return nil, err
	}
	c, err := b.resting(s, net, n, span)
	if err != nil {
		return nil, err
	}
	if err := b.rest(time.Duration(rand.IntN(1000)) * time.Millisecond); err != nil {
		return nil, err
	}
	victim, at := rand.IntN(n), time.Now()
	if err := s.proc(victim).Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	known, err := last(n, victim, at, 120*time.Second, s.lost)
	c.silence = known.Sub(at)
	return c, err
}

// meter is what one instance had used at a moment.
type meter struct {
	cpu            time.Duration
	sent, received uint64
}

// resting reads the meters twice and asks nothing in between.
func (b *bench) resting(s system, net *fleet.Net, n int, span time.Duration) (*costs, error) {
	read := func() ([]meter, error) {
		meters := make([]meter, n)
		for i := range meters {
			var err error
			if meters[i].cpu, err = fleet.CPU(s.proc(i).PID()); err != nil {
				return nil, err
			}
			if net == nil {
				continue
			}
			if meters[i].sent, meters[i].received, err = net.Bytes(i); err != nil {
				return nil, err
			}
		}
		return meters, nil
	}
	before, err := read()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := b.rest(span); err != nil {
		return nil, err
	}
	after, err := read()
	if err != nil {
		return nil, err
	}
	c, seconds := new(costs), time.Since(begin).Seconds()
	for i := range n {
		share := (after[i].cpu - before[i].cpu).Seconds() / seconds
		c.cpu += share / float64(n)
		c.cpuMax = max(c.cpuMax, share)
		c.sent += float64(after[i].sent-before[i].sent) / seconds / float64(n)
		c.received += float64(after[i].received-before[i].received) / seconds / float64(n)
		resident, err := fleet.Resident(s.proc(i).PID())
		if err != nil {
			return nil, err
		}
		c.resident += float64(resident) / (1 << 20) / float64(n)
	}
	return c, nil
}
