package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ringofservers.dev/supervise"
)

// appSettings are those of the application beside the instance: the table [app].
type appSettings struct {
	Command       []string
	HealthHTTP    string
	HealthTCP     string
	HealthCommand []string
	HealthTimeout time.Duration
	StopSignal    string   // "" for the default
	Exit          string   // stay or leave; "" for the default
	Forward       []string // signals that are passed on; nil for the default
	Policy        supervise.Policy
}

// appOptions are the settings of the application.
var appOptions = []option{
	{
		"app.command", kindWords, "the application to run beside the instance, once for each word " +
			"(or behind --)", true,
		func(d *draft, v string) error { return setWords(&d.App.Command, v) },
		func(s *settings) string { return showWords(s.App.Command) },
	},
	{
		"app.health_http", "url", "the application is healthy while a GET of it answers 200 to 399", true,
		func(d *draft, v string) error { return setURL(&d.App.HealthHTTP, v) },
		func(s *settings) string { return s.App.HealthHTTP },
	},
	{
		"app.health_tcp", "host:port", "the application is healthy while this takes connections", true,
		func(d *draft, v string) error { return setHostPort(&d.App.HealthTCP, v) },
		func(s *settings) string { return s.App.HealthTCP },
	},
	{
		"app.health_command", kindWords, "the application is healthy while this ends with exit code 0, " +
			"once for each word", true,
		func(d *draft, v string) error { return setWords(&d.App.HealthCommand, v) },
		func(s *settings) string { return showWords(s.App.HealthCommand) },
	},
	durationOption("app.health_interval", "between two looks at its health (default 10s)",
		func(s *settings) *time.Duration { return &s.App.Policy.Interval }),
	durationOption("app.health_timeout", "for one look, all checks together (default 5s)",
		func(s *settings) *time.Duration { return &s.App.HealthTimeout }),
	countOption("app.health_failures", "failed looks in a row for a restart (default 3)",
		func(s *settings) *int { return &s.App.Policy.Failures }),
	durationOption("app.start_grace", "after a start failed looks do not count for so long (default 30s)",
		func(s *settings) *time.Duration { return &s.App.Policy.Grace }),
	{
		"app.stop_signal", "TERM|INT|QUIT|HUP", "asks the application to end (default TERM)", true,
		func(d *draft, v string) error { return setOneOf(&d.App.StopSignal, v, "TERM", "INT", "QUIT", "HUP") },
		func(s *settings) string { return s.App.StopSignal },
	},
	durationOption("app.stop_timeout", "from that signal to SIGKILL (default 10s)",
		func(s *settings) *time.Duration { return &s.App.Policy.StopTimeout }),
	{
		"app.restart", "always|on-failure|never", "after which exits it is started again (default always)",
		true,
		func(d *draft, v string) error {
			return setOneOf(&d.App.Policy.Restart, v, supervise.Always, supervise.OnFailure, supervise.Never)
		},
		func(s *settings) string { return string(s.App.Policy.Restart) },
	},
	{
		"app.restart_limit", "int", "more restarts than this within restart-period are a failure " +
			"(default 5; -1: no limit)", true,
		func(d *draft, v string) error {
			if v == "-1" {
				d.App.Policy.Limit = supervise.Unlimited
				return nil
			}
			return setCount(&d.App.Policy.Limit, v)
		},
		func(s *settings) string { return strconv.Itoa(s.App.Policy.Limit) },
	},
	durationOption("app.restart_period", "within which restarts are counted (default 2m)",
		func(s *settings) *time.Duration { return &s.App.Policy.Period }),
	durationOption("app.backoff_min", "before the first restart; each further waits twice as long "+
		"(default 500ms)", func(s *settings) *time.Duration { return &s.App.Policy.BackoffMin }),
	durationOption("app.backoff_max", "but at most this long (default 30s)",
		func(s *settings) *time.Duration { return &s.App.Policy.BackoffMax }),
	{
		"app.exit", "stay|leave", "what the instance does when the application has ended for good " +
			"(default stay)", true,
		func(d *draft, v string) error { return setOneOf(&d.App.Exit, v, appStay, appLeave) },
		func(s *settings) string { return s.App.Exit },
	},
	{
		"app.forward_signals", kindWords, "which of USR1, USR2 and HUP are passed on to the application's " +
			"first process, once for each (default USR1 and USR2; empty for none)", true,
		func(d *draft, v string) error { return setSignals(&d.App.Forward, v) },
		func(s *settings) string { return showForward(s.App.Forward) },
	},
}

// What app.exit can be.
const (
	appStay  = "stay"
	appLeave = "leave"
)

// durationOption is an option that is a duration above zero.
func durationOption(key, usage string, at func(*settings) *time.Duration) option {
	return option{
		key, "duration", usage, true,
		func(d *draft, v string) error { return setDuration(at(&d.settings), v) },
		func(s *settings) string { return at(s).String() },
	}
}

// countOption is an option that is a whole number above zero.
func countOption(key, usage string, at func(*settings) *int) option {
	return option{
		key, "int", usage, true,
		func(d *draft, v string) error { return setCount(at(&d.settings), v) },
		func(s *settings) string { return strconv.Itoa(*at(s)) },
	}
}

func setDuration(into *time.Duration, text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration: write it as 500ms or 2s", text)
	case d <= 0:
		return fmt.Errorf("%s is not above zero", text)
	}
	*into = d
	return nil
}

func setCount(into *int, text string) error {
	n := 0
	if err := setInt(&n, text); err != nil {
		return err
	}
	if n < 1 {
		return fmt.Errorf("%d is less than 1", n)
	}
	*into = n
	return nil
}

func setOneOf[T ~string](into *T, text string, words ...T) error {
	if !slices.Contains(words, T(text)) {
		var all []string
		for _, w := range words {
			all = append(all, string(w))
		}
		return fmt.Errorf("%q is unknown: choose %s or %s", text,
			strings.Join(all[:len(all)-1], ", "), all[len(all)-1])
	}
	*into = T(text)
	return nil
}

func setURL(into *string, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%q is no URL such as http://127.0.0.1:8080/healthz", text)
	}
	*into = text
	return nil
}

func setHostPort(into *string, text string) error {
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		return fmt.Errorf("%q is not host:port, such as 127.0.0.1:8080", text)
	}
	*into = text
	return nil
}

// check says what is wrong with the application's settings as a whole.
func (a appSettings) check(s settings) error {
	if len(a.Command) > 0 {
		return nil
	}
	return noneOf(appOptions, s, "no application: give app.command, or -- and the command behind all flags")
}

// noneOf fails where one of those is set, because of what is missing.
func noneOf(options []option, s settings, missing string) error {
	none := new(settings)
	for _, o := range options {
		if o.show(&s) != o.show(none) {
			return exitf(exitUsage, "%s is given, but %s", o.key, missing)
		}
	}
	return nil
}

// signal is the number of StopSignal, 0 for the default.
func (a appSettings) signal() syscall.Signal {
	return map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP,
	}[a.StopSignal]
}

// setSignals takes the words between zero bytes; none is a list too.
func setSignals(into *[]string, text string) error {
	names := []string{}
	if text != "" {
		names = strings.Split(text, "\x00")
	}
	for i, name := range names {
		name = strings.TrimPrefix(name, "SIG")
		if names[i] = name; name != "USR1" && name != "USR2" && name != "HUP" {
			return fmt.Errorf("%q cannot be passed on: choose of USR1, USR2 and HUP", name)
		}
	}
	*into = names
	return nil
}

func showForward(names []string) string {
	if names != nil && len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// forwards is whether a signal to the instance is passed on to the application.
func (a appSettings) forwards(s os.Signal) bool {
	names := a.Forward
	if names == nil {
		names = []string{"USR1", "USR2"}
	}
	return slices.Contains(names, passable[s])
}

// checks are how its health is looked at; env is the application's environment.
func (a appSettings) checks(env []string) []supervise.Check {
	var checks []supervise.Check
	if a.HealthTCP != "" {
		checks = append(checks, supervise.TCP(a.HealthTCP))
	}
	if a.HealthHTTP != "" {
		checks = append(checks, supervise.HTTP(a.HealthHTTP))
	}
	if len(a.HealthCommand) > 0 {
		checks = append(checks, supervise.Command(a.HealthCommand, env))
	}
	return checks
}

// behindDash are the words behind --, and what is wrong with the arguments otherwise.
func behindDash(args []string, dash int) ([]string, error) {
	switch {
	case len(args) == 0 && dash < 0:
		return nil, nil
	case dash != 0:
		return nil, fmt.Errorf("unknown argument %q: the application's command stands behind --", args[0])
	case len(args) == 0:
		return nil, errors.New("behind -- is no command")
	}
	return args, nil
}
