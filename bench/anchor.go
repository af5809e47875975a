package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"ringofservers.dev/internal/fleet"
)

// anchor measures what consensus costs the particle, and what it keeps: ticks
// through deaths, laps per second, a fleet that shrinks, one that loses its
// quorum. All instances have a data directory on disk.
func anchor(b *bench) error {
	n := or(b.Nodes, 11)
	for _, part := range []struct {
		name string
		run  func(*bench, int) error
	}{
		{"next", nextTicks}, {"laps", anchoredLaps}, {"shrink", shrink}, {"quorum", quorumLost},
	} {
		if !b.wants(part.name) {
			continue
		}
		b.say("%s", part.name)
		if err := part.run(b, n); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		b.clear()
	}
	return nil
}

// anchoredRing starts n instances on disk and waits until they count laps.
func anchoredRing(b *bench, n int, flags ...string) (*fleet.Ring, error) {
	r, err := b.ring(n, nil)
	if err != nil {
		return nil, err
	}
	r.Keep = true
	r.Flags = append(r.Flags, append(flags, "--log-level", "warn")...)
	if err = r.StartAll(30 * time.Second); err == nil {
		err = awaitAnchored(r, r.All(), 30*time.Second)
	}
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(r.Logs()))
	}
	return r, nil
}

// killing is one way to kill an instance.
type killing struct {
	pace, victim string
	flags        []string
	leader, held bool
	want         time.Duration
}

var killings = []killing{
	{"full speed", "a follower", []string{"--max-speed"}, false, false, 100 * time.Millisecond},
	{"full speed", "the leader", []string{"--max-speed"}, true, false, 500 * time.Millisecond},
	{"default", "a follower", nil, false, false, 100 * time.Millisecond},
	{"default", "the leader", nil, true, false, 500 * time.Millisecond},
	{"default", "the leader, holding it", nil, true, true, 500 * time.Millisecond},
}

// nextTicks kills one instance at a time and looks when a survivor, the one
// behind it, counts on: the longest pause between two ticks, less what the
// particle rested, by the survivor's own times.
func nextTicks(b *bench, n int) error {
	trials := or(b.Trials, 10)
	t := b.out.table(fmt.Sprintf("next tick after SIGKILL, %d instances, min / median / max", n),
		"pace", "killed", "trials", "pause less rests", "new epoch", "back to counting everywhere")
	for _, k := range killings {
		var pauses, everywhere []time.Duration
		epochs := 0
		var r *fleet.Ring
		killed := map[int]bool{}
		for trial := range trials {
			lead, err := -1, error(nil)
			if r != nil {
				lead, err = busLeader(r, 0)
			}
			if r == nil || err != nil || len(killed) > n/2 || k.leader && killed[lead] {
				b.clear()
				clear(killed)
				if r, err = anchoredRing(b, n, k.flags...); err != nil {
					return err
				}
				if err := b.rest(2 * time.Second); err != nil {
					return err
				}
			}
			b.say("%s, %s, trial %d", k.pace, k.victim, trial+1)
			d, err := killOnce(b, r, k, killed)
			if err != nil {
				return fmt.Errorf("%s, %s: %w\n%s", k.pace, k.victim, err, tail(r.Logs()))
			}
			pauses, everywhere = append(pauses, d.pause), append(everywhere, d.everywhere)
			if d.epoch {
				epochs++
			}
		}
		b.clear()
		t.row(k.pace, k.victim, trials, spread(pauses), epochs, spread(everywhere))
		b.out.target(median(pauses) <= k.want, fmt.Sprintf("next tick at %s, %s killed", k.pace, k.victim),
			"<= "+short(k.want), short(median(pauses)))
	}
	return nil
}

// onePause is what one death did to the ticks.
type onePause struct {
	pause      time.Duration // longest between two ticks, less rests
	everywhere time.Duration // until the last survivor says that it is anchored
	epoch      bool          // the particle was replaced
}

func killOnce(b *bench, r *fleet.Ring, k killing, killed map[int]bool) (*onePause, error) {
	n := len(r.Names)
	victim, err := busLeader(r, 0)
	if err != nil {
		return nil, err
	}
	if !k.leader {
		lead := victim
		for victim == lead || killed[victim] {
			victim = rand.IntN(n)
		}
	}
	killed[victim] = true
	ticks := follow(b.ctx, r, (victim+1)%n)
	defer ticks.stop()
	at, err := kill(b, r, victim, k.held)
	if err != nil {
		return nil, err
	}
	// Within this the longest pause is over, or else it is the answer.
	if err := b.rest(4 * time.Second); err != nil {
		return nil, err
	}
	d := new(onePause)
	seen := ticks.ticks()
	if d.pause, d.epoch, err = longestPause(seen, at, at.Add(3*time.Second)); err != nil {
		return nil, err
	}
	if d.everywhere, err = anchoredBy(r, r.Except(victim), at); err != nil {
		return nil, err
	}
	<-r.Proc(victim).Done()
	if err := r.Start(victim); err != nil {
		return nil, err
	}
	if err := r.AwaitWhole(30*time.Second, r.All()); err != nil {
		return nil, err
	}
	if err := awaitAnchored(r, r.All(), 30*time.Second); err != nil {
		return nil, err
	}
	return d, b.rest(time.Second)
}

// kill ends instance i: at some moment, or when the particle has come there.
func kill(b *bench, r *fleet.Ring, i int, held bool) (time.Time, error) {
	if err := b.rest(time.Second + time.Duration(rand.IntN(1000))*time.Millisecond); err != nil {
		return time.Time{}, err
	}
	if held {
		there := follow(b.ctx, r, i)
		defer there.stop()
		from := time.Now()
		err := fleet.Await(10*time.Second, "the particle comes to the leader", func() bool {
			return !there.after(from).IsZero()
		})
		if err != nil {
			return time.Time{}, err
		}
	}
	at := time.Now()
	return at, r.Proc(i).Signal(syscall.SIGKILL)
}

// lapMost is after what time without a tick nothing can be said of a pause: a lap
// at the default pace takes one second.
const lapMost = 2500 * time.Millisecond

// longestPause is the longest time between two counted ticks of which the later
// one lies between from and till, less what the particle rested between them;
// and whether a new epoch began in it.
func longestPause(seen []fleet.Tick, from, till time.Time) (
	pause time.Duration, epoch bool, err error,
) {
	var last *fleet.Tick
	var held time.Duration
	for i := range seen {
		t := &seen[i]
		held += t.Held
		if !t.Anchored {
			continue
		}
		if last != nil && t.At.After(from) && t.At.Before(till) {
			if d := t.At.Sub(last.At) - held; d > pause {
				pause, epoch = d, t.Epoch != last.Epoch
			}
		}
		last, held = t, 0
	}
	if last == nil || last.At.Before(till.Add(-lapMost)) {
		return 0, false, fmt.Errorf("the last tick counted was %v before the end", till.Sub(last.At))
	}
	return pause, epoch, nil
}

// anchoredBy is how long after at the last of live said that laps count again;
// zero if none said that they had stopped.
func anchoredBy(r *fleet.Ring, live []int, at time.Time) (latest time.Duration, err error) {
	for _, i := range live {
		events, err := r.Events(i, at)
		if err != nil {
			return 0, err
		}
		lost := false
		for _, e := range events {
			switch e.Kind {
			case "unanchored":
				lost = true
			case "anchored":
				lost = false
				latest = max(latest, e.At.Sub(at))
			}
		}
		if lost {
			return 0, fmt.Errorf("%s does not count yet", r.Names[i])
		}
	}
	return latest, nil
}

// anchoredLaps compares laps per second with those of the same ring when most of
// those who vote have lost their disks: it spins, and nobody counts.
func anchoredLaps(b *bench, n int) error {
	rounds, span := or(b.Trials, 5), or(b.Span, 5*time.Second)
	t := b.out.table(fmt.Sprintf("laps per second at full speed, %d instances, %v each", n, span),
		"round", "anchored", "unanchored", "ratio")
	var ratios []float64
	for round := range rounds {
		laps, err := lapsOfBoth(b, n, span, round%2 == 0)
		if err != nil {
			return err
		}
		ratios = append(ratios, laps[0]/laps[1])
		t.row(round+1, fmt.Sprintf("%.0f", laps[0]), fmt.Sprintf("%.0f", laps[1]), laps[0]/laps[1])
	}
	b.out.target(median(ratios) >= 0.95, "laps anchored against unanchored, median of ratios",
		">= 0.95", fmt.Sprintf("%.2f", median(ratios)))
	return nil
}

// lapsOfBoth counts the laps of a ring that is anchored and of one that is not, both
// started again, from the same data but for that of all voters but one.
func lapsOfBoth(b *bench, n int, span time.Duration, anchoredFirst bool) (laps [2]float64, err error) {
	defer b.clear()
	r, err := anchoredRing(b, n, "--max-speed")
	if err != nil {
		return laps, err
	}
	known, err := busOf(r, 0)
	if err != nil {
		return laps, err
	}
	var voters []string
	for _, v := range known.Voters {
		voters = append(voters, v.Name)
	}
	stopAll(r)
	kept := make([]fs.FS, n)
	for i := range kept {
		if err := os.Rename(r.Data(i), r.Data(i)+".kept"); err != nil {
			return laps, err
		}
		kept[i] = os.DirFS(r.Data(i) + ".kept")
	}
	for k := range laps {
		anchored := (k == 0) == anchoredFirst
		for i := range kept {
			if slices.Contains(voters[1:], r.Names[i]) && !anchored {
				continue
			}
			if err := os.CopyFS(r.Data(i), kept[i]); err != nil {
				return laps, err
			}
		}
		counted, err := lapsOnDisk(b, r, span, anchored)
		if err != nil {
			return laps, err
		}
		if anchored {
			laps[0] = counted
		} else {
			laps[1] = counted
		}
		stopAll(r)
		for i := range kept {
			if err := os.RemoveAll(r.Data(i)); err != nil {
				return laps, err
			}
		}
	}
	return laps, nil
}

// lapsOnDisk starts the ring again and counts its laps.
func lapsOnDisk(b *bench, r *fleet.Ring, span time.Duration, anchored bool) (float64, error) {
	err := r.StartAll(30 * time.Second)
	if err == nil && anchored {
		err = awaitAnchored(r, r.All(), 30*time.Second)
	}
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, tail(r.Logs()))
	}
	if err := b.rest(2 * time.Second); err != nil { // until nobody hopes for the others any more
		return 0, err
	}
	laps, s, err := b.countLaps(r, span)
	if err == nil && s.Anchored != anchored {
		err = fmt.Errorf("anchored is %v after the count of laps", s.Anchored)
	}
	return laps, err
}

func stopAll(r *fleet.Ring) {
	for i := range r.Names {
		r.Proc(i).Kill()
	}
}

// shrink kills one after the other until three are left, waiting each time until
// those who vote all live.
func shrink(b *bench, n int) error {
	r, err := anchoredRing(b, n)
	if err != nil {
		return err
	}
	if err := b.rest(2 * time.Second); err != nil {
		return err
	}
	begin := time.Now()
	ticks := follow(b.ctx, r, 0)
	defer ticks.stop()
	t := b.out.table(fmt.Sprintf("from %d to 3, one by one, by instance 0", n), "killed",
		"instances left", "voters", "right after", "longest pause of ticks", "less rests",
		"laps not counted", "told why")
	live := r.All()
	var worst time.Duration
	for len(live) > 3 {
		if err := b.rest(2 * time.Second); err != nil {
			return err
		}
		victim := live[1+rand.IntN(len(live)-1)]
		lead, err := busLeader(r, 0)
		if err != nil {
			return err
		}
		at, err := kill(b, r, victim, false)
		if err != nil {
			return err
		}
		live = slices.DeleteFunc(live, func(i int) bool { return i == victim })
		var voters int
		var wrong error
		err = fleet.Await(2*time.Minute, "the voters are right", func() bool {
			voters, wrong = votersRight(r, live)
			return wrong == nil
		})
		if err != nil {
			return fmt.Errorf("%w: %w\n%s", err, wrong, tail(r.Logs()))
		}
		right := time.Since(at)
		if err := b.rest(2500 * time.Millisecond); err != nil {
			return err
		}
		seen := ticks.ticks()
		pause, _, err := longestPause(seen, at, time.Now())
		if err != nil {
			return fmt.Errorf("%d left: %w", len(live), err)
		}
		raw, uncounted := wholePause(seen, at)
		e, _ := r.Find(0, at, "unanchored", "")
		worst = max(worst, raw)
		who := r.Names[victim]
		if victim == lead {
			who += ", leading"
		}
		t.row(who, len(live), voters, short(right), short(raw), short(pause), uncounted, e.Text)
	}
	b.out.target(worst < 2500*time.Millisecond, "longest pause of ticks, rests of a second a lap included",
		"stays anchored: < 2.5 s", short(worst))
	b.out.note("shrinking took %s", short(time.Since(begin)))
	return upwards(ticks.ticks(), begin)
}

// wholePause is the longest time between two counted ticks after that moment,
// rests and all, and how many laps went by uncounted.
func wholePause(seen []fleet.Tick, from time.Time) (pause time.Duration, uncounted int) {
	var last *fleet.Tick
	for i := range seen {
		t := &seen[i]
		if !t.Anchored {
			if t.At.After(from) {
				uncounted++
			}
			continue
		}
		if last != nil && t.At.After(from) {
			pause = max(pause, t.At.Sub(last.At))
		}
		last = t
	}
	return pause, uncounted
}

// votersRight says how many vote, by the first of live; an error that they are
// not all of them alive, or fewer than there could be.
func votersRight(r *fleet.Ring, live []int) (int, error) {
	s, err := busOf(r, live[0])
	if err != nil {
		return 0, err
	}
	for _, v := range s.Voters {
		if v.Role != "voter" || v.State != "alive" || !slices.ContainsFunc(live, func(i int) bool {
			return r.Names[i] == v.Name
		}) {
			return 0, fmt.Errorf("%s is a %s and %s", v.Name, v.Role, v.State)
		}
	}
	if len(s.Voters) != min(len(live), 7) || s.Leader == "" {
		return 0, fmt.Errorf("%d voters, leader %q", len(s.Voters), s.Leader)
	}
	return len(s.Voters), nil
}

// quorumLost kills six of eleven at once, of them at least four of the seven who
// vote, and brings them back.
func quorumLost(b *bench, n int) error {
	trials := or(b.Trials, 5)
	var told, again, first []time.Duration
	for range trials {
		r, err := anchoredRing(b, n)
		if err != nil {
			return err
		}
		if err := b.rest(2 * time.Second); err != nil {
			return err
		}
		out, back, tick, err := loseQuorum(b, r)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, tail(r.Logs()))
		}
		told, again, first = append(told, out), append(again, back), append(first, tick)
		b.clear()
	}
	t := b.out.table(fmt.Sprintf("%d of %d killed at once, %d times, min / median / max", n/2+1, n,
		trials), "the last survivor says that laps do not count", "all started again: all say that they count",
		"and the first tick counted")
	t.row(spread(told), spread(again), spread(first))
	return nil
}

func loseQuorum(b *bench, r *fleet.Ring) (told, again, first time.Duration, err error) {
	victims, err := manyVoters(r, len(r.Names)/2+1)
	if err != nil {
		return 0, 0, 0, err
	}
	live := r.Except(victims...)
	ticks := follow(b.ctx, r, live[0])
	defer ticks.stop()
	begin := time.Now()
	if err := b.rest(2 * time.Second); err != nil {
		return 0, 0, 0, err
	}
	at := time.Now()
	for _, v := range victims {
		if err := r.Proc(v).Signal(syscall.SIGKILL); err != nil {
			return 0, 0, 0, err
		}
	}
	if told, err = saidBy(r, live, at, "unanchored"); err != nil {
		return 0, 0, 0, err
	}
	if err := b.rest(5 * time.Second); err != nil {
		return 0, 0, 0, err
	}
	for _, i := range live {
		if s, err := r.API.Status(r.Addrs[i]); err != nil || s.Anchored {
			return 0, 0, 0, fmt.Errorf("%s counts without a quorum: %w", r.Names[i], err)
		}
	}
	back := time.Now()
	for _, v := range victims {
		<-r.Proc(v).Done()
		if err := r.Start(v); err != nil {
			return 0, 0, 0, err
		}
	}
	if again, err = saidBy(r, r.All(), back, "anchored"); err != nil {
		return 0, 0, 0, err
	}
	if err := b.rest(3 * time.Second); err != nil {
		return 0, 0, 0, err
	}
	seen := ticks.ticks()
	for _, t := range seen {
		if t.Anchored && t.At.After(back) {
			return told, again, t.At.Sub(back), upwards(seen, begin)
		}
	}
	return 0, 0, 0, fmt.Errorf("no tick was counted")
}

// manyVoters are k instances, of which as many vote as can be.
func manyVoters(r *fleet.Ring, k int) ([]int, error) {
	s, err := busOf(r, 0)
	if err != nil {
		return nil, err
	}
	var voters, others []int
	for i, name := range r.Names {
		if s.role(name) == "voter" {
			voters = append(voters, i)
		} else {
			others = append(others, i)
		}
	}
	return append(voters, others...)[:k], nil
}

// saidBy is when the last of live told that event, after at.
func saidBy(r *fleet.Ring, live []int, at time.Time, kind string) (latest time.Duration, err error) {
	err = fleet.Await(60*time.Second, "all say "+kind, func() bool {
		latest = 0
		for _, i := range live {
			e, ok := r.Find(i, at, kind, "")
			if !ok {
				return false
			}
			latest = max(latest, e.At.Sub(at))
		}
		return true
	})
	return latest, err
}

// upwards holds the ticks of one instance against what they promise.
func upwards(seen []fleet.Tick, from time.Time) error {
	var last *fleet.Tick
	for i := range seen {
		t := &seen[i]
		if !t.Anchored || t.At.Before(from) {
			continue
		}
		if last != nil && t.Tick <= last.Tick {
			return fmt.Errorf("tick %d (lap %d) after tick %d (lap %d)", t.Tick, t.Lap, last.Tick, last.Lap)
		}
		last = t
	}
	return nil
}
