package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// application is what runs beside an instance, if anything does; a reload exchanges it. Its
// methods may be called by several goroutines.
type application struct {
	ring   *ring.Ring
	health *lap.Health // to all
	name   ring.Name
	socket string // of the instance, empty for none
	logger *slog.Logger
	over   chan struct{}  // closed when the instance is to leave because it has ended
	shut   func()         // closes over, once
	work   sync.WaitGroup // exchanges, and who waits for an end
	turn   sync.Mutex     // held by one exchange at a time

	mu      sync.Mutex     // guards what follows
	wanted  appSettings    // as they are in force
	app     *supervise.App // nil: none
	runs    appSettings    // those that app was started with
	ending  bool           // app is drained for another one
	leaving bool           // the instance is
}

// startApp starts the application that the settings name, if they do. How it is rides to all
// by health.
func startApp(s settings, r *ring.Ring, health *lap.Health, logger *slog.Logger,
	registry *prometheus.Registry,
) (*application, error) {
	a := &application{
		ring: r, health: health, name: s.Name, socket: s.Socket, logger: logger, over: make(chan struct{}),
		wanted: s.App,
	}
	a.shut = sync.OnceFunc(func() { close(a.over) })
	registry.MustRegister(appCollector{a.status})
	if err := a.start(); err != nil {
		return nil, err
	}
	return a, answerApp(r, a.status)
}

// start starts what is wanted, unless that is nothing or the instance leaves.
func (a *application) start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs, a.ending = a.wanted, false
	if a.app = nil; len(a.wanted.Command) == 0 || a.leaving {
		a.health.Clear()
		return nil
	}
	guarded, err := guardWords()
	if err != nil {
		return err
	}
	env := appEnv(os.Environ(), a.name, a.ring.Local(), a.socket)
	config := supervise.Config{
		Command: a.wanted.Command, Env: env, Guard: guarded, GuardName: "ring",
		Stdout: os.Stdout, Stderr: os.Stderr, Policy: a.wanted.Policy, Checks: a.wanted.checks(env),
		Timeout: a.wanted.HealthTimeout, Signal: a.wanted.signal(), Logger: a.logger,
	}
	a.health.Set(lap.App{State: string(supervise.Starting), Since: time.Now()})
	app, err := supervise.Start(config, func(now supervise.Status) {
		a.health.Set(lap.App{
			State: string(now.State), Since: now.Since, Restarts: now.Restarts, Why: now.Why,
		})
		text := strings.TrimSuffix("the application is "+string(now.State)+": "+now.Why, ": ")
		_ = a.ring.Tell("app_"+string(now.State), a.name, text) // which cannot be refused
	})
	if err != nil {
		return err
	}
	a.app = app
	a.work.Go(func() {
		<-app.Done()
		a.judge()
	})
	return nil
}

// judge has the instance leave where its application has ended, and that is to be so.
// Where that has ended for another one, it is not.
func (a *application) judge() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.app == nil || a.ending || a.wanted.Exit != appLeave || !a.runs.same(a.wanted) {
		return
	}
	select {
	case <-a.app.Done():
		a.shut()
	default:
	}
}

// reload has these settings in force from now on. Where they say other than what runs, that
// is drained, and the new one started; it does not wait for this. One that has failed is
// started again, whatever they say, unless the instance is to leave with it.
func (a *application) reload(wanted appSettings) {
	a.mu.Lock()
	a.wanted = wanted
	goesOn := a.goesOn()
	a.mu.Unlock()
	if goesOn {
		a.judge()
		return
	}
	a.work.Go(a.exchange)
}

// goesOn is whether nothing is to be exchanged. a.mu is held.
func (a *application) goesOn() bool {
	failed := a.app != nil && a.app.Status().State == supervise.Failed && a.wanted.Exit != appLeave
	return a.runs.same(a.wanted) && !failed
}

// exchange ends what runs and starts what is wanted then.
func (a *application) exchange() {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.mu.Lock()
	app, same, goesOn := a.app, a.runs.same(a.wanted), a.goesOn()
	a.ending = !goesOn
	a.mu.Unlock()
	if goesOn { // the exchange before this has done it
		return
	}
	if app != nil {
		why := "its settings have changed"
		if same {
			why = "it had failed, and the settings were read again"
		}
		a.logger.Info("application is exchanged: " + why)
		_ = app.Stop(context.Background()) // it fails with that context alone
	}
	if err := a.start(); err != nil {
		a.health.Clear()
		a.logger.Error("application not started", "err", err)
	}
}

// same is whether an application goes on as it is with those settings.
func (s appSettings) same(other appSettings) bool {
	s.Exit, s.Forward = other.Exit, other.Forward // these are of the instance
	return reflect.DeepEqual(s, other)
}

// appEnv is the environment of the application: ours without what is for this process
// alone, and where it stands.
func appEnv(environ []string, name ring.Name, at net.Addr, socket string) []string {
	return append(childEnv(environ), "RING_INSTANCE="+string(name), "RING_ADDR="+reachable(at, socket))
}

// reachable is an address at which this host reaches an instance that listens there: over
// loopback, or where it does not listen, at its socket, if it has one.
func reachable(at net.Addr, socket string) string {
	tcp, ok := at.(*net.TCPAddr)
	switch {
	case ok && tcp.IP.IsUnspecified():
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	case ok && !tcp.IP.IsLoopback() && socket != "":
		return "unix://" + socket
	}
	return at.String()
}

// status is how it is; nil where there is none.
func (a *application) status() *supervise.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.app == nil {
		return nil
	}
	now := a.app.Status()
	return &now
}

// ended is closed when the instance is to leave because the application has ended.
func (a *application) ended() <-chan struct{} { return a.over }

// failed says why the application has failed, if it has.
func (a *application) failed() error {
	now := a.status()
	if now == nil || now.State != supervise.Failed {
		return nil
	}
	return exitf(exitFailed, "the application has failed: %s", now.Why)
}

// pass hands a signal on to the application, if it is to have that.
func (a *application) pass(s os.Signal) {
	a.mu.Lock()
	app, takes := a.app, a.wanted.forwards(s)
	a.mu.Unlock()
	if number, ok := s.(syscall.Signal); ok && takes && app != nil {
		app.Pass(number)
		return
	}
	if s != syscall.SIGHUP { // which is for this process, too
		a.logger.Info("signal not passed on: there is no application, or it is not to have it", "signal", s.String())
	}
}

// drain ends the application for good; a second signal does it at once, and is returned.
// Others are passed on meanwhile.
func (a *application) drain(signals <-chan os.Signal) (hurried os.Signal) {
	a.mu.Lock()
	a.leaving = true
	app := a.app
	a.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan error, 1)
	go func() {
		var err error
		if app != nil {
			err = app.Stop(ctx)
		}
		a.work.Wait()
		drained <- err
	}()
	hurried, _ = awaitLeft(drained, signals, a.pass)
	if hurried != nil {
		cancel()
		<-drained
	}
	return hurried
}

// appTopic is what instances answer with the whole status of their application; the
// passengers of that topic carry its state.
const appTopic = lap.AppTopic

// noApp is the answer of an instance beside which there is none.
const noApp = `{"state":"none"}`

func answerApp(r *ring.Ring, status func() *supervise.Status) error {
	_, err := r.Answer(appTopic, func(context.Context, ring.Question) ([]byte, error) {
		now := status()
		if now == nil {
			return []byte(noApp), nil
		}
		return json.Marshal(now)
	}, nil)
	return err
}

// appCollector shows the application in /metrics, while there is one.
type appCollector struct{ status func() *supervise.Status }

var (
	appHealthy = prometheus.NewDesc("ring_app_healthy",
		"1 while the application beside this instance is healthy.", nil, nil)
	appFailed = prometheus.NewDesc("ring_app_failed",
		"1 once the application is not started again any more.", nil, nil)
	appRestarts = prometheus.NewDesc("ring_app_restarts_total",
		"Restarts of the application beside this instance.", nil, nil)
)

func (appCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- appHealthy
	descs <- appFailed
	descs <- appRestarts
}

func (c appCollector) Collect(metrics chan<- prometheus.Metric) {
	now := c.status()
	if now == nil {
		return
	}
	for desc, is := range map[*prometheus.Desc]bool{
		appHealthy: now.State == supervise.Healthy, appFailed: now.State == supervise.Failed,
	} {
		value := 0.0
		if is {
			value = 1
		}
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	metrics <- prometheus.MustNewConstMetric(appRestarts, prometheus.CounterValue, float64(now.Restarts))
}

// withApp has load take the words behind -- for the application, and hold its settings
// against each other.
func withApp(load func() (settings, error), words []string) func() (settings, error) {
	return func() (settings, error) {
		s, err := load()
		if len(words) > 0 {
			s.App.Command = words
		}
		if err == nil {
			err = errors.Join(s.App.check(s), s.Respawn.check(s))
		}
		return s, err
	}
}

// appError gives what startApp fails with its exit code.
func appError(err error) error {
	if errors.Is(err, supervise.ErrConfig) || errors.Is(err, supervise.ErrUnsupported) {
		return exitf(exitUsage, "%w", err)
	}
	return exitf(exitFailed, "%w", err)
}
