package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// asked runs `ring roster` as main does.
func asked(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = run(append([]string{"roster"}, args...), &out, &errs)
	return out.String(), errs.String(), code
}

const (
	threeFile = "ring = \"prod\"\nroster = [\"dc{1..3}/0\"]\naddresses = \"{1}:3000\"\n"
	fiveFile  = threeFile +
		"[[instance]]\nname = \"dc{1..2}/1\"\naddress = \"spare:{3000+index}\"\n"
)

func TestRosterPrint(t *testing.T) {
	out, errs, code := asked("print", written(t, fiveFile))
	const want = `INDEX  NAME   ADDRESS
    0  dc1/0  dc1:3000
    1  dc2/0  dc2:3000
    2  dc3/0  dc3:3000
    3  dc1/1  spare:3003
    4  dc2/1  spare:3004
`
	if out != want || code != exitDone {
		t.Errorf("print: code %d, %s\n%s\nwant\n%s", code, errs, out, want)
	}
	out, errs, code = asked("print", "--roster", "a/{0..1}")
	if code != exitDone || out != "INDEX  NAME\n    0  a/0\n    1  a/1\n" {
		t.Errorf("print of a flag: code %d, %s\n%s", code, errs, out)
	}
}

func TestRosterPrintJSON(t *testing.T) {
	out, errs, code := asked("print", "--json", "--ring", "prod", "--roster", "a/{0..1}")
	var d rosterDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitDone {
		t.Fatalf("print --json: code %d, %s, %v\n%s", code, errs, err, out)
	}
	if d.V != 1 || d.Ring != "prod" || len(d.Names) != 2 || len(d.Hash) != 64 ||
		d.Addresses == nil || d.Degree != 0 || d.Links != 1 {
		t.Errorf("print --json = %+v", d)
	}
}

// The environment configures nodes; it must not bend what a file says.
func TestRosterIgnoresEnvironment(t *testing.T) {
	t.Setenv("RING_ROSTER", "other")
	t.Setenv("RING_RING", "other")
	path := written(t, threeFile)
	if out, errs, code := asked("check", path); code != exitDone ||
		!strings.HasPrefix(out, "ring prod: 3 instances, no faults, hash ") {
		t.Errorf("check: code %d, %s%s", code, out, errs)
	}
	if _, errs, code := asked("diff", path, written(t, threeFile)); code != exitDone {
		t.Errorf("diff of the same: code %d, %s", code, errs)
	}
}

func TestRosterCheckRefuses(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"duplicate", "roster = [\"a\", \"a\"]", "instances 0 and 1"},
		{"unknown key", threeFile + "rooster = 1", "key rooster is unknown"},
		{"empty", "ring = \"prod\"", "there is no roster"},
		{"no addresses", "roster = [\"a\", \"b\"]", "addresses are missing"},
		{"stranger", threeFile + "name = \"dc9/0\"", `name "dc9/0" is not in the roster`},
		{"address twice", "roster = [\"a\", \"b\"]\naddresses = \"h:1\"", "share the address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, errs, code := asked("check", written(t, test.file))
			if code != exitUsage || !strings.Contains(errs, test.want) || out != "" {
				t.Errorf("code %d, want %d with %q; %s%s", code, exitUsage, test.want, out, errs)
			}
		})
	}
	for _, args := range [][]string{
		{"check", "one", "two"},
		{"print", "/absent/ring.toml"},
		{"print"},
		{"diff"},
		{"diff", written(t, threeFile), written(t, threeFile), "--addr", "127.0.0.1:1"},
		{"diff", written(t, threeFile), written(t, "ring = \"prod\"")},
		{"diff", written(t, threeFile), "--addr", "nonsense"},
	} {
		if out, errs, code := asked(args...); code != exitUsage {
			t.Errorf("%v: code %d, want %d; %s%s", args, code, exitUsage, out, errs)
		}
	}
}

// A program reads the same verdict as a person, once.
func TestRosterCheckJSON(t *testing.T) {
	tests := []struct {
		name, file string
		want       verdict
	}{
		{"sound", threeFile, verdict{Ring: "prod", Instances: 3, OK: true}},
		{"names and addresses", "roster = [\"a\", \"a\"]\naddresses = \"{x}:1\"", verdict{
			Ring: "ring", Instances: 2, Faults: []string{"{x} is unknown", "instances 0 and 1"},
		}},
		{"stranger without addresses", "name = \"c\"\nroster = [\"a\", \"b\"]", verdict{
			Ring: "ring", Instances: 2, Faults: []string{"addresses are missing", "not in the roster"},
		}},
		{"types", "degree = \"x\"\nroster = 3\npreset = \"moon\"", verdict{
			Ring: "ring",
			Faults: []string{
				"ring.toml:1:10: degree", "ring.toml:2:10: roster", "ring.toml:3:10: preset",
			},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, errs, code := asked("check", "--json", written(t, test.file))
			var got verdict
			if err := json.Unmarshal([]byte(out), &got); err != nil || errs != "" || got.V != 1 {
				t.Fatalf("%v, %s\n%s", err, errs, out)
			}
			if (code == exitDone) != test.want.OK || code != exitDone && code != exitUsage {
				t.Errorf("code %d", code)
			}
			if got.Ring != test.want.Ring || got.Instances != test.want.Instances ||
				got.OK != test.want.OK || got.OK && len(got.Hash) != 64 || got.Faults == nil ||
				len(got.Faults) != len(test.want.Faults) {
				t.Fatalf("verdict = %+v, want %+v", got, test.want)
			}
			for i, want := range test.want.Faults {
				if !strings.Contains(got.Faults[i], want) {
					t.Errorf("fault %d = %q, want %q", i, got.Faults[i], want)
				}
			}
		})
	}
}

func TestRosterDiff(t *testing.T) {
	tests := []struct {
		name, a, b string
		want       []string
		code       int
	}{
		{"same", threeFile, threeFile, []string{"a and b are the same roster, hash "}, exitDone},
		{"moved", threeFile, strings.Replace(threeFile, "{1}:3000", "{1}:4000", 1), []string{
			"address of dc2/0: a has dc2:3000, b has dc2:4000 (which may be)", "the same roster",
		}, exitDone},
		{
			"default degree said", "roster = [\"n{0..9}\"]", "roster = [\"n{0..9}\"]\ndegree = 6",
			[]string{"the same roster"},
			exitDone,
		},
		{"degree", "roster = [\"n{0..9}\"]", "roster = [\"n{0..9}\"]\ndegree = 4", []string{
			"degree: a has the default, b has 4",
		}, exitFalse},
		{"ring", threeFile, strings.Replace(threeFile, "prod", "test", 1), []string{
			"ring: a is prod, b is test",
		}, exitFalse},
		{"appended", threeFile, fiveFile, []string{
			"3: only b has dc1/1", "4: only b has dc2/1",
			"b is a with instances appended: give the instances of a the roster of b",
		}, exitFalse},
		{"cut", fiveFile, threeFile, []string{"3: only a has dc1/1", "a is b with"}, exitFalse},
		{"order", "roster = [\"a\", \"b\"]", "roster = [\"b\", \"a\"]", []string{
			"0: a has a, b has b", "1: a has b, b has a",
		}, exitFalse},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, errs, code := asked("diff", written(t, test.a), written(t, test.b))
			if code != test.code || (errs == "") != (code == exitDone) {
				t.Errorf("code %d, want %d; %s", code, test.code, errs)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestRosterDiffJSON(t *testing.T) {
	out, _, code := asked("diff", "--json", written(t, threeFile), written(t, fiveFile))
	var c comparison
	if err := json.Unmarshal([]byte(out), &c); err != nil || code != exitFalse {
		t.Fatalf("code %d, %v\n%s", code, err, out)
	}
	if c.V != 1 || c.Same || c.Older != "a" || len(c.Names) != 2 || c.Names[0].B != "dc1/1" {
		t.Errorf("comparison = %+v", c)
	}
}

func TestRosterDiffLive(t *testing.T) {
	mine := written(t, threeFile)
	answer, _, code := asked("print", "--json", mine)
	if code != exitDone {
		t.Fatalf("print: code %d", code)
	}
	other, _, _ := asked("print", "--json", written(t, fiveFile))
	tests := []struct {
		name, answer string
		code         int
	}{
		{"same", answer, exitDone},
		{"other", other, exitFalse},
		{"a newer version", strings.Replace(answer, `"v": 1`, `"v": 2`, 1), exitFailed},
		{"nothing of ours", `{"v": 1}`, exitFailed},
		{"a page", "<html>", exitFailed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(
				func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v1/roster" {
						http.NotFound(w, r)
						return
					}
					_, _ = io.WriteString(w, test.answer)
				}))
			defer server.Close()
			out, errs, code := asked("diff", mine, "--addr", server.URL)
			if code != test.code {
				t.Errorf("code %d, want %d; %s%s", code, test.code, out, errs)
			}
		})
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if _, errs, code := asked("diff", mine, "--addr", server.URL); code != exitUnreachable {
		t.Errorf("nobody there: code %d, want %d; %s", code, exitUnreachable, errs)
	}
}

// A ring that has changed since it was started with a file lets in who has that file.
func TestRosterDiffOfChanged(t *testing.T) {
	file := written(t, threeFile)
	answer, _, _ := asked("print", "--json", file)
	var seed rosterDocument
	if err := json.Unmarshal([]byte(answer), &seed); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, seed string
		code       int
		want       []string
	}{
		{"of this file", seed.Hash, exitDone, []string{
			"3: only b has dc4/0", "dc2/0 is retired in b", "address of dc1/0: a has dc1:3000, b has z:1",
			"b is version 4 of what was a",
		}},
		{"of another", "x", exitFalse, []string{"3: only b has dc4/0", "dc2/0 is retired in b"}},
	} {
		live := seed
		live.Version, live.Seed, live.Hash, live.Retired = 4, c.seed, "other", []int{1}
		live.Names = append(live.Names[:3:3], "dc4/0")
		live.Addresses = []string{"z:1", "dc2:3000", "dc3:3000", "dc4:3000"}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(live)
		}))
		out, errs, code := asked("diff", file, "--addr", server.URL)
		if code != c.code || !holdsAll(out, c.want) {
			t.Errorf("%s: code %d, want %d; %s\n%s\nwant %q", c.name, code, c.code, errs, out, c.want)
		}
		server.Close()
	}
}

// The file that README.md shows is one that works.
func TestREADMEsFile(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file, _ := strings.Cut(string(text), "```toml\n")
	file, _, _ = strings.Cut(file, "```")
	if out, errs, code := asked("print", written(t, file)); code != exitDone ||
		!strings.Contains(out, "dc4/prod/1  west.example.net:3000") {
		t.Errorf("print: code %d, %s\n%s\n%s", code, errs, out, file)
	}
}
