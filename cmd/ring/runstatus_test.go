package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
	runner "ringofservers.dev/run"
)

// recordKeeper is an instance that has these keys of the bus, and leases.
func recordKeeper(t *testing.T, keys map[string][]byte, leases ...ring.LeaseState) (addr string) {
	t.Helper()
	answer := func(w http.ResponseWriter, what any) { _ = json.NewEncoder(w).Encode(what) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bus", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ring.BusStatus{V: 1, Leases: leases})
	})
	mux.HandleFunc("GET /v1/bus/keys", func(w http.ResponseWriter, req *http.Request) {
		entries := []ring.Entry{}
		for key, value := range keys {
			if strings.HasPrefix(key, req.FormValue("prefix")) {
				entries = append(entries, ring.Entry{Key: key, Value: value, Revision: 7})
			}
		}
		answer(w, map[string]any{"entries": entries})
	})
	one := func(w http.ResponseWriter, req *http.Request) {
		key := req.PathValue("key")
		if _, ok := keys[key]; !ok {
			w.WriteHeader(http.StatusNotFound)
			answer(w, map[string]string{"error": "none"})
			return
		}
		if req.Method == http.MethodDelete && req.FormValue("if_revision") == "7" {
			delete(keys, key)
		}
		answer(w, ring.Entry{Key: key, Value: keys[key], Revision: 7})
	}
	mux.HandleFunc("GET /v1/bus/keys/{key...}", one)
	mux.HandleFunc("DELETE /v1/bus/keys/{key...}", one)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A record that cannot be read, or lies far ahead, is told of beside those that are well.
func TestRunStatusBearsOddRecords(t *testing.T) {
	now := time.Now().UnixMilli()
	well := runner.Record{V: 1, Schedule: "every 1m0s", Slot: now, MissedMore: true, Missed: 123}
	ahead := well
	ahead.Slot += 1 << 40
	ahead.Runs = []runner.Run{{Slot: ahead.Slot, By: "dc1/prod/7"}}
	addr := recordKeeper(t, map[string][]byte{
		"run/well": well.Encode(), "run/odd": []byte("{"), "run/ahead": ahead.Encode(),
	})
	var out, errs bytes.Buffer
	if code := run([]string{"run", "status", "--addr", addr}, &out, &errs); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"well", "123+", "unreadable"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	for _, want := range []string{"odd: run: not a record", "ring run forget ahead", "dc1/prod/7"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in\n%s", want, errs.String())
		}
	}
}

func TestRunForget(t *testing.T) {
	rec := runner.Record{V: 1, Schedule: "every 1m0s"}.Encode()
	keys := map[string][]byte{"run/a": rec, "run/b": rec, "run/b2": rec, "roll/c": []byte(`{"v":1}`)}
	addr := recordKeeper(t, keys, ring.LeaseState{Name: "run/b 60000", Holder: "x"})
	for _, c := range []struct {
		args string
		code int
		left int
	}{
		{"a", exitDone, 3},
		{"a", exitFalse, 3},
		{"b", exitRefused, 3},
		{"b2", exitDone, 2},
		{"b --force", exitDone, 1},
		{"c", exitDone, 0},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"run", "forget", "--addr", addr}, strings.Fields(c.args)...)
		if code := run(args, &out, &errs); code != c.code || len(keys) != c.left {
			t.Errorf("forget %s: exit code %d, %d keys are left: %s", c.args, code, len(keys), errs.String())
		}
	}
}
