package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

func newEventsCommand() *cobra.Command {
	var follow, asJSON bool
	var since, topic, save, passengers string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Tell who saw whom die or come back, who leads, detours; or what comes by",
		Long: `Events prints the story that one instance can tell: the newest 4096 things that
happened to it or that it heard of. With -f it goes on with each new one. A change
of who is alive that the fleet has agreed on has a revision, the same everywhere:
view_numbered says who accused, and which leader's view came to the same.

With --topic it prints instead each message of that topic that is broadcast from now
on, with -f or without, until Ctrl-C; a topic that ends with a slash stands for all below
it, and an empty one for all topics. Of a large payload it prints the size and the
SHA-256, when it is there whole. With --save each payload is written to a file of that
directory, whose name is topic.sender.life.number with _ for what is no letter, digit,
dot or hyphen.

With --passengers it prints instead each passenger of that topic that rides by the
instance on the particle, whose number and order are the same at all stops, what it carries,
and what the stops before have made of it. Topics are as with --topic.

--since takes the number of an event (those after it are told), a duration back
from now, or a time such as 2026-11-23T12:00:00Z.`,
		Example: `  ring events
  ring events -f --since 10m
  ring events --topic config/
  ring events --topic ''
  ring events --topic image --save /tmp/images
  ring events --passengers ''
  ring events --json | jq 'select(.kind == "view_numbered")'`,
		Args: cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new one until Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object per line")
	cmd.Flags().StringVar(&since, "since", "", "tell what came after: a number, a duration or a time")
	cmd.Flags().StringVar(&topic, "topic", "",
		"print the messages of this topic instead, as they come; '' for all")
	cmd.Flags().StringVar(&save, "save", "", "write the payloads to files in this `directory`")
	cmd.Flags().StringVar(&passengers, "passengers", "",
		"print the passengers of this `topic` instead, as they ride by; '' for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkEventFlags(cmd.Flags().Changed); err != nil {
			return err
		}
		if cmd.Flags().Changed("topic") {
			c, err := newClient(*addr)
			if err != nil {
				return err
			}
			return followMessages(cmd, c, topic, save, asJSON)
		}
		if cmd.Flags().Changed("passengers") {
			c, err := newClient(*addr)
			if err != nil {
				return err
			}
			return followPassengers(cmd, c, passengers, asJSON)
		}
		after, from, err := parseSince(since, time.Now())
		if err != nil {
			return err
		}
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		show := func(line json.RawMessage) error {
			return printEvent(cmd.OutOrStdout(), line, from, asJSON)
		}
		path := "/v1/events?since=" + strconv.FormatUint(after, 10)
		if follow {
			return c.follow(cmd.Context(), path+"&follow=1", show)
		}
		var answer struct {
			Events []json.RawMessage `json:"events"`
		}
		if err := c.get(cmd.Context(), path, &answer); err != nil {
			return err
		}
		for _, line := range answer.Events {
			if err := show(line); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// checkEventFlags says which of the flags that are given cannot go together.
func checkEventFlags(given func(string) bool) error {
	topic, passengers := given("topic"), given("passengers")
	switch {
	case topic && passengers:
		return usageError("--topic prints what is broadcast, --passengers what rides by: give one of them, " +
			"and run ring events twice for both")
	case given("save") && !topic:
		return usageError("--save goes with --topic: it is messages that have payloads to write")
	case given("since") && topic:
		return usageError("--since looks back at events, and with --topic messages are printed as they come " +
			"from now on: leave out one of them")
	case given("since") && passengers:
		return usageError("--since looks back at events, and with --passengers those are printed that ride by " +
			"from now on: leave out one of them")
	}
	return nil
}

// parseSince returns the event after which to tell, or the time from which.
func parseSince(text string, now time.Time) (after uint64, from time.Time, err error) {
	if text == "" {
		return 0, time.Time{}, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return 0, now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return 0, t, nil
	}
	return 0, time.Time{}, usageError(
		"--since %q is not an event's number, a duration (10m) or a time (2026-11-23T12:00:00Z)", text)
}

func printEvent(out io.Writer, line json.RawMessage, from time.Time, asJSON bool) error {
	var event ring.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return exitf(exitFailed, "read event: %w", err)
	}
	if event.At.Before(from) {
		return nil
	}
	if asJSON {
		return printLine(out, line)
	}
	p := paintFor(out)
	_, err := fmt.Fprintf(out, "%s  %5d  %-12s  %s\n",
		p.in(dim, event.At.Local().Format("2006-01-02 15:04:05.000")), event.Seq,
		p.in(kindColor(event.Kind), event.Kind), shown(event.Text))
	return err
}

// kindColor is the colour of an event's kind: what was lost, what came back,
// what is odd. The kinds are those that package ring documents at Event.
func kindColor(kind string) string {
	switch kind {
	case "died", "cut_off", "refused", "unanchored", "history_conflict", "station_disabled":
		return red
	case "joined", "returned", "whole", "good_link", "detour_off", "anchored":
		return green
	case "suspected", "accused", "bad_link", "detour_on", "damped", "starved", "link_lost", "dropped",
		"ticks_skipped", "history_changed", "station_failed", "station_overran":
		return yellow
	}
	return ""
}

// printLine prints one JSON object on one line.
func printLine(out io.Writer, object json.RawMessage) error {
	var line bytes.Buffer
	if err := json.Compact(&line, object); err != nil {
		return err
	}
	line.WriteByte('\n')
	_, err := out.Write(line.Bytes())
	return err
}
