package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

// renewal is what recover and restore answer with --json.
type renewal struct {
	V      int              `json:"v"`
	Done   bool             `json:"done"`
	Backup *ring.BackupInfo `json:"backup,omitempty"` // what restore restores
	Before ring.BusStatus   `json:"before"`
	After  *ring.BusStatus  `json:"after"` // null while it is not done
}

func newBusRestoreCommand() *cobra.Command {
	var yes bool
	cmd := busCommand(&cobra.Command{
		Use:   "restore FILE",
		Short: "Begin a new history of the bus with what a backup holds",
		Long: `Restore puts the keys of a backup in place of all keys that there are, for the
whole fleet: it begins a new history at the instance at --addr, and everybody
follows. Leases end; epochs, ticks and fences leap over all that were ever given.
It says first what is in FILE and what would be given up, and wants --yes for it. A
file that is no backup, is damaged, or is of another ring is refused with exit code 5.
- reads standard input. What an instance had when it went over to another history is
such a file too: bus.given-up-… in its data directory.`,
		Example: `  ring bus restore bus-2026-11-24.backup          # says what it would do
  ring bus restore bus-2026-11-24.backup --yes`,
		Args: cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		text, err := readAtMost(cmd, args[0], ring.BackupMax+1)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		info, err := ring.ReadBackup(text)
		if err != nil {
			return exitf(exitRefused, "%s: %s", args[0], strings.TrimPrefix(err.Error(), "ring: "))
		}
		r := renewal{V: 1, Backup: &info}
		if err := c.get(cmd.Context(), "/v1/bus", &r.Before); err != nil {
			return err
		}
		if err := info.CheckRing(r.Before.Ring); err != nil {
			return exitf(exitRefused, "%s: %w", args[0], err)
		}
		lost := fmt.Sprintf("%s that the bus has, in favour of %s in %s",
			many(r.Before.Keys, "key"), many(info.Keys, "key"), args[0])
		return renew(cmd, c, f, r, yes, lost, "/v1/bus/restore?"+f.query().Encode(), text)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// readAtMost reads a file, or standard input for -, up to so many bytes.
func readAtMost(cmd *cobra.Command, path string, most int64) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(cmd.InOrStdin(), most))
	}
	return readFile(path, most)
}

// readFile reads a file, up to so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func newBusRecoverCommand() *cobra.Command {
	var yes, force bool
	cmd := busCommand(&cobra.Command{
		Use:   "recover",
		Short: "Begin a new history of the bus where most voters are lost for good",
		Long: `Recover is for when most voters will not come back. It begins a new history at
the instance at --addr, from what it has, with itself as the only voter; the
others follow it and vote again. What only the lost voters knew is given up,
leases end, and epochs, ticks and fences leap over all that the lost ones may
have given. Use it at the instance with the newest revision (ring bus status
tells), and at one only.

A holder that does not hear of it believes in its lease until that runs out, while
another may be given it: only the fence tells them apart. Stop such holders first, or
wait for as long as their leases last.

It says first what would be given up, and wants --yes for it. It is refused, with
exit code 5, while most voters are alive; --force does it all the same.`,
		Example: `  ring bus recover            # says what it would do
  ring bus recover --yes`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *client, f *busFlags, _ []string) error {
		r := renewal{V: 1}
		if err := c.get(cmd.Context(), "/v1/bus", &r.Before); err != nil {
			return err
		}
		s := r.Before
		switch {
		case s.History == "" && !force:
			return exitf(exitRefused, "%s knows no history: there is nothing to recover; use the "+
				"instance with the newest revision, or, if none has any, --force to begin with nothing",
				s.Self)
		case s.Quorum && !force:
			return exitf(exitRefused, "most voters are alive: nothing is lost. Stop those that "+
				"should be given up, or use --force")
		}
		query := f.query()
		if force {
			query.Set("force", "true")
		}
		lost := fmt.Sprintf("what others agreed on after revision %d and %s has not heard of",
			s.Revision, s.Self)
		return renew(cmd, c, f, r, yes, lost, "/v1/bus/recover?"+query.Encode(), nil)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&force, "force", false, "even if a quorum is alive, or nothing is known")
	return cmd
}

// renew says what a new history costs and, if told yes, has it begun.
func renew(cmd *cobra.Command, c *client, f *busFlags, r renewal, yes bool, lost, path string,
	body []byte,
) error {
	out := cmd.OutOrStdout()
	if !f.json {
		if err := printPlan(out, r, lost); err != nil {
			return err
		}
	}
	if !yes {
		if f.json {
			if err := printJSON(out, r); err != nil {
				return err
			}
		}
		return usageError("nothing is done yet; say --yes to do it")
	}
	if _, err := c.ask(cmd.Context(), http.MethodPost, path, bytes.NewReader(body)); err != nil {
		return err
	}
	r.Done, r.After = true, new(ring.BusStatus)
	if err := c.get(cmd.Context(), "/v1/bus", r.After); err != nil {
		return err
	}
	if f.json {
		return printJSON(out, r)
	}
	_, err := fmt.Fprintf(out, "done: history %s, era %d, revision %d; the others follow when they "+
		"hear of it\n", shortHistory(r.After.History), r.After.Era, r.After.Revision)
	return err
}

// printPlan says in plain words what a new history takes and changes.
func printPlan(out io.Writer, r renewal, lost string) error {
	s := r.Before
	var text strings.Builder
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&text, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	if b := r.Backup; b != nil {
		say("backup", "of ring %s: revision %d of history %s, %s", b.Ring, b.Revision,
			shortHistory(b.History), many(b.Keys, "key"))
		say("taken", "%s at %s", b.Taken.UTC().Format("2006-01-02 15:04:05 MST"), b.Instance)
	}
	say("begins at", "%s, revision %d of history %s, era %d", s.Self, s.Revision,
		shortHistory(s.History), s.Era)
	say("given up", "%s", lost)
	for _, l := range s.Leases {
		say("given up", "the lease %s of %s, fence %d; it may believe in it for %v",
			l.Name, l.Holder, l.Fence, millis(l.TTLMS))
	}
	for _, v := range s.Voters {
		switch {
		case v.State != ring.Alive && v.State != ring.Suspect:
			say("lost voter", "%s is %s", v.Name, v.State)
		case v.Revision != nil && *v.Revision > s.Revision:
			say("beware", "%s has revision %d, which is newer: do it there instead", v.Name, *v.Revision)
		}
	}
	say("voters", "%s alone at first, then those who follow it", s.Self)
	say("epoch", "leaps from %d by %d or more", s.Epoch, uint64(ring.LeapEpoch))
	say("ticks", "leap from %d by %d or more", s.TickLimit, uint64(ring.LeapTick))
	say("fences", "leap from %d by %d or more", s.Fence, uint64(ring.LeapFence))
	_, err := io.WriteString(out, text.String())
	return err
}

func newBusStatusCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "status",
		Short: "Show who votes and who leads, revisions, and who holds which lease",
		Long: `Status shows what one instance knows of the bus: the leader, whether most voters
are alive, how far it and each voter is, and what is reserved: ticks below the
first that is not, the highest fence, leases. It asks nobody else and needs no
quorum. The id of a voter is its index and how often its log began anew. Revision and
lag of one that the instance has not heard from are shown as –, and null with --json.`,
		Example: `  ring bus status
  ring bus status --json | jq '.voters[] | select(.lag != 0)'   # behind, or not heard from`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *client, f *busFlags, _ []string) error {
		text, err := c.raw(cmd.Context(), "/v1/bus")
		if err != nil || f.json {
			return printed(cmd, text, err)
		}
		var s ring.BusStatus
		if err := json.Unmarshal(text, &s); err != nil {
			return c.strange(err)
		}
		return printBusStatus(cmd.OutOrStdout(), s)
	})
}

func printBusStatus(out io.Writer, s ring.BusStatus) error {
	p := paintFor(out)
	_, err := fmt.Fprintf(out, "%s\n"+
		"as %s knows it: revision %d, view revision %d, history %s, era %d\n"+
		"epoch %d, ticks reserved below %d, fence %d, %s\n\n",
		busHeadline(p, s), s.Self, s.Revision, s.ViewRevision, shortHistory(s.History), s.Era,
		s.Epoch, s.TickLimit, s.Fence, many(s.Keys, "key"))
	if err != nil {
		return err
	}
	if err := printTable(out, p, voterRows(s)); err != nil || len(s.Leases) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return printTable(out, p, leaseRows(s.Leases))
}

// busHeadline says whether anything can be agreed on, and who leads there.
func busHeadline(p paint, s ring.BusStatus) string {
	if !s.Quorum { // whoever led may lead no more
		return p.in(red, "NO QUORUM: most voters are out of reach, and nothing can be agreed on")
	}
	alive := p.in(green, "a quorum is alive")
	if s.Leader == "" {
		return alive + " · " + p.in(red, "nobody leads")
	}
	lead := alive + " · led by " + string(s.Leader)
	if s.Term > 0 {
		lead += fmt.Sprintf(" in term %d", s.Term)
	}
	return lead
}

func voterRows(s ring.BusStatus) [][]cell {
	rows := [][]cell{{
		{"VOTER", bold, false},
		{"ID", bold, false},
		{"ROLE", bold, false},
		{"STATE", bold, false},
		{"REVISION", bold, true},
		{"LAG", bold, true},
	}}
	for _, v := range s.Voters {
		name := string(v.Name)
		if s.Quorum && v.Name == s.Leader {
			name += " (leads)"
		}
		rows = append(rows, []cell{
			{name, "", false},
			{v.ID, "", false},
			{v.Role, "", false},
			{string(v.State), stateColor(v.State), false},
			{known(v.Revision), "", true},
			{known(v.Lag), "", true},
		})
	}
	return rows
}

func leaseRows(leases []ring.LeaseState) [][]cell {
	rows := [][]cell{{
		{"LEASE", bold, false}, {"HOLDER", bold, false}, {"FENCE", bold, true}, {"TTL", bold, true},
	}}
	for _, l := range leases {
		rows = append(rows, []cell{
			{l.Name, "", false},
			{string(l.Holder), "", false},
			{fmt.Sprint(l.Fence), "", true},
			{millis(l.TTLMS), "", true},
		})
	}
	return rows
}

// known prints n, and a dash where it is not known.
func known(n *uint64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}

// shortHistory is as much of a history's id as tells it from another.
func shortHistory(id string) string { return orDash(id[:min(8, len(id))]) }

func many(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
