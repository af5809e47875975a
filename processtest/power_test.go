//go:build linux

package processtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// A kill is a loss of power for these: their programs are built so that it takes
// with it whatever they have not synced (package forgetful).

// outages takes the power from some, then from all, and so again; every other
// time a part of what was not synced has reached the disk. work waits until those
// have done something that must be kept.
func (k *kept) outages(work func(who []int)) {
	k.t.Helper()
	for round := range 4 {
		seed := ""
		if round%2 == 1 {
			seed = strconv.FormatUint(k.rand.Uint64(), 10)
		}
		k.Env = append(k.Env, "FORGETFUL_SEED="+seed) // the last one counts
		some := k.rand.Perm(5)[:1+k.rand.IntN(2)]
		rest := k.Except(some...)
		if round < 2 {
			k.killed(work, some...)
		} else {
			k.kill(some...)
			work(rest)
			k.reopened(some)
		}
		known := status(k.t, k.Ring, rest[0])
		k.again()
		for i, before := range known.Instances {
			now := status(k.t, k.Ring, i).Instances[i].Incarnation
			if now <= before.Incarnation {
				k.t.Errorf("%s was known as incarnation %d, and comes back as %d", k.Names[i],
					before.Incarnation, now)
			}
		}
		work(k.All())
	}
	// It is no damage, after which an instance would be without its log.
	if contains(k.Logs(), "moved aside") {
		k.t.Error("a loss of power has damaged a log")
	}
}

// reopened starts instances, and waits until the log that each has found has
// another in its place, with which it has not done anything yet.
func (k *kept) reopened(who []int) {
	k.t.Helper()
	log := func(i int) os.FileInfo {
		f, err := os.Stat(filepath.Join(k.dir(i), "bus", "log"))
		if err != nil {
			k.t.Fatal(err)
		}
		return f
	}
	found := map[int]os.FileInfo{}
	for _, i := range who {
		found[i] = log(i)
	}
	k.start(who...)
	for _, i := range who {
		await(k.t, k.Names[i]+" has a new log", func() bool { return !os.SameFile(found[i], log(i)) })
	}
}

// snapshots writes until each instance has a snapshot beside its log.
func (k *kept) snapshots() {
	k.t.Helper()
	value := strings.Repeat("x", 32<<10)
	await(k.t, "all have a snapshot", func() bool {
		k.put(0, "large", value)
		files, err := filepath.Glob(filepath.Join(k.data, "*", "bus", "snapshot.*"))
		return err == nil && len(files) >= len(k.Names)
	})
}

func TestS1PowerLossDropsWhatWasNotSynced(t *testing.T) {
	long(t)
	k := newKept(t, 5, false)
	k.Binary = forgetfulProgram
	k.up(k.All(), k.All())
	w := watch(k)
	k.snapshots()
	c := newClients(k, 4)
	c.served(nil)
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		k.outages(c.served)
		w.told()
	}
	c.check()
	w.check()
}

func TestP2PowerLossLetsFencesGrow(t *testing.T) {
	long(t)
	k := newKept(t, 5, false)
	k.Binary = forgetfulLeaser
	s := newResource(t, "127.0.0.1")
	k.Env = append(k.Env, "LEASER_RESOURCE="+s.url)
	k.up(k.All(), k.All())
	s.passed(t, 0, "")
	for begin, n := time.Now(), 0; k.more(begin, n); n++ {
		k.outages(func([]int) {
			fence, _ := s.holder()
			s.passed(t, fence, "")
		})
	}
	s.check(t)
}

// What the tests above would not find without: a disk that syncs nothing loses
// what was acknowledged.
func TestS1PowerLossIsOne(t *testing.T) {
	t.Parallel()
	k := newKept(t, 3, false)
	k.Binary = forgetfulProgram
	k.Env = append(k.Env, "FORGETFUL_LIES=1")
	k.up(k.All(), k.All())
	k.put(0, "known", "x")
	k.again()
	if a := k.do(0, "GET", fleet.KeyPath("known"), nil); a.Code != http.StatusNotFound {
		t.Errorf("nothing was synced, and there is %d %s", a.Code, a.Body)
	}
}
