package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ringofservers.dev/ring"
)

// A message is sent by a POST of its payload, and streamed to who follows its topic.
func TestBroadcastIsStreamed(t *testing.T) {
	url := serve(t, ringOfOne(t, nil), Options{})
	all, below := open(t, url+"/v1/messages", ""), open(t, url+"/v1/messages?topic=a/", "")
	events := open(t, url+"/v1/messages?topic=a/b", "text/event-stream")
	post := func(path string, payload []byte) (m ring.Message) {
		t.Helper()
		resp, err := http.Post(url+path, "", bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		text := textOf(t, resp)
		if resp.StatusCode != http.StatusOK || json.Unmarshal(text, &m) != nil {
			t.Fatalf("POST %s = %s %s", path, resp.Status, text)
		}
		return m
	}
	post("/v1/broadcast/b", nil)
	sent := post("/v1/broadcast/a/b", []byte{0, 255})
	if sent.Seq != 2 || sent.From != "a" || sent.Topic != "a/b" || sent.Life == 0 {
		t.Errorf("the second is called %+v", sent)
	}
	line := func(s interface {
		Scan() bool
		Text() string
	},
	) (m ring.Message) {
		t.Helper()
		for s.Scan() {
			if text := strings.TrimPrefix(s.Text(), "data: "); text != "" {
				if err := json.Unmarshal([]byte(text), &m); err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				return m
			}
		}
		t.Fatal("the stream ended")
		return m
	}
	if m := line(all); m.Topic != "b" || m.Seq != 1 || len(m.Payload) != 0 {
		t.Errorf("all: first %+v", m)
	}
	for _, s := range []interface {
		Scan() bool
		Text() string
	}{all, below, events} {
		if m := line(s); m.Seq != 2 || m.Life != sent.Life || !bytes.Equal(m.Payload, []byte{0, 255}) {
			t.Errorf("a/b came as %+v", m)
		}
	}
}

// broken is a body that ends before it should.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A payload that broke off is not called too large.
func TestBrokenPayload(t *testing.T) {
	h := New(ringOfOne(t, nil), Options{})
	for _, path := range []string{"/v1/broadcast/t?wait", "/v1/gather/t"} {
		req := httptest.NewRequest("POST", path, broken{})
		req.RemoteAddr, req.Host = "127.0.0.1:9", "127.0.0.1:3000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "broke off") {
			t.Errorf("%s: %d %s, want 400", path, w.Code, w.Body)
		}
	}
}

// What has not come in time is said, and in what time.
func TestLateIsSaid(t *testing.T) {
	w := httptest.NewRecorder()
	new(api).within(w, httptest.NewRequest("POST", "/?timeout=1ns", nil),
		func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, late(context.Cause(ctx), "no answers came")
		})
	if w.Code != http.StatusGatewayTimeout ||
		!strings.Contains(w.Body.String(), "no answers came: not within 1ns") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if other := io.EOF; late(other, "x") != other {
		t.Error("another error is called late")
	}
}

func TestBroadcastRefuses(t *testing.T) {
	h := New(ringOfOne(t, nil), Options{})
	for _, c := range []struct {
		name, method, path, from string
		bytes, want              int
	}{
		{"the most", "POST", "/v1/broadcast/t", "127.0.0.1:9", ring.PayloadMax, 200},
		{"a byte more", "POST", "/v1/broadcast/t", "127.0.0.1:9", ring.PayloadMax + 1, 200},
		{"a byte more with wait", "POST", "/v1/broadcast/t?wait", "127.0.0.1:9", ring.PayloadMax + 1, 413},
		{"a megabyte with wait", "POST", "/v1/broadcast/t?wait", "127.0.0.1:9", 1 << 20, 413},
		{"one of ours", "POST", "/v1/broadcast/ring/respawn", "127.0.0.1:9", 1, 403},
		{"one of ours, coded", "POST", "/v1/broadcast/ring%2Frespawn?wait", "127.0.0.1:9", 1, 403},
		{"no topic", "POST", "/v1/broadcast/", "127.0.0.1:9", 1, 422},
		{"a long topic", "POST", "/v1/broadcast/" + strings.Repeat("x", 256), "127.0.0.1:9", 1, 422},
		{"no UTF-8", "POST", "/v1/broadcast/%ff", "127.0.0.1:9", 1, 422},
		{"another host", "POST", "/v1/broadcast/t", "10.0.0.9:9", 1, 401},
		{"a bad time-out", "POST", "/v1/broadcast/t?timeout=x", "127.0.0.1:9", 1, 400},
		{"a GET", "GET", "/v1/broadcast/t", "127.0.0.1:9", 0, 405},
	} {
		req := httptest.NewRequest(c.method, c.path, bytes.NewReader(make([]byte, c.bytes)))
		req.RemoteAddr, req.Host = c.from, "127.0.0.1:3000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
	}
}
