package main

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// start measures from `ring up` to the first tick that any instance saw, and to
// that which the last one saw.
func start(b *bench) error {
	n, trials := or(b.Nodes, 11), or(b.Trials, 5)
	bin, err := b.binary("ring")
	if err != nil {
		return err
	}
	var first, all []time.Duration
	for range trials {
		one, whole, err := startOnce(b, bin, n)
		if err != nil {
			return err
		}
		first, all = append(first, one), append(all, whole)
		b.clear()
	}
	t := b.out.table(fmt.Sprintf("from `ring up --nodes %d`, %d times", n, trials),
		"until", "min / median / max")
	t.row("the first tick", spread(first))
	t.row("the last instance's first tick", spread(all))
	b.out.target(median(all) < time.Second, "every instance's first tick after ring up", "< 1 s",
		short(median(all)))
	return nil
}

func startOnce(b *bench, bin string, n int) (first, all time.Duration, err error) {
	port, err := freeRow(n)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	p, err := b.group.Start(fleet.Spec{Name: "ring up", Path: bin, Args: []string{
		"up", "--nodes", fmt.Sprint(n), "--first-port", fmt.Sprint(port),
	}})
	if err != nil {
		return 0, 0, err
	}
	api := fleet.NewAPI(2 * time.Second)
	seen := make([]time.Duration, n)
	left := n
	err = fleet.Await(15*time.Second, "every instance saw a tick", func() bool {
		for i := range n {
			if seen[i] > 0 {
				continue
			}
			s, err := api.Status(fmt.Sprintf("127.0.0.1:%d", port+i))
			if err == nil && s.Laps > 0 {
				seen[i] = time.Since(begin)
				left--
			}
		}
		return left == 0
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, tail(p.Output()))
	}
	if err := p.Signal(syscall.SIGINT); err != nil {
		return 0, 0, err
	}
	return slices.Min(seen), slices.Max(seen), p.Wait(10 * time.Second)
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
