package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// gonePace is how often leave looks whether the instance has gone.
const gonePace = 50 * time.Millisecond

func newLeaveCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Make an instance say goodbye and end, as SIGTERM does",
		Long: `Leave tells the instance at --addr to say goodbye to its neighbours and end. The
ring closes at once and nobody calls it dead. It needs the role admin: the
instance's own host, or who shows --token or --cert; exit code 5 says that this was not so.
Leave waits until the instance has gone, at most --timeout (then exit code 124).`,
		Example: `  ring leave --addr 127.0.0.1:3004`,
		Args:    cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 20*time.Second, "wait at most this long")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return usageError("--timeout is %v; give a duration such as 20s", timeout)
		}
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		body, err := c.open(ctx, http.MethodPost, "/v1/leave")
		if err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return c.awaitGone(ctx)
	}
	return cmd
}

// awaitGone returns once nobody answers any more.
func (c *client) awaitGone(ctx context.Context) error {
	look := time.NewTicker(gonePace)
	defer look.Stop()
	for {
		_, err := c.raw(ctx, "/livez")
		var exit *exitError
		if errors.As(err, &exit) && exit.code == exitUnreachable && ctx.Err() == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return exitf(exitTimeout, "%s is leaving but has not gone yet", c.at)
		}
	}
}
