package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

const (
	tlsWant    = 0.8      // of what goes without
	tlsBig     = 48 << 10 // bytes, the largest message that is no bulk
	tlsRestart = 200      // instances
)

// encrypted compares links over TLS with bare ones, in turn, so that what else the machine
// does is felt by both.
func encrypted(b *bench) error {
	for _, n := range []int{3, 11} {
		if part := fmt.Sprintf("laps %d", n); b.wants(part) {
			if err := b.tlsLaps(n); err != nil {
				return fmt.Errorf("%s: %w", part, err)
			}
		}
	}
	if b.wants("broadcast") {
		if err := b.tlsCasts(); err != nil {
			return fmt.Errorf("broadcast: %w", err)
		}
	}
	if b.wants("restart") {
		if err := b.tlsRestarts(or(b.Nodes, tlsRestart)); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	}
	return nil
}

// modes in the order in which they run in that round, each once.
func modes(round int) []bool { return []bool{round%2 == 1, round%2 == 0} }

func (b *bench) tlsLaps(n int) error {
	rounds, span := or(b.Trials, 5), or(b.Span, 5*time.Second)
	t := b.out.table(fmt.Sprintf("laps per second, %d processes, %v each", n, span),
		"round", "plain", "TLS", "TLS/plain", "CPU of a hop", "with TLS", "plain/TLS")
	var ratios, costs []float64
	for round := range rounds {
		laps, hop := map[bool]float64{}, map[bool]time.Duration{}
		for _, secure := range modes(round) {
			b.say("%d processes, round %d, TLS %v", n, round+1, secure)
			r, err := b.tlsRing(n, secure)
			if err != nil {
				return err
			}
			if err := r.StartAll(30*time.Second, "--max-speed", "--log-level", "warn"); err != nil {
				return fmt.Errorf("%w\n%s", err, tail(r.Logs()))
			}
			if laps[secure], hop[secure], err = b.hopCost(r, span); err != nil {
				return err
			}
			b.clear()
		}
		ratio, cost := laps[true]/laps[false], float64(hop[false])/float64(hop[true])
		ratios, costs = append(ratios, ratio), append(costs, cost)
		t.row(round+1, fmt.Sprintf("%.0f", laps[false]), fmt.Sprintf("%.0f", laps[true]), ratio,
			short(hop[false]), short(hop[true]), cost)
	}
	b.out.note("%d processes: processor time of a hop, without TLS against with, median of ratios: %.2f", n, median(costs))
	b.out.target(median(ratios) >= tlsWant, fmt.Sprintf("laps of %d with TLS against without, median of ratios", n),
		fmt.Sprintf(">= %.2f", tlsWant), fmt.Sprintf("%.2f", median(ratios)))
	return nil
}

// hopCost counts laps for a while, and what processor time a hop takes of all processes.
func (b *bench) hopCost(r *fleet.Ring, span time.Duration) (laps float64, hop time.Duration, err error) {
	var procs []*fleet.Proc
	for i := range r.Names {
		procs = append(procs, r.Proc(i))
	}
	if err := b.rest(time.Second); err != nil { // for things to settle
		return 0, 0, err
	}
	var passes [2]uint64
	var spent [2]time.Duration
	var at [2]time.Time
	for i := range 2 {
		s, err := r.API.Status(r.Addrs[0])
		if err != nil {
			return 0, 0, err
		}
		at[i], passes[i] = time.Now(), s.Laps
		if spent[i], err = cpuOf(procs); err != nil {
			return 0, 0, err
		}
		if i == 0 {
			if err := b.rest(span); err != nil {
				return 0, 0, err
			}
		}
	}
	n := float64(passes[1] - passes[0])
	if n == 0 {
		return 0, 0, fmt.Errorf("no lap was counted\n%s", tail(r.Logs()))
	}
	return n / at[1].Sub(at[0]).Seconds(), time.Duration(float64(spent[1]-spent[0]) / n / float64(len(procs))), nil
}

func (b *bench) tlsRing(n int, secure bool) (*fleet.Ring, error) {
	r, err := b.ring(n, nil)
	if err == nil && secure {
		err = r.Encrypt()
	}
	return r, err
}

// tlsCasts sends messages to 11, as the experiment broadcast does, without latency between.
func (b *bench) tlsCasts() error {
	const n = 11
	rounds, span := or(b.Trials, 5), or(b.Span, 5*time.Second)
	sizes := []int{castSmall, tlsBig}
	all := map[bool]map[int]*casts{}
	for _, secure := range []bool{false, true} {
		all[secure] = map[int]*casts{}
		for _, size := range sizes {
			all[secure][size] = &casts{frames: map[string]uint64{}}
		}
	}
	dir, err := os.MkdirTemp(b.dir, "identities")
	if err != nil {
		return err
	}
	bin, err := b.binary("ring")
	if err != nil {
		return err
	}
	if dir, err = fleet.Identities(bin, dir, "real", fleet.Names(n)); err != nil {
		return err
	}
	for round := range rounds {
		for _, secure := range modes(round) {
			b.say("broadcast, round %d, TLS %v", round+1, secure)
			kind := castKind{name: "plain", kind: "ring"}
			if secure {
				kind.name, kind.args = "TLS", []string{"-identities", dir}
			}
			f, err := b.castFleet(n, kind, 0)
			if err != nil {
				return err
			}
			if err := b.rest(3 * time.Second); err != nil { // what starting cost is over
				return err
			}
			if err := f.cast(new(casts), 1<<20, 2*castPace, castPace, castSmall); err != nil {
				return err
			}
			for i, size := range sizes {
				count := int(span.Seconds() * castPace)
				if err := f.cast(all[secure][size], uint32(1+i<<24), count, castPace, size); err != nil {
					return err
				}
			}
			b.clear()
		}
	}
	t := b.out.table(fmt.Sprintf("messages to %d processes, %d a second", n, castPace),
		"bytes", "links", "messages", "not to all", "to all: p50", "p99", "CPU % of all")
	for _, size := range sizes {
		p50 := map[bool]time.Duration{}
		for _, secure := range []bool{false, true} {
			c := all[secure][size]
			slices.Sort(c.toAll)
			p50[secure] = quantile(c.toAll, 0.5)
			name := map[bool]string{false: "plain", true: "TLS"}[secure]
			t.row(size, name, c.messages, c.notAll, short(p50[secure]), short(quantile(c.toAll, 0.99)),
				fmt.Sprintf("%.1f", 100*median(c.cpu)))
		}
		b.out.target(float64(p50[false])/float64(p50[true]) >= tlsWant,
			fmt.Sprintf("%d bytes to all, median without TLS against with", size), fmt.Sprintf(">= %.2f", tlsWant),
			fmt.Sprintf("%.2f", float64(p50[false])/float64(p50[true])))
	}
	return nil
}

// tlsRestarts kills all of many instances at once, and starts them again.
func (b *bench) tlsRestarts(n int) error {
	t := b.out.table(fmt.Sprintf("%d instances killed, and started again", n),
		"links", "started in", "whole after", "CPU of all", "handshakes", "a second", "links of one",
		"resident of one")
	resident, links := map[bool]float64{}, 0.0
	for _, secure := range []bool{false, true} {
		b.say("restart of %d, TLS %v", n, secure)
		r, err := b.tlsRing(n, secure)
		if err != nil {
			return err
		}
		r.Env = []string{"GOMAXPROCS=1"}
		for range 2 { // the second time is the one that counts
			for i := range n {
				if p := r.Proc(i); p != nil {
					if err := p.Signal(syscall.SIGKILL); err != nil {
						return err
					}
				}
			}
			begin := time.Now()
			for i := range n {
				if err := r.Start(i, "--log-level", "warn"); err != nil {
					return err
				}
			}
			started := time.Since(begin)
			if err := r.AwaitWhole(240*time.Second, r.All()); err != nil {
				return fmt.Errorf("%w\n%s", err, tail(r.Logs()))
			}
			whole := time.Since(begin)
			c, err := b.tlsCost(r)
			if err != nil {
				return err
			}
			resident[secure], links = c.resident, c.links
			t.row(map[bool]string{false: "plain", true: "TLS"}[secure], short(started), short(whole), short(c.cpu),
				c.handshakes, fmt.Sprintf("%.0f", float64(c.handshakes)/whole.Seconds()), fmt.Sprintf("%.1f", c.links),
				fmt.Sprintf("%.1f MiB", c.resident))
		}
		b.clear()
	}
	b.out.note("memory of a link by TLS: %.0f KiB more than a bare one, the whole of a process shared by its links",
		(resident[true]-resident[false])*1024/links)
	return nil
}

// tlsCosts are means over all instances, but for what all have used.
type tlsCosts struct {
	cpu             time.Duration
	handshakes      int
	links, resident float64 // of one; MiB
}

func (b *bench) tlsCost(r *fleet.Ring) (*tlsCosts, error) {
	c, n := new(tlsCosts), float64(len(r.Names))
	for i := range r.Names {
		cpu, err := fleet.CPU(r.Proc(i).PID())
		if err != nil {
			return nil, err
		}
		c.cpu += cpu
	}
	for i := range r.Names {
		size, err := fleet.Resident(r.Proc(i).PID())
		if err != nil {
			return nil, err
		}
		c.resident += float64(size) / (1 << 20) / n
		s, err := r.API.Status(r.Addrs[i])
		if err != nil {
			return nil, err
		}
		for _, in := range s.Instances {
			if in.RTTMillis != nil {
				c.links += 1 / n
			}
		}
		text, err := r.API.Get(r.Addrs[i], "/metrics")
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), "} ")
			if strings.HasPrefix(name, "ring_tls_handshakes_total") && strings.Contains(name, `result="ok"`) {
				v, err := strconv.Atoi(value)
				if err != nil {
					return nil, err
				}
				c.handshakes += v
			}
		}
	}
	return c, nil
}
