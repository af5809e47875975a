package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ringofservers.dev/ring"
)

// fakeRoster plans and changes the version that it is at, and does nothing else.
type fakeRoster struct {
	at      ring.RosterVersion
	refused []string
	err     error // of ChangeRoster
	changed []ring.RosterChange
	late    bool // nobody else has the version
}

func version(n uint64) ring.RosterVersion {
	return ring.RosterVersion{Number: n, Hash: fmt.Sprintf("hash%d", n), Chain: fmt.Sprintf("chain%d", n)}
}

func (f *fakeRoster) PlanRoster(changes ...ring.RosterChange) (ring.RosterPlan, error) {
	if len(changes) == 0 {
		return ring.RosterPlan{}, fmt.Errorf("%w: no change", ring.ErrConfig)
	}
	return ring.RosterPlan{
		Base: f.at, Next: version(f.at.Number + 1), Changes: changes, Refused: f.refused,
	}, nil
}

func (f *fakeRoster) ChangeRoster(ctx context.Context, plan ring.RosterPlan) (ring.RosterVersion, error) {
	switch {
	case f.late:
		<-ctx.Done()
		return ring.RosterVersion{}, context.Cause(ctx)
	case f.err != nil:
		return ring.RosterVersion{}, f.err
	}
	f.changed = append(f.changed, plan.Changes...)
	f.at = plan.Next
	return f.at, nil
}

func (f *fakeRoster) RosterEverywhere(ctx context.Context, _ uint64) error {
	if !f.late {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// changing is what serves a roster, over a fake.
func changing(f *fakeRoster, r *ring.Ring) http.Handler {
	a := &api{ring: r, rosters: f}
	return newDoor(a.options, nil, a.routes())
}

// What is sent back as it was planned is done.
func TestRosterIsPlannedAndChanged(t *testing.T) {
	f := &fakeRoster{at: version(3)}
	h := changing(f, nil)
	w := asked(h, "POST", "/v1/roster/plan",
		[]byte(`{"changes":[{"kind":"add","name":"d","address":"h:1"},{"kind":"retire","name":"a"}]}`))
	var plan planObject
	if err := json.Unmarshal(w.Body.Bytes(), &plan); err != nil || w.Code != 200 || plan.V != 1 ||
		plan.Base != version(3) || plan.Next != version(4) || len(plan.Changes) != 2 {
		t.Fatalf("plan: %d %s (%v)", w.Code, w.Body, err)
	}
	if f.at != version(3) {
		t.Errorf("planning has led to %+v", f.at)
	}
	sent := w.Body.Bytes()
	w = asked(h, "POST", "/v1/roster", sent)
	var done struct {
		V       int
		Version ring.RosterVersion
	}
	if err := json.Unmarshal(w.Body.Bytes(), &done); err != nil || w.Code != 200 || done.V != 1 ||
		done.Version != version(4) {
		t.Fatalf("change: %d %s (%v)", w.Code, w.Body, err)
	}
	want := []ring.RosterChange{
		{Kind: ring.RosterAdd, Name: "d", Address: "h:1"}, {Kind: ring.RosterRetire, Name: "a"},
	}
	if !slices.Equal(f.changed, want) {
		t.Errorf("changed %+v, want %+v", f.changed, want)
	}
	if w = asked(h, "POST", "/v1/roster", sent); w.Code != http.StatusConflict ||
		!strings.Contains(w.Body.String(), "planned on version 3, and this is version 4") {
		t.Errorf("the same again: %d %s, want 409", w.Code, w.Body)
	}
}

func TestRosterRefuses(t *testing.T) {
	const plan = `{"changes":[{"kind":"retire","name":"a"}],"base":{"number":3,"chain":"chain3"}}`
	for _, c := range []struct {
		name, path, body string
		fake             fakeRoster
		want             int
	}{
		{name: "done", path: "/v1/roster", body: plan, want: 200},
		{name: "no change", path: "/v1/roster/plan", body: `{"changes":[]}`, want: 400},
		{name: "no JSON", path: "/v1/roster/plan", body: "add a", want: 400},
		{name: "no JSON to do", path: "/v1/roster", body: "", want: 400},
		{
			name: "too much", path: "/v1/roster/plan",
			body: `{"x":"` + strings.Repeat("x", rosterBodyMax) + `"}`, want: 413,
		},
		{
			name: "no base", path: "/v1/roster", body: `{"changes":[{"kind":"retire","name":"a"}]}`,
			want: 400,
		},
		{
			name: "a base of another chain", path: "/v1/roster",
			body: strings.Replace(plan, "chain3", "other", 1), want: 409,
		},
		{name: "a bad time", path: "/v1/roster?timeout=x", body: plan, want: 400},
		{
			name: "changed meanwhile", path: "/v1/roster", body: plan,
			fake: fakeRoster{err: fmt.Errorf("no: %w", ring.ErrRosterChanged)}, want: 409,
		},
		{
			name: "refused", path: "/v1/roster", body: plan,
			fake: fakeRoster{err: fmt.Errorf("no: %w", ring.ErrRefused)}, want: 422,
		},
		{
			name: "no quorum", path: "/v1/roster", body: plan,
			fake: fakeRoster{err: fmt.Errorf("no: %w", ring.ErrNoQuorum)}, want: 503,
		},
		{
			name: "uncertain", path: "/v1/roster", body: plan,
			fake: fakeRoster{err: fmt.Errorf("no: %w", ring.ErrUncertain)}, want: 504,
		},
		{
			name: "late", path: "/v1/roster?timeout=1ms", body: plan, fake: fakeRoster{late: true},
			want: 504,
		},
		{
			name: "a plan of what is refused", path: "/v1/roster/plan", body: plan,
			fake: fakeRoster{refused: []string{"too few would vote"}}, want: 200,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fake.at = version(3)
			w := asked(changing(&c.fake, nil), "POST", c.path, []byte(c.body))
			if w.Code != c.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, c.want)
			}
			if text := w.Body.String(); w.Code != 200 && !strings.Contains(text, `"error": "`) ||
				len(c.fake.refused) > 0 && !strings.Contains(text, c.fake.refused[0]) {
				t.Errorf("%s", text)
			}
		})
	}
}

// Whoever may only read may plan.
func TestRosterIsChangedByAdmins(t *testing.T) {
	f := &fakeRoster{at: version(1)}
	h := changing(f, nil)
	for path, want := range map[string]int{"/v1/roster/plan": 200, "/v1/roster": 401} {
		req := httptest.NewRequest("POST", path, strings.NewReader(
			`{"changes":[{"kind":"retire","name":"a"}],"base":{"number":1,"chain":"chain1"}}`))
		req.RemoteAddr, req.Host = "10.0.0.9:9", "10.0.0.1:3000"
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, req); w.Code != want {
			t.Errorf("POST %s from another host = %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}

// Who goes by an older version is named, and so is who has not said by which.
func TestRosterEverywhere(t *testing.T) {
	r := ringOfOne(t, nil)
	ask := func(h http.Handler, path string, code int) (e everywhereObject) {
		t.Helper()
		w := asked(h, "GET", path, nil)
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != code {
			t.Fatalf("GET %s = %d %s (%v), want %d", path, w.Code, w.Body, err, code)
		}
		return e
	}
	const soon = "/v1/roster/everywhere?timeout=1ms"
	all := changing(&fakeRoster{}, r)
	if e := ask(all, soon, 200); e.V != 1 || !e.Everywhere || e.Version != 1 || e.Behind == nil {
		t.Errorf("where all have it: %+v", e)
	}
	ask(all, soon+"&version=x", 400)
	some := changing(&fakeRoster{late: true}, r)
	if e := ask(some, soon, 200); e.Everywhere || !slices.Equal(e.Silent, []ring.Name{"a"}) {
		t.Errorf("where nobody answers: %+v", e)
	}
	stop, err := r.Answer(RosterTopic, RosterAnswer(r), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if e := ask(some, soon, 200); e.Everywhere || e.Have != 1 || len(e.Silent) > 0 {
		t.Errorf("where all answer that they have it: %+v", e)
	}
	if e := ask(some, soon+"&version=2", 200); !slices.Equal(e.Behind, []ring.Name{"a"}) {
		t.Errorf("where all are behind: %+v", e)
	}
}

// What was there before rosters could change is there still.
func TestRosterBody(t *testing.T) {
	r := ringOfOne(t, nil)
	w := asked(changing(nil, r), "GET", "/v1/roster", nil)
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, field := range []string{
		"v", "ring", "hash", "names", "addresses", "degree", "links", "version", "chain", "seed", "retired",
		"promoted", "demoted",
	} {
		if body[field] == nil {
			t.Errorf("there is no %s, or it is null:\n%s", field, w.Body)
		}
	}
	if body["hash"] != r.Status().RosterHash || body["version"] != 1.0 {
		t.Errorf("version %v, hash %v", body["version"], body["hash"])
	}
}
