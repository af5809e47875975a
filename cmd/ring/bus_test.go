//go:build !windows

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
			if v.Role == "voter" && v.Revision == s.Revision {
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

	l.ask(2, exitUsage, "bus", "restore", file) // wants --yes
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
