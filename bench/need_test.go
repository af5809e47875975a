package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is missing is installed by root where there is apt-get, and else named.
func TestNeed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	b := &bench{ctx: t.Context()}
	err := b.need("ip", "corosync")
	if err == nil || !strings.Contains(err.Error(), "apt-get install iproute2 corosync") {
		t.Errorf("without apt-get: %v", err)
	}
	log := filepath.Join(dir, "log")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("ip", "")
	write("apt-get", `echo "$@" >> `+log)
	err = b.need("ip", "corosync")
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "apt-get install corosync") {
			t.Errorf("for a user: %v", err)
		}
		return
	}
	said, _ := os.ReadFile(log)
	const want = "update -qq\ninstall -y -qq --no-install-recommends corosync\n"
	if err != nil || string(said) != want {
		t.Errorf("as root: %v, apt-get was asked for\n%s", err, said)
	}
	write("apt-get", "echo no such package; exit 100")
	if err := b.need("corosync"); err == nil || !strings.Contains(err.Error(), "no such package") {
		t.Errorf("what apt-get says is lost: %v", err)
	}
}
