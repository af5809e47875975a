//go:build !windows

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringofservers.dev/enroll"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// certify makes an authority and identities of these instances below dir.
func certify(t *testing.T, dir, ringName string, names ...string) (authority string) {
	t.Helper()
	authority = filepath.Join(dir, "ca")
	a, err := trust.Init(authority, ringName, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		m, err := a.Identity(trust.ID{Role: trust.Instance, Ring: ringName, Name: name}, nil, trust.LifeMin)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, "tls-"+strings.ReplaceAll(name, "/", "-"))
		if err := errors.Join(os.MkdirAll(at, 0o700), trust.WriteDir(at, m)); err != nil {
			t.Fatal(err)
		}
	}
	return authority
}

// A new host runs the one command that invite has printed: it is certified, joins, and from
// then on starts by the file that it has made. A second host cannot use the same one.
func TestInvitedHostJoins(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: starts real processes")
	}
	h := &hosts{t: t, dir: t.TempDir(), first: freePorts(t, 4), nodes: map[string]*hostNode{}}
	authority := certify(t, h.dir, "shop", "n/0", "n/1", "n/2")
	port := h.first
	for i := range 3 {
		name := fmt.Sprint("n/", i)
		text := fmt.Sprintf("ring = \"shop\"\nroster = [\"n/{0..2}\"]\naddresses = \"127.0.0.1:{%d+index}\"\ntls = %q\n", port,
			filepath.Join(h.dir, "tls-"+h.safe(name)))
		if i == 1 {
			text += fmt.Sprintf("authority = %q\ncertificate_life = \"1h\"\n", authority)
		}
		h.startWith(name, h.safe(name), text)
	}
	h.until(port, "whole", allAlive(3))
	h.ask(port+1, exitRefused, "roster", "invite", "n/3") // not in the roster
	h.ask(port, exitDone, "roster", "add", "n/3", fmt.Sprintf("127.0.0.1:%d", port+3), "--yes")
	h.ask(port+1, exitRefused, "roster", "invite", "n/2") // in the ring
	h.ask(port, exitRefused, "roster", "invite", "n/3")   // of one without the authority
	out, _ := h.ask(port+1, exitDone, "roster", "invite", "n/3")
	_, quoted, _ := strings.Cut(out, "--join '")
	invitation, _, ok := strings.Cut(quoted, "'")
	if !ok {
		t.Fatalf("invite prints %q", out)
	}

	data := filepath.Join(h.dir, "new")
	joined := h.run("n/3", "node", "--data", data, "--join", invitation)
	h.until(port+3, "whole with the new one", allAlive(4))
	if text := joined.logged(); !holdsAll(text, []string{"certified as n/3 of ring shop", filepath.Join(data, joinedFile)}) {
		t.Errorf("a new host says\n%s", text)
	}
	if err := joined.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-joined.ended
	other := h.run("n/3", "node", "--data", filepath.Join(h.dir, "other"), "--join", invitation)
	h.end("n/3", exitRefused)
	if text := other.logged(); !strings.Contains(text, "used already") {
		t.Errorf("a second host says\n%s", text)
	}
	h.run("n/3", "node", "--config", filepath.Join(data, joinedFile))
	h.until(port+3, "whole again", allAlive(4))
}

// What --join refuses, and that what it was given before counts.
func TestJoinRefused(t *testing.T) {
	i := &enroll.Invitation{At: []string{"127.0.0.1:1"}, Ring: "shop", Name: "n/3", Key: make([]byte, 64)}
	data := t.TempDir()
	file := filepath.Join(data, joinedFile)
	if err := os.WriteFile(file, joinedSettings(i, &enroll.Welcome{
		Roster: &enroll.Roster{Version: 3, Names: []ring.Name{"n/0", "n/3"}, Addresses: []string{"127.0.0.1:1", "127.0.0.1:2"}, Retired: []int{0}},
		Preset: "wan",
	}, data, filepath.Join(data, identityDir)), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := trust.Init(filepath.Join(t.TempDir(), "ca"), "shop", 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Identity(trust.ID{Role: trust.Instance, Ring: "shop", Name: "n/3"}, nil, trust.LifeMin)
	if err := errors.Join(err, os.Mkdir(filepath.Join(data, identityDir), 0o700),
		trust.WriteDir(filepath.Join(data, identityDir), m)); err != nil {
		t.Fatal(err)
	}
	cmd := newNodeCommand()
	cmd.SetContext(t.Context())
	got, err := joinRing(cmd, data, i.String())
	if err != nil || got != file {
		t.Errorf("joined before: %q, %v", got, err)
	}
	s, err := loadFile(file)
	if err != nil || s.Name != "n/3" || s.Preset != "wan" || len(s.Roster.Retired) != 1 || s.Data != data {
		t.Errorf("the file is read as %+v, %v", s, err)
	}
	other := *i
	other.Name = "n/4"
	for what, c := range map[string]struct{ data, invitation, want string }{
		"without a place":    {"", i.String(), "with --data"},
		"no invitation":      {data, "https://127.0.0.1:1", "no invitation"},
		"no such file":       {data, "@" + filepath.Join(data, "none"), "no such file"},
		"one for other name": {data, other.String(), "give that one another --data"},
	} {
		if _, err := joinRing(cmd, c.data, c.invitation); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
