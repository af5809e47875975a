//go:build linux

package fleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// netPrefix begins the name of everything a Net makes, interfaces included.
const netPrefix = "ringb-"

// Net is one network namespace per instance, joined by a bridge. This
// process's own namespace holds an address on the bridge, so it can talk to
// each instance whatever is cut between them: faults concern only traffic
// from one instance to another.
type Net struct {
	n    int
	tag  string // of this Net, unique on the machine
	base string // first three bytes of every address
}

// CanNet says why namespaces cannot be made here, or nil.
func CanNet() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install iproute2 nftables", tool)
		}
	}
	return nil
}

// NewNet makes n namespaces, at most 200. serial tells apart the Nets of one
// process: 0 to 35.
func NewNet(n, serial int) (*Net, error) {
	if err := CanNet(); err != nil {
		return nil, err
	}
	pid := os.Getpid()
	f := &Net{
		n:    n,
		tag:  netPrefix + strconv.FormatInt(int64(pid), 36) + strconv.FormatInt(int64(serial), 36),
		base: fmt.Sprintf("10.%d.%d", 64+(pid*7+serial)%128, (pid/128+serial*37)%256),
	}
	removeStale()
	if err := f.make(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Net) make() error {
	bridge := f.tag + "b"
	var do strings.Builder
	fmt.Fprintf(&do, "link add %s type bridge\n", bridge)
	fmt.Fprintf(&do, "addr add %s/24 dev %s\n", f.Host(), bridge)
	fmt.Fprintf(&do, "link set %s up\n", bridge)
	for i := range f.n {
		fmt.Fprintf(&do, "netns add %s\n", f.Namespace(i))
		fmt.Fprintf(&do, "link add %s type veth peer name eth0 netns %s\n",
			f.port(i), f.Namespace(i))
		fmt.Fprintf(&do, "link set %s master %s up\n", f.port(i), bridge)
	}
	if err := run(do.String(), "ip", "-batch", "-"); err != nil {
		return err
	}
	for i := range f.n {
		in := fmt.Sprintf("addr add %s/24 dev eth0\nlink set lo up\nlink set eth0 up\n", f.Addr(i))
		if err := run(in, "ip", "-n", f.Namespace(i), "-batch", "-"); err != nil {
			return err
		}
	}
	return nil
}

// Namespace is the name of instance i's namespace, for Spec.Netns.
func (f *Net) Namespace(i int) string { return f.tag + "n" + strconv.Itoa(i) }

// Addr is the address of instance i, without a port.
func (f *Net) Addr(i int) string { return fmt.Sprintf("%s.%d", f.base, i+1) }

// Host is this process's own address on the bridge.
func (f *Net) Host() string { return f.base + ".254" }

// port is the bridge's end of the cable to instance i.
func (f *Net) port(i int) string { return f.tag + strconv.Itoa(i) }

// Bytes is what instance i has sent and received on its interface, Ethernet
// headers included, since it was made.
func (f *Net) Bytes(i int) (sent, received uint64, err error) {
	read := func(which string) (uint64, error) {
		b, err := os.ReadFile(filepath.Join("/sys/class/net", f.port(i), "statistics", which))
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	if sent, err = read("rx_bytes"); err != nil { // the bridge's end receives what it sends
		return 0, 0, err
	}
	received, err = read("tx_bytes")
	return sent, received, err
}

// Drop lets nothing from instance i reach instance j; the other way stays.
func (f *Net) Drop(i, j int) error {
	return f.rule(j, "input", fmt.Sprintf("ip saddr %s drop", f.Addr(i)))
}

// Deafen lets instance i receive nothing from other instances.
func (f *Net) Deafen(i int) error {
	return f.rule(i, "input", fmt.Sprintf("ip saddr %s.1-%s.%d drop", f.base, f.base, f.n))
}

// Mute lets instance i send nothing to other instances.
func (f *Net) Mute(i int) error {
	return f.rule(i, "output", fmt.Sprintf("ip daddr %s.1-%s.%d drop", f.base, f.base, f.n))
}

// Part lets nothing pass between the instances of few and all others, either
// way. All of it comes at once, or nearly: a cut that grows would be many faults.
func (f *Net) Part(few ...int) error {
	var here, there []string
	for i := range f.n {
		if slices.Contains(few, i) {
			here = append(here, f.Addr(i))
		} else {
			there = append(there, f.Addr(i))
		}
	}
	errs := make([]error, f.n)
	var all sync.WaitGroup
	for i := range f.n {
		from := here
		if slices.Contains(few, i) {
			from = there
		}
		all.Go(func() {
			errs[i] = f.rule(i, "input", fmt.Sprintf("ip saddr { %s } drop", strings.Join(from, ", ")))
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Lossy makes every instance lose that many in a hundred of the packets that
// arrive from other instances, at random.
func (f *Net) Lossy(percent int) error {
	for i := range f.n {
		err := f.rule(i, "input", fmt.Sprintf("ip saddr %s.1-%s.%d numgen random mod 100 < %d drop",
			f.base, f.base, f.n, percent))
		if err != nil {
			return err
		}
	}
	return nil
}

// Heal takes every fault of instance i away.
func (f *Net) Heal(i int) error {
	return f.nft(i, "add table ip ringb\ndelete table ip ringb\n")
}

func (f *Net) rule(i int, hook, rule string) error {
	return f.nft(i, fmt.Sprintf("add table ip ringb\n"+
		"add chain ip ringb %s { type filter hook %s priority 0; }\n"+
		"add rule ip ringb %s %s\n", hook, hook, hook, rule))
}

func (f *Net) nft(i int, script string) error {
	return run(script, "ip", "netns", "exec", f.Namespace(i), "nft", "-f", "-")
}

// Close removes the namespaces and the bridge. Processes in them go on, deaf.
func (f *Net) Close() {
	for i := range f.n {
		_ = run("", "ip", "link", "del", f.port(i))
		_ = run("", "ip", "netns", "del", f.Namespace(i))
	}
	_ = run("", "ip", "link", "del", f.tag+"b")
}

// removeStale takes away what a killed process of this package left behind.
func removeStale() {
	names, err := filepath.Glob("/run/netns/" + netPrefix + "*")
	if err != nil {
		return
	}
	for _, path := range names {
		name := filepath.Base(path)
		rest := strings.TrimPrefix(name, netPrefix)
		cut := strings.LastIndexByte(rest, 'n') // base 36 has an n too, an index has not
		if cut < 0 {
			continue
		}
		tag, instance := rest[:cut], rest[cut+1:]
		if len(tag) < 2 || alive(tag[:len(tag)-1]) {
			continue
		}
		_ = run("", "ip", "link", "del", netPrefix+tag+instance)
		_ = run("", "ip", "netns", "del", name)
		_ = run("", "ip", "link", "del", netPrefix+tag+"b")
	}
}

// alive says whether the process with that id, in base 36, runs or cannot be
// judged.
func alive(pid36 string) bool {
	pid, err := strconv.ParseInt(pid36, 36, 32)
	if err != nil {
		return true
	}
	return syscall.Kill(int(pid), 0) != syscall.ESRCH
}

// run runs a command with that input; its output goes into the error.
func run(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
