package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/respawn"
)

// respawnSettings are those of how dead instances are asked for: the table [respawn].
type respawnSettings struct {
	Command []string
	Rules   respawn.Rules
}

// respawnOptions are the settings of that.
var respawnOptions = []option{
	{
		"respawn.command", kindWords, "run for each dead instance by its nearest live predecessor, to ask " +
			"a supervisor for it; once for each word", true,
		func(d *draft, v string) error { return setWords(&d.Respawn.Command, v) },
		func(s *settings) string { return showWords(s.Respawn.Command) },
	},
	durationOption("respawn.grace", "from a death to the command, for the host's own supervisor (default 10s)",
		func(s *settings) *time.Duration { return &s.Respawn.Rules.Grace }),
	durationOption("respawn.timeout", "for one run of the command (default 30s)",
		func(s *settings) *time.Duration { return &s.Respawn.Rules.Timeout }),
	durationOption("respawn.return", "for the instance to be back after that (default 1m)",
		func(s *settings) *time.Duration { return &s.Respawn.Rules.Return }),
	durationOption("respawn.backoff", "after a run that failed; it doubles, up to 16 times this (default 5s)",
		func(s *settings) *time.Duration { return &s.Respawn.Rules.Backoff }),
	countOption("respawn.limit", "runs for one death, until there is but one each quarter of an hour (default 5)",
		func(s *settings) *int { return &s.Respawn.Rules.Limit }),
}

// check says what is wrong with those settings as a whole.
func (r respawnSettings) check(s settings) error {
	if len(r.Command) > 0 {
		return nil
	}
	return noneOf(respawnOptions, s, "no command: give respawn.command")
}

// respawn asks for dead instances until ctx ends or this one leaves; without a command it
// only remembers what others have done, should a reload bring one.
func (n *instance) respawn(ctx context.Context, config respawn.Config) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-n.leaving:
			cancel()
		case <-ctx.Done():
		}
	}()
	config.Changes = n.respawns
	if err := respawn.Run(ctx, n.ring, config); err != nil {
		n.logger.Error("nobody is respawned from here", "err", err)
	}
}

// respawnConfig is what package respawn has to know of settings.
func (n *instance) respawnConfig(s respawnSettings) respawn.Config {
	env := append(childEnv(os.Environ()), "RING_ADDR="+reachable(n.ring.Local(), n.settings.Socket))
	if starter := os.Getenv(starterEnv); starter != "" {
		env = append(env, starterEnv+"="+starter)
	}
	return respawn.Config{Command: s.Command, Env: env, Rules: s.Rules, Logger: n.logger}
}

// askCommand is the hidden subcommand by which an instance of `ring up` asks its starter
// for a dead one; starterEnv says where that is.
const (
	askCommand = "ask-starter"
	starterEnv = "RING_STARTER"
)

func newAskCommand() *cobra.Command {
	return &cobra.Command{
		Use: askCommand, Short: "Ask ring up to start an instance again", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return askStarter(cmd.Context(), os.Getenv(starterEnv), os.Getenv("RING_DEAD"))
		},
	}
}

// askStarter posts a name to a starter's URL.
func askStarter(ctx context.Context, url, name string) error {
	if url == "" || name == "" {
		return usageError("this command is run by the instances of ring up, and by nobody else")
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+name, http.NoBody)
	if err != nil {
		return exitf(exitUsage, "ask the starter: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return exitf(exitUnreachable, "ask the starter: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return exitf(exitFailed, "the starter answers %s: %s", resp.Status, text)
	}
	return nil
}
