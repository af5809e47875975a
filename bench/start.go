package main

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// start measures from `ring up` to the first pass of the particle that any
// instance saw and that which the last one saw, and the same for laps that count.
func start(b *bench) error {
	n, trials := or(b.Nodes, 11), or(b.Trials, 5)
	bin, err := b.binary("ring")
	if err != nil {
		return err
	}
	var first, all, counted, allCounted []time.Duration
	for range trials {
		passed, anchored, err := startOnce(b, bin, n)
		if err != nil {
			return err
		}
		first, all = append(first, slices.Min(passed)), append(all, slices.Max(passed))
		counted = append(counted, slices.Min(anchored))
		allCounted = append(allCounted, slices.Max(anchored))
		b.clear()
	}
	t := b.out.table(fmt.Sprintf("from `ring up --nodes %d`, %d times", n, trials),
		"until", "min / median / max")
	t.row("the first tick", spread(first))
	t.row("the last instance's first tick", spread(all))
	t.row("the first tick that counts", spread(counted))
	t.row("the last instance's first tick that counts", spread(allCounted))
	b.out.target(median(all) < time.Second, "every instance's first tick after ring up", "< 1 s",
		short(median(all)))
	return nil
}

// startOnce is when each instance saw its first tick, and the first that counts.
func startOnce(b *bench, bin string, n int) (passed, anchored []time.Duration, err error) {
	port, err := freeRow(n)
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	p, err := b.group.Start(fleet.Spec{Name: "ring up", Path: bin, Args: []string{
		"up", "--nodes", fmt.Sprint(n), "--first-port", fmt.Sprint(port),
	}})
	if err != nil {
		return nil, nil, err
	}
	api := fleet.NewAPI(2 * time.Second)
	passed, anchored = make([]time.Duration, n), make([]time.Duration, n)
	err = fleet.Await(15*time.Second, "every instance saw a tick that counts", func() bool {
		for i := range n {
			if anchored[i] > 0 {
				continue
			}
			s, err := api.Status(fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				continue
			}
			if passed[i] == 0 && s.Laps > 0 {
				passed[i] = time.Since(begin)
			}
			if s.Anchored {
				anchored[i] = time.Since(begin)
			}
		}
		return !slices.Contains(anchored, 0)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w\n%s", err, tail(p.Output()))
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		return nil, nil, err
	}
	return passed, anchored, p.Wait(10 * time.Second)
}

// freeRow finds n free ports in a row.
func freeRow(n int) (int, error) {
search:
	for range 200 {
		ports, err := fleet.FreePorts(1)
		if err != nil {
			return 0, err
		}
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0]+i))
			if err != nil {
				continue search
			}
			l.Close()
		}
		return ports[0], nil
	}
	return 0, fmt.Errorf("no %d free ports in a row", n)
}
