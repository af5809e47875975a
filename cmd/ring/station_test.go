//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/station"
)

const stationTables = oneInstance + `on_tick = "./tick"

[[station]]
topic = "news"
command = ["sed", "-u", "s/foo/bar/"]

[[station]]
topic = "load"
command = ["./load"]
format = "json"
hold = "20ms"
`

func TestStationSettings(t *testing.T) {
	withoutSettings(t)
	file := written(t, stationTables)
	s, err := loaded(t, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	want := []stationSetting{
		{Topic: "news", Command: []string{"sed", "-u", "s/foo/bar/"}},
		{Topic: "load", Command: []string{"./load"}, Format: station.JSON, Hold: 20 * time.Millisecond},
	}
	if !reflect.DeepEqual(s.Stations, want) || s.OnTick != "./tick" {
		t.Errorf("stations %+v, on_tick %q", s.Stations, s.OnTick)
	}
	other := s
	other.Stations, other.OnTick = s.Stations[:1], ""
	if changed, fixed := difference(s, other); len(changed) > 0 || !slices.Equal(fixed, []string{"station", "on_tick"}) {
		t.Errorf("with one station less, changed %v, fixed %v", changed, fixed)
	}

	// A later place says all of them.
	t.Setenv("RING_STATION", "a=cat\nb=tr = _\n")
	t.Setenv("RING_ON_TICK", "")
	s, err = loaded(t, "--config", file)
	want = []stationSetting{
		{Topic: "a", Command: []string{"sh", "-c", "cat"}},
		{Topic: "b", Command: []string{"sh", "-c", "tr = _"}},
	}
	if err != nil || !reflect.DeepEqual(s.Stations, want) || s.OnTick != "./tick" {
		t.Errorf("stations %+v, on_tick %q, %v", s.Stations, s.OnTick, err)
	}
	s, err = loaded(t, "--config", file, "--station", "c=x 1,2", "--station", "d=y", "--on-tick", "./tock $RING_TICK")
	if err != nil || len(s.Stations) != 2 || s.Stations[0].Command[2] != "x 1,2" || s.OnTick != "./tock $RING_TICK" {
		t.Errorf("stations %+v, on_tick %q, %v", s.Stations, s.OnTick, err)
	}
}

// Each fault is told where it is.
func TestStationSettingsThatAreWrong(t *testing.T) {
	withoutSettings(t)
	for text, want := range map[string]string{
		"[station]\ntopic = \"x\"\n":                                         "write [[station]]",
		"station = \"news=cat\"\n":                                           ":4:11: station: want tables, here is a string: write [[station]]",
		"[[station]]\ntopic = 3\n":                                           ":5:9: station.topic: want a string, here is a whole number",
		"[[station]]\ntpic = \"x\"\n":                                        ":5:1: key station.tpic is unknown",
		"[[station]]\ntopic = \"x\"\ncommand = \"cat\"\n":                    ":6:11: station.command: want a list of strings",
		"[[station]]\ntopic = \"x\"\nhold = \"1us\"\n":                       ":6:8: station.hold: 1µs is no time to hold the particle for: give 1ms or more",
		"[[station]]\ntopic = \"x\"\ncommand = [\"x\"]\nhold = \"1h\"\n":     ":7:8: station.hold: 1h0m0s is too long",
		"[[station]]\ntopic = \"x\"\nhold = \"0s\"\n":                        ":6:8: station.hold: 0s is not above zero",
		"[[station]]\ntopic = \"x\"\nformat = \"xml\"\n":                     `:6:10: station.format: "xml" is unknown`,
		"[[station]]\ntopic = \"x\"\n":                                       ":5:1: station: command is missing",
		"[[station]]\ncommand = [\"cat\"]\n":                                 ":5:1: station: topic is missing",
		strings.Repeat("[[station]]\ntopic = \"x\"\ncommand = [\"x\"]\n", 2): `:8:9: station.topic: topic "x" is there twice`,
		"on_tick = [\"./tick\"]\n":                                           ":4:11: on_tick: want a string, here is a list of strings",
	} {
		_, err := loaded(t, "--config", written(t, oneInstance+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A command at ticks knows which tick it is, and nothing of it outlives the instance, even
// if that is killed.
func TestNodeOnTick(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	cmd, lines := startNode(t, "X=y", "node", "--name", "solo", "--roster", "solo", "--addresses", addr,
		"--max-speed", "--on-tick", `echo "tick $RING_TICK epoch $RING_EPOCH lap $RING_LAP of $RING_INSTANCE `+
			`at $RING_ADDR, skipped $RING_TICKS_SKIPPED, X=$X" >&2`)
	awaitLine(t, lines, "tick ", "of solo at "+addr, "skipped 0, X=y")
	awaitLine(t, lines, "tick ", "of solo at "+addr)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "msg=left")
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit code 0", err)
	}

	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd, lines = startNode(t, "X=y", "node", "--name", "solo", "--roster", "solo", "--addresses", addr,
		"--on-tick", fmt.Sprintf(`echo $$ >%s; echo up >&2; sleep 1000`, pidFile))
	awaitLine(t, lines, "up")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	for begin := time.Now(); syscall.Kill(-pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > upPatience {
			t.Fatalf("the command's group %d outlives its instance", pid)
		}
	}
}

// What rides past an instance goes through its filter; and its filter ends with it. That one
// filter has no work, or does not run, is no failure of a lap's.
func TestNodeWithAStation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addresses := []string{l.Addr().String(), fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))}
	cmd, lines := startNode(t, "X=y", "node", "--ring", "demo", "--name", "a/1", "--roster", "a/{0..1}",
		"--addresses", "{"+strings.Join(addresses, ",")+"}", "--max-speed", "--station",
		`news=echo "filter of $RING_TOPIC at $RING_INSTANCE" >&2; sed -u s/foo/bar/`, "--station", "dead=exit 3")
	ctx, cancel := context.WithTimeout(t.Context(), upPatience)
	defer cancel()
	r, err := ring.Join(ctx, ring.Config{
		Ring: "demo", Name: "a/0", Listener: l, MaxSpeed: true,
		Roster: ring.Roster{Names: []ring.Name{"a/0", "a/1"}, Addresses: addresses},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	awaitLine(t, lines, "filter of news at a/1")
	for {
		lapped, err := r.Lap(ctx, "news", []byte("a foo"))
		if err != nil && !errors.Is(err, ring.ErrLost) { // as it may be where two become one ring
			t.Fatal(err)
		}
		if string(lapped.Value) == "a bar" && lapped.Folded == 1 {
			break
		}
		// It was not linked yet, or its filter had no time to start.
	}
	for payload, value := range map[string]string{"a foo": "a bar", "hello": "hello"} {
		out, _ := command(t, addresses[1], exitDone, "lap", "news", payload)
		if !strings.HasPrefix(out, value+"\n2 of 2 saw it, 1 made something of it") {
			t.Errorf("ring lap news %q prints\n%s", payload, out)
		}
	}
	if out, _ := command(t, addresses[1], exitDone, "lap", "dead", "x"); !strings.Contains(out, "nobody made anything of it") {
		t.Errorf("where the filter does not run, ring lap prints\n%s", out)
	}
	if out, _ := command(t, addresses[1], exitDone, "events"); !strings.Contains(out, `the station "dead" failed: there is no answer`) {
		t.Errorf("that it does not run is no event:\n%s", out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "msg=left")
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}
