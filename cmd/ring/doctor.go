package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/doctor"
)

func newDoctorCommand() *cobra.Command {
	var name string
	cmd := busCommand(&cobra.Command{
		Use:   "doctor",
		Short: "Examine the whole fleet, and say what is wrong and what to do about it",
		Long: `Doctor asks one instance, which has all of them look at themselves and at each other,
and prints a line for each check that is well, and for each kind of trouble who has it, what
was found, and what to do:

  answers    who says nothing, and who sees another ring than the rest
  quorum     voters that live; who is cut off, or damped
  ticks      whether the particle passes, and laps count
  roster     whether all have the same; who was refused a link, and why
  versions   of the program
  address    whether the roster's address of each leads to it
  paths      whether each reaches each, tried by a connection: all pairs of up to 64
             instances; in a larger fleet each tries those it is linked with, and 16 others.
             With TLS those of up to 16 instances prove who they are; in a larger fleet each
             asks four for that
  links      those that the ring wants, and detours
  security   certificates: refused, in their last third, of an older root, while the authority is
             exchanged, or trusting others than the rest do; who speaks in the clear. That
             strangers were turned away is a note, not a finding
  clocks     wall clocks beside each other (more than 250ms apart), set or suspended
  disk       room (64 MiB, 5 %), inodes, whether it can be written, how long a sync takes
             (50ms), and who else may read the data directory
  files      how many may be open
  cpu        quotas below what is used, throttling, a process that runs late
  memory     what is left below the limit of the control group

A clock is compared with the one in the middle of all. How long the answers take bounds how
well that can be measured, so only what is certain counts. Nothing is changed anywhere, but
every instance dials others and syncs some small files, once a second at most. With --name
it is one instance, and the ways to and from it.

Exit code 0 says that all is well, 3 that there are warnings, 1 that something fails, and 4
that the instance at --addr cannot be reached.`,
		Example: `  ring doctor
  ring doctor --name dc1/prod/0
  ring doctor --json | jq '.checks[] | select(.verdict != "ok") | .check, .problems'`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, c *client, f *busFlags, _ []string) error {
		query := f.query()
		if name != "" {
			query.Set("name", name)
		}
		text, err := c.ask(cmd.Context(), http.MethodGet, "/v1/doctor?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		var rep doctor.Report
		if err := json.Unmarshal(text, &rep); err != nil {
			return c.strange(err)
		}
		if f.json {
			err = printed(cmd, text, nil)
		} else {
			err = printReport(cmd.OutOrStdout(), rep)
		}
		if err != nil {
			return err
		}
		switch rep.Verdict {
		case doctor.OK:
			return nil
		case doctor.Fail:
			return exitf(exitFailed, "")
		}
		return exitf(exitFalse, "")
	})
	cmd.Flags().StringVar(&name, "name", "", "one `instance`, and the ways to and from it")
	return cmd
}

// whoShown is how many of those who have one trouble are printed.
const whoShown = 4

func verdictColor(v doctor.Verdict) string {
	switch v {
	case doctor.OK:
		return green
	case doctor.Fail:
		return red
	}
	return yellow
}

func printReport(out io.Writer, rep doctor.Report) error {
	p := paintFor(out)
	head := fmt.Sprintf("%s · %d of %d answered", rep.Ring, rep.Answered, rep.Instances)
	if rep.Only != "" {
		head = fmt.Sprintf("%s · %s", rep.Ring, shown(string(rep.Only)))
	}
	verdict := p.in(verdictColor(rep.Verdict), shown(strings.ToUpper(string(rep.Verdict))))
	fmt.Fprintf(out, "%s · %s, by way of %s in %s\n\n", verdict, head, rep.Self, millis(rep.TookMS))
	if err := printTable(out, p, doctorRows(rep)); err != nil {
		return err
	}
	if n := rep.CutOff + rep.Paths.CutOff; n > 0 {
		_, err := fmt.Fprintf(out, "\nand %d more findings, for which there was no room\n", n)
		return err
	}
	return nil
}

// doctorRows has a row for each check that is well, and for each trouble one for each who has
// it, with what to do below.
func doctorRows(rep doctor.Report) [][]cell {
	rows := [][]cell{head("CHECK", "VERDICT", "WHO", "WHAT")}
	trouble := func(check string, v doctor.Verdict, count int, who []doctor.Who, do string) {
		for i, w := range who[:min(len(who), whoShown)] {
			row := []cell{
				{check, "", false},
				{shown(string(v)), verdictColor(v), false},
				{shown(string(w.Name)), "", false},
				{shown(w.What), "", false},
			}
			if i > 0 {
				row[0].text, row[1].text = "", ""
			}
			rows = append(rows, row)
		}
		last := []cell{{}, {}, {}, {"→ " + shown(do), bold, false}}
		if more := count - min(len(who), whoShown); more > 0 {
			last[2].text = fmt.Sprintf("and %d more", more)
		}
		rows = append(rows, last)
	}
	for _, c := range rep.Checks {
		if c.Verdict == doctor.OK {
			rows = append(rows, []cell{
				{shown(c.Check), "", false},
				{string(c.Verdict), verdictColor(c.Verdict), false},
				{fmt.Sprint(c.OK), dim, false},
				{shown(c.Note), dim, false},
			})
		}
		for _, one := range c.Problems {
			trouble(shown(c.Check), one.Verdict, one.Count, one.Who, one.Do)
		}
		if c.Check == doctor.Paths {
			for _, path := range rep.Paths.BadOnes {
				trouble(c.Check, path.Verdict(), path.Count, pathRows(path), path.Do())
			}
		}
	}
	return rows
}

// pathRows says who does not reach an instance.
func pathRows(path doctor.Path) (rows []doctor.Who) {
	for _, from := range path.From {
		what := fmt.Sprintf("to %s at %s", path.To, path.What)
		if slices.Contains(path.OneWay, from) {
			what += " (one way: it is reached from there)"
		}
		rows = append(rows, doctor.Who{Name: from, What: what})
	}
	return rows
}
