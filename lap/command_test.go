//go:build unix

package lap

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

// long is a timeout that no command of these tests needs.
const long = time.Minute

func saying(name ring.Name, timeout time.Duration, words ...string) *teller {
	return &teller{
		command: Command{Name: "x", Words: words, Timeout: timeout}, self: name,
		env: append(os.Environ(), "RING_INSTANCE="+string(name)),
	}
}

// What a command prints rides with its exit code, whatever that is, and is bounded.
func TestCommandSays(t *testing.T) {
	got := ride[Said](t,
		saying("a", long, "sh", "-c", `echo "$RING_INSTANCE has 10%"; echo >&2 not this`).fold,
		saying("b", long, "sh", "-c", "printf 'one\ntwo\n'; exit 3").fold,
		saying("c", long, "sh", "-c", "yes | head -c 100000").fold,
		saying("d", long, "/nowhere/x").fold,
		saying("e", long, "sh", "-c", `printf 'a\377b'; kill -9 $$`).fold,
		saying("f", long, "true").fold)
	if got.Command != "x" || got.Count != 6 || got.Failed != 3 || len(got.Each) != 6 {
		t.Fatalf("came home with %+v", got)
	}
	for i, want := range []Saying{
		{"a", 0, "a has 10%", false},
		{"b", 3, "one\ntwo", false},
		{"c", 0, strings.TrimSpace(strings.Repeat("y\n", OutputMax/2)), true},
		{"d", guard.NotFound, got.Each[3].Output, false},
		{"e", -1, "a\uFFFDb", false},
		{"f", 0, "", false},
	} {
		if got.Each[i] != want {
			t.Errorf("said %+v, want %+v", got.Each[i], want)
		}
	}
	if !strings.Contains(got.Each[3].Output, "no such file") {
		t.Errorf("of what cannot be started is said %q", got.Each[3].Output)
	}
}

// A command that takes too long is killed with what it has started, and has not folded.
func TestSlowCommandIsNotFolded(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held") // open for as long as the child lives
	if err := syscall.Mkfifo(held, 0o600); err != nil {
		t.Fatal(err)
	}
	child, err := os.OpenFile(held, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	slow := saying("a", 500*time.Millisecond, "sh", "-c",
		`(exec 3>"$0"; echo begun >&3; exec sleep 600) & sleep 600`, held)
	value, err := slow.fold(t.Context(), ring.Passenger{})
	if err == nil || !strings.Contains(err.Error(), "no answer within 500ms") {
		t.Fatalf("said %s, %v", value, err)
	}
	if err := child.SetReadDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	switch said, err := io.ReadAll(child); {
	case err != nil:
		t.Errorf("a child of the command lives on: %v", err)
	case string(said) != "begun\n":
		t.Errorf("the child has said %q: was it killed before it began?", said)
	}
}

// Who asks again at once is told the same, and the command runs once.
func TestCommandRunsOnceForThoseWhoAskTogether(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	c := saying("a", long, "sh", "-c", `echo x >>"$0"; wc -l <"$0"`, count)
	for range 3 {
		got := ride[Said](t, c.fold)
		if len(got.Each) != 1 || strings.TrimSpace(got.Each[0].Output) != "1" {
			t.Errorf("said %+v, want what the first run has", got)
		}
	}
	c.at = time.Now().Add(-2 * long)
	if got := ride[Said](t, c.fold); strings.TrimSpace(got.Each[0].Output) != "2" {
		t.Errorf("said %+v, want another run", got)
	}
}

func TestCommandCheck(t *testing.T) {
	words := []string{"true"}
	for _, c := range []struct {
		command Command
		says    string
	}{
		{Command{Name: "disk-1.x_Y", Words: words}, ""},
		{Command{Name: "disk", Words: words, Timeout: TimeoutMax}, ""},
		{Command{Words: words}, "name"},
		{Command{Name: "ring/x", Words: words}, "letters"},
		{Command{Name: strings.Repeat("x", NameMax+1), Words: words}, "64"},
		{Command{Name: "names", Words: words}, "question"},
		{Command{Name: "x"}, "no command"},
		{Command{Name: "x", Words: []string{""}}, "no command"},
		{Command{Name: "x", Words: words, Timeout: TimeoutMax + 1}, "timeout"},
		{Command{Name: "x", Words: words, Timeout: -1}, "timeout"},
	} {
		err := c.command.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.command, err, c.says)
		}
	}
}
