//go:build linux

package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Ring is a ring of `ring node` processes, by their index in the roster.
type Ring struct {
	Group  *Group
	Binary string
	Dir    string // for config files and data
	Keep   bool   // each instance has a data directory
	Names  []string
	Addrs  []string
	Flags  []string // given to every instance
	Env    []string
	Net    *Net // nil: loopback
	API    *API
	Config string // the file that all of them read

	identities string // directory of all, see Encrypt; empty without

	mu    sync.Mutex
	procs []*Proc
	older []*Proc // earlier processes of the same names, for Logs
}

// Build builds the package at that path of that module directory into dir and
// returns the binary.
func Build(module, pkg, dir string, flags ...string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = module
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// Names are n names in the form of paths.
func Names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("dc1/prod/%d", i)
	}
	return names
}

// NewRing writes the config file of a ring of those names; nothing runs yet.
// With a Net, instance i listens at port 3000 of its namespace, else at free
// ports of loopback.
func NewRing(g *Group, binary, dir string, n int, net *Net) (*Ring, error) {
	r := &Ring{
		Group: g, Binary: binary, Dir: dir, Names: Names(n), Net: net,
		API: NewAPI(5 * time.Second), procs: make([]*Proc, n),
	}
	if net == nil {
		addrs, err := Loopback(n)
		if err != nil {
			return nil, err
		}
		r.Addrs = addrs
	} else {
		r.Flags = append(r.Flags, "--insecure")
		for i := range n {
			r.Addrs = append(r.Addrs, net.Addr(i)+":3000")
		}
	}
	r.Config = filepath.Join(dir, "ring.toml")
	return r, os.WriteFile(r.Config, []byte(ConfigText("real", r.Names, r.Addrs)), 0o644)
}

// ConfigText is a config file for that roster.
func ConfigText(ring string, names, addrs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ring = %q\n", ring)
	for i, name := range names {
		fmt.Fprintf(&b, "[[instance]]\nname = %q\naddress = %q\n", name, addrs[i])
	}
	return b.String()
}

// Data is the data directory of instance i, where they have one.
func (r *Ring) Data(i int) string { return filepath.Join(r.Dir, fmt.Sprintf("data%d", i)) }

// Start starts instance i, or starts it again.
func (r *Ring) Start(i int, flags ...string) error {
	args := append([]string{"node", "--name", r.Names[i], "--config", r.Config}, r.Flags...)
	if r.Keep {
		args = append(args, "--data", r.Data(i))
	}
	if r.identities != "" {
		args = append(args, "--tls", r.Identity(i))
	}
	s := Spec{Name: r.Names[i], Path: r.Binary, Args: append(args, flags...), Env: r.Env, Dir: r.Dir}
	if r.Net != nil {
		s.Netns = r.Net.Namespace(i)
	}
	p, err := r.Group.Start(s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.procs[i]; old != nil {
		r.older = append(r.older, old)
	}
	r.procs[i] = p
	return nil
}

// StartAll starts all instances and waits until the ring is whole.
func (r *Ring) StartAll(patience time.Duration, flags ...string) error {
	for i := range r.Names {
		if err := r.Start(i, flags...); err != nil {
			return err
		}
	}
	return r.AwaitWhole(patience, r.All())
}

// Proc is the newest process of instance i.
func (r *Ring) Proc(i int) *Proc {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.procs[i]
}

// All are the indexes 0 to n-1.
func (r *Ring) All() []int { return r.Except() }

// Except are all indexes but those.
func (r *Ring) Except(not ...int) []int {
	var live []int
next:
	for i := range r.Names {
		for _, no := range not {
			if i == no {
				continue next
			}
		}
		live = append(live, i)
	}
	return live
}

// AwaitWhole waits until every instance of live sees exactly those alive and
// each holds the hand of the next of them, and the particle passed it.
func (r *Ring) AwaitWhole(patience time.Duration, live []int) error {
	begin := time.Now()
	done := 0 // live[:done] were seen whole since the last that was not
	for {
		why := ""
		for ; done < len(live) && why == ""; done++ {
			why = r.whole(live, done)
		}
		if why == "" {
			break
		}
		done--
		if time.Since(begin) > patience {
			return fmt.Errorf("the ring is not whole after %v: %s", patience, why)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// whole says what live[k] lacks, "" for nothing.
func (r *Ring) whole(live []int, k int) string {
	i := live[k]
	if p := r.Proc(i); p != nil && !p.Running() {
		return fmt.Sprintf("%s has ended: %v", r.Names[i], p.Err())
	}
	s, err := r.API.Status(r.Addrs[i])
	if err != nil {
		return err.Error()
	}
	want := make(map[string]bool, len(live))
	for _, j := range live {
		want[r.Names[j]] = true
	}
	for _, one := range s.Instances {
		if (one.State == "alive") != want[one.Name] {
			return fmt.Sprintf("%s says that %s is %s", r.Names[i], one.Name, one.State)
		}
	}
	if next := r.Names[live[(k+1)%len(live)]]; s.Next != next {
		return fmt.Sprintf("%s holds the hand of %q, not of %s", r.Names[i], s.Next, next)
	}
	if s.Laps == 0 {
		return r.Names[i] + " saw no tick yet"
	}
	return ""
}

// Events are all events instance i keeps that came at that time or later.
func (r *Ring) Events(i int, from time.Time) ([]Event, error) {
	all, err := r.API.Events(r.Addrs[i], 0)
	if err != nil {
		return nil, err
	}
	for len(all) > 0 && all[0].At.Before(from) {
		all = all[1:]
	}
	return all, nil
}

// Find is the first event of that kind about that instance, "" for any, that
// instance i tells of that time or later.
func (r *Ring) Find(i int, from time.Time, kind, subject string) (Event, bool) {
	events, err := r.Events(i, from)
	if err != nil {
		return Event{}, false
	}
	for _, e := range events {
		if e.Kind == kind && (subject == "" || e.Subject == subject) {
			return e, true
		}
	}
	return Event{}, false
}

// Count is how many such events instance i tells of that time or later.
func (r *Ring) Count(i int, from time.Time, kind, subject string) (n int, err error) {
	events, err := r.Events(i, from)
	for _, e := range events {
		if e.Kind == kind && (subject == "" || e.Subject == subject) {
			n++
		}
	}
	return n, err
}

// Logs is what all processes of the ring printed.
func (r *Ring) Logs() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, p := range append(r.older, r.procs...) {
		if p != nil {
			fmt.Fprintf(&b, "--- %s, pid %d\n%s\n", p.Spec.Name, p.PID(), p.Output())
		}
	}
	return b.String()
}

// Await polls until ok says so, for at most that long.
func Await(patience time.Duration, what string, ok func() bool) error {
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > patience {
			return fmt.Errorf("not after %v: %s", patience, what)
		}
	}
	return nil
}
