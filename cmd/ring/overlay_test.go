package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func overlaid(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(append([]string{"overlay"}, args...), &out, &errs); code != exitDone {
		t.Fatalf("%v: code %d, %s%s", args, code, &out, &errs)
	}
	return out.String()
}

func TestOverlayFigures(t *testing.T) {
	var d struct {
		V, Nodes, Degree, Diameter, Connectivity int
		MooreDiameter                            int     `json:"moore_diameter"`
		MixingHops                               int     `json:"mixing_hops"`
		MeanHops                                 float64 `json:"mean_hops"`
		Lambda2, Ramanujan, Ratio                float64
		Killed                                   struct {
			Names       []string
			NewLinks    int `json:"new_links"`
			Cut, Healed struct{ Nodes, Parts, Diameter int }
		}
		Added struct {
			Gone int `json:"gone_links"`
			Come int `json:"new_links"`
		}
	}
	out := overlaid(t, "--nodes", "256", "--degree", "6", "--kill", "30%", "--add", "1", "--json")
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	if d.V != 1 || d.Nodes != 256 || d.Degree != 6 || d.Diameter != 5 || d.MooreDiameter != 4 ||
		d.Connectivity != 6 || d.Ratio > 1.05 || d.Ratio != d.Lambda2/d.Ramanujan || d.MixingHops < 15 || d.MeanHops < 3 {
		t.Errorf("figures %+v", d)
	}
	k := d.Killed
	if len(k.Names) != 77 || k.Cut.Nodes != 179 || k.Healed.Parts != 1 || k.Healed.Diameter > 5 ||
		k.NewLinks == 0 {
		t.Errorf("killed %+v", k)
	}
	if d.Added.Come <= d.Added.Gone || d.Added.Come > 20 {
		t.Errorf("added %+v", d.Added)
	}
}

func TestOverlayKillsBySubtree(t *testing.T) {
	roster := []string{"--ring", "prod", "--roster", "dc{1..3}/{web,api}/{0..9}"}
	for pattern, want := range map[string]string{
		"dc2/*": "20 of 60 are dead", "dc2": "20 of 60 are dead", "dc?/api": "30 of 60 are dead",
		"dc1/web/[0-4]": "5 of 60 are dead", "0%": "instances", "10%": "6 of 60 are dead",
	} {
		out := overlaid(t, append(roster, "--kill", pattern)...)
		if !strings.Contains(out, want) || pattern == "0%" && strings.Contains(out, "dead") {
			t.Errorf("--kill %s: no %q in\n%s", pattern, want, out)
		}
	}
	out := overlaid(t, append(roster, "--kill", "dc1", "--kill", "dc2/web")...)
	if !strings.Contains(out, "30 of 60 are dead") {
		t.Errorf("two at once:\n%s", out)
	}
}

func TestOverlayPictures(t *testing.T) {
	args := []string{"--ring", "prod", "--roster", "dc{1..3}/{0..9}", "--kill", "dc2"}
	svg := overlaid(t, append(args, "--svg")...)
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v\n%s", err, svg)
		}
	}
	if strings.Count(svg, `class="dead"`) != 10 || !strings.Contains(svg, "come\"") ||
		!strings.Contains(svg, "dc3/9") {
		t.Errorf("the dead, new links or names are missing:\n%s", svg)
	}
	dot := overlaid(t, append(args, "--dot")...)
	if !strings.HasPrefix(dot, `graph "prod" {`) || strings.Contains(dot, `"dc2/1" -- `) ||
		!strings.Contains(dot, `"dc1/9" -- "dc3/9" [color="#0072B2", style=dashed]`) {
		t.Errorf("links:\n%s", dot)
	}
}

func TestOverlayOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring.toml")
	text := "ring = \"prod\"\nroster = [\"a/{0..19}\"]\ndegree = 4\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := overlaid(t, file); !strings.HasPrefix(out, "PROD") || !strings.Contains(out, "20") {
		t.Errorf("%s", out)
	}
}

func TestOverlayRefusesWhatMakesNoSense(t *testing.T) {
	for want, args := range map[string][]string{
		"share from 0% to 100%":     {"--nodes", "20", "--kill", "130%"},
		"share from 0":              {"--nodes", "20", "--kill", "x%"},
		"no instance has such":      {"--nodes", "20", "--kill", "dc9/*"},
		"syntax error in pattern":   {"--nodes", "20", "--kill", "node/["},
		"nobody is left":            {"--nodes", "20", "--kill", "100%"},
		"give 1 to":                 {"--nodes", "-1"},
		"makes a roster up":         {"--nodes", "20", "--roster", "a{1..20}"},
		"leave one out":             {"--nodes", "20", "--addr", "127.0.0.1:1"},
		"use an even number":        {"--nodes", "20", "--degree", "5"},
		"names the ring of a":       {"--ring", "prod"},
		"which share dies":          {"--nodes", "20", "--seed", "3", "--kill", "node/*"},
		"group [add svg] are set":   {"--nodes", "20", "--add", "1", "--svg"},
		"how many instances are to": {"--nodes", "20", "--add", "-2"},
		"none of the others can be": {"--nodes", "20", "--json", "--svg"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"overlay"}, args...), &out, &errs); code != exitUsage ||
			!strings.Contains(errs.String(), want) {
			t.Errorf("%v: code %d, %q, want %q", args, code, errs.String(), want)
		}
	}
}
