package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/internal/fleet"
)

// cpgbench builds the client of corosync's groups, see bench/totem.
func (b *bench) cpgbench() (string, error) {
	if path := b.bins["cpgbench"]; path != "" {
		return path, nil
	}
	if err := b.need("corosync", "ip", "nft", "gcc", "nsenter"); err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, "cpgbench")
	cmd := exec.CommandContext(b.ctx, "gcc", "-O2", "-Wall", "-o", path, "totem/cpgbench.c", "-lcpg")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc cannot build totem/cpgbench.c (apt-get install libcpg-dev libc6-dev): "+
			"%w\n%s", err, tail(string(out)))
	}
	b.bins["cpgbench"] = path
	return path, nil
}

// client starts a program where member i of corosync can be connected to: its sockets
// are of its network namespace, and the memory that it shares is under its /dev/shm.
func (c *corosyncSystem) client(i int, s fleet.Spec) (*fleet.Proc, error) {
	s.Args = append([]string{"-t", strconv.Itoa(c.procs[i].PID()), "-m", "-n", s.Path}, s.Args...)
	s.Path = "nsenter" // which replaces itself by the program
	return c.b.group.Start(s)
}

// totem measures a running fleet of corosync: the first so many of its members send,
// each with a window of so many messages on the way.
func (b *bench) totem(c *corosyncSystem, senders, window int, span time.Duration) (*ordering, error) {
	bin, err := b.cpgbench()
	if err != nil {
		return nil, err
	}
	n := len(c.procs)
	began, ended := make(chan struct{}, n), make(chan struct{}, n)
	var clients []*fleet.Proc
	for i := range n {
		mine := 0
		if i < senders {
			mine = window
		}
		p, err := c.client(i, fleet.Spec{
			Name: fmt.Sprintf("cpgbench %d", i), Path: bin,
			Args: []string{
				"bench", strconv.Itoa(n), strconv.Itoa(senders), strconv.Itoa(mine),
				strconv.FormatInt(orderWarm.Milliseconds(), 10), strconv.FormatInt(span.Milliseconds(), 10),
			},
			Line: func(_ time.Time, line string) {
				switch line {
				case "begin":
					began <- struct{}{}
				case "end":
					ended <- struct{}{}
				}
			},
		})
		if err != nil {
			return nil, err
		}
		clients = append(clients, p)
	}
	procs := append(clients[:n:n], c.procs...)
	cpu, err := b.cpuBetween(procs, began, ended, span+orderPatience)
	if err != nil {
		return nil, errors.Join(err, outputs(clients))
	}
	o := new(ordering)
	for _, p := range clients {
		if err := errors.Join(p.Wait(orderPatience), p.Err()); err != nil {
			return nil, errors.Join(err, outputs(clients))
		}
		if err := o.heard(p.Output()); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Spec.Name, err)
		}
	}
	return o, o.close(cpu, span)
}

// heard takes in the last line that a client prints.
func (o *ordering) heard(text string) error {
	var got, all, p50, p99 uint64
	var ns int64
	var hash string
	line := text[strings.LastIndex(text, "\n")+1:]
	if _, err := fmt.Sscanf(line, "got %d ns %d all %d hash %s p50 %d p99 %d",
		&got, &ns, &all, &hash, &p50, &p99); err != nil {
		return fmt.Errorf("%w: %q", err, line)
	}
	o.got = append(o.got, float64(got)/time.Duration(ns).Seconds())
	o.all, o.hash = append(o.all, all), append(o.hash, hash)
	if p50 > 0 { // it has sent
		o.p50 = append(o.p50, time.Duration(p50)*time.Microsecond)
		o.p99 = append(o.p99, time.Duration(p99)*time.Microsecond)
	}
	return nil
}

// cpuBetween is the processor time of these from the first begin to the first end.
func (b *bench) cpuBetween(procs []*fleet.Proc, begin, end <-chan struct{}, patience time.Duration) (
	time.Duration, error,
) {
	var spent [2]time.Duration
	late := time.After(patience)
	for i, c := range []<-chan struct{}{begin, end} {
		select {
		case <-c:
		case <-late:
			return 0, fmt.Errorf("the members do not all send after %v", patience)
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
		var err error
		if spent[i], err = cpuOf(procs); err != nil {
			return 0, err
		}
	}
	return spent[1] - spent[0], nil
}

// outputs is what these have printed, as an error.
func outputs(procs []*fleet.Proc) error {
	var errs []error
	for _, p := range procs {
		if text := p.Output(); text != "" {
			errs = append(errs, fmt.Errorf("%s: %s", p.Spec.Name, tail(text)))
		}
	}
	return errors.Join(errs...)
}
