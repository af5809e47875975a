package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
)

func newRosterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roster",
		Short: "Print, check and compare rosters, and change that of a running ring",
		Long: `A roster is the list of a ring's instances, in order. All instances are started
with the same: those whose rosters differ do not link, and say which differ. While the ring
runs, list shows it, and add, retire, move, promote and demote change it: each change makes
a new version, which all instances take, and those who were away meanwhile when they are back.

In a pattern the leftmost brace varies fastest: dc{1..2}/prod/{0..1} is
dc1/prod/0, dc2/prod/0, dc1/prod/1, dc2/prod/1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRosterPrintCommand(), newRosterCheckCommand(), newRosterDiffCommand(),
		newRosterListCommand(), newRosterAddCommand(), newRosterInviteCommand(), newRosterRetireCommand(), newRosterMoveCommand(),
		newRosterPromoteCommand(), newRosterDemoteCommand())
	return cmd
}

// rosterKeys are the settings that make a roster.
var rosterKeys = []string{"ring", "roster", "addresses", "retired", "degree"}

func newRosterPrintCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print [FILE]",
		Short: "Print the roster of a settings file, or of flags, expanded",
		Example: `  ring roster print ring.toml
  ring roster print --roster 'dc{1..3}/prod/{0..1}' --addresses '{2}-{3}.{1}:3000'`,
		Args: cobra.MaximumNArgs(1),
	}
	addOptionFlags(cmd.Flags(), rosterKeys...)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := rosterSettings(cmd, args)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), rosterDocumentOf(s))
		}
		return printRoster(cmd.OutOrStdout(), s.Roster)
	}
	return cmd
}

func newRosterCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a settings file; exit code 2 tells that something is wrong",
		Example: `  ring roster check ring.toml
  ring roster check --json ring.toml | jq -r '.faults[]'`,
		Args: cobra.MaximumNArgs(1),
	}
	addOptionFlags(cmd.Flags(), rosterKeys...)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, the faults in it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, fault := rosterSettings(cmd, args)
		if fault == nil {
			fault = checkRoster(s)
		}
		switch {
		case asJSON:
			if err := printJSON(cmd.OutOrStdout(), verdictOf(s, fault)); err != nil || fault == nil {
				return err
			}
			return &exitError{exitUsage, nil} // the object has said it all
		case fault != nil:
			return fault
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "ring %s: %d instances, no faults, hash %s\n",
			s.Ring, len(s.Roster.Members()), s.Roster.Hash(s.Ring))
		return err
	}
	return cmd
}

// checkRoster says what is wrong with settings that are sound by themselves.
func checkRoster(s settings) error {
	var errs []error
	if len(s.Roster.Addresses) == 0 && len(s.Roster.Names) > 1 {
		errs = append(errs, errors.New("addresses are missing: the instances cannot find each "+
			`other; add addresses = "…", such as 127.0.0.1:{3000+index}`))
	}
	switch {
	case s.Name == "" || rosterDocumentOf(s).index(s.Name) >= 0:
	case s.isRetired():
		errs = append(errs, s.retiredError())
	default:
		errs = append(errs, fmt.Errorf("name %q is not in the roster: add it there or correct it", s.Name))
	}
	if len(errs) > 0 {
		return &exitError{exitUsage, errors.Join(errs...)}
	}
	return nil
}

// verdict is what check --json prints. Beside faults the ring, its hash and the
// number of instances are as far as they could be read.
type verdict struct {
	V         int      `json:"v"`
	Ring      string   `json:"ring"`
	Hash      string   `json:"hash"`
	Instances int      `json:"instances"`
	OK        bool     `json:"ok"`
	Faults    []string `json:"faults"`
}

func verdictOf(s settings, fault error) verdict {
	v := verdict{
		V: 1, Ring: s.Ring, Hash: s.Roster.Hash(s.Ring), Instances: len(s.Roster.Members()),
		OK: fault == nil, Faults: []string{},
	}
	if fault != nil {
		v.Faults = strings.Split(fault.Error(), "\n") // each is a line
	}
	return v
}

// rosterSettings reads the file in args, if there is one, under cmd's flags.
// The environment does not count: what is asked about is this file.
func rosterSettings(cmd *cobra.Command, args []string) (settings, error) {
	var layers []layer
	for _, path := range args {
		layers = append(layers, fileLayer(path))
	}
	s, err := settle(append(layers, flagLayer(cmd.Flags())))
	if err == nil && len(s.Roster.Names) == 0 {
		err = usageError("there is no roster: name a file that has one, or give --roster")
	}
	return s, err
}

func newRosterDiffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff FILE [FILE2]",
		Short: "Compare a file's roster with another file's, or with a running instance's",
		Long: `Diff compares two rosters index by index: a is the first file, b the second,
or the instance at --addr if there is no second. Exit code 3 tells that
instances with a and with b would not link. Addresses may differ. Where the roster of a
running ring was changed since it began with that of the file, they link, and what has
changed is shown.`,
		Example: `  ring roster diff ring.toml /etc/ring/ring.toml
  ring roster diff ring.toml --addr 10.0.0.1:3000`,
		Args: cobra.RangeArgs(1, 2),
	}
	addr := addAddrFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := fileRoster(args[0])
		if err != nil {
			return err
		}
		var b rosterDocument
		switch {
		case len(args) == 1:
			b, err = liveRoster(cmd, *addr)
		case cmd.Flags().Changed("addr"):
			err = usageError("give a second file or --addr, not both")
		default:
			b, err = fileRoster(args[1])
		}
		if err != nil {
			return err
		}
		c := compareRosters(a, b)
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), c)
		} else {
			err = c.print(cmd.OutOrStdout())
		}
		switch {
		case err != nil:
			return err
		case !c.Same:
			return exitf(exitFalse, "the rosters differ: instances with a and with b do not link")
		}
		return nil
	}
	return cmd
}

// rosterDocument is a roster as /v1/roster answers it and --json prints it.
type rosterDocument struct {
	V         int         `json:"v"`
	Ring      string      `json:"ring"`
	Hash      string      `json:"hash"`
	Names     []ring.Name `json:"names"`
	Addresses []string    `json:"addresses"`
	Degree    int         `json:"degree"`             // as it was set; 0: the default of the size
	Links     int         `json:"links"`              // of each instance, which follows from it
	Version   uint64      `json:"version,omitempty"`  // of a running ring's; 0: its build changes none
	Seed      string      `json:"seed,omitempty"`     // hash of its version 1, if that is known
	Retired   []int       `json:"retired,omitempty"`  // indexes of those who are out for good
	Promoted  []int       `json:"promoted,omitempty"` // of those who are to vote before others
	Demoted   []int       `json:"demoted,omitempty"`  // of those who are not to vote
}

func rosterDocumentOf(s settings) rosterDocument {
	return rosterDocument{
		V: 1, Ring: s.Ring, Hash: s.Roster.Hash(s.Ring), Names: s.Roster.Names,
		Addresses: append([]string{}, s.Roster.Addresses...), Degree: s.Roster.Degree,
		Links: s.Roster.Links(), Retired: s.Roster.Retired,
	}
}

func (d rosterDocument) roster() ring.Roster {
	return ring.Roster{Names: d.Names, Addresses: d.Addresses, Degree: d.Degree, Retired: d.Retired}
}

func fileRoster(path string) (rosterDocument, error) {
	s, err := loadFile(path)
	if err != nil {
		return rosterDocument{}, err
	}
	if len(s.Roster.Names) == 0 {
		return rosterDocument{}, usageError("%s has no roster: name another file", path)
	}
	return rosterDocumentOf(s), nil
}

// liveRoster asks a running instance. What it answers must be a roster.
func liveRoster(cmd *cobra.Command, addr target) (rosterDocument, error) {
	c, err := newClient(addr)
	if err != nil {
		return rosterDocument{}, err
	}
	return askRoster(cmd.Context(), c)
}

func askRoster(ctx context.Context, c *client) (rosterDocument, error) {
	var d rosterDocument
	if err := c.get(ctx, "/v1/roster", &d); err != nil {
		return rosterDocument{}, err
	}
	if d.V != 1 || d.Hash == "" || len(d.Names) == 0 {
		return rosterDocument{}, exitf(exitFailed, "%s answers a roster that this command does "+
			"not understand: use the ring of that instance", c.at)
	}
	return d, nil
}

// comparison is what diff prints.
type comparison struct {
	V       int                     `json:"v"`
	Same    bool                    `json:"same"`  // instances with a and with b link
	Older   string                  `json:"older"` // "a" or "b" if the other appended to it
	Rings   [2]string               `json:"rings"`
	Hashes  [2]string               `json:"hashes"`
	Degrees [2]int                  `json:"degrees"` // 0: the default of the size
	Names   []ring.RosterDifference `json:"names"`
	Moved   []movedAddress          `json:"addresses"`
	Retired []ring.Name             `json:"retired"` // in b alone
	Version uint64                  `json:"version"` // of b, where that is of a running ring; else 0
	Seed    bool                    `json:"seed"`    // a is what b was in its version 1
}

// movedAddress is one instance that a and b find at different addresses.
type movedAddress struct {
	Name ring.Name `json:"name"`
	A    string    `json:"a"`
	B    string    `json:"b"`
}

func compareRosters(a, b rosterDocument) comparison {
	ra, rb := a.roster(), b.roster()
	c := comparison{
		V: 1, Same: a.Hash == b.Hash, Version: b.Version, Seed: b.Version > 1 && a.Hash == b.Seed,
		Rings: [2]string{a.Ring, b.Ring}, Hashes: [2]string{a.Hash, b.Hash},
		Degrees: [2]int{a.Degree, b.Degree},
		Names:   append([]ring.RosterDifference{}, ring.DiffRosters(ra, rb)...),
		Moved:   []movedAddress{}, Retired: []ring.Name{},
	}
	for _, i := range b.Retired {
		if i < len(a.Names) && !slices.Contains(a.Retired, i) {
			c.Retired = append(c.Retired, b.Names[i])
		}
	}
	c.Same = c.Same || c.Seed
	switch {
	case c.Seed:
	case ra.Older(rb):
		c.Older = "a"
	case rb.Older(ra):
		c.Older = "b"
	}
	for i := range min(len(ra.Names), len(rb.Names), len(ra.Addresses), len(rb.Addresses)) {
		if ra.Names[i] == rb.Names[i] && ra.Addresses[i] != rb.Addresses[i] {
			c.Moved = append(c.Moved, movedAddress{ra.Names[i], ra.Addresses[i], rb.Addresses[i]})
		}
	}
	return c
}

// print says a comparison in plain words.
func (c comparison) print(out io.Writer) error {
	var errs []error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(out, format+"\n", args...)
		errs = append(errs, err)
	}
	if c.Rings[0] != c.Rings[1] {
		say("ring: a is %s, b is %s", c.Rings[0], c.Rings[1])
	}
	if !c.Same && c.Degrees[0] != c.Degrees[1] {
		say("degree: a has %s, b has %s", degreeText(c.Degrees[0]), degreeText(c.Degrees[1]))
	}
	for _, d := range c.Names {
		say("%v", d)
	}
	if c.Older != "" {
		newer := "b"
		if c.Older == "b" {
			newer = "a"
		}
		say("%s is %s with instances appended: give the instances of %s the roster of %s",
			newer, c.Older, c.Older, newer)
	}
	for _, name := range c.Retired {
		say("%s is retired in b", name)
	}
	for _, m := range c.Moved {
		say("address of %s: a has %s, b has %s (which may be)", m.Name, m.A, m.B)
	}
	switch {
	case c.Seed:
		say("b is version %d of what was a: who is started with a is let in, and takes it over", c.Version)
	case c.Same:
		say("a and b are the same roster, hash %s", c.Hashes[0])
	}
	return errors.Join(errs...)
}

func degreeText(degree int) string {
	if degree == 0 {
		return "the default"
	}
	return strconv.Itoa(degree)
}

func printRoster(out io.Writer, r ring.Roster) error {
	rows := [][]cell{{{text: "INDEX", right: true}, {text: "NAME"}, {text: "ADDRESS"}}}
	for i, name := range r.Names {
		row := []cell{{text: strconv.Itoa(i), right: true}, {text: string(name)}}
		if _, retired := slices.BinarySearch(r.Retired, i); retired {
			row[1].text += " (retired)"
		}
		if len(r.Addresses) > 0 {
			row = append(row, cell{text: r.Addresses[i]})
		}
		rows = append(rows, row)
	}
	if len(r.Addresses) == 0 {
		rows[0] = rows[0][:2]
	}
	return printTable(out, paintFor(out), rows)
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
