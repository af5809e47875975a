//go:build linux

package processtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// shortHold makes a lap of a few instances take some tens of milliseconds.
const shortHold = "4ms"

// kept is a ring whose instances keep what they must, and what a test does to it.
type kept struct {
	*fleet.Ring
	t     *testing.T
	rand  *rand.Rand
	data  string
	flags []string
}

// newKept is such a ring, in namespaces or on loopback, not started. Its chances
// are those of PROCESSTEST_SEED, if that is set.
func newKept(t *testing.T, n int, inNet bool) *kept {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("PROCESSTEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PROCESSTEST_SEED=%d", seed)
	k := &kept{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)), data: t.TempDir(),
		flags: []string{"--hold", shortHold},
	}
	if inNet {
		k.Ring = newRingInNet(t, n)
		k.flags = append(k.flags, "--listen", "0.0.0.0:3000") // for its own host, too
	} else {
		k.Ring = newRing(t, n)
	}
	return k
}

// more says whether there should be another round, after that many: one, or as
// many as go into PROCESSTEST_CHAOS.
func (k *kept) more(begin time.Time, rounds int) bool {
	if rounds == 0 {
		return true
	}
	d, err := time.ParseDuration(os.Getenv("PROCESSTEST_CHAOS"))
	return err == nil && time.Since(begin) < d
}

// long marks a test that takes half a minute.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("PROCESSTEST_CHAOS") == "" {
		t.Skip("SKIPPED: takes long; CI runs it once, with PROCESSTEST_CHAOS=1s, and make chaos for minutes")
	}
	t.Parallel()
}

// dir is the data directory of instance i.
func (k *kept) dir(i int) string { return filepath.Join(k.data, strconv.Itoa(i)) }

// start starts instances with their data.
func (k *kept) start(who ...int) {
	k.t.Helper()
	for _, i := range who {
		start(k.t, k.Ring, i, append([]string{"--data", k.dir(i)}, k.flags...)...)
	}
}

// up starts instances, and waits until those of live are a ring that counts.
func (k *kept) up(who, live []int) {
	k.t.Helper()
	k.start(who...)
	k.whole(live)
}

// whole waits until those instances are the ring, and count.
func (k *kept) whole(live []int) {
	k.t.Helper()
	whole(k.t, k.Ring, live)
	k.anchored(true, live)
	k.ticking(live)
}

// kill ends instances at once, all of them before it waits for any.
func (k *kept) kill(who ...int) {
	k.t.Helper()
	for _, i := range who {
		signal(k.t, k.Ring, i, syscall.SIGKILL)
	}
	for _, i := range who {
		<-k.Proc(i).Done()
	}
}

// anchored waits until the status of each of those says so, or says not.
func (k *kept) anchored(want bool, who []int) {
	k.t.Helper()
	for _, i := range who {
		last := ""
		err := fleet.Await(patience, fmt.Sprintf("%s says anchored=%v", k.Names[i], want), func() bool {
			s, err := k.API.Status(k.Addrs[i])
			last = fmt.Sprintf("%+v, %v", s, err)
			return err == nil && s.Anchored == want
		})
		if err != nil {
			k.t.Fatalf("%v; it says last: %s", err, last)
		}
	}
}

// ticking waits until each of those has counted some more.
func (k *kept) ticking(who []int) {
	k.t.Helper()
	from := make([]uint64, len(k.Names))
	for _, i := range who {
		from[i] = status(k.t, k.Ring, i).Tick
	}
	for _, i := range who {
		await(k.t, k.Names[i]+" counts on", func() bool {
			s, err := k.API.Status(k.Addrs[i])
			return err == nil && s.Tick >= from[i]+3
		})
	}
}

// uncounted waits until those spin and say that nothing counts, and looks for a
// while of laps that nothing does.
func (k *kept) uncounted(who []int) {
	k.t.Helper()
	k.anchored(false, who)
	for _, i := range who {
		before := status(k.t, k.Ring, i)
		laps(k.t, k.Ring, i, 5)
		// The first laps may have been under way when the quorum went.
		first := status(k.t, k.Ring, i)
		laps(k.t, k.Ring, i, 5)
		if now := status(k.t, k.Ring, i); now.Tick != first.Tick || now.Anchored {
			k.t.Errorf("%s without a quorum counted from %d to %d to %d, anchored=%v", k.Names[i],
				before.Tick, first.Tick, now.Tick, now.Anchored)
		}
	}
}

// leader is who leads, once one of those says so of one of them.
func (k *kept) leader(who []int) int {
	k.t.Helper()
	lead := -1
	await(k.t, "somebody leads", func() bool {
		for _, i := range who {
			s, err := k.API.Status(k.Addrs[i])
			if err != nil {
				continue
			}
			if lead = slices.Index(k.Names, s.Leader); slices.Contains(who, lead) {
				return true
			}
		}
		return false
	})
	return lead
}

// down waits until each of those says that each of gone is not in the ring.
func (k *kept) down(who, gone []int) {
	k.t.Helper()
	for _, i := range who {
		await(k.t, fmt.Sprintf("%s knows that %v are away", k.Names[i], gone), func() bool {
			s, err := k.API.Status(k.Addrs[i])
			if err != nil {
				return false
			}
			for _, j := range gone {
				if state := s.State(k.Names[j]); state == "alive" || state == "suspect" {
					return false
				}
			}
			return true
		})
	}
}

// killed kills instances and starts them again, once do has looked at the rest.
func (k *kept) killed(do func(rest []int), who ...int) {
	k.t.Helper()
	k.kill(who...)
	rest := k.Except(who...)
	k.down(rest, who)
	do(rest)
	k.up(who, k.All())
}

// stopped stops one for longer than the others take to see it.
func (k *kept) stopped(do func(rest []int), who int) {
	k.t.Helper()
	signal(k.t, k.Ring, who, syscall.SIGSTOP)
	rest := k.Except(who)
	k.down(rest, []int{who})
	do(rest)
	signal(k.t, k.Ring, who, syscall.SIGCONT)
	k.whole(k.All())
}

// cut takes the network from one, in one direction or in both.
func (k *kept) cut(do func(rest []int), who int, how ...func(int) error) {
	k.t.Helper()
	for _, f := range how {
		if err := f(who); err != nil {
			k.t.Fatal(err)
		}
	}
	rest := k.Except(who)
	k.down(rest, []int{who})
	do(rest)
	if err := k.Net.Heal(who); err != nil {
		k.t.Fatal(err)
	}
	k.whole(k.All())
}

// parted parts the fleet in two: none of few hears any of the rest, nor the
// other way round.
func (k *kept) parted(do func(few, rest []int), few ...int) {
	k.t.Helper()
	rest := k.Except(few...)
	if err := k.Net.Part(few...); err != nil {
		k.t.Fatal(err)
	}
	k.down(rest, few)
	k.down(few, rest)
	do(few, rest)
	for i := range k.Names {
		if err := k.Net.Heal(i); err != nil {
			k.t.Fatal(err)
		}
	}
	k.whole(k.All())
}

// again kills all at once and starts them again.
func (k *kept) again() {
	k.t.Helper()
	k.kill(k.All()...)
	k.up(k.All(), k.All())
}

// bus asks instance i.
func (k *kept) bus(i int) *fleet.Bus {
	k.t.Helper()
	b, err := k.API.Bus(k.Addrs[i])
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}

// awaitBus waits until what instance i knows of the bus is as it should be.
func (k *kept) awaitBus(i int, what string, ok func(*fleet.Bus) bool) *fleet.Bus {
	k.t.Helper()
	var b *fleet.Bus
	// A voter is given up only after a hold-off of eight times the detection.
	err := fleet.Await(3*patience, k.Names[i]+": "+what, func() bool {
		var err error
		b, err = k.API.Bus(k.Addrs[i])
		return err == nil && ok(b)
	})
	if err != nil {
		k.t.Fatalf("%v: %+v", err, b)
	}
	return b
}

// do sends a request as the host of instance i does.
func (k *kept) do(i int, method, path string, body []byte) fleet.Answer {
	k.t.Helper()
	api, addr := k.Local(i, patience)
	a, err := api.Do(method, addr, path, body)
	if err != nil {
		k.t.Fatal(err)
	}
	return a
}

// put writes a key through instance i, which must work.
func (k *kept) put(i int, key, value string) uint64 {
	k.t.Helper()
	a := k.do(i, "PUT", fleet.KeyPath(key), []byte(value))
	if a.Code != 200 {
		k.t.Fatalf("%s: write %s: %d %s", k.Names[i], key, a.Code, a.Error)
	}
	return a.Revision
}
