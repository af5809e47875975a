//go:build linux

package processtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

// upgradeAll restarts all instances with that binary, one after the other, by the recipe of the
// README: `ring run --rolling` beside each, with a script that stands for systemctl. The
// supervisor that it asks is this test. each is called when one is back.
func upgradeAll(t *testing.T, r *fleet.Ring, binary, name string, lease time.Duration, each func(i int)) {
	t.Helper()
	dir := filepath.Join(r.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	systemctl := filepath.Join(dir, "systemctl")
	err := os.WriteFile(systemctl, []byte("#!/bin/sh\n"+
		"me="+dir+"/$(echo \"$RING_INSTANCE\" | tr / _)\n"+
		"echo \"$@\" > $me.asked\n"+
		"until [ -e $me.back ]; do sleep 0.05; done\n"), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	runs := make([]*fleet.Proc, len(r.Names))
	for i := range r.Names {
		runs[i], err = r.Group.Start(fleet.Spec{
			Name: name + " beside " + r.Names[i], Path: program, Dir: r.Dir, Env: []string{"RING_ADDR=" + r.Addrs[i]},
			Args: []string{
				"run", "--rolling", "--name", name, "--lease", lease.String(), "--", "sh", "-c",
				systemctl + " restart ring && until " + binary + " status --quiet; do sleep 0.1; done",
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	file := func(i int, what string) string {
		return filepath.Join(dir, strings.ReplaceAll(r.Names[i], "/", "_")+what)
	}
	for i := range r.Names {
		await(t, r.Names[i]+" has its turn", func() bool {
			_, err := os.Stat(file(i, ".asked"))
			if err != nil && !runs[i].Running() {
				t.Fatalf("%s has ended: %s", runs[i].Spec.Name, runs[i].Output())
			}
			return err == nil
		})
		for k := i + 1; k < len(r.Names); k++ {
			if _, err := os.Stat(file(k, ".asked")); err == nil {
				t.Errorf("%s is restarted while %s is", r.Names[k], r.Names[i])
			}
		}
		signal(t, r, i, syscall.SIGTERM)
		ends(t, r.Proc(i), 0)
		r.Binary = binary
		start(t, r, i)
		await(t, r.Names[i]+" is ready", func() bool {
			_, err := r.API.Get(r.Addrs[i], "/readyz")
			return err == nil
		})
		if err := os.WriteFile(file(i, ".back"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		ends(t, runs[i], 0)
		each(i)
	}
}

// writer writes keys at one instance after the other until it is stopped.
type writer struct {
	r       *fleet.Ring
	prefix  string
	stopped chan struct{}
	done    sync.WaitGroup

	mu    sync.Mutex
	acked []string
}

func startWriter(r *fleet.Ring, prefix string) *writer {
	w := &writer{r: r, prefix: prefix, stopped: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

func (w *writer) run() {
	client := http.Client{Timeout: 10 * time.Second}
	for n := 0; ; n++ {
		select {
		case <-w.stopped:
			return
		case <-time.After(5 * time.Millisecond): // a load, and no flood
		}
		key := fmt.Sprintf("%s/%06d", w.prefix, n)
		url := "http://" + w.r.Addrs[n%len(w.r.Addrs)] + "/v1/bus/keys/" + key + "?timeout=5s"
		req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader([]byte(key)))
		if err != nil {
			continue
		}
		resp, err := client.Do(req)
		if err != nil {
			continue // it is being restarted
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			w.mu.Lock()
			w.acked = append(w.acked, key)
			w.mu.Unlock()
		}
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (w *writer) stop() []string {
	close(w.stopped)
	w.done.Wait()
	return w.acked
}

// allKept fails where an instance does not have all of those keys.
func allKept(t *testing.T, r *fleet.Ring, prefix string, keys []string) {
	t.Helper()
	for i := range r.Names {
		text, err := r.API.Get(r.Addrs[i], "/v1/bus/keys?prefix="+prefix+"/&timeout=20s")
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Entries []struct {
				Key   string `json:"key"`
				Value []byte `json:"value"`
			} `json:"entries"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, e := range answer.Entries {
			has[e.Key] = string(e.Value) == e.Key
		}
		lost := 0
		for _, key := range keys {
			if !has[key] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s has lost %d of %d entries that were acknowledged", r.Names[i], lost, len(keys))
		}
	}
}

// statusText is what `ring status` prints of an instance.
func statusText(t *testing.T, binary, addr string) string {
	t.Helper()
	out, err := exec.Command(binary, "status", "--addr", addr).CombinedOutput()
	if err != nil {
		t.Fatalf("ring status: %v: %s", err, out)
	}
	return string(out)
}

// olderProgram is this source as it spoke before, built once, of another version.
func olderProgram(t *testing.T) string {
	t.Helper()
	binary, err := buildOlder()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildOlder = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(program), "older") // goes with program
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return fleet.Build("..", "./cmd/ring", dir, "-tags", "protocol1", "-ldflags", "-X main.release=v0.0.1")
})

// Where instances sign what they say, one that cannot is kept out, and told why.
func TestEncryptedRingRefusesTheProtocolBefore(t *testing.T) {
	long(t)
	r := newRing(t, 3)
	if err := r.Encrypt(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	start(t, r, 0)
	start(t, r, 1)
	r.Binary = olderProgram(t)
	start(t, r, 2)
	whole(t, r, []int{0, 1})
	if e := told(t, r, 0, began, "refused", r.Names[2]); !contains(e.Text, "upgrade it") {
		t.Errorf("it is told %q", e.Text)
	}
	says(t, r.Proc(2), "upgrade it")
}

// An upgrade of the ring itself from the protocol before to the newest, by the recipe, and back
// again, while the bus is written to: those of both are linked, it goes on counting ticks at each step, nothing that was acknowledged is lost, and the mixture is
// shown while it lasts. PROCESSTEST_OLDER names a binary of an earlier version to begin with.
func TestRollingUpgrade(t *testing.T) {
	long(t)
	lease := 2 * time.Minute
	older := os.Getenv("PROCESSTEST_OLDER")
	released := older != ""
	if released {
		lease = 10 * time.Second // which may be older than that leases are given back
	} else {
		older = olderProgram(t)
	}
	r := newRing(t, 5)
	r.Keep, r.Binary = true, older
	started(t, r)
	w := startWriter(r, "load")
	began := time.Now()
	for step, binary := range []string{program, older} {
		upgradeAll(t, r, binary, fmt.Sprint("upgrade-", step), lease, func(i int) {
			whole(t, r, r.All())
			before, written := status(t, r, 0), w.count()
			await(t, "ticks and writes go on", func() bool {
				s, err := r.API.Status(r.Addrs[0])
				return err == nil && s.Anchored && s.Tick > before.Tick && w.count() > written
			})
			for k, one := range status(t, r, i).Instances {
				want := 1 + step // who is still to come: the first step is from protocol 1 to 2
				if k <= i {
					want = 2 - step
				}
				if !released && one.Protocol != want {
					t.Errorf("after %d of 5 %s is said to speak protocol %d, want %d", i+1, one.Name, one.Protocol, want)
				}
			}
			text := statusText(t, program, r.Addrs[(i+1)%5])
			if mixed := i < len(r.Names)-1; strings.Contains(text, "mixed") != mixed {
				t.Errorf("after %d of 5 it is %v that the mixture is told:\n%s", i+1, !mixed, text)
			}
		})
	}
	keys := w.stop()
	if len(keys) == 0 {
		t.Error("nothing was written")
	}
	allKept(t, r, "load", keys)
	never(t, r, r.All(), began, "died", "")
	never(t, r, r.All(), began, "refused", "")
	t.Logf("%d entries", len(keys))
}
