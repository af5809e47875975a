package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"ringofservers.dev/guard"
	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
)

// lapKeys are the keys of a [[lap]] table: of what kind, and what they set.
var lapKeys = map[string]struct {
	kind string
	set  func(*lap.Command, []string) error
}{
	"name":    {kindText, func(c *lap.Command, v []string) error { c.Name = v[0]; return nil }},
	"timeout": {kindText, func(c *lap.Command, v []string) error { return setDuration(&c.Timeout, v[0]) }},
	"command": {kindList, func(c *lap.Command, v []string) error { c.Words = v; return nil }},
}

// laps reads the [[lap]] tables.
func (p *parse) laps(value any) []lap.Command {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	laps := make([]lap.Command, 0, len(list))
	for i, v := range list {
		table, isTable := v.(map[string]any)
		if !ok || !isTable {
			p.fault(p.place("lap").value, "lap: want tables, here is %s: write [[lap]]", tomlKind(value))
			return nil
		}
		laps = append(laps, p.lap(table, fmt.Sprintf("lap.%d.", i), laps))
	}
	return laps
}

// lap reads one of them; before are those that stand before it.
func (p *parse) lap(table map[string]any, path string, before []lap.Command) (c lap.Command) {
	faults := len(p.errs) + p.more
	for _, key := range p.inOrder(table, path) {
		known, ok := lapKeys[key]
		if !ok {
			p.unknown(path+key, "lap."+key)
			continue
		}
		said := p.texts(path+key, "lap."+key, known.kind, table[key])
		if said == nil {
			continue
		}
		if err := known.set(&c, said); err != nil {
			p.fault(p.place(path+key).value, "lap.%s: %v", key, err)
		}
	}
	if len(p.errs)+p.more > faults {
		return c // more would follow from those
	}
	if err := checkLap(c, before); err != nil {
		p.fault(p.place(path+"name").key, "lap: %v", err)
	}
	return c
}

func checkLap(c lap.Command, before []lap.Command) error {
	if slices.ContainsFunc(before, func(b lap.Command) bool { return b.Name == c.Name }) {
		return fmt.Errorf("%s is there twice", c.Name)
	}
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

func (f *lapFlag) commands() (laps []lap.Command, err error) {
	var errs []error
	for _, text := range f.texts {
		name, command, ok := strings.Cut(text, "=")
		c := lap.Command{Name: name, Words: strings.Fields(command)}
		err := checkLap(c, laps)
		if !ok {
			err = fmt.Errorf(`%q is not NAME=COMMAND: write it as --lap "disk=df -h /data"`, text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--lap: %w", err))
			continue
		}
		laps = append(laps, c)
	}
	return laps, errors.Join(errs...)
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
	env := appEnv(os.Environ(), s.Name, r.Addr())
	if _, err := lap.AddCommands(r, s.Name, s.Laps, env); err != nil {
		return nil, err
	}
	topics = lap.Questions()
	for _, c := range s.Laps {
		topics = append(topics, c.Name)
	}
	return topics, nil
}
