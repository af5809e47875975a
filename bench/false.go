package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// falseDeaths waits for deaths that did not happen: with four busy processes
// per core, and with a tenth of all packets lost. To show that the settings
// are those that find a true death, one instance is stopped at the end of each.
func falseDeaths(b *bench) error {
	n, span := or(b.Nodes, 11), or(b.Span, 10*time.Minute)
	t := b.out.table(fmt.Sprintf("false deaths, %d instances, LAN preset, %v each", n, span),
		"under", "died told", "suspected told", "laps", "then SIGSTOP known by all in")
	burners := 4 * runtime.NumCPU()
	if name := fmt.Sprintf("processor load, %d busy loops", burners); b.wants(name) {
		burn := func(*fleet.Net) error {
			for i := range burners {
				_, err := b.group.Start(fleet.Spec{
					Name: fmt.Sprintf("burner %d", i),
					Path: "sh", Args: []string{"-c", "while :; do :; done"},
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		if err := b.noDeath(t, name, n, span, nil, burn); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	const lossy = "10 % random packet loss"
	if !b.wants(lossy) {
		return nil
	}
	net, err := b.net(n)
	if err != nil {
		return err
	}
	lose := func(net *fleet.Net) error { return net.Lossy(10) }
	return b.noDeath(t, lossy, n, span, net, lose)
}

// noDeath is one such wait.
func (b *bench) noDeath(t *table, name string, n int, span time.Duration, net *fleet.Net,
	begin func(*fleet.Net) error,
) error {
	defer b.clear()
	r, err := newRingSystem(b, n, net)
	if err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(r.logs()))
	}
	if err := begin(net); err != nil {
		return err
	}
	from := time.Now()
	before, err := r.API.Status(r.Addrs[0])
	if err != nil {
		return err
	}
	if err := b.rest(span); err != nil {
		return err
	}
	deaths, doubts := 0, 0
	for i := range n {
		died, err := r.Count(i, from, "died", "")
		if err != nil {
			return err
		}
		doubted, err := r.Count(i, from, "suspected", "")
		if err != nil {
			return err
		}
		deaths, doubts = deaths+died, doubts+doubted
	}
	after, err := r.API.Status(r.Addrs[0])
	if err != nil {
		return err
	}
	victim, at := rand.IntN(n), time.Now()
	if err := r.proc(victim).Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	known, err := last(n, victim, at, 60*time.Second, r.lost)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(r.logs()))
	}
	t.row(name, deaths, doubts, after.Laps-before.Laps, short(known.Sub(at)))
	b.out.target(deaths == 0, name+": false deaths", "0", fmt.Sprint(deaths))
	return nil
}
