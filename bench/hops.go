package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"ringofservers.dev/internal/fleet"
)

// hops compares laps per second at full speed: our instances with guards,
// detector and metrics on; bare processes that only read and write 64 bytes;
// Node processes piping into each other. The runs of a round follow each other
// at once and only ratios within a round count, so that a busy machine slows
// all three.
func hops(b *bench) error {
	n, rounds, span := or(b.Nodes, 11), or(b.Trials, 5), or(b.Span, 5*time.Second)
	kinds := []struct {
		name string
		run  func(*bench, int, time.Duration) (float64, error)
	}{{"ring", ringLaps}, {"bare Go", bareLaps}, {"Node", nodeLaps}}
	t := b.out.table(fmt.Sprintf("laps per second, %d processes, %v each", n, span),
		"round", "ring", "bare Go", "Node", "ring/bare", "ring/Node")
	var overBare, overNode []float64
	for round := range rounds {
		var laps [3]float64
		for k := range kinds {
			k = (k + round) % len(kinds) // no kind always runs first
			if !b.wants(kinds[k].name) {
				continue
			}
			b.say("round %d: %s", round+1, kinds[k].name)
			var err error
			if laps[k], err = kinds[k].run(b, n, span); err != nil {
				return fmt.Errorf("%s: %w", kinds[k].name, err)
			}
			b.clear()
		}
		overBare = append(overBare, laps[0]/laps[1])
		overNode = append(overNode, laps[0]/laps[2])
		t.row(round+1, fmt.Sprintf("%.0f", laps[0]), fmt.Sprintf("%.0f", laps[1]),
			fmt.Sprintf("%.0f", laps[2]), laps[0]/laps[1], laps[0]/laps[2])
	}
	if b.Only != "" {
		return nil
	}
	bare, node := median(overBare), median(overNode)
	b.out.target(bare >= 0.9, "laps against bare Go, median of ratios", ">= 0.90",
		fmt.Sprintf("%.2f", bare))
	b.out.target(node >= 1.2, "laps against Node, median of ratios", ">= 1.20",
		fmt.Sprintf("%.2f", node))
	return nil
}

// ringLaps starts the instances singly, with their defaults but the pace.
func ringLaps(b *bench, n int, span time.Duration) (float64, error) {
	r, err := b.ring(n, nil)
	if err != nil {
		return 0, err
	}
	if err := r.StartAll(20*time.Second, "--max-speed", "--log-level", "warn"); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, tail(r.Logs()))
	}
	laps, _, err := b.countLaps(r, span)
	return laps, err
}

// countLaps counts them for a while, after a second for things to settle.
func (b *bench) countLaps(r *fleet.Ring, span time.Duration) (float64, *fleet.Status, error) {
	if err := b.rest(time.Second); err != nil {
		return 0, nil, err
	}
	before, err := r.API.Status(r.Addrs[0])
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	if err := b.rest(span); err != nil {
		return 0, nil, err
	}
	after, err := r.API.Status(r.Addrs[0])
	if err != nil {
		return 0, nil, err
	}
	if after.Epoch != before.Epoch {
		return 0, nil, fmt.Errorf("the particle was lost while laps were counted")
	}
	return float64(after.Laps-before.Laps) / time.Since(begin).Seconds(), after, nil
}

func bareLaps(b *bench, n int, span time.Duration) (float64, error) {
	bin, err := b.binary("barering")
	if err != nil {
		return 0, err
	}
	addrs, err := fleet.Loopback(n)
	if err != nil {
		return 0, err
	}
	return lapsOf(b, n, span, func(i int) fleet.Spec {
		s := fleet.Spec{
			Path: bin, Env: []string{"GOMAXPROCS=1"},
			Args: []string{"-listen", addrs[i], "-next", addrs[(i+1)%n], "-for", span.String()},
		}
		if i == 0 {
			s.Args = append(s.Args, "-first")
		}
		return s
	})
}

func nodeLaps(b *bench, n int, span time.Duration) (float64, error) {
	if err := b.need("node"); err != nil {
		return 0, err
	}
	script, err := filepath.Abs("nodering/stop.js")
	if err != nil {
		return 0, err
	}
	ports, err := fleet.FreePorts(n)
	if err != nil {
		return 0, err
	}
	return lapsOf(b, n, span, func(i int) fleet.Spec {
		s := fleet.Spec{
			Path: "node",
			Args: []string{script, fmt.Sprint(ports[i]), fmt.Sprint(ports[(i+1)%n])},
		}
		if i == 0 {
			s.Args = append(s.Args, "1", fmt.Sprint(span.Seconds()))
		}
		return s
	})
}

// lapsOf starts n stops, of which the first prints its laps, and waits for it.
func lapsOf(b *bench, n int, span time.Duration, stop func(int) fleet.Spec) (float64, error) {
	var first *fleet.Proc
	for i := n - 1; i >= 0; i-- {
		s := stop(i)
		s.Name = fmt.Sprintf("stop %d", i)
		p, err := b.group.Start(s)
		if err != nil {
			return 0, err
		}
		first = p
	}
	if err := first.Wait(span + 30*time.Second); err != nil {
		return 0, err
	}
	var laps, seconds float64
	if _, err := fmt.Sscanf(first.Output(), "laps %f seconds %f", &laps, &seconds); err != nil {
		return 0, fmt.Errorf("first stop: %w: %s", err, first.Output())
	}
	return laps / seconds, nil
}

// tail is the end of a log.
func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
