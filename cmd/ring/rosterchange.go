package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

// rosterFlags are those of every command that changes the roster.
type rosterFlags struct {
	addr                      *target
	json, yes, dryRun, noWait bool
	timeout                   time.Duration
}

// rosterChanges makes of the arguments what is to be changed of a roster that is live.
type rosterChanges func(live rosterDocument, args []string) ([]ring.RosterChange, error)

// rosterChangeCommand makes one of those commands.
func rosterChangeCommand(c *cobra.Command, changes rosterChanges) *cobra.Command {
	var f rosterFlags
	f.addr = addAddrFlag(c)
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	c.Flags().BoolVar(&f.yes, "yes", false, "do it without asking")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what it would come to")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait until all instances have it")
	c.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "wait at most this long, for each of both")
	c.MarkFlagsMutuallyExclusive("yes", "dry-run")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if f.timeout <= 0 || f.timeout > busTimeMax {
			return usageError("--timeout is %v; give a duration up to %v", f.timeout, busTimeMax)
		}
		cl, err := f.addr.client(f.timeout + answerTime)
		if err != nil {
			return err
		}
		return changeRoster(cmd, cl, f, func(live rosterDocument) ([]ring.RosterChange, error) {
			return changes(live, args)
		})
	}
	return c
}

func newRosterAddCommand() *cobra.Command {
	return rosterChangeCommand(&cobra.Command{
		Use:   "add NAME HOST:PORT [NAME HOST:PORT…]",
		Short: "Add instances at the end of a running ring's roster",
		Long: `Add gives each new instance the next index, at the end of the roster; those that
are there keep theirs. A name may be a pattern, and its address one as well, or a template
as in a settings file. It does not start them: that comes after, with the file that ring roster
list --toml prints, or by ring roster invite.
` + changeHelp,
		Example: `  ring roster add dc1/prod/2 10.0.1.2:3000 --dry-run
  ring roster add dc1/prod/2 10.0.1.2:3000 dc2/prod/2 10.0.2.2:3000
  ring roster add 'dc{1..3}/prod/2' '{2}-{3}.{1}.example.net:3000' --yes`,
		Args: pairs,
	}, addChanges)
}

func newRosterMoveCommand() *cobra.Command {
	return rosterChangeCommand(&cobra.Command{
		Use:   "move NAME HOST:PORT [NAME HOST:PORT…]",
		Short: "Give instances of a running ring other addresses",
		Long: `Move says where an instance listens from now on. Whoever is not linked with it
dials it there; who is stays so. Start it at its new address before or after that, as suits:
links that are lost in between are found again. From then on this address counts and no
settings file's.
` + changeHelp,
		Example: `  ring roster move dc1/prod/0 10.0.9.1:3000
  ring roster move 'dc{1..2}/prod/0' '10.0.{1..2}.9:3000' --yes`,
		Args: pairs,
	}, moveChanges)
}

func newRosterRetireCommand() *cobra.Command {
	return rosterChangeCommand(&cobra.Command{
		Use:   "retire NAME…",
		Short: "Take instances off a running ring's roster, for good",
		Long: `Retire is for instances that will not be back. One that lives leaves the ring and
ends. One that is dead is waited for no more. Its index is never used again; its name may be,
by ring roster add. What would leave the ring without a quorum is refused, with what to do.
` + changeHelp,
		Example: `  ring roster retire dc1/prod/2
  ring roster retire 'dc3/prod/{0..1}' --yes`,
		Args: cobra.MinimumNArgs(1),
	}, kindChanges(ring.RosterRetire))
}

func newRosterPromoteCommand() *cobra.Command {
	return rosterChangeCommand(&cobra.Command{
		Use:   "promote NAME…",
		Short: "Prefer instances among those who vote",
		Long: `Promote has an instance be one of the up to seven who vote, before those of whom
nothing is said. The voters change one after the other, as each new one has caught up.
` + changeHelp,
		Example: `  ring roster promote dc1/prod/0 dc2/prod/0 dc3/prod/0`,
		Args:    cobra.MinimumNArgs(1),
	}, kindChanges(ring.RosterPromote))
}

func newRosterDemoteCommand() *cobra.Command {
	return rosterChangeCommand(&cobra.Command{
		Use:   "demote NAME…",
		Short: "Have instances not vote",
		Long: `Demote keeps an instance from voting: one that is slow, or far away, or about to be
retired. Another one takes its place, where there is one.
` + changeHelp,
		Example: `  ring roster demote dc3/prod/1`,
		Args:    cobra.MinimumNArgs(1),
	}, kindChanges(ring.RosterDemote))
}

// changeHelp is what is true of all of them.
const changeHelp = `
It says first what would change, and asks, or wants --yes where there is no terminal. All that
is named changes at once or not at all. The fleet has to agree, and most of those who vote
must be alive for that. It waits until all instances that live have the new version.

Exit codes: 2 not done for want of --yes, 3 there is no such instance, or the roster was
changed meanwhile, 5 refused, with what to do, 124 not in time: look with ring roster list.`

func pairs(_ *cobra.Command, args []string) error {
	if len(args) == 0 || len(args)%2 != 0 {
		return errors.New("give names and addresses in turn: NAME HOST:PORT")
	}
	return nil
}

func addChanges(live rosterDocument, args []string) (changes []ring.RosterChange, err error) {
	first := len(live.Names)
	for ; len(args) > 0; args = args[2:] {
		names, err := ring.ExpandNames(args[0])
		if err != nil {
			return nil, &exitError{exitUsage, unprefixed(err)}
		}
		addresses, err := ring.ExpandAddresses(args[1], names, first)
		if err != nil {
			return nil, &exitError{exitUsage, unprefixed(err)}
		}
		first += len(names)
		for i, name := range names {
			changes = append(changes, ring.RosterChange{Kind: ring.RosterAdd, Name: name, Address: addresses[i]})
		}
	}
	return changes, nil
}

func moveChanges(live rosterDocument, args []string) (changes []ring.RosterChange, err error) {
	for ; len(args) > 0; args = args[2:] {
		named, err := kindChanges(ring.RosterMove)(live, args[:1])
		if err != nil {
			return nil, err
		}
		addresses, err := moveAddresses(live, named, args[1])
		if err != nil {
			return nil, &exitError{exitUsage, unprefixed(err)}
		}
		for i := range named {
			named[i].Address = addresses[i]
		}
		changes = append(changes, named...)
	}
	return changes, nil
}

// moveAddresses expands a pattern for instances whose indexes need not follow each other.
func moveAddresses(live rosterDocument, named []ring.RosterChange, pattern string) (all []string, err error) {
	names := make([]ring.Name, len(named))
	for i, c := range named {
		names[i] = c.Name
	}
	if !strings.Contains(pattern, "index}") {
		return ring.ExpandAddresses(pattern, names, 0)
	}
	for _, name := range names {
		one, err := ring.ExpandAddresses(pattern, []ring.Name{name}, live.index(name))
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

// kindChanges is for arguments that are names or patterns of those who are there.
func kindChanges(kind ring.RosterKind) rosterChanges {
	return func(live rosterDocument, args []string) (changes []ring.RosterChange, err error) {
		names, err := expandAll(args)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		var unknown []string
		for _, name := range names {
			switch i := slices.Index(live.Names, name); {
			case live.index(name) >= 0:
				changes = append(changes, ring.RosterChange{Kind: kind, Name: name})
			case i >= 0:
				unknown = append(unknown, fmt.Sprintf("%s is retired already (index %d)", name, i))
			default:
				unknown = append(unknown, fmt.Sprintf("there is no %s in ring %s", name, live.Ring))
			}
		}
		if len(unknown) > 0 {
			return nil, exitf(exitFalse, "%s; see ring roster list", strings.Join(unknown, "; "))
		}
		return changes, nil
	}
}

// index is where name stands among those who are not retired, -1 if it does not.
func (d rosterDocument) index(name ring.Name) int {
	for _, i := range d.roster().Members() {
		if d.Names[i] == name {
			return i
		}
	}
	return -1
}

// rosterChanged is what the commands print with --json.
type rosterChanged struct {
	V          int                 `json:"v"`
	Done       bool                `json:"done"`
	Plan       ring.RosterPlan     `json:"plan"`
	Version    *ring.RosterVersion `json:"version"`    // null while it is not done
	Everywhere bool                `json:"everywhere"` // all who live are known to have it
}

// changeRoster says what changes come to, and has them made.
func changeRoster(cmd *cobra.Command, c *client, f rosterFlags,
	changes func(rosterDocument) ([]ring.RosterChange, error),
) error {
	live, err := askRoster(cmd.Context(), c)
	if err != nil {
		return err
	}
	if live.Version == 0 {
		return exitf(exitRefused, "%s is of a build that cannot change rosters: upgrade it", c.at)
	}
	wanted, err := changes(live)
	if err != nil {
		return err
	}
	var status ring.Status
	if err := c.get(cmd.Context(), "/v1/status", &status); err != nil {
		return err
	}
	r := rosterChanged{V: 1}
	if err := c.post(cmd.Context(), "/v1/roster/plan", ring.RosterPlan{Changes: wanted}, &r.Plan); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if !f.json {
		if err := printRosterPlan(out, r.Plan, live, status); err != nil {
			return err
		}
	}
	if stop := f.stops(cmd, r.Plan); stop != nil || f.dryRun {
		if f.json {
			return errors.Join(printJSON(out, r), stop)
		}
		return stop
	}
	return f.carryOut(cmd, c, r, status.Self)
}

// stops says why a plan is not carried out, if it is not.
func (f rosterFlags) stops(cmd *cobra.Command, plan ring.RosterPlan) error {
	switch {
	case len(plan.Refused) > 0:
		return exitf(exitRefused, "refused: %s", strings.Join(plan.Refused, "; "))
	case f.yes || f.dryRun:
		return nil
	case f.json || !isTerminal(cmd.InOrStdin()) || !isTerminal(cmd.ErrOrStderr()):
		return usageError("nothing is done yet; say --yes to do it")
	case !confirmed(cmd.InOrStdin(), cmd.ErrOrStderr()):
		return exitf(exitFailed, "nothing is done")
	}
	return nil
}

// confirmed asks a person.
func confirmed(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "Do it? [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(out) // the answer was no line
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	}
	return false
}

// carryOut has a plan done, and waits until all have it.
func (f rosterFlags) carryOut(cmd *cobra.Command, c *client, r rosterChanged, self ring.Name) error {
	out := cmd.OutOrStdout()
	query := url.Values{"timeout": {f.timeout.String()}}
	var answer struct{ Version ring.RosterVersion }
	if err := c.post(cmd.Context(), "/v1/roster?"+query.Encode(), r.Plan, &answer); err != nil {
		return err
	}
	r.Done, r.Version = true, &answer.Version
	if !f.json {
		if _, err := fmt.Fprintf(out, "done: version %d, hash %.12s\n", r.Version.Number, r.Version.Hash); err != nil {
			return err
		}
	}
	said, err := "", error(nil)
	switch {
	case f.noWait:
	case retires(r.Plan, self):
		said = fmt.Sprintf("%s, which was asked, is retired itself: see ring roster list --addr of another "+
			"instance for who has it", self)
	default:
		if said, err = f.await(cmd, c, r.Version.Number); err == nil {
			r.Everywhere = true
		}
	}
	if f.json {
		return errors.Join(printJSON(out, r), err)
	}
	if err == nil && said != "" {
		_, err = fmt.Fprintln(out, said)
	}
	return err
}

// retires reports whether a plan takes that instance off the roster.
func retires(plan ring.RosterPlan, name ring.Name) bool {
	return slices.ContainsFunc(plan.Changes, func(c ring.RosterChange) bool {
		return c.Kind == ring.RosterRetire && c.Name == name
	})
}
