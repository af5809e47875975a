//go:build linux

package processtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

func TestHalfOfTheRingKilledAtOnce(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 10))
	victims := []int{1, 2, 5, 7, 8}
	for _, i := range victims {
		signal(t, r, i, syscall.SIGKILL)
	}
	live := r.Except(victims...)
	whole(t, r, live)
	laps(t, r, 0, 2)
	for _, i := range victims {
		<-r.Proc(i).Done()
		start(t, r, i)
	}
	whole(t, r, r.All())
	laps(t, r, 0, 2)
}

func TestAllKilledAndRestarted(t *testing.T) {
	t.Parallel()
	r := newRing(t, 5)
	data := t.TempDir()
	up := func() {
		for i := range r.Names {
			start(t, r, i, "--data", filepath.Join(data, fmt.Sprint(i)))
		}
		whole(t, r, r.All())
		await(t, "laps count", func() bool { return status(t, r, 0).Anchored })
	}
	up()
	before := status(t, r, 0)
	for i := range r.Names {
		signal(t, r, i, syscall.SIGKILL)
	}
	for i := range r.Names {
		<-r.Proc(i).Done()
	}
	up()
	after := status(t, r, 0)
	if after.Epoch.Number <= before.Epoch.Number {
		t.Errorf("epoch %+v after %+v: their particle is gone", after.Epoch, before.Epoch)
	}
	if after.Tick <= before.Tick {
		t.Errorf("tick %d after tick %d: it names another lap", after.Tick, before.Tick)
	}
	for i, one := range after.Instances {
		if was := before.Instances[i].Incarnation; one.Incarnation <= was {
			t.Errorf("%s has incarnation %d again, it had %d", one.Name, one.Incarnation, was)
		}
	}
}

func TestSIGTERMIsAGracefulLeave(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 5))
	at := time.Now()
	signal(t, r, 3, syscall.SIGTERM)
	ends(t, r.Proc(3), 0)
	for _, i := range r.Except(3) {
		told(t, r, i, at, "left", r.Names[3])
		if got := status(t, r, i).State(r.Names[3]); got != "left" {
			t.Errorf("%s calls it %s, want left", r.Names[i], got)
		}
	}
	whole(t, r, r.Except(3))
	laps(t, r, 0, 2)
	never(t, r, r.Except(3), at, "died", "")
	start(t, r, 3)
	whole(t, r, r.All())
}

func TestSIGHUPReloadsWhatCanBe(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 3))
	names := append([]string(nil), r.Names...)
	names[2] = "dc1/prod/renamed"
	text := "hold = \"1ms\"\n" + fleet.ConfigText("real", names, r.Addrs)
	if err := os.WriteFile(r.Config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	signal(t, r, 0, syscall.SIGHUP)
	await(t, "the log names what needs a restart", func() bool {
		return contains(r.Proc(0).Output(), "need a restart")
	})
	says(t, r.Proc(0), "roster", "hold")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shorter := false
	_ = r.API.Follow(ctx, r.Addrs[0], func(tick fleet.Tick) {
		// Two of three stops still rest for a third of a second.
		if tick.Held > 0 && tick.Held < 800*time.Millisecond {
			shorter = true
			cancel()
		}
	})
	if !shorter {
		t.Error("laps are held for as long as before")
	}
	if err := os.WriteFile(r.Config, []byte("nonsense ="), 0o644); err != nil {
		t.Fatal(err)
	}
	signal(t, r, 0, syscall.SIGHUP)
	await(t, "the log says that the file is no good", func() bool {
		return contains(r.Proc(0).Output(), filepath.Base(r.Config))
	})
	laps(t, r, 0, 1)
}

func TestStartOrderIsFreeAndItSaysForWhomItWaits(t *testing.T) {
	t.Parallel()
	r := newRing(t, 4)
	begin := time.Now()
	start(t, r, 2)
	told(t, r, 2, begin, "waiting", r.Names[3])
	says(t, r.Proc(2), r.Names[3])
	start(t, r, 1)
	whole(t, r, []int{1, 2})
	start(t, r, 3)
	start(t, r, 0)
	whole(t, r, r.All())
}

func TestDataOfAnotherRing(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	other := r.Config + ".other"
	writeConfig(t, other, "another", r.Names, r.Addrs)
	ends(t, start(t, r, 0, "--data", dir, "--config", other), 1, dir, "another", "real")
}

// What is remembered of instances is remembered by their place in the roster.
func TestDataOfAnotherRoster(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	for name, names := range map[string][]string{
		"turned round": {r.Names[1], r.Names[0]},
		"shorter":      {r.Names[0]},
		"one in front": {"new", r.Names[0], r.Names[1]},
	} {
		file := r.Config + "." + strings.ReplaceAll(name, " ", "-")
		addrs := append(slices.Clone(r.Addrs), "127.0.0.1:1")[:len(names)]
		writeConfig(t, file, "real", names, addrs)
		ends(t, start(t, r, 0, "--data", dir, "--config", file), 1, dir, "another roster",
			"go back to that roster")
	}
	longer := r.Config + ".longer"
	writeConfig(t, longer, "real", append(slices.Clone(r.Names), "new"),
		append(slices.Clone(r.Addrs), "127.0.0.1:1"))
	start(t, r, 0, "--data", dir, "--config", longer)
	ready(t, r, 0)
}

func TestDataOfAnotherInstance(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	ends(t, start(t, r, 1, "--data", dir), 1, dir, r.Names[0], r.Names[1])
}

func TestTornDataFile(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	edit(t, dir, func(b []byte) []byte { return b[:len(b)/2] })
	ends(t, start(t, r, 0, "--data", dir), 1, dir, "damaged")
	edit(t, dir, func(b []byte) []byte { return nil })
	ends(t, start(t, r, 0, "--data", dir), 1, dir, "damaged")
}

func TestTornNextDataFileIsNothing(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	if err := os.WriteFile(filepath.Join(dir, "state.new"), []byte("RINGDA"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, r, 0, "--data", dir)
	laps(t, r, ready(t, r, 0), 1)
}

func TestForeignDataFile(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	edit(t, dir, func([]byte) []byte { return []byte("#!/bin/sh\necho something else altogether\n") })
	ends(t, start(t, r, 0, "--data", dir), 1, dir)
}

func TestNewerDataFile(t *testing.T) {
	t.Parallel()
	r, dir := withData(t)
	edit(t, dir, func(b []byte) []byte {
		body := b[:len(b)-4]
		binary.BigEndian.PutUint16(body[8:], 999)
		sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
		return binary.BigEndian.AppendUint32(body, sum)
	})
	ends(t, start(t, r, 0, "--data", dir), 1, dir, "newer")
}

// withData is a ring of two whose first instance, alone, has left a data
// directory behind.
func withData(t *testing.T) (*fleet.Ring, string) {
	t.Helper()
	r, dir := newRing(t, 2), filepath.Join(t.TempDir(), "data")
	p := start(t, r, 0, "--data", dir)
	laps(t, r, ready(t, r, 0), 1)
	p.Kill()
	return r, dir
}

// ready waits until instance i answers, and returns i.
func ready(t *testing.T, r *fleet.Ring, i int) int {
	t.Helper()
	await(t, r.Names[i]+" answers", func() bool {
		_, err := r.API.Status(r.Addrs[i])
		return err == nil
	})
	return i
}

// edit changes the data file.
func edit(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, "state")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDiskFullAtStart(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	fill(t, dir)
	r := newRing(t, 2)
	ends(t, start(t, r, 0, "--data", filepath.Join(dir, "data")), 1, dir, "space")
}

// An instance that can no longer write down the epoch may not let the
// particle pass: it goes, says why, and the ring closes round it.
func TestDiskFullWhileRunning(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	r := newRing(t, 3)
	start(t, r, 0)
	start(t, r, 1, "--data", filepath.Join(dir, "data"))
	start(t, r, 2)
	whole(t, r, r.All())
	fill(t, dir)
	// Cut while it stood still, it must come back under a new incarnation, which
	// the full disk cannot keep.
	at := time.Now()
	signal(t, r, 1, syscall.SIGSTOP)
	told(t, r, 0, at, "died", r.Names[1])
	signal(t, r, 1, syscall.SIGCONT)
	ends(t, r.Proc(1), 1, dir, "space")
	whole(t, r, r.Except(1))
	laps(t, r, 0, 2)
}

// smallDisk is a directory on a file system of its own, of 1 MiB: room for what
// an instance keeps when it starts, twice.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		skipLoudly(t, fmt.Errorf("a small file system needs root"))
	}
	dir := t.TempDir()
	cmd := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "ringb", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		// Registered before the ring's own: the instances are still there.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no byte free.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "rubbish"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// Nothing that instances tell each other may depend on a clock. A process's
// wall clock cannot be set apart from the machine's, but in a time namespace
// its monotonic clock, which times everything, can be ages from the others'.
func TestClockSetBackBetweenTwoLives(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skipLoudly(t, fmt.Errorf("time namespaces need root"))
	}
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		skipLoudly(t, err)
	}
	r := newRing(t, 3)
	data := filepath.Join(t.TempDir(), "data")
	clock := func(ahead string) {
		p, err := r.Group.Start(fleet.Spec{Name: "clock " + ahead, Path: "unshare", Args: []string{
			"--time", "--monotonic", ahead, "--boottime", ahead, "--fork", "--kill-child",
			program, "node", "--name", r.Names[1], "--config", r.Config, "--data", data,
		}})
		if err != nil {
			t.Fatal(err)
		}
		whole(t, r, r.All())
		laps(t, r, 1, 2)
		p.Kill()
		whole(t, r, r.Except(1))
	}
	start(t, r, 0)
	start(t, r, 2)
	clock("100000000") // three years ahead
	before := status(t, r, 0).Instances[1].Incarnation
	clock("0") // and back
	if after := status(t, r, 0).Instances[1].Incarnation; after <= before {
		t.Errorf("incarnation %d behind %d", after, before)
	}
}
