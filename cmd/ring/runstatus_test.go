package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ringofservers.dev/ring"
	runner "ringofservers.dev/run"
)

// recordKeeper is an instance that has these keys of the bus, and leases.
func recordKeeper(t *testing.T, keys map[string][]byte, leases ...ring.LeaseState) (addr string) {
	t.Helper()
	return lonelyKeeper(t, true, keys, leases...)
}

// lonelyKeeper is one with a quorum or without.
func lonelyKeeper(t *testing.T, quorum bool, keys map[string][]byte, leases ...ring.LeaseState) (addr string) {
	t.Helper()
	answer := func(w http.ResponseWriter, what any) { _ = json.NewEncoder(w).Encode(what) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bus", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ring.BusStatus{V: 1, Self: "dc1/0", Leases: leases, Quorum: quorum})
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s := ring.Status{V: 1}
		for i := range 4 {
			state := ring.Alive
			if i == 3 {
				state = ring.Dead
			}
			s.Instances = append(s.Instances, ring.Instance{Name: ring.Name(fmt.Sprintf("dc1/%d", i)), State: state})
		}
		answer(w, s)
	})
	mux.HandleFunc("GET /v1/bus/keys", func(w http.ResponseWriter, req *http.Request) {
		if !quorum {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer(w, map[string]string{"error": "no quorum"})
			return
		}
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
		if !quorum && !req.URL.Query().Has("local") {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer(w, map[string]string{"error": "no quorum"})
			return
		}
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

// Rollouts are listed beside jobs, with who runs and who has failed; one name shows each
// instance, or the last runs of a job.
func TestRunStatusOfRollouts(t *testing.T) {
	began := time.Now().Add(-time.Minute).UTC()
	at := began.Format(time.RFC3339)
	ended := began.Add(1500 * time.Millisecond)
	job := runner.Record{V: 1, Schedule: "every 1m0s", Slot: began.UnixMilli(), Runs: []runner.Run{
		{Slot: began.UnixMilli(), By: "dc1/2", Fence: 31, Started: began},
		{Slot: began.UnixMilli() - 60000, By: "dc1/1", Fence: 30, Started: began, Ended: &ended, Exit: 4, Error: "no disk"},
	}}
	addr := recordKeeper(t, map[string][]byte{
		"roll/broken": []byte(`{"v":1,"began":"` + at + `","changed":"` + at + `","states":"df..","open":[
			{"instance":"dc1/1","fence":8,"started":"` + at + `","exit":9,"error":"no\tdisk"}]}`),
		"roll/going": []byte(`{"v":1,"states":"dr..","open":[{"instance":"dc1/1","fence":7,"started":"` + at + `"}]}`),
		"roll/gone":  []byte(`{"v":1,"states":"dr..","open":[{"instance":"dc1/1","fence":6,"started":"` + at + `"}]}`),
		"roll/odd":   []byte("{"),
		"roll/over":  []byte(`{"v":1,"states":"dddd"}`),
		"run/job":    job.Encode(),
	}, ring.LeaseState{Name: "roll/going", Fence: 7}, ring.LeaseState{Name: "run/job", Fence: 31})
	ask := func(code int, args ...string) (out, errs string) {
		t.Helper()
		var o, e bytes.Buffer
		if got := run(append([]string{"run", "status", "--addr", addr}, args...), &o, &e); got != code {
			t.Errorf("%q: exit code %d, want %d: %s", args, got, code, e.String())
		}
		return o.String(), e.String()
	}
	has := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
				for _, word := range strings.Split(w, "|") {
					if !strings.Contains(line, word) {
						return false
					}
				}
				return true
			}) {
				t.Errorf("no line has %q in\n%s", w, text)
			}
		}
	}
	out, errs := ask(exitDone)
	has(out, "broken|failed|1 of 4|dc1/1 failed (exit 9)", "going|running|dc1/1 runs it for 1m", "over|done|4 of 4",
		"gone|lost|dc1/1 has not said how it ended", "odd|unreadable", "job|running|dc1/2")
	has(errs, "ring run forget odd")
	out, _ = ask(exitDone, "broken")
	has(out, "dc1/0|done", `dc1/1|failed (exit 9)|8|"no\tdisk"`, "dc1/2|waiting", "dc1/3|waiting, not in the ring")
	out, _ = ask(exitDone, "job")
	has(out, "dc1/2|running|31", "dc1/1|failed (exit 4)|1.5s|30|no disk")
	ask(exitFalse, "other")
	out, _ = ask(exitDone, "going", "--json")
	var answer struct {
		V        int
		Jobs     []any
		Rollouts []struct {
			Name, State string
			Done, Of    int
			Parts       []runner.Part
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Rollouts) != 1 || answer.Jobs == nil || len(answer.Jobs) != 0 {
		t.Fatalf("%s", out)
	}
	if r := answer.Rollouts[0]; r.Name != "going" || r.State != "running" || r.Done != 1 || r.Of != 4 ||
		len(r.Parts) != 4 || r.Parts[1].State != runner.Running || r.Parts[1].Started == nil {
		t.Errorf("%s", out)
	}
}

// Without a quorum the instance says of one name what it has, and warns; what runs once is
// shown though it has no record; and the time limit is one for all that is asked.
func TestRunStatusWithoutQuorum(t *testing.T) {
	well := runner.Record{V: 1, Schedule: "every 1m0s", Slot: 60000, Runs: []runner.Run{{Slot: 60000, By: "dc1/2", Fence: 3}}}
	keys := map[string][]byte{"run/well": well.Encode(), "roll/over": []byte(`{"v":1,"states":"dddd"}`)}
	leases := []ring.LeaseState{{Name: "run/once", Holder: "dc1/1", Fence: 9}, {Name: "run/well", Fence: 3}, {Name: "mine", Fence: 4}}
	lone, whole := lonelyKeeper(t, false, keys, leases...), recordKeeper(t, keys, leases...)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	defer slow.Close()
	const behind = "may be behind"
	for _, c := range []struct {
		addr, args string
		code       int
		out, errs  string // a part of each
	}{
		{lone, "well", exitDone, "dc1/2", behind},
		{lone, "well --json", exitDone, `"behind": true`, behind},
		{lone, "over", exitDone, "4 of 4", behind},
		{lone, "once", exitDone, "dc1/1", behind},
		{lone, "other", exitRefused, "", "other"},
		{lone, "", exitRefused, "", "ring run status NAME"},
		{whole, "once", exitDone, "running", ""},
		{whole, "", exitDone, "once", ""},
		{whole, "well", exitDone, "running", ""},
		{whole, "mine", exitFalse, "", "nothing is kept"},
		{slow.URL, "--timeout 50ms", exitTimeout, "", "no answer within 50ms"},
	} {
		var out, errs bytes.Buffer
		begun := time.Now()
		code := run(append([]string{"run", "status", "--addr", c.addr}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.errs) {
			t.Errorf("%q: exit code %d, want %d, %q and %q\n%s%s", c.args, code, c.code, c.out, c.errs, &out, &errs)
		}
		if took := time.Since(begun); took > answerTime/2 {
			t.Errorf("%q took %v", c.args, took)
		}
	}
}

// The bar is one line, drawn anew, never wider than a terminal, and away when something
// else is logged.
func TestRollBar(t *testing.T) {
	var out bytes.Buffer
	bar := &rollBar{out: &out}
	began := time.Now().Add(-90 * time.Second)
	p := runner.Progress{Done: 2, Parts: []runner.Part{
		{Instance: "a", State: runner.Done},
		{Instance: "b", State: runner.Done},
		{Instance: "c", State: runner.Running, Started: &began, Living: true},
		{Instance: "d", State: runner.Waiting},
	}}
	bar.show(p)
	slog.New(above{bar, slog.NewTextHandler(&out, nil)}).With("rollout", "x").Info("running")
	p.Parts[2].Instance = strings.Repeat("long", 40)
	bar.show(p)
	bar.end()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(lines[0], clearLine), clearLine)
	if want := "[############............]  50 %  2 of 4  c runs it for 1m30s"; first != want {
		t.Errorf("drawn %q, want %q", first, want)
	}
	if !strings.Contains(rest, "msg=running rollout=x") {
		t.Errorf("behind it %q", rest)
	}
	if n := utf8.RuneCountInString(strings.TrimPrefix(lines[1], clearLine)); n != barColumns {
		t.Errorf("%d columns, want %d: %q", n, barColumns, lines[1])
	}
}
