package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

// busTimeMax is what an instance takes as a timeout at most.
const busTimeMax = 5 * time.Minute

// busFlags are those of every command below `ring bus`.
type busFlags struct {
	addr    *target
	json    bool
	timeout time.Duration
}

// client asks the instance, with patience for what it has to agree on first.
func (f *busFlags) client() (*client, error) {
	if f.timeout <= 0 || f.timeout > busTimeMax {
		return nil, usageError("--timeout is %v; give a duration up to %v", f.timeout, busTimeMax)
	}
	return f.addr.client(f.timeout + answerTime)
}

// query begins the query of a request that has to be agreed on.
func (f *busFlags) query() url.Values {
	return url.Values{"timeout": {f.timeout.String()}}
}

func newBusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bus",
		Short: "Read and write what the fleet agrees on, and see who votes",
		Long: `The bus is a small map of keys that the whole fleet agrees on: every write has
a revision, and nobody ever sees two orders of them. It needs most of the voters
alive; without them reads and writes fail with exit code 5, and nothing is done.
Writes, backup, restore and recover need the role admin: this host, or who shows --token or
--cert. Keys below ring/ are the ring's own.

Exit code 124 says that no answer came in time: a write may have been done or
not; read again to know.`,
		Example: `  ring bus status
  ring bus set config/mode fast
  ring bus get config/mode
  ring bus list config/`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBusStatusCommand(), newBusGetCommand(), newBusSetCommand(),
		newBusDelCommand(), newBusListCommand(), newBusBackupCommand(), newBusRestoreCommand(),
		newBusRecoverCommand())
	return cmd
}

// busCommand makes one command below `ring bus`, which do carries out.
func busCommand(c *cobra.Command, do func(*cobra.Command, *client, *busFlags, []string) error,
) *cobra.Command {
	f := &busFlags{addr: addAddrFlag(c)}
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	c.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "wait at most this long")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		for _, arg := range args[:min(1, len(args))] {
			if arg == "" {
				return usageError("the argument is empty")
			}
		}
		cl, err := f.client()
		if err != nil {
			return err
		}
		return do(cmd, cl, f, args)
	}
	return c
}

func newBusGetCommand() *cobra.Command {
	var local bool
	cmd := busCommand(&cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key",
		Long: `Get prints the value as it was written, byte for byte; on a terminal with a
newline after it. It shows every write that was acknowledged to anybody before,
and needs a quorum for that. With --local it shows what the instance at --addr
has, asks nobody, and may be behind. Exit code 3 says that there is no such key.
--json shows the revisions too, and the value in base64.`,
		Example: `  ring bus get config/mode
  ring bus get config/mode --local
  ring bus get config/mode --json | jq .revision`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		query := f.query()
		if local {
			query.Set("local", "")
		}
		text, err := c.ask(cmd.Context(), http.MethodGet, keyPath(args[0], query), nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var e ring.Entry
		if err := json.Unmarshal(text, &e); err != nil {
			return c.strange(err)
		}
		out := cmd.OutOrStdout()
		if isTerminal(out) && !strings.HasSuffix(string(e.Value), "\n") {
			e.Value = append(e.Value, '\n')
		}
		_, err = out.Write(e.Value)
		return err
	})
	cmd.Flags().BoolVar(&local, "local", false, "what this instance has, which may be behind")
	return cmd
}

func newBusSetCommand() *cobra.Command {
	var revision uint64
	cmd := busCommand(&cobra.Command{
		Use:   "set KEY [VALUE|-]",
		Short: "Write a key, and print the revision of that",
		Long: `Set writes a key; the value is the argument, or standard input if that is - or
missing. With --if-revision it writes only if the key was last written at that
revision, or, with 0, if it does not exist; exit code 3 says that it was not so.`,
		Example: `  ring bus set config/mode fast
  ring bus set config/file - < file
  ring bus set lock/x me --if-revision 0      # only if nobody has`,
		Args: cobra.RangeArgs(1, 2),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		var value io.Reader = cmd.InOrStdin()
		if len(args) == 2 && args[1] != "-" {
			value = strings.NewReader(args[1])
		}
		// Read whole and first: what is sent must not end early if reading fails.
		text, err := io.ReadAll(io.LimitReader(value, ring.ValueMax+1))
		if err != nil {
			return fmt.Errorf("read the value: %w", err)
		}
		if len(text) > ring.ValueMax {
			return exitf(exitRefused, "the value is longer than %d bytes, which is the most",
				ring.ValueMax)
		}
		query := f.query()
		if cmd.Flags().Changed("if-revision") {
			query.Set("if_revision", strconv.FormatUint(revision, 10))
		}
		return c.write(cmd, f, http.MethodPut, keyPath(args[0], query), string(text))
	})
	cmd.Flags().Uint64Var(&revision, "if-revision", 0,
		"only if the key was last written at this revision; 0: if it does not exist")
	return cmd
}

func newBusDelCommand() *cobra.Command {
	var revision uint64
	cmd := busCommand(&cobra.Command{
		Use:   "del KEY",
		Short: "Delete a key, and print the revision of that",
		Long: `Del deletes a key; with --if-revision only if it was last written at that
revision. Exit code 3 says that it was not so, or that there is no such key.`,
		Example: `  ring bus del config/mode
  ring bus del lock/x --if-revision 17`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		query := f.query()
		if cmd.Flags().Changed("if-revision") {
			if revision == 0 {
				return usageError("--if-revision 0 would delete a key only if it does not exist")
			}
			query.Set("if_revision", strconv.FormatUint(revision, 10))
		}
		return c.write(cmd, f, http.MethodDelete, keyPath(args[0], query), "")
	})
	cmd.Flags().Uint64Var(&revision, "if-revision", 0,
		"only if the key was last written at this revision")
	return cmd
}

func newBusListCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List the keys, with their revisions",
		Long: `List shows the keys that begin with PREFIX, or all, in order: the revision that
wrote each last, the one that made it, its size, and the beginning of its value.
It needs a quorum, as get does.`,
		Example: `  ring bus list
  ring bus list config/ --json | jq -r '.entries[] | .key, (.value | @base64d)'`,
		Args: cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		query := f.query()
		if len(args) == 1 {
			query.Set("prefix", args[0])
		}
		text, err := c.ask(cmd.Context(), http.MethodGet, "/v1/bus/keys?"+query.Encode(), nil)
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var answer struct {
			Entries []ring.Entry `json:"entries"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return c.strange(err)
		}
		return printEntries(cmd.OutOrStdout(), answer.Entries)
	})
}

// valueShown is how much of a value a list shows, in bytes.
const valueShown = 48

func printEntries(out io.Writer, entries []ring.Entry) error {
	rows := [][]cell{{
		{"KEY", bold, false},
		{"REVISION", bold, true},
		{"CREATED", bold, true},
		{"BYTES", bold, true},
		{"VALUE", bold, false},
	}}
	for _, e := range entries {
		value := strconv.Quote(string(e.Value[:min(len(e.Value), valueShown)]))
		if len(e.Value) > valueShown {
			value += " …"
		}
		rows = append(rows, []cell{
			{e.Key, "", false},
			{strconv.FormatUint(e.Revision, 10), "", true},
			{strconv.FormatUint(e.Created, 10), "", true},
			{strconv.Itoa(len(e.Value)), "", true},
			{value, dim, false},
		})
	}
	return printTable(out, paintFor(out), rows)
}

// keyPath is where a key is found.
func keyPath(key string, query url.Values) string {
	return "/v1/bus/keys/" + pathPart(key) + "?" + query.Encode()
}

// pathPart escapes what stands in a path. Dots are escaped as well: a path that goes up
// is mended on the way, and would name another key.
func pathPart(text string) string { return strings.ReplaceAll(url.PathEscape(text), ".", "%2E") }

// write has one write done and prints its revision.
func (c *client) write(cmd *cobra.Command, f *busFlags, method, path, value string) error {
	text, err := c.ask(cmd.Context(), method, path, strings.NewReader(value))
	if err != nil || f.json {
		return printed(cmd, text, err)
	}
	var answer struct {
		Revision uint64 `json:"revision"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return c.strange(err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Revision)
	return err
}

// ask sends one request and returns the whole answer.
func (c *client) ask(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, max(answerMax, ring.BackupMax)))
	if err != nil {
		return nil, c.unreachable(err)
	}
	return text, nil
}

// strange says that an answer is not what this command understands.
func (c *client) strange(err error) error {
	return exitf(exitFailed, "%s does not answer as an instance does: %w", c.at, err)
}

// printed prints an answer as it came, or hands on the error.
func printed(cmd *cobra.Command, text []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

func newBusBackupCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that the bus holds to a file",
		Long: `Backup writes what the instance at --addr has of the bus to FILE, whole or not at
all; - is standard output. It needs no quorum; without one it may be behind, and
says so. Exit code 3 says that the instance has nothing yet. ` + "`ring bus restore`" + `
reads it, and says without --yes what is in it.`,
		Example: `  ring bus backup bus-$(date +%F).backup`,
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		var s ring.BusStatus
		if err := c.get(cmd.Context(), "/v1/bus", &s); err != nil {
			return err
		}
		text, err := c.ask(cmd.Context(), http.MethodGet, "/v1/bus/backup", nil)
		if err != nil {
			return err
		}
		info, err := ring.ReadBackup(text) // what cannot be restored is found today
		if err != nil {
			return c.strange(err)
		}
		if args[0] == "-" {
			return printed(cmd, text, nil)
		}
		if err := replaceFile(args[0], text); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
		if !s.Quorum {
			fmt.Fprintln(cmd.ErrOrStderr(), "ring: most voters are out of reach of "+string(s.Self)+
				": what it has may be behind")
		}
		if f.json {
			return printJSON(cmd.OutOrStdout(), backupMade{
				V: 1, File: args[0], Bytes: len(text), BackupInfo: info, Quorum: s.Quorum,
			})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, revision %d of history %s, %s\n",
			args[0], len(text), info.Revision, shortHistory(info.History), many(info.Keys, "key"))
		return err
	})
}

// backupMade is what backup answers with --json.
type backupMade struct {
	V     int    `json:"v"`
	File  string `json:"file"`
	Bytes int    `json:"bytes"`
	ring.BackupInfo
	Quorum bool `json:"quorum"` // without one it may be behind
}

// replaceFile writes a file that only its owner may read, in one go.
func replaceFile(path string, text []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}
