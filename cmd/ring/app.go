package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// application is what runs beside an instance; a nil one is none.
type application struct {
	app  *supervise.App
	exit string
}

// startApp starts the application that the settings name, if they do.
func startApp(s settings, r *ring.Ring, logger *slog.Logger, registry *prometheus.Registry) (
	*application, error,
) {
	if len(s.App.Command) == 0 {
		return nil, answerApp(r, nil)
	}
	guarded, err := guardWords()
	if err != nil {
		return nil, err
	}
	env := appEnv(os.Environ(), s.Name, r.Addr())
	config := supervise.Config{
		Command: s.App.Command, Env: env, Guard: guarded, GuardName: "ring",
		Stdout: os.Stdout, Stderr: os.Stderr, Policy: s.App.Policy, Checks: s.App.checks(env),
		Timeout: s.App.HealthTimeout, Signal: s.App.signal(), Logger: logger,
	}
	app, err := supervise.Start(config, func(now supervise.Status) {
		text := strings.TrimSuffix("the application is "+string(now.State)+": "+now.Why, ": ")
		_ = r.Tell("app_"+string(now.State), s.Name, text) // which cannot be refused
	})
	if err != nil {
		return nil, err
	}
	measureApp(registry, app)
	return &application{app, s.App.Exit}, answerApp(r, app)
}

// appEnv is the environment of the application: ours without what is for this process
// alone, and where it stands.
func appEnv(environ []string, name ring.Name, at net.Addr) []string {
	return append(childEnv(environ), "RING_INSTANCE="+string(name), "RING_ADDR="+reachable(at))
}

// reachable is an address at which this host reaches one that listens there.
func reachable(at net.Addr) string {
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return at.String()
}

// status is what the admin API shows of it; nil where there is none.
func (a *application) status() func() supervise.Status {
	if a == nil {
		return nil
	}
	return a.app.Status
}

// ended is closed when the instance is to leave because the application has ended.
func (a *application) ended() <-chan struct{} {
	if a == nil || a.exit != appLeave {
		return nil
	}
	return a.app.Done()
}

// failed says why the application has failed, if it has.
func (a *application) failed() error {
	if a == nil || a.app.Status().State != supervise.Failed {
		return nil
	}
	return exitf(exitFailed, "the application has failed: %s", a.app.Status().Why)
}

// drain ends the application; a second signal does it at once, and is returned.
func (a *application) drain(signals <-chan os.Signal) (hurried os.Signal) {
	if a == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- a.app.Stop(ctx) }()
	hurried, _ = awaitLeft(drained, signals)
	if hurried != nil {
		cancel()
		<-drained
	}
	return hurried
}

// appTopic is what instances answer with the status of their application.
const appTopic = "ring/app"

// noApp is the answer of an instance beside which there is none.
const noApp = `{"state":"none"}`

func answerApp(r *ring.Ring, app *supervise.App) error {
	_, err := r.Answer(appTopic, func(context.Context, ring.Question) ([]byte, error) {
		if app == nil {
			return []byte(noApp), nil
		}
		return json.Marshal(app.Status())
	}, nil)
	return err
}

// measureApp shows the application in /metrics.
func measureApp(registry *prometheus.Registry, app *supervise.App) {
	in := func(state supervise.State, name, help string) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if app.Status().State == state {
				return 1
			}
			return 0
		})
	}
	registry.MustRegister(
		in(supervise.Healthy, "ring_app_healthy", "1 while the application beside this instance is healthy."),
		in(supervise.Failed, "ring_app_failed", "1 once the application is not started again any more."),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "ring_app_restarts_total", Help: "Restarts of the application beside this instance.",
		}, func() float64 { return float64(app.Status().Restarts) }),
	)
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
