package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	runner "ringofservers.dev/run"
)

// graceDefault is how long a command that is told to end may take.
const graceDefault = 10 * time.Second

// work is a command and how it is run.
type work struct {
	command        []string
	lease          time.Duration // how long one lasts that cannot be renewed
	grace          time.Duration // between SIGTERM and SIGKILL, where the lease leaves that
	stdout, stderr io.Writer
}

// environment is what a command is told of what it is.
func environment(s runner.Start) []string {
	env := []string{
		"RING_RUN=" + s.Job, "RING_FENCE=" + strconv.FormatUint(s.Fence, 10),
		"RING_TICK=" + strconv.FormatUint(s.Tick, 10), "RING_INSTANCE=" + s.Self,
	}
	if s.Slot != "" {
		env = append(env, "RING_SLOT="+s.Slot)
	}
	return env
}

// runFlags are those of `ring run`.
type runFlags struct {
	addr    *target
	job     runner.Job
	overlap string
	zone    string
	grace   time.Duration
	json    bool

	rolling, parallel, skipDead, retry bool
}

func newRunCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run --name NAME [--every D | --cron EXPR | --every-tick N | --rolling] -- COMMAND…",
		Short: "Run a command on one instance of the fleet at a time",
		Long: `Run is started beside each instance that may run the command, with the same flags;
the command itself never travels. With --every, --cron or --every-tick it stays, and
each time exactly one of them runs the command: one after the other in the order of
the ring, as long as they live. (It waits for an instance that does not answer.)
Without, it waits until nobody else in the fleet runs that name, runs the command once,
and ends with it. It does not wait for runs by a schedule of the same name which may
overlap (--overlap allow): those do not wait for each other either.

A slot (a time that has come) is claimed on the bus before the command starts, so it is
never run twice, whoever dies or is cut off. It is missed where nobody could claim it
in time; if several were missed, the newest is run. What overlaps, what comes too late,
time zone and jitter are settings with the defaults of Kubernetes' CronJob; a time zone
that is not given is UTC. Where clocks are set back in autumn, what --cron has in that
hour is run twice; in spring, what it has in the hour that is left out is not run, and
not counted as missed. A clock that is far ahead claims slots of the future, and nothing
is run until those have come: ring run status warns of it, ring run forget ends it.

The command is in a process group of its own. It gets SIGTERM, and then SIGKILL, before
its lease could be given to somebody else, whatever becomes of this process; what it
leaves in the background is killed with it, in a session of its own too. What was ended so
has failed, whatever its exit code. It reads nothing: its standard input is empty. A
machine that is stopped as a whole cannot do that, so what the command writes to should
refuse a RING_FENCE lower than it has seen. In its environment:

  RING_RUN       the name                  RING_FENCE  higher than of every run before
  RING_INSTANCE  the instance it is beside RING_TICK   the newest tick when it began
  RING_SLOT      the time (UTC) or tick for which it is run

With --rolling every instance runs it once, each in its turn in the order of the ring,
one at a time (with --parallel in each data centre), so start it beside all of them. It
ends when the command has run beside its own instance, with exit code 0, and does not wait
for the others: ring run status NAME says how all of it ended, and has each instance. At the
first failure it stops: there and wherever it still waits for its turn exit code 1 says who
has failed, and so it does everywhere when it is started again, until with --retry: then what
has failed is run again, those that are done end at once, and the others wait half a minute
for it to begin. What is ended in its turn has failed. Who is not in the ring is waited for,
or with --skip-dead passed over. Each rollout has a name of its own. Until its own part is
over, a bar on a terminal shows how far all of it is, elsewhere log lines do.

Without a schedule exit code 1 says that the command failed, and 5 that there is no
quorum.`,
		Example: `  ring run --name reindex --every 30s -- ./reindex
  ring run --name report --cron '0 4 * * 1-5' --time-zone Europe/Berlin -- ./report --mail
  ring run --name compact --every-tick 100 --overlap forbid -- sh -c 'compact --fence $RING_FENCE'
  ring run --name migrate -- ./migrate          # alone in the fleet, now
  ring run --rolling --name deploy-42 -- ./deploy 42
  ring run status`,
	}
	f.add(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || cmd.ArgsLenAtDash() != 0 {
			return usageError("give the command behind --, such as: ring run --name x --every 30s -- ./x")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) }
	cmd.AddCommand(newRunStatusCommand(), newRunHoldCommand("suspend", true),
		newRunHoldCommand("resume", false), newRunForgetCommand())
	return cmd
}

func (f *runFlags) add(cmd *cobra.Command) {
	f.addr = addAddrFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.job.Name, "name", "", "what it is called in the whole fleet")
	flags.DurationVar(&f.job.Every, "every", 0, "at the multiples of this time, 1s or more")
	flags.StringVar(&f.job.Cron, "cron", "", "minute, hour, day, month, day of the week; or @daily")
	flags.Uint64Var(&f.job.EveryTick, "every-tick", 0, "at the ticks that this divides")
	flags.StringVar(&f.overlap, "overlap", "allow",
		"while the one before still runs: allow, forbid or replace")
	flags.StringVar(&f.zone, "time-zone", "", "of --cron, such as Europe/Berlin (default UTC)")
	flags.DurationVar(&f.job.StartingDeadline, "starting-deadline", 0,
		"a slot that is older is missed (default however old)")
	flags.DurationVar(&f.job.Jitter, "jitter", 0, "begin each slot later by up to this time")
	flags.DurationVar(&f.job.Lease, "lease", runner.DefaultLease,
		"after what time others may go on if this instance is lost, 2s to 1h")
	flags.DurationVar(&f.grace, "grace", graceDefault, "between SIGTERM and SIGKILL")
	flags.BoolVar(&f.rolling, "rolling", false, "once on every instance, one after the other")
	flags.BoolVar(&f.parallel, "parallel", false, "with --rolling: one at a time in each data centre")
	flags.BoolVar(&f.skipDead, "skip-dead", false, "with --rolling: pass over who is not in the ring")
	flags.BoolVar(&f.retry, "retry", false, "with --rolling: run again what has failed")
	flags.BoolVar(&f.json, "json", false, "log one JSON object per line")
}

// timed is whether there is a schedule.
func (f *runFlags) timed() bool {
	return f.job.Every != 0 || f.job.Cron != "" || f.job.EveryTick != 0
}

// empty is the flag of a schedule that is given and says nothing, "" for none.
func (f *runFlags) empty(cmd *cobra.Command) string {
	for flag, empty := range map[string]bool{
		"every": f.job.Every == 0, "cron": strings.TrimSpace(f.job.Cron) == "", "every-tick": f.job.EveryTick == 0,
	} {
		if empty && cmd.Flags().Changed(flag) {
			return flag
		}
	}
	return ""
}

// check reads what flags could not, and says what is wrong with any.
func (f *runFlags) check(cmd *cobra.Command) error {
	if err := canRun(); err != nil {
		return exitf(exitFailed, "%w", err)
	}
	f.job.Overlap = runner.Overlap(f.overlap)
	if f.zone != "" {
		zone, err := time.LoadLocation(f.zone)
		if err != nil {
			return usageError("--time-zone: %v", err)
		}
		f.job.Zone = zone
	}
	err := f.job.Check()
	if given := f.empty(cmd); given != "" { // which a script's empty variable makes of a schedule
		return usageError("--%s is %q, which is no schedule; without any the command is run once, now",
			given, cmd.Flags().Lookup(given).Value)
	}
	if !f.timed() {
		err = runner.CheckName(f.job.Name)
		for _, flag := range []string{"overlap", "time-zone", "starting-deadline", "jitter"} {
			if cmd.Flags().Changed(flag) {
				err = errors.Join(err, errors.New("--"+flag+" needs --every, --cron or --every-tick"))
			}
		}
		if f.job.Lease < 2*time.Second || f.job.Lease > time.Hour {
			err = errors.Join(err, errors.New("--lease: give 2s to 1h"))
		}
	}
	switch {
	case f.rolling && f.timed():
		err = errors.Join(err, errors.New("--rolling goes with no --every, --cron or --every-tick"))
	case !f.rolling && (f.parallel || f.skipDead || f.retry):
		err = errors.Join(err, errors.New("--parallel, --skip-dead and --retry need --rolling"))
	}
	if f.grace < 0 {
		err = errors.Join(err, errors.New("--grace is less than zero"))
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// run runs the command once or by its schedule, until a signal ends it.
func (f *runFlags) run(cmd *cobra.Command, command []string) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	format := "auto"
	if f.json {
		format = "json"
	}
	log := newLogger(cmd.ErrOrStderr(), format, slog.LevelInfo)
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := work{command, f.job.Lease, f.grace, cmd.OutOrStdout(), cmd.ErrOrStderr()}
	if !f.timed() && !f.rolling {
		return f.once(ctx, w)
	}
	fleet, err := awaitBeside(ctx, *f.addr, log)
	if err != nil {
		switch {
		case ctx.Err() == nil:
			return err
		case f.rolling: // who waits for the end of a rollout must not take this for it
			return notRun(w)
		}
		return nil
	}
	if f.rolling {
		return f.roll(ctx, fleet, w, log)
	}
	if f.job.Ticks() {
		fleet.ticks = true
		go fleet.follow(ctx) // ends with ctx, as this process does
	}
	r := &runner.Runner{Fleet: fleet, Job: f.job, Exec: w.exec, Logger: log}
	switch err := r.Run(ctx); {
	case err != nil && errors.Is(err, context.Cause(ctx)):
		return notRun(w)
	case err != nil:
		return exitf(exitUsage, "%w", err)
	}
	return nil
}

// roll waits for the turn of this instance and does its part of a rollout. On a terminal
// it draws how far all of it is, and elsewhere logs that.
func (f *runFlags) roll(ctx context.Context, fleet *beside, w work, log *slog.Logger) error {
	r := runner.Rollout{
		Fleet: fleet, Name: f.job.Name, Parallel: f.parallel, SkipDead: f.skipDead, Retry: f.retry,
		Lease: f.job.Lease, Exec: w.exec, Logger: log,
	}
	if !f.json && showsProgress(w.stderr) {
		bar := &rollBar{out: w.stderr}
		defer bar.end()
		r.Look = bar.show
		r.Logger = slog.New(above{bar, log.Handler()})
		r.Exec = func(ctx context.Context, s runner.Start, lease runner.Lease) (int, error) {
			bar.clear() // what the command prints goes past it
			return w.exec(ctx, s, lease)
		}
	}
	switch err := r.Run(ctx); {
	case err != nil && errors.Is(err, context.Cause(ctx)):
		return notRun(w)
	case err != nil:
		return exitf(exitFailed, "%s", strings.TrimPrefix(err.Error(), "run: "))
	}
	return nil
}

// notRun is that a signal has come before the command could be run.
func notRun(w work) error {
	return exitf(exitFailed, "ended before it was its turn: %s was not run", strings.Join(w.command, " "))
}

// once runs the command alone in the fleet.
func (f *runFlags) once(ctx context.Context, w work) error {
	fleet, err := newBeside(ctx, *f.addr)
	if err != nil {
		return err
	}
	waiting := time.AfterFunc(again, func() {
		_, _ = fmt.Fprintf(w.stderr, "waiting until %s is run by nobody else (see ring run status)\n", f.job.Name)
	})
	lease, err := fleet.Lease(ctx, runner.Key(f.job.Name), w.lease)
	waiting.Stop()
	switch {
	case ctx.Err() != nil && err != nil:
		return notRun(w)
	case err != nil:
		return err
	}
	exit, err := w.exec(ctx, runner.Start{
		Job: f.job.Name, Fence: lease.Fence(), Tick: fleet.Tick(ctx), Self: fleet.self,
	}, lease)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	_ = lease.Release(release) // if not, it runs out by itself
	switch {
	case err != nil:
		return exitf(exitFailed, "%s: %w", strings.Join(w.command, " "), err)
	case exit != 0:
		return exitf(exitFailed, "%s: exit code %d", strings.Join(w.command, " "), exit)
	}
	return nil
}
