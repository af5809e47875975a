package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"ringofservers.dev/internal/fleet"
)

// system is a fleet of one kind under a failure experiment, by index.
type system interface {
	// start starts all and waits until each sees all.
	start() error
	restart(i int) error
	proc(i int) *fleet.Proc
	// lost is when instance j first said, at that time or later, that victim
	// is gone; back is when it said that it is there (again).
	lost(j, victim int, from time.Time) (time.Time, bool)
	back(j, victim int, from time.Time) (time.Time, bool)
	logs() string
}

// ringSystem is ours.
type ringSystem struct {
	*fleet.Ring
	flags []string
}

func newRingSystem(b *bench, n int, net *fleet.Net, flags ...string) (*ringSystem, error) {
	r, err := b.ring(n, net)
	return &ringSystem{r, append(flags, "--log-level", "warn")}, err
}

func (r *ringSystem) start() error           { return r.StartAll(30*time.Second, r.flags...) }
func (r *ringSystem) restart(i int) error    { return r.Start(i, r.flags...) }
func (r *ringSystem) proc(i int) *fleet.Proc { return r.Proc(i) }
func (r *ringSystem) logs() string           { return r.Logs() }

func (r *ringSystem) lost(j, victim int, from time.Time) (time.Time, bool) {
	e, ok := r.Find(j, from, "died", r.Names[victim])
	return e.At, ok
}

func (r *ringSystem) back(j, victim int, from time.Time) (time.Time, bool) {
	e, ok := r.Find(j, from, "returned", r.Names[victim])
	return e.At, ok
}

// said is one thing a member of a foreign system said about another.
type said struct {
	at      time.Time
	there   bool
	subject int
}

// story collects what the members of a foreign system said.
type story struct {
	mu   sync.Mutex
	said [][]said // by who said it
}

func (s *story) add(by int, what said) {
	s.mu.Lock()
	s.said[by] = append(s.said[by], what)
	s.mu.Unlock()
}

func (s *story) find(by, subject int, there bool, from time.Time) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.said[by] {
		if e.subject == subject && e.there == there && !e.at.Before(from) {
			return e.at, true
		}
	}
	return time.Time{}, false
}

func (s *story) lost(j, victim int, from time.Time) (time.Time, bool) {
	return s.find(j, victim, false, from)
}

func (s *story) back(j, victim int, from time.Time) (time.Time, bool) {
	return s.find(j, victim, true, from)
}

// memberlistSystem is n processes of bench/memberlistnode.
type memberlistSystem struct {
	story
	b      *bench
	bin    string
	preset string
	net    *fleet.Net
	addrs  []string
	procs  []*fleet.Proc
}

func newMemberlistSystem(b *bench, n int, net *fleet.Net, preset string) (
	*memberlistSystem, error,
) {
	m := &memberlistSystem{b: b, preset: preset, net: net, procs: make([]*fleet.Proc, n)}
	m.said = make([][]said, n)
	var err error
	if m.bin, err = b.binary("memberlistnode"); err != nil {
		return nil, err
	}
	if net == nil {
		m.addrs, err = fleet.Loopback(n)
		return m, err
	}
	for i := range n {
		m.addrs = append(m.addrs, net.Addr(i)+":7946")
	}
	return m, nil
}

func (m *memberlistSystem) start() error {
	for i := range m.procs {
		if err := m.restart(i); err != nil {
			return err
		}
	}
	return awaitAll(m, len(m.procs), 60*time.Second)
}

// awaitAll waits until each of a system has spoken of each other one.
func awaitAll(s system, n int, patience time.Duration) error {
	return fleet.Await(patience, "all members see all", func() bool {
		for j := range n {
			for i := range n {
				if _, ok := s.back(j, i, time.Time{}); !ok && i != j {
					return false
				}
			}
		}
		return true
	})
}

func (m *memberlistSystem) restart(i int) error {
	host, port, err := net.SplitHostPort(m.addrs[i])
	if err != nil {
		return err
	}
	spec := fleet.Spec{
		Name: fmt.Sprintf("memberlist %d", i), Path: m.bin,
		Args: []string{"-name", strconv.Itoa(i), "-bind", host, "-port", port, "-preset", m.preset},
		Line: func(_ time.Time, line string) { m.heard(i, line) },
	}
	if i > 0 || m.procs[i] != nil {
		spec.Args = append(spec.Args, "-join", m.addrs[(i+len(m.addrs)-1)%len(m.addrs)])
	}
	if m.net != nil {
		spec.Netns = m.net.Namespace(i)
	}
	m.procs[i], err = m.b.group.Start(spec)
	return err
}

// heard takes in a line of member i; it stamped the event itself.
func (m *memberlistSystem) heard(i int, line string) {
	var e struct {
		At      time.Time
		Kind    string
		Subject string
	}
	if json.Unmarshal([]byte(line), &e) != nil {
		return
	}
	if subject, err := strconv.Atoi(e.Subject); err == nil {
		m.add(i, said{e.At, e.Kind == "join", subject})
	}
}

func (m *memberlistSystem) proc(i int) *fleet.Proc { return m.procs[i] }

func (m *memberlistSystem) logs() string {
	out := ""
	for _, p := range m.procs {
		out += p.Spec.Name + "\n" + p.Output() + "\n"
	}
	return out
}
