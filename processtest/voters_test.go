//go:build linux

package processtest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// voters are the indexes of those who vote, and the ids of their logs; whole is
// false while anybody learns or is about to stop.
func (k *kept) voters(b *fleet.Bus) (who []int, ids map[int]string, whole bool) {
	ids = map[int]string{}
	for _, v := range b.Voters {
		if v.Role != "voter" {
			continue
		}
		i := slices.Index(k.Names, v.Name)
		if had, twice := ids[i]; twice {
			k.t.Errorf("%s votes as %s and as %s", v.Name, had, v.ID)
		}
		ids[i] = v.ID
		who = append(who, i)
	}
	slices.Sort(who)
	return who, ids, len(who) == len(b.Voters)
}

// settled waits until those of live agree on seven voters, all of them in live,
// with nobody else under way, and returns them with the ids of their logs.
func (k *kept) settled(what string, live []int, ok func(who []int, ids map[int]string) bool) (
	[]int, map[int]string,
) {
	k.t.Helper()
	var who []int
	var ids map[int]string
	for _, i := range live {
		k.awaitBus(i, what, func(b *fleet.Bus) bool {
			var whole bool
			who, ids, whole = k.voters(b)
			return whole && len(who) == min(7, len(live)) && b.Leader != "" &&
				!slices.ContainsFunc(who, func(i int) bool { return !slices.Contains(live, i) }) &&
				ok(who, ids)
		})
	}
	return who, ids
}

func anyVoters([]int, map[int]string) bool { return true }

func TestVotersAreReplacedOneByOne(t *testing.T) {
	t.Parallel()
	k := newKept(t, 9, false)
	k.up(k.All(), k.All())
	first, _ := k.settled("seven vote", k.All(), anyVoters)
	lead := k.leader(k.All())
	others := slices.DeleteFunc(slices.Clone(first), func(i int) bool { return i == lead })
	k.rand.Shuffle(len(others), func(a, b int) { others[a], others[b] = others[b], others[a] })

	// Two voters gone for good; both who did not vote come in.
	gone := others[:2]
	k.kill(gone...)
	now, _ := k.settled("others vote in their place", k.Except(gone...), anyVoters)
	k.put(lead, "after", "x")

	// Back, they vote no more, and follow.
	k.up(gone, k.All())
	for _, i := range gone {
		k.awaitBus(i, "it follows and does not vote", func(b *fleet.Bus) bool {
			who, _, whole := k.voters(b)
			return slices.Equal(who, now) && whole
		})
	}

	// A log that is lost comes back under another id, with no hold-off.
	lost := now[slices.IndexFunc(now, func(i int) bool { return i != k.leader(k.All()) })]
	_, before, _ := k.voters(k.bus(lost))
	k.kill(lost)
	if err := os.RemoveAll(k.dir(lost)); err != nil {
		t.Fatal(err)
	}
	k.up([]int{lost}, k.All())
	last, ids := k.settled("the lost log has a new id", k.All(),
		func(who []int, ids map[int]string) bool {
			return !slices.Contains(who, lost) || ids[lost] != before[lost]
		})

	// After all were killed at once those vote who did so last, not those of the beginning.
	high := uint64(0)
	for i := range k.Names {
		high = max(high, status(t, k.Ring, i).Tick)
	}
	k.again()
	if who, now := k.settled("they vote again", k.All(), anyVoters); !slices.Equal(who, last) ||
		!maps.Equal(now, ids) {
		t.Errorf("%v vote after all were killed, as %v; it was %v, as %v", who, now, last, ids)
	}
	if s := status(t, k.Ring, lost); s.Tick <= high {
		t.Errorf("tick %d behind %d", s.Tick, high)
	}
	if a := k.do(lost, "GET", fleet.KeyPath("after"), nil); a.Code != 200 {
		t.Errorf("the key is gone: %d %s", a.Code, a.Error)
	}
}

func TestVoterWhoseLogIsDamagedRejoins(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.up(k.All(), k.All())
	for range 50 {
		k.put(0, "some", "value")
	}
	_, ids := k.settled("all vote", k.All(), anyVoters)
	log := filepath.Join(k.dir(1), "bus", "log")
	signal(t, k.Ring, 1, syscall.SIGTERM)
	ends(t, k.Proc(1), 0)
	edited(t, log, func(b []byte) []byte {
		at := end(b) / 2
		for i := range b[at : at+8] {
			b[at+i] ^= 0x55
		}
		return b
	})
	k.up([]int{1}, k.All())
	says(t, k.Proc(1), "damaged", "moved aside")
	if _, err := os.Stat(filepath.Join(k.dir(1), "bus.corrupt-1", "log")); err != nil {
		t.Error(err)
	}
	k.settled("it votes under a new id", k.All(), func(_ []int, now map[int]string) bool {
		return now[1] != ids[1] && now[0] == ids[0] && now[2] == ids[2]
	})

	// What a loss of power left of a write that nobody was told of is nothing.
	k.kill(2)
	edited(t, filepath.Join(k.dir(2), "bus", "log"), func(b []byte) []byte {
		at := (end(b) + 7) / 8 * 8
		copy(b[at:], "what was written of a group when the power went")
		return b
	})
	k.up([]int{2}, k.All())
	k.settled("it votes as before", k.All(), func(_ []int, now map[int]string) bool {
		return now[2] == ids[2]
	})

	// Another instance's log is nobody's to take up.
	k.kill(0)
	if err := os.RemoveAll(filepath.Join(k.dir(0), "bus")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(k.dir(0), "bus"),
		os.DirFS(filepath.Join(k.dir(1), "bus"))); err != nil {
		t.Fatal(err)
	}
	k.start(0)
	ends(t, k.Proc(0), 1, "another instance", k.Names[1], k.dir(0))
}

// end is where the last byte of a log is that is not zero.
func end(b []byte) int {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return len(b)
}

func edited(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a recovery lifts everything by, at the least.
const (
	leapEpoch = 1 << 20
	leapTick  = 1 << 37
	leapFence = 1 << 40
)

func TestBusIsRecoveredFromTheLastOneLeft(t *testing.T) {
	t.Parallel()
	k := newKept(t, 5, false)
	k.up(k.All(), k.All())
	k.put(0, "kept", "x")
	k.awaitBus(0, "it has all voters", func(b *fleet.Bus) bool { return len(b.Voters) == 5 })
	if a := k.do(0, "POST", "/v1/bus/recover", nil); a.Code != 422 || a.Error == "" {
		t.Errorf("a recovery of what is not lost: %d %q", a.Code, a.Error)
	}
	before, high := k.bus(0), status(t, k.Ring, 0).Tick
	lost := []int{1, 2, 3}
	k.kill(lost...)
	k.uncounted([]int{0, 4})
	k.minorityWithout(0)
	if a := k.do(0, "POST", "/v1/bus/recover", nil); a.Code != 200 {
		t.Fatalf("recover: %d %s", a.Code, a.Error)
	}
	// Of five voters one is left: it decides alone until the others are in.
	after := k.follows([]int{0, 4}, before)
	if after.Epoch < before.Epoch+leapEpoch || after.Limit < before.Limit+leapTick ||
		after.Fence < before.Fence+leapFence || after.Era <= before.Era {
		t.Errorf("after %+v it is %+v: it has not leapt", before, after)
	}
	k.anchored(true, []int{0, 4})
	k.ticking([]int{0, 4})
	if s := status(t, k.Ring, 4); s.Tick <= high {
		t.Errorf("tick %d behind %d", s.Tick, high)
	}
	// Those that were lost have what they had, or nothing.
	if err := os.RemoveAll(k.dir(2)); err != nil {
		t.Fatal(err)
	}
	k.up(lost, k.All())
	k.follows(k.All(), before)
	k.settled("all vote again", k.All(), anyVoters)
	k.has("kept", "x")

	// A backup brings back what there was, and nothing else.
	backup := k.do(3, "GET", "/v1/bus/backup", nil)
	if backup.Code != 200 || len(backup.Body) == 0 {
		t.Fatalf("backup: %d, %d bytes", backup.Code, len(backup.Body))
	}
	k.put(1, "kept", "y")
	k.put(1, "new", "y")
	before, high = k.bus(2), status(t, k.Ring, 2).Tick
	if a := k.do(2, "POST", "/v1/bus/restore", backup.Body); a.Code != 200 {
		t.Fatalf("restore: %d %s", a.Code, a.Error)
	}
	k.follows(k.All(), before)
	k.settled("all vote again", k.All(), anyVoters)
	k.whole(k.All())
	k.has("kept", "x")
	if a := k.do(0, "GET", fleet.KeyPath("new"), nil); a.Code != 404 {
		t.Errorf("what was written after the backup is there: %d %s", a.Code, a.Body)
	}
	if s := status(t, k.Ring, 0); s.Tick <= high {
		t.Errorf("tick %d behind %d", s.Tick, high)
	}
	// What 4 gave up when it followed the recovery is a backup too.
	aside, err := filepath.Glob(filepath.Join(k.dir(4), "bus.given-up-*"))
	if err != nil || len(aside) == 0 {
		t.Fatalf("%s gave up %q, %v", k.Names[4], aside, err)
	}
	given, err := os.ReadFile(aside[0])
	if err != nil {
		t.Fatal(err)
	}
	before = k.bus(2)
	if a := k.do(2, "POST", "/v1/bus/restore", given); a.Code != 200 {
		t.Errorf("restore what was given up: %d %s", a.Code, a.Error)
	}
	k.follows(k.All(), before)
	// A byte that is not what it was is no way to another history.
	before = k.bus(2)
	given[len(given)/2] ^= 1
	for what, b := range map[string][]byte{"no backup": []byte("no backup"), "damaged": given} {
		if a := k.do(2, "POST", "/v1/bus/restore", b); a.Code != 422 || !contains(a.Error, what) {
			t.Errorf("what is %s: %d %s", what, a.Code, a.Error)
		}
	}
	if now := k.bus(2); now.History != before.History {
		t.Errorf("what was refused began history %s", now.History)
	}
}

// minorityWithout checks that instance i refuses a write for want of a quorum.
func (k *kept) minorityWithout(i int) {
	k.t.Helper()
	if a := k.do(i, "PUT", fleet.KeyPath("kept"), []byte("z")); a.Code != 503 ||
		!contains(a.Error, "no quorum") {
		k.t.Errorf("%s without a quorum answers a write with %d %s", k.Names[i], a.Code, a.Error)
	}
}

// follows waits until all of those go by one history that is not the one before.
func (k *kept) follows(who []int, before *fleet.Bus) *fleet.Bus {
	k.t.Helper()
	first := k.awaitBus(who[0], "another history", func(b *fleet.Bus) bool {
		return b.History != before.History && b.Era > before.Era && b.Leader != ""
	})
	for _, i := range who[1:] {
		k.awaitBus(i, "the same history", func(b *fleet.Bus) bool {
			return b.History == first.History && b.Revision >= first.Revision
		})
	}
	return first
}

// has checks that every instance reads that value.
func (k *kept) has(key, value string) {
	k.t.Helper()
	for i := range k.Names {
		e, err := k.API.Entry(k.Addrs[i], key)
		if err != nil || string(e.Value) != value {
			k.t.Errorf("%s has %s=%q (%v), want %q", k.Names[i], key, e.Value, err, value)
		}
	}
}

func TestP3SixOfElevenKilledAtOnce(t *testing.T) {
	t.Parallel()
	k := newKept(t, 11, false)
	k.up(k.All(), k.All())
	// Six with most of the voters among them.
	_, ids := k.settled("seven vote", k.All(), anyVoters)
	var victims, rest []int
	for _, i := range k.rand.Perm(11) {
		if _, votes := ids[i]; votes && len(victims) < 6 {
			victims = append(victims, i)
		} else {
			rest = append(rest, i)
		}
	}
	w := watch(k)
	k.ticking(k.All())
	k.kill(victims...)
	k.down(rest, victims)
	k.uncounted(rest)
	high := w.highest()
	k.up(victims, k.All())
	for i := range k.Names {
		if s := status(t, k.Ring, i); s.Tick <= high {
			t.Errorf("%s counts %d, behind %d", k.Names[i], s.Tick, high)
		}
	}
	w.told()
	w.check()
}

// The leader that leaves in order hands the lead over: the particle goes on, of
// the same epoch, and no tick is lost but, at most, that of the lap it leaves in.
func TestP3LeaderThatLeavesLosesOneLapAtMost(t *testing.T) {
	t.Parallel()
	k := newKept(t, 5, false)
	k.up(k.All(), k.All())
	k.settled("all vote", k.All(), anyVoters)
	w := watch(k)
	lead := k.leader(k.All())
	rest := k.Except(lead)
	k.ticking(k.All())
	epoch, begin := status(t, k.Ring, rest[0]).Epoch, time.Now()
	signal(t, k.Ring, lead, syscall.SIGTERM)
	ends(t, k.Proc(lead), 0)
	next := k.leader(rest)
	k.whole(rest)
	never(t, k.Ring, rest, begin, "dropped", "")
	never(t, k.Ring, rest, begin, "died", "")
	for _, i := range rest {
		if got := status(t, k.Ring, i).Epoch; got != epoch {
			t.Errorf("the epoch at %s is %+v, it was %+v", k.Names[i], got, epoch)
		}
		events, err := k.Events(i, begin)
		skipped := uint64(0)
		for _, e := range events {
			skipped += e.Skipped
		}
		if err != nil || skipped > 1 {
			t.Errorf("%s lost %d ticks (%v), and only the lap under way may be", k.Names[i], skipped, err)
		}
	}
	elected := told(t, k.Ring, next, begin, "elected", k.Names[next])
	t.Logf("%s leads %v after the signal", k.Names[next], elected.At.Sub(begin))
	w.check()
}
