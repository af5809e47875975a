//go:build !windows

package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// Every topic and payload arrives as it was given, however odd it is as a path.
func TestBroadcastArrivesAsGiven(t *testing.T) {
	r, addr := inProcess(t, "cast", false)
	var mu sync.Mutex
	var got []ring.Message
	came := make(chan struct{}, 100)
	stop := r.Subscribe("", func(m ring.Message) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m)
		came <- struct{}{}
	})
	defer stop()
	topics := []string{
		"a", "a/b", ".", "..", "../up", "a//b", "/a", "a/", "a%2Fb", "a?b=c#d", "ß \x01\n", "%",
		strings.Repeat("x", 255),
	}
	for _, topic := range topics {
		command(t, addr, exitDone, "broadcast", topic, "payload of "+topic)
	}
	command(t, addr, exitDone, "broadcast", "empty", "")
	out, _ := command(t, addr, exitDone, "broadcast", "--json", "json", "x")
	for i := range len(topics) + 2 {
		select {
		case <-came:
		case <-time.After(upPatience):
			t.Fatalf("%d of %d messages came", i, len(topics)+2)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, m := range got {
		topic, payload := "json", "x"
		switch {
		case i < len(topics):
			topic = topics[i]
			payload = "payload of " + topic
		case i == len(topics):
			topic, payload = "empty", ""
		}
		if m.Topic != topic || string(m.Payload) != payload || m.Seq != uint64(i+1) || m.From != "a" {
			t.Errorf("number %d is %+v, want topic %q and %q", i+1, m, topic, payload)
		}
	}
	var said ring.Message
	last := got[len(got)-1]
	if err := json.Unmarshal([]byte(out), &said); err != nil || said.Seq != last.Seq ||
		said.Life != last.Life || said.From != "a" || said.Topic != "json" || len(said.Payload) > 0 {
		t.Errorf("--json prints %s (%v), want the name of %+v", out, err, last)
	}
}

// What the fleet does not take is refused, and told apart from what it could not do.
func TestBroadcastRefuses(t *testing.T) {
	_, addr := inProcess(t, "refusing", false)
	long := strings.Repeat("x", ring.PayloadMax)
	command(t, addr, exitDone, "broadcast", "longest", long)
	for _, c := range []struct {
		name string
		code int
		args []string
		says string
	}{
		{"no topic", exitUsage, []string{"broadcast"}, "arg(s)"},
		{"an empty topic", exitUsage, []string{"broadcast", "", "x"}, "empty"},
		{"a topic of 256 bytes", exitRefused, []string{"broadcast", strings.Repeat("x", 256), "x"}, "255"},
		{"a topic that is no UTF-8", exitRefused, []string{"broadcast", "\xff", "x"}, "UTF-8"},
		{"two payloads", exitUsage, []string{"broadcast", "t", "x", "y"}, "arg(s)"},
		{"events of a topic since", exitUsage, []string{"events", "--topic", "t", "--since", "1"}, "since"},
	} {
		if _, said := command(t, addr, c.code, c.args...); !strings.Contains(said, c.says) {
			t.Errorf("%s: it says %q, want something with %q", c.name, said, c.says)
		}
	}
	command(t, "127.0.0.1:1", exitUnreachable, "broadcast", "t", "x")
	command(t, "127.0.0.1:1", exitUnreachable, "events", "--topic", "t")
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error": "from its own host only"}`))
	}))
	defer away.Close()
	command(t, away.URL, exitRefused, "broadcast", "t", "x")
}

// The payload comes from standard input where it is - or missing.
func TestBroadcastReadsStandardInput(t *testing.T) {
	r, addr := inProcess(t, "input", false)
	came := make(chan ring.Message, 10)
	defer r.Subscribe("", func(m ring.Message) { came <- m })()
	for _, args := range [][]string{{"broadcast", "t"}, {"broadcast", "t", "-"}} {
		for _, text := range []string{"", "a\x00b\n", strings.Repeat("z", ring.PayloadMax)} {
			withInput(t, text, func() { command(t, addr, exitDone, args...) })
			select {
			case m := <-came:
				if string(m.Payload) != text {
					t.Errorf("%q sent %d bytes, want the %d of its input", args, len(m.Payload), len(text))
				}
			case <-time.After(upPatience):
				t.Fatalf("%q sent nothing", args)
			}
		}
		// What is larger goes another way, by itself.
		long := strings.Repeat("z", 3*ring.PayloadMax+1)
		withInput(t, long, func() { command(t, addr, exitDone, args...) })
		select {
		case m := <-came:
			if m.Large == nil || m.Large.Size != int64(len(long)) {
				t.Errorf("%q sent %+v, want the %d bytes of its input", args, m, len(long))
			}
		case <-time.After(upPatience):
			t.Fatalf("%q sent nothing", args)
		}
		withInput(t, long+"z", func() {
			said, _ := command(t, addr, exitDone, append(args, "--wait")...)
			if n := len(r.View().Instances); !strings.Contains(said, fmt.Sprintf("%d of %d have it", n, n)) {
				t.Errorf("%q and --wait says %q", args, said)
			}
		})
		<-came
	}
}

// What needs the role admin says so, and shows no example that cannot work.
func TestHelpSaysWhoMay(t *testing.T) {
	for _, name := range []string{"broadcast", "gather", "lap", "bus", "leave"} {
		var out strings.Builder
		if code := run([]string{name, "--help"}, &out, &out); code != exitDone {
			t.Fatalf("%s --help: exit code %d", name, code)
		}
		help := strings.Join(strings.Fields(out.String()), " ")
		if !strings.Contains(help, "who shows --token or --cert") || !strings.Contains(help, "admin") {
			t.Errorf("%s does not say who may", name)
		}
		for _, host := range strings.Split(help, "--addr ")[1:] {
			if strings.Contains(strings.Fields(host)[0], ":") && !strings.HasPrefix(host, "127.0.0.1:") {
				t.Errorf("%s has an example with --addr %.20s", name, host)
			}
		}
	}
}

// Who sits at a terminal is told that the payload is read from there, and nobody else is.
func TestTerminalIsToldOfInput(t *testing.T) {
	const told = "until Ctrl-D"
	endless, err := os.Open("/dev/zero") // is no file and no pipe: as good as a terminal
	if err != nil {
		t.Skip("SKIPPED: no character device to read from, which Linux and so CI has: ", err)
	}
	defer endless.Close()
	was := os.Stdin
	os.Stdin = endless
	defer func() { os.Stdin = was }()
	_, addr := inProcess(t, "terminal", false)
	_, said := command(t, addr, exitRefused, "gather", "ring/version", "-")
	if !strings.Contains(said, told) {
		t.Errorf("at a terminal it says %q", said)
	}
	_, said = command(t, addr, exitFalse, "gather", "ring/no-such", "x")
	if strings.Contains(said, told) {
		t.Errorf("with a payload it says %q", said)
	}
	withInput(t, "x", func() {
		if _, said := command(t, addr, exitDone, "broadcast", "t"); said != "" {
			t.Errorf("with a file as its input it says %q", said)
		}
	})
}

// failOnce is an output whose first write fails.
type failOnce struct{ failed bool }

func (f *failOnce) Write(b []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return 0, errors.New("the disk is full")
	}
	return len(b), nil
}

// An answer that could not be printed is not forgotten for the next.
func TestGatherTellsOfItsOutput(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"replies": [{"from": "a"}, {"from": "b"}], "failed": ["c"]}`))
	}))
	defer server.Close()
	var errs strings.Builder
	code := run([]string{"gather", "t", "--addr", server.URL}, &failOnce{}, &errs)
	if code != exitFailed || !strings.Contains(errs.String(), "the disk is full") {
		t.Errorf("exit code %d, and it says %q", code, &errs)
	}
}

// withInput has do read text as its standard input.
func withInput(t *testing.T, text string, do func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was := os.Stdin
	os.Stdin = f
	defer func() { os.Stdin = was }()
	do()
}

// What is followed is printed as it comes, a line each, whatever the payload is; a gap
// is told; and that the instance is gone is an exit code of its own.
func TestEventsOfATopic(t *testing.T) {
	payload := base64.StdEncoding.EncodeToString([]byte("two\nlines \xff"))
	lines := `{"v":1,"at":"2026-11-25T10:00:00Z","from":"dc1/a","life":3,"seq":7,"topic":"a/b","payload":"bm93"}
{"v":1,"at":"2026-11-25T10:00:01Z","from":"dc1/a","life":3,"seq":8,"topic":"a/b","payload":"` + payload + `"}
{"v":1,"at":"2026-11-25T10:00:02Z","from":"dc1/a","life":3,"seq":20,"missed":12}
{"v":1,"at":"2026-11-25T10:00:03Z","from":"","life":0,"seq":0,"missed":5}
`
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked <- req.URL.RequestURI()
		_, _ = w.Write([]byte(lines))
	}))
	defer server.Close()
	out, said := command(t, server.URL, exitUnreachable, "events", "--topic", "a/&x")
	if uri := <-asked; uri != "/v1/messages?topic=a%2F%26x" {
		t.Errorf("it asks for %s", uri)
	}
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, want := range []string{
		"dc1/a  a/b  now", `dc1/a  a/b  "two\nlines \xff"`, "12 messages of dc1/a were missed",
		"5 messages were missed",
	} {
		if len(got) != 4 || !strings.HasSuffix(got[i], "  "+want) {
			t.Fatalf("it prints\n%s\nwant line %d to end with %s", out, i+1, want)
		}
	}
	if !strings.Contains(said, "has gone away") {
		t.Errorf("the instance is gone, and it says %q", said)
	}
	if out, _ = command(t, server.URL, exitUnreachable, "events", "--topic", "", "--json"); out != lines {
		t.Errorf("--json prints\n%swant\n%s", out, lines)
	}
}

// Nothing that others wrote forges a line, or moves the cursor or the direction of writing.
func TestOthersTextIsQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"a/b c": "a/b c", "ß→ 日本": "ß→ 日本", `say "hi"`: `say "hi"`, "": "",
		"x\n2026 fake\x1b[31m": `"x\n2026 fake\x1b[31m"`, "\u009b31m": `"\u009b31m"`,
		"\u202egnp.exe": `"\u202egnp.exe"`, "\x7f": `"\x7f"`, "\xff": `"\xff"`, "\ufeff": `"\ufeff"`,
	} {
		if got := shown(text); got != want {
			t.Errorf("shown(%q) = %s, want %s", text, got, want)
		}
	}
	const evil = "x\n2026 fake\x1b[31m\u009b\u202e"
	list, err := json.Marshal(map[string]any{"transfers": []ring.Transfer{{Topic: evil}}})
	if err != nil {
		t.Fatal(err)
	}
	message, err := json.Marshal(ring.Message{From: "a", Topic: evil, Payload: []byte(evil)})
	if err != nil {
		t.Fatal(err)
	}
	event, err := json.Marshal(map[string]any{"events": []ring.Event{{Kind: "refused", Text: evil}}})
	if err != nil {
		t.Fatal(err)
	}
	gathered, err := json.Marshal(map[string]any{
		"replies": []ring.Reply{{From: "a", Value: []byte(evil)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write(map[string][]byte{
			"/v1/bulk": list, "/v1/messages": message, "/v1/events": event, "/v1/gather/t": gathered,
		}[req.URL.Path])
	}))
	defer server.Close()
	for _, test := range []struct {
		code, lines int
		args        []string
	}{
		{exitDone, 2, []string{"bulk"}},
		{exitUnreachable, 1, []string{"events", "--topic", "x"}},
		{exitUnreachable, 1, []string{"events", "--topic", "x", "--save", t.TempDir()}},
		{exitDone, 1, []string{"events"}},
		{exitDone, 1, []string{"gather", "t"}},
	} {
		out, _ := command(t, server.URL, test.code, test.args...)
		if strings.Count(out, "\n") != test.lines || strings.ContainsAny(out, "\x1b\u009b\u202e") ||
			!strings.Contains(out, `"x\n2026 fake\x1b[31m\u009b\u202e"`) {
			t.Errorf("ring %q prints %q", test.args, out)
		}
	}
	// What cannot be saved is told on a line of its own, too.
	message, err = json.Marshal(ring.Message{From: "a", Topic: evil, Large: &ring.Large{Name: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	_, said := command(t, server.URL, exitUnreachable, "events", "--topic", "x", "--save", t.TempDir())
	if strings.ContainsAny(said, "\x1b\u009b\u202e") || !strings.Contains(said, "is not saved") {
		t.Errorf("it says %q", said)
	}
}

// Whatever a message says of itself, its payload is saved in that directory.
func TestSavedFileNames(t *testing.T) {
	for _, test := range []struct {
		topic, from, want string
	}{
		{"image", "dc1/prod/0", "image.dc1_prod_0.7.3"},
		{"a/b c", "x", "a_b_c.x.7.3"},
		{"../../etc/passwd", "x", "_._.._etc_passwd.x.7.3"},
		{"ß\x00\n", "", "___..7.3"},
		{
			strings.Repeat("t", 255), strings.Repeat("n", 255),
			strings.Repeat("t", 100) + "." + strings.Repeat("n", 80) + ".7.3",
		},
	} {
		m := &ring.Message{Topic: test.topic, From: ring.Name(test.from), Life: 7, Seq: 3}
		if got := fileName(m); got != test.want {
			t.Errorf("%q from %q is saved as %q, want %q", test.topic, test.from, got, test.want)
		}
	}
}

func TestBytesText(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 64<<20 + 1: "64.0 MiB", 3 << 40: "3072.0 GiB",
	} {
		if got := bytesText(bytes); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestBarText(t *testing.T) {
	if got, want := barText(1, 2), "[############............]  50 %  "; got != want {
		t.Errorf("half way: %q, want %q", got, want)
	}
	for _, c := range [][2]int64{{1, 0}, {3, 2}} {
		if got := barText(c[0], c[1]); got != "" {
			t.Errorf("%d of %d: %q, want nothing: it is not known", c[0], c[1], got)
		}
	}
}
