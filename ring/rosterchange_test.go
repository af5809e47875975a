package ring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// reroll has instance i plan and make a change, and waits until all in the ring have it.
func (f *fleet) reroll(i int, changes ...RosterChange) RosterVersion {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	r := f.rings[i]
	plan, err := r.PlanRoster(changes...)
	if err != nil || len(plan.Refused) > 0 {
		f.t.Fatalf("PlanRoster(%v) = refused %v, %v", changes, plan.Refused, err)
	}
	v, err := r.ChangeRoster(ctx, plan)
	if err != nil {
		f.t.Fatalf("ChangeRoster(%v): %v\n%s", changes, err, story(r))
	}
	if v != plan.Next {
		f.t.Errorf("ChangeRoster(%v) = %+v, planned was %+v", changes, v, plan.Next)
	}
	if err := r.RosterEverywhere(ctx, v.Number); err != nil {
		f.t.Fatalf("RosterEverywhere(%d): %v\n%s", v.Number, err, story(r))
	}
	return v
}

// add makes an instance part of the ring and starts it.
func (f *fleet) add(by int, name Name) int {
	f.t.Helper()
	l := listener(f.t, "127.0.0.1:0")
	f.reroll(by, RosterChange{Kind: RosterAdd, Name: name, Address: l.Addr().String()})
	f.roster = f.rings[by].Roster()
	f.rings = append(f.rings, nil)
	i := len(f.rings) - 1
	f.start(i, l)
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := f.rings[i].Joined(ctx); err != nil {
		f.t.Fatalf("%s: Joined: %v\n%s", name, err, story(f.rings[i]))
	}
	return i
}

// ticking is what one instance has counted.
type ticking struct {
	mu      sync.Mutex
	last    uint64
	counted int
	skipped uint64
}

func (c *ticking) take(t Tick) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.Anchored {
		return
	}
	if c.last > 0 && t.Tick != c.last+1 {
		c.skipped += t.Tick - c.last - 1
	}
	c.last = t.Tick
	c.counted++
}

// writer writes one key after the other until it is stopped, and knows which of them were
// acknowledged.
func (f *fleet) writer(i int) (stop func() []string) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var acked []string
	r := f.rings[i]
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			key := fmt.Sprintf("written/%d", n)
			if _, err := r.Bus().Set(ctx, key, []byte(key)); err == nil {
				acked = append(acked, key)
			}
		}
	}()
	return func() []string {
		cancel()
		<-done
		return acked
	}
}

// A ring of three grows to nine and shrinks to three others of those, with its particle
// counting and its bus written to: no number is skipped, and nothing that was acknowledged
// is lost.
func TestR1GrowAndShrink(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	awaitAnchored(t, f.rings[2])
	var ticks ticking
	defer f.rings[2].OnTick(ticks.take)()
	stop := f.writer(2)

	for n := 3; n < 9; n++ {
		f.add(n%3, Name(fmt.Sprintf("dc1/prod/%d", n)))
	}
	for i, r := range f.rings {
		await(t, r, fmt.Sprintf("%d sees nine alive", i), func(v View) bool { return living(v) == 9 })
	}
	stays := map[int]bool{2: true, 5: true, 8: true}
	for i := range f.rings {
		if !stays[i] {
			f.reroll(2, RosterChange{Kind: RosterRetire, Name: f.roster.Names[i]})
		}
	}
	for i, r := range f.rings {
		if stays[i] {
			await(t, r, fmt.Sprintf("%d sees three alive", i), func(v View) bool {
				return living(v) == 3 && len(v.Instances) == 3
			})
			continue
		}
		select {
		case <-r.Done():
		case <-time.After(patience):
			t.Fatalf("%d goes on, and is retired\n%s", i, story(r))
		}
		if err := r.Err(); !errors.Is(err, ErrRetired) {
			t.Errorf("%d ended with %v, want ErrRetired", i, err)
		}
	}
	acked := stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, i := range []int{2, 5, 8} {
		have, err := f.rings[i].Bus().List(ctx, "written/")
		if err != nil {
			t.Fatal(err)
		}
		if len(have) < len(acked) {
			t.Errorf("%d has %d of %d keys that were acknowledged", i, len(have), len(acked))
		}
	}
	await(t, f.rings[5], "the voters are the three", func(View) bool {
		s := f.rings[5].Bus().Status()
		return len(s.Voters) == 3 && s.Quorum
	})
	if got := f.rings[8].RosterVersion(); got.Number != 13 || got != f.rings[2].RosterVersion() {
		t.Errorf("8 goes by %+v, 2 by %+v, want the same version 13", got, f.rings[2].RosterVersion())
	}
	ticks.mu.Lock()
	defer ticks.mu.Unlock()
	if ticks.skipped > 0 || ticks.counted < 10 || len(acked) == 0 {
		t.Errorf("%d ticks counted and %d skipped, %d keys written; want none skipped",
			ticks.counted, ticks.skipped, len(acked))
	}
}

func awaitAnchored(t *testing.T, r *Ring) {
	t.Helper()
	await(t, r, "it counts", func(View) bool { return r.Status().Anchored })
}

func living(v View) (n int) {
	for _, i := range v.Instances {
		if i.State == Alive || i.State == Suspect {
			n++
		}
	}
	return n
}

func TestPlanRosterRefuses(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	f.rings[2].Close()
	f.sees(2, Dead, 2)
	add := func(name Name, addr string) RosterChange {
		return RosterChange{Kind: RosterAdd, Name: name, Address: addr}
	}
	retire := func(i int) RosterChange {
		return RosterChange{Kind: RosterRetire, Name: f.roster.Names[i]}
	}
	for _, test := range []struct {
		changes []RosterChange
		want    string // part of a text; empty: nothing is refused
	}{
		{[]RosterChange{add("dc1/prod/3", "127.0.0.1:1")}, ""},
		{[]RosterChange{add("dc1/prod/3", f.roster.Addresses[1])}, "is in use by"},
		{[]RosterChange{add("dc1/prod/1", "127.0.0.1:1")}, "choose another name"},
		{[]RosterChange{add("dc1/prod/3", "10.0.0.1:1")}, "TLS"},
		{[]RosterChange{add("dc1//3", "127.0.0.1:1")}, "is empty"},
		{[]RosterChange{retire(0)}, "1 live, and 2 have to"},
		{[]RosterChange{retire(2)}, ""},
		{[]RosterChange{retire(0), retire(1), retire(2)}, "the last instance"},
		{[]RosterChange{{Kind: RosterRetire, Name: "x"}}, "no instance is named"},
		{[]RosterChange{{Kind: RosterDemote, Name: "dc1/prod/0"}}, "demote fewer"},
		{[]RosterChange{{Kind: RosterMove, Name: "dc1/prod/0", Address: f.roster.Addresses[0]}}, "already"},
	} {
		plan, err := f.rings[0].PlanRoster(test.changes...)
		got := strings.Join(plan.Refused, "\n")
		if err != nil || test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("PlanRoster(%v) refuses with %q, %v, want %q", test.changes, got, err, test.want)
		}
		if test.want == "" {
			continue
		}
		if _, err := f.rings[0].ChangeRoster(t.Context(), plan); !errors.Is(err, ErrRefused) {
			t.Errorf("ChangeRoster(%v) = %v, want ErrRefused", test.changes, err)
		}
	}
	if _, err := f.rings[0].PlanRoster(); !errors.Is(err, ErrConfig) {
		t.Errorf("PlanRoster of nothing = %v, want ErrConfig", err)
	}
}

// Of two who change the roster at once one wins, and the other is told.
func TestChangeRosterTwice(t *testing.T) {
	f := newFleet(t, 3, nil)
	f.joined()
	f.seeAllAlive()
	awaitAnchored(t, f.rings[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range errs {
		both.Go(func() {
			plan, err := f.rings[i].PlanRoster(RosterChange{
				Kind: RosterAdd, Name: Name(fmt.Sprintf("new%d", i)), Address: fmt.Sprintf("127.0.0.1:%d", i+1),
			})
			if err == nil {
				_, err = f.rings[i].ChangeRoster(ctx, plan)
			}
			errs[i] = err
		})
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrRosterChanged) {
		// Whoever comes after the other has gone through plans on its version.
		if errs[0] != nil || errs[1] != nil {
			t.Errorf("two changes at once: %v and %v", errs[0], errs[1])
		}
	}
	for _, r := range f.rings {
		await(t, r, "it has what was agreed on", func(View) bool { return r.RosterVersion().Number > 1 })
	}
}

// The data directory keeps the newest roster: who starts with the file of before finds those
// that have moved, and whoever was retired is told so before it asks anybody.
func TestR1DataKeepsTheRoster(t *testing.T) {
	dirs := t.TempDir()
	f := newFleet(t, 3, func(i int, c *Config) { c.Data = fmt.Sprintf("%s/%d", dirs, i) })
	f.joined()
	f.seeAllAlive()
	awaitAnchored(t, f.rings[0])
	l := listener(t, "127.0.0.1:0")
	f.reroll(0, RosterChange{Kind: RosterMove, Name: f.roster.Names[1], Address: l.Addr().String()})
	f.rings[1].Close()
	f.start(1, l)
	f.rings[0].Close()
	f.restart(0)
	if got := f.rings[0].RosterVersion().Number; got != 2 {
		t.Errorf("started with the file of before it goes by version %d, want 2", got)
	}
	f.joined()
	f.seeAllAlive()
	awaitAnchored(t, f.rings[0])
	f.reroll(0, RosterChange{Kind: RosterRetire, Name: f.roster.Names[2]})
	<-f.rings[2].Done()
	_, err := Join(t.Context(), Config{
		Ring: "test", Name: f.roster.Names[2], Roster: f.roster, Listen: "127.0.0.1:0", Timing: calm(),
		Data: fmt.Sprintf("%s/2", dirs),
	})
	if !errors.Is(err, ErrRetired) || !strings.Contains(err.Error(), "empty data directory") {
		t.Errorf("Join of who is retired = %v, want ErrRetired and what to do", err)
	}
}
