package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ringofservers.dev/internal/fleet"
)

// corosyncSystem is n corosync processes of the Debian package with its defaults,
// but for what asRun says: one network namespace each (it has abstract sockets) and a
// mount namespace each (it has fixed paths).
type corosyncSystem struct {
	story
	b     *bench
	net   *fleet.Net
	token time.Duration // 0: the default
	dir   string
	procs []*fleet.Proc
	views []int // membership changes printed so far
}

// asRun says in tables how it differs from the package's defaults: at real-time
// priority eleven of them starve a machine of two cores.
const asRun = "corosync (sched_rr: no)"

// members is the line that every membership change ends with.
var members = regexp.MustCompile(`\[QUORUM\] Members\[\d+\]:((?: \d+)*)`)

func newCorosyncSystem(b *bench, net *fleet.Net, n int, token time.Duration) (
	*corosyncSystem, error,
) {
	if err := b.need("corosync"); err != nil {
		return nil, fmt.Errorf("%w (or give --corosync=false)", err)
	}
	dir, err := os.MkdirTemp(b.dir, "corosync")
	if err != nil {
		return nil, err
	}
	c := &corosyncSystem{
		b: b, net: net, token: token, dir: dir,
		procs: make([]*fleet.Proc, n), views: make([]int, n),
	}
	c.said = make([][]said, n)
	return c, os.WriteFile(c.conf(), []byte(c.confText()), 0o644)
}

func (c *corosyncSystem) conf() string { return filepath.Join(c.dir, "corosync.conf") }

func (c *corosyncSystem) confText() string {
	var s strings.Builder
	s.WriteString("totem {\n  version: 2\n  cluster_name: bench\n  transport: knet\n" +
		"  crypto_cipher: none\n  crypto_hash: none\n")
	if c.token > 0 {
		fmt.Fprintf(&s, "  token: %d\n  token_coefficient: 0\n", c.token.Milliseconds())
	}
	s.WriteString("}\n")
	s.WriteString("logging {\n  to_stderr: yes\n  to_logfile: no\n" +
		"  to_syslog: no\n  timestamp: off\n}\n")
	s.WriteString("system {\n  sched_rr: no\n}\nquorum {\n  provider: corosync_votequorum\n}\n")
	s.WriteString("nodelist {\n")
	for i := range c.procs {
		fmt.Fprintf(&s, "  node {\n    ring0_addr: %s\n    name: n%d\n    nodeid: %d\n  }\n",
			c.net.Addr(i), i+1, i+1)
	}
	s.WriteString("}\n")
	return s.String()
}

func (c *corosyncSystem) start() error {
	for i := range c.procs {
		if err := c.restart(i); err != nil {
			return err
		}
	}
	return awaitAll(c, len(c.procs), 90*time.Second)
}

func (c *corosyncSystem) restart(i int) error {
	mounts := "set -e; mount --make-rprivate /; for d in /var/lib/corosync /run /dev/shm; " +
		"do mkdir -p $d; mount -t tmpfs tmpfs $d; done; mkdir -p /run/corosync; " +
		"exec corosync -f -c " + c.conf()
	p, err := c.b.group.Start(fleet.Spec{
		Name: fmt.Sprintf("corosync %d", i), Path: "unshare", Netns: c.net.Namespace(i),
		Args: []string{"-m", "sh", "-c", mounts},
		Line: func(at time.Time, line string) { c.heard(i, at, line) },
	})
	c.procs[i] = p
	return err
}

// heard takes in a line of member i: who is in its membership now.
func (c *corosyncSystem) heard(i int, at time.Time, line string) {
	m := members.FindStringSubmatch(line)
	if m == nil {
		return
	}
	in := map[int]bool{}
	for _, id := range strings.Fields(m[1]) {
		k, _ := strconv.Atoi(id)
		in[k-1] = true
	}
	for k := range c.procs {
		c.add(i, said{at, in[k], k})
	}
	c.mu.Lock()
	c.views[i]++
	c.mu.Unlock()
}

// changes is how many membership changes member i has printed.
func (c *corosyncSystem) changes(i int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.views[i]
}

func (c *corosyncSystem) proc(i int) *fleet.Proc { return c.procs[i] }

func (c *corosyncSystem) logs() string {
	out := ""
	for _, p := range c.procs {
		if p != nil {
			out += p.Spec.Name + "\n" + p.Output() + "\n"
		}
	}
	return out
}
