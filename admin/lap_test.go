package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/lap"
	"ringofservers.dev/ring"
	"ringofservers.dev/supervise"
)

// fakeTrain lets each passenger ride at once, past itself and an instance that is dead.
type fakeTrain struct {
	err error // of Lap

	mu   sync.Mutex
	n    uint64
	pass func(ring.Passenger)
}

func (f *fakeTrain) Lap(ctx context.Context, topic string, payload []byte) (ring.Lapped, error) {
	if topic == "late" {
		<-ctx.Done()
		return ring.Lapped{}, context.Cause(ctx)
	}
	if f.err != nil {
		return ring.Lapped{}, f.err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	l := ring.Lapped{Number: ring.Number{Epoch: ring.Epoch{Number: 7}, N: f.n}, Topic: topic}
	if f.pass != nil {
		f.pass(ring.Passenger{Number: l.Number, From: "a", Topic: topic, Payload: payload})
	}
	l.Seen, l.Unseen = []ring.Name{"a"}, []ring.Absent{{Name: "b", State: ring.Dead}}
	return l, nil
}

func (f *fakeTrain) OnPassenger(topic string, pass func(ring.Passenger)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pass = func(p ring.Passenger) {
		p.Value = []byte("asked for " + topic)
		pass(p)
	}
	return func() {}
}

// riding is what serves laps, over a fake.
func riding(f *fakeTrain, questions ...string) http.Handler {
	a := &api{train: f, options: Options{Questions: questions}}
	return newDoor(a.options, nil, a.routes())
}

// asked sends one request as from this host.
func asked(h http.Handler, method, path string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	req.RemoteAddr, req.Host = "127.0.0.1:9", "127.0.0.1:3000"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// What comes home is answered whole: lists are never null, and it is said whether somebody
// should have folded.
func TestLap(t *testing.T) {
	h := riding(&fakeTrain{}, "ring/names", "disk")
	for _, c := range []struct {
		path     string
		question bool
	}{
		{"/v1/lap/a/b%3Fc", false}, {"/v1/lap/disk", true}, {"/v1/lap/ring/names", true},
	} {
		w := asked(h, "POST", c.path, nil)
		var got struct {
			V        int           `json:"v"`
			Number   ring.Number   `json:"number"`
			Value    *[]byte       `json:"value"`
			Seen     []ring.Name   `json:"seen"`
			Unseen   []ring.Absent `json:"unseen"`
			Question bool          `json:"question"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s (%v)", c.path, w.Code, w.Body, err)
		}
		if got.V != 1 || got.Number.Epoch.Number != 7 || got.Number.N == 0 || got.Value == nil ||
			len(got.Seen) != 1 || len(got.Unseen) != 1 || got.Question != c.question {
			t.Errorf("%s: %s", c.path, w.Body)
		}
	}
}

func TestLapRefuses(t *testing.T) {
	f := &fakeTrain{}
	h := riding(f, "ring/names", "disk")
	for _, c := range []struct {
		name, path  string
		bytes, want int
	}{
		{"the most", "/v1/lap/t", ring.PayloadMax, 200},
		{"a byte more", "/v1/lap/t", ring.PayloadMax + 1, 413},
		{"the health of applications", "/v1/lap/ring/app", 1, 403},
		{"that without a payload", "/v1/lap/ring/app", 0, 403},
		{"that, coded", "/v1/lap/ring%2Fapp", 1, 403},
		{"what is no question here", "/v1/lap/ring/clocks", 0, 403},
		{"a question", "/v1/lap/ring/names", 0, 200},
		{"a question with a payload", "/v1/lap/ring/names", 1, 422},
		{"a command with a payload", "/v1/lap/disk", 1, 200},
		{"a bad time-out", "/v1/lap/t?timeout=x", 0, 400},
		{"late", "/v1/lap/late?timeout=1ms", 0, 504},
	} {
		if w := asked(h, "POST", c.path, make([]byte, c.bytes)); w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
	}
	if w := asked(h, "POST", "/v1/lap/late?timeout=1ms", nil); !strings.Contains(w.Body.String(),
		"not known who has seen it: not within 1ms") {
		t.Errorf("late: %s", w.Body)
	}
	for err, want := range map[error]int{
		ring.ErrLost: 504, ring.ErrRefused: 422, ring.ErrClosed: 503, context.DeadlineExceeded: 504,
	} {
		f.err = fmt.Errorf("of the fake: %w", err)
		if w := asked(h, "POST", "/v1/lap/t", nil); w.Code != want {
			t.Errorf("%v: %d, want %d", err, w.Code, want)
		}
	}
	req := httptest.NewRequest("POST", "/v1/lap/t", nil)
	req.RemoteAddr, req.Host = "10.0.0.9:9", "127.0.0.1:3000"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != http.StatusUnauthorized {
		t.Errorf("from another host: %d, want 401", w.Code)
	}
}

// Who follows gets the passengers of that topic as they come.
func TestPassengersAreStreamed(t *testing.T) {
	f := &fakeTrain{}
	a := &api{
		ring: ringOfOne(t, nil), train: f, streams: make(chan struct{}, 1), asked: make(chan struct{}),
	}
	server := httptest.NewServer(newDoor(a.options, nil, a.routes()))
	t.Cleanup(server.Close) // after the stream
	lines := open(t, server.URL+"/v1/passengers?topic=a/", "")
	for n := range uint64(3) {
		if _, err := f.Lap(t.Context(), "a/b", []byte{0, 255}); err != nil {
			t.Fatal(err)
		}
		var p ring.Passenger
		if !lines.Scan() || json.Unmarshal([]byte(lines.Text()), &p) != nil {
			t.Fatal("the stream ended")
		}
		if p.Number.N != n+1 || p.Topic != "a/b" || !bytes.Equal(p.Payload, []byte{0, 255}) ||
			string(p.Value) != "asked for a/" {
			t.Errorf("passenger %d came as %+v", n+1, p)
		}
	}
}

// The status shows the applications with their instances, and is read as it was written.
func TestStatusShowsApplications(t *testing.T) {
	since := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	apps := map[ring.Name]lap.App{
		"b": {State: "unhealthy", Since: since, Restarts: 2, Why: "no answer"},
		"x": {State: "healthy"}, // who is not in the roster is not shown
	}
	s := withApps(ring.Status{Ring: "r", Instances: []ring.Instance{{Name: "a"}, {Name: "b", PID: 7}}},
		func() map[ring.Name]lap.App { return apps })
	s.App = &supervise.Status{State: supervise.Failed}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got Status
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Instances) != 2 || got.Instances[0].App != nil || got.Instances[1].App == nil ||
		*got.Instances[1].App != apps["b"] || got.Instances[1].PID != 7 ||
		got.App.State != supervise.Failed || got.Ring != "r" {
		t.Errorf("read %+v\nof %s", got, text)
	}
	if len(got.Status.Instances) != 2 || got.Status.Instances[1].Name != "b" {
		t.Errorf("the ring's part has %+v", got.Status.Instances)
	}
	if n := strings.Count(string(text), `"instances"`); n != 1 {
		t.Errorf("there are %d lists of instances in %s", n, text)
	}
	var plain ring.Status // as those read it who know of no applications
	if err := json.Unmarshal(text, &plain); err != nil || len(plain.Instances) != 2 {
		t.Errorf("read %+v, %v", plain, err)
	}
	if s := withApps(ring.Status{Instances: []ring.Instance{{Name: "a"}}}, nil); len(s.Instances) != 1 {
		t.Errorf("without knowledge of applications: %+v", s)
	}
}
