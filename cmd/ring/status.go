package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/admin"
	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// watchPace is how often --watch asks.
const watchPace = time.Second

type statusFlags struct {
	json, quiet, watch bool
}

func newStatusCommand() *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who is alive, the tick and the lap time, as one instance knows it",
		Long: `Status asks one instance what it knows of the ring. It says first whether the
fleet is anchored: whether a quorum of the voters stamps the laps of the particle,
so that they count as ticks. Then every instance with its state, the epoch, lap
times without the declared rests, and links that are bad while both ends live. How the
application beside the one that is asked is, if it has one, stands before its table, and how
those of all are in the column APP, if there are any: each tells it on the particle. Where
the roster was changed while running, its version is shown, how many are retired, and, for as
long as there are any, who goes by an older version.

With --quiet it prints nothing: exit code 0 means that all are alive and this
instance is in the ring, 3 that it is otherwise, 4 that it cannot be reached.`,
		Example: `  ring status
  ring status --addr dc1-prod-0:3000 --json | jq '.instances[] | select(.state != "alive")'
  ring status --quiet || echo "somebody is missing"
  ring status --watch`,
		Args: cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "print one JSON object")
	cmd.Flags().BoolVarP(&flags.quiet, "quiet", "q", false,
		"print nothing; exit 3 unless all are alive")
	cmd.Flags().BoolVarP(&flags.watch, "watch", "w", false, "again every second until Ctrl-C")
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("quiet", "watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		if !flags.watch {
			return showStatus(cmd, c, flags)
		}
		for {
			if isTerminal(cmd.OutOrStdout()) && !flags.json {
				fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
			}
			if err := showStatus(cmd, c, flags); err != nil {
				return err
			}
			time.Sleep(watchPace)
		}
	}
	return cmd
}

func showStatus(cmd *cobra.Command, c *client, flags statusFlags) error {
	text, err := c.raw(cmd.Context(), "/v1/status")
	if err != nil {
		return err
	}
	var status admin.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return exitf(exitFailed, "%s does not answer as an instance does: %w", c.at, err)
	}
	switch {
	case flags.quiet:
		if alive(status.Status) < len(status.Instances) || status.CutOff {
			return exitf(exitFalse, "") // the code says it all
		}
		return nil
	case flags.json && flags.watch:
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return err
		}
		line.WriteByte('\n')
		_, err = cmd.OutOrStdout().Write(line.Bytes())
		return err
	case flags.json:
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	if err := printStatus(cmd.OutOrStdout(), status); err != nil || status.RosterVersion <= 1 {
		return err
	}
	e, err := c.everywhere(cmd.Context(), status.RosterVersion, behindWait)
	if err != nil {
		return nil // there is nothing to be said of it
	}
	return printBehind(cmd.OutOrStdout(), e)
}

// behindWait is how long status waits for word that all have one roster, before it asks who
// has not. Where they do, it is known already.
const behindWait = 100 * time.Millisecond

// printBehind says who goes by an older roster.
func printBehind(out io.Writer, e everywhere) error {
	if len(e.Behind)+len(e.Silent) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%s\n", paintFor(out).in(yellow, fmt.Sprintf(
		"roster version %d is not with everybody yet%s", e.Version, e.lacking())))
	return err
}

// alive counts those in the ring; a suspected instance is still in it.
func alive(s ring.Status) int {
	n := 0
	for _, i := range s.Instances {
		if i.State == ring.Alive || i.State == ring.Suspect {
			n++
		}
	}
	return n
}

func aliveText(s ring.Status) string {
	return fmt.Sprintf("%d of %d alive", alive(s), len(s.Instances))
}

// anchorText says whether laps count, and if not why.
func anchorText(s ring.Status) string {
	if s.Anchored {
		return fmt.Sprintf("anchored, tick %d, led by %s", s.Tick, orDash(string(s.Leader)))
	}
	text := "NOT ANCHORED: laps do not count"
	if s.Unanchored != "" {
		text += " (" + s.Unanchored + ")"
	}
	if s.Tick > 0 {
		text += fmt.Sprintf("; the last tick was %d", s.Tick)
	}
	return text
}

func printStatus(out io.Writer, all admin.Status) error {
	s := all.Status
	p := paintFor(out)
	count := p.in(green, aliveText(s))
	if alive(s) < len(s.Instances) {
		count = p.in(yellow, aliveText(s))
	}
	color := green
	if !s.Anchored {
		color = red
	}
	if s.Insecure {
		fmt.Fprintln(out, p.in(yellow, "INSECURE: links are not encrypted, and nobody proves who it is (--insecure)"))
	}
	fmt.Fprintln(out, p.in(color, anchorText(s)))
	fmt.Fprintf(out, "%s · %s · epoch %s · view revision %d\n", p.in(bold, s.Ring), count, s.Epoch,
		s.ViewRevision)
	fmt.Fprintf(out, "as %s knows it; it holds the hand of %s", s.Self, orDash(string(s.Next)))
	if s.Detour != "" {
		fmt.Fprintf(out, " by way of %s", s.Detour)
	}
	fmt.Fprintf(out, "\nlap without rests: p50 %s, p99 %s", millis(s.LapMS.P50), millis(s.LapMS.P99))
	if s.SlowestStop != "" {
		fmt.Fprintf(out, ", slowest stop %s", s.SlowestStop)
	}
	fmt.Fprintln(out)
	if s.RosterVersion > 1 || all.Retired > 0 {
		fmt.Fprintln(out, rosterText(s.RosterVersion, s.RosterHash, all.Retired))
	}
	if all.App != nil {
		fmt.Fprintln(out, appText(p, *all.App))
	}
	if s.CutOff {
		fmt.Fprintln(out, p.in(red, "cut off: this instance sees no quorum, or a quorum has cut it"))
	}
	if text := mixtureText(ring.BuildsOf(s.Instances)); text != "" {
		fmt.Fprintln(out, p.in(yellow, text))
	}
	if s.TLS != nil {
		fmt.Fprintf(out, "links are encrypted; the certificate of %s is good until %s\n", s.Self,
			s.TLS.NotAfter.Local().Format(time.DateTime))
	}
	for _, l := range s.BadLinks {
		fmt.Fprintln(out, p.in(red, fmt.Sprintf("bad link: %s cannot talk to %s", l.From, l.To)))
	}
	fmt.Fprintln(out)
	return printTable(out, p, statusRows(s.Self, all.Instances))
}

// rosterText names a version of a roster.
func rosterText(version uint64, hash string, retired int) string {
	text := fmt.Sprintf("roster version %d, hash %.12s", version, hash)
	if retired > 0 {
		text += fmt.Sprintf(", %d retired", retired)
	}
	return text
}

// mixtureText warns of more than one version, and is empty where all run the same.
func mixtureText(builds []ring.Build) string {
	if len(builds) < 2 {
		return ""
	}
	var text strings.Builder
	text.WriteString("mixed versions: ")
	protocols := speaksMore(builds)
	for i, b := range builds[:min(len(builds), versionsShown)] {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%d run %s", b.Count, shown(b.Version))
		if protocols && b.Protocol > 0 {
			fmt.Fprintf(&text, " (protocol %d)", b.Protocol)
		}
	}
	if more := len(builds) - versionsShown; more > 0 {
		fmt.Fprintf(&text, ", and %d further versions", more)
	}
	return text.String() + ": an upgrade is under way, or was not finished"
}

// speaksMore is whether those builds speak more than one protocol.
func speaksMore(builds []ring.Build) bool {
	return slices.ContainsFunc(builds, func(b ring.Build) bool {
		return b.Protocol > 0 && builds[0].Protocol > 0 && b.Protocol != builds[0].Protocol
	})
}

// versionsShown is how many versions a warning names.
const versionsShown = 4

// appText tells how the application beside an instance is.
func appText(p paint, a supervise.Status) string {
	text := fmt.Sprintf("application %s for %s", p.in(appColor(a.State), string(a.State)),
		time.Since(a.Since).Round(time.Second))
	if a.PID > 0 {
		text += fmt.Sprintf(", pid %d", a.PID)
	}
	if a.Restarts > 0 {
		text += fmt.Sprintf(", restarts %d", a.Restarts)
	}
	if a.Why != "" {
		text += ": " + shown(a.Why)
	}
	return text
}

// statusRows is the table of the instances, with a column for applications if any has one.
func statusRows(self ring.Name, instances []admin.Instance) [][]cell {
	apps := slices.ContainsFunc(instances, func(i admin.Instance) bool { return i.App != nil })
	rows := [][]cell{head(">#", "NAME", "STATE", "ADDRESS", "NEXT", ">TICK", ">RTT", ">INCARNATION", ">PID",
		"VERSION")}
	protocols := speaksMore(ring.BuildsOf(plain(instances)))
	if protocols {
		rows[0] = append(rows[0], head(">PROTOCOL")...)
	}
	if apps {
		rows[0] = slices.Insert(rows[0], appColumn, head("APP")...)
	}
	for _, i := range instances {
		name, state, rtt := string(i.Name), string(i.State), "–"
		if i.Name == self {
			name += " (self)"
		}
		if i.DampedUntil != nil && time.Until(*i.DampedUntil) > 0 {
			state += fmt.Sprintf(" (damped %s)", time.Until(*i.DampedUntil).Round(time.Second))
		}
		if i.RTTMillis != nil {
			rtt = millis(*i.RTTMillis)
		}
		row := []cell{
			{strconv.Itoa(i.Index), dim, true},
			{name, "", false},
			{state, stateColor(i.State), false},
			{i.Address, "", false},
			{orDash(string(i.Next)), "", false},
			{orDash(number(i.Tick)), "", true},
			{rtt, "", true},
			{orDash(number(uint64(i.Incarnation))), "", true},
			{orDash(number(uint64(i.PID))), "", true},
			{orDash(i.Version), dim, false},
		}
		if protocols {
			row = append(row, cell{orDash(number(uint64(max(i.Protocol, 0)))), "", true})
		}
		if apps {
			row = slices.Insert(row, appColumn, appCell(i.App))
		}
		rows = append(rows, row)
	}
	return rows
}

// plain is those rows without the applications.
func plain(instances []admin.Instance) (all []ring.Instance) {
	for _, i := range instances {
		all = append(all, i.Instance)
	}
	return all
}

// appColumn is where the applications stand in the table: behind the states.
const appColumn = 3

// appCell is how the application of an instance is; it may be nil.
func appCell(a *lap.App) cell {
	if a == nil {
		return cell{"–", dim, false}
	}
	text := a.State
	if a.Restarts > 0 {
		text += fmt.Sprintf(" (restarts %d)", a.Restarts)
	}
	return cell{shown(text), appColor(supervise.State(a.State)), false}
}

func appColor(state supervise.State) string {
	switch state {
	case supervise.Healthy:
		return green
	case supervise.Failed, supervise.Unhealthy:
		return red
	case supervise.Stopped:
		return dim
	}
	return yellow
}

func stateColor(state ring.State) string {
	switch state {
	case ring.Alive:
		return green
	case ring.Suspect:
		return yellow
	case ring.Dead:
		return red
	case ring.Unreachable:
		return purple
	}
	return dim
}

// number prints n, and nothing for the zero that means unknown.
func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func orDash(text string) string {
	if strings.TrimSpace(text) == "" {
		return "–"
	}
	return text
}
