//go:build linux

package processtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// promptly keeps the race detector from sleeping for a second when a process ends: each
// command has a guard, and would take as long.
const promptly = "GORACE=atexit_sleep_ms=0"

// runner starts `ring run` beside instance i.
func (k *kept) runner(i int, args ...string) *fleet.Proc {
	k.t.Helper()
	p, err := k.Group.Start(fleet.Spec{
		Name: "run " + k.Names[i], Path: program, Dir: k.data, Env: []string{promptly},
		Args: append([]string{"run", "--addr", k.Addrs[i]}, args...),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		if k.t.Failed() {
			k.t.Logf("--- %s\n%s", p.Spec.Name, p.Output())
		}
	})
	return p
}

// lines are those of a file in dir, none if there is none yet.
func lines(t *testing.T, dir, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// another waits until the last line of a file is another.
func another(t *testing.T, dir, name, than string) (line string) {
	t.Helper()
	await(t, fmt.Sprintf("another line in %s than %q", name, than), func() bool {
		all := lines(t, dir, name)
		if len(all) > 0 {
			line = all[len(all)-1]
		}
		return line != than && line != ""
	})
	return line
}

// pid is the process that said it had that fence.
func pid(t *testing.T, dir, fence string) int {
	t.Helper()
	n, err := strconv.Atoi(another(t, dir, fence, ""))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// P2: a holder whose whole tree of processes is stopped past its lease, and of which only
// the command wakes, writes nothing: the resource refuses it by the fence.
func TestP2RunHolderStoppedPastItsLeaseIsRefused(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.up(k.All(), k.All())
	dir := t.TempDir()
	args := []string{"--name", "write", "--lease", "4s", "--", leaser, "write", dir}
	first := k.runner(0, args...)
	fence := another(t, dir, "written", "")
	command := pid(t, dir, fence)
	guard := parent(t, command)
	k.runner(1, args...)

	hold := filepath.Join(dir, "hold-"+fence)
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	another(t, dir, "held", "") // else it might be stopped in the gate, and nobody could write
	stop := []int{first.PID(), guard, command}
	for _, p := range stop {
		send(t, p, syscall.SIGSTOP)
	}
	next := another(t, dir, "written", fence)
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	send(t, command, syscall.SIGCONT)
	if got := another(t, dir, "refused", ""); got != fence {
		t.Errorf("%s was refused, want %s", got, fence)
	}
	for _, p := range stop[:2] {
		send(t, p, syscall.SIGCONT)
	}
	await(t, "the first has ended", func() bool { return !first.Running() })
	written := lines(t, dir, "written")
	if i := slices.Index(written, next); i < 0 || slices.Contains(written[i:], fence) {
		t.Errorf("%s has written behind %s", fence, next)
	}
}

// P2: whatever becomes of `ring run`, its guard ends the command, though that does not
// want to, and only then the next begins.
func TestP2RunGuardEndsWhatIsLeft(t *testing.T) {
	t.Parallel()
	k := newKept(t, 1, false)
	k.up(k.All(), k.All())
	dir := t.TempDir()
	script := `trap "" TERM; echo $$ > ` + dir + `/$RING_FENCE; echo $RING_FENCE >> ` + dir +
		`/began; while :; do sleep 0.05; done`
	args := []string{"--name", "stubborn", "--lease", "4s", "--", "sh", "-c", script}
	last := ""
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		p := k.runner(0, args...)
		last = another(t, dir, "began", last)
		command := pid(t, dir, last)
		send(t, p.PID(), sig)
		k.runner(0, args...)
		last = another(t, dir, "began", last)
		if err := syscall.Kill(command, 0); err == nil {
			t.Errorf("after %v the next has begun while the first ran on", sig)
		}
		now := pid(t, dir, last)
		send(t, parent(t, now), syscall.SIGKILL) // the guard itself; what it guards goes with it
		await(t, "the command has ended with its guard", func() bool {
			return syscall.Kill(now, 0) != nil
		})
	}
}

// What a command has left in the background ends with it, in a session of its own too.
func TestRunEndsWhatHasLeft(t *testing.T) {
	t.Parallel()
	k := newKept(t, 1, false)
	k.up(k.All(), k.All())
	dir := t.TempDir()
	script := `cd ` + dir + `; sleep 600 & echo $! > near
		setsid sh -c 'echo $$ > far; exec sleep 600' &
		while [ ! -s far ]; do sleep 0.01; done`
	ends(t, k.runner(0, "--name", "leaky", "--", "sh", "-c", script), 0)
	for _, name := range []string{"near", "far"} {
		if left := pid(t, dir, name); syscall.Kill(left, 0) == nil {
			t.Errorf("process %d (%s) has outlived its command", left, name)
		}
	}
}

func send(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// parent is who has started a process.
func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	n, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// slots are what `ring run` beside each instance has run, each second, as the command
// writes it down: an observer outside of the fleet.
type slots struct {
	*kept
	dir     string
	runners []*fleet.Proc
	all     []*fleet.Proc // earlier ones too
	faults  int           // after each of which a slot or two that were claimed may not be run
}

const slotJob = "each-second"

func newSlots(t *testing.T) *slots {
	k := newKept(t, 3, false)
	k.up(k.All(), k.All())
	s := &slots{kept: k, dir: t.TempDir(), runners: make([]*fleet.Proc, 3)}
	for i := range s.runners {
		s.run(i)
	}
	return s
}

func (s *slots) run(i int) {
	s.t.Helper()
	script := `echo "$RING_SLOT,$RING_FENCE,$RING_INSTANCE" >> ` + s.dir + "/runs"
	s.runners[i] = s.runner(i, "--name", slotJob, "--every", "1s", "--overlap", "forbid", "--lease", "2s",
		"--", "sh", "-c", script)
	s.all = append(s.all, s.runners[i])
}

// passed waits until some more are run, from now on.
func (s *slots) passed() {
	s.t.Helper()
	from := len(lines(s.t, s.dir, "runs"))
	await(s.t, "more is run", func() bool { return len(lines(s.t, s.dir, "runs")) >= from+2 })
}

// last is the instance that has run the last.
func (s *slots) last() int {
	s.t.Helper()
	all := lines(s.t, s.dir, "runs")
	return slices.Index(s.Names, strings.Split(all[len(all)-1], ",")[2])
}

// round does each kind of harm once.
func (s *slots) round() {
	s.t.Helper()
	i := s.last()
	s.runners[i].Kill()
	s.passed()
	s.run(i)

	i = s.rand.IntN(3) // a runner stands still for longer than its lease, which is two slots
	send(s.t, s.runners[i].PID(), syscall.SIGSTOP)
	s.passed()
	s.passed()
	send(s.t, s.runners[i].PID(), syscall.SIGCONT)

	// The leader stops while something is granted, as something is in each second.
	lead := s.leader(s.All())
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	time.Sleep(time.Duration(s.rand.IntN(60)) * time.Millisecond)
	s.stopped(func([]int) { s.passed() }, lead)
	s.passed()
	s.faults += 3
}

// check compares what was run with what the fleet says of it.
func (s *slots) check() {
	s.t.Helper()
	for _, p := range s.runners {
		_ = p.Signal(syscall.SIGTERM)
		if err := p.Wait(patience); err != nil {
			s.t.Fatal(err)
		}
	}
	var rec struct {
		Slot, Missed int64
	}
	var entry struct{ Value []byte }
	a := s.do(0, "GET", fleet.KeyPath("run/"+slotJob), nil)
	err := json.Unmarshal(a.Body, &entry)
	if err == nil {
		err = json.Unmarshal(entry.Value, &rec)
	}
	if err != nil {
		s.t.Fatalf("%+v: %v", a, err)
	}
	var first, runs, fence int64
	seen := map[string]bool{}
	for _, line := range lines(s.t, s.dir, "runs") {
		word := strings.Split(line, ",")
		if seen[word[0]] {
			s.t.Errorf("%s was run twice", word[0])
		}
		seen[word[0]] = true
		at, err := time.Parse(time.RFC3339, word[0])
		if err != nil {
			s.t.Fatal(err)
		}
		n, err := strconv.ParseInt(word[1], 10, 64)
		if err != nil || n <= fence {
			s.t.Errorf("fence %s came behind %d", word[1], fence)
		}
		if fence, runs = n, runs+1; first == 0 {
			first = at.UnixMilli()
		}
	}
	gone := (rec.Slot-first)/1000 + 1 - runs
	failed := 0 // what has lost its lease, on a busy machine, before it could begin
	for _, p := range s.all {
		failed += strings.Count(p.Output(), "msg=failed")
	}
	// What is stopped while it ends has claimed one more.
	if most := rec.Missed + int64(2*s.faults+failed+1); gone > most {
		s.t.Errorf("%d slots were not run; %d are known as missed, after %d faults", gone, rec.Missed, s.faults)
	}
	s.t.Logf("%d runs, %d slots without one, %d of them missed, %d faults", runs, gone, rec.Missed, s.faults)
}

// P2: each second on one of three, while runners are killed and stopped and the leader
// of the bus is stopped in the middle of a grant: never twice, and what was missed is known.
func TestP2RunNeverTwice(t *testing.T) {
	t.Parallel()
	s := newSlots(t)
	s.passed()
	for begin, n := time.Now(), 0; s.more(begin, n); n++ {
		s.round()
		if n > 0 && n%3 == 0 { // a whole instance, too; none so often that its return is held up
			s.killed(func([]int) { s.passed() }, s.last())
			s.passed()
			s.faults++
		}
	}
	s.check()
}

// What the settings file declares is run by the instances themselves, in turn, and ends
// with them.
func TestP2RunTablesAreRunInTurn(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.Env = append(k.Env, promptly)
	dir := t.TempDir()
	file, err := os.OpenFile(k.Config, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(file, `
[[run]]
name = "in-turn"
every = "1s"
overlap = "forbid"
command = ["sh", "-c", "echo $RING_SLOT >> %s/slots; echo $RING_INSTANCE >> %[1]s/who"]
[[run]]
name = "endless"
every_tick = 1
overlap = "forbid"
command = ["sh", "-c", "echo $$ >> %[1]s/pid; exec sleep 600"]
`, dir)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.up(k.All(), k.All())
	await(t, "each has had its turn", func() bool {
		who := lines(t, dir, "who")
		return !slices.ContainsFunc(k.Names, func(name string) bool { return !slices.Contains(who, name) })
	})
	endless, err := strconv.Atoi(another(t, dir, "pid", ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range k.All() {
		signal(t, k.Ring, i, syscall.SIGTERM)
		ends(t, k.Proc(i), 0, "leaving", "left")
	}
	if err := syscall.Kill(endless, 0); err == nil {
		t.Error("a command has outlived its instance")
	}
	seen := map[string]bool{}
	for _, slot := range lines(t, dir, "slots") {
		if seen[slot] {
			t.Errorf("%s was run twice", slot)
		}
		seen[slot] = true
	}
}

// rolled holds what `ring run status` says of a rollout against what is so.
func (k *kept) rolled(name, state string, done int, parts []string) {
	k.t.Helper()
	p, err := k.Group.Start(fleet.Spec{
		Name: "run status", Path: program, Dir: k.data, Env: []string{promptly},
		Args: []string{"run", "status", "--addr", k.Addrs[2], "--json", name},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	ends(k.t, p, 0)
	var answer struct {
		Rollouts []struct {
			State string
			Done  int
			Parts []struct{ Instance, State string }
		}
	}
	if err := json.Unmarshal([]byte(p.Output()), &answer); err != nil || len(answer.Rollouts) != 1 {
		k.t.Fatalf("%v: %s", err, p.Output())
	}
	r, is := answer.Rollouts[0], []string{}
	for _, one := range r.Parts {
		is = append(is, one.State)
	}
	if r.State != state || r.Done != done || !slices.Equal(is, parts) {
		k.t.Errorf("%s is shown as %s, %d done, %v; want %s, %d, %v", name, r.State, r.Done, is, state, done, parts)
	}
}

// A part that is ended has failed, though its command ends well when it is asked to, and
// nobody goes on behind it.
func TestRunRollingThatIsEndedHasFailed(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.up(k.All(), k.All())
	dir := t.TempDir()
	script := `trap "exit 0" TERM; echo $RING_INSTANCE >> ` + dir + `/begun; while :; do sleep 0.02; done`
	args := []string{"--rolling", "--name", "deploy", "--lease", "4s", "--", "sh", "-c", script}
	first, second := k.runner(0, args...), k.runner(1, args...)
	another(t, dir, "begun", "")
	send(t, first.PID(), syscall.SIGTERM)
	ends(t, first, 1, "dc1/prod/0 failed")
	ends(t, second, 1, "dc1/prod/0 failed")
	if got := lines(t, dir, "begun"); !slices.Equal(got, k.Names[:1]) {
		t.Errorf("begun at %v, want %v", got, k.Names[:1])
	}
	k.rolled("deploy", "failed", 0, []string{"failed", "waiting", "waiting"})
}

// A rollout goes through the instances in their order, stops at the first failure and
// says everywhere whose it was, goes on with --retry, and passes over the dead if told to.
func TestRunRollingThroughFailureAndDeath(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.up(k.All(), k.All())
	dir := t.TempDir()
	roll := func(name string, who []int, flags ...string) (procs []*fleet.Proc) {
		script := `[ $RING_INSTANCE = dc1/prod/1 ] && [ -e ` + dir + `/broken ] && exit 9
			echo $RING_INSTANCE >> ` + dir + `/$RING_RUN`
		for _, i := range slices.Backward(who) {
			args := append([]string{"--rolling", "--name", name, "--lease", "2s"}, flags...)
			procs = append(procs, k.runner(i, append(args, "--", "sh", "-c", script)...))
		}
		return procs
	}
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	early := roll("first", []int{2})[0]
	says(t, early, "waiting for dc1/prod/0")
	send(t, early.PID(), syscall.SIGTERM)
	ends(t, early, 1, "ended before it was its turn")
	procs := roll("first", k.All())
	ends(t, procs[2], 0, "done") // instance 0, which was started last
	ends(t, procs[1], 1, "dc1/prod/1 failed, exit code 9")
	ends(t, procs[0], 1, "dc1/prod/1 failed, exit code 9")
	k.rolled("first", "failed", 1, []string{"done", "failed", "waiting"})
	for _, p := range roll("first", k.All()) {
		ends(t, p, 1, "dc1/prod/1 failed, exit code 9")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	for _, p := range roll("first", k.All(), "--retry") {
		ends(t, p, 0, "done")
	}
	if got := lines(t, dir, "first"); !slices.Equal(got, k.Names) {
		t.Errorf("done at %v, want %v", got, k.Names)
	}

	k.rolled("first", "done", 3, []string{"done", "done", "done"})

	k.kill(0)
	k.down([]int{1, 2}, []int{0})
	for _, p := range roll("second", []int{1, 2}, "--skip-dead") {
		ends(t, p, 0, "done")
	}
	if got := lines(t, dir, "second"); !slices.Equal(got, k.Names[1:]) {
		t.Errorf("without the dead, done at %v, want %v", got, k.Names[1:])
	}
}
