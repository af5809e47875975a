// Command bench measures and breaks real rings, beside what others offer, in
// one run on one machine:
//
//	go run . <experiment> [flags]        run inside bench/
//
// Each experiment builds what it needs, starts it, measures, ends everything
// it started and prints a table. The exit code is 1 if a stated target was
// missed and 2 if the experiment could not be run. The figures in
// BENCHMARKS.md come from here.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// options are the flags of every experiment; zero means its own default.
type options struct {
	JSON     bool
	Span     time.Duration // --for
	Trials   int
	Nodes    int
	Corosync bool
	Peers    bool
	Only     string
	Ring     string // a ring program to measure instead of ../cmd/ring
	Verbose  bool
}

// bench is one run of one experiment.
type bench struct {
	options
	ctx   context.Context
	dir   string // temporary, for binaries, configs and data
	group fleet.Group
	nets  []*fleet.Net
	bins  map[string]string
	out   report
}

// experiments in the order of the help text.
var experiments = []struct {
	name, help string
	run        func(*bench) error
}{
	{"hops", "laps per second at full speed beside bare Go and Node rings", hops},
	{"start", "from `ring up` to the first tick", start},
	{"death", "time to know a death, beside memberlist and corosync", death},
	{"anchor", "ticks through deaths of voters, anchored laps, a shrinking fleet", anchor},
	{"bus", "durable writes beside etcd-server", durable},
	{"broadcast", "messages to all, beside memberlist, the base ring and nats-server", broadcast},
	{"storm", "every instance sends to all at full speed, and one is ill meanwhile", storm},
	{"passengers", "ordered passengers per second, beside corosync's totem", passengers},
	{"lap", "once round, at full speed and from rest, beside a lap of the particle", lap},
	{"skew", "how far apart instances count the same tick", skew},
	{"bulk", "64 MiB to 11 instances beside a plain copy over as many hops", bulk},
	{"partial", "bad links, cut-off, mute and stopping instances", partial},
	{"false", "false deaths under processor load and under packet loss", falseDeaths},
	{"gather", "a question to all beside a lap of the particle, with latency on each hop", gatherAll},
	{"idle", "processor, memory and bytes of an idle ring", idle},
	{"tls", "laps, broadcasts and a restart of 200 with TLS against without", encrypted},
	{"fleet", "200 instances on this machine, a tenth killed at once", bigFleet},
}

func main() {
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // where ip and corosync are
	os.Exit(realMain(os.Args[1:]))
}

func realMain(args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		usage()
		return 2
	}
	var o options
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.BoolVar(&o.JSON, "json", false, "print one JSON object instead of tables")
	f.DurationVar(&o.Span, "for", 0, "time of one measurement, 0: the experiment's own")
	f.IntVar(&o.Trials, "trials", 0, "how often, 0: the experiment's own")
	f.IntVar(&o.Nodes, "nodes", 0, "instances, 0: the experiment's own")
	f.BoolVar(&o.Corosync, "corosync", true, "measure corosync too, where the experiment can")
	f.BoolVar(&o.Peers, "peers", true, "measure memberlist too, where the experiment can")
	f.StringVar(&o.Only, "only", "", "only the parts whose name contains this")
	f.StringVar(&o.Ring, "ring", "", "measure this ring program instead of building ../cmd/ring")
	f.BoolVar(&o.Verbose, "v", false, "say what is being done")
	if f.Parse(args[1:]) != nil {
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "one experiment at a time: what is %q?\n", f.Arg(0))
		return 2
	}
	for _, e := range experiments {
		if e.name == args[0] {
			return measure(e.name, e.run, o)
		}
	}
	usage()
	return 2
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: go run . <experiment> [flags]; --help behind one for its flags")
	for _, e := range experiments {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", e.name, e.help)
	}
}

// measure runs one experiment and cleans up behind it, also after Ctrl-C.
func measure(name string, run func(*bench) error, o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "ringb-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	b := &bench{options: o, ctx: ctx, dir: dir, bins: map[string]string{}}
	b.out.Experiment, b.out.Machine, b.out.At = name, machine(), time.Now()
	defer os.RemoveAll(dir)
	defer b.clear()
	done := make(chan error, 1)
	go func() { done <- run(b) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "interrupted")
		return 130
	}
	if o.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		_ = e.Encode(&b.out)
	} else {
		b.out.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", name, err)
		return 2
	}
	if b.out.missed() {
		return 1
	}
	return 0
}

// clear ends every process and removes every namespace of the run so far.
func (b *bench) clear() {
	b.group.Close()
	for _, n := range b.nets {
		n.Close()
	}
	b.nets = nil
}

// net makes n namespaces, gone with the next clear.
func (b *bench) net(n int) (*fleet.Net, error) {
	if err := b.need("ip", "nft"); err != nil {
		return nil, err
	}
	f, err := fleet.NewNet(n, len(b.nets))
	if err == nil {
		b.nets = append(b.nets, f)
	}
	return f, err
}

// binary builds a package once a run: "ring" from the module above, the others
// from this one.
func (b *bench) binary(name string) (string, error) {
	if path := b.bins[name]; path != "" {
		return path, nil
	}
	if name == "ring" && b.Ring != "" {
		return filepath.Abs(b.Ring)
	}
	b.say("building %s", name)
	module, pkg := ".", "./"+name
	if name == "ring" {
		module, pkg = "..", "./cmd/ring"
	}
	path, err := fleet.Build(module, pkg, b.dir)
	if err == nil {
		b.bins[name] = path
	}
	return path, err
}

// ring prepares a ring of n instances, on net or on loopback.
func (b *bench) ring(n int, net *fleet.Net) (*fleet.Ring, error) {
	bin, err := b.binary("ring")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "fleet")
	if err != nil {
		return nil, err
	}
	return fleet.NewRing(&b.group, bin, dir, n, net)
}

// rest lets things run for a while: this is a measurement, time is its matter.
func (b *bench) rest(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

func (b *bench) say(format string, args ...any) {
	if b.Verbose {
		fmt.Fprintf(os.Stderr, "%s "+format+"\n",
			append([]any{time.Now().Format("15:04:05")}, args...)...)
	}
}

// wants says whether --only lets the part of that name run.
func (b *bench) wants(part string) bool { return strings.Contains(part, b.Only) }

// or is the option if given, else the experiment's own.
func or[T comparable](option, own T) T {
	var zero T
	if option == zero {
		return own
	}
	return option
}
