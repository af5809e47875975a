package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring"
	runner "ringofservers.dev/run"
)

// jobShown is a job as status shows it.
type jobShown struct {
	Name string `json:"name"`
	runner.Record
	State string     `json:"state"` // of the newest run: none, running, done, failed, lost
	Next  *time.Time `json:"next"`  // null where it is a tick, or suspended
	// NextTick is the next slot of one that is run by ticks, else 0.
	NextTick int64 `json:"next_tick,omitempty"`
	// Ahead is that the newest slot lies so far ahead of this host's clock that one of the
	// two is wrong.
	Ahead bool `json:"ahead,omitempty"`
	// Wrong is why the record cannot be read; then there is nothing but the name.
	Wrong string `json:"wrong,omitempty"`

	held map[uint64]bool // fences of leases that are
}

// runShown is all that status shows.
type runShown struct {
	V        int            `json:"v"`
	Jobs     []jobShown     `json:"jobs"`
	Rollouts []rolloutShown `json:"rollouts"`
	Once     []onceShown    `json:"once"` // what runs without a schedule; of its end nothing is kept
	// Behind is that most voters are out of reach, so that this is what one instance has.
	Behind bool `json:"behind,omitempty"`
}

// onceShown is a command that runs now, alone in the fleet.
type onceShown struct {
	Name  string `json:"name"`
	By    string `json:"by"`
	Fence uint64 `json:"fence"`
}

func newRunStatusCommand() *cobra.Command {
	return busCommand(&cobra.Command{
		Use:   "status [NAME]",
		Short: "Show what is run by a schedule, what is rolled out, where, and how that ended",
		Long: `Status shows each job of the fleet: its schedule, the slot that was claimed last, by
whom, what became of it (running, done, failed, or lost where its process is gone and has
not said), how many slots were missed in all (with a + where more were than a calendar
counts), and when the next comes. A slot that was claimed far ahead of this host's clock
is warned of: nothing is run until then, see ring run forget.

Below it shows each rollout (ring run --rolling): how many instances are done, who runs it
now and since when, and who has failed. With a NAME it shows the last ten runs of a job
(more while more overlap), and each instance of a rollout; --json always has those. Last come
commands without a schedule that run now; of those nothing is kept once they have ended.
Exit code 3 says that nothing of that name is known.

Without a quorum it shows of a NAME what this instance has, which may be behind, and warns of
that; all there are it cannot list then (exit code 5).`,
		Example: `  ring run status
  ring run status deploy-42
  ring run status reindex --json | jq '.jobs[0].runs[] | {slot, by, exit}'
  ring run status deploy-42 --json | jq '.rollouts[0] | {state, done, of}'`,
		Args: cobra.MaximumNArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
		defer cancel()
		name := strings.Join(args, "")
		all, err := c.runs(ctx, f, name)
		if err == nil && all.anyLost() {
			// Records and leases were read one after the other, and it may have ended between.
			all, err = c.runs(ctx, f, name)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return exitf(exitTimeout, "no answer within %v", f.timeout)
		case err != nil:
			return err
		}
		if all.Behind {
			cmd.PrintErrln("ring: most voters are out of reach: what this instance has may be behind")
		}
		if name != "" {
			all.keep(name)
			switch known := len(all.Jobs)+len(all.Rollouts)+len(all.Once) > 0; {
			case !known && all.Behind:
				return exitf(exitRefused, "of the name %s this instance has nothing", shown(name))
			case !known:
				return exitf(exitFalse, "nothing of the name %s is known; "+
					"of what ran once, without a schedule, nothing is kept", shown(name))
			}
		}
		if f.json {
			return printJSON(cmd.OutOrStdout(), all)
		}
		return printRuns(cmd, all, len(args) == 1)
	})
}

// keep leaves what has that name.
func (s *runShown) keep(name string) {
	s.Jobs = slices.DeleteFunc(s.Jobs, func(j jobShown) bool { return j.Name != name })
	s.Rollouts = slices.DeleteFunc(s.Rollouts, func(r rolloutShown) bool { return r.Name != name })
	s.Once = slices.DeleteFunc(s.Once, func(o onceShown) bool { return o.Name != name })
}

func (s runShown) anyLost() bool {
	return slices.ContainsFunc(s.Jobs, func(j jobShown) bool { return j.State == "lost" }) ||
		slices.ContainsFunc(s.Rollouts, func(r rolloutShown) bool { return len(r.In(runner.Lost)) > 0 })
}

// runKeys reads the keys of all jobs and rollouts or, without a quorum, those of that name as
// this instance has them.
func (c *client) runKeys(ctx context.Context, f *busFlags, name string) (
	jobs, rolls []ring.Entry, behind bool, err error,
) {
	var bus ring.BusStatus
	if err := c.get(ctx, "/v1/bus", &bus); err != nil {
		return nil, nil, false, err
	}
	if bus.Quorum { // else the others need not be waited for
		if jobs, err = c.below(ctx, f, runner.Key("")); err == nil {
			rolls, err = c.below(ctx, f, runner.RolloutKey(""))
		}
		if err == nil || !codeIs(err, exitRefused) {
			return jobs, rolls, false, err
		}
	}
	if name == "" {
		return nil, nil, true, exitf(exitRefused, "most voters are out of reach of %s, and without them "+
			"this cannot be listed; ring run status NAME shows what it has of one", shown(string(bus.Self)))
	}
	peek := func(key string) ([]ring.Entry, error) {
		value, revision, err := (&beside{client: c}).Peek(ctx, key)
		if err != nil || revision == 0 {
			return nil, err
		}
		return []ring.Entry{{Key: key, Value: value, Revision: revision}}, nil
	}
	if jobs, err = peek(runner.Key(name)); err == nil {
		rolls, err = peek(runner.RolloutKey(name))
	}
	return jobs, rolls, true, err
}

// runs reads the records of all jobs and rollouts, and who still holds a lease; see runKeys.
func (c *client) runs(ctx context.Context, f *busFlags, name string) (runShown, error) {
	all := runShown{V: 1, Jobs: []jobShown{}, Rollouts: []rolloutShown{}, Once: []onceShown{}}
	jobs, rolls, behind, err := c.runKeys(ctx, f, name)
	if all.Behind = behind; err != nil {
		return all, err
	}
	var bus ring.BusStatus
	if err := c.get(ctx, "/v1/bus", &bus); err != nil {
		return all, err
	}
	held, _ := runner.HeldOf(bus)
	for _, e := range jobs {
		name := strings.TrimPrefix(e.Key, runner.Key(""))
		rec, err := runner.ParseRecord(e.Value)
		if err != nil { // which is no reason to be silent about the others
			all.Jobs = append(all.Jobs, jobShown{Name: name, State: "unreadable", Wrong: err.Error()})
			continue
		}
		all.Jobs = append(all.Jobs, showJob(name, rec, held, time.Now()))
	}
	for _, l := range bus.Leases {
		name, ok := strings.CutPrefix(l.Name, runner.Key(""))
		known := func(j jobShown) bool { return j.Name == name }
		if ok && !strings.Contains(name, " ") && !slices.ContainsFunc(all.Jobs, known) {
			all.Once = append(all.Once, onceShown{name, string(l.Holder), l.Fence})
		}
	}
	if len(rolls) == 0 {
		return all, nil
	}
	var status ring.Status
	if err := c.get(ctx, "/v1/status", &status); err != nil {
		return all, err
	}
	for _, e := range rolls {
		name := strings.TrimPrefix(e.Key, runner.RolloutKey(""))
		all.Rollouts = append(all.Rollouts, showRollout(name, e.Value, runner.InstancesOf(status.Instances), held))
	}
	return all, nil
}

// below are the keys of the bus with that prefix.
func (c *client) below(ctx context.Context, f *busFlags, prefix string) ([]ring.Entry, error) {
	query := f.query()
	query.Set("prefix", prefix)
	text, err := c.ask(ctx, http.MethodGet, "/v1/bus/keys?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Entries []ring.Entry `json:"entries"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, c.strange(err)
	}
	return answer.Entries, nil
}

// runState is what became of a run.
func runState(r runner.Run, held map[uint64]bool) string {
	switch {
	case r.Ended != nil && r.Exit == 0 && r.Error == "":
		return "done"
	case r.Ended != nil:
		return "failed"
	case held[r.Fence]:
		return "running"
	}
	return "lost"
}

// showJob says what the newest run came to, and when the next is due.
func showJob(name string, rec runner.Record, held map[uint64]bool, now time.Time) jobShown {
	j := jobShown{Name: name, Record: rec, State: "none", held: held}
	if len(rec.Runs) > 0 {
		j.State = runState(rec.Runs[0], held)
	}
	at := now.UnixMilli()
	if rec.Ticks {
		at = rec.Slot
	}
	next, ok := rec.Next(at)
	switch {
	case rec.Suspended || !ok:
	case rec.Ticks:
		j.NextTick = next
	default:
		j.Next = new(time.UnixMilli(next).UTC())
	}
	j.Ahead = rec.Ahead(at)
	return j
}

// runColors are those of the states of runs and rollouts.
var runColors = map[string]string{
	"done": green, "failed": red, "lost": red, "unreadable": red, "running": yellow,
}

// printRuns prints tables of jobs and of rollouts, where there are any; in detail those of
// one name.
func printRuns(cmd *cobra.Command, all runShown, detail bool) error {
	out := cmd.OutOrStdout()
	var tables [][][]cell
	if len(all.Jobs) > 0 || len(all.Rollouts)+len(all.Once) == 0 {
		tables = append(tables, jobRows(all.Jobs))
	}
	for _, j := range all.Jobs {
		if detail && len(j.Runs) > 0 {
			tables = append(tables, j.rows())
		}
	}
	if len(all.Rollouts) > 0 {
		tables = append(tables, rolloutRows(all.Rollouts, time.Now()))
	}
	for _, r := range all.Rollouts {
		if detail && r.Wrong == "" {
			tables = append(tables, r.rows(time.Now()))
		}
	}
	if len(all.Once) > 0 {
		tables = append(tables, onceRows(all.Once))
	}
	for i, rows := range tables {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printTable(out, paintFor(out), rows); err != nil {
			return err
		}
	}
	for _, j := range all.Jobs {
		switch name := shown(j.Name); {
		case j.Wrong != "":
			cmd.PrintErrf("%s: %s; ring run forget %s removes it\n", name, shown(j.Wrong), name)
		case j.Ahead:
			cmd.PrintErrf("%s: a slot far ahead of this host's clock was claimed, by %s, and nothing is run "+
				"until then. If that clock was wrong and is right now: ring run forget %s\n",
				name, shown(j.Runs[0].By), name)
		}
	}
	for _, r := range all.Rollouts {
		if name := shown(r.Name); r.Wrong != "" {
			cmd.PrintErrf("%s: %s; ring run forget %s removes it\n", name, shown(r.Wrong), name)
		}
	}
	return nil
}

func jobRows(jobs []jobShown) [][]cell {
	rows := [][]cell{head("NAME", "SCHEDULE", "LAST", "BY", "STATE", ">TOOK", ">MISSED", "NEXT")}
	for _, j := range jobs {
		last, by, took, state := "–", "–", "–", j.State
		if len(j.Runs) > 0 {
			one := j.Runs[0]
			last, by, took = runner.SlotText(one.Slot, j.Ticks), one.By, tookText(one)
			state = withExit(state, one.Exit)
		}
		missed, next := strconv.FormatUint(j.Missed, 10), "–"
		if j.MissedMore {
			missed += "+"
		}
		switch {
		case j.Suspended:
			next = "suspended"
		case j.Next != nil:
			next = runner.SlotText(j.Next.UnixMilli(), false)
		case j.NextTick != 0:
			next = strconv.FormatInt(j.NextTick, 10)
		}
		rows = append(rows, []cell{
			{shown(j.Name), "", false},
			{shown(j.Schedule), "", false},
			{last, "", false},
			{shown(by), "", false},
			{state, runColors[j.State], false},
			{took, "", true},
			{missed, "", true},
			{next, dim, false},
		})
	}
	return rows
}

func onceRows(once []onceShown) [][]cell {
	rows := [][]cell{head("ONCE", "STATE", "BY", ">FENCE")}
	for _, o := range once {
		rows = append(rows, []cell{
			{shown(o.Name), "", false},
			{"running", runColors["running"], false},
			{shown(o.By), "", false},
			{strconv.FormatUint(o.Fence, 10), dim, true},
		})
	}
	return rows
}

// rows are the last runs of a job, the newest first.
func (j jobShown) rows() [][]cell {
	rows := [][]cell{head("SLOT", "BY", "STATE", ">TOOK", ">FENCE", ">MISSED BEFORE", "ERROR")}
	for _, one := range j.Runs {
		state := runState(one, j.held)
		rows = append(rows, []cell{
			{runner.SlotText(one.Slot, j.Ticks), "", false},
			{shown(one.By), "", false},
			{withExit(state, one.Exit), runColors[state], false},
			{tookText(one), "", true},
			{strconv.FormatUint(one.Fence, 10), dim, true},
			{strconv.Itoa(one.Missed), "", true},
			{shown(one.Error), "", false},
		})
	}
	return rows
}

func tookText(r runner.Run) string {
	if r.Ended == nil {
		return "–"
	}
	return r.Ended.Sub(r.Started).Round(time.Millisecond).String()
}

func withExit(state string, exit int) string {
	if exit == 0 {
		return state
	}
	return state + " (exit " + strconv.Itoa(exit) + ")"
}

// newRunForgetCommand removes what the fleet knows of a job or a rollout.
func newRunForgetCommand() *cobra.Command {
	var force bool
	cmd := busCommand(&cobra.Command{
		Use:   "forget NAME",
		Short: "Remove what the fleet knows of a job or a rollout",
		Long: `Forget removes the record of a job that is no longer run, or of a rollout, in the whole
fleet: its runs, how many slots were missed, and that it is suspended. If runners of it
are left they make the record anew and go on with the next slot. That is the way out where
a clock that was far ahead has claimed a slot of the future: set the clock right first.
A runner whose clock is behind may then run again a slot that was run before.

It is refused while the job or the rollout runs, unless with --force. Exit code 3 says
that nothing has that name.`,
		Example: "  ring run forget reindex\n  ring run forget deploy-42",
		Args:    cobra.ExactArgs(1),
	}, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
		defer cancel()
		found := false
		for _, key := range []string{runner.Key(args[0]), runner.RolloutKey(args[0])} {
			removed, err := c.forget(ctx, key, force)
			if err != nil {
				return err
			}
			found = found || removed
		}
		switch {
		case !found:
			return exitf(exitFalse, "nothing has the name %s", shown(args[0]))
		case f.json:
			return printJSON(cmd.OutOrStdout(), map[string]any{"v": 1, "forgotten": args[0]})
		}
		return nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "also while it runs")
	return cmd
}

// forget removes one key, if it is there and nothing holds a lease of its name or, where
// runs may overlap, of one of its slots.
func (c *client) forget(ctx context.Context, key string, force bool) (removed bool, err error) {
	b := &beside{client: c}
	_, revision, err := b.Get(ctx, key)
	if err != nil || revision == 0 {
		return false, err
	}
	var bus ring.BusStatus
	if err := c.get(ctx, "/v1/bus", &bus); err != nil {
		return false, err
	}
	for _, l := range bus.Leases {
		if !force && (l.Name == key || strings.HasPrefix(l.Name, key+" ")) {
			return false, exitf(exitRefused, "it runs beside %s; wait, or say --force", shown(string(l.Holder)))
		}
	}
	query := within(ctx)
	query.Set("if_revision", strconv.FormatUint(revision, 10)) // else somebody has claimed since
	_, err = c.ask(ctx, http.MethodDelete, keyPath(key, query), nil)
	if codeIs(err, exitFalse) {
		return false, exitf(exitRefused, "it has changed meanwhile; try again")
	}
	return err == nil, err
}

// newRunHoldCommand suspends a job in the whole fleet, or resumes it.
func newRunHoldCommand(verb string, suspend bool) *cobra.Command {
	c := &cobra.Command{
		Use:   verb + " NAME",
		Short: "Let no more slots of a job be run, in the whole fleet",
		Long: `Suspend keeps new slots of a job from being run, wherever its runners are; what runs
goes on. The slots count as missed. Exit code 3 says that there is no job of that name.`,
		Example: "  ring run suspend reindex",
		Args:    cobra.ExactArgs(1),
	}
	if !suspend {
		c.Short = "Run the slots of a suspended job again"
		c.Long = `Resume undoes suspend. The newest slot that was missed meanwhile is run at once, unless
the starting deadline is over. Exit code 3 says that there is no job of that name.`
		c.Example = "  ring run resume reindex"
	}
	return busCommand(c, func(cmd *cobra.Command, c *client, f *busFlags, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
		defer cancel()
		b := &beside{client: c}
		for {
			value, revision, err := b.Get(ctx, runner.Key(args[0]))
			switch {
			case err != nil:
				return err
			case revision == 0:
				return exitf(exitFalse, "nothing of the name %s was run yet", shown(args[0]))
			}
			rec, err := runner.ParseRecord(value)
			if err != nil {
				return err
			}
			rec.Suspended = suspend
			if err = b.Swap(ctx, runner.Key(args[0]), rec.Encode(), revision); errors.Is(err, runner.ErrConflict) {
				continue
			}
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"v": 1, "name": args[0], "suspended": suspend})
			}
			return nil
		}
	})
}
