package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"ringofservers.dev/guard"
)

// ErrUnsupported is returned by Start where the system has no process groups.
var ErrUnsupported = errors.New("supervise: this system has no process groups")

// ErrConfig is wrapped by Start's error where the Config cannot be.
var ErrConfig = errors.New("supervise: config")

// Config is what to run and how to look after it. Command and Guard are needed.
type Config struct {
	Command []string // and its arguments
	Env     []string // whole, as of exec.Cmd; nil: this process's own
	Dir     string   // "": this process's own
	// Guard is a command that calls guard.Run with the arguments behind these and exits
	// with what that returns, and GuardName what ps shows for it; see guard.Config.
	Guard     []string
	GuardName string
	Stdout    *os.File // of the application, given to it as it is; nil: discarded
	Stderr    *os.File
	Policy    Policy
	Checks    []Check        // all of which must succeed
	Timeout   time.Duration  // for all checks together, each time, 5 s
	Signal    syscall.Signal // asks it to end, SIGTERM; the whole group gets it
	Logger    *slog.Logger   // nil: silent
}

// Status is how an application is at one moment.
type Status struct {
	State    State     `json:"state"`
	Since    time.Time `json:"since"` // of the state
	PID      int       `json:"pid,omitempty"`
	Restarts uint64    `json:"restarts"`
	Why      string    `json:"why,omitempty"` // what was wrong last
}

// App is an application under supervision. Its methods may be called by several
// goroutines.
type App struct {
	cfg    Config
	events chan event
	passed chan syscall.Signal
	done   chan struct{}

	change func(Status) // called by the loop alone, as what follows is the loop's

	proc     *guard.Process  // nil where not even a guard could be started
	checking context.Context // of the checks of this run
	checkOff context.CancelFunc

	mu     sync.Mutex
	status Status // guarded by mu
}

// Start makes an App and starts its command. Errors wrap ErrConfig, or are
// ErrUnsupported: that the command itself does not start is the state Failed, after as
// many tries as the policy has. change, which may be nil, is called with each new
// state or restart, in order, by one goroutine, and must not wait for the App.
func Start(cfg Config, change func(Status)) (*App, error) {
	switch {
	case !guard.Supported:
		return nil, ErrUnsupported
	case len(cfg.Command) == 0 || cfg.Command[0] == "":
		return nil, fmt.Errorf("%w: there is no command", ErrConfig)
	case len(cfg.Guard) == 0:
		return nil, fmt.Errorf("%w: there is no guard", ErrConfig)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	cfg.Signal = cmp.Or(cfg.Signal, syscall.SIGTERM)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	a := &App{
		cfg: cfg, events: make(chan event), passed: make(chan syscall.Signal), done: make(chan struct{}), change: change,
		status: Status{State: Starting, Since: time.Now()},
	}
	k := newKeeper(time.Now(), cfg.Policy, len(cfg.Checks) > 0,
		rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	go a.loop(k)
	return a, nil
}

// Status is how it is now.
func (a *App) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Done is closed when the application has ended for good.
func (a *App) Done() <-chan struct{} { return a.done }

// Stop sends the stop signal, and after Policy.StopTimeout SIGKILL, and returns when
// nothing of the application is left. When ctx ends before, it kills all at once, waits
// for that, and returns the context's error.
func (a *App) Stop(ctx context.Context) error {
	a.send(event{kind: evStop})
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		a.send(event{kind: evKill})
		<-a.done
		return context.Cause(ctx)
	}
}

// Pass sends a signal to the application's first process, and to no other of its group: it
// is for the application to do with it what it does. While nothing runs it is lost; one that
// has but begun, and does not handle the signal yet, may end by it, as by any init.
func (a *App) Pass(s syscall.Signal) {
	select {
	case a.passed <- s:
	case <-a.done:
	}
}

func (a *App) send(ev event) {
	select {
	case a.events <- ev:
	case <-a.done:
	}
}

// loop is the only goroutine that touches the keeper and the process.
func (a *App) loop(k *keeper) {
	defer close(a.done)
	timer := time.NewTimer(0) // the first start
	defer timer.Stop()
	ev := event{kind: evTimer}
	for {
		for _, fx := range k.step(time.Now(), ev) {
			a.do(k, fx)
		}
		a.publish(k)
		if k.state.Final() {
			return
		}
		if at := k.deadline(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
		if ev = a.next(timer.C); ev.kind == evEnded {
			a.checkOff() // what is still being looked at is no more
		}
	}
}

// next waits for something to happen, and passes signals on meanwhile.
func (a *App) next(timer <-chan time.Time) event {
	for {
		select {
		case ev := <-a.events:
			return ev
		case <-timer:
			return event{kind: evTimer}
		case s := <-a.passed:
			if a.proc != nil {
				a.proc.Pass(s)
			}
		}
	}
}

// do carries out one effect.
func (a *App) do(k *keeper, fx effect) {
	switch fx {
	case fxStart:
		a.start(k.run)
	case fxCheck:
		a.check(k.run)
	case fxSignal:
		a.signal(a.cfg.Signal)
	case fxKill:
		a.signal(syscall.SIGKILL)
	}
}

func (a *App) signal(s syscall.Signal) {
	if a.proc != nil {
		a.proc.Signal(s)
	}
}

// start starts the command, and has the loop told what becomes of it.
func (a *App) start(run uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	a.checking, a.checkOff = ctx, cancel
	config := guard.Config{
		Command: a.cfg.Command, Guard: a.cfg.Guard, Name: a.cfg.GuardName, Env: a.cfg.Env, Dir: a.cfg.Dir,
	}
	if a.cfg.Stdout != nil {
		config.Stdout = a.cfg.Stdout
	}
	if a.cfg.Stderr != nil {
		config.Stderr = a.cfg.Stderr
	}
	proc, err := guard.Start(config)
	a.proc = proc
	go func() {
		if err != nil {
			a.send(event{kind: evEnded, run: run, why: err.Error()})
			return
		}
		if pid := proc.PID(); pid != 0 {
			a.setPID(pid)
			a.send(event{kind: evStarted, run: run})
		}
		exit := proc.Wait()
		a.setPID(0)
		if exit.Code == 0 {
			exit.Text = "it ended by itself, with exit code 0"
		}
		a.send(event{kind: evEnded, run: run, ok: exit.Code == 0, why: exit.Text})
	}()
}

// check makes all checks, one after the other, within one timeout.
func (a *App) check(run uint64) {
	ctx, cancel := context.WithTimeoutCause(a.checking, a.cfg.Timeout,
		fmt.Errorf("no answer within %v", a.cfg.Timeout))
	go func() {
		defer cancel()
		ev := event{kind: evChecked, run: run, ok: true}
		for _, check := range a.cfg.Checks {
			if err := check(ctx); err != nil {
				if ctx.Err() != nil {
					err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
				}
				ev.ok, ev.why = false, err.Error()
				break
			}
		}
		a.send(ev)
	}()
}

func (a *App) setPID(pid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.PID = pid
}

// publish makes what the keeper came to the status, and tells of it if it is another.
func (a *App) publish(k *keeper) {
	a.mu.Lock()
	before := a.status
	a.status.Restarts, a.status.Why = k.count, k.why
	if k.state != before.State {
		a.status.State, a.status.Since = k.state, time.Now()
	}
	now := a.status
	a.mu.Unlock()
	// Another reason alone is in the status and is not told: it may name another port each
	// time.
	if now.State == before.State && now.Restarts == before.Restarts {
		return
	}
	level := slog.LevelInfo
	if now.State == Unhealthy || now.State == Failed || now.State == Waiting {
		level = slog.LevelWarn
	}
	if now.State != before.State {
		a.cfg.Logger.Log(context.Background(), level, "application is "+string(now.State),
			"pid", now.PID, "why", now.Why, "restarts", now.Restarts)
	}
	if a.change != nil {
		a.change(now)
	}
}
