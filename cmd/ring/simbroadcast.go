package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring/ringtest"
)

// spreadFlags are which broadcasts are simulated.
type spreadFlags struct {
	opt    ringtest.SpreadOptions
	nodes  []int
	wrong  []string
	asJSON bool
	svg    string
}

// memorySpread is memoryLarge of a fleet that broadcasts.
const memorySpread = 5000 << 20

func newSimBroadcastCommand() *cobra.Command {
	var f spreadFlags
	cmd := &cobra.Command{
		Use:   "broadcast",
		Short: "Measure broadcasts of whole fleets: hops, copies, bytes, under one trouble after the other",
		Long: `Broadcast lets fleets form, as sim does it, with everything running in them, and
sends messages from hosts that are drawn by the seed, small ones, which are flooded,
and larger ones, which go down a tree. Every packet takes one hop latency, so that
times are hops. The same seed and flags give the same figures.

What is wrong, one after the other:
  none          nothing
  lost          5 % of the frames of the broadcast vanish, which TCP would not let them
  dead          a tenth of the instances is dark, and nobody has noticed
  dead+lost     both
  centre        a data centre is dark, and nobody has noticed: the first zone, or
                without zones a quarter of the roster that stands together
  late          5 % of all packets are lost, and TCP sends them again 200 ms later
  churn         up to 20 instances are killed or leave, and come back (4 of more than
                2,000)
  centre-known  a data centre is gone, and all know (up to 2,000 instances)
A fleet of up to three can spare nobody, and meets only none, lost and late.

The columns: how many are out, the hops until the last of the others had it (at best,
median, worst), and for each of these copies, control messages and bytes of it before
there is any digest; how many messages all had by then, and how many with digests.

It exits with 1 when an invariant breaks or a target is missed.`,
		Example: `  ring sim broadcast
  ring sim broadcast --nodes 1000 --svg broadcast.svg
  ring sim broadcast --nodes 1024 --zones 4 --trouble none
  ring sim broadcast --nodes 10000 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.IntSliceVar(&f.nodes, "nodes", []int{11, 100, 1000}, "instances of each fleet, with commas")
	fl.IntSliceVar(&f.opt.Sizes, "size", []int{100, 4096}, "bytes of the messages, with commas")
	fl.IntVar(&f.opt.Messages, "messages", 10, "of each size under each trouble")
	fl.IntVar(&f.opt.Zones, "zones", 1, "data centres, 20 hop latencies apart")
	fl.IntVar(&f.opt.Degree, "degree", 0, "links of each instance, 0 for what its fleet's size has")
	fl.StringSliceVar(&f.wrong, "trouble", nil,
		"what is to be wrong, with commas; without it all of these")
	fl.Uint64Var(&f.opt.Seed, "seed", 1, "what chance goes by")
	fl.StringVar(&f.svg, "svg", "", "file for a picture of it")
	fl.BoolVar(&f.asJSON, "json", false, "print one JSON object")
	return cmd
}

// spreadDocument is what --json prints.
type spreadDocument struct {
	V      int           `json:"v"`
	Fleets []spreadFleet `json:"fleets"`
}

type spreadFleet struct {
	ringtest.SpreadResult
	Targets []ringtest.SpreadTarget `json:"targets"`
}

func (f *spreadFlags) run(stdout, stderr io.Writer) error {
	switch {
	case len(f.nodes) == 0:
		return usageError("--nodes is empty; give numbers of instances, such as 11,100")
	case len(f.opt.Sizes) == 0:
		return usageError("--size is empty; give numbers of bytes, such as 100,4096")
	}
	if f.opt.Messages < 1 {
		return usageError("--messages is %d; give at least 1", f.opt.Messages)
	}
	for _, t := range f.wrong {
		f.opt.Troubles = append(f.opt.Troubles, ringtest.Trouble(t))
	}
	for _, n := range f.nodes {
		opt := f.opt
		if opt.Nodes = n; opt.Check() != nil {
			return usageError("sim: %w", opt.Check())
		}
	}
	var picture *os.File
	if f.svg != "" { // before minutes of work
		var err error
		if picture, err = os.Create(f.svg); err != nil {
			return fmt.Errorf("the picture: %w", err)
		}
		defer picture.Close()
	}
	doc := spreadDocument{V: 1}
	missed := 0
	for _, n := range f.nodes {
		opt := f.opt
		opt.Nodes = n
		if n >= 100 && !f.asJSON {
			opt.Progress = stderr
		}
		if n >= 5000 {
			debug.SetMemoryLimit(memorySpread)
		}
		res, err := ringtest.Spread(opt)
		if err != nil {
			return usageError("sim: %w", err)
		}
		fleet := spreadFleet{res, res.Targets()}
		doc.Fleets = append(doc.Fleets, fleet)
		for _, t := range fleet.Targets {
			if !t.Met {
				missed++
			}
		}
		if res.Failure != nil {
			missed++
		}
	}
	if picture != nil {
		if err := writeSpreadSVG(picture, doc.Fleets); err != nil {
			return fmt.Errorf("the picture: %w", err)
		}
		if err := picture.Close(); err != nil {
			return fmt.Errorf("the picture: %w", err)
		}
	}
	if err := doc.print(stdout, f.asJSON); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d targets were missed or runs broke", missed)
	}
	return nil
}

func (d *spreadDocument) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(d)
	}
	zones := d.Fleets[0].Zones > 1
	titles := []string{
		"INSTANCES", "LINKS", "WRONG", "OUT", "KIND", "SIZE", "BEST", "MEDIAN", "WORST", "COPIES",
		"CONTROL", "BYTES", "WHOLE", "DIGESTS",
	}
	if zones {
		titles = append(titles, "CROSSING", "DEEP")
	}
	var head []cell
	for _, t := range titles {
		head = append(head, cell{text: t, right: t != "WRONG" && t != "KIND"})
	}
	rows := [][]cell{head}
	for _, fleet := range d.Fleets {
		for i := range fleet.Rows {
			rows = append(rows, spreadLine(&fleet, &fleet.Rows[i], zones))
		}
	}
	if err := printTable(out, paintFor(out), rows); err != nil {
		return err
	}
	return d.printTargets(out)
}

// spreadLine is one row of the table.
func spreadLine(f *spreadFleet, r *ringtest.SpreadRow, zones bool) []cell {
	number := func(v float64, digits int) cell {
		text := strconv.FormatFloat(v, 'f', digits, 64)
		if digits == 1 {
			text = strings.TrimSuffix(text, ".0")
		}
		return cell{text: text, right: true}
	}
	count := func(v int) cell { return cell{text: strconv.Itoa(v), right: true} }
	of := func(v int) cell { return cell{text: fmt.Sprintf("%d/%d", v, r.Messages), right: true} }
	after := of(r.WholeAfter)
	if r.WholeAfter < r.Messages {
		after.color = red
	}
	line := []cell{
		count(f.Nodes), count(f.Degree),
		{text: string(r.Trouble)},
		count(r.Troubled),
		{text: r.Kind},
		count(r.Size), number(r.Best, 1), number(r.Median, 1), number(r.Worst, 1), number(r.Copies, 2),
		number(r.Control, 2), number(r.Bytes, 0), of(r.Whole), after,
	}
	if zones {
		line = append(line, number(r.CrossCopies, 1), count(r.WideDeep))
	}
	return line
}

// printTargets says what was wanted, and what broke.
func (d *spreadDocument) printTargets(out io.Writer) error {
	text := bufio.NewWriter(out)
	p := paintFor(out)
	for _, fleet := range d.Fleets {
		if len(fleet.Targets) > 0 {
			fmt.Fprintf(text, "\n%d instances, wanted:\n", fleet.Nodes)
		}
		for _, t := range fleet.Targets {
			word := p.in(green, "reached")
			if !t.Met {
				word = p.in(red, "missed")
			}
			fmt.Fprintf(text, "  %s  %s: %g\n", word, t.Want, t.Got)
		}
		if f := fleet.Failure; f != nil {
			what := f.Invariant
			if what != ringtest.NoRoom {
				what += " failed"
			}
			fmt.Fprintf(text, "  %s at %.3f s: %s\n  replay: %s\n", p.in(red, what), f.AtMillis/1e3,
				f.Text, f.Replay)
		}
	}
	return text.Flush()
}
