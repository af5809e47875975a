package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/graph"
)

// overlayFlags are what an overlay is asked for.
type overlayFlags struct {
	nodes, add     int
	kill           []string
	seed           uint64
	json, svg, dot bool
}

func newOverlayCommand() *cobra.Command {
	var f overlayFlags
	cmd := &cobra.Command{
		Use:   "overlay [FILE]",
		Short: "Measure and draw the expander of a fleet, and ask what if some die",
		Long: `Overlay computes the links that a roster gives its instances, as the fleet does it,
and measures them: how many hops reach everybody, how many may fail, how close to
the best possible that is. Without a FILE or --nodes it asks a running instance for
the roster and for who is dead.

With --kill it shows two graphs more: cut, what is left of the links at that very
moment, and healed, after every ring has closed over the dead. A pattern stands for
all instances whose names begin as it says, element by element: 'dc2/*' is all of
dc2. With --add it shows what more instances at the end of the roster change.

λ₂ is the second eigenvalue of the links; 2√(d-1), the bound of Ramanujan graphs, is
the best that large graphs can have. The mixing time is after how many steps a random
walk may be anywhere.`,
		Example: `  ring overlay
  ring overlay ring.toml --kill 30%
  ring overlay --nodes 4096 --degree 6
  ring overlay ring.toml --kill 'dc2/*' --svg > overlay.svg
  ring overlay --nodes 1000 --json | jq .diameter`,
		Args: cobra.MaximumNArgs(1),
	}
	addr := addAddrFlag(cmd)
	addOptionFlags(cmd.Flags(), "ring", "roster", "degree")
	fl := cmd.Flags()
	fl.IntVar(&f.nodes, "nodes", 0, "so many instances without names of their own")
	fl.StringArrayVar(&f.kill, "kill", nil,
		"a share such as 30%, drawn by --seed, or a pattern of names; again for more")
	fl.IntVar(&f.add, "add", 0, "so many instances more at the end of the roster")
	fl.Uint64Var(&f.seed, "seed", 1, "which share --kill takes")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	fl.BoolVar(&f.svg, "svg", false, "print a picture")
	fl.BoolVar(&f.dot, "dot", false, "print the links for Graphviz")
	cmd.MarkFlagsMutuallyExclusive("json", "svg", "dot")
	cmd.MarkFlagsMutuallyExclusive("add", "svg") // a picture has one fleet
	cmd.MarkFlagsMutuallyExclusive("add", "dot")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := f.overlay(cmd, args, *addr)
		if err != nil {
			return err
		}
		return f.show(cmd.OutOrStdout(), o)
	}
	return cmd
}

// overlay is a fleet whose links are to be looked at.
type overlay struct {
	name   string
	roster ring.Roster
	dead   []bool
	killed int
}

// overlay finds out whose links are meant, and who is dead.
func (f *overlayFlags) overlay(cmd *cobra.Command, args []string, addr target) (*overlay, error) {
	o := &overlay{}
	offline := len(args) > 0 || f.nodes != 0 || cmd.Flags().Changed("roster")
	switch {
	case offline && cmd.Flags().Changed("addr"):
		return nil, usageError("--addr asks a running instance, and a file, --roster or --nodes says " +
			"which fleet is meant: leave one out")
	case !offline && cmd.Flags().Changed("ring"):
		return nil, usageError("--ring names the ring of a roster that is given by --roster or --nodes: " +
			"add one of them, or ask an instance of that ring by --addr")
	case cmd.Flags().Changed("seed") && !slices.ContainsFunc(f.kill, isShare):
		return nil, usageError("--seed says which share dies: add --kill, such as --kill 30%%")
	case f.add < 0:
		return nil, usageError("--add is %d: give how many instances are to come", f.add)
	}
	var err error
	if offline {
		err = o.fromSettings(cmd, args, f.nodes)
	} else {
		err = o.fromFleet(cmd, addr)
	}
	if err != nil {
		return nil, err
	}
	for _, what := range f.kill {
		if err := o.kill(what, f.seed); err != nil {
			return nil, err
		}
	}
	for _, dead := range o.dead {
		if dead {
			o.killed++
		}
	}
	if o.killed == len(o.roster.Members()) {
		return nil, usageError("nobody is left alive: kill fewer")
	}
	return o, nil
}

// fromSettings takes the roster of a file or of flags, or makes one of a size.
func (o *overlay) fromSettings(cmd *cobra.Command, args []string, nodes int) error {
	if nodes != 0 {
		if len(args) > 0 || cmd.Flags().Changed("roster") {
			return usageError("--nodes makes a roster up: leave it out, or the file and --roster")
		}
		if nodes < 1 || nodes > ring.RosterMax {
			return usageError("--nodes is %d: give 1 to %d", nodes, ring.RosterMax)
		}
		names := fmt.Sprintf("node/{0..%d}", nodes-1)
		if err := cmd.Flags().Set("roster", names); err != nil {
			return err
		}
	}
	s, err := rosterSettings(cmd, args)
	if err != nil {
		return err
	}
	o.name, o.roster = s.Ring, s.Roster
	o.dead = make([]bool, len(o.roster.Names))
	return nil
}

// fromFleet asks a running instance.
func (o *overlay) fromFleet(cmd *cobra.Command, addr target) error {
	d, err := liveRoster(cmd, addr)
	if err != nil {
		return err
	}
	c, err := newClient(addr)
	if err != nil {
		return err
	}
	var status ring.Status
	if err := c.get(cmd.Context(), "/v1/status", &status); err != nil {
		return err
	}
	o.name, o.roster = d.Ring, d.roster()
	if cmd.Flags().Changed("degree") {
		if o.roster.Degree, err = cmd.Flags().GetInt("degree"); err != nil {
			return err
		}
	}
	lives := make(map[ring.Name]bool)
	for _, i := range status.Instances {
		lives[i.Name] = i.State == ring.Alive || i.State == ring.Suspect
	}
	o.dead = make([]bool, len(o.roster.Names))
	for _, i := range o.roster.Members() { // who is retired is no part of it, dead or alive
		o.dead[i] = !lives[o.roster.Names[i]]
	}
	return nil
}

// isShare reports whether --kill has a share, and not a pattern.
func isShare(what string) bool { return strings.HasSuffix(what, "%") }

// kill takes a share of the living or all that a pattern stands for.
func (o *overlay) kill(what string, seed uint64) error {
	if isShare(what) {
		share, err := strconv.ParseFloat(strings.TrimSuffix(what, "%"), 64)
		if err != nil || !(share >= 0 && share <= 100) {
			return usageError("--kill %s: give a share from 0%% to 100%%", what)
		}
		dice := rand.New(rand.NewPCG(seed, 0))
		all := o.roster.Members()
		count := int(share/100*float64(len(all)) + 0.5)
		for _, k := range dice.Perm(len(all))[:count] {
			o.dead[all[k]] = true
		}
		return nil
	}
	depth, hit := strings.Count(what, "/")+1, false
	for _, i := range o.roster.Members() {
		elements := strings.Split(string(o.roster.Names[i]), "/")
		ok, err := path.Match(what, strings.Join(elements[:min(depth, len(elements))], "/"))
		if err != nil {
			return usageError("--kill %s: %w; give a share such as 30%% or a pattern such as 'dc2/*'",
				what, err)
		}
		if ok {
			o.dead[i], hit = true, true
		}
	}
	if !hit {
		return usageError("--kill %s: no instance has such a name; give a share such as 30%% or a "+
			"pattern such as '%s/*'", what, firstElement(o.roster.Names[0]))
	}
	return nil
}

// overlayDocument is what --json prints: the figures of the whole roster, and those of
// what was asked beside it.
type overlayDocument struct {
	V    int    `json:"v"`
	Ring string `json:"ring"`
	graph.Measures
	Killed *killedDocument `json:"killed,omitempty"`
	Added  *addedDocument  `json:"added,omitempty"`
}

type killedDocument struct {
	Names    []ring.Name    `json:"names"`
	Cut      graph.Measures `json:"cut"`       // before anybody has noticed
	Healed   graph.Measures `json:"healed"`    // every ring closed
	NewLinks int            `json:"new_links"` // that close them
}

type addedDocument struct {
	Instances int            `json:"instances"`
	Grown     graph.Measures `json:"grown"`
	Gone      int            `json:"gone_links"`
	Come      int            `json:"new_links"`
}

func (f *overlayFlags) show(out io.Writer, o *overlay) error {
	g, err := graph.Of(o.name, o.roster)
	if err != nil {
		return usageError("%w", err)
	}
	dead := func(i int) bool { return o.dead[i] }
	switch {
	case f.svg:
		return g.WriteSVG(out, o.title(), dead)
	case f.dot:
		return g.WriteDOT(out, o.name, dead)
	}
	d := overlayDocument{V: 1, Ring: o.name, Measures: g.Measure()}
	if o.killed > 0 {
		cut, healed := g.Without(dead)
		_, come := graph.Changes(cut, healed)
		d.Killed = &killedDocument{Cut: cut.Measure(), Healed: healed.Measure(), NewLinks: len(come)}
		for i, name := range o.roster.Names {
			if o.dead[i] {
				d.Killed.Names = append(d.Killed.Names, name)
			}
		}
	}
	if f.add > 0 {
		if d.Added, err = o.grown(g, f.add); err != nil {
			return err
		}
	}
	if f.json {
		return printJSON(out, d)
	}
	return d.print(out)
}

// grown is what more instances at the end of the roster change.
func (o *overlay) grown(g *graph.Graph, more int) (*addedDocument, error) {
	r := o.roster
	r.Names, r.Addresses = append([]ring.Name{}, r.Names...), nil
	for i := 0; len(r.Names) < len(o.roster.Names)+more; i++ { // among the data centres in turn
		first := firstElement(o.roster.Names[i%len(o.roster.Names)])
		name := ring.Name(fmt.Sprintf("%s/added/%d", first, i))
		if !slices.Contains(o.roster.Names, name) {
			r.Names = append(r.Names, name)
		}
	}
	grown, err := graph.Of(o.name, r)
	if err != nil {
		return nil, usageError("%w", err)
	}
	gone, come := graph.Changes(g, grown)
	return &addedDocument{Instances: more, Grown: grown.Measure(), Gone: len(gone), Come: len(come)}, nil
}

func firstElement(name ring.Name) string {
	first, _, _ := strings.Cut(string(name), "/")
	return first
}

func (o *overlay) title() string {
	text := fmt.Sprintf("%s: %d instances, %d links each", o.name, len(o.roster.Members()), o.roster.Links())
	if o.killed > 0 {
		text += fmt.Sprintf(", %d dead", o.killed)
	}
	return text
}

// print is a column for each graph.
func (d *overlayDocument) print(out io.Writer) error {
	head := []string{"WHOLE"}
	all := []graph.Measures{d.Measures}
	if k := d.Killed; k != nil {
		head, all = append(head, "CUT", "HEALED"), append(all, k.Cut, k.Healed)
	}
	if d.Added != nil {
		head, all = append(head, "GROWN"), append(all, d.Added.Grown)
	}
	rows := [][]cell{{{text: strings.ToUpper(d.Ring)}}}
	for _, h := range head {
		rows[0] = append(rows[0], cell{text: h, right: true})
	}
	row := func(name string, value func(m graph.Measures) string) {
		r := []cell{{text: name}}
		for _, m := range all {
			r = append(r, cell{text: value(m), right: true})
		}
		rows = append(rows, r)
	}
	whole := func(m graph.Measures, text string) string {
		if m.Parts != 1 {
			return "–"
		}
		return text
	}
	row("instances", func(m graph.Measures) string { return strconv.Itoa(m.Nodes) })
	row("links of each", func(m graph.Measures) string {
		if m.Fewest == m.Most {
			return strconv.Itoa(m.Most)
		}
		return fmt.Sprintf("%d–%d", m.Fewest, m.Most)
	})
	row("parts, largest", func(m graph.Measures) string {
		return fmt.Sprintf("%d, %d", m.Parts, m.Largest)
	})
	row("hops to the farthest (at best)", func(m graph.Measures) string {
		return whole(m, fmt.Sprintf("%d (%d)", m.Diameter, m.MooreDiameter))
	})
	row("hops, mean (at best)", func(m graph.Measures) string {
		return whole(m, fmt.Sprintf("%.2f (%.2f)", m.MeanHops, m.MooreMeanHops))
	})
	row("λ₂ (2√(d-1))", func(m graph.Measures) string {
		return fmt.Sprintf("%.3f (%.3f)", m.Lambda2, m.Ramanujan)
	})
	row("of that bound", func(m graph.Measures) string { return fmt.Sprintf("%.3f", m.Ratio) })
	row("spectral gap", func(m graph.Measures) string { return fmt.Sprintf("%.3f", m.Gap) })
	row("mixed after, hops", func(m graph.Measures) string {
		if m.MixingHops == 0 {
			return "never"
		}
		return strconv.Itoa(m.MixingHops)
	})
	row("may fail, whichever they are", func(m graph.Measures) string {
		return strconv.Itoa(max(m.Connectivity-1, 0))
	})
	row("links to halve it, at least", func(m graph.Measures) string {
		return whole(m, strconv.Itoa(m.HalvesAt))
	})
	row("edge expansion, at least – found", func(m graph.Measures) string {
		return whole(m, fmt.Sprintf("%.2f – %.2f", m.ExpansionLow, m.ExpansionFound))
	})
	if err := printTable(out, paintFor(out), rows); err != nil {
		return err
	}
	if k := d.Killed; k != nil {
		_, err := fmt.Fprintf(out, "\n%d of %d are dead; closing the rings takes new links: %d, "+
			"%.2f for each of the living\n",
			len(k.Names), d.Nodes, k.NewLinks, 2*float64(k.NewLinks)/float64(k.Healed.Nodes))
		if err != nil {
			return err
		}
	}
	if a := d.Added; a != nil {
		_, err := fmt.Fprintf(out, "\n%d more: %d of %d links go, %d come\n",
			a.Instances, a.Gone, d.Links, a.Come)
		return err
	}
	return nil
}
