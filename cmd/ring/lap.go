package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
)

// lapped is what came of a lap.
type lapped struct {
	ring.Lapped
	// Question says that the instance that was asked answers it, as all are to: it is built in,
	// or the name of a command of its settings.
	Question bool `json:"question"`
}

func newLapCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "lap TOPIC [PAYLOAD|-]",
		Short: "Have a passenger ride once round the ring, and see who made what of it",
		Long: `Lap has a passenger ride once round the ring on the particle, by way of one
instance. It passes all instances that live, one after the other, in the one order that all
passengers have everywhere; each stop may add its part; and it comes home with who has seen
it. It prints what was made of it, who has not seen it, and the passenger's number.

Every ring node answers these questions, which take no payload:

  names      who is there, in the order of the lap
  load       load average and processors of the hosts, goroutines and memory of instances
  versions   which versions of this program run, and who runs them
  clocks     how far each wall clock is from that of the instance that is asked; what the
             particle takes between the two, at most the time of the lap, is in it

They are short for ring/names and so on; everything else stands for itself: the name of a
command that the instances have in their own settings (ring node --lap, tables [[lap]]), or
a topic for which an application has a station. Commands never travel over the network, and
the payload, which is the argument or standard input if that is -, is not given to them. In
a large fleet, whose answers do not all fit into 8 KiB, all are counted, and as many as fit
are named. ring events --passengers shows what rides by. The questions above need the role
read, other laps admin: this host, or who shows --token or --cert.

All stations of a fleet, such as those commands, together hold the particle for 200 ms on a
lap (1 s with preset wan or quiet); the stops that come when that is spent add nothing.

A lap waits for no rest of the particle that is the default, but for each that was chosen:
where instances have a --hold, the lap takes all of them together, and --timeout must be
longer.

Exit code 0 says that all that live have seen it, and 1 that some have not. Of a question, or
a command of the settings of the instance that is asked, 1 also says that some who have seen
it made nothing of it; of every other topic it is only shown how many did (an answer of a
filter counts, also where it changes nothing). 124 says that it was not home within --timeout,
or is lost: some may have seen it. What a command ends with is shown, and is not an exit code.`,
		Example: `  ring lap names
  ring lap clocks --timeout 2s
  ring lap disk                                 # a command: ring node --lap 'disk=df -h /data'
  ring lap shop/refresh now                     # stations of an application
  ring lap load --json | jq '.value | @base64d | fromjson | .load1.max_at'`,
		Args: cobra.RangeArgs(1, 2),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		text, err := castPayload(cmd, args)
		if err != nil {
			return err
		}
		path := "/v1/lap/" + pathPart(lap.Topic(args[0])) + "?" + f.query().Encode()
		answer, err := c.ask(cmd.Context(), http.MethodPost, path, strings.NewReader(text))
		if err != nil {
			return withPatience(cmd.Context(), c, f.timeout, err)
		}
		var l lapped
		if err := json.Unmarshal(answer, &l); err != nil {
			return c.strange(err)
		}
		if f.json {
			err = printed(cmd, answer, nil)
		} else {
			err = printLapped(cmd.OutOrStdout(), l)
		}
		return errors.Join(err, l.whole())
	})
}

// withPatience adds to an error what to do where it is that a lap was not home in time, and laps
// are too long for that time: longer than a third of it. A passenger waits for the particle
// to come by, then rides a lap, and another one where it has missed that.
func withPatience(ctx context.Context, c *client, timeout time.Duration, err error) error {
	var coded *exitError
	if !errors.As(err, &coded) || coded.code != exitTimeout {
		return err
	}
	takes := lapTime(ctx, c)
	if takes <= timeout/3 {
		return err
	}
	advice := fmt.Sprintf("give --timeout %v", (3 * takes).Round(10*time.Millisecond))
	if 3*takes > busTimeMax {
		advice = "choose a shorter --hold for the instances"
	}
	return exitf(exitTimeout, "%w; a lap takes %s there: %s", err, spanText(takes), advice)
}

// lapTime is how long laps take that an instance sees: that of /v1/status, which is without the
// rests of the particle, or the newest with them where that is longer; 0 if it cannot say.
func lapTime(ctx context.Context, c *client) (takes time.Duration) {
	var status ring.Status
	if err := c.get(ctx, "/v1/status", &status); err == nil {
		takes = time.Duration(status.LapMS.P50 * float64(time.Millisecond))
	}
	var newest struct {
		Tick *ring.Tick `json:"tick"`
	}
	if err := c.get(ctx, "/v1/ticks", &newest); err == nil && newest.Tick != nil {
		takes = max(takes, newest.Tick.Took)
	}
	return takes
}

// whole is an error if somebody who lives has not seen it, or not made a part of it where
// that is to be expected: all are to answer a question.
func (l lapped) whole() error {
	unseen := 0
	for _, a := range l.Unseen {
		if a.State == ring.Alive || a.State == ring.Suspect {
			unseen++
		}
	}
	without := len(l.Seen) - l.Folded
	switch {
	case unseen > 0:
		return exitf(exitFailed, "%d who live have not seen it", unseen)
	case l.Question && without > 0:
		return exitf(exitFailed, "%d who have seen it made nothing of it: their station was too slow, "+
			"or they have none for it", without)
	}
	return nil
}

// printLapped prints what was made of a passenger, and its receipt.
func printLapped(out io.Writer, l lapped) error {
	var text strings.Builder
	p := paintFor(out)
	printValue(&text, p, l.Lapped)
	all := len(l.Seen) + len(l.Unseen)
	count := fmt.Sprintf("%d of %d saw it", len(l.Seen), all)
	color := green
	if len(l.Seen) < all {
		color = yellow
	}
	fmt.Fprintf(&text, "%s, ", p.in(color, count))
	switch {
	case l.Question && l.Folded < len(l.Seen):
		text.WriteString(p.in(red, fmt.Sprintf("%d folded", l.Folded)))
	case l.Question:
		text.WriteString(p.in(green, fmt.Sprintf("%d folded", l.Folded)))
	case l.Folded == 0:
		text.WriteString("nobody made anything of it")
	default:
		fmt.Fprintf(&text, "%d made something of it", l.Folded)
	}
	fmt.Fprintf(&text, " · passenger %s · %s\n", numberText(l.Number), spanText(l.Took))
	for _, a := range l.Unseen {
		text.WriteString(p.in(yellow, fmt.Sprintf("%s: has not seen it, it is %s", a.Name, a.State)) + "\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// numberText is a passenger's number: of which epoch, and there which.
func numberText(n ring.Number) string { return fmt.Sprintf("%s/%d", n.Epoch, n.N) }

// printValue prints what was made of a passenger: a table for what the stations of ring node
// answer, and else as it is.
func printValue(out io.Writer, p paint, l ring.Lapped) {
	if len(l.Value) == 0 {
		return
	}
	rows, under, ok := valueRows(l)
	if !ok {
		fmt.Fprintln(out, shown(strings.TrimSuffix(string(l.Value), "\n")))
		return
	}
	_ = printTable(out, p, rows) // to memory
	for _, line := range under {
		fmt.Fprintln(out, p.in(dim, line))
	}
	fmt.Fprintln(out)
}

// valueRows is the table of a value, and lines below it; ok is false where it is not one of
// ours.
func valueRows(l ring.Lapped) (rows [][]cell, under []string, ok bool) {
	switch l.Topic {
	case lap.NamesTopic:
		return readRows(l.Value, nameRows)
	case lap.LoadTopic:
		return readRows(l.Value, loadRows)
	case lap.VersionsTopic:
		return readRows(l.Value, versionRows)
	case lap.ClocksTopic:
		return readRows(l.Value, func(v lap.Clocks) ([][]cell, []string) { return clockRows(v, l.Took) })
	}
	if rows, under, ok = readRows(l.Value, saidRows); len(rows) == 0 {
		return nil, nil, false
	}
	return rows, under, ok
}

func readRows[V any](value []byte, table func(V) ([][]cell, []string)) ([][]cell, []string, bool) {
	var v V
	if json.Unmarshal(value, &v) != nil {
		return nil, nil, false
	}
	rows, under := table(v)
	return rows, under, true
}

// more says how many there was no room to name.
func more(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("and %d more", n)}
}

func nameRows(v lap.Names) (rows [][]cell, under []string) {
	rows = [][]cell{head(">STOP", "NAME")}
	for i, name := range v.Names {
		rows = append(rows, []cell{{strconv.Itoa(i + 1), dim, true}, {shown(string(name)), "", false}})
	}
	return rows, more(v.More)
}

func loadRows(v lap.Load) (rows [][]cell, under []string) {
	rows = [][]cell{head("NAME", ">LOAD", ">CPUS", ">GOROUTINES", ">RSS")}
	for _, one := range v.Each {
		load, rss := "–", "–"
		if one.Load1 != nil {
			load = fmt.Sprintf("%.2f", *one.Load1)
		}
		if one.RSS != nil {
			rss = bytesText(*one.RSS)
		}
		rows = append(rows, []cell{
			{shown(string(one.Name)), "", false},
			{load, "", true},
			{strconv.Itoa(one.CPUs), dim, true},
			{strconv.Itoa(one.Goroutines), "", true},
			{rss, "", true},
		})
	}
	under = more(v.More)
	say := func(what string, m *lap.Measure, show func(float64) string) {
		if m != nil {
			under = append(under, fmt.Sprintf("%s: %s at %s to %s at %s, on average %s", what, show(m.Min),
				shown(string(m.MinAt)), show(m.Max), shown(string(m.MaxAt)), show(m.Mean())))
		}
	}
	say("load", v.Load1, func(x float64) string { return fmt.Sprintf("%.2f", x) })
	say("goroutines", v.Goroutines, func(x float64) string { return fmt.Sprintf("%.0f", x) })
	say("rss", v.RSS, func(x float64) string { return bytesText(int64(x)) })
	return rows, under
}

func versionRows(v lap.Versions) (rows [][]cell, under []string) {
	rows = [][]cell{head("VERSION", ">INSTANCES", "NAMES")}
	for _, one := range v.Versions {
		var names strings.Builder
		for i, name := range one.Names {
			if i > 0 {
				names.WriteString(" ")
			}
			names.WriteString(string(name))
		}
		for _, text := range more(one.More) {
			names.WriteString(" " + text)
		}
		rows = append(rows, []cell{
			{orDash(shown(one.Version)), "", false},
			{strconv.Itoa(one.Count), "", true},
			{shown(names.String()), "", false},
		})
	}
	if v.More > 0 {
		under = []string{fmt.Sprintf("and %d more, of further versions", v.More)}
	}
	return rows, under
}

func clockRows(v lap.Clocks, took time.Duration) (rows [][]cell, under []string) {
	rows = [][]cell{head("NAME", ">OFFSET")}
	for _, one := range v.Each {
		rows = append(rows, []cell{{shown(string(one.Name)), "", false}, {offsetText(one.Offset), "", true}})
	}
	under = append(more(v.More),
		fmt.Sprintf("from %s at %s to %s at %s: spread %s", offsetText(v.Min.Offset), shown(string(v.Min.Name)),
			offsetText(v.Max.Offset), shown(string(v.Max.Name)), spanText(v.Spread)),
		fmt.Sprintf("to the clock of %s; up to %s of that is what the particle took on its way",
			shown(string(v.Of)), spanText(took)))
	return rows, under
}

// offsetText is a difference of clocks, with its sign.
func offsetText(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + spanText(-d)
	case d > 0:
		return "+" + spanText(d)
	}
	return spanText(0)
}

// spanText is a time that was measured, which may be none.
func spanText(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return millis(float64(d) / 1e6)
}

// saidRows is nothing where v is not what a command has said.
func saidRows(v lap.Said) (rows [][]cell, under []string) {
	if v.Command == "" {
		return nil, nil
	}
	rows = [][]cell{head("NAME", ">EXIT", "OUTPUT")}
	for _, one := range v.Each {
		color := green
		if one.Exit != 0 {
			color = red
		}
		name, exit := shown(string(one.Name)), strconv.Itoa(one.Exit)
		for line := range strings.SplitSeq(one.Output, "\n") {
			rows = append(rows, []cell{
				{name, "", false}, {exit, color, true}, {shown(strings.TrimRight(line, "\r")), "", false},
			})
			name, exit = "", ""
		}
		if one.Cut {
			rows[len(rows)-1][2].text += " …"
		}
	}
	under = more(v.More)
	if v.Failed > 0 {
		under = append(under, fmt.Sprintf("%d of %d with another exit code than 0", v.Failed, v.Count))
	}
	return rows, under
}

// followPassengers prints what rides by an instance until it is interrupted.
func followPassengers(cmd *cobra.Command, c *client, topic string, asJSON bool) error {
	path := "/v1/passengers?topic=" + url.QueryEscape(lap.Topic(topic))
	return c.follow(cmd.Context(), path, func(line json.RawMessage) error {
		var one ring.Passenger
		if err := json.Unmarshal(line, &one); err != nil {
			return exitf(exitFailed, "read passenger: %w", err)
		}
		if asJSON {
			return printLine(cmd.OutOrStdout(), line)
		}
		return printPassenger(cmd.OutOrStdout(), one)
	})
}

func printPassenger(out io.Writer, one ring.Passenger) error {
	p := paintFor(out)
	at := p.in(dim, one.At.Local().Format("2006-01-02 15:04:05.000"))
	if one.Moved {
		text := "this instance is in another part of the fleet now, whose order is another"
		if one.Missed > 0 {
			text += fmt.Sprintf("; %d passengers of it were missed", one.Missed)
		}
		_, err := fmt.Fprintf(out, "%s  %s\n", at, p.in(yellow, text))
		return err
	}
	text := fmt.Sprintf("%s  %s  %s  %s  %s", at, numberText(one.Number), one.From, shown(one.Topic),
		shown(string(one.Payload)))
	if one.Folded > 0 {
		text += fmt.Sprintf("  after %d: %s", one.Folded, shown(string(one.Value)))
	}
	_, err := fmt.Fprintln(out, strings.TrimRight(text, " "))
	return err
}
