//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringofservers.dev/guard"
	runner "ringofservers.dev/run"
)

// lastLease is a lease that nobody renews.
type lastLease time.Duration // until when, by the boot clock

func (l lastLease) Fence() uint64                 { return 7 }
func (l lastLease) Left() time.Duration           { return max(0, time.Duration(l)-guard.BootTime()) }
func (l lastLease) Release(context.Context) error { return nil }

// A command that was cut off is not done, though it says so when it is asked to end.
func TestCutOffIsNotDone(t *testing.T) {
	stopped := errors.New("somebody wants it to end")
	for what, c := range map[string]struct {
		script string
		lease  time.Duration
		stop   bool
		want   error
	}{
		"by itself":            {"touch $D/runs", time.Hour, false, nil},
		"by its context":       {"trap 'exit 0' TERM; touch $D/runs; while :; do sleep 0.01; done", time.Hour, true, stopped},
		"by the lease":         {"trap 'exit 0' TERM; touch $D/runs; while :; do sleep 0.01; done", 2 * time.Second, false, runner.ErrLost},
		"before it has begun":  {"touch $D/runs", -time.Second, false, runner.ErrLost},
		"and not by obedience": {"trap '' TERM; touch $D/runs; while :; do sleep 0.01; done", 2 * time.Second, false, runner.ErrLost},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			go func() {
				for c.stop && ctx.Err() == nil {
					if _, err := os.Stat(filepath.Join(dir, "runs")); err == nil {
						stop(stopped)
					}
					time.Sleep(time.Millisecond)
				}
			}()
			w := work{
				command: []string{"sh", "-c", "D=" + dir + "; " + c.script}, lease: 2 * time.Second, grace: time.Minute,
				stdout: os.Stderr, stderr: os.Stderr,
			}
			_, err := w.exec(ctx, runner.Start{Job: "x"}, lastLease(guard.BootTime()+c.lease))
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}
