package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/guard"
	runner "ringofservers.dev/run"
)

// guardCommand is the hidden subcommand that stands between this program and what it runs
// for others: the application of ring node, the commands of ring run.
const guardCommand = "guard"

func newGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    guardCommand + " command [argument…]",
		Short:  "Run a command and end it in time (for ring node and ring run)",
		Hidden: true, DisableFlagParsing: true, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if code := guard.Run(args); code != 0 {
				return exitf(code, "")
			}
			return nil
		},
	}
}

// guardWords is what runs this program as a guard.
func guardWords() ([]string, error) {
	self, err := guard.Self()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	return []string{self, guardCommand}, nil
}

// canRun says why commands are run on Linux only.
func canRun() error {
	if guard.Deadlines {
		return nil
	}
	return errors.New("commands are run on Linux only: elsewhere nothing ends in time what a " +
		"process has started that was stopped itself; use Exclusive of the library, with a fence")
}

// guardTell is how often a guard is told how long the lease lasts.
const guardTell = 100 * time.Millisecond

// exec runs the command under a guard, which ends it, whatever becomes of this process,
// before the lease could be given away. Its output is this process's.
func (w work) exec(ctx context.Context, s runner.Start, lease runner.Lease) (exit int, err error) {
	guarded, err := guardWords()
	if err != nil {
		return -1, err
	}
	term, kill, ok := w.deadlines(lease)
	if !ok {
		return -1, runner.ErrLost
	}
	p, err := guard.Start(guard.Config{
		Command: w.command, Guard: guarded, Name: "ring", Env: append(os.Environ(), environment(s)...),
		Stdout: w.stdout, Stderr: w.stderr, Grace: w.grace, Term: term, Kill: kill,
	})
	if err != nil {
		return -1, err
	}
	tell := time.NewTicker(guardTell)
	defer tell.Stop()
	stopped := ctx.Done()
	for {
		select {
		case <-stopped:
			stopped = nil
			p.Stop()
		case <-tell.C:
			if term, kill, ok := w.deadlines(lease); ok {
				p.Until(term, kill)
			}
		case <-p.Done():
			return guardResult(ctx, p, lease.Left() < w.lease*3/10)
		}
	}
}

// deadlines are when the command must end for the lease, by the boot clock; ok is false
// where that is over.
func (w work) deadlines(lease runner.Lease) (term, kill time.Duration, ok bool) {
	now := guard.BootTime() // before it is asked what is left: rather too early
	left := lease.Left()
	return now + left - w.lease*3/10, now + left - w.lease/10, left > 0
}

// guardResult is what became of the command. One that was cut off is not done, whatever it
// says of itself: most end with exit code 0 when they are asked to.
func guardResult(ctx context.Context, p *guard.Process, late bool) (int, error) {
	exit := p.Wait()
	switch {
	case exit.Code == 0 && !exit.Cut:
		return 0, nil
	case ctx.Err() != nil:
		return exit.Code, context.Cause(ctx)
	case exit.Cut || late: // nobody else cuts it off but the clock of the lease
		return exit.Code, runner.ErrLost
	case exit.Code < 0 || p.PID() == 0: // it was not its own end
		return exit.Code, errors.New(exit.Text)
	}
	return exit.Code, nil
}
