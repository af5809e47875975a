package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"ringofservers.dev/doctor"
)

func TestDoctor(t *testing.T) {
	examine := func(ctx context.Context, ask doctor.Ask) (doctor.Report, error) {
		switch ask.Only {
		case "nobody":
			return doctor.Report{}, fmt.Errorf("%w: %q", doctor.ErrUnknown, ask.Only)
		case "late":
			<-ctx.Done()
			return doctor.Report{}, context.Cause(ctx)
		case "leaving":
			return doctor.Report{}, errors.New("the instance is leaving")
		}
		return doctor.Report{V: 1, Only: ask.Only, Verdict: doctor.Warn}, nil
	}
	a := &api{options: Options{Doctor: examine}}
	h := http.HandlerFunc(a.doctor)
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/v1/doctor":                       {http.StatusOK, `"verdict": "warn"`},
		"/v1/doctor?name=a/1":              {http.StatusOK, `"only": "a/1"`},
		"/v1/doctor?name=nobody":           {http.StatusNotFound, "no instance of that name"},
		"/v1/doctor?name=late&timeout=1ms": {http.StatusGatewayTimeout, "nobody has answered"},
		"/v1/doctor?name=leaving":          {http.StatusServiceUnavailable, "leaving"},
		"/v1/doctor?timeout=yesterday":     {http.StatusBadRequest, "duration"},
	} {
		w := asked(h, http.MethodGet, path, nil)
		if w.Code != want.code || !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %s, want %d with %q", path, w.Code, w.Body, want.code, want.text)
		}
	}
}

// Who asks an address whether somebody lives there is told who it is.
func TestLivezSaysWhoItIs(t *testing.T) {
	url := serve(t, ringOfOne(t, nil), Options{})
	if _, _, header := get(t, url+"/livez"); header.Get(doctor.InstanceHeader) != "a" {
		t.Errorf("the header is %q, want a", header)
	}
}
