package lap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
)

const (
	// DefaultTimeout is that of a Command that has none.
	DefaultTimeout = 100 * time.Millisecond
	// TimeoutMax bounds those that have one: the whole train waits meanwhile, at every stop. What
	// all stops together may hold it for on one lap is less, see ring.Holds.
	TimeoutMax = 5 * time.Second
	// NameMax bounds the name of a Command in bytes.
	NameMax = 64
	// OutputMax is how many bytes of a command's output ride.
	OutputMax = 256
)

// Command is one that answers to passengers whose topic is its name.
type Command struct {
	Name  string
	Words []string // the command and its arguments
	// Timeout is for how long it may hold the particle at a stop, 0 for DefaultTimeout. Then
	// it is killed, with its process group, and this stop has not folded.
	Timeout time.Duration
}

// Check says what cannot be about it.
func (c Command) Check() error {
	odd := func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') &&
			(r < 'A' || r > 'Z')
	}
	switch {
	case c.Name == "" || len(c.Name) > NameMax || strings.ContainsFunc(c.Name, odd):
		return fmt.Errorf("name %q: it is 1 to %d letters, digits, dots, hyphens and underscores",
			c.Name, NameMax)
	case slices.Contains(Questions(), Topic(c.Name)):
		return fmt.Errorf("name %q is that of a question which every instance answers", c.Name)
	case len(c.Words) == 0 || c.Words[0] == "":
		return fmt.Errorf("%s: there is no command", c.Name)
	case c.Timeout < 0 || c.Timeout > TimeoutMax:
		return fmt.Errorf("%s: timeout is %v; the train waits meanwhile: give more than 0 and at most %v",
			c.Name, c.Timeout, TimeoutMax)
	}
	return nil
}

// Topic is what somebody who says name on a command line means: names is ring/names, and so
// for the other questions; everything else stands for itself.
func Topic(name string) string {
	if full := ownTopics + name; slices.Contains(Questions(), full) {
		return full
	}
	return name
}

// ownTopics begins the topics of the questions.
const ownTopics = "ring/"

// AddCommands has the instance called self answer to passengers with what commands say, until
// remove is called. env is as of exec.Cmd. What a command has said is said again to who asks
// within its timeout, so it never runs more often than half of the time. It fails where a
// command cannot be, and with what Stops does, and leaves nothing then.
func AddCommands(stops Stops, self ring.Name, commands []Command, env []string) (
	remove func(), err error,
) {
	all := &stations{stops: stops}
	for _, c := range commands {
		if all.err == nil {
			all.err = c.Check()
		}
		if c.Timeout == 0 {
			c.Timeout = DefaultTimeout
		}
		all.add(c.Name, c.Timeout, (&teller{command: c, self: self, env: env}).fold)
	}
	return all.done()
}

// Said is what a command has said at the stops that answered.
type Said struct {
	Command string   `json:"command"` // its name
	Count   int      `json:"count"`
	Failed  int      `json:"failed"` // those of Count with another exit code than 0
	Each    []Saying `json:"each"`
	More    int      `json:"more,omitempty"` // those of Count who are not in Each
}

// Saying is what it has said at one of them.
type Saying struct {
	Name ring.Name `json:"name"`
	Exit int       `json:"exit"` // as a shell has it; -1 where a signal ended it
	// Output is what it has written to standard output, without the last line's end, of which
	// only the first OutputMax bytes are here if Cut.
	Output string `json:"output"`
	Cut    bool   `json:"cut,omitempty"`
}

func (v *Said) add(command string, one Saying, fits room) {
	v.Command = command
	v.Count++
	if one.Exit != 0 {
		v.Failed++
	}
	list(&v.Each, &v.More, one, fits)
}

// teller is a command at a stop.
type teller struct {
	command Command
	self    ring.Name
	env     []string

	mu      sync.Mutex
	running bool // of one that was killed, and has not ended yet, it is waited for
	said    Saying
	at      time.Time // when that was said; zero for never
}

// fold adds what the command says. Its error is that it has not come to an end in time.
func (t *teller) fold(ctx context.Context, p ring.Passenger) ([]byte, error) {
	said, err := t.say(ctx)
	if err != nil {
		return nil, err
	}
	return folded(p.Value, func(v *Said, fits room) { v.add(t.command.Name, said, fits) })
}

// say runs the command, unless what it said last is fresh. It returns while a tenth of the
// time is left: a station that is late too often is not called any more.
func (t *teller) say(ctx context.Context) (Saying, error) {
	t.mu.Lock()
	if !t.at.IsZero() && time.Since(t.at) < t.command.Timeout {
		defer t.mu.Unlock()
		return t.said, nil
	}
	if t.running {
		defer t.mu.Unlock()
		return Saying{}, fmt.Errorf("%s: the last one has not ended yet", t.command.Name)
	}
	t.running = true
	t.mu.Unlock()

	patience := t.command.Timeout
	if by, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(by))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience*9/10,
		fmt.Errorf("%s: no answer within %v", t.command.Name, patience))
	ended := make(chan Saying, 1)
	go func() { // ends with the command, which ends soon after ctx
		defer cancel()
		said := t.run(ctx)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.running = false
		if ctx.Err() == nil {
			t.said, t.at = said, time.Now()
			ended <- said
		}
	}()
	select {
	case said := <-ended:
		return said, nil
	case <-ctx.Done():
		select {
		case said := <-ended: // cancel came behind it
			return said, nil
		default:
			return Saying{}, context.Cause(ctx)
		}
	}
}

// run runs the command once. What it returns is of no worth where ctx has ended.
func (t *teller) run(ctx context.Context) Saying {
	out := &head{most: OutputMax}
	err := guard.Brief(ctx, t.command.Words, t.env, out)
	said := Saying{
		Name: t.self, Output: strings.TrimRight(strings.ToValidUTF8(string(out.kept), "\uFFFD"), "\r\n"),
		Cut: out.cut,
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		said.Exit = exit.ExitCode()
	case err != nil: // it was not even started
		said.Exit, said.Output = startCode(err), clipped(err.Error(), OutputMax)
	}
	return said
}

// startCode is what a shell would end with where a command cannot be started.
func startCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return guard.NotFound
	}
	return guard.NotRunnable
}

// head keeps the beginning of what is written to it.
type head struct {
	kept []byte
	most int // bytes
	cut  bool
}

var _ io.Writer = (*head)(nil)

// Write takes all of b, and keeps what there is room for.
func (h *head) Write(b []byte) (int, error) {
	n := min(len(b), h.most-len(h.kept))
	h.kept = append(h.kept, b[:n]...)
	h.cut = h.cut || len(bytes.TrimRight(b[n:], "\r\n")) > 0
	return len(b), nil
}
