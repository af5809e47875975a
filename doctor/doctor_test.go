package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// patience bounds what a test waits for; everything here takes milliseconds.
const patience = time.Minute

// fleet joins n instances in this process, each with a doctor but the last quiet ones.
func fleet(t *testing.T, n, quiet int) (rings []*ring.Ring, doctors []*Doctor) {
	t.Helper()
	var roster ring.Roster
	listeners := make([]net.Listener, n)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		roster.Names = append(roster.Names, ring.Name(fmt.Sprintf("dc1/prod/%d", i)))
		roster.Addresses = append(roster.Addresses, l.Addr().String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, l := range listeners {
		timing := ring.LAN()
		timing.Patience, timing.Answer = 5*time.Second, 5*time.Second // a busy machine is no death
		r, err := ring.Join(ctx, ring.Config{
			Ring: "test", Name: roster.Names[i], Roster: roster, Listener: l, Timing: timing, Hold: time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		rings = append(rings, r)
		if i >= n-quiet {
			continue
		}
		d, err := Attend(r, Config{Version: "v1", Data: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		doctors = append(doctors, d)
	}
	for _, r := range rings {
		if err := r.Joined(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return rings, doctors
}

// examined asks until a report is as it is wanted.
func examined(t *testing.T, d *Doctor, ask Ask, want func(Report) bool) Report {
	t.Helper()
	var rep Report
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		one, err := d.Examine(ctx, ask)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if rep = one; want(rep) {
			return rep
		}
	}
	t.Fatalf("the report stays %+v", rep)
	return rep
}

// has says whether the report has that of that instance.
func has(rep Report, check, kind string, who ring.Name) bool {
	for _, c := range rep.Checks {
		for _, p := range c.Problems {
			if c.Check == check && p.Case == kind && slices.ContainsFunc(p.Who, func(w Who) bool { return w.Name == who }) {
				return true
			}
		}
	}
	return false
}

func TestExamine(t *testing.T) {
	rings, doctors := fleet(t, 4, 1)
	// The disk of who tests is what it is; a temporary directory may be read by others.
	rep := examined(t, doctors[0], Ask{}, func(rep Report) bool {
		return rep.Answered == 3 && rep.Paths.Tried == 9 && has(rep, Answers, "no doctor", "dc1/prod/3")
	})
	if rep.Verdict == OK || rep.Instances != 4 || rep.Self != "dc1/prod/0" || rep.Paths.Bad != 0 || rep.Paths.Sampled {
		t.Errorf("the report is %+v", rep)
	}
	if _, err := Attend(rings[0], Config{}); !errors.Is(err, ring.ErrRefused) {
		t.Errorf("a second doctor: %v, want ErrRefused", err)
	}
	if _, err := doctors[0].Examine(t.Context(), Ask{Only: "nobody"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("of nobody: %v, want ErrUnknown", err)
	}
	one := examined(t, doctors[0], Ask{Only: "dc1/prod/1"}, func(rep Report) bool { return rep.Paths.Tried == 3+2 })
	if one.Answered != 1 || one.Instances != 1 || has(one, Answers, "no doctor", "dc1/prod/3") {
		t.Errorf("of one: %+v", one)
	}
	rings[2].Close()
	rep = examined(t, doctors[0], Ask{}, func(rep Report) bool { return has(rep, Answers, "dead", "dc1/prod/2") })
	if rep.Verdict != Fail || !has(rep, Quorum, "voter gone", "dc1/prod/2") {
		t.Errorf("with one dead: %+v", rep)
	}
}
