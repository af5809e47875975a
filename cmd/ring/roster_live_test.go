//go:build !windows

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// hosts are processes of `ring node`, each with a file and a data directory of its own.
type hosts struct {
	t     *testing.T
	dir   string
	first int // port of n/0
	nodes map[string]*hostNode
}

type hostNode struct {
	cmd   *exec.Cmd
	ended chan error

	mu   sync.Mutex
	text strings.Builder // guarded by mu: what it logged
}

func (n *hostNode) logged() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// start runs the instance of that name, of a roster with so many, at these ports.
func (h *hosts) start(name string, ports ...int) *hostNode {
	h.t.Helper()
	roster, addresses := make([]string, len(ports)), make([]string, len(ports))
	for i, port := range ports {
		roster[i], addresses[i] = fmt.Sprintf("%q", fmt.Sprint("n/", i)), fmt.Sprintf("127.0.0.1:%d", port)
	}
	return h.startWith(name, h.safe(name), fmt.Sprintf("ring = \"shop\"\nroster = [%s]\naddresses = \"{%s}\"\n",
		strings.Join(roster, ", "), strings.Join(addresses, ",")))
}

// safe is a name as that of a file.
func (h *hosts) safe(name string) string { return strings.ReplaceAll(name, "/", "-") }

// startWith runs it with a roster as a file has it, and a data directory.
func (h *hosts) startWith(name, data, roster string) *hostNode {
	h.t.Helper()
	file := filepath.Join(h.dir, data+".toml")
	text := fmt.Sprintf("name = %q\ndata = %q\nhold = \"5ms\"\n%s", name, filepath.Join(h.dir, data), roster)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.run(name, "node", "--config", file)
}

// run runs this program as a process that is, or becomes, the instance of that name.
func (h *hosts) run(name string, args ...string) *hostNode {
	h.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	n := &hostNode{cmd: exec.Command(binary), ended: make(chan error, 1)}
	n.cmd.Args = append([]string{"ring"}, args...)
	n.cmd.Env = childEnv(os.Environ())
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		for scan := bufio.NewScanner(stderr); scan.Scan(); {
			n.mu.Lock()
			n.text.WriteString(scan.Text() + "\n")
			n.mu.Unlock()
		}
		n.ended <- n.cmd.Wait()
	}()
	h.t.Cleanup(func() {
		_ = n.cmd.Process.Kill() // without effect if it has ended
		if h.t.Failed() {
			h.t.Logf("%s logged\n%s", name, n.logged())
		}
	})
	h.nodes[name] = n
	return n
}

// end waits for the end of an instance, and wants an exit code.
func (h *hosts) end(name string, code int) {
	h.t.Helper()
	select {
	case err := <-h.nodes[name].ended:
		var exit *exec.ExitError
		got := 0
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			h.t.Fatal(err)
		}
		if got != code {
			h.t.Errorf("%s ends with exit code %d, want %d", name, got, code)
		}
	case <-time.After(upPatience):
		h.t.Fatalf("%s does not end", name)
	}
}

// ask runs a command against the instance at a port, and wants an exit code.
func (h *hosts) ask(port, code int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	var out, err strings.Builder
	args = append(args, "--addr", "127.0.0.1:"+strconv.Itoa(port))
	if got := run(args, &out, &err); got != code {
		h.t.Fatalf("ring %q: exit code %d, want %d\n%s%s", args, got, code, &out, &err)
	}
	return out.String(), err.String()
}

// until looks at the status and the bus of the instance at a port until it is so.
func (h *hosts) until(port int, what string, ok func(admin.Status, ring.BusStatus) bool) {
	h.t.Helper()
	c, err := newClient(target{addr: "127.0.0.1:" + strconv.Itoa(port)})
	if err != nil {
		h.t.Fatal(err)
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	late := time.After(upPatience)
	for {
		var s admin.Status
		var bus ring.BusStatus
		err := errors.Join(c.get(h.t.Context(), "/v1/status", &s), c.get(h.t.Context(), "/v1/bus", &bus))
		if err == nil && ok(s, bus) {
			return
		}
		select {
		case <-look.C:
		case <-late:
			h.t.Fatalf("port %d: not %s within %v: %v\n%+v\n%+v", port, what, upPatience, err, s.Instances, bus)
		}
	}
}

// allAlive is that so many live, nobody else is there, and something can be agreed on.
func allAlive(n int) func(admin.Status, ring.BusStatus) bool {
	return func(s admin.Status, bus ring.BusStatus) bool {
		return alive(s.Status) == n && len(s.Instances) == n && bus.Leader != "" && bus.Quorum
	}
}

// votersNamed is that these vote, and nobody else.
func votersNamed(names ...ring.Name) func(admin.Status, ring.BusStatus) bool {
	return func(_ admin.Status, bus ring.BusStatus) bool {
		var voting []ring.Name
		for _, v := range bus.Voters {
			if v.Role == "voter" {
				voting = append(voting, v.Name)
			}
		}
		slices.Sort(voting)
		return slices.Equal(voting, names)
	}
}

// A ring grows by the command line, moves, votes otherwise, and shrinks again, and everybody
// is told what is going on.
func TestRosterOfRunningNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: starts real processes")
	}
	h := &hosts{t: t, dir: t.TempDir(), first: freePorts(t, 5), nodes: map[string]*hostNode{}}
	p := []int{h.first, h.first + 1, h.first + 2, h.first + 3, h.first + 4}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(p[i]) }
	for i := range 3 {
		h.start(fmt.Sprint("n/", i), p[:3]...)
	}
	h.until(p[0], "whole", allAlive(3))

	// It grows. Nothing is done without a yes, nor twice, nor to who is not there.
	plan, _ := h.ask(p[0], exitUsage, "roster", "add", "n/3", at(3))
	if !holdsAll(plan, []string{"version 1 becomes 2, 3 instances become 4", "add        n/3 (index 3) at " + at(3)}) {
		t.Errorf("the plan is\n%s", plan)
	}
	h.ask(p[0], exitDone, "roster", "add", "n/3", at(3), "--dry-run")
	h.ask(p[0], exitRefused, "roster", "add", "n/3", at(2), "--yes")
	h.ask(p[0], exitFalse, "roster", "retire", "n/9", "--yes")
	done, _ := h.ask(p[0], exitDone, "roster", "add", "n/3", at(3), "--yes")
	if !holdsAll(done, []string{"done: version 2, hash ", "all instances that live have it"}) {
		t.Errorf("adding says\n%s", done)
	}
	h.ask(p[1], exitRefused, "roster", "add", "n/3", at(3), "--yes")
	h.start("n/3", p[:4]...)
	for i := range 4 {
		h.until(p[i], "whole with a fourth", allAlive(4))
	}
	if list, _ := h.ask(p[2], exitDone, "roster", "list"); !holdsAll(list, []string{"ring shop: roster version 2, ", "3  n/3   " + at(3)}) {
		t.Errorf("the list is\n%s", list)
	}

	// It moves to another port.
	h.ask(p[1], exitDone, "roster", "move", "n/3", at(4), "--yes")
	if err := h.nodes["n/3"].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.end("n/3", exitDone)
	h.start("n/3", p[0], p[1], p[2], p[4])
	for _, i := range []int{0, 1, 2, 4} {
		h.until(p[i], "whole with one that has moved", func(s admin.Status, bus ring.BusStatus) bool {
			return allAlive(4)(s, bus) && s.Instances[3].Address == at(4)
		})
	}

	// Others vote.
	h.ask(p[0], exitDone, "roster", "demote", "n/0", "--yes")
	h.until(p[1], "voted by all but n/0", votersNamed("n/1", "n/2", "n/3"))
	h.ask(p[0], exitDone, "roster", "promote", "n/0", "--yes")
	h.until(p[1], "voted by n/0, too", func(_ admin.Status, bus ring.BusStatus) bool {
		return slices.ContainsFunc(bus.Voters, func(v ring.BusVoter) bool {
			return v.Name == "n/0" && v.Role == "voter"
		})
	})

	// It shrinks: one that lives ends, and is told so again if it comes back.
	plan, _ = h.ask(p[0], exitDone, "roster", "retire", "n/3", "--dry-run")
	if !strings.Contains(plan, "retire     n/3 (index 3) is alive: it leaves the ring and ends, for good") {
		t.Errorf("the plan is\n%s", plan)
	}
	done, _ = h.ask(p[0], exitDone, "roster", "retire", "n/3", "--yes")
	if !strings.Contains(done, "all instances that live have it") {
		t.Errorf("retiring says\n%s", done)
	}
	h.end("n/3", exitDone)
	if text := h.nodes["n/3"].logged(); !strings.Contains(text, "retired: this instance has left the ring for good") {
		t.Errorf("who is retired says\n%s", text)
	}
	for i := range 3 {
		h.until(p[i], "whole without the fourth", allAlive(3))
	}
	h.start("n/3", p[0], p[1], p[2], p[4])
	h.end("n/3", exitRefused)
	if text := h.nodes["n/3"].logged(); !strings.Contains(text, "retired") {
		t.Errorf("who comes back though it is retired says\n%s", text)
	}
	list, _ := h.ask(p[0], exitDone, "roster", "list", "--all", "--json")
	var l rosterList
	if err := json.Unmarshal([]byte(list), &l); err != nil || l.Retired != 1 || len(l.Instances) != 4 ||
		l.Instances[3].State != "retired" {
		t.Errorf("the list is (%v)\n%s", err, list)
	}
	if status, _ := h.ask(p[0], exitDone, "status"); !holdsAll(status, []string{"3 of 3 alive", "roster version 6, ", "1 retired"}) {
		t.Errorf("the status is\n%s", status)
	}

	// What the ring began with is let in.
	out, _ := h.ask(p[0], exitDone, "roster", "diff", filepath.Join(h.dir, "n-0.toml"))
	if !holdsAll(out, []string{"3: only b has n/3", "b is version 6 of what was a"}) {
		t.Errorf("the difference is\n%s", out)
	}

	// A name may come again, under another index; the new host is given the roster as it is.
	h.ask(p[0], exitDone, "roster", "add", "n/3", at(3), "--yes")
	file, _ := h.ask(p[1], exitDone, "roster", "list", "--toml")
	h.startWith("n/3", "anew", file)
	for i := range 4 {
		h.until(p[i], "whole with a new one of that name", func(s admin.Status, bus ring.BusStatus) bool {
			return allAlive(4)(s, bus) && s.Instances[3].Index == 4
		})
	}
	h.ask(p[3], exitDone, "roster", "diff", filepath.Join(h.dir, "anew.toml"))

	// One that is asked to retire itself answers first.
	done, _ = h.ask(p[3], exitDone, "roster", "retire", "n/3", "--yes")
	if !holdsAll(done, []string{"done: version 8, hash ", "n/3, which was asked, is retired itself"}) {
		t.Errorf("retiring who is asked says\n%s", done)
	}
	h.end("n/3", exitDone)
	h.until(p[0], "whole without it", allAlive(3))

	// One that is dead is waited for no more. Where most are dead nothing is agreed on.
	_ = h.nodes["n/2"].cmd.Process.Kill()
	h.until(p[0], "seeing n/2 dead", func(s admin.Status, _ ring.BusStatus) bool { return s.Instances[2].State == ring.Dead })
	h.ask(p[0], exitDone, "roster", "retire", "n/2", "--yes")
	h.until(p[1], "whole without n/2", allAlive(2))
	_ = h.nodes["n/1"].cmd.Process.Kill()
	h.until(p[0], "alone", func(_ admin.Status, bus ring.BusStatus) bool { return !bus.Quorum })
	h.ask(p[0], exitRefused, "roster", "retire", "n/1", "--yes")
}
