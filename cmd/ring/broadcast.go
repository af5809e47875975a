package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

func newBroadcastCommand() *cobra.Command {
	var wait bool
	cmd := busCommand(&cobra.Command{
		Use:   "broadcast TOPIC [PAYLOAD|-]",
		Short: "Send a message to all instances that live",
		Long: `Broadcast sends a message to all instances that live, by way of one of them; the
payload is the argument, or standard input if that is - or missing. Each gets it once,
those of one sender in order. It prints how the message was numbered: the sender, its
life, and the number in that. ring events --topic shows what arrives at an instance.
Broadcasts need the role admin: this host, or who shows --token or --cert.

With --wait it waits until all that live have it, at most for --timeout, and prints how
many of how many have it, and who has not. Exit code 124 says that some who live have not
said in time that they have it; they may get it later.

A payload of more than 48 KiB, up to 1 GiB, goes from instance to instance in chunks, over
connections of its own. The command ends when the instance at --addr has all of it and the
others know what is to come, with --wait when all that live have all of it; --timeout
bounds that only if it is given. ring bulk shows how far they are.`,
		Example: `  ring broadcast config/reload now
  ring broadcast blob - < file
  ring broadcast release/tar - --wait < release.tar
  ring broadcast config/reload now --wait --timeout 3s
  ring broadcast config/reload now --addr 127.0.0.1:3004 --json`,
		Args: cobra.RangeArgs(1, 2),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		begun, payload := time.Now(), castInput(cmd, args)
		head, err := io.ReadAll(io.LimitReader(payload, ring.PayloadMax+1))
		if err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
		query := f.query()
		var body io.Reader = bytes.NewReader(head)
		large := len(head) > ring.PayloadMax
		switch {
		case wait && !large:
			query.Set("wait", "")
		case large:
			if !cmd.Flags().Changed("timeout") {
				query.Del("timeout")
			}
			bar := newProgress(cmd.ErrOrStderr(), io.MultiReader(body, payload), sizeOf(payload))
			defer bar.end()
			body = bar
		}
		path := "/v1/broadcast/" + pathPart(args[0]) + "?" + query.Encode()
		answer, err := c.ask(cmd.Context(), http.MethodPost, path, body)
		if err != nil {
			return err
		}
		var r ring.Receipt // of which only a Message is there without --wait
		if err := json.Unmarshal(answer, &r); err != nil {
			return c.strange(err)
		}
		if large && wait {
			until := time.Time{}
			if cmd.Flags().Changed("timeout") {
				until = begun.Add(f.timeout)
			}
			if err := c.awaitPayload(cmd, &r, until); err != nil {
				return err
			}
			if answer, err = json.MarshalIndent(receiptOf{1, r}, "", "  "); err != nil {
				return fmt.Errorf("write the receipt: %w", err)
			}
			answer = append(answer, '\n')
		}
		if f.json {
			err = printed(cmd, answer, nil)
		} else {
			err = printReceipt(cmd.OutOrStdout(), &r, wait)
		}
		return errors.Join(err, inTime(r.Missing, f.timeout))
	})
	cmd.Flags().BoolVar(&wait, "wait", false, "until all that live have it")
	return cmd
}

// receiptOf is a receipt as the API would give it.
type receiptOf struct {
	V int `json:"v"`
	ring.Receipt
}

// payloadLook is how often all are asked how much of a payload they have.
const payloadLook = 250 * time.Millisecond

// awaitPayload waits until all that live have a large payload, or for that time unless it
// is zero, and notes in r who has.
func (c *client) awaitPayload(cmd *cobra.Command, r *ring.Receipt, until time.Time) error {
	bar := newProgress(cmd.ErrOrStderr(), nil, 0)
	defer bar.end()
	for {
		g, _, err := c.gather(cmd.Context(), ring.PayloadTopic, r.Large.Name, payloadAsk)
		if err != nil {
			return err
		}
		r.Have, r.Missing, bar.done = []ring.Name{}, g.Missing, 0
		for _, reply := range g.Replies {
			have, err := strconv.ParseInt(string(reply.Value), 10, 64)
			if err != nil {
				return c.strange(err)
			}
			if bar.done += have; have == r.Large.Size {
				r.Have = append(r.Have, reply.From)
			} else {
				r.Missing = append(r.Missing, ring.Absent{Name: reply.From, State: ring.Alive})
			}
		}
		if inTime(r.Missing, 0) == nil || !until.IsZero() && time.Now().After(until) {
			return nil
		}
		bar.size = r.Large.Size * int64(len(g.Replies))
		if bar.shows {
			bar.shown = time.Now()
			bar.show(bar.shown)
		}
		select {
		case <-cmd.Context().Done():
			return context.Cause(cmd.Context())
		case <-time.After(payloadLook):
		}
	}
}

// payloadAsk is how long one such question may take.
const payloadAsk = 5 * time.Second

// gathered is what came of a question.
type gathered struct {
	Replies []ring.Reply  `json:"replies"`
	Failed  []ring.Name   `json:"failed"`
	Missing []ring.Absent `json:"missing"`
}

// gather asks all, and returns the answer as it came, too.
func (c *client) gather(ctx context.Context, topic, payload string, timeout time.Duration) (
	g gathered, answer []byte, err error,
) {
	path := "/v1/gather/" + pathPart(topic) + "?" + url.Values{"timeout": {timeout.String()}}.Encode()
	if answer, err = c.ask(ctx, http.MethodPost, path, strings.NewReader(payload)); err != nil {
		return g, nil, err
	}
	if err := json.Unmarshal(answer, &g); err != nil {
		return g, nil, c.strange(err)
	}
	return g, answer, nil
}

// castInput is the second argument, or standard input; who sits at that is told.
func castInput(cmd *cobra.Command, args []string) io.Reader {
	if len(args) == 2 && args[1] != "-" {
		return strings.NewReader(args[1])
	}
	if isTerminal(cmd.InOrStdin()) {
		fmt.Fprintln(cmd.ErrOrStderr(), "ring: the payload is read from standard input, until Ctrl-D")
	}
	return cmd.InOrStdin()
}

// castPayload is all of that, if it is no more than a message may have, and empty where there
// is no second argument.
func castPayload(cmd *cobra.Command, args []string) (string, error) {
	if len(args) < 2 {
		return "", nil
	}
	text, err := io.ReadAll(io.LimitReader(castInput(cmd, args), ring.PayloadMax+1))
	if err != nil {
		return "", fmt.Errorf("read the payload: %w", err)
	}
	if len(text) > ring.PayloadMax {
		return "", exitf(exitRefused, "the payload is longer than %d bytes, which is the most",
			ring.PayloadMax)
	}
	return string(text), nil
}

func printReceipt(out io.Writer, r *ring.Receipt, wait bool) error {
	name := fmt.Sprintf("%s %d.%d", r.From, r.Life, r.Seq)
	if !wait {
		_, err := fmt.Fprintln(out, name)
		return err
	}
	_, err := fmt.Fprintf(out, "%s: %d of %d have it\n", name, len(r.Have),
		len(r.Have)+len(r.Missing))
	return errors.Join(err, printAbsent(out, r.Missing))
}

func printAbsent(out io.Writer, missing []ring.Absent) error {
	p := paintFor(out)
	for _, a := range missing {
		_, err := fmt.Fprintln(out, p.in(yellow, fmt.Sprintf("%s: nothing came, it is %s", a.Name, a.State)))
		if err != nil {
			return err
		}
	}
	return nil
}

// inTime is an error if somebody of missing lives.
func inTime(missing []ring.Absent, timeout time.Duration) error {
	n := 0
	for _, a := range missing {
		if a.State == ring.Alive || a.State == ring.Suspect {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return exitf(exitTimeout, "nothing came of %d who live within %v", n, timeout)
}

func newGatherCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "gather TOPIC [PAYLOAD|-]",
		Short: "Ask all instances that live one question",
		Long: `Gather asks all instances that live, by way of one of them, and prints what each
answers, in the order of the roster. The payload is the argument, or standard input if
that is -; without one it is empty. ring node answers ring/version and ring/clock; an
application that has the ring as a library answers what it likes. What is below ring/, without
a payload, needs the role read, other questions admin: this host, or who shows --token or
--cert.

It waits at most for --timeout. Exit code 3 says that nobody has an answer to that topic,
124 that some who live have not answered in time.`,
		Example: `  ring gather ring/version
  ring gather ring/clock --timeout 2s
  ring gather ring/version --json | jq -r '.replies[] | .from, (.value | @base64d)'`,
		Args: cobra.RangeArgs(1, 2),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		text, err := castPayload(cmd, args)
		if err != nil {
			return err
		}
		g, answer, err := c.gather(cmd.Context(), args[0], text, f.timeout)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if f.json {
			err = printed(cmd, answer, nil)
		} else {
			var text strings.Builder
			for _, r := range g.Replies {
				fmt.Fprintf(&text, "%s: %s\n", r.From, shown(string(r.Value)))
			}
			for _, name := range g.Failed {
				fmt.Fprintf(&text, "%s: has no answer\n", name)
			}
			if _, err = io.WriteString(out, text.String()); err == nil {
				err = printAbsent(out, g.Missing)
			}
		}
		if err == nil && len(g.Replies) == 0 && len(g.Failed) > 0 {
			return exitf(exitFalse, "nobody has an answer to %q", args[0])
		}
		return errors.Join(err, inTime(g.Missing, f.timeout))
	})
}

// followMessages prints what is delivered at an instance until it is interrupted, and
// writes the payloads to files of a directory, unless that is empty.
func followMessages(cmd *cobra.Command, c *client, topic, save string, asJSON bool) error {
	if save != "" {
		if err := os.MkdirAll(save, 0o777); err != nil {
			return exitf(exitFailed, "%w", err)
		}
	}
	path := "/v1/messages?topic=" + url.QueryEscape(topic)
	return c.follow(cmd.Context(), path, func(line json.RawMessage) error {
		var m savedMessage
		if err := json.Unmarshal(line, &m); err != nil {
			return exitf(exitFailed, "read message: %w", err)
		}
		if save != "" && m.Missed == 0 {
			var err error
			if m.File, err = c.savePayload(cmd.Context(), &m.Message, save); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "ring: %s of %s is not saved: %v\n", shown(m.Topic), m.From,
					err)
			} else if line, err = json.Marshal(m); err != nil {
				return err
			}
		}
		if asJSON {
			return printLine(cmd.OutOrStdout(), line)
		}
		return printMessage(cmd.OutOrStdout(), m)
	})
}

// savedMessage is a message and where its payload was written to.
type savedMessage struct {
	V int `json:"v"`
	ring.Message
	File string `json:"file,omitempty"`
}

func printMessage(out io.Writer, m savedMessage) error {
	p := paintFor(out)
	at := p.in(dim, m.At.Local().Format("2006-01-02 15:04:05.000"))
	if m.Missed > 0 {
		from := ""
		if m.From != "" {
			from = " of " + string(m.From)
		}
		_, err := fmt.Fprintf(out, "%s  %s\n", at,
			p.in(yellow, strconv.FormatUint(m.Missed, 10)+" messages"+from+" were missed"))
		return err
	}
	what := shown(string(m.Payload))
	if m.Large != nil {
		what = fmt.Sprintf("%s  sha256:%s", bytesText(m.Large.Size), m.Large.SHA256)
	}
	if m.File != "" {
		what += "  " + shown(m.File)
	}
	_, err := fmt.Fprintf(out, "%s  %s  %s  %s\n", at, m.From, shown(m.Topic), what)
	return err
}

// savePayload writes the payload of m to a file of dir, whole or not at all, and returns
// which. What a large one has to be is checked.
func (c *client) savePayload(ctx context.Context, m *ring.Message, dir string) (path string, err error) {
	var body io.ReadCloser = io.NopCloser(bytes.NewReader(m.Payload))
	if m.Large != nil {
		if body, err = c.open(ctx, http.MethodGet, "/v1/bulk/"+url.PathEscape(m.Large.Name)); err != nil {
			return "", err
		}
	}
	defer body.Close()
	f, err := os.CreateTemp(dir, ".ring-*")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), body)
	err = errors.Join(err, f.Close())
	if got := hex.EncodeToString(sum.Sum(nil)); err == nil && m.Large != nil && got != m.Large.SHA256 {
		err = fmt.Errorf("it has the SHA-256 %s, and its sender says %s", got, m.Large.SHA256)
	}
	path = filepath.Join(dir, fileName(m))
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, nil
}

// fileName names the file for the payload of m: whatever the topic says, it is a plain
// name.
func fileName(m *ring.Message) string {
	plain := func(text string, most int) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
				return r
			}
			return '_'
		}, text[:min(len(text), most)])
	}
	name := fmt.Sprintf("%s.%s.%d.%d", plain(m.Topic, 100), plain(string(m.From), 80), m.Life, m.Seq)
	if name[0] == '.' {
		name = "_" + name[1:]
	}
	return name
}
