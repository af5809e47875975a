package station

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/guard"
)

const (
	// settle is for what a filter writes behind its first answer, where it writes more than
	// one line: a shell writes each by itself.
	settle = 10 * time.Millisecond
	// drainTime is for the last of what it wrote to be read once it has ended.
	drainTime = time.Second
)

// errNoAnswer is wrapped by why there is none: the filter is not to be asked now, or any more.
// errLate is that it was asked.
var (
	errNoAnswer = errors.New("there is no answer of the filter")
	errLate     = errors.New("the filter did not answer in time")
	errEnded    = fmt.Errorf("%w: it has ended", errNoAnswer)
)

// child is one run of a filter. Its methods may be called by several goroutines, ask by one
// at a time.
type child struct {
	proc   *guard.Process
	in     *os.File // its standard input, our end
	out    *os.File
	silent chan struct{} // closed when nothing more of it is read

	mu     sync.Mutex
	reply  chan []byte // where its next line goes; nil: it was asked nothing
	proven bool        // it has answered
	fault  string      // why it was killed
	late   *time.Timer // for its first answer, which nobody waits for any more
}

// startChild starts c's command with pipes of its own.
func startChild(c Command, grace time.Duration) (*child, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the filter: %w", err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the filter: %w", err), theirIn.Close(), in.Close())
	}
	config := c.guarded(grace)
	config.Stdin, config.Stdout = theirIn, theirOut
	proc, err := guard.Start(config)
	_, _ = theirIn.Close(), theirOut.Close() // the guard has its own
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	f := &child{proc: proc, in: in, out: out, silent: make(chan struct{})}
	go f.read() // ends when the guard has, or in close
	return f, nil
}

// read hears each line that the filter writes.
func (c *child) read() {
	defer close(c.silent)
	lines := bufio.NewReaderSize(c.out, lineMax)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			c.fail(fmt.Sprintf("it wrote a line of more than %d bytes", lineMax))
			return
		case err != nil:
			return // a line without an end is none
		}
		if fault := c.hear(bytes.Clone(line[:len(line)-1]), lines.Buffered() > 0); fault != "" {
			c.fail(fault)
			return
		}
	}
}

// hear takes a line; more says that another is behind it already.
func (c *child) hear(line []byte, more bool) (fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.reply == nil:
		return fmt.Sprintf("it wrote a line where none was asked for: %.80q", line)
	case more:
		return fmt.Sprintf("it wrote more than a line for one: %.80q", line)
	}
	c.reply <- line // which has room
	c.reply, c.proven = nil, true
	if c.late != nil {
		c.late.Stop()
	}
	return ""
}

// ask writes a line and returns the answer without its end. Where that has not come when
// ctx ends, the filter is killed, unless it has never answered: then it has until startup
// is over, and is not asked meanwhile.
func (c *child) ask(ctx context.Context, line []byte, startup time.Duration) ([]byte, error) {
	reply, first, err := c.open()
	if err != nil {
		return nil, err
	}
	until, _ := ctx.Deadline()
	_ = c.in.SetWriteDeadline(until)
	if _, err := c.in.Write(line); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail("it does not read what it is asked")
			return nil, errLate
		}
		return nil, errEnded // whoever keeps it says how
	}
	ended := false
	select {
	case answer := <-reply:
		return answer, c.prove(ctx, first)
	case <-c.silent:
		ended = true
	case <-ctx.Done():
	}
	select {
	case answer := <-reply: // in the same moment
		return answer, c.prove(ctx, first)
	default:
	}
	if ended {
		return nil, c.gone()
	}
	c.overrun(reply, first, startup)
	return nil, errLate
}

// open begins a question, where one may be asked.
func (c *child) open() (reply chan []byte, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fault != "":
		return nil, false, fmt.Errorf("%w: %s", errNoAnswer, c.fault)
	case c.reply != nil: // ask is called by one at a time
		return nil, false, fmt.Errorf("%w: its first one has not come yet", errNoAnswer)
	}
	reply = make(chan []byte, 1)
	c.reply = reply
	return reply, !c.proven, nil
}

// prove lets a first answer count once nothing has come behind it.
func (c *child) prove(ctx context.Context, first bool) error {
	if first {
		select {
		case <-time.After(settle):
		case <-c.silent:
		case <-ctx.Done():
			return errLate
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != "" {
		return fmt.Errorf("%w: %s", errNoAnswer, c.fault)
	}
	return nil
}

// gone is why one that says nothing more has not answered.
func (c *child) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != "" {
		return fmt.Errorf("%w: %s", errNoAnswer, c.fault)
	}
	return errEnded
}

// overrun is that no answer to reply has come in time.
func (c *child) overrun(reply chan []byte, first bool, startup time.Duration) {
	if !first {
		c.fail("it did not answer in time")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reply != reply { // it has, meanwhile
		return
	}
	c.late = time.AfterFunc(startup, func() {
		c.mu.Lock()
		still := c.reply == reply
		c.mu.Unlock()
		if still {
			c.fail(fmt.Sprintf("its first answer did not come within %v", startup))
		}
	})
}

// fail kills it. What it is asked from now on has no answer.
func (c *child) fail(fault string) {
	c.mu.Lock()
	first := c.fault == ""
	if first {
		c.fault = fault
	}
	c.mu.Unlock()
	if first {
		c.proc.Signal(syscall.SIGKILL)
	}
}

// await waits until nothing of it is left, and says why that is. When ctx ends its input
// does, and it is asked to end, too.
func (c *child) await(ctx context.Context) (why string) {
	select {
	case <-ctx.Done():
		_ = c.in.Close()
		c.proc.Stop()
	case <-c.proc.Done():
	}
	why = c.proc.Wait().Text
	_ = c.in.Close()
	_ = c.out.SetReadDeadline(time.Now().Add(drainTime)) // who is out of reach may hold it
	<-c.silent
	_ = c.out.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil {
		c.late.Stop()
	}
	if c.fault != "" {
		return c.fault
	}
	return why
}
