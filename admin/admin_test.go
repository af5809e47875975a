package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/ring"
)

// patience bounds what a test waits for; everything here takes milliseconds.
const patience = time.Minute

// ringOfOne is a whole ring: one instance, in it and ticking.
func ringOfOne(t *testing.T, registry *prometheus.Registry) *ring.Ring {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := ring.Config{
		Ring: "test", Name: "a", Listener: listener, Hold: 5 * time.Millisecond,
		Roster: ring.Roster{Names: []ring.Name{"a"}, Addresses: []string{listener.Addr().String()}},
	}
	if registry != nil {
		cfg.Registerer = registry
	}
	r, err := ring.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Joined(ctx); err != nil {
		t.Fatalf("a ring of one was not joined: %v", err)
	}
	return r
}

// serve answers over a real connection: streams need one.
func serve(t *testing.T, r *ring.Ring, options Options) string {
	t.Helper()
	server := httptest.NewServer(New(r, options))
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, url string) (code int, body string, header http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(textOf(t, resp)), resp.Header
}

// textOf is the body of an answer.
func textOf(t *testing.T, resp *http.Response) []byte {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestObjects(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := ringOfOne(t, registry)
	url := serve(t, r, Options{Gatherer: registry, Version: "v9.9.9"})
	for _, c := range []struct{ path, want string }{
		{"/v1/status", `"self": "a"`},
		{"/v1/view", `"joined": true`},
		{"/v1/roster", `"names": [` + "\n    \"a\""},
		{"/v1/roster", `"links": 0`},
		{"/v1/events", `"kind": "joined"`},
		{"/v1/ticks", `"v": 1`},
		{"/version", `"version": "v9.9.9"`},
		{"/metrics", "ring_"},
	} {
		code, body, _ := get(t, url+c.path)
		if code != http.StatusOK || !strings.Contains(body, c.want) {
			t.Errorf("GET %s = %d, want 200 and %s in:\n%s", c.path, code, c.want, body)
		}
	}
	for _, path := range []string{"/v1/events?since=x", "/v1/ticks?follow=1&every=-1s"} {
		if code, body, _ := get(t, url+path); code != http.StatusBadRequest {
			t.Errorf("GET %s = %d, want 400: %s", path, code, body)
		}
	}
	if code, _, _ := get(t, url+"/no/such"); code != http.StatusNotFound {
		t.Errorf("GET /no/such = %d, want 404", code)
	}
}

// Every object says its version, whether it comes alone, in a list or on a line.
func TestObjectsHaveAVersion(t *testing.T) {
	r := ringOfOne(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := r.Bus().Set(ctx, "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	passed := make(chan struct{}, 1)
	defer r.OnTick(func(ring.Tick) {
		select {
		case passed <- struct{}{}:
		default:
		}
	})()
	<-passed
	url := serve(t, r, Options{})
	for _, path := range []string{
		"/v1/status", "/v1/view", "/v1/events?limit=1", "/v1/ticks", "/v1/roster", "/v1/bus",
		"/v1/bus/keys", "/v1/bus/keys/k", "/v1/bus/keys/k?local", "/version", "/v1/bus/keys/none",
	} {
		_, body, _ := get(t, url+path)
		var object struct {
			V      int
			Tick   json.RawMessage
			Events []struct{ V int }
		}
		if err := json.Unmarshal([]byte(body), &object); err != nil || object.V != 1 {
			t.Errorf("GET %s: %v, %s", path, err, body)
		}
		for _, e := range object.Events {
			if e.V != 1 {
				t.Errorf("GET %s: an event without its version:\n%s", path, body)
			}
		}
		if path == "/v1/ticks" && !strings.Contains(string(object.Tick), `"v": 1`) {
			t.Errorf("GET %s: a tick without its version:\n%s", path, body)
		}
	}
	for _, path := range []string{"/v1/view", "/v1/events", "/v1/ticks"} {
		lines := open(t, url+path+"?follow=1", "")
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), `{"v":1,`) {
			t.Errorf("GET %s?follow=1 begins %q", path, lines.Text())
		}
	}
	lines := open(t, url+"/v1/live", "text/event-stream")
	for n := 0; n < 4 && lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if n++; !strings.HasPrefix(data, `{"v":1,`) {
				t.Errorf("GET /v1/live sends %q", data)
			}
		}
	}
}

func TestStatusIsTheRings(t *testing.T) {
	r := ringOfOne(t, nil)
	_, body, _ := get(t, serve(t, r, Options{})+"/v1/status")
	var status ring.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	if status.V != 1 || status.Ring != "test" || status.Self != "a" || len(status.Instances) != 1 {
		t.Errorf("status = %+v, want version 1 of instance a of ring test", status)
	}
	if !strings.Contains(body, `"bad_links": []`) {
		t.Errorf("an empty list is not written as one:\n%s", body)
	}
}

func TestProbes(t *testing.T) {
	r := ringOfOne(t, nil)
	leaving := make(chan struct{})
	url := serve(t, r, Options{Leaving: leaving})
	probe := func(path string, wantCode int, want string) {
		t.Helper()
		code, body, _ := get(t, url+path)
		if code != wantCode || body != want {
			t.Errorf("GET %s = %d %q, want %d %q", path, code, body, wantCode, want)
		}
	}
	probe("/livez", 200, "ok\n")
	probe("/healthz", 200, "ok\n")
	probe("/readyz", 200, "ok\n")
	probe("/readyz?verbose", 200,
		"[+]running ok\n[+]joined ok\n[+]leaving ok\nreadyz check passed\n")
	close(leaving)
	probe("/livez", 200, "ok\n")
	probe("/readyz", 503, "[+]running ok\n[+]joined ok\n"+
		"[-]leaving failed: this instance is leaving the ring\nreadyz check failed\n")
	probe("/readyz?exclude=leaving", 200, "ok\n")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	probe("/livez", 503, "[-]running failed: the ring of this process has ended\nlivez check failed\n")
}

// open follows a path; the lines come as they are flushed.
func open(t *testing.T, url, accept string) *bufio.Scanner {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %s, want 200", url, resp.Status)
	}
	return bufio.NewScanner(resp.Body)
}

func TestFollowTicks(t *testing.T) {
	r := ringOfOne(t, nil)
	leaving := make(chan struct{})
	url := serve(t, r, Options{Leaving: leaving})
	lines := open(t, url+"/v1/ticks?follow=1", "")
	var last uint64
	for range 3 {
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		var tick ring.Tick
		if err := json.Unmarshal(lines.Bytes(), &tick); err != nil {
			t.Fatal(err)
		}
		if tick.Tick <= last {
			t.Errorf("tick %d came after tick %d", tick.Tick, last)
		}
		last = tick.Tick
	}
	close(leaving)
	for lines.Scan() { // ends, since the instance leaves; else the test times out
	}
}

func TestLiveStream(t *testing.T) {
	r := ringOfOne(t, nil)
	lines := open(t, serve(t, r, Options{})+"/v1/live", "text/event-stream")
	missing := []string{"event: status", "event: bus", "event: tick", "event: event"}
	for len(missing) > 0 && lines.Scan() {
		missing = slices.DeleteFunc(missing, func(s string) bool { return s == lines.Text() })
	}
	if len(missing) > 0 {
		t.Errorf("the stream ended before %q", missing)
	}
}

// A page that lost its connection goes on after the last event it has seen; of
// another process it hears all.
func TestEventsResume(t *testing.T) {
	r := ringOfOne(t, nil)
	all := r.Events(0)
	if len(all) == 0 {
		t.Fatal("a ring of one has no story")
	}
	request := func(id string) *http.Request {
		req := httptest.NewRequest(http.MethodGet, "/v1/events", nil)
		req.Header.Set("Last-Event-ID", id)
		return req
	}
	last := all[len(all)-1]
	if since, ok := resumed(request(eventID(last))); !ok || since != last.Seq {
		t.Errorf("resumed = %d, %v; want %d", since, ok, last.Seq)
	}
	for _, id := range []string{"", "7", "1.2", "x.y"} {
		if since, ok := resumed(request(id)); ok {
			t.Errorf("resumed(%q) = %d, want from the start", id, since)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	r := ringOfOne(t, nil)
	a := &api{ring: r, streams: make(chan struct{}, 1), asked: make(chan struct{})}
	a.streams <- struct{}{}
	w := httptest.NewRecorder()
	a.ticks(w, httptest.NewRequest(http.MethodGet, "/v1/ticks?follow=1", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("one stream too many = %d, want 503", w.Code)
	}
}

func TestLeaveIsLocal(t *testing.T) {
	r := ringOfOne(t, nil)
	for _, c := range []struct {
		name, from, host, header, value string
		want                            int
	}{
		{name: "own host", from: "127.0.0.1:9", host: "127.0.0.1:3000", want: 202},
		{name: "own host by name", from: "[::1]:9", host: "localhost:3000", want: 202},
		{name: "IPv6", from: "[::1]:9", host: "[::1]", want: 202},
		{name: "another host", from: "10.0.0.9:9", host: "10.0.0.1:3000", want: 401},
		{name: "rebound name", from: "127.0.0.1:9", host: "evil.example:3000", want: 401},
		{
			name: "proxy", from: "127.0.0.1:9", host: "127.0.0.1:3000",
			header: "X-Forwarded-For", value: "10.0.0.9", want: 401,
		},
		{
			name: "web page elsewhere", from: "127.0.0.1:9", host: "127.0.0.1:3000",
			header: "Sec-Fetch-Site", value: "cross-site", want: 403,
		},
		{
			name: "origin elsewhere", from: "127.0.0.1:9", host: "127.0.0.1:3000",
			header: "Origin", value: "http://evil.example", want: 403,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := false
			req := httptest.NewRequest(http.MethodPost, "/v1/leave", nil)
			req.RemoteAddr, req.Host = c.from, c.host
			if c.header != "" {
				req.Header.Set(c.header, c.value)
			}
			w := httptest.NewRecorder()
			New(r, Options{Leave: func() { left = true }}).ServeHTTP(w, req)
			if w.Code != c.want || left != (c.want == 202) {
				t.Errorf("POST /v1/leave = %d (left: %v), want %d: %s", w.Code, left, c.want, w.Body)
			}
		})
	}
}

func TestLeaveEndsTheRing(t *testing.T) {
	r := ringOfOne(t, nil)
	resp, err := http.Post(serve(t, r, Options{})+"/v1/leave", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case <-r.Done():
	case <-time.After(patience):
		t.Fatal("the instance was told to leave and stays")
	}
}

func TestPage(t *testing.T) {
	url := serve(t, ringOfOne(t, nil), Options{})
	for _, c := range []struct{ path, kind string }{
		{"/", "text/html"}, {"/app.js", "text/javascript"}, {"/style.css", "text/css"},
	} {
		code, body, header := get(t, url+c.path)
		if code != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), c.kind) {
			t.Errorf("GET %s = %d %s, want %s", c.path, code, header.Get("Content-Type"), c.kind)
		}
		if header.Get("Content-Security-Policy") != policy {
			t.Errorf("GET %s carries no content security policy", c.path)
		}
		known := strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "") // a name, not a load
		known = strings.ReplaceAll(known, "xmlns='http:", "")
		if i := strings.Index(known, "http://"); i >= 0 {
			t.Errorf("%s loads from elsewhere: %s", c.path, known[i:min(i+60, len(known))])
		}
		if strings.Contains(body, "style=") || strings.Contains(body, "onclick") {
			t.Errorf("%s has inline code, which the policy forbids", c.path)
		}
	}
}

func TestThin(t *testing.T) {
	gate := thin{every: 100 * time.Millisecond}
	start := time.Now()
	var passed []int
	for ms := 0; ms <= 300; ms += 30 {
		if gate.pass(start.Add(time.Duration(ms) * time.Millisecond)) {
			passed = append(passed, ms)
		}
	}
	if want := []int{0, 120, 240}; !slices.Equal(passed, want) {
		t.Errorf("passed at %v ms, want %v", passed, want)
	}
}
