//go:build !linux

package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	runner "ringofservers.dev/run"
)

// canRun says why commands are run on Linux only.
func canRun() error {
	return errors.New("commands are run on Linux only: elsewhere nothing ends in time what a " +
		"process has started that was stopped itself; use Exclusive of the library, with a fence")
}

func (work) exec(context.Context, runner.Start, runner.Lease) (int, error) { return -1, canRun() }

// bootTime is never asked here.
func bootTime() time.Duration { return 0 }

func newRunGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "guard", Hidden: true, RunE: func(*cobra.Command, []string) error { return canRun() },
	}
}
