//go:build !windows

package main

import (
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// Who is dead in a running fleet is dead in the figures too.
func TestOverlayOfARunningFleet(t *testing.T) {
	l := startUp(t, 12, "--hold", "5ms", "--quiet")
	l.await(0, "the ring is 12 of 12 alive")
	l.signal(syscall.SIGSTOP, 5)
	defer l.signal(syscall.SIGCONT, 5)
	late := time.After(upPatience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for l.status().Instances[5].State != ring.Dead {
		select {
		case <-look.C:
		case <-late:
			t.Fatal("the stopped one is not dead")
		}
	}
	var d overlayDocument
	if err := json.Unmarshal([]byte(l.ask(0, exitDone, "overlay", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Nodes != 12 || d.Degree != 6 || d.Killed == nil || len(d.Killed.Names) != 1 ||
		d.Killed.Names[0] != "local/5" || d.Killed.Healed.Nodes != 11 || d.Killed.Healed.Parts != 1 {
		t.Errorf("%+v, killed %+v", d, d.Killed)
	}
	// With another degree it is what if.
	out := l.ask(0, exitDone, "overlay", "--json", "--degree", "4")
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	if d.Degree != 4 || d.Connectivity != 4 {
		t.Errorf("with four links: %+v", d)
	}
}
