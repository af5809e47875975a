package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"ringofservers.dev/guard"
	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
)

// lapKeys are the keys of a [[lap]] table: of what kind, and what they set.
var lapKeys = map[string]tableKey[lap.Command]{
	"name":    {kindText, func(c *lap.Command, v []string) error { c.Name = v[0]; return nil }},
	"timeout": {kindText, func(c *lap.Command, v []string) error { return setDuration(&c.Timeout, v[0]) }},
	"command": {kindList, func(c *lap.Command, v []string) error { c.Words = v; return nil }},
}

// laps reads the [[lap]] tables.
func (p *parse) laps(value any) (laps []lap.Command, at []givenAt) {
	for i, table := range p.tables("lap", value) {
		path := fmt.Sprintf("lap.%d.", i)
		c, sound := p.lap(table, path)
		if !sound {
			continue
		}
		laps = append(laps, c)
		at = append(at, givenAt{
			topic: p.at(p.place(path+"name").value) + "lap.name",
			hold:  p.at(p.place(path+"timeout").value) + "lap.timeout",
		})
	}
	return laps, at
}

// lap reads one of them.
func (p *parse) lap(table map[string]any, path string) (c lap.Command, sound bool) {
	if !readTable(p, &c, "lap", path, table, lapKeys) {
		return c, false // more would follow from those
	}
	if err := checkLap(c); err != nil {
		p.fault(p.place(path+"name").key, "lap: %v", err)
		return c, false
	}
	return c, true
}

// checkLap says what cannot be about it but its timeout, which is a matter of the preset, too.
func checkLap(c lap.Command) error {
	c.Timeout = 0
	return c.Check()
}

// lapFlag is --lap, once for each command.
type lapFlag struct{ texts []string }

func addLapFlag(flags *pflag.FlagSet) {
	flags.Var(&lapFlag{}, "lap", "a command whose output rides where ring lap NAME asks for it, "+
		"words between spaces; may be repeated, instead of the file's tables [[lap]]")
}

// Set is called by pflag once for each time the flag is given.
func (f *lapFlag) Set(text string) error {
	f.texts = append(f.texts, text)
	return nil
}

// String is what help shows as the default: nothing.
func (f *lapFlag) String() string { return strings.Join(f.texts, " ") }

// Type is how help names the value.
func (f *lapFlag) Type() string { return "name=command" }

func (f *lapFlag) commands() (laps []lap.Command, at []givenAt, err error) {
	var errs []error
	for _, text := range f.texts {
		name, command, ok := strings.Cut(text, "=")
		c := lap.Command{Name: name, Words: strings.Fields(command)}
		err := checkLap(c)
		if !ok {
			err = fmt.Errorf(`%q is not NAME=COMMAND: write it as --lap "disk=df -h /data"`, text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--lap: %w", err))
			continue
		}
		laps, at = append(laps, c), append(at, givenAt{topic: fmt.Sprintf("--lap %q", text)})
	}
	return laps, at, errors.Join(errs...)
}

// canAnswer says why this system runs no commands for passengers.
func canAnswer() error {
	if guard.Supported {
		return nil
	}
	return errors.New("lap: commands are run on Unix only, where all that one has started can be killed")
}

// addStations has r answer the questions, and what the settings name. It returns the topics.
func addStations(s settings, r *ring.Ring, version string) (topics []string, err error) {
	if _, err := lap.AddQuestions(r, s.Name, version); err != nil {
		return nil, err
	}
	env := appEnv(os.Environ(), s.Name, r.Local(), s.Socket)
	if _, err := lap.AddCommands(r, s.Name, s.Laps, env); err != nil {
		return nil, err
	}
	topics = lap.Questions()
	for _, c := range s.Laps {
		topics = append(topics, c.Name)
	}
	return topics, nil
}
