//go:build !windows

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// ask runs a command against instance k and wants an exit code.
func (l *localRing) ask(k, code int, args ...string) (stdout string) {
	l.t.Helper()
	var out, err strings.Builder
	args = append(args, "--addr", "127.0.0.1:"+strconv.Itoa(l.first+k))
	if got := run(args, &out, &err); got != code {
		l.t.Fatalf("ring %q: exit code %d, want %d\n%s%s", args, got, code, &out, &err)
	}
	return out.String()
}

// bus is what instance k shows of the bus.
func (l *localRing) bus(k int) (s ring.BusStatus) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.ask(k, exitDone, "bus", "status", "--json")), &s); err != nil {
		l.t.Fatal(err)
	}
	return s
}

// until looks at instance k until it is so.
func (l *localRing) until(k int, what string, ok func(ring.BusStatus) bool) ring.BusStatus {
	l.t.Helper()
	late := time.After(upPatience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		s := l.bus(k)
		if ok(s) {
			return s
		}
		select {
		case <-look.C:
		case <-late:
			l.t.Fatalf("instance %d: not %s within %v: %+v", k, what, upPatience, s)
		}
	}
}

// signal sends s to the processes of these instances, as instance 0 knows them.
func (l *localRing) signal(s syscall.Signal, instances ...int) {
	l.t.Helper()
	all := l.status().Instances
	for _, k := range instances {
		p, err := os.FindProcess(int(all[k].PID))
		if err == nil {
			err = p.Signal(s)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func votersAre(n int) func(ring.BusStatus) bool {
	return func(s ring.BusStatus) bool {
		voting := 0
		for _, v := range s.Voters {
			if v.Role == "voter" && v.Revision != nil && *v.Revision == s.Revision {
				voting++
			}
		}
		return s.Quorum && s.Leader != "" && voting == n
	}
}

// S1: what is agreed on is the same everywhere, conditions hold, a minority
// refuses, and an operator can go on from what is left.
func TestBusOfThree(t *testing.T) {
	l := startUp(t, 3, "--hold", "20ms", "--quiet")
	l.await(0, "the ring is 3 of 3 alive")
	for k := range 3 {
		l.until(k, "led by somebody, with three voters", votersAre(3))
	}

	first := strings.TrimSpace(l.ask(0, exitDone, "bus", "set", "a/key", "one"))
	for k := range 3 {
		if got := l.ask(k, exitDone, "bus", "get", "a/key"); got != "one" {
			t.Errorf("instance %d has %q, want one", k, got)
		}
	}
	l.ask(1, exitFalse, "bus", "set", "a/key", "two", "--if-revision", "0")
	second := strings.TrimSpace(l.ask(1, exitDone, "bus", "set", "a/key", "two", "--if-revision", first))
	l.ask(2, exitFalse, "bus", "set", "a/key", "three", "--if-revision", first)
	l.ask(2, exitFalse, "bus", "del", "a/key", "--if-revision", first)
	l.ask(2, exitFalse, "bus", "get", "a/other")
	l.ask(0, exitDone, "bus", "set", "../odd//key%", "odd", "--if-revision", "0")
	if got := l.ask(2, exitDone, "bus", "get", "../odd//key%"); got != "odd" {
		t.Errorf("a key like a path has %q, want odd", got)
	}
	if got := l.ask(2, exitDone, "bus", "list", "a/"); !holdsAll(got, []string{"a/key", second, `"two"`}) {
		t.Errorf("list shows %q", got)
	}
	l.ask(0, exitRefused, "bus", "recover", "--yes") // a quorum is alive

	file := filepath.Join(t.TempDir(), "backup")
	l.ask(1, exitDone, "bus", "backup", file)
	l.ask(0, exitDone, "bus", "del", "a/key")
	before := l.bus(0)

	// Two of three do not answer: reads and writes are refused, what is here is
	// shown, and a new history goes on.
	l.signal(syscall.SIGSTOP, 1, 2)
	resumed := false
	defer func() {
		if !resumed {
			l.signal(syscall.SIGCONT, 1, 2)
		}
	}()
	l.until(0, "without a quorum", func(s ring.BusStatus) bool { return !s.Quorum })
	if got := l.ask(0, exitDone, "bus", "status"); strings.Contains(got, "led by") ||
		strings.Contains(got, "leads") || !strings.HasPrefix(got, "NO QUORUM") {
		t.Errorf("without a quorum bus status shows\n%s", got)
	}
	l.ask(0, exitRefused, "bus", "set", "a/key", "minority")
	l.ask(0, exitRefused, "bus", "get", "../odd//key%")
	if got := l.ask(0, exitDone, "bus", "get", "../odd//key%", "--local"); got != "odd" {
		t.Errorf("here there is %q, want odd", got)
	}
	plan := l.ask(0, exitUsage, "bus", "recover")
	if !holdsAll(plan, []string{"given up", "lost voter local/1", "epoch      leaps", "fences     leap"}) {
		t.Errorf("what recover would do: %q", plan)
	}
	if s := l.bus(0); s.History != before.History {
		t.Errorf("recover without --yes has begun history %s", s.History)
	}
	l.ask(0, exitDone, "bus", "recover", "--yes")
	after := l.until(0, "led", func(s ring.BusStatus) bool { return s.Leader != "" })
	if after.History == before.History || after.Era <= before.Era ||
		after.Epoch < before.Epoch+ring.LeapEpoch || after.Fence < before.Fence+ring.LeapFence {
		t.Errorf("recover led from %+v to %+v", before, after)
	}
	l.ask(0, exitDone, "bus", "set", "a/key", "recovered")

	l.signal(syscall.SIGCONT, 1, 2)
	resumed = true
	for k := range 3 {
		l.until(k, "of the new history, with three voters", func(s ring.BusStatus) bool {
			return s.History == after.History && votersAre(3)(s)
		})
		if got := l.ask(k, exitDone, "bus", "get", "a/key"); got != "recovered" {
			t.Errorf("instance %d has %q, want recovered", k, got)
		}
	}

	plan = l.ask(2, exitUsage, "bus", "restore", file) // wants --yes
	if !holdsAll(plan, []string{
		"backup     of ring local: revision ", before.History[:8], ", 2 keys\n",
		" UTC at local/1\n", "in favour of 2 keys in " + file,
	}) {
		t.Errorf("what restore would do: %q", plan)
	}
	l.ask(2, exitDone, "bus", "restore", file, "--yes")
	restored := l.bus(2)
	for k := range 3 {
		l.until(k, "of the restored history", func(s ring.BusStatus) bool {
			return s.History == restored.History && votersAre(3)(s)
		})
		if got := l.ask(k, exitDone, "bus", "get", "a/key"); got != "two" {
			t.Errorf("instance %d has %q, want two, as backed up", k, got)
		}
	}
	if restored.Epoch < after.Epoch || restored.Fence < after.Fence {
		t.Errorf("restore went back from %+v to %+v", after, restored)
	}
}

// P3: six of eleven die at once, most voters and their leader among them. The
// others say that laps do not count; once the six are back, ticks go on upwards.
func TestUpLosesMostAndGoesOn(t *testing.T) {
	l := startUp(t, 11, "--hold", "5ms")
	l.await(0, "the ring is 11 of 11 alive")
	l.await(0, "11 of 11 alive", "anchored, tick")
	before := l.until(0, "led, with seven voters", votersAre(7))

	all := l.status().Instances
	index := func(name ring.Name) int {
		return slices.IndexFunc(all, func(i ring.Instance) bool { return i.Name == name })
	}
	victims := []int{index(before.Leader)}
	for _, v := range before.Voters {
		if i := index(v.Name); len(victims) < 6 && !slices.Contains(victims, i) {
			victims = append(victims, i)
		}
	}
	survivor := 0
	for slices.Contains(victims, survivor) {
		survivor++
	}
	seen := len(l.ask(survivor, exitDone, "events", "--json"))
	last := l.status().Tick
	from := len(l.printed())
	l.signal(syscall.SIGKILL, victims...)

	l.until(survivor, "led again by a quorum", func(s ring.BusStatus) bool {
		return s.Leader != "" && s.Quorum && s.Revision > before.Revision
	})
	l.await(from, "11 of 11 alive", "anchored, tick")
	// That was the first of them to say so; the survivor does with its next lap.
	for end := time.Now().Add(upPatience); ; {
		story := l.ask(survivor, exitDone, "events", "--json")[seen:]
		if _, after, ok := strings.Cut(story, `"kind":"unanchored"`); ok &&
			strings.Contains(after, `"kind":"anchored"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("instance %d did not tell that laps count no more, and then again:\n%s",
				survivor, story)
		}
	}
	after := l.until(0, "whole", votersAre(7))
	if after.History != before.History {
		t.Errorf("the bus began anew, as %s after %s", after.History, before.History)
	}
	if s := l.status(); s.Tick <= last || !s.Anchored {
		t.Errorf("tick %d (anchored: %v) after tick %d", s.Tick, s.Anchored, last)
	}
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	l.freed()
	left, err := filepath.Glob(filepath.Join(l.temp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("ring up left %q behind, %v", left, err)
	}
}

// inProcess serves a ring of one in this process, with one key, and returns it with
// where it is. With blank, it is one of three whom nobody has met, and so knows no history.
func inProcess(t *testing.T, name string, blank bool) (*ring.Ring, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := ring.Config{Ring: name, Name: "a", Listener: listener, MaxSpeed: true, Roster: ring.Roster{
		Names: []ring.Name{"a"}, Addresses: []string{listener.Addr().String()},
	}}
	if blank {
		cfg.Roster.Names = append(cfg.Roster.Names, "b", "c")
		cfg.Roster.Addresses = append(cfg.Roster.Addresses, "127.0.0.1:1", "127.0.0.1:2")
	}
	r, err := ring.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	server := httptest.NewServer(admin.New(r, admin.Options{}))
	t.Cleanup(server.Close)
	if blank {
		return r, server.URL
	}
	ctx, cancel := context.WithTimeout(t.Context(), upPatience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		_, err := r.Bus().Set(ctx, "key", []byte("x"))
		if err == nil {
			return r, server.URL
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// command runs one that asks the instance at addr, and wants an exit code.
func command(t *testing.T, addr string, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	if got := run(append(args, "--addr", addr), &out, &errs); got != code {
		t.Errorf("ring %q: exit code %d, want %d\n%s%s", args, got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// A dry run tells what is in the file; what must not be restored is refused by it, and
// so it is with --yes.
func TestRestoreLooksAtTheFile(t *testing.T) {
	r, addr := inProcess(t, "shop", false)
	file := filepath.Join(t.TempDir(), "backup")
	made, _ := command(t, addr, exitDone, "bus", "backup", file, "--json")
	var backup backupMade
	if err := json.Unmarshal([]byte(made), &backup); err != nil {
		t.Fatal(err)
	}
	history := r.Bus().Status().History
	if backup.Ring != "shop" || backup.History != history || backup.Keys != 1 || backup.Instance != "a" {
		t.Errorf("backup --json says %s", made)
	}
	plan, _ := command(t, addr, exitUsage, "bus", "restore", file)
	if !holdsAll(plan, []string{
		fmt.Sprintf("backup     of ring shop: revision %d of history %s, 1 key\n",
			backup.Revision, history[:8]),
		"taken      " + backup.Taken.UTC().Format("2006-01-02 15:04:05 UTC") + " at a\n",
		"given up   1 key that the bus has, in favour of 1 key in " + file,
	}) {
		t.Errorf("what restore would do:\n%s", plan)
	}
	planned, _ := command(t, addr, exitUsage, "bus", "restore", file, "--json")
	var would renewal
	if err := json.Unmarshal([]byte(planned), &would); err != nil || would.Done ||
		would.Backup == nil || would.Backup.Revision != backup.Revision {
		t.Errorf("what restore --json would do (%v):\n%s", err, planned)
	}
	_, other := inProcess(t, "bank", false)
	foreign, damaged := file+".bank", file+".damaged"
	command(t, other, exitDone, "bus", "backup", foreign)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(damaged, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, why := range map[string]string{
		foreign: "of ring bank, and this is ring shop", damaged: "it is damaged",
		"bus_test.go": "no backup of a bus",
	} {
		for _, yes := range []string{"--yes=false", "--yes"} {
			out, err := command(t, addr, exitRefused, "bus", "restore", file, yes)
			if out != "" || !holdsAll(err, []string{file + ": ", why}) {
				t.Errorf("restore %s %s says %q and %q, want why: %s", file, yes, out, err, why)
			}
		}
	}
	if now := r.Bus().Status().History; now != history {
		t.Errorf("what was refused began history %s", now)
	}
	command(t, addr, exitDone, "bus", "restore", file, "--yes")
	if r.Bus().Status().History == history {
		t.Error("restore --yes began no history")
	}
}

func TestNoBackupOfNothing(t *testing.T) {
	_, addr := inProcess(t, "shop", true)
	file := filepath.Join(t.TempDir(), "backup")
	out, err := command(t, addr, exitFalse, "bus", "backup", file)
	if out != "" || !strings.Contains(err, "a has no history of the bus yet") {
		t.Errorf("backup says %q and %q", out, err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("backup wrote a file of nothing: %v", err)
	}
	command(t, addr, exitRefused, "bus", "recover")
}

// What is not known looks like nothing that is, and nobody leads without a quorum.
func TestBusStatusOfWhatIsNotKnown(t *testing.T) {
	seven, none := uint64(7), uint64(0)
	s := ring.BusStatus{
		Self: "a", History: "0123456789", Leader: "a", Term: 2, Quorum: true, Revision: 7,
		Voters: []ring.BusVoter{
			{Name: "a", ID: "0.1", Role: "voter", State: ring.Alive, Revision: &seven, Lag: &none},
			{Name: "b", ID: "1.1", Role: "voter", State: ring.Dead},
		},
	}
	show := func() []string {
		var out strings.Builder
		if err := printBusStatus(&out, s); err != nil {
			t.Fatal(err)
		}
		return strings.Split(out.String(), "\n")
	}
	lines := show()
	if want := "a quorum is alive · led by a in term 2"; lines[0] != want {
		t.Errorf("begins %q, want %q", lines[0], want)
	}
	if a, b := strings.Fields(lines[5]), strings.Fields(lines[6]); a[5] != "7" || a[6] != "0" ||
		b[4] != "–" || b[5] != "–" {
		t.Errorf("shows %q and %q, want the revision and lag of a alone", a, b)
	}
	s.Quorum = false
	if text := strings.Join(show(), "\n"); !strings.HasPrefix(text, "NO QUORUM") ||
		strings.Contains(text, "led by") || strings.Contains(text, "leads") {
		t.Errorf("without a quorum it shows\n%s", text)
	}
	s.Quorum, s.Leader = true, ""
	if got, want := show()[0], "a quorum is alive · nobody leads"; got != want {
		t.Errorf("begins %q, want %q", got, want)
	}
	text, err := json.Marshal(s.Voters[1])
	if err != nil || !holdsAll(string(text), []string{`"revision":null`, `"lag":null`}) {
		t.Errorf("one that is not heard from is %s, %v", text, err)
	}
}
