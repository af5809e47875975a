//go:build !windows

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ringofservers.dev/doctor"
	"ringofservers.dev/ring"
)

// What was found is printed as a table with what to do, and the exit code is the verdict.
func TestDoctorPrints(t *testing.T) {
	who := func(names ...ring.Name) (w []doctor.Who) {
		for _, name := range names {
			w = append(w, doctor.Who{Name: name, What: "3 MiB free"})
		}
		return w
	}
	rep := doctor.Report{
		Ring: "shop", Self: "a/0", Verdict: doctor.Fail, Instances: 9, Answered: 8, TookMS: 20, CutOff: 2,
		Checks: []doctor.Check{
			{Check: doctor.Answers, Verdict: doctor.OK, OK: 8, Note: "a\x1bb"},
			{Check: doctor.Disk, Verdict: doctor.Fail, Problems: []doctor.Problem{{
				Check: doctor.Disk, Verdict: doctor.Fail, Do: "make room", Count: 7,
				Who: who("a/1", "a/2", "a/3", "a/4", "a/5"),
			}}},
			{Check: doctor.Paths, Verdict: doctor.Fail},
			{Check: doctor.Files, Verdict: doctor.Warn, Problems: []doctor.Problem{{
				Check: doctor.Files, Verdict: doctor.Warn, Do: "raise it", Count: 1, Who: who("a/1"),
			}}},
		},
		Paths: doctor.Tried{CutOff: 1, BadOnes: []doctor.Path{{
			To: "a/3", Case: "refused", What: "10.0.0.3:3000: refused", Count: 2, From: []ring.Name{"a/1", "a/2"},
			OneWay: []ring.Name{"a/2"},
		}}},
	}
	for _, c := range []struct {
		verdict doctor.Verdict
		code    int
	}{{doctor.OK, exitDone}, {doctor.Warn, exitFalse}, {"odd", exitFalse}, {doctor.Fail, exitFailed}} {
		rep.Verdict = c.verdict
		var asked string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			asked = req.URL.String()
			_ = json.NewEncoder(w).Encode(rep)
		}))
		out, _ := command(t, server.URL, c.code, "doctor", "--name", "a/1", "--timeout", "3s")
		if asked != "/v1/doctor?name=a%2F1&timeout=3s" {
			t.Errorf("it asks for %s", asked)
		}
		lines := strings.Split(out, "\n")
		for _, want := range []string{
			strings.ToUpper(string(c.verdict)) + " · shop · 8 of 9 answered, by way of a/0 in 20 ms",
			`answers  ok       8           "a\x1bb"`,
			"disk     fail     a/1         3 MiB free",
			"                  a/4         3 MiB free",
			"                  and 3 more  → make room",
			"paths    fail     a/1         to a/3 at 10.0.0.3:3000: refused",
			"                  a/2         to a/3 at 10.0.0.3:3000: refused (one way: it is reached from there)",
			"                              → look whether it listens at that address, and whether a firewall rejects",
			"files    warn     a/1         3 MiB free",
			"                              → raise it",
			"and 3 more findings, for which there was no room",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("it prints\n%s\nwant a line %q", out, want)
			}
		}
		server.Close()
	}
	command(t, "127.0.0.1:1", exitUnreachable, "doctor")
}
