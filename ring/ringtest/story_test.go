package ringtest

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/core"
)

var update = flag.Bool("update", false, "rewrite the stories; read the diff, and "+
	"commit it only if you understand what caused it")

// TestStories plays the scripts in testdata. Their lines:
//
//	# a comment
//	ring NODES SEED     a new fleet
//	form                let it form, five seconds, without a word
//	run DURATION        let time pass
//	FAULT …             an action from now on, as in a schedule without its time;
//	                    holder stands for the instance that the particle passed last
//
// Indented under a line stands what the instances tell because of it: who, what,
// and when after that line the first of them did.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.story")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".story"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := tellStory(t, text)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, text) {
				t.Errorf("%s is told otherwise now (-update rewrites it):\n%s", file, got)
			}
		})
	}
}

// story is one being told.
type story struct {
	w     *World
	out   bytes.Buffer
	since int64
	lines []told
	laps  uint64
}

// told is one report, and who made it.
type told struct {
	text string
	by   []string
	at   int64
}

func tellStory(t *testing.T, text []byte) []byte {
	t.Helper()
	s := &story{}
	in := bufio.NewScanner(bytes.NewReader(text))
	for in.Scan() {
		line := in.Text()
		if strings.HasPrefix(line, "\t") {
			continue
		}
		s.out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.command(line); err != nil {
			t.Fatal(err)
		}
		s.flush()
		if s.w.failure != nil {
			fmt.Fprintf(&s.out, "\tFAILED %s: %s\n", s.w.failure.Invariant, s.w.failure.Text)
			break
		}
	}
	return s.out.Bytes()
}

func (s *story) command(line string) error {
	words := strings.Fields(line)
	switch {
	case words[0] == "ring" && len(words) == 3:
		return s.ring(words[1], words[2])
	case words[0] == "form":
		s.w.run(5 * second)
		s.w.watch.formed = true
		s.lines = nil
		return nil
	case words[0] == "run" && len(words) == 2:
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		s.since = s.w.now
		before := s.passes()
		s.w.run(s.w.now + int64(d))
		s.laps = s.passes() - before
		return nil
	}
	a, err := ParseAction("0s " + strings.Replace(line, "holder", s.holder(), 1))
	if err != nil {
		return err
	}
	a.At = time.Duration(s.w.now)
	s.since = s.w.now
	s.w.script = append(s.w.script, a)
	s.w.active = append(s.w.active, false)
	s.w.begin(len(s.w.script) - 1)
	return nil
}

func (s *story) ring(nodes, seed string) error {
	n, err := strconv.Atoi(nodes)
	if err != nil {
		return err
	}
	first, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	opt, err := Options{Seed: first, Nodes: n, tell: s.hear}.withDefaults()
	if err != nil {
		return err
	}
	if s.w, err = newWorld(opt); err == nil {
		s.w.plan()
	}
	return err
}

// passes is how often the particle passed the stop that saw it most.
func (s *story) passes() uint64 {
	most := uint64(0)
	for i := range s.w.hosts {
		most = max(most, s.w.hosts[i].total)
	}
	return most
}

// holder is whom the particle passed last.
func (s *story) holder() string {
	at, last := 0, int64(-1)
	for i := range s.w.hosts {
		if h := &s.w.hosts[i]; h.core != nil && h.passed && h.latest > last {
			at, last = i, h.latest
		}
	}
	return strconv.Itoa(at)
}

// hear collects what is told; the same words from several are one line.
func (s *story) hear(w *World, h *host, r *core.Report) {
	switch r.Kind {
	case core.Waiting, core.LinkUp, core.LinkLost:
		return // not the plot
	}
	text, who := reportText(r), w.name(h.index)
	for i := range s.lines {
		if s.lines[i].text == text {
			s.lines[i].by = append(s.lines[i].by, who)
			return
		}
	}
	s.lines = append(s.lines, told{text, []string{who}, w.now - s.since})
}

func (s *story) flush() {
	for _, l := range s.lines {
		fmt.Fprintf(&s.out, "\t%8.1f ms  %s: %s\n", float64(l.at)/1e6, strings.Join(l.by, " "), l.text)
	}
	s.lines = nil
	if s.laps > 0 {
		fmt.Fprintf(&s.out, "\t%d laps\n", s.laps)
	}
	s.laps = 0
}
