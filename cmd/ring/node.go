package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"ringofservers.dev/admin"
	"ringofservers.dev/doctor"
	"ringofservers.dev/lap"
	"ringofservers.dev/respawn"
	"ringofservers.dev/ring"
)

// leaveTime is how long a goodbye may take before the process ends without:
// half of the 30 s that Kubernetes gives.
const leaveTime = 15 * time.Second

func newNodeCommand() *cobra.Command {
	var tell string
	cmd := &cobra.Command{
		Use:   "node [flags] [-- command [argument…]]",
		Short: "Run one instance of a ring, on the host of the server it stands beside",
		Long: `Node is one instance. The order in which instances start does not matter: each
waits for its neighbours and says for whom. It logs to standard error, answers
on one port (status, page, metrics, probes), and leaves gracefully on SIGTERM or
Ctrl-C; a second one, half a second later or more, ends it at once. SIGHUP reads
the file again: hold, max_speed and log_level change at once, and so do the tables [app]
(an application whose settings have changed is drained and started anew), [respawn] and
[[run]] (what runs goes on to its end); what needs a restart is named.

Every setting is a key of the file, a flag, and an environment variable RING_…;
a flag beats the environment, which beats the file. Only the file has tables
[[instance]], each with a name and an address, or a pattern of each: they come after
the roster, for instances whose addresses no template fits. And only it has tables
[[run]], each a command that is run on one instance at a time, by a schedule: name, command
(a list), one of every, cron and every_tick, and the flags of ` + "`ring run`" + ` for the rest.
Tables [[lap]] are commands that answer to ` + "`ring lap NAME`" + ` wherever it is asked: name,
command (a list), and timeout (default 100ms; 200ms at most, or 1s with preset wan or quiet),
for which the particle waits here at most; then the command is killed, and this instance has
not answered. --lap does the same.

--station injects a filter at this stop: sh runs the command once, each passenger of the
topic is a line of its input (its value so far, or else its payload), and the line that it
answers is the value with which the passenger goes on. It must answer line by line, without
buffering (sed -u, jq --unbuffered), within 100ms; else the passenger goes on as it was, and
the filter is killed and started again, as it is when it ends. What is no line of text goes
on as it was. The file has tables [[station]] for that, which the flag takes the place of:
topic, command (a list, which no sh sees), hold = "100ms" for how long it may hold the
particle (at most 200ms, or 1s with preset wan or quiet, which is what all commands and
filters of a fleet together may hold it for on a lap), and format: "text", or "json"; then
a line is an object with number, topic, from, payload and value (in base64), and so is the
answer, of which number and value count. A topic has one filter or one command of --lap,
and those of the questions of ring lap have none.

While passengers are aboard, the particle leaves out the rests that are the default. A --hold
is kept: it is a delay that was asked for, at each stop that has one, and passengers wait too.

--on-tick has sh run a command at ticks, with RING_TICK, RING_EPOCH and RING_LAP in its
environment: never two at once, so at full speed most are skipped, RING_TICKS_SKIPPED since
the one before. After a failure there is a pause. A filter and what runs at ticks get the
environment of the application, and nothing of them outlives the instance.

Behind -- stands the application that the instance is to run beside itself, or it is
app.command in the table [app] of the file. It is started at once, looked after
(--app-health-…), and started again when it ends or is unhealthy, later each time, and
not any more after more than --app-restart-limit times: then it is failed, which ring
status and events show, and the instance stays (--app-exit) and starts it again at the
next SIGHUP, or with other settings. It has this process's outputs, and in its
environment RING_INSTANCE, the name, and RING_ADDR, for the commands of ring. It runs in
a process group of its own, which ends with it. SIGUSR1 and SIGUSR2 are passed on to its
first process (--app-forward-signals). On SIGTERM the instance is first unready
(/readyz), then the application is asked to end and its group killed after
--app-stop-timeout, then the instance leaves the ring.

Of instances that die, the nearest one before each that lives runs --respawn-command,
with a quorum or without, once for each death, after --respawn-grace: it asks a
supervisor (systemd, kubectl, docker) for the one in its environment, RING_DEAD with
RING_DEAD_INDEX, RING_DEAD_ADDRESS and RING_DEAD_INCARNATION; who asks is RING_INSTANCE.
What it prints is logged. An exit code other than 0 is a failure, and tried again. What it
leaves in its process group is killed when it ends, with exit code 0 too: it asks, and starts
nothing itself.

An instance uses two cores at most, so that the server beside it has the others;
GOMAXPROCS or --cpus changes that.`,
		Example: `  ring node --name dc1/prod/0 --config /etc/ring/ring.toml
  ring node --name a/1 --ring demo --roster 'a/{0..2}' --addresses '127.0.0.1:{4000..4002}'
  ring node --config ring.toml --app-health-http http://127.0.0.1:8080/healthz -- ./shop --port 8080
  ring node --config ring.toml --station 'news=sed -u s/foo/bar/' --on-tick 'echo tick $RING_TICK'
  ring node --config ring.toml --lap 'disk=df -h /data'   # then, anywhere: ring lap disk
  ring node --config ring.toml --respawn-command /etc/ring/respawn   # see the README for recipes
  ring node --data /var/lib/ring --join 'ring+join://…'   # a new host; see ring roster invite`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := behindDash(args, cmd.ArgsLenAtDash())
			return err
		},
	}
	load, join := addSettingsFlags(cmd), addJoinFlag(cmd)
	cmd.Flags().StringVar(&tell, "tell", "", "lines for the starter of a local ring")
	_ = cmd.Flags().MarkHidden("tell") // it exists: it was made one line above
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		told, err := parseTells(tell)
		if err != nil {
			return err
		}
		if err := join(); err != nil {
			return err
		}
		load := withApp(load, args)
		s, err := load()
		if err != nil {
			return err
		}
		return runNode(cmd, s, load, told)
	}
	return cmd
}

// runNode is one instance from its start to its end. All wiring is here.
func runNode(cmd *cobra.Command, s settings, load func() (settings, error), told tells) error {
	limitCPUs(s.CPUs)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	for s := range passable {
		signal.Notify(signals, s)
	}
	defer signal.Stop(signals)

	level := new(slog.LevelVar)
	level.Set(s.LogLevel)
	logger := newLogger(cmd.ErrOrStderr(), s.LogFormat, level)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := readBuild()

	socket, err := listenSocket(s.Socket)
	if err != nil {
		return err
	}
	defer socket.close(logger)
	identity, err := openIdentity(s.TLS)
	if err != nil {
		return err
	}
	config := s.ringConfig()
	config.TLS = identity
	config.Version, config.Logger, config.Registerer = build.Version, logger, registry
	r, err := ring.Join(cmd.Context(), config)
	if err != nil {
		return joinError(err)
	}

	if err := answerBuiltIn(r, build); err != nil {
		return errors.Join(exitf(exitFailed, "%w", err), r.Close())
	}
	doctor, err := doctor.Attend(r, doctor.Config{
		Version: build.text(), Data: config.Data, TLS: config.TLS,
	})
	if err != nil {
		return errors.Join(exitf(exitFailed, "%w", err), r.Close())
	}
	defer doctor.Close()
	stations, err := startStations(s, r, logger)
	defer stations.end()
	if err != nil {
		return errors.Join(err, r.Close())
	}
	questions, err := addStations(s, r, build.text())
	if err != nil {
		return errors.Join(exitf(exitFailed, "%w", err), r.Close())
	}
	enrolment, err := newEnrolment(s, r, identity, logger)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	health := lap.NewHealth(r, logger)
	app, err := startApp(s, r, health, logger, registry)
	if err != nil {
		return errors.Join(appError(err), r.Close())
	}
	listening := []any{"addr", r.Addr().String(), "page", pageOf(r.Addr(), s)}
	if local := r.Local().String(); local != r.Addr().String() {
		listening = append(listening, "local", "http://"+local+"/")
	}
	logger.Info("listening", listening...)

	n := &instance{
		ring: r, app: app, stations: stations, logger: logger, level: level, settings: s, load: load,
		supervisor: newSupervisor(logger), leaving: make(chan struct{}),
		respawns: make(chan respawn.Config, 1), reload: newReloadMetrics(registry),
	}
	asked := make(chan struct{}, 1)
	face := admin.New(r, admin.Options{
		Gatherer: registry, Version: build.Version, Revision: build.Revision,
		Certificate:  holders(identity),
		Routes:       enrolment.routes(),
		LoopbackRole: s.LoopbackRole, Logger: logger, Registerer: registry,
		Leaving: n.leaving, App: app.status, Apps: health.All, Questions: questions,
		Doctor: doctor.Examine,
		Leave: func() {
			select {
			case asked <- struct{}{}:
			default:
			}
		},
	})
	r.Handle(face)
	socket.serve(face)
	defer n.tell(cmd, told)()
	n.runs = startRuns(r, s.Runs, logger)
	defer n.runs.end()

	ctx, cancel := context.WithCancel(cmd.Context())
	var attending sync.WaitGroup
	attending.Go(func() { n.supervisor.attend(ctx, r) })
	attending.Go(func() { enrolment.run(ctx) })
	attending.Go(func() { _ = health.Run(ctx) }) // which ends with ctx, and with nothing else
	respawns := n.respawnConfig(s.Respawn)       // not n's settings: those may be reloaded by then
	attending.Go(func() { n.respawn(ctx, respawns) })
	err = n.until(signals, asked)
	app.drain(signals) // where the ring has ended by itself; else it has ended
	cancel()
	attending.Wait()
	return err
}

// coresByDefault keeps the instance from the cores of the server beside it. With
// two a hop is faster than with one (by a tenth when idle, twofold on a busy
// machine): the thread that waits for the network need not run the program too.
const coresByDefault = 2

// limitCPUs sets how many cores the instance uses at most.
func limitCPUs(cpus int) {
	switch {
	case cpus > 0:
		runtime.GOMAXPROCS(cpus)
	case os.Getenv("GOMAXPROCS") == "":
		runtime.GOMAXPROCS(min(coresByDefault, runtime.NumCPU()))
	}
}

// pageOf is the URL of the instance's page: where it listens, or if that is every
// address of the host, where the others find it.
func pageOf(listens net.Addr, s settings) string {
	at := listens.String()
	if tcp, ok := listens.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		at = net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
		if i := slices.Index(s.Roster.Names, s.Name); i >= 0 && i < len(s.Roster.Addresses) {
			at = s.Roster.Addresses[i]
		}
	}
	if s.TLS != "" && !strings.HasPrefix(at, "127.") { // in the clear it is for this host
		return "https://" + at + "/"
	}
	return "http://" + at + "/"
}

// joinError gives the errors of ring.Join their exit codes.
func joinError(err error) error {
	switch {
	case errors.Is(err, ring.ErrConfig), errors.Is(err, ring.ErrInsecure):
		return exitf(exitUsage, "%w", err)
	case errors.Is(err, ring.ErrRetired):
		return retiredError(err)
	}
	return exitf(exitFailed, "%w", err)
}

// instance is a running node and what its signals change.
type instance struct {
	ring       *ring.Ring
	app        *application
	logger     *slog.Logger
	level      *slog.LevelVar
	settings   settings // as they are in force
	load       func() (settings, error)
	supervisor supervisor
	leaving    chan struct{} // closed once it leaves
	stations   *stations
	runs       *runs
	respawns   chan respawn.Config // what changed settings say; the newest alone waits in it
	reload     reloadMetrics
}

// tell prints what the starter of a local ring wants to show.
func (n *instance) tell(cmd *cobra.Command, told tells) (stop func()) {
	stopTicks, stopStory := func() {}, func() {}
	if told.story {
		teller := newTeller(cmd.OutOrStdout(), n.ring.View)
		stopStory = n.ring.OnEvent(0, teller.hear)
	}
	if told.ticks {
		stopTicks = tellTicks(cmd.OutOrStdout(), n.ring, n.settings.MaxSpeed)
	}
	return func() {
		stopTicks()
		stopStory()
	}
}

// until acts on signals until the instance has ended, by itself or because it
// was told to.
func (n *instance) until(signals <-chan os.Signal, asked <-chan struct{}) error {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				n.reloadNow()
			}
			if passable[s] != "" {
				n.app.pass(s)
			}
			if !ends(s) {
				continue
			}
			return n.leave(s.String(), signals)
		case <-asked:
			return n.leave("told over HTTP", signals)
		case <-n.app.ended():
			return errors.Join(n.leave("the application has ended", signals), n.app.failed())
		case <-n.ring.Done():
			return n.ended()
		}
	}
}

// ended is what became of an instance that has ended by itself. To be retired is to have left
// as one was told, and no reason to be started again: a failure would be.
func (n *instance) ended() error {
	switch err := n.ring.Err(); {
	case err == nil:
		return nil
	case !errors.Is(err, ring.ErrRetired):
		return exitf(exitFailed, "") // the ring has logged why
	case n.ring.Status().Laps == 0: // it was started when it was retired already
		return retiredError(err)
	}
	n.logger.Info("retired: this instance has left the ring for good; have nothing start it again")
	return nil
}

// retiredError is for whoever starts an instance that is retired.
func retiredError(err error) error {
	return exitf(exitRefused, "%w; have nothing start it any more, or add an instance anew with ring roster add",
		err)
}

// leave ends the application and says goodbye; a second signal ends both at once. While
// the application drains the instance is in the ring, but not ready any more: nobody
// takes its place before it is gone. It claims nothing more to run, and what runs has time
// until the application has ended.
func (n *instance) leave(why string, signals <-chan os.Signal) error {
	n.logger.Info("leaving", "why", why)
	n.supervisor.say("STOPPING=1\nSTATUS=leaving the ring")
	close(n.leaving)
	n.runs.retire() // what it claimed now it would only end in a moment
	if hurried := n.app.drain(signals); hurried != nil {
		return errors.Join(exitf(exitFailed, "ended at once by a second signal (%s)", hurried), n.ring.Close())
	}
	left := make(chan error, 1)
	go func() {
		n.stations.end()
		n.runs.end() // while the leases can still be given back
		ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
		defer cancel()
		left <- n.ring.Leave(ctx)
	}()
	hurried, err := awaitLeft(left, signals, func(os.Signal) {})
	switch {
	case hurried != nil:
		return exitf(exitFailed, "ended at once by a second signal (%s)", hurried)
	case err != nil:
		return errors.Join(fmt.Errorf("leave: %w", err), n.ring.Close())
	}
	n.logger.Info("left")
	return nil
}

// awaitLeft returns how the goodbye ended, or the second signal that came before. Those
// that ask for no end go to others.
func awaitLeft(left <-chan error, signals <-chan os.Signal, others func(os.Signal)) (
	hurried os.Signal, err error,
) {
	began := time.Now()
	for {
		select {
		case err := <-left:
			return nil, err
		case s := <-signals:
			switch {
			case isSecond(s, time.Since(began)):
				return s, nil
			case !ends(s):
				others(s)
			}
		}
	}
}

// ends is whether a signal asks an instance to end.
func ends(s os.Signal) bool { return s == os.Interrupt || s == syscall.SIGTERM }

// secondAfter is how long after the first signal another one counts as a second.
// A person needs longer to be impatient; timeout(1) and some supervisors signal the
// process and then its group, which reaches it twice within milliseconds.
const secondAfter = 500 * time.Millisecond

// isSecond says whether a signal so long after the first is to end a goodbye at
// once. Those that do not ask for an end never are: SIGHUP comes with the first at times.
func isSecond(s os.Signal, after time.Duration) bool { return ends(s) && after >= secondAfter }
