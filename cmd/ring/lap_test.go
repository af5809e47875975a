//go:build !windows

package main

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// lapServer is an instance that answers every lap with l.
func lapServer(t *testing.T, l any) (addr string, paths <-chan string) {
	t.Helper()
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked <- req.Method + " " + req.URL.Path
		_ = json.NewEncoder(w).Encode(l)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// valueOf is what comes home of a topic.
func valueOf(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What comes home is printed for a person: a table of what our stations say, and who saw it.
func TestLapPrints(t *testing.T) {
	load, rss := 1.5, int64(3<<20)
	measure := func(x float64) *lap.Measure {
		return &lap.Measure{Count: 1, Sum: x, Min: x, MinAt: "a", Max: x, MaxAt: "a"}
	}
	for _, c := range []struct {
		topic string
		value []byte
		want  []string // lines
	}{
		{"names", valueOf(t, lap.Names{Count: 5, Names: []ring.Name{"b", "a"}, More: 3}), []string{
			"STOP  NAME", "   1  b", "   2  a", "and 3 more",
		}},
		{"load", valueOf(t, lap.Load{
			Count: 2, Load1: measure(1.5), Goroutines: measure(9), RSS: measure(3 << 20),
			Each: []lap.LoadOfStop{
				{Name: "a", Load1: &load, CPUs: 4, Goroutines: 9, RSS: &rss}, {Name: "b", CPUs: 1, Goroutines: 9},
			},
		}), []string{
			"NAME  LOAD  CPUS  GOROUTINES      RSS", "a     1.50     4           9  3.0 MiB",
			"b        –     1           9        –", "load: 1.50 at a to 1.50 at a, on average 1.50",
		}},
		{"versions", valueOf(t, lap.Versions{Count: 9, More: 1, Versions: []lap.Version{
			{Version: "v1 abc", Count: 7, Names: []ring.Name{"a", "b"}, More: 5},
			{Version: "v2", Count: 1, Names: []ring.Name{"c"}},
		}}), []string{
			"VERSION  INSTANCES  NAMES", "v1 abc           7  a b and 5 more", "v2               1  c",
			"and 1 more, of further versions",
		}},
		{"clocks", valueOf(t, lap.Clocks{
			Count: 2, Of: "a", Min: lap.Offset{Name: "b", Offset: -3 * time.Second},
			Max: lap.Offset{Name: "a"}, Spread: 3 * time.Second,
			Each: []lap.Offset{{Name: "a"}, {Name: "b", Offset: -3 * time.Second}},
		}), []string{
			"NAME   OFFSET", "a           0", "b     -3.00 s", "from -3.00 s at b to 0 at a: spread 3.00 s",
			"to the clock of a; up to 12 ms of that is what the particle took on its way",
		}},
		{"disk", valueOf(t, lap.Said{Command: "disk", Count: 3, Failed: 1, More: 1, Each: []lap.Saying{
			{Name: "a", Output: "one\ntwo", Cut: true}, {Name: "b", Exit: 3, Output: "no\x1b[31m"},
		}}), []string{
			"NAME  EXIT  OUTPUT", "a        0  one", "            two …", `b        3  "no\x1b[31m"`,
			"and 1 more", "1 of 3 with another exit code than 0",
		}},
		{"shop", []byte("sold 7\n"), []string{"sold 7"}},
		{"shop", []byte(`{"count":7}`), []string{`{"count":7}`}},
		{"names", []byte("of another\x00version"), []string{`"of another\x00version"`}},
		{"shop", nil, nil},
	} {
		l := lapped{Question: len(c.value) > 0}
		l.Lapped = ring.Lapped{
			Number: ring.Number{Epoch: ring.Epoch{Number: 7}, N: 42}, Topic: lap.Topic(c.topic),
			Value: c.value, Seen: []ring.Name{"a", "b"}, Unseen: []ring.Absent{{Name: "c", State: ring.Dead}},
			Took: 12 * time.Millisecond,
		}
		summary := "2 of 3 saw it, nobody made anything of it · passenger 7/42 · 12 ms"
		if l.Question {
			l.Folded, summary = 2, "2 of 3 saw it, 2 folded · passenger 7/42 · 12 ms"
		}
		addr, asked := lapServer(t, l)
		out, _ := command(t, addr, exitDone, "lap", c.topic)
		if path := <-asked; path != "POST /v1/lap/"+lap.Topic(c.topic) {
			t.Errorf("it asks for %s", path)
		}
		lines := strings.Split(out, "\n")
		for _, want := range append(c.want, summary, "c: has not seen it, it is dead") {
			if !slices.Contains(lines, want) {
				t.Errorf("%s prints\n%s\nwant a line %q", c.topic, out, want)
			}
		}
		if strings.ContainsAny(out, "\x1b\x00") {
			t.Errorf("%s prints %q", c.topic, out)
		}
	}
}

// The exit code tells whether all that live have seen it, and made their part of it where all
// are to; how many made something of another topic is only shown.
func TestLapExitCodes(t *testing.T) {
	for _, c := range []struct {
		name     string
		folded   int
		question bool
		unseen   ring.State
		code     int
		says     string
	}{
		{"all have", 2, true, ring.Dead, exitDone, ""},
		{"nobody has to", 0, false, ring.Unreachable, exitDone, ""},
		{"nobody has, and should", 0, true, ring.Dead, exitFailed, "2 who have seen it made nothing of it"},
		{"one of two has, and both should", 1, true, ring.Dead, exitFailed, "1 who have seen it made nothing of it"},
		{"one of two has", 1, false, ring.Dead, exitDone, ""},
		{"two have", 2, false, ring.Dead, exitDone, ""},
		{"one who lives has not seen it", 2, true, ring.Alive, exitFailed, "1 who live have not seen it"},
		{"one who is suspected", 2, true, ring.Suspect, exitFailed, "1 who live have not seen it"},
	} {
		l := lapped{Question: c.question}
		l.Seen, l.Folded = []ring.Name{"a", "b"}, c.folded
		l.Unseen = []ring.Absent{{Name: "c", State: c.unseen}}
		addr, _ := lapServer(t, l)
		for _, form := range []string{"--json=false", "--json"} {
			out, said := command(t, addr, c.code, "lap", "x", form)
			if out == "" || !strings.Contains(said, c.says) || c.says == "" && said != "" {
				t.Errorf("%s: it prints %q and says %q, want %q", c.name, out, said, c.says)
			}
			shows := map[bool]string{true: fmt.Sprintf("%d folded", c.folded), false: fmt.Sprintf("%d made something of it", c.folded)}
			if c.folded == 0 && !c.question {
				shows[false] = "nobody made anything of it"
			}
			if form != "--json" && !strings.Contains(out, "2 of 3 saw it, "+shows[c.question]) {
				t.Errorf("%s: it prints %q, want %q", c.name, out, shows[c.question])
			}
		}
	}
	for status, code := range map[int]int{
		http.StatusGatewayTimeout: exitTimeout, http.StatusForbidden: exitRefused,
		http.StatusServiceUnavailable: exitRefused,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"error": "of the fake"}`))
		}))
		command(t, server.URL, code, "lap", "names")
		server.Close()
	}
	command(t, "127.0.0.1:1", exitUnreachable, "lap", "names")
	command(t, "127.0.0.1:1", exitRefused, "lap", "x", strings.Repeat("x", ring.PayloadMax+1))
}

// Where laps take long for the time there is, it says so.
func TestLapThatIsNotHomeInTime(t *testing.T) {
	for _, c := range []struct {
		p50, took time.Duration // as /v1/status and /v1/ticks have it
		says      string
	}{
		{0, 0, ""},
		{time.Millisecond, 3 * time.Second, ""},
		{4 * time.Second, 0, "not home; a lap takes 4.00 s there: give --timeout 12s"},
		{time.Millisecond, 10 * time.Minute, "there: choose a shorter --hold for the instances"},
		{time.Millisecond, 6 * time.Second, "not home; a lap takes 6.00 s there: give --timeout 18s"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch req.URL.Path {
			case "/v1/status":
				fmt.Fprintf(w, `{"lap_ms": {"p50": %d}}`, c.p50.Milliseconds())
			case "/v1/ticks":
				fmt.Fprintf(w, `{"tick": {"took_ns": %d}}`, c.took)
			default:
				w.WriteHeader(http.StatusGatewayTimeout)
				_, _ = w.Write([]byte(`{"error": "not home"}`))
			}
		}))
		_, said := command(t, server.URL, exitTimeout, "lap", "names", "--timeout", "10s")
		if !strings.Contains(said, cmp.Or(c.says, "not home\n")) {
			t.Errorf("where laps take %v, %v with rests, it says %q, want %q", c.p50, c.took, said, c.says)
		}
		server.Close()
	}
}

// Passengers are printed as they ride by, and that the order is another one is told.
func TestEventsOfPassengers(t *testing.T) {
	payload := base64.StdEncoding.EncodeToString([]byte("two\nlines"))
	lines := `{"v":1,"at":"2026-11-25T10:00:00Z","number":{"epoch":{"number":7,"counter":0,"dropper":""},"n":42},` +
		`"from":"dc1/a","topic":"a/b","payload":"` + payload + `"}
{"v":1,"at":"2026-11-25T10:00:00Z","number":{"epoch":{"number":7,"counter":0,"dropper":""},"n":43},` +
		`"from":"dc1/b","topic":"x","value":"bm93","folded":3}
{"v":1,"at":"2026-11-25T10:00:02Z","moved":true,"missed":12}
`
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked <- req.URL.RequestURI()
		_, _ = w.Write([]byte(lines))
	}))
	defer server.Close()
	out, _ := command(t, server.URL, exitUnreachable, "events", "--passengers", "a/&x")
	if uri := <-asked; uri != "/v1/passengers?topic=a%2F%26x" {
		t.Errorf("it asks for %s", uri)
	}
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, want := range []string{
		`7/42  dc1/a  a/b  "two\nlines"`, "7/43  dc1/b  x    after 3: now",
		"in another part of the fleet now, whose order is another; 12 passengers of it were missed",
	} {
		if len(got) != 3 || !strings.HasSuffix(got[i], want) {
			t.Fatalf("it prints\n%s\nwant line %d to end with %s", out, i+1, want)
		}
	}
	out, _ = command(t, server.URL, exitUnreachable, "events", "--passengers", "clocks", "--json")
	<-asked
	if out != lines {
		t.Errorf("--json prints\n%swant\n%s", out, lines)
	}
}

// The status has a column for applications only if anybody has one.
func TestStatusShowsApplications(t *testing.T) {
	s := admin.Status{Instances: []admin.Instance{
		{Instance: ring.Instance{Name: "a", State: ring.Alive}},
		{Instance: ring.Instance{Index: 1, Name: "b", State: ring.Alive}},
	}}
	s.Self = "a"
	print := func() string {
		var out strings.Builder
		if err := printStatus(&out, s); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if out := print(); strings.Contains(out, "APP") || !strings.Contains(out, "a (self)") {
		t.Errorf("without applications:\n%s", out)
	}
	s.Instances[1].App = &lap.App{State: string(supervise.Unhealthy), Restarts: 3}
	out := print()
	for _, want := range []string{"STATE  APP  ", "alive  –  ", "alive  unhealthy (restarts 3)  "} {
		if !strings.Contains(out, want) {
			t.Errorf("with one:\n%s\nwant %q", out, want)
		}
	}
}

func TestLapTables(t *testing.T) {
	withoutSettings(t)
	file := written(t, "name = \"a\"\nroster = [\"a\"]\nlisten = \"127.0.0.1:0\"\n"+`
[[lap]]
name = "disk"
command = ["df", "-h", "/data"]

[[lap]]
name = "queue"
command = ["./queue"]
timeout = "150ms"
`)
	s, err := loaded(t, "--config", file)
	if err != nil || len(s.Laps) != 2 {
		t.Fatalf("%+v, %v", s.Laps, err)
	}
	if disk := s.Laps[0]; disk.Name != "disk" || disk.Timeout != 0 ||
		!slices.Equal(disk.Words, []string{"df", "-h", "/data"}) {
		t.Errorf("the first is %+v", disk)
	}
	if queue := s.Laps[1]; queue.Timeout != 150*time.Millisecond {
		t.Errorf("the second is %+v", queue)
	}
	with, err := loaded(t, "--config", file, "--lap", "disk=df  -i", "--lap", "x=echo a=b")
	if err != nil || len(with.Laps) != 2 || !slices.Equal(with.Laps[0].Words, []string{"df", "-i"}) ||
		!slices.Equal(with.Laps[1].Words, []string{"echo", "a=b"}) {
		t.Errorf("flags instead: %+v, %v", with.Laps, err)
	}
	if changed, fixed := difference(s, with); len(changed) > 0 || !slices.Equal(fixed, []string{"lap"}) {
		t.Errorf("changed %v, fixed %v", changed, fixed)
	}
}

// Each fault is told where it is.
func TestLapTablesThatAreWrong(t *testing.T) {
	withoutSettings(t)
	const one = "name = \"a\"\nroster = [\"a\"]\nlisten = \"127.0.0.1:0\"\n"
	for text, want := range map[string]string{
		"[[lap]]\nname = 3\n":                                          ":5:8: lap.name: want a string, here is a whole number",
		"[[lap]]\nname = \"x\"\ntimeout = \"soon\"\n":                  `:6:11: lap.timeout: "soon" is no duration`,
		"[[lap]]\nname = \"x\"\ntimeot = \"1s\"\n":                     ":6:1: key lap.timeot is unknown",
		"[[lap]]\nname = \"x\"\ncommand = \"ls\"\n":                    ":6:11: lap.command: want a list of strings",
		"[[lap]]\nname = \"x\"\n":                                      ":5:1: lap: x: there is no command",
		"[[lap]]\nname = \"x\"\ncommand = [\"ls\"]\ntimeout = \"6s\"":  ":7:11: lap.timeout: 6s is too long",
		"[[lap]]\nname = \"clocks\"\ncommand = [\"ls\"]\n":             ":5:1: lap: name \"clocks\" is that of a question",
		"[lap]\nname = \"x\"\n":                                        "write [[lap]]",
		strings.Repeat("[[lap]]\nname=\"x\"\ncommand = [\"ls\"]\n", 2): `:8:6: lap.name: topic "x" is there twice`,
	} {
		_, err := loaded(t, "--config", written(t, one+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for flag, want := range map[string]string{
		"disk": "is not NAME=COMMAND", "a/b=ls": "letters", "x=": "there is no command",
	} {
		_, err := loaded(t, "--config", written(t, one), "--lap", flag)
		if err == nil || !strings.Contains(err.Error(), "--lap: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("--lap %q: %v, want %q", flag, err, want)
		}
	}
}

// From here on real rings are asked.

// Every topic and payload rides as it was given, and all that ride come in one order.
func TestLapRidesAsGiven(t *testing.T) {
	r, addr := inProcess(t, "riding", false)
	var mu sync.Mutex
	var got []ring.Passenger
	came := make(chan struct{}, 100)
	defer r.OnPassenger("", func(p ring.Passenger) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, p)
		came <- struct{}{}
	})()
	topics := []string{"a", "a/b", "..", "a//b", "a%2Fb", "a?b=c#d", "ß \x01\n", strings.Repeat("x", 255)}
	for _, topic := range topics {
		out, _ := command(t, addr, exitDone, "lap", topic, "payload of "+topic)
		if !strings.Contains(out, "1 of 1 saw it, nobody made anything of it") {
			t.Errorf("%q: it prints %s", topic, out)
		}
	}
	withInput(t, "from\x00input", func() { command(t, addr, exitDone, "lap", "in", "-") })
	for i := range len(topics) + 1 {
		select {
		case <-came:
		case <-time.After(upPatience):
			t.Fatalf("%d of %d passengers came", i, len(topics)+1)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, p := range got {
		topic, payload := "in", "from\x00input"
		if i < len(topics) {
			topic, payload = topics[i], "payload of "+topics[i]
		}
		if p.Topic != topic || string(p.Payload) != payload || p.From != "a" ||
			i > 0 && p.Number.Epoch == got[i-1].Number.Epoch && p.Number.N <= got[i-1].Number.N {
			t.Errorf("number %d is %+v, want topic %q and %q", i+1, p, topic, payload)
		}
	}
}

// What a ring of one answers, and refuses.
func TestLapOfOne(t *testing.T) {
	r, _ := inProcess(t, "asking", false)
	script := written(t, "echo it is $RING_INSTANCE; exit 3")
	topics, err := addStations(settings{Name: "a", Laps: []lap.Command{
		{Name: "say", Words: []string{"sh", script}, Timeout: 5 * time.Second},
		{Name: "slow", Words: []string{"sleep", "60"}, Timeout: 20 * time.Millisecond},
	}}, r, "v1 abc")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(admin.New(r, admin.Options{Questions: topics}))
	t.Cleanup(server.Close)
	addr := server.URL
	for topic, want := range map[string]string{
		"names": "   1  a", "load": "a  ", "ring/versions": "v1 abc           1  a", "clocks": "a          0",
		"say": "a        3  it is a",
	} {
		out, _ := command(t, addr, exitDone, "lap", topic)
		if !strings.Contains(out, want) || !strings.Contains(out, "1 of 1 saw it, 1 folded") {
			t.Errorf("ring lap %s prints\n%s\nwant %q", topic, out, want)
		}
	}
	if _, said := command(t, addr, exitFailed, "lap", "slow"); !strings.Contains(said, "made nothing of it") {
		t.Errorf("of a slow command it says %q", said)
	}
	command(t, addr, exitRefused, "lap", appTopic, `{"state":"healthy"}`)
	command(t, addr, exitRefused, "lap", "names", "x")
	command(t, addr, exitRefused, "lap", "\xff")
	command(t, addr, exitUsage, "lap", "")
}

// Every instance of a fleet answers the questions, and the status has no column for
// applications that nobody has.
func TestUpAnswersQuestions(t *testing.T) {
	l := startUp(t, 3, "--hold", "5ms", "--quiet")
	l.await(0, "the ring is 3 of 3 alive")
	for _, q := range lap.Questions() {
		// A stop that has just not got to run for longer than its station may take adds nothing.
		var out strings.Builder
		for begin := time.Now(); ; out.Reset() {
			code := run([]string{"lap", q, "--addr", fmt.Sprintf("127.0.0.1:%d", l.first+1)}, &out, &out)
			if code == exitDone && strings.Contains(out.String(), "3 of 3 saw it, 3 folded") {
				break
			}
			if time.Since(begin) > upPatience {
				t.Fatalf("ring lap %s: exit code %d\n%s", q, code, &out)
			}
		}
	}
	if out := l.ask(2, exitDone, "status"); strings.Contains(out, "APP") {
		t.Errorf("nobody has an application, and the status shows\n%s", out)
	}
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
}

// What an application is stands in the status of an instance that has none itself, while the
// other one is there.
func TestApplicationsRideToOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: starts real processes")
	}
	first := freePorts(t, 2)
	at := func(k int) string { return fmt.Sprintf("127.0.0.1:%d", first+k) }
	node := func(k int, more ...string) {
		startNode(t, "X=y", append([]string{
			"node", "--name", fmt.Sprintf("x/%d", k), "--roster", "x/{0..1}", "--hold", "5ms",
			"--addresses", fmt.Sprintf("127.0.0.1:{%d..%d}", first, first+1),
		}, more...)...)
	}
	mark := written(t, "well")
	node(0, "--app-health-interval", "50ms", "--app-health-failures", "1000",
		"--app-health-command", "test", "--app-health-command", "-e", "--app-health-command", mark, "--",
		"sleep", "1000")
	node(1)
	await := func(state string) {
		t.Helper()
		var s admin.Status
		for begin := time.Now(); time.Since(begin) < upPatience; time.Sleep(20 * time.Millisecond) {
			resp, err := http.Get("http://" + at(1) + "/v1/status")
			if err != nil {
				continue
			}
			err = json.NewDecoder(resp.Body).Decode(&s)
			resp.Body.Close()
			if err != nil || len(s.Instances) != 2 {
				continue
			}
			if app := s.Instances[0].App; app != nil && app.State == state {
				return
			}
		}
		t.Fatalf("the application of x/0 is not %s at x/1: %+v", state, s.Instances)
	}
	await("healthy")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	await("unhealthy")
}
