package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// option is one setting: a key of the file, a flag, and a variable RING_….
type option struct {
	key   string
	kind  string // for the help of flags
	usage string
	live  bool // a running instance can change it on SIGHUP
	set   func(*draft, string) error
	show  func(*settings) string
}

// presets are the paces that ring.Timing has names for.
var presets = map[string]func() ring.Timing{
	"lan": ring.LAN, "wan": ring.WAN, "quiet": ring.Quiet,
}

// options are all settings, in the order a person thinks of them.
var options = slices.Concat(nodeOptions, stationOptions, appOptions, respawnOptions)

// nodeOptions are those of the instance itself.
var nodeOptions = []option{
	{
		"ring", "string", "name of the ring (default ring)", false,
		func(d *draft, v string) error { d.Ring = v; return nil },
		func(s *settings) string { return s.Ring },
	}, {
		"name", "string", "name of this instance in the roster", false,
		func(d *draft, v string) error { d.Name = ring.Name(v); return nil },
		func(s *settings) string { return string(s.Name) },
	}, {
		"roster", "pattern", "name or pattern of instances, dc{1..3}/prod/{0..1}; may be repeated",
		false,
		func(d *draft, v string) error { d.patterns = append(d.patterns, v); return nil },
		func(s *settings) string { return joined(s.Roster.Names) },
	}, {
		"addresses", "template", "where the roster's instances are: a template such as " +
			"{2}-{3}.{1}.example.org:3000 or 127.0.0.1:{3000+index}, or a pattern", false,
		func(d *draft, v string) error { d.addresses = v; return nil },
		func(s *settings) string { return strings.Join(s.Roster.Addresses, " ") },
	}, {
		"retired", "pattern", "name or pattern of instances of the roster that are out of it for good; may be " +
			"repeated", false,
		func(d *draft, v string) error { return setWords(&d.retired, v) },
		func(s *settings) string { return fmt.Sprint(s.Roster.Retired) },
	}, {
		"degree", "int", "links of each instance, even, 4 to 16 (default by the roster's size)",
		false,
		func(d *draft, v string) error { return setInt(&d.Roster.Degree, v) },
		func(s *settings) string { return strconv.Itoa(s.Roster.Degree) },
	}, {
		"listen", "host:port", "where to listen (default this instance's address; besides at 127.0.0.1)", false,
		func(d *draft, v string) error { d.Listen = v; return nil },
		func(s *settings) string { return s.Listen },
	}, {
		"data", "dir", "directory for what outlives the process (default memory only)", false,
		func(d *draft, v string) error { d.Data = v; return nil },
		func(s *settings) string { return s.Data },
	}, {
		"bulk_keep", "bytes", "most to keep of large payloads, such as 500MiB (default 2GiB)", false,
		func(d *draft, v string) error { return setBytes(&d.BulkKeep, v) },
		func(s *settings) string { return strconv.FormatInt(s.BulkKeep, 10) },
	}, {
		"preset", "lan|wan|quiet", "the pace of everything (default lan)", false, setPreset,
		func(s *settings) string { return s.Preset },
	}, {
		"hold", "duration", "rest of the particle at this stop (default an even share of a lap, which " +
			"is left out while passengers are aboard; this one is not)",
		true, setHold,
		func(s *settings) string { return s.Hold.String() },
	}, {
		"max_speed", "bool", "no rest at this stop", true,
		func(d *draft, v string) error { return setBool(&d.MaxSpeed, v) },
		func(s *settings) string { return strconv.FormatBool(s.MaxSpeed) },
	}, {
		"tls", "dir", "directory with this instance's identity, see ring ca: links and the port are encrypted " +
			"(default none)", false,
		func(d *draft, v string) error { d.TLS = v; return nil },
		func(s *settings) string { return s.TLS },
	}, {
		"authority", "dir", "directory of the ring's authority, see ring ca: this instance gives certificates to " +
			"those of the ring who renew, or were invited (default none)", false,
		func(d *draft, v string) error { d.Authority = v; return nil },
		func(s *settings) string { return s.Authority },
	}, {
		"certificate_life", "duration", "how long certificates live that this instance gives (default 7d)", false,
		setCertificateLife,
		func(s *settings) string { return s.CertificateLife.String() },
	}, {
		"insecure", "bool", "permit links to other hosts in the clear, without tls", false,
		func(d *draft, v string) error { return setBool(&d.Insecure, v) },
		func(s *settings) string { return strconv.FormatBool(s.Insecure) },
	}, {
		"loopback_role", "admin|read|none", "what callers on this host may do that show neither token nor " +
			"certificate (default admin)", false,
		func(d *draft, v string) (err error) { d.LoopbackRole, err = admin.ParseRole(v); return err },
		func(s *settings) string { return s.LoopbackRole.String() },
	}, {
		"socket", "path", "unix socket for this user and root, at which all is allowed (default none)", false,
		setSocket,
		func(s *settings) string { return s.Socket },
	}, {
		"cpus", "int", "cores to use at most (default GOMAXPROCS, or 2)", false, setCPUs,
		func(s *settings) string { return strconv.Itoa(s.CPUs) },
	}, {
		"log_level", "debug|info|warn|error", "what to log (default info)", true, setLogLevel,
		func(s *settings) string { return s.LogLevel.String() },
	}, {
		"log_format", "auto|text|json", "how to log (default auto)", false, setLogFormat,
		func(s *settings) string { return s.LogFormat },
	},
}

func optionKeys() []string {
	keys := make([]string, len(options))
	for i, o := range options {
		keys[i] = o.key
	}
	return keys
}

func joined(names []ring.Name) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(string(name) + " ")
	}
	return b.String()
}

func setInt(into *int, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is no whole number", text)
	}
	*into = n
	return nil
}

// setBytes takes a number of bytes, with or without a unit.
func setBytes(into *int64, text string) error {
	number, unit := strings.TrimRight(text, "KMGiB"), int64(1)
	switch strings.TrimPrefix(text, number) {
	case "", "B":
	case "KiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	case "GiB":
		unit = 1 << 30
	default:
		return fmt.Errorf("%q is no number of bytes: the units are KiB, MiB and GiB", text)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > 1<<62/unit {
		return fmt.Errorf("%q is no number of bytes from 1 up, such as 500MiB", text)
	}
	*into = n * unit
	return nil
}

func setBool(into *bool, text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*into = b
	return nil
}

func setSocket(d *draft, text string) error {
	if text != "" && !filepath.IsAbs(text) {
		return fmt.Errorf("%q is no whole path, such as /run/ring/ring.sock", text)
	}
	d.Socket = text
	return nil
}

func setCPUs(d *draft, text string) error {
	n := -1
	if err := setInt(&n, text); err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("%d cores do not exist: give 1 or more, or 0 for the default", n)
	}
	d.CPUs = n
	return nil
}

// isPreset is whether the texts of a layer are one.
func isPreset(texts []string) bool { return len(texts) == 1 && presets[texts[0]] != nil }

func setPreset(d *draft, text string) error {
	if presets[text] == nil {
		return fmt.Errorf("preset %q is unknown: choose lan, wan or quiet", text)
	}
	d.Preset = text
	return nil
}

func setHold(d *draft, text string) error {
	hold, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration: write it as 500ms or 2s", text)
	case hold < 0:
		return fmt.Errorf("%s is less than zero: give 0 for the default", text)
	}
	d.Hold = hold
	return nil
}

func setLogLevel(d *draft, text string) error {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[strings.ToLower(text)]
	if !ok {
		return fmt.Errorf("level %q is unknown: choose debug, info, warn or error", text)
	}
	d.LogLevel = level
	return nil
}

func setLogFormat(d *draft, text string) error {
	if !slices.Contains([]string{"auto", "text", "json"}, text) {
		return fmt.Errorf("format %q is unknown: choose auto, text or json", text)
	}
	d.LogFormat = text
	return nil
}

// kindWords is the kind of an option that is a list of words: a command. A layer that
// has it says all of it; set is called once, with the words between zero bytes.
const kindWords = "word"

// many says whether an option is a list.
func (o option) many() bool {
	return o.key == "roster" || o.key == "retired" || o.kind == kindWords || o.kind == kindStation
}

func setWords(into *[]string, text string) error {
	if *into = nil; text != "" {
		*into = strings.Split(text, "\x00")
	}
	return nil
}

func showWords(words []string) string { return strings.Join(words, " ") }

// optionFlag is the flag of an option. What it is given is checked with everything
// else: pflag would end at the first fault.
type optionFlag struct {
	option option
	texts  []string
}

// Set is called by pflag once for each time the flag is given.
func (f *optionFlag) Set(text string) error {
	if !f.option.many() {
		f.texts = nil
	}
	f.texts = append(f.texts, text)
	return nil
}

// String is what help shows as the default: nothing, the usage says it.
func (f *optionFlag) String() string { return strings.Join(f.texts, " ") }

// Type is how help names the value.
func (f *optionFlag) Type() string { return f.option.kind }

// addOptionFlags adds the flags of these settings.
func addOptionFlags(flags *pflag.FlagSet, keys ...string) {
	for _, o := range options {
		if !slices.Contains(keys, o.key) {
			continue
		}
		f := flags.VarPF(&optionFlag{option: o}, flagName(o.key), "", o.usage)
		if o.kind == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}
