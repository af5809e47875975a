package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ringofservers.dev/admin"
	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
)

// settings are what an instance is told, from all places together.
type settings struct {
	Ring            string
	Name            ring.Name
	Roster          ring.Roster
	Listen          string
	Data            string
	BulkKeep        int64 // bytes, 0 for the library's default
	Preset          string
	Hold            time.Duration
	MaxSpeed        bool
	TLS             string        // directory of an identity
	Authority       string        // directory, empty: it gives no certificates
	CertificateLife time.Duration // 0: the default
	Insecure        bool
	Socket          string
	LoopbackRole    admin.Role // 0: the default
	CPUs            int
	LogLevel        slog.Level
	LogFormat       string
	App             appSettings
	Respawn         respawnSettings
	Runs            []jobSetting
	Stations        []stationSetting
	OnTick          string // a line for sh
	Laps            []lap.Command
}

// ringConfig is what the library has to know of them.
func (s settings) ringConfig() ring.Config {
	return ring.Config{
		Ring: s.Ring, Name: s.Name, Roster: s.Roster, Listen: s.Listen, Data: s.Data,
		BulkKeep: s.BulkKeep, Timing: presets[s.Preset](), Hold: s.Hold, MaxSpeed: s.MaxSpeed, Insecure: s.Insecure,
	}
}

// check says what an instance cannot start without.
func (s settings) check() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, errors.New("name is missing: give --name, RING_NAME or name = … "+
			"in the file"))
	}
	if s.isRetired() {
		errs = append(errs, s.retiredError())
	}
	switch n := len(s.Roster.Names); {
	case n == 0:
		errs = append(errs, errors.New("roster is missing: give --config with a file that has "+
			"one, or --roster"))
	case len(s.Roster.Addresses) == 0 && (n > 1 || s.Listen == ""):
		errs = append(errs, errors.New("addresses are missing: give --addresses or "+
			`addresses = "…" in the file, such as 127.0.0.1:{3000+index}`))
	}
	if len(s.Runs) > 0 {
		errs = append(errs, canRun())
	}
	if len(s.Stations) > 0 || s.OnTick != "" {
		errs = append(errs, canFilter())
	}
	if len(s.Laps) > 0 {
		errs = append(errs, canAnswer())
	}
	return errors.Join(errs...)
}

// isRetired reports whether all who have this instance's name are retired.
func (s settings) isRetired() bool {
	return slices.Contains(s.Roster.Names, s.Name) && rosterDocumentOf(s).index(s.Name) < 0
}

func (s settings) retiredError() error {
	return fmt.Errorf("name %q is that of somebody who is retired: correct it, or add an instance of that "+
		"name at the roster's end", s.Name)
}

// difference names the settings in which old and new differ: those that a
// running instance can change, and those it cannot.
func difference(old, new settings) (changed, fixed []string) {
	for _, o := range options {
		switch {
		case o.show(&old) == o.show(&new):
		case o.live:
			changed = append(changed, o.key)
		default:
			fixed = append(fixed, o.key)
		}
	}
	if !reflect.DeepEqual(old.Runs, new.Runs) {
		changed = append(changed, "run")
	}
	if !reflect.DeepEqual(old.Laps, new.Laps) {
		fixed = append(fixed, "lap")
	}
	return changed, fixed
}

// layer is one place where settings come from. Later ones beat earlier ones.
type layer struct {
	origin     func(key string) string // how to name the place of a key to a person
	values     map[string][]string     // those of a file are sound
	runs       []jobSetting            // [[run]] tables of a file
	laps       []lap.Command           // [[lap]] tables of a file, or flags --lap
	lapsAt     []givenAt               // of each
	groups     []group                 // [[instance]] tables of a file
	stations   []stationSetting        // [[station]] tables of a file
	stationsAt []givenAt               // of each
	fault      error                   // what is wrong with a file
	torn       bool                    // so that its instances are not all known
}

// group is an [[instance]] table: a name or pattern, and where it is.
type group struct {
	Name    string
	Address string
}

// draft is settings on the way: patterns are not expanded yet.
type draft struct {
	settings
	patterns   []string
	retired    []string // patterns too
	addresses  string
	groups     []group
	lapsAt     []givenAt      // of each of Laps
	stationsAt []givenAt      // of each of Stations
	anyPreset  bool           // what the preset is to be is not known
	rank       map[string]int // key -> the layer that said so last, from 1
}

// resolve lays the layers over the defaults. The error has all faults.
func resolve(layers []layer) (settings, error) {
	d := draft{rank: make(map[string]int)}
	d.Ring, d.Preset, d.LogFormat, d.LoopbackRole = "ring", "lan", "auto", admin.Admin
	var errs []error
	torn := false
	for i, l := range layers {
		errs, torn = append(errs, l.fault), torn || l.torn
		if len(l.groups) > 0 {
			d.groups = l.groups
		}
		if len(l.runs) > 0 {
			d.Runs = l.runs
		}
		if len(l.stations) > 0 {
			d.Stations, d.stationsAt = l.stations, l.stationsAt
		}
		if len(l.laps) > 0 {
			d.Laps, d.lapsAt = l.laps, l.lapsAt
		}
		for _, o := range options {
			texts, said := l.values[o.key]
			if !said {
				continue
			}
			d.rank[o.key] = i + 1
			d.anyPreset = d.anyPreset || o.key == "preset" && !isPreset(texts)
			if o.key == "station" {
				d.Stations, d.stationsAt = nil, nil // which are set below, if they are sound
				for _, text := range texts {
					d.stationsAt = append(d.stationsAt, givenAt{topic: fmt.Sprintf("%s %q", l.origin(o.key), text)})
				}
			}
			if o.key == "roster" {
				d.patterns, d.groups, d.retired = nil, l.groups, nil // unless this layer has some
			} else if o.many() {
				texts = []string{strings.Join(texts, "\x00")}
			}
			for _, text := range texts {
				if err := o.set(&d, text); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", l.origin(o.key), err))
				}
			}
		}
	}
	if d.MaxSpeed && d.Hold > 0 {
		switch hold, fast := d.rank["hold"], d.rank["max_speed"]; {
		case hold > fast:
			d.MaxSpeed = false
		case fast > hold:
			d.Hold = 0
		default:
			errs = append(errs, errors.New("hold and max_speed exclude each other: choose one"))
		}
	}
	errs = append(errs, d.checkStop())
	if !torn { // else faults would follow from those that were told
		errs = append(errs, d.expand())
	}
	return d.settings, errors.Join(errs...)
}

// expand makes the roster of patterns, groups and address templates. What is wrong
// with the names is said beside what is wrong with the addresses.
func (d *draft) expand() error {
	parts, err := d.expandNames()
	if err != nil {
		return err // it depends on the names what is wrong with addresses
	}
	addresses, err := d.expandAddresses(parts)
	d.Roster.Names, d.Roster.Addresses = slices.Concat(parts...), addresses
	if len(d.Roster.Names) == 0 {
		return err // check says so to whom it matters
	}
	var unknown error
	if d.Roster.Retired, unknown = retiredIn(d.Roster.Names, d.retired); unknown != nil {
		return errors.Join(err, unknown) // what is wrong with the names may follow from it
	}
	if fault := d.Roster.Validate(d.Ring); fault != nil {
		err = errors.Join(err, unprefixed(fault))
	}
	return err
}

// retiredIn are the indexes of who is retired. A name that has come again is that of several:
// of those the first are meant, as many as it is given times.
func retiredIn(names []ring.Name, patterns []string) (indexes []int, err error) {
	out, err := expandAll(patterns)
	if err != nil {
		return nil, fmt.Errorf("retired: %w", err)
	}
	var errs []error
	left := make(map[ring.Name]int)
	for _, name := range out {
		left[name]++
	}
	for i, name := range names {
		if left[name] > 0 {
			left[name]--
			indexes = append(indexes, i)
		}
	}
	for _, name := range out {
		if left[name] > 0 && len(errs) < faultsMax {
			left[name] = 0
			errs = append(errs, fmt.Errorf("retired: %s is not in the roster, or not so often: whoever is "+
				"retired keeps its place there", name))
		}
	}
	return indexes, errors.Join(errs...)
}

// expandNames returns the names of the patterns, then those of each group.
func (d *draft) expandNames() (parts [][]ring.Name, err error) {
	names, err := expandAll(d.patterns)
	if err != nil {
		return nil, err
	}
	parts = append(parts, names)
	n := len(names)
	for i, g := range d.groups {
		more, err := expandAll([]string{g.Name})
		if err != nil {
			return nil, fmt.Errorf("instance table %d: %w", i+1, err)
		}
		if n += len(more); n > ring.RosterMax {
			return nil, tooMany()
		}
		parts = append(parts, more)
	}
	return parts, nil
}

// expandAddresses returns an address for each name, or none and what is wrong.
func (d *draft) expandAddresses(parts [][]ring.Name) (addresses []string, err error) {
	var errs []error
	if d.addresses != "" {
		if addresses, err = ring.ExpandAddresses(d.addresses, parts[0], 0); err != nil {
			errs = append(errs, unprefixed(err))
		}
	}
	bare := d.addresses == "" && len(parts[0]) > 0
	first := len(parts[0])
	for i, g := range d.groups {
		if len(errs) == faultsMax {
			break
		}
		if bare || g.Address == "" {
			errs = append(errs, fmt.Errorf("instance table %d (%s): some instances have an address "+
				"and some have none: give each an address, and the roster its addresses", i+1, g.Name))
			break // the others lack the same
		}
		at, err := ring.ExpandAddresses(g.Address, parts[i+1], first)
		if err != nil {
			errs = append(errs, fmt.Errorf("instance table %d: %w", i+1, unprefixed(err)))
		}
		addresses, first = append(addresses, at...), first+len(parts[i+1])
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return addresses, nil
}

func expandAll(patterns []string) ([]ring.Name, error) {
	var names []ring.Name
	for _, pattern := range patterns {
		more, err := ring.ExpandNames(pattern)
		if err != nil {
			return nil, unprefixed(err)
		}
		if names = append(names, more...); len(names) > ring.RosterMax {
			return nil, tooMany()
		}
	}
	return names, nil
}

func tooMany() error {
	return fmt.Errorf("the roster has more than %d instances: shorten it", ring.RosterMax)
}

// unprefixed drops the library's name, which is the command's as well.
func unprefixed(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "ring: "))
}

// addSettingsFlags gives cmd a flag for every setting, and --config. load reads
// all places anew: the file, the environment and the flags. It fails with exit
// code 2 unless an instance can be started with the result.
func addSettingsFlags(cmd *cobra.Command) (load func() (settings, error)) {
	file := cmd.Flags().StringP("config", "c", "", "`file` with settings (RING_CONFIG)")
	addOptionFlags(cmd.Flags(), optionKeys()...)
	addLapFlag(cmd.Flags())
	return func() (settings, error) {
		path := *file
		if !cmd.Flags().Changed("config") {
			path = os.Getenv("RING_CONFIG")
		}
		s, err := loadSettings(cmd, path)
		if err == nil {
			if err = s.check(); err != nil {
				err = &exitError{exitUsage, err}
			}
		}
		return s, err
	}
}

// loadSettings reads file, unless its path is empty, the environment, and the
// flags that were added to cmd. Errors have exit code 2.
func loadSettings(cmd *cobra.Command, file string) (settings, error) {
	var layers []layer
	if file != "" {
		layers = append(layers, fileLayer(file))
	}
	layers = append(layers, envLayer(os.Getenv), flagLayer(cmd.Flags()))
	return settle(layers)
}

// loadFile reads file and nothing else. Errors have exit code 2.
func loadFile(file string) (settings, error) { return settle([]layer{fileLayer(file)}) }

// settle gives what resolve finds wrong its exit code. The settings beside an
// error are as far as they could be read.
func settle(layers []layer) (settings, error) {
	s, err := resolve(layers)
	if err != nil {
		err = &exitError{exitUsage, err}
	}
	return s, err
}

// envLayer reads RING_… of every setting; an empty one counts as absent. Of
// RING_ROSTER the patterns stand between spaces, and so do the words of a command; of
// RING_STATION each stands on a line of its own.
func envLayer(getenv func(string) string) layer {
	l := layer{origin: envName, values: make(map[string][]string)}
	for _, o := range options {
		switch text := getenv(envName(o.key)); {
		case text == "":
		case o.kind == kindStation:
			l.values[o.key] = strings.Split(strings.Trim(text, "\n"), "\n")
		case o.many():
			l.values[o.key] = strings.Fields(text)
		default:
			l.values[o.key] = []string{text}
		}
	}
	return l
}

func flagLayer(flags *pflag.FlagSet) layer {
	l := layer{
		origin: func(key string) string { return "--" + flagName(key) },
		values: make(map[string][]string),
	}
	flags.Visit(func(f *pflag.Flag) {
		switch v := f.Value.(type) {
		case *optionFlag:
			l.values[v.option.key] = v.texts
		case *lapFlag:
			l.laps, l.lapsAt, l.fault = v.commands()
		}
	})
	return l
}

// envName and flagName are what the key of an option is called elsewhere; in the file
// app.command is the key command of the table [app].
func envName(key string) string {
	return "RING_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func flagName(key string) string { return strings.NewReplacer("_", "-", ".", "-").Replace(key) }
