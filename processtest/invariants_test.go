//go:build linux

package processtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// Both sides say why they do not link, and that the fewer must change.
func TestR1RostersThatDifferDoNotLink(t *testing.T) {
	t.Parallel()
	r := newRing(t, 4)
	other := r.Config + ".other"
	names := append([]string(nil), r.Names...)
	names[1] = "dc1/prod/stranger"
	writeConfig(t, other, "real", names, r.Addrs)
	for i := range 3 {
		start(t, r, i)
	}
	whole(t, r, []int{0, 1, 2})
	begin := time.Now()
	start(t, r, 3, "--config", other)
	told(t, r, 3, begin, "refused", "")
	told(t, r, 2, begin, "refused", "")
	for _, i := range []int{2, 3} {
		await(t, r.Names[i]+" says who must change", func() bool {
			return contains(r.Proc(i).Output(), r.Names[3]+" must change its roster")
		})
		says(t, r.Proc(i), "rosters differ", r.Names[2], r.Names[3])
	}
	for i := range 3 {
		if got := status(t, r, i).State(r.Names[3]); got == "alive" {
			t.Errorf("%s calls %s alive, whose roster differs", r.Names[i], r.Names[3])
		}
	}
	laps(t, r, 0, 1)
	never(t, r, []int{0, 1, 2}, begin, "died", "")
}

func TestR1AnotherRingDoesNotLink(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	other := r.Config + ".other"
	writeConfig(t, other, "another", r.Names, r.Addrs)
	begin := time.Now()
	start(t, r, 0)
	start(t, r, 1, "--config", other)
	for i := range 2 {
		told(t, r, i, begin, "refused", "")
		says(t, r.Proc(i), "another", "real")
	}
}

func TestR2RingClosesAndOpensAgain(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 7))
	signal(t, r, 3, syscall.SIGKILL)
	whole(t, r, r.Except(3))
	signal(t, r, 4, syscall.SIGKILL)
	whole(t, r, r.Except(3, 4))
	<-r.Proc(4).Done()
	<-r.Proc(3).Done()
	start(t, r, 3)
	whole(t, r, r.Except(4))
	start(t, r, 4)
	whole(t, r, r.All())
	view := status(t, r, 0).View
	for _, i := range r.All() {
		if got := status(t, r, i).View; got != view {
			t.Errorf("view of %s is %s, want %s", r.Names[i], got, view)
		}
	}
}

func TestP1OneParticleThatNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 5), "--max-speed")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var followers sync.WaitGroup
	newest := map[string]fleet.Tick{}
	var broke []string
	for _, i := range []int{0, 1, 3, 4} {
		followers.Go(func() {
			err := r.API.Follow(ctx, r.Addrs[i], func(tick fleet.Tick) {
				mu.Lock()
				defer mu.Unlock()
				if last := newest[tick.Instance]; !later(tick, last) {
					broke = append(broke, fmt.Sprintf("%+v behind %+v", tick, last))
				}
				newest[tick.Instance] = tick
			})
			if ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				broke = append(broke, fmt.Sprintf("the ticks of %s ended: %v", r.Names[i], err))
			}
		})
	}
	await(t, "ticks are followed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(newest) == 4
	})
	at := time.Now()
	signal(t, r, 2, syscall.SIGKILL)
	whole(t, r, r.Except(2))
	laps(t, r, 0, 50)
	<-r.Proc(2).Done()
	start(t, r, 2, "--max-speed")
	told(t, r, 0, at, "returned", r.Names[2])
	laps(t, r, 0, 50)
	mu.Lock()
	returned := maps.Clone(newest)
	mu.Unlock()
	await(t, "all went on ticking after the return", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for who, last := range returned {
			if !later(newest[who], last) {
				return false
			}
		}
		return true
	})
	cancel()
	followers.Wait()
	for _, b := range broke {
		t.Error(b)
	}
	epoch := status(t, r, 0).Epoch
	for _, i := range []int{1, 3, 4} {
		if got := status(t, r, i).Epoch; got != epoch {
			t.Errorf("epoch at %s is %+v, at %s %+v", r.Names[i], got, r.Names[0], epoch)
		}
	}
}

// later says whether a is strictly behind b in the order of particles. Who
// dropped them decides between equal counters, and is by name here, not by
// index: one-digit names sort alike.
func later(a, b fleet.Tick) bool {
	if a.Epoch.Number != b.Epoch.Number {
		return a.Epoch.Number > b.Epoch.Number
	}
	if a.Epoch.Counter != b.Epoch.Counter {
		return a.Epoch.Counter > b.Epoch.Counter
	}
	if a.Epoch.Dropper != b.Epoch.Dropper {
		return a.Epoch.Dropper > b.Epoch.Dropper
	}
	return a.Lap > b.Lap
}

func TestH1KilledProcessIsKnownDead(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 7))
	at := time.Now()
	signal(t, r, 5, syscall.SIGKILL)
	for _, i := range r.Except(5) {
		e := told(t, r, i, at, "died", r.Names[5])
		if !e.Proof { // a time-out was not waited for: bench has how long it takes
			t.Errorf("%s has no proof of it: %s", r.Names[i], e.Text)
		}
	}
	whole(t, r, r.Except(5))
	laps(t, r, 6, 2)
}

func TestH1StoppedProcessIsKnownDeadAndReturns(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 5))
	at := time.Now()
	signal(t, r, 2, syscall.SIGSTOP)
	for _, i := range r.Except(2) {
		if e := told(t, r, i, at, "died", r.Names[2]); e.Proof {
			t.Errorf("%s claims a proof of silence: %s", r.Names[i], e.Text)
		}
	}
	whole(t, r, r.Except(2))
	signal(t, r, 2, syscall.SIGCONT)
	whole(t, r, r.All())
}

func TestH2BusyMachineKillsNobody(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 5))
	begin := time.Now()
	for range 8 {
		if _, err := r.Group.Start(fleet.Spec{
			Name: "burner", Path: "sh", Args: []string{"-c", "while :; do :; done"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	laps(t, r, 0, 8)
	never(t, r, r.All(), begin, "died", "")
}

func TestH2PacketLossKillsNobody(t *testing.T) {
	t.Parallel()
	r := started(t, newRingInNet(t, 5))
	begin := time.Now()
	if err := r.Net.Lossy(10); err != nil {
		t.Fatal(err)
	}
	laps(t, r, 0, 8)
	never(t, r, r.All(), begin, "died", "")
}

func TestH2FlappingInstanceIsDamped(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 4))
	flap := func() {
		at := time.Now()
		signal(t, r, 1, syscall.SIGSTOP)
		for _, i := range r.Except(1) {
			told(t, r, i, at, "died", r.Names[1])
		}
		signal(t, r, 1, syscall.SIGCONT)
	}
	flap()
	whole(t, r, r.All()) // the first return does not wait
	at := time.Now()
	flap()
	told(t, r, 1, at, "damped", "")
	await(t, "the others show until when its return waits", func() bool {
		until := status(t, r, 0).Instances[1].DampedUntil
		return until != nil && time.Until(*until) > 10*time.Second
	})
	laps(t, r, 0, 2)
	if got := status(t, r, 0).State(r.Names[1]); got == "alive" {
		t.Errorf("the flapping instance is %s right after its second death", got)
	}
}

func TestH4OneWayDropIsABadLinkOnly(t *testing.T) {
	t.Parallel()
	r := started(t, newRingInNet(t, 7))
	badLink(t, r, func() error { return r.Net.Drop(3, 4) })
}

func TestH4CutPairIsABadLinkOnly(t *testing.T) {
	t.Parallel()
	r := started(t, newRingInNet(t, 7))
	badLink(t, r, func() error {
		if err := r.Net.Drop(3, 4); err != nil {
			return err
		}
		return r.Net.Drop(4, 3)
	})
}

// badLink breaks the link of 3 and 4: it is shown, nobody is removed, laps go
// on by a detour, and when it heals the detour ends.
func badLink(t *testing.T, r *fleet.Ring, cut func() error) {
	t.Helper()
	begin := time.Now()
	if err := cut(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 3, 4} {
		await(t, r.Names[i]+" shows the bad link", func() bool {
			for _, l := range status(t, r, i).BadLinks {
				if l.From == r.Names[3] && l.To == r.Names[4] || l.From == r.Names[4] && l.To == r.Names[3] {
					return true
				}
			}
			return false
		})
	}
	laps(t, r, 0, 5)
	never(t, r, r.All(), begin, "died", "")
	never(t, r, r.All(), begin, "view_changed", "")
	for _, i := range []int{3, 4} {
		if err := r.Net.Heal(i); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the link is good again", func() bool {
		return len(status(t, r, 0).BadLinks) == 0 && status(t, r, 3).Detour == ""
	})
	whole(t, r, r.All())
	never(t, r, r.All(), begin, "died", "")
}

func TestH5BlackHoledInstanceKnowsIt(t *testing.T) {
	t.Parallel()
	r := started(t, newRingInNet(t, 5))
	cutOff(t, r, func() error {
		if err := r.Net.Deafen(2); err != nil {
			return err
		}
		return r.Net.Mute(2)
	})
}

func TestH5MuteInstanceKnowsIt(t *testing.T) {
	t.Parallel()
	r := started(t, newRingInNet(t, 5))
	cutOff(t, r, func() error { return r.Net.Mute(2) })
}

// cutOff takes the network from 2: the others go on without it, it knows that
// it is cut off and calls none of them alive, and it is back soon.
func cutOff(t *testing.T, r *fleet.Ring, cut func() error) {
	t.Helper()
	begin := time.Now()
	if err := cut(); err != nil {
		t.Fatal(err)
	}
	whole(t, r, r.Except(2))
	await(t, "it knows that it is cut off", func() bool { return status(t, r, 2).CutOff })
	told(t, r, 2, begin, "cut_off", "")
	await(t, "it calls nobody alive", func() bool {
		s := status(t, r, 2)
		for _, one := range s.Instances {
			if one.Index != 2 && (one.State == "alive" || one.State == "dead") {
				return false
			}
		}
		return true
	})
	laps(t, r, 0, 2)
	if err := r.Net.Heal(2); err != nil {
		t.Fatal(err)
	}
	whole(t, r, r.All())
	await(t, "it sees a quorum again", func() bool { return !status(t, r, 2).CutOff })
	for _, i := range r.Except(2) {
		if n, err := r.Count(i, begin, "died", r.Names[2]); err != nil || n != 1 {
			t.Errorf("%s told %d deaths (%v), want 1", r.Names[i], n, err)
		}
		for _, j := range r.Except(2) {
			never(t, r, []int{i}, begin, "died", r.Names[j])
		}
	}
}

func writeConfig(t *testing.T, path, ring string, names, addrs []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(fleet.ConfigText(ring, names, addrs)), 0o644); err != nil {
		t.Fatal(err)
	}
}
