package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

func newTickCommand() *cobra.Command {
	var follow, asJSON bool
	var every string
	cmd := &cobra.Command{
		Use:   "tick",
		Short: "Print the tick, or every pass of the particle at one instance",
		Long: `Tick prints the number of the newest tick that one instance has counted, and
nothing else; exit code 3 means that there was none yet. A tick names one lap: no
number is ever used twice, and none goes back. --json shows the newest pass of the
particle, also one before the first tick, with that exit code.

With -f it prints a line for each pass of the particle: its tick, epoch and lap,
the time since the pass before, and how long after the lap began it was here. A
lap that no quorum stamps has no number: its line begins with - and says so.`,
		Example: `  ring tick
  ring tick -f
  ring tick -f --every 1s --json`,
		Args: cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each pass until Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object per line")
	cmd.Flags().StringVar(&every, "every", "",
		"with -f: at most one line per this time, such as 1s (default: every pass)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every != "" {
			if d, err := time.ParseDuration(every); err != nil || d < 0 {
				return usageError("--every is %q; give a duration such as 1s", every)
			}
		}
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		if follow {
			return c.follow(cmd.Context(), "/v1/ticks?follow=1&every="+every,
				func(line json.RawMessage) error { return printTick(cmd, line, asJSON) })
		}
		if every != "" {
			return usageError("--every needs --follow")
		}
		return newestTick(cmd, c, asJSON)
	}
	return cmd
}

func newestTick(cmd *cobra.Command, c *client, asJSON bool) error {
	var answer struct {
		Tick json.RawMessage `json:"tick"`
	}
	if err := c.get(cmd.Context(), "/v1/ticks", &answer); err != nil {
		return err
	}
	if len(answer.Tick) == 0 || string(answer.Tick) == "null" {
		return exitf(exitFalse, "no particle has passed there yet")
	}
	var tick ring.Tick
	if err := json.Unmarshal(answer.Tick, &tick); err != nil {
		return exitf(exitFailed, "read tick: %w", err)
	}
	var err error
	switch {
	case asJSON:
		err = printTick(cmd, answer.Tick, true)
	case tick.Tick > 0:
		_, err = fmt.Fprintln(cmd.OutOrStdout(), tick.Tick)
	}
	if err == nil && tick.Tick == 0 {
		err = exitf(exitFalse, "no lap has been counted there yet: no quorum has stamped one")
	}
	return err
}

func printTick(cmd *cobra.Command, line json.RawMessage, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return printLine(out, line)
	}
	var tick ring.Tick
	if err := json.Unmarshal(line, &tick); err != nil {
		return exitf(exitFailed, "read tick: %w", err)
	}
	_, err := fmt.Fprintln(out, tickLine(tick))
	return err
}

// tickLine shows one pass. That of a lap which does not count has no number.
func tickLine(t ring.Tick) string {
	number := "-"
	if t.Anchored {
		number = strconv.FormatUint(t.Tick, 10)
	}
	text := fmt.Sprintf("%-8s epoch %s  lap %d", number, t.Epoch, t.Lap)
	if t.Took > 0 {
		text += " in " + lapText(t.Took)
	}
	if !t.Anchored {
		return text + "  uncounted"
	}
	if t.Skew > 0 {
		text += "  skew " + millis(float64(t.Skew)/float64(time.Millisecond))
	}
	return text
}
