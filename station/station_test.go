//go:build unix

package station

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

// patience bounds each wait for what takes milliseconds.
const patience = time.Minute

// guardWord makes this binary the guard, and upperWord a filter in JSON that makes all
// letters capital.
const guardWord, upperWord = "as-guard", "as-upper"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case guardWord:
			os.Exit(guard.Run(os.Args[2:]))
		case upperWord:
			upper()
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func upper() {
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var p ring.Passenger
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			panic(err)
		}
		p.Value = bytes.Clone(sofar(p))
		for i, b := range p.Value {
			if 'a' <= b && b <= 'z' { // byte by byte: it need not be UTF-8
				p.Value[i] = b - 'a' + 'A'
			}
		}
		if err := out.Encode(p); err != nil {
			panic(err)
		}
	}
}

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// stop is a Ring that does nothing.
type stop struct {
	refuses error
	removed bool
}

func (s *stop) Station(string, ring.StationFunc, ...ring.StationOption) (func(), error) {
	return func() { s.removed = true }, s.refuses
}

// filter is a Station whose filter is a shell script, and the directory that this has as $D.
type filter struct {
	*Station
	t    *testing.T
	dir  string
	log  *log
	next uint64
	err  error // of the last pass
}

// start begins a filter with all the time there is for its answers.
func start(t *testing.T, script string, edit func(*Config)) *filter {
	t.Helper()
	f := &filter{t: t, dir: t.TempDir(), log: new(log)}
	cfg := Config{
		Topic: "news",
		Command: Command{
			Words: []string{"sh", "-c", script}, Env: append(os.Environ(), "D="+f.dir),
			Guard: []string{os.Args[0], guardWord}, Stderr: os.Stderr,
		},
		Startup: patience, BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(f.log, nil)),
	}
	if edit != nil {
		edit(&cfg)
	}
	given := cfg.Hold > 0
	s, err := Start(new(stop), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !given {
		s.cfg.Hold = patience // as no ring would have it; only pass looks at it
	}
	f.Station = s
	t.Cleanup(s.Close)
	return f
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

func (f *filter) awaitLog(text string) {
	f.t.Helper()
	await(f.t, text+" in "+f.log.String(), func() bool { return strings.Contains(f.log.String(), text) })
}

func (f *filter) awaitChild() {
	f.t.Helper()
	await(f.t, "a filter", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.child != nil })
}

// unchanged is of a passenger whose value was not set.
const unchanged = "(unchanged)"

// pass has passengers with these payloads pass once, and returns their values.
func (f *filter) pass(payloads ...string) []string {
	f.t.Helper()
	var aboard []ring.Passenger
	var values []string
	for _, payload := range payloads {
		f.next++
		aboard = append(aboard, ring.Passenger{
			Number: ring.Number{Epoch: ring.Epoch{Number: 7}, N: f.next}, From: "a/0", Topic: "news",
			Payload: []byte(payload),
		})
		values = append(values, unchanged)
	}
	f.err = f.Station.pass(f.t.Context(), aboard, func(i int, value []byte) error {
		values[i] = string(value)
		return nil
	})
	known := func(fault error) bool { return errors.Is(f.err, fault) }
	if f.err != nil && !slices.ContainsFunc([]error{errLate, errStray, errNoAnswer, errLong}, known) {
		f.t.Fatal(f.err)
	}
	return values
}

// answers has a passenger pass until there is a filter that changes it.
func (f *filter) answers(payload, want string) {
	f.t.Helper()
	var got string
	await(f.t, "an answer to "+payload, func() bool { got = f.pass(payload)[0]; return got != unchanged })
	if got != want {
		f.t.Fatalf("%s became %q, want %q; log:\n%s", payload, got, want, f.log)
	}
}

func (f *filter) wants(payload, want string) {
	f.t.Helper()
	if got := f.pass(payload)[0]; got != want {
		f.t.Fatalf("%s became %q, want %q; log:\n%s", payload, got, want, f.log)
	}
}

// tells wants the ring to be told that of the last pass.
func (f *filter) tells(fault error, text string) {
	f.t.Helper()
	if !errors.Is(f.err, fault) || !strings.Contains(f.err.Error(), text) {
		f.t.Fatalf("the ring is told %v, want %v: %s", f.err, fault, text)
	}
}

// lines of a file in the filter's directory; each run of most scripts writes one.
func (f *filter) lines(file string) int {
	text, _ := os.ReadFile(filepath.Join(f.dir, file))
	return bytes.Count(text, []byte("\n"))
}

// gate makes a named pipe in the filter's directory before it starts.
func gate(t *testing.T, cfg *Config) string {
	t.Helper()
	path := filepath.Join(strings.TrimPrefix(cfg.Command.Env[len(cfg.Command.Env)-1], "D="), "gate")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// One child answers for all passengers, in order: from the value so far, or the payload. An
// answer that is the same as the question counts.
func TestTextFilter(t *testing.T) {
	f := start(t, `echo run >>"$D/runs"; exec sed -u s/foo/bar/`, nil)
	f.answers("foo", "bar")
	if got := f.pass("a foo", "b", "", "foo c"); !slices.Equal(got, []string{"a bar", "b", "", "bar c"}) {
		t.Errorf("values %q", got)
	}
	p := ring.Passenger{Topic: "news", Payload: []byte("foo"), Value: []byte("my foo"), Folded: 1}
	var got []byte
	if err := f.Station.pass(t.Context(), []ring.Passenger{p}, func(_ int, v []byte) error { got = v; return nil }); err != nil {
		t.Fatal(err)
	}
	if string(got) != "my bar" {
		t.Errorf("value so far became %q", got)
	}
	if n := f.lines("runs"); n != 1 {
		t.Errorf("%d filters were started, want 1", n)
	}
	refused := errors.New("not now")
	if err := f.Station.pass(t.Context(), []ring.Passenger{p}, func(int, []byte) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("error %v, want what SetValue failed with", err)
	}
}

// What fits no line goes on as it was, without being asked for, and is told once.
func TestTextThatFitsNoLine(t *testing.T) {
	f := start(t, `while read -r x; do echo "$x" >>"$D/seen"; echo "$x!"; done`, nil)
	f.answers("a", "a!")
	if got := f.pass("two\nlines", "b", "\xff\xfe", strings.Repeat("x", ring.PassengerMax+1)); !slices.Equal(got, []string{unchanged, "b!", unchanged, unchanged}) {
		t.Errorf("values %q", got)
	}
	if n := f.lines("seen"); n != 2 {
		t.Errorf("the filter has seen %d lines, want 2", n)
	}
	if n := strings.Count(f.log.String(), "passenger goes on unchanged"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, f.log)
	}
}

func TestJSONFilter(t *testing.T) {
	f := start(t, "", func(c *Config) {
		c.Format, c.Command.Words = JSON, []string{os.Args[0], upperWord}
	})
	f.answers("foo", "FOO")
	if got := f.pass("two\nlines", "UP", "x\xff"); !slices.Equal(got, []string{"TWO\nLINES", "UP", "X\xff"}) {
		t.Errorf("values %q", got)
	}
}

// The filters that the package's comment and the README name.
func TestFiltersOfTheManual(t *testing.T) {
	for _, c := range []struct {
		tool, script, in, want string
		format                 Format
	}{
		{"jq", `jq -c --unbuffered '.value = ((.value // .payload) | @base64d | ascii_upcase | @base64)'`, "ab", "AB", JSON},
		{"awk", `awk '{ print $1 + 3; fflush() }'`, "39", "42", Text},
		{"python3", `python3 -u -c '
import base64, json, sys
for line in sys.stdin:
    p = json.loads(line)
    so_far = int(base64.b64decode(p.get("value", "")) or 0)
    p["value"] = base64.b64encode(b"%d" % (so_far + 1.5 * 100)).decode()
    print(json.dumps(p))'`, "", "150", JSON},
		{"sh", `while read -r x; do echo "$x, and more"; done`, "one", "one, and more", Text},
	} {
		t.Run(c.tool, func(t *testing.T) {
			if _, err := exec.LookPath(c.tool); err != nil {
				t.Skipf("SKIPPED: there is no %s here; CI installs what is missing, where it is root", c.tool)
			}
			if out, _ := exec.Command("awk", "-W", "version").CombinedOutput(); c.tool == "awk" &&
				strings.Contains(string(out), "mawk") {
				c.script = strings.Replace(c.script, "awk", "awk -W interactive", 1)
			}
			f := start(t, c.script, func(cfg *Config) { cfg.Format = c.format })
			f.answers(c.in, c.want)
		})
	}
}

// One that hangs is killed, its passenger goes on, and what it would have answered is
// nobody's.
func TestFilterThatHangs(t *testing.T) {
	f := start(t, `echo run >>"$D/runs"
read -r x; echo "$x!"
read -r y; (read -r go <"$D/gate"; echo late) & wait; echo "late $y"; read -r z; echo "late $z"`, func(c *Config) {
		gate(t, c)
	})
	f.answers("a", "a!")
	f.cfg.Hold = 50 * time.Millisecond
	f.wants("b", unchanged)
	f.tells(errLate, "1 of 1 passengers go on unchanged")
	f.cfg.Hold = patience
	f.awaitLog("it did not answer in time")
	f.answers("c", "c!")
	if n := f.lines("runs"); n < 2 {
		t.Errorf("%d filters were started, want 2", n)
	}
}

// One that is slow to start has time for its first answer, which is nobody's, and is not
// asked meanwhile.
func TestFilterThatIsSlowToStart(t *testing.T) {
	path := ""
	f := start(t, `echo run >>"$D/runs"; read -r go <"$D/gate"; while read -r x; do echo "$x!"; done`,
		func(c *Config) { path = gate(t, c) })
	f.awaitChild()
	await(t, "its start", func() bool { return f.lines("runs") == 1 })
	f.cfg.Hold = 20 * time.Millisecond
	if got := f.pass("a", "b"); !slices.Equal(got, []string{unchanged, unchanged}) {
		t.Errorf("values %q", got)
	}
	f.tells(errLate, "2 of 2")
	f.cfg.Hold = patience
	f.wants("c", unchanged)
	f.tells(errNoAnswer, "its first one has not come yet: 1 of 1")
	if err := os.WriteFile(path, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.answers("d", "d!")
	f.wants("e", "e!")
	if n := f.lines("runs"); n != 1 {
		t.Errorf("%d filters were started, want 1:\n%s", n, f.log)
	}
}

// One that never answers is given up.
func TestFilterThatNeverAnswers(t *testing.T) {
	f := start(t, `echo run >>"$D/runs"; exec sleep 1000`, func(c *Config) {
		c.Startup, c.Hold = 30*time.Millisecond, 20*time.Millisecond
	})
	await(t, "three of them", func() bool {
		f.wants("a", unchanged)
		return f.lines("runs") > 2
	})
	f.awaitLog("its first answer did not come within 30ms")
}

// One that ends between question and answer is started again; the next is answered.
func TestFilterThatDies(t *testing.T) {
	f := start(t, `echo run >>"$D/runs"
while read -r x; do [ "$x" = die ] && exit 3; echo "$x!"; done`, nil)
	f.answers("a", "a!")
	if got := f.pass("b", "die", "c"); !slices.Equal(got, []string{"b!", unchanged, unchanged}) {
		t.Errorf("values %q", got)
	}
	f.tells(errNoAnswer, "it has ended: 2 of 3 passengers go on unchanged")
	f.awaitLog("it ended with exit code 3")
	f.answers("d", "d!")

	// Half a line is none.
	f = start(t, `read -r x; printf "$x"`, nil)
	f.awaitChild()
	f.wants("a", unchanged)
	f.awaitLog("it ended with exit code 0")
}

// An answer that was written before the end counts.
func TestLastAnswerOfAFilter(t *testing.T) {
	f := start(t, `read -r x; echo "$x!"; read -r y; echo "$y?"`, nil)
	f.answers("a", "a!")
	f.wants("b", "b?")
}

// One that cannot be started is tried again, later each time.
func TestFilterThatIsNotThere(t *testing.T) {
	f := start(t, "", func(c *Config) { c.Command.Words = []string{"./no-such-filter"} })
	await(t, "six tries", func() bool { return strings.Count(f.log.String(), "it does not start") > 5 })
	var pauses []string
	for _, line := range strings.Split(f.log.String(), "\n")[:5] {
		_, pause, _ := strings.Cut(line, "again_in=")
		pauses = append(pauses, pause)
	}
	if want := []string{"1ms", "2ms", "4ms", "5ms", "5ms"}; !slices.Equal(pauses, want) {
		t.Errorf("it pauses for %v, want %v", pauses, want)
	}
	f.wants("a", unchanged)
	f.tells(errNoAnswer, "it does not start")
}

// Whoever writes what nobody asked for is killed, and nothing of it is an answer.
func TestFilterThatWritesTooMuch(t *testing.T) {
	for name, c := range map[string]struct{ script, told string }{
		"two lines for one": {`while read -r x; do printf '%s\n%s\n' "$x!" "$x?"; done`, "it wrote more than a line for one"},
		"one by one":        {`read -r x; echo "$x!"; echo "$x?"; read -r y`, "it wrote"},
		"a long line":       {`read -r x; head -c 70000 /dev/zero | tr '\0' a; echo; read -r y`, "it wrote a line of more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.script, nil)
			f.awaitChild()
			got := f.pass("a")[0]
			if got != unchanged && name != "one by one" { // which may be seen too late
				t.Errorf("it became %q", got)
			}
			f.awaitLog(c.told)
		})
	}
	f := start(t, `echo ready; read -r x; echo "$x!"; read -r y`, nil)
	f.awaitLog("it wrote a line where none was asked for")

	// What is too long for the particle, and not for a line, is no reason to kill.
	f = start(t, `echo run >>"$D/runs"
while read -r x; do [ "$x" = long ] && { head -c 9000 /dev/zero | tr '\0' a; echo; } || echo "$x!"; done`, nil)
	f.answers("a", "a!")
	if got := f.pass("long", "b"); !slices.Equal(got, []string{unchanged, "b!"}) {
		t.Errorf("values %q", got)
	}
	f.tells(errLong, "it has 9000 bytes")
	if f.wants("c", "c!"); f.err != nil || f.lines("runs") != 1 {
		t.Errorf("%d runs, told %v", f.lines("runs"), f.err)
	}
}

func TestJSONFilterThatWritesGarbage(t *testing.T) {
	for name, script := range map[string]string{
		"garbage":          `read -r x; echo nonsense; read -r y`,
		"no number":        `read -r x; echo '{"value":"YQ=="}'; read -r y`,
		"another's number": `read -r x; echo '{"number":{"epoch":{"number":7},"n":999},"value":"YQ=="}'; read -r y`,
		"no base64":        `read -r x; echo '{"value":"?"}'; read -r y`,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, script, func(c *Config) { c.Format = JSON })
			f.awaitChild()
			f.wants("a", unchanged)
			f.tells(errStray, "")
			f.awaitLog("its answer is none")
		})
	}
	// Who sends it back without a value has not folded it.
	f := start(t, `while read -r x; do echo "$x" | sed 's/}$/,"note":1}/'; echo x >>"$D/answered"; done`,
		func(c *Config) { c.Format = JSON })
	f.awaitChild()
	await(t, "two answers", func() bool { f.wants("a", unchanged); return f.lines("answered") > 1 })
	if f.log.String() != "" {
		t.Errorf("logged:\n%s", f.log)
	}
}

// Close ends the filter and what it has started, and the station.
func TestClose(t *testing.T) {
	for name, script := range map[string]string{
		"at the end of its input": `sleep 1000 & echo $! >"$D/child"; echo $$ >"$D/pid"; while read -r x; do :; done`,
		"by SIGKILL":              `trap '' TERM; sleep 1000 & echo $! >"$D/child"; echo $$ >"$D/pid"; while :; do sleep 0.05; done`,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, script, func(c *Config) { c.Grace = 100 * time.Millisecond })
			var pids []int
			for _, file := range []string{"pid", "child"} {
				await(t, "a pid", func() bool { return f.lines(file) > 0 })
				text, _ := os.ReadFile(filepath.Join(f.dir, file))
				pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			f.Close()
			for _, pid := range pids {
				await(t, fmt.Sprint(pid, " is gone"), func() bool { return syscall.Kill(pid, 0) != nil })
			}
			f.wants("a", unchanged)
			f.Close()
		})
	}
}

func TestWhatCannotBe(t *testing.T) {
	good := Config{Topic: "t", Command: Command{Words: []string{"cat"}, Guard: []string{os.Args[0], guardWord}}}
	for want, edit := range map[string]func(*Config){
		"there is no topic":       func(c *Config) { c.Topic = "" },
		"there is no command":     func(c *Config) { c.Command.Words = nil },
		"there is no guard":       func(c *Config) { c.Command.Guard = nil },
		"hold is 1µs":             func(c *Config) { c.Hold = time.Microsecond },
		"hold is 1h0m0s":          func(c *Config) { c.Hold = time.Hour },
		`format "xml" is unknown`: func(c *Config) { c.Format = "xml" },
	} {
		cfg := good
		edit(&cfg)
		if _, err := Start(new(stop), cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused := errors.New("no such topic")
	if _, err := Start(&stop{refuses: refused}, good); !errors.Is(err, refused) {
		t.Errorf("%v, want what the ring says", err)
	}
	r := new(stop)
	s, err := Start(r, good)
	if err != nil {
		t.Fatal(err)
	}
	if s.Close(); !r.removed {
		t.Error("the station was not removed")
	}
}

func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Now()
	var told []uint64
	for i := range 130 {
		if held, ok := q.due(now.Add(time.Duration(i) * time.Second)); ok {
			told = append(told, held)
		}
	}
	if want := []uint64{0, 59, 59}; !slices.Equal(told, want) {
		t.Errorf("told with %v held back, want %v", told, want)
	}
}

// BenchmarkFilter is what a passenger costs at a filter of the smallest kind.
func BenchmarkFilter(b *testing.B) {
	s, err := Start(new(stop), Config{
		Topic: "t", Hold: HoldMax,
		Command: Command{Words: []string{"sed", "-u", "s/a/b/"}, Guard: []string{os.Args[0], guardWord}},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	aboard, done := []ring.Passenger{{Payload: []byte("a")}}, false
	set := func(int, []byte) error { done = true; return nil }
	for !done {
		if err := s.pass(context.Background(), aboard, set); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.pass(context.Background(), aboard, set); err != nil {
			b.Fatal(err)
		}
	}
}
