package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
)

// written puts text into a settings file of its own.
func written(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ring.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded is what a node started with args has for settings.
func loaded(t *testing.T, args ...string) (settings, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "node", SilenceErrors: true, SilenceUsage: true}
	load := addSettingsFlags(cmd)
	var s settings
	cmd.RunE = func(*cobra.Command, []string) (err error) {
		s, err = load()
		return err
	}
	cmd.SetArgs(args)
	return s, cmd.Execute()
}

// withoutSettings clears the environment of what would configure a node.
func withoutSettings(t *testing.T) {
	t.Helper()
	for _, key := range append(optionKeys(), "config") {
		t.Setenv(envName(key), "")
	}
}

// oneInstance is a file with which an instance starts.
const oneInstance = "name = \"a\"\nroster = [\"a\"]\nlisten = \"127.0.0.1:0\"\n"

const wholeFile = `
ring = "prod"
name = "dc1/prod/0"
roster = ["dc{1..2}/prod/0", "dc3/prod/0"]
addresses = "{2}-{3}.{1}.example.org:3000"
retired = ["dc3/prod/0"]
degree = 4
listen = "0.0.0.0:3000"
data = "/var/lib/ring"
bulk_keep = "500MiB"
preset = "wan"
hold = "250ms"
tls = "/etc/ring/identity"
authority = "/etc/ring/ca"
certificate_life = "3d"
insecure = true
loopback_role = "read"
socket = "/run/ring/ring.sock"
cpus = 2
log_level = "debug"
log_format = "json"
on_tick = "./tick"

[app]
command = ["./shop", "--port", "8080"]
health_http = "http://127.0.0.1:8080/healthz"
health_tcp = "127.0.0.1:8080"
health_command = ["./well"]
health_interval = "2s"
health_timeout = "1s"
health_failures = 4
start_grace = "5s"
stop_signal = "QUIT"
stop_timeout = "20s"
restart = "on-failure"
restart_limit = 7
restart_period = "5m"
backoff_min = "1s"
backoff_max = "1m"
exit = "leave"
forward_signals = ["USR1", "HUP"]

[respawn]
command = ["/etc/ring/respawn", "now"]
grace = "7s"
timeout = "9s"
return = "2m"
backoff = "3s"
limit = 4

[[instance]]
name = "spare/{0..1}"
address = "10.0.0.9:{3000+index}"

[[station]]
topic = "news"
command = ["sed", "-u", "s/foo/bar/"]
`

func TestSettingsFromFile(t *testing.T) {
	withoutSettings(t)
	s, err := loaded(t, "--config", written(t, wholeFile))
	if err != nil {
		t.Fatal(err)
	}
	names := []ring.Name{"dc1/prod/0", "dc2/prod/0", "dc3/prod/0", "spare/0", "spare/1"}
	addresses := []string{
		"prod-0.dc1.example.org:3000", "prod-0.dc2.example.org:3000", "prod-0.dc3.example.org:3000",
		"10.0.0.9:3003", "10.0.0.9:3004",
	}
	if !slices.Equal(s.Roster.Names, names) || !slices.Equal(s.Roster.Addresses, addresses) ||
		!slices.Equal(s.Roster.Retired, []int{2}) {
		t.Errorf("roster = %+v, want names %v at %v", s.Roster, names, addresses)
	}
	c := s.ringConfig()
	if c.Ring != "prod" || c.Name != "dc1/prod/0" || c.Listen != "0.0.0.0:3000" ||
		c.Data != "/var/lib/ring" || c.Timing != ring.WAN() || c.Hold != 250*time.Millisecond ||
		c.MaxSpeed || s.TLS != "/etc/ring/identity" || !c.Insecure || s.LoopbackRole != admin.Read || s.Socket != "/run/ring/ring.sock" || c.Roster.Degree != 4 || c.BulkKeep != 500<<20 {
		t.Errorf("ring.Config = %+v", c)
	}
	if s.CPUs != 2 || s.LogLevel != slog.LevelDebug || s.LogFormat != "json" {
		t.Errorf("settings = %+v", s)
	}
}

func TestSettingsDefaults(t *testing.T) {
	withoutSettings(t)
	s, err := loaded(t, "--name", "a/1", "--roster", "a/{0..2}",
		"--addresses", "127.0.0.1:{4000..4002}")
	if err != nil {
		t.Fatal(err)
	}
	if s.Ring != "ring" || s.Preset != "lan" || s.LogFormat != "auto" ||
		s.LogLevel != slog.LevelInfo || s.Hold != 0 || s.MaxSpeed || s.Insecure || s.LoopbackRole != admin.Admin || s.CPUs != 0 || s.Roster.Degree != 0 {
		t.Errorf("defaults = %+v", s)
	}
	if c := s.ringConfig(); c.Timing != ring.LAN() {
		t.Errorf("timing = %+v, want that of LAN", c.Timing)
	}
}

// Flag beats environment beats file beats default, key by key.
func TestPrecedence(t *testing.T) {
	withoutSettings(t)
	file := written(t, wholeFile)
	t.Setenv("RING_CONFIG", file)
	t.Setenv("RING_NAME", "dc2/prod/0")
	t.Setenv("RING_HOLD", "1s")
	t.Setenv("RING_LOG_LEVEL", "warn")
	s, err := loaded(t, "--hold=2s", "--insecure=false")
	if err != nil {
		t.Fatal(err)
	}
	if s.Hold != 2*time.Second || s.Insecure || s.Name != "dc2/prod/0" ||
		s.LogLevel != slog.LevelWarn || s.Ring != "prod" || s.LogFormat != "json" {
		t.Errorf("settings = %+v", s)
	}

	other := written(t, `roster = ["a"]`+"\n"+`addresses = "127.0.0.1:1"`)
	if s, err = loaded(t, "-c", other); err != nil || len(s.Roster.Names) != 1 {
		t.Errorf("--config under RING_CONFIG: %+v, %v", s.Roster, err)
	}
}

// A roster from a later place replaces the earlier one whole, tables included.
func TestRosterIsReplacedWhole(t *testing.T) {
	withoutSettings(t)
	t.Setenv("RING_ROSTER", "x{0..1} y")
	s, err := loaded(t, "--config", written(t, wholeFile), "--addresses", "127.0.0.1:{1+index}",
		"--name", "y")
	want := []ring.Name{"x0", "x1", "y"}
	if err != nil || !slices.Equal(s.Roster.Names, want) {
		t.Errorf("names = %v, %v, want %v", s.Roster.Names, err, want)
	}
	s, err = loaded(t, "--roster", "a", "--roster", "b,c", "--roster", "{d,e}", "--name", "a",
		"--addresses", "h:{1+index}")
	if err == nil || !strings.Contains(err.Error(), `contains ','`) {
		t.Errorf("a comma in a name: %v, %v, want it refused", s.Roster.Names, err)
	}
	s, err = loaded(t, "--roster", "a", "--roster", "{d,e}", "--name", "a",
		"--addresses", "h:{1+index}")
	if want = []ring.Name{"a", "d", "e"}; err != nil || !slices.Equal(s.Roster.Names, want) {
		t.Errorf("names = %v, %v, want %v", s.Roster.Names, err, want)
	}
}

// Of hold and max_speed the later place wins; said in one place they clash.
func TestHoldAgainstMaxSpeed(t *testing.T) {
	withoutSettings(t)
	held, fast := written(t, wholeFile), written(t, strings.Replace(wholeFile,
		`hold = "250ms"`, `max_speed = true`, 1))
	if s, err := loaded(t, "-c", held, "--max-speed"); err != nil || !s.MaxSpeed || s.Hold != 0 {
		t.Errorf("--max-speed over hold = %v, %v, %v", s.MaxSpeed, s.Hold, err)
	}
	if s, err := loaded(t, "-c", fast, "--hold", "1s"); err != nil || s.MaxSpeed ||
		s.Hold != time.Second {
		t.Errorf("--hold over max_speed = %v, %v, %v", s.MaxSpeed, s.Hold, err)
	}
	if _, err := loaded(t, "-c", held, "--max-speed", "--hold", "1s"); err == nil {
		t.Error("--hold with --max-speed is accepted")
	}
}

func TestSettingsRefused(t *testing.T) {
	withoutSettings(t)
	const sound = "name = \"a\"\nroster = [\"a\", \"b\"]\naddresses = \"h:{1+index}\"\n"
	tests := []struct{ name, file, want string }{
		{"unknown key", sound + "hodl = \"1s\"", "ring.toml:4:1: key hodl is unknown"},
		{
			"unknown key of a table", sound + "[[instance]]\nname = \"c\"\n  addr = \"h:9\"",
			"ring.toml:6:3: key instance.addr is unknown",
		},
		{"unknown table", sound + "[ssl]\ncert = \"x\"", "ring.toml:4:"},
		{
			"wrong type", sound + "degree = \"six\"",
			"ring.toml:4:10: degree: want a whole number, here is a string",
		},
		{"no TOML", sound + "hold = 1s", "ring.toml:4:"},
		{"twice", sound + "name = \"b\"", "ring.toml:4:"},
		{"hold", sound + "hold = \"soon\"", `ring.toml:4:8: hold: "soon" is no duration`},
		{"negative hold", sound + "hold = \"-1s\"", "less than zero"},
		{"preset", sound + "preset = \"moon\"", "choose lan, wan or quiet"},
		{"level", sound + "log_level = \"loud\"", "choose debug, info, warn or error"},
		{"format", sound + "log_format = \"xml\"", "choose auto, text or json"},
		{"cpus", sound + "cpus = -1", "-1 cores"},
		{"degree", sound + "degree = 5", "degree is 5"},
		{"ring", sound + "ring = \"my ring\"", "contains ' '"},
		{"no name", "roster = [\"a\"]\naddresses = \"h:1\"", "name is missing"},
		{"no roster", "name = \"a\"", "roster is missing"},
		{"no addresses", "name = \"a\"\nroster = [\"a\", \"b\"]", "addresses are missing"},
		{"open brace", "name = \"a\"\nroster = [\"a{1..\"]", "close the brace"},
		{"duplicate", "name = \"a\"\nroster = [\"a\", \"b\", \"a\"]", "instances 0 and 2"},
		{
			"template", sound + "[[instance]]\nname = \"c\"\naddress = \"{zone}:1\"",
			"instance table 1: addresses \"{zone}:1\": {zone} is unknown",
		},
		{"half an address", sound + "[[instance]]\nname = \"c\"", "some have none"},
		{"nameless", sound + "[[instance]]\naddress = \"h:9\"", "instance table 1: pattern \"\""},
		{"too many", "name = \"a\"\nroster = [\"a/{1..16000}\", \"b/{1..16000}\"]", "16384"},
		{"no file", "", "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "absent")
			if test.file != "" {
				path = written(t, test.file)
			}
			s, err := loaded(t, "--config", path)
			if err == nil {
				t.Fatalf("settings = %+v, want an error", s)
			}
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != exitUsage {
				t.Errorf("error %v has no exit code %d", err, exitUsage)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error lacks %q:\n%v", test.want, err)
			}
		})
	}
}

// All faults of all places come at once, each with its place.
func TestAllFaultsAtOnce(t *testing.T) {
	withoutSettings(t)
	t.Setenv("RING_CPUS", "many")
	t.Setenv("RING_MAX_SPEED", "perhaps")
	file := "preset = \"moon\"\n hold = \"x\"\nroster = [\"a\", \"a\"]"
	_, err := loaded(t, "-c", written(t, file))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"ring.toml:1:10: preset:", "ring.toml:2:9: hold:", "RING_CPUS: ", "RING_MAX_SPEED: ",
		"instances 0 and 1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

// Values of wrong types and unknown keys come at once, in the file's order and
// in the words of its author.
func TestWrongTypes(t *testing.T) {
	const file = `degree = "x"
ring = 1.5
  roster  =  3
max_speed = "yes"
'hold' = 2026-01-02
rooster = ["a"]
cpus = true
ssl.cert = "x"
[[instance]]
name = "a"
[[instance]]
  name = [1]
addr = { host = "h" }
[instance.more]
deep.er.still = 1
[name]
x = 1
`
	l := parseFile("ring.toml", []byte(file))
	const want = `ring.toml:1:10: degree: want a whole number, here is a string
ring.toml:2:8: ring: want a string, here is a number with a point
ring.toml:3:14: roster: want a list of strings, here is a whole number
ring.toml:4:13: max_speed: want true or false, here is a string
ring.toml:5:10: hold: want a string, here is a date or time
ring.toml:6:1: key rooster is unknown: remove it or correct it (see ring node --help)
ring.toml:7:8: cpus: want a whole number, here is true or false
ring.toml:8:1: key ssl is unknown: remove it or correct it (see ring node --help)
ring.toml:12:10: instance.name: want a string, here is a list of other things
ring.toml:13:1: key instance.addr is unknown: remove it or correct it (see ring node --help)
ring.toml:14:11: key instance.more is unknown: remove it or correct it (see ring node --help)
ring.toml:16:2: name: want a string, here is a table`
	if l.fault == nil || l.fault.Error() != want {
		t.Errorf("faults:\n%v\nwant\n%s", l.fault, want)
	}
	for file, want := range map[string]string{
		"instance = 3":                "ring.toml:1:12: instance: want tables, here is a whole number",
		"[instance]":                  "ring.toml:1:2: instance: want tables, here is a table: write [[instance]]",
		"\ninstance = [{ name = 1 }]": "ring.toml:2:12: instance.name: want a string",
		"roster = [\"a\", 1]":         "here is a list of other things",
		"addresses = [\"h:1\"]": "here is a list of strings: " +
			`write "{host1,host2}:3000", or [[instance]] tables`,
		strings.Repeat("[[instance]]\nx = 1\n", faultsMax+5): "and 5 more faults",
	} {
		if err := parseFile("ring.toml", []byte(file)).fault; err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", file, err, want)
		}
	}
}

// Nothing that is wrong hides something else, and what follows from a fault is not
// told beside it.
func TestFaultsHideNothing(t *testing.T) {
	withoutSettings(t)
	for _, test := range []struct {
		file string
		args []string
		want []string // in each line of the error
	}{
		{
			`hold = "-1s"
hodl = 1
log_level = "loud"
cpus = true
preset = "moon"
roster = ["a", "a"]
addresses = "h:{1+index}"
degree = 5`, nil,
			[]string{
				":1:8: hold: ", ":2:1: key hodl", ":3:13: log_level: ", ":4:8: cpus: ",
				":5:10: preset: ", "degree is 5", "instances 0 and 1",
			},
		},
		{
			`cpus = -1
roster = ["a", "a"]
addresses = 1
[[instance]]
name = 1
address = "h:1"`, nil, []string{":1:8: cpus: ", ":3:13: addresses: ", ":5:8: instance.name: "},
		},
		{"hold = 1s", []string{"--roster", "{"}, []string{":1:9: "}},
		{
			`roster = ["a", "b"]`,
			[]string{"--preset=foo", "--degree=5", "--hold=-2s", "--cpus=-1", "--max-speed=maybe"},
			[]string{"--preset: ", "--hold: ", "--max-speed: ", "--cpus: ", "degree is 5"},
		},
	} {
		_, err := loaded(t, append(test.args, "-c", written(t, test.file))...)
		if err == nil {
			t.Fatalf("%q is accepted", test.file)
		}
		lines := strings.Split(err.Error(), "\n")
		if !slices.EqualFunc(lines, test.want, strings.Contains) {
			t.Errorf("faults:\n%v\nwant these in their lines: %q", err, test.want)
		}
	}
}

// What is wrong with names does not hide what is wrong with addresses.
func TestNamesAndAddressesAtOnce(t *testing.T) {
	const bad = "[[instance]]\nname = \"c\"\naddress = \"{zone}:1\"\n"
	_, err := settle([]layer{parseFile("ring.toml",
		[]byte("roster = [\"a\", \"a\"]\naddresses = \"{host}:1\"\n"+bad+bad))})
	for _, want := range []string{
		"{host} is unknown", "instance table 1: ", "instance table 2: ", "instances 0 and 1",
		"instances 2 and 3",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestFlagsAreRefusedByName(t *testing.T) {
	for _, args := range [][]string{
		{"--hold", "soon"},
		{"--preset", "moon"},
		{"--degree", "x"},
		{"--max-speed=perhaps"},
		{"--cpus", "-2"},
		{"--bulk-keep", "2MB"},
		{"--bulk-keep", "0"},
		{"--bulk-keep", "9999999999GiB"},
		{"--log-level", "loud"},
		{"--loopback-role", "root"},
		{"--socket", "ring.sock"},
		{"--unknown"},
	} {
		if _, err := loaded(t, args...); err == nil || !strings.Contains(err.Error(), args[0][:5]) {
			t.Errorf("%v: %v, want it refused by name", args, err)
		}
	}
}

// Every setting has a key in the file, a flag and a variable.
func TestEverySettingInAllPlaces(t *testing.T) {
	l := parseFile("ring.toml", []byte(wholeFile))
	if l.fault != nil {
		t.Fatal(l.fault)
	}
	l.values["max_speed"] = nil // the whole file has hold in its place
	if len(l.stations) > 0 {
		l.values["station"] = nil // these are tables in a file
	}
	cmd := &cobra.Command{}
	addSettingsFlags(cmd)
	for _, o := range options {
		if _, ok := l.values[o.key]; !ok {
			t.Errorf("the file of these tests has no %s", o.key)
		}
		if cmd.Flags().Lookup(flagName(o.key)) == nil {
			t.Errorf("%s has no flag", o.key)
		}
		env := envLayer(func(name string) string {
			if name == envName(o.key) {
				return "x"
			}
			return ""
		})
		if _, ok := env.values[o.key]; !ok || len(env.values) != 1 {
			t.Errorf("%s alone gives %v", envName(o.key), env.values)
		}
	}
}

func TestDifference(t *testing.T) {
	a, err := settle([]layer{})
	if err != nil {
		t.Fatal(err)
	}
	b := a
	b.Hold, b.LogLevel, b.MaxSpeed = time.Second, slog.LevelDebug, true
	b.Listen, b.Roster.Names, b.Preset = "h:1", []ring.Name{"a"}, "wan"
	changed, fixed := difference(a, b)
	if want := []string{"hold", "max_speed", "log_level"}; !slices.Equal(changed, want) {
		t.Errorf("changed = %v, want %v", changed, want)
	}
	if want := []string{"roster", "listen", "preset"}; !slices.Equal(fixed, want) {
		t.Errorf("fixed = %v, want %v", fixed, want)
	}
	if changed, fixed := difference(a, a); len(changed)+len(fixed) > 0 {
		t.Errorf("difference to itself = %v, %v", changed, fixed)
	}
}

// No settings file makes the reader panic; what it refuses has exit code 2.
func FuzzSettingsFile(f *testing.F) {
	f.Add([]byte(wholeFile))
	f.Add([]byte("roster = [\"{1..9}\"]\naddresses = \"{3..1}:{index}\""))
	f.Add([]byte("[[instance]]\nname = \"a\"\n[[instance]]\naddress = \"h:1\""))
	f.Add([]byte("hold = \"1s\"\nhold = \"2s\""))
	f.Add([]byte("a.b.c.d = 1\n[e]\n[[instance]]\nname = 1\n[x.instance]\nroster = [{}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := settle([]layer{parseFile("ring.toml", text)})
		var exit *exitError
		if err != nil && (!errors.As(err, &exit) || exit.code != exitUsage) {
			t.Errorf("error %v has no exit code %d", err, exitUsage)
		}
	})
}
