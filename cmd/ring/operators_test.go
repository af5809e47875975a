//go:build !windows

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/trust"
)

// Real instances with TLS, whose own host may nothing: a token that one made counts at the
// others, operators have the roles of their certificates, who shows nothing is told what to
// show, and the log says who did what.
func TestOperatorsOfInstancesWithTLS(t *testing.T) {
	dir := t.TempDir()
	a, err := trust.Init(filepath.Join(dir, "ca"), "ring", 0)
	if err != nil {
		t.Fatal(err)
	}
	identity := func(name string, role trust.Role) string {
		t.Helper()
		at := filepath.Join(dir, name)
		m, err := a.Identity(trust.ID{Role: role, Ring: "ring", Name: name}, nil, time.Hour)
		if err == nil {
			if err = os.Mkdir(at, 0o700); err == nil {
				err = trust.WriteDir(at, m)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	alice, bob := identity("alice", trust.Admin), identity("bob", trust.Read)
	first, socket := freePorts(t, 3), filepath.Join(dir, "s")
	var logs []<-chan string
	addr := func(k int) string { return fmt.Sprintf("127.0.0.1:%d", first+k) }
	for k := range 3 {
		args := []string{
			"node", "--name", fmt.Sprintf("n%d", k), "--roster", "n{0..2}", "--addresses",
			fmt.Sprintf("127.0.0.1:{%d+index}", first), "--tls", identity(fmt.Sprintf("n%d", k), trust.Instance),
			"--loopback-role", "none", "--log-format", "json",
		}
		if k == 0 {
			args = append(args, "--socket", socket)
		}
		_, lines := startNode(t, "", args...)
		logs = append(logs, lines)
	}
	awaitCommand := func(args ...string) {
		t.Helper()
		late, look := time.After(upPatience), time.NewTicker(20*time.Millisecond)
		defer look.Stop()
		var said strings.Builder
		for run(args, io.Discard, &said) != exitDone {
			select {
			case <-look.C:
				said.Reset()
			case <-late:
				t.Fatalf("ring %q: not within %v: %s", args, upPatience, &said)
			}
		}
	}
	awaitCommand("bus", "set", "k", "v", "--addr", "unix://"+socket)
	awaitLine(t, logs[0], `"msg":"audit"`, `"via":"socket"`, `"path":"/v1/bus/keys/k","status":200`)

	made, _ := command(t, addr(1), exitDone, "token", "create", "ci", "--role", "admin", "--cert", alice)
	awaitLine(t, logs[1], `"msg":"audit","who":"alice","role":"admin","via":"certificate"`, `"path":"/v1/tokens/ci"`)
	token := strings.TrimSpace(made)
	ca := filepath.Join(alice, "ca.pem")
	awaitCommand("bus", "set", "k", "w", "--addr", addr(2), "--ca", ca, "--token", token)
	awaitLine(t, logs[2], `"msg":"audit","who":"ci","role":"admin","via":"token"`, `"path":"/v1/bus/keys/k"`)

	for _, c := range []struct {
		code int
		said string
		args []string
	}{
		{exitDone, "", []string{"status", "--addr", addr(0), "--cert", bob}},
		{exitRefused, "certificate bob has the role read", []string{"bus", "set", "k", "x", "--addr", addr(0), "--cert", bob}},
		{exitRefused, "shown nothing: give a token", []string{"status", "--addr", addr(0)}}, // in the clear, on this host
		{exitRefused, "shown nothing: give a token", []string{"status", "--addr", addr(0), "--ca", ca}},
		{exitRefused, "not known here", []string{"status", "--addr", addr(0), "--ca", ca, "--token", token + "x"}},
	} {
		var out, said strings.Builder
		if code := run(c.args, &out, &said); code != c.code || !strings.Contains(said.String(), c.said) {
			t.Errorf("ring %q: exit code %d, want %d; said %q, want %q", c.args, code, c.code, &said, c.said)
		}
	}

	command(t, "unix://"+socket, exitDone, "token", "revoke", "ci")
	late, look := time.After(upPatience), time.NewTicker(10*time.Millisecond)
	defer look.Stop()
	for k := range 3 {
		for run([]string{"status", "--addr", addr(k), "--ca", ca, "--token", token}, io.Discard, io.Discard) != exitRefused {
			select {
			case <-look.C:
			case <-late:
				t.Fatalf("instance %d takes a token that was revoked", k)
			}
		}
	}
}
