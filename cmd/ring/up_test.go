package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// upPatience bounds each wait for something that takes a second or two.
const upPatience = time.Minute

// localRing is a running `ring up` of real processes.
type localRing struct {
	t     *testing.T
	cmd   *exec.Cmd
	first int
	nodes int
	temp  string // for what it keeps while it runs
	out   io.Closer
	ended chan error

	mu    sync.Mutex
	lines []string      // guarded by mu
	more  chan struct{} // has a token when a line came
}

// startUp runs `ring up` with free ports, and ends it with the test.
func startUp(t *testing.T, nodes int, flags ...string) *localRing {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: starts real processes")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := &localRing{
		t: t, nodes: nodes, first: freePorts(t, nodes), temp: t.TempDir(), ended: make(chan error, 1),
		more: make(chan struct{}, 1),
	}
	l.cmd = exec.Command(binary)
	l.cmd.Args = append([]string{
		"ring", "up", "--nodes", fmt.Sprint(nodes),
		"--first-port", fmt.Sprint(l.first),
	}, flags...)
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.out = out
	l.cmd.Stderr = l.cmd.Stdout
	l.cmd.Env = append(os.Environ(), "TMPDIR="+l.temp)
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go l.read(bufio.NewScanner(out))
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill() // no child outlives it; without effect if it has ended
		if t.Failed() {
			t.Logf("what ring up printed:\n%s", strings.Join(l.printed(), "\n"))
		}
	})
	return l
}

func (l *localRing) read(lines *bufio.Scanner) {
	for lines.Scan() {
		l.mu.Lock()
		l.lines = append(l.lines, lines.Text())
		l.mu.Unlock()
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
	l.ended <- l.cmd.Wait()
}

func (l *localRing) printed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[:len(l.lines):len(l.lines)]
}

// await returns the first line from the given one on that holds all words, and
// the number of the line after it.
func (l *localRing) await(from int, words ...string) (line string, next int) {
	l.t.Helper()
	late := time.After(upPatience)
	for {
		for i, line := range l.printed() {
			if i >= from && holdsAll(line, words) {
				return line, i + 1
			}
		}
		select {
		case <-l.more:
		case <-late:
			l.t.Fatalf("no line with %q came within %v", words, upPatience)
		}
	}
}

func holdsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// status is the first instance's, which may be the last to start.
func (l *localRing) status() ring.Status {
	l.t.Helper()
	ask := func() (*http.Response, error) {
		return http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/status", l.first))
	}
	resp, err := ask()
	for late := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(late); resp, err = ask() {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var status ring.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		l.t.Fatal(err)
	}
	return status
}

// interrupt is Ctrl-C; it returns how the starter ended.
func (l *localRing) interrupt() error {
	l.t.Helper()
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		l.t.Fatal(err)
	}
	return l.end()
}

func (l *localRing) end() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(upPatience):
		l.t.Fatal("ring up does not end")
		return nil
	}
}

// freed waits until nobody listens on any of the ring's ports.
func (l *localRing) freed() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), upPatience)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for checkPorts(l.first, l.nodes) != nil {
		select {
		case <-look.C:
		case <-ctx.Done():
			l.t.Fatalf("a process outlived ring up: %v", checkPorts(l.first, l.nodes))
		}
	}
}

// freePorts finds n ports in a row, below those that other tests of this module take.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for first := 5000 + os.Getpid()%6000; first < 12000-n; first += n {
		if checkPorts(first, n) == nil {
			return first
		}
	}
	t.Fatal("no free ports from 5000 to 12000")
	return 0
}

// The main scene: a ring comes up and ticks, one is killed, its neighbour tells
// that, it comes back, ticks go on, and Ctrl-C ends all.
func TestUpSurvivesAKill(t *testing.T) {
	l := startUp(t, 5, "--hold", "20ms")
	_, line := l.await(0, "the ring is 5 of 5 alive")
	_, line = l.await(line, "local/4", " 2")
	l.await(0, "first tick after")
	l.await(line, "5 of 5 alive", "epoch", "tick", "lap", fmt.Sprintf("http://127.0.0.1:%d/", l.first))

	victim := l.status().Instances[2]
	process, err := os.FindProcess(int(victim.PID))
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, line = l.await(line, "local/1", "local/2 is dead")
	_, line = l.await(line, "local/1", "I now hold the hand of local/3")
	_, line = l.await(line, "local/1", "the ring is 4 of 5 alive")
	_, line = l.await(line, "local/1", "I now hold the hand of local/2")
	_, line = l.await(line, "local/1", "the ring is 5 of 5 alive")
	l.await(line, "local/2", fmt.Sprint(l.first+2))
	back := l.status().Instances[2]
	for late := time.Now().Add(upPatience); back.Incarnation <= victim.Incarnation; {
		if time.Now().After(late) {
			t.Fatalf("local/2 came back as %+v, was %+v", back, victim)
		}
		time.Sleep(20 * time.Millisecond) // it was local/1 that has told; local/0 is asked
		back = l.status().Instances[2]
	}
	if back.PID == victim.PID {
		t.Errorf("local/2 came back as %+v, was %+v", back, victim)
	}
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	l.freed()
}

// A starter that is killed takes its children along; the next one removes what it
// has left on the disk.
func TestUpKilledLeavesNobody(t *testing.T) {
	l := startUp(t, 3, "--hold", "20ms", "--quiet")
	l.await(0, "the ring is 3 of 3 alive")
	removeLeftBehind(l.temp)
	if left := names(t, l.temp); len(left) != 1 {
		t.Errorf("beside a starter that lives are %q, want what it uses", left)
	}
	if err := l.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = l.end() // killed, as asked
	l.freed()
	removeLeftBehind(l.temp)
	if left := names(t, l.temp); runtime.GOOS == "linux" && len(left) > 0 {
		t.Errorf("after a starter that was killed are left %q", left)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// ring up | head: when nobody reads any more, all ends and nothing is left.
func TestUpEndsWithItsReader(t *testing.T) {
	l := startUp(t, 3, "--hold", "20ms")
	l.await(0, "the ring is 3 of 3 alive")
	l.out.Close()
	if err := l.end(); err != nil {
		t.Errorf("nobody reads: %v, want exit code 0", err)
	}
	l.freed()
	if left := names(t, l.temp); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestUpGreets(t *testing.T) {
	const fast = "laps are fast: each stop prints about 10 of its ticks a second, not all"
	for _, c := range []struct {
		o    upOptions
		want string
		fast bool
	}{
		{upOptions{nodes: 1}, "1 process on 127.0.0.1, port 3000 ·", false},
		{upOptions{nodes: 3}, "3 processes on 127.0.0.1, ports 3000 to 3002 ·", false},
		{upOptions{nodes: 11, hold: 10 * time.Millisecond}, "ports 3000 to 3010", false},
		{upOptions{nodes: 11, hold: 9 * time.Millisecond}, "ports 3000 to 3010", true},
		{upOptions{nodes: 11, hold: 5 * time.Millisecond, quiet: true}, "ports 3000 to 3010", false},
		{upOptions{nodes: 3, maxSpeed: true}, "ports 3000 to 3002", true},
		{upOptions{nodes: upMax, hold: math.MaxInt64}, "ports 3000 to 3999", false},
	} {
		var out strings.Builder
		s := &starter{screen: newScreen(&out, nil)}
		c.o.firstPort = 3000
		s.greet(c.o)
		s.screen.close()
		if !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), fast) != c.fast {
			t.Errorf("greeting of %+v = %q, want %q in it, and that laps are fast: %v",
				c.o, out.String(), c.want, c.fast)
		}
	}
}

// No tick is left out, also of laps that are a little faster than ten a second.
func TestUpPrintsEveryTick(t *testing.T) {
	l := startUp(t, 3, "--hold", "30ms")
	l.await(0, "first tick after")
	counted := func(laps uint64) (s ring.Status) {
		for s = l.status(); s.Laps < laps || !s.Anchored; s = l.status() {
			l.await(len(l.printed()), "local/0") // its next line
		}
		return s
	}
	before := counted(1)
	after := counted(before.Laps + 10)
	passes := func(line string) bool { // of local/0
		words := strings.Fields(line)
		return len(words) > 2 && words[0] == "local/0" && (len(words) == 3 || words[2] == "-")
	}
	line := func(tick uint64) int {
		shown := fmt.Sprintf("local/0 %5d %d", l.first, tick)
		for i := 0; ; {
			text, next := l.await(i, shown)
			if text == shown {
				return next
			}
			i = next
		}
	}
	var seen uint64
	first, last := line(before.Tick), line(after.Tick)
	for _, line := range l.printed()[first:last] {
		if passes(line) {
			seen++
		}
	}
	if want := after.Laps - before.Laps; seen != want {
		t.Errorf("local/0 printed %d of its %d passes after tick %d", seen, want, before.Tick)
	}
}

// A first start that fails ends all, and what the child said of it is shown.
func TestUpCannotStart(t *testing.T) {
	data := t.TempDir()
	l := startUp(t, 2, "--hold", "20ms", "--data", data)
	l.await(0, "the ring is 2 of 2 alive")

	second := startUp(t, 2, "--hold", "20ms", "--data", data)
	second.cannotStart("in use by process")
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C of the one that holds the data: %v, want exit code 0", err)
	}
	if err := os.WriteFile(filepath.Join(data, "local-1", "state"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := startUp(t, 2, "--hold", "20ms", "--data", data)
	torn.cannotStart("local/1", filepath.Join(data, "local-1"))
}

// cannotStart waits until the ring has ended because of a child that said these words.
func (l *localRing) cannotStart(words ...string) {
	l.t.Helper()
	var exit *exec.ExitError
	if err := l.end(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		l.t.Errorf("ring up ends with %v, want exit code %d", err, exitFailed)
	}
	_, line := l.await(0, words...)
	l.await(line, "ring: local/", "cannot start; its own line above says why")
	l.freed()
}

// Who was told to leave is not called dead, and stays away.
func TestUpLeaves(t *testing.T) {
	l := startUp(t, 3, "--hold", "20ms")
	_, line := l.await(0, "the ring is 3 of 3 alive")
	code := run([]string{"leave", "--addr", fmt.Sprintf("127.0.0.1:%d", l.first+1)},
		os.Stdout, os.Stderr)
	if code != exitDone {
		t.Fatalf("ring leave: exit code %d, want 0", code)
	}
	_, line = l.await(line, "local/0", "local/1 said goodbye and left")
	l.await(line, "2 of 3 alive")
	for _, line := range l.printed() {
		if strings.Contains(line, "is dead") {
			t.Errorf("a goodbye was taken for a death: %s", line)
		}
	}
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	l.freed()
}

func TestUpNamesWhoHoldsAPort(t *testing.T) {
	first := freePorts(t, 3)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+1))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var out strings.Builder
	code := run([]string{"up", "--nodes", "3", "--first-port", fmt.Sprint(first)}, &out, &out)
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	want := []string{fmt.Sprint(first + 1), "--first-port"}
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		want = append(want, fmt.Sprintf("(pid %d)", os.Getpid()))
	}
	if !holdsAll(out.String(), want) {
		t.Errorf("printed %q, want all of %q in it", out.String(), want)
	}
}

// A terminal that takes nothing holds up nobody, and is told what it missed.
func TestScreenNeverBlocks(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := child{name: "local/0", port: 3000}
	s := newScreen(write, []child{c})
	for i := range 10 * screenLines {
		s.line(c, fmt.Sprintf("%s%d", tickWord, i)) // returns, though nobody reads
	}
	var shown []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			shown = append(shown, lines.Text())
		}
	}()
	for len(s.lines) > 0 {
		time.Sleep(time.Millisecond) // the writer's progress cannot be waited for otherwise
	}
	s.say("end")
	s.close()
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if len(shown) < screenLines {
		t.Errorf("%d lines were shown, want at least the queue of %d", len(shown), screenLines)
	}
	tail := strings.Join(shown[max(0, len(shown)-2):], "\n")
	if !holdsAll(tail, []string{"lines are not shown", "end"}) {
		t.Errorf("the last lines are %q, want how many are missing", tail)
	}
}
