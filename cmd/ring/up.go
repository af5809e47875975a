package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// upOptions are the flags of `ring up`.
type upOptions struct {
	nodes     int
	firstPort int
	hold      time.Duration
	maxSpeed  bool
	quiet     bool
	data      string
	respawn   bool
	insecure  bool
	binary    string // this program's own file, which its instances run to ask for others
}

// upRing is the name of the ring.
const upRing = "local"

// upMax bounds --nodes: what one machine may be asked for by a typing error.
const upMax = 1000

func newUpCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a whole ring on this machine: eleven processes on ports 3000 to 3010",
		Long: `Up starts one ring of separate processes on 127.0.0.1, local/0 on the first
port, local/1 on the next, and shows what they say: a line for each tick and
stop (name, port, tick), the story of deaths and returns, and once a second the
state of the ring. All stands in the order in which it happened. Where laps are
faster than ten a second for long, not every tick is shown. The ring's page is at
the first address.

Kill any of them (kill -9): its neighbour notices, the ring closes around it, the
nearest one before it that lives asks this starter for it, it is started again, and the
ring opens for it. What you read is what the instances found out; this starter does not
tell them, or you, what it knows as their parent. It acts by itself only where no other
instance is left, or nobody has asked for 15 s; with --respawn=false always, at once. Ctrl-C ends all; a second Ctrl-C ends them at once.

While fewer than most of those who vote live, laps go by uncounted, and the lines
say so. What an instance must remember it finds again when it is started again;
without --data it is all removed in the end.

Links between the instances are encrypted: an authority for this ring alone, and an identity
of each instance, are made below the data, and go with it (--insecure does without). This
machine still asks them in the clear, so that the page and all commands do as they are.`,
		Example: `  ring up
  ring up --nodes 5 --first-port 4000 --hold 500ms
  ring up --max-speed
  ring up --data ./data        # a restart of everything goes on with its ticks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return runUp(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&o.nodes, "nodes", "n", 11, "how many instances")
	f.IntVar(&o.firstPort, "first-port", 3000, "port of local/0; the others follow")
	f.DurationVar(&o.hold, "hold", 0,
		"rest of the particle at each stop, also with passengers aboard (default an even share of one "+
			"lap a second, left out while they are)")
	f.BoolVar(&o.maxSpeed, "max-speed", false, "no rest at all: as fast as the processes can")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "only the story: no ticks, no state")
	f.StringVar(&o.data, "data", "",
		"keep each instance's data in a subdirectory of this one (default: one that goes in the end)")
	f.BoolVar(&o.insecure, "insecure", false, "links in the clear: no authority, no identities")
	f.BoolVar(&o.respawn, "respawn", true, "instances ask for the dead among them (see ring node --help)")
	cmd.MarkFlagsMutuallyExclusive("hold", "max-speed")
	return cmd
}

func (o upOptions) check() error {
	switch {
	case o.nodes < 1 || o.nodes > upMax:
		return usageError("--nodes is %d; give 1 to %d", o.nodes, upMax)
	case o.firstPort < 1 || o.firstPort+o.nodes-1 > 65535:
		return usageError("ports %d to %d do not exist; give another --first-port",
			o.firstPort, o.firstPort+o.nodes-1)
	case o.hold < 0:
		return usageError("--hold is %v, less than zero", o.hold)
	}
	return nil
}

// fast says whether laps will be faster than stops print ticks, where that can be known.
func (o upOptions) fast() bool {
	return o.maxSpeed || (o.hold > 0 && o.hold < fastPace/time.Duration(o.nodes))
}

// names of the instances, as a pattern; leave no brace for a ring of one.
func (o upOptions) names() string { return "local/" + braces(0, o.nodes-1) }

func (o upOptions) addresses() string {
	return "127.0.0.1:" + braces(o.firstPort, o.firstPort+o.nodes-1)
}

func braces(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("{%d..%d}", first, last)
}

// child is one instance: what it is called, and how it is started.
type child struct {
	name string
	port int
	args []string
	tls  string // directory of its identity, empty without
}

// children lists what to start, each with its data directory under o.data.
// Everything is said by flags, so that
// `ps` shows how to start one by hand.
func (o upOptions) children() ([]child, error) {
	all := make([]child, o.nodes)
	for i := range all {
		c := child{name: fmt.Sprintf("local/%d", i), port: o.firstPort + i}
		c.args = []string{
			"node", "--name", c.name, "--ring", upRing,
			"--roster", o.names(), "--addresses", o.addresses(), "--log-level", "error",
		}
		tell := "story"
		if !o.quiet {
			tell = "story,ticks"
		}
		c.args = append(c.args, "--tell", tell)
		if o.maxSpeed {
			c.args = append(c.args, "--max-speed")
		} else {
			c.args = append(c.args, "--hold", o.hold.String())
		}
		dir := filepath.Join(o.data, strings.ReplaceAll(c.name, "/", "-"))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the instances' data directories: %w", err)
		}
		c.args = append(c.args, "--data", dir)
		if !o.insecure {
			c.tls = filepath.Join(o.data, "tls", filepath.Base(dir))
			c.args = append(c.args, "--tls", c.tls)
		}
		c.args = append(c.args, o.respawnFlags()...)
		all[i] = c
	}
	return all, nil
}

// respawnFlags have an instance ask for dead ones by askCommand, a good deal sooner than on
// real hosts: whom they ask is on this machine, and has no supervisor above.
func (o upOptions) respawnFlags() []string {
	if !o.respawn {
		return nil
	}
	return []string{
		"--respawn-command", o.binary, "--respawn-command", askCommand, "--respawn-grace", "500ms",
		"--respawn-timeout", "5s", "--respawn-return", "10s", "--respawn-backoff", "500ms",
		"--respawn-limit", "20",
	}
}

// childEnv is the environment of a child: this process's own without what would configure
// an instance, which another one would take for its own, and without systemd's talk with
// this process.
func childEnv(environ []string) []string {
	var kept []string
	for _, pair := range environ {
		switch key, _, _ := strings.Cut(pair, "="); {
		case strings.HasPrefix(key, "RING_"):
		case key == "NOTIFY_SOCKET", key == "WATCHDOG_PID", key == "WATCHDOG_USEC",
			key == "LISTEN_PID", key == "LISTEN_FDS":
		default:
			kept = append(kept, pair)
		}
	}
	return kept
}

// tempPrefix begins the names of directories for data that goes in the end.
const tempPrefix = "ring-up-"

// makeTempData makes such a directory, which is this process's until it calls
// remove or ends.
func makeTempData(parent string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := holdData(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}
