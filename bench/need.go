package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// packages are the Debian packages that programs come from which experiments need.
var packages = map[string]string{
	"ip": "iproute2", "nft": "nftables", "corosync": "corosync", "etcd": "etcd-server",
	"node": "nodejs", "nats-server": "nats-server",
	"gcc": "gcc", "nsenter": "util-linux",
}

// need returns when these programs are there. Root has the missing ones installed where
// that can be done, and is told so: a measurement of hours should not end for want of one.
func (b *bench) need(programs ...string) error {
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, packages[program])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	install := "apt-get install " + strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("programs are missing: %s", install)
	}
	fmt.Fprintln(os.Stderr, "bench: "+install)
	for _, args := range [][]string{
		{"update", "-qq"},
		append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(b.ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: apt-get %s: %w\n%s", install, args[0], err, tail(string(out)))
		}
	}
	return nil
}
