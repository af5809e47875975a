package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

// printRosterPlan says in plain words what a change comes to, on a roster whose instances
// are as status has them.
func printRosterPlan(out io.Writer, plan ring.RosterPlan, live rosterDocument, status ring.Status) error {
	p := paintFor(out)
	var text strings.Builder
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&text, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	size := many(plan.Before, "instance")
	if plan.After != plan.Before && plan.After > 0 {
		size += fmt.Sprintf(" become %d", plan.After)
	}
	say("roster", "of ring %s: version %d becomes %d, %s", live.Ring, plan.Base.Number, plan.Base.Number+1, size)
	next := len(live.Names)
	for _, c := range plan.Changes {
		i := live.index(c.Name)
		if c.Kind == ring.RosterAdd {
			i, next = next, next+1
		}
		say(string(c.Kind), "%s (index %d)%s", c.Name, i, stepText(c, i, live, status))
	}
	if plan.Next.Number > 0 { // else it does not fit the roster, and comes to nothing
		before, after := nameList(plan.VotersBefore), nameList(plan.VotersAfter)
		if before == after {
			say("voters", "stay %s", before)
		} else {
			say("voters", "become %s; now %s", after, before)
		}
		say("quorum", "%d of %d; now %d of %d", plan.QuorumAfter, len(plan.VotersAfter), plan.QuorumBefore,
			len(plan.VotersBefore))
		say("links", "%d are made, %d end", plan.LinksMade, plan.LinksEnded)
	}
	for _, w := range plan.Warnings {
		fmt.Fprintf(&text, "%s %s\n", p.in(yellow, fmt.Sprintf("%-10s", "note")), w)
	}
	for _, r := range plan.Refused {
		fmt.Fprintf(&text, "%s %s\n", p.in(red, fmt.Sprintf("%-10s", "refused")), r)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// stepText says what a change means for instance i.
func stepText(c ring.RosterChange, i int, live rosterDocument, status ring.Status) string {
	state := ring.Unreachable
	for _, one := range status.Instances {
		if one.Index == i && one.Name == c.Name {
			state = one.State
		}
	}
	lives := state == ring.Alive || state == ring.Suspect
	switch c.Kind {
	case ring.RosterAdd:
		return " at " + c.Address
	case ring.RosterMove:
		from := ""
		if i >= 0 && i < len(live.Addresses) {
			from = " from " + live.Addresses[i]
		}
		return fmt.Sprintf("%s to %s", from, c.Address)
	case ring.RosterRetire:
		switch {
		case lives:
			return fmt.Sprintf(" is %s: it leaves the ring and ends, for good", state)
		case state == ring.Unreachable:
			return " is unreachable: if it lives, it is let in nowhere any more"
		}
		return fmt.Sprintf(" is %s: it is waited for no more", state)
	case ring.RosterPromote:
		if !lives {
			return fmt.Sprintf(" is preferred for voting; it is %s now", state)
		}
		return " is preferred for voting"
	case ring.RosterDemote:
		return " does not vote"
	}
	return ""
}

func nameList(names []ring.Name) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return orDash(strings.Join(texts, " "))
}

// everywhere is the answer of /v1/roster/everywhere.
type everywhere struct {
	Version    uint64      `json:"version"`
	Everywhere bool        `json:"everywhere"`
	Have       int         `json:"have"`
	Behind     []ring.Name `json:"behind"`
	Silent     []ring.Name `json:"silent"`
}

// everywhere asks, for wait at most, whether all have a version.
func (c *client) everywhere(ctx context.Context, version uint64, wait time.Duration) (e everywhere, err error) {
	query := url.Values{"version": {strconv.FormatUint(version, 10)}, "timeout": {wait.String()}}
	text, err := c.ask(ctx, http.MethodGet, "/v1/roster/everywhere?"+query.Encode(), nil)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, c.strange(err)
	}
	return e, nil
}

// await waits until all who live have a version, and says so. Between two looks it shows on
// a terminal how many have.
func (f rosterFlags) await(cmd *cobra.Command, c *client, version uint64) (said string, err error) {
	late := time.Now().Add(f.timeout)
	to := cmd.ErrOrStderr()
	shows := showsProgress(to) && !f.json
	for {
		e, err := c.everywhere(cmd.Context(), version, min(max(time.Until(late), time.Millisecond), time.Second))
		if shows {
			fmt.Fprint(to, clearLine)
		}
		switch {
		case err != nil:
			return "", err
		case e.Everywhere:
			return "all instances that live have it", nil
		case time.Now().After(late):
			return "", exitf(exitTimeout, "version %d is agreed on and stays so, but it is not with everybody "+
				"after %v%s; ring status shows who is behind", version, f.timeout, e.lacking())
		}
		if shows {
			fmt.Fprintf(to, "%s have version %d%s", many(e.Have, "instance"), version, e.lacking())
		}
	}
}

// lacking names who has not said that it has a version, the first of them.
func (e everywhere) lacking() string {
	const shown = 5
	text := ""
	for what, names := range [2][]ring.Name{e.Behind, e.Silent} {
		if len(names) == 0 {
			continue
		}
		more := ""
		if len(names) > shown {
			names, more = names[:shown], fmt.Sprintf(" and %d more", len(names)-shown)
		}
		text += [2]string{"; behind: ", "; no answer from "}[what] + nameList(names) + more
	}
	return text
}

// post sends an object as JSON and decodes the answer.
func (c *client) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	answer, err := c.ask(ctx, http.MethodPost, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return c.strange(err)
	}
	return nil
}

func newRosterListCommand() *cobra.Command {
	var all, asJSON, asTOML bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the roster of a running ring: who there is, where, and who votes",
		Long: `List asks one instance for the roster that it goes by: the version and its hash,
then everybody with index, name, address and state. VOTES says who votes and
leads, and who was promoted or demoted. --all
shows who is retired, too. --toml prints all of it as a settings file has it, for a new host.`,
		Example: `  ring roster list
  ring roster list --all --addr 10.0.0.1:3000
  ring roster list --toml > roster.toml && ring node --name dc1/prod/2 --config roster.toml
  ring roster list --json | jq -r '.instances[] | select(.state == "dead") | .name'`,
		Args: cobra.NoArgs,
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "those who are retired, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&asTOML, "toml", false, "print it as settings of a file")
	cmd.MarkFlagsMutuallyExclusive("json", "toml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(*addr)
		if err != nil {
			return err
		}
		if asTOML {
			d, err := askRoster(cmd.Context(), c)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), d.toml())
			return err
		}
		l, err := listRoster(cmd.Context(), c, all)
		switch {
		case err != nil:
			return err
		case asJSON:
			return printJSON(cmd.OutOrStdout(), l)
		}
		return l.print(cmd.OutOrStdout())
	}
	return cmd
}

// toml is the roster as a settings file has it.
func (d rosterDocument) toml() string {
	var text strings.Builder
	list := func(key string, names []ring.Name) {
		fmt.Fprintf(&text, "%s = [\n", key)
		for _, name := range names {
			fmt.Fprintf(&text, "  %q,\n", name)
		}
		text.WriteString("]\n")
	}
	fmt.Fprintf(&text, "# version %d of the roster, hash %s\nring = %q\n", max(d.Version, 1), d.Hash, d.Ring)
	list("roster", d.Names)
	switch len(d.Addresses) {
	case 0:
	case 1:
		fmt.Fprintf(&text, "addresses = %q\n", d.Addresses[0])
	default:
		fmt.Fprintf(&text, "addresses = %q\n", "{"+strings.Join(d.Addresses, ",")+"}")
	}
	if len(d.Retired) > 0 {
		retired := make([]ring.Name, len(d.Retired))
		for at, i := range d.Retired {
			retired[at] = d.Names[i]
		}
		list("retired", retired)
	}
	if d.Degree != 0 {
		fmt.Fprintf(&text, "degree = %d\n", d.Degree)
	}
	return text.String()
}

// rosterList is what list prints.
type rosterList struct {
	V         int         `json:"v"`
	Ring      string      `json:"ring"`
	Self      ring.Name   `json:"self"` // who was asked
	Version   uint64      `json:"version"`
	Hash      string      `json:"hash"`
	Seed      string      `json:"seed"`
	Retired   int         `json:"retired"` // how many are
	Instances []listedOne `json:"instances"`
}

type listedOne struct {
	Index   int       `json:"index"`
	Name    ring.Name `json:"name"`
	Address string    `json:"address"`
	State   string    `json:"state"` // retired, or one of those that status shows
	Votes   string    `json:"votes"` // leads, votes, learns, or nothing
	Wish    string    `json:"wish"`  // promoted, demoted, or nothing
}

// listRoster joins what an instance says of its roster, of who lives, and of who votes.
func listRoster(ctx context.Context, c *client, all bool) (rosterList, error) {
	d, err := askRoster(ctx, c)
	if err != nil {
		return rosterList{}, err
	}
	var status ring.Status
	var bus ring.BusStatus
	if err := errors.Join(c.get(ctx, "/v1/status", &status), c.get(ctx, "/v1/bus", &bus)); err != nil {
		return rosterList{}, err
	}
	l := rosterList{
		V: 1, Ring: d.Ring, Self: status.Self, Version: max(d.Version, 1), Hash: d.Hash, Seed: d.Seed,
		Retired: len(d.Retired), Instances: []listedOne{},
	}
	states := make(map[int]ring.State)
	for _, one := range status.Instances {
		states[one.Index] = one.State
	}
	for i, name := range d.Names {
		one := listedOne{Index: i, Name: name, State: string(states[i])}
		if i < len(d.Addresses) {
			one.Address = d.Addresses[i]
		}
		if _, retired := slices.BinarySearch(d.Retired, i); retired {
			if one.State = "retired"; !all {
				continue
			}
		} else {
			one.Votes = votesText(bus, name)
			if slices.Contains(d.Promoted, i) {
				one.Wish = "promoted"
			} else if slices.Contains(d.Demoted, i) {
				one.Wish = "demoted"
			}
		}
		l.Instances = append(l.Instances, one)
	}
	return l, nil
}

// votesText is what an instance has to do with what is agreed on.
func votesText(s ring.BusStatus, name ring.Name) string {
	for _, v := range s.Voters {
		switch {
		case v.Name != name:
		case v.Role != "voter":
			return "learns"
		case s.Quorum && s.Leader == name:
			return "leads"
		default:
			return "votes"
		}
	}
	return ""
}

func (l rosterList) print(out io.Writer) error {
	p := paintFor(out)
	_, err := fmt.Fprintf(out, "ring %s: %s, as %s knows it\n\n", p.in(bold, l.Ring),
		rosterText(l.Version, l.Hash, l.Retired), l.Self)
	if err != nil {
		return err
	}
	rows := [][]cell{head(">INDEX", "NAME", "ADDRESS", "STATE", "VOTES")}
	for _, one := range l.Instances {
		color := stateColor(ring.State(one.State))
		rows = append(rows, []cell{
			{strconv.Itoa(one.Index), dim, true},
			{string(one.Name), "", false},
			{one.Address, "", false},
			{orDash(one.State), color, false},
			{strings.Trim(one.Votes+", "+one.Wish, ", "), "", false},
		})
	}
	return printTable(out, p, rows)
}
