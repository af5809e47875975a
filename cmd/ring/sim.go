package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/ring/ringtest"
)

// simFlags are what a simulation is asked for.
type simFlags struct {
	opt      ringtest.Options
	seeds    uint64
	trace    bool
	asJSON   bool
	schedule string
}

// memoryLarge is what a fleet of ten thousand may take, in bytes: near it the
// collector works harder instead of taking more.
const memoryLarge = 3500 << 20

func newSimCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a whole ring in virtual time and break it on purpose",
		Long: `Sim runs the protocol of a whole fleet in one goroutine, over a played network,
clock and disk, lets faults happen as the seed has it, and checks that what the
ring promises holds. The same seed and flags give the same run to the byte.

Faults: ` + faultList() + `;
all, none, and the sets kill, silent, links, mild.

It exits with 1 when an invariant is broken, and prints which, the last of the
trace, the shortest schedule found and the command that does it again.`,
		Example: `  ring sim --seed 17 --nodes 5 --faults crash,cut
  ring sim --seeds 1000 --nodes 7 --faults all
  ring sim --nodes 1000 --duration 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags().Changed("faults")); err != nil {
				return err
			}
			return f.run(cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.Uint64Var(&f.opt.Seed, "seed", 1, "first seed")
	fl.Uint64Var(&f.seeds, "seeds", 1, "how many seeds to run, from --seed on")
	fl.IntVar(&f.opt.Nodes, "nodes", 11, "instances")
	fl.StringVar(&f.opt.Faults, "faults", "none", "what may happen, by name, with commas")
	fl.DurationVar(&f.opt.Duration, "duration", time.Minute, "virtual time in which faults begin")
	fl.StringVar(&f.opt.Timing, "timing", "lan", "preset: lan, wan or quiet")
	fl.DurationVar(&f.opt.Hold, "hold", 0, "rest of the particle at each stop")
	fl.BoolVar(&f.opt.MaxSpeed, "max-speed", false, "let the particle never rest")
	fl.StringVar(&f.opt.Lies, "lies", "", "what one instance lies about, with commas; all")
	fl.BoolVar(&f.opt.Signed, "signed", false, "let instances sign what they say, as with TLS")
	fl.StringVar(&f.schedule, "schedule", "", "file with the actions to play instead of drawing them")
	fl.BoolVar(&f.trace, "trace", false, "print every event")
	fl.BoolVar(&f.opt.Shrink, "shrink", true, "look for the shortest schedule that fails")
	fl.BoolVar(&f.asJSON, "json", false, "print one JSON object a seed")
	cmd.AddCommand(newSimBroadcastCommand())
	return cmd
}

func faultList() string {
	var names []string
	for _, f := range ringtest.Faults() {
		names = append(names, string(f))
	}
	lines := strings.Join(names[:12], ", ") + ",\n"
	return lines + strings.Join(names[12:], ", ")
}

// check refuses what would be ignored.
func (f *simFlags) check(faults bool) error {
	switch {
	case f.opt.Nodes < 1:
		return usageError("--nodes is %d; give at least 1", f.opt.Nodes)
	case f.seeds < 1:
		return usageError("--seeds is 0; give at least 1")
	case f.opt.Hold < 0:
		return usageError("--hold is %v; give a duration that is not negative", f.opt.Hold)
	case f.opt.Hold > 0 && f.opt.MaxSpeed:
		return usageError("--hold and --max-speed exclude each other; leave one out")
	case f.schedule != "" && faults:
		return usageError("--schedule says what happens, --faults would draw it; leave one out")
	}
	return nil
}

func (f *simFlags) run(stdout, stderr io.Writer) error {
	if f.schedule != "" {
		text, err := os.ReadFile(f.schedule)
		if err != nil {
			return usageError("read schedule: %w", err)
		}
		if f.opt.Schedule, err = ringtest.ParseSchedule(text); err != nil {
			return usageError("schedule %s: %w", f.schedule, err)
		}
	}
	if f.opt.Nodes >= 5000 {
		debug.SetMemoryLimit(memoryLarge)
	}
	if f.opt.Nodes >= 1000 && !f.asJSON {
		f.opt.Progress = stderr
	}
	if f.trace {
		f.opt.Trace = stdout
	}
	begun, told := time.Now(), time.Now()
	failed := 0
	for n := range f.seeds {
		opt := f.opt
		opt.Seed += n
		res, err := ringtest.Run(opt)
		if err != nil {
			return usageError("sim: %w", err)
		}
		if res.Failure != nil {
			failed++
		}
		if err := f.print(stdout, res); err != nil {
			return err
		}
		if time.Since(told) > 5*time.Second && n+1 < f.seeds {
			told = time.Now()
			fmt.Fprintf(stderr, "%d of %d seeds in %v, %d failed\n", n+1, f.seeds,
				time.Since(begun).Round(time.Second), failed)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d seeds broke an invariant", failed, f.seeds)
	}
	return nil
}

// print shows one run: in full if it is the only one or failed.
func (f *simFlags) print(out io.Writer, r ringtest.Result) error {
	if f.asJSON {
		if r.Detections == nil {
			r.Detections = []ringtest.Detection{}
		}
		return json.NewEncoder(out).Encode(struct {
			V int `json:"v"`
			ringtest.Result
		}{1, r})
	}
	text := simText(r)
	switch {
	case r.Failure != nil:
		text = r.Failure.String() + "\n"
	case f.seeds > 1:
		text = simLine(r)
	}
	_, err := io.WriteString(out, text)
	return err
}

// A run does not measure everything: the ring has not formed undisturbed where
// faults came before, is not whole again where none came, and has no laps in the
// end where nobody lives.
func formed(r ringtest.Result) bool { return r.FormedMS > 0 }
func ended(r ringtest.Result) bool  { return r.LapMS > 0 }
func whole(r ringtest.Result) bool  { return len(r.Schedule) > 0 && ended(r) }

func beats(r ringtest.Result, ms float64) string {
	return fmt.Sprintf("%.0f ms (%.1f beats)", ms, ms/r.BeatMS)
}

// simLine is a run among many.
func simLine(r ringtest.Result) string {
	formedIn, wholeIn := "–", "–"
	if formed(r) {
		formedIn = beats(r, r.FormedMS)
	}
	if whole(r) {
		wholeIn = beats(r, r.ConvergedMS)
	}
	return fmt.Sprintf("seed %d: formed in %s, %d actions, whole again in %s, %d laps, hash %s\n",
		r.Seed, formedIn, len(r.Schedule), wholeIn, r.Laps, r.Hash)
}

// simText is a run by itself, without what it has not measured.
func simText(r ringtest.Result) string {
	var text strings.Builder
	say := func(measured bool, format string, args ...any) {
		if measured {
			fmt.Fprintf(&text, format, args...)
		}
	}
	say(true, "seed         %d, %d instances, timing %s\n", r.Seed, r.Nodes, r.Timing)
	for _, a := range r.Schedule {
		say(true, "action       %s\n", a)
	}
	say(formed(r), "formed       in %s, first lap at %.0f ms\n", beats(r, r.FormedMS), r.FirstLapMS)
	for _, d := range r.Detections {
		say(true, "known        %s: in %s by %d survivors\n", d.Action, beats(r, d.KnownMS), d.Survivors)
	}
	say(whole(r), "whole again  %s after the last fault\n", beats(r, r.ConvergedMS))
	say(true, "laps         %d", r.Laps)
	say(ended(r), ", one takes %.1f ms", r.LapMS)
	say(true, "\nview changes %d\n", r.ViewChanges)
	say(true, "traffic      %d frames, %d bytes", r.Frames, r.Bytes)
	say(ended(r), "; %.0f B/s an instance at the end", r.IdleBytes)
	say(r.HeapBytes > 0, "\nmemory       %d MB, %.1f bytes a remote instance", r.HeapBytes>>20,
		r.PerRemote)
	say(true, "\nvirtual time %.1f s, %d steps, hash %s\n", r.VirtualMS/1e3, r.Steps, r.Hash)
	return text.String()
}
