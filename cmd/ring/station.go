package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"ringofservers.dev/guard"
	"ringofservers.dev/ring"
	"ringofservers.dev/station"
)

// stationSetting is a filter at this stop: a --station, or a [[station]] table.
type stationSetting struct {
	Topic   string
	Command []string
	Format  station.Format // "" for the default, as Hold of 0 is
	Hold    time.Duration
}

// kindStation is the kind of the option that is a list of topics and lines for sh. A layer
// that has it says all of it; set is called once, with what it says between zero bytes.
const kindStation = "topic=command"

// stationOptions are the settings of what runs as the particle passes.
var stationOptions = []option{
	{
		"station", kindStation, "a filter at this stop: sh runs the command once, and each passenger of " +
			"the topic is a line through it; may be repeated", false,
		func(d *draft, v string) error { return setStations(&d.Stations, v) },
		func(s *settings) string { return fmt.Sprintf("%+v", s.Stations) },
	}, {
		"on_tick", "command", "sh runs this at ticks, one at a time", false,
		func(d *draft, v string) error { d.OnTick = v; return nil },
		func(s *settings) string { return s.OnTick },
	},
}

// inShell is what runs a line as a person would at a prompt.
func inShell(line string) []string { return []string{"sh", "-c", line} }

func setStations(into *[]stationSetting, text string) error {
	var all []stationSetting
	for _, one := range strings.Split(text, "\x00") {
		topic, line, _ := strings.Cut(one, "=")
		if topic, line = strings.TrimSpace(topic), strings.TrimSpace(line); topic == "" || line == "" {
			return fmt.Errorf("%q is not TOPIC=COMMAND, such as 'news=sed -u s/foo/bar/'", one)
		}
		all = append(all, stationSetting{Topic: topic, Command: inShell(line)})
	}
	*into = all
	return nil
}

// stationKeys are the keys of a [[station]] table: of what kind, and what they set.
var stationKeys = map[string]tableKey[stationSetting]{
	"topic": {kindText, func(s *stationSetting, v []string) error {
		s.Topic = v[0]
		return nil
	}},
	"command": {kindList, func(s *stationSetting, v []string) error {
		s.Command = v
		return nil
	}},
	"format": {kindText, func(s *stationSetting, v []string) error {
		return setOneOf(&s.Format, v[0], station.Text, station.JSON)
	}},
	"hold": {kindText, func(s *stationSetting, v []string) error {
		if err := setDuration(&s.Hold, v[0]); err != nil {
			return err
		}
		if s.Hold < time.Millisecond {
			return fmt.Errorf("%v is no time to hold the particle for: give 1ms or more", s.Hold)
		}
		return nil
	}},
}

// stations reads the [[station]] tables.
func (p *parse) stations(value any) (all []stationSetting, at []givenAt) {
	for i, table := range p.tables("station", value) {
		path := fmt.Sprintf("station.%d.", i)
		s, sound := p.station(table, path)
		if !sound {
			continue
		}
		all = append(all, s)
		at = append(at, givenAt{
			topic: p.at(p.place(path+"topic").value) + "station.topic",
			hold:  p.at(p.place(path+"hold").value) + "station.hold",
		})
	}
	return all, at
}

// station reads one of them.
func (p *parse) station(table map[string]any, path string) (s stationSetting, sound bool) {
	before := p.told()
	at := p.place("station").key
	if keys := p.inOrder(table, path); len(keys) > 0 {
		at = p.place(path + keys[0]).key
	}
	if !readTable(p, &s, "station", path, table, stationKeys) {
		return s, false // more would follow from those
	}
	if s.Topic == "" {
		p.fault(at, `station: topic is missing: write topic = "news"`)
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		p.fault(at, `station: command is missing: write command = ["sed", "-u", "s/foo/bar/"]`)
	}
	return s, p.told() == before
}

// canFilter says why there are no stations, or commands at ticks, on some systems.
func canFilter() error {
	if guard.Supported {
		return nil
	}
	return errors.New("station and on_tick need process groups, which this system has not: use Station " +
		"and OnTick of the library")
}

// stations are what runs of the operator's as the particle passes.
type stations struct {
	filters []*station.Station
	cancel  context.CancelFunc
	ticking sync.WaitGroup
}

// startStations starts those of s beside r, until they are ended.
func startStations(s settings, r *ring.Ring, log *slog.Logger) (*stations, error) {
	ctx, cancel := context.WithCancel(context.Background())
	all := &stations{cancel: cancel}
	if len(s.Stations) == 0 && s.OnTick == "" {
		return all, nil
	}
	guarded, err := guardWords()
	if err != nil {
		return all, exitf(exitFailed, "%w", err)
	}
	env := appEnv(os.Environ(), s.Name, r.Local(), s.Socket)
	for _, one := range s.Stations {
		filter, err := station.Start(r, station.Config{
			Topic: one.Topic, Format: one.Format, Hold: one.Hold, Logger: log,
			Command: station.Command{
				Words: one.Command, Env: append(slices.Clone(env), "RING_TOPIC="+one.Topic),
				Guard: guarded, GuardName: "ring", Stderr: os.Stderr,
			},
		})
		if err != nil {
			return all, stationError(err)
		}
		all.filters = append(all.filters, filter)
	}
	if s.OnTick == "" {
		return all, nil
	}
	config := station.TickConfig{
		Command: station.Command{
			Words: inShell(s.OnTick), Env: env, Guard: guarded, GuardName: "ring", Stderr: os.Stderr,
		},
		Stdout: os.Stdout, Logger: log,
	}
	all.ticking.Go(func() {
		if err := station.OnTick(ctx, r, config); err != nil {
			log.Error("nothing is run at ticks", "err", err)
		}
	})
	return all, nil
}

// end ends them, and returns when nothing of them is left.
func (s *stations) end() {
	s.cancel()
	var ending sync.WaitGroup
	for _, one := range s.filters {
		ending.Go(one.Close)
	}
	ending.Wait()
	s.ticking.Wait()
}

// stationError gives what station.Start fails with its exit code.
func stationError(err error) error {
	for _, fault := range []error{station.ErrConfig, station.ErrUnsupported, ring.ErrRefused} {
		if errors.Is(err, fault) {
			return exitf(exitUsage, "%w", err)
		}
	}
	return exitf(exitFailed, "%w", err)
}
