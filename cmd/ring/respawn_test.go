package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/respawn"
	"ringofservers.dev/ring"
)

func TestRespawnSettings(t *testing.T) {
	withoutSettings(t)
	s, err := loaded(t, "--config", written(t, wholeFile))
	if err != nil {
		t.Fatal(err)
	}
	want := respawn.Rules{
		Grace: 7 * time.Second, Timeout: 9 * time.Second, Return: 2 * time.Minute,
		Backoff: 3 * time.Second, Limit: 4,
	}
	if s.Respawn.Rules != want || !slices.Equal(s.Respawn.Command, []string{"/etc/ring/respawn", "now"}) {
		t.Errorf("respawn settings %+v", s.Respawn)
	}
	for _, name := range []string{starterEnv, "RING_DEAD", "RING_DEAD_INDEX", "RING_INSTANCE"} {
		for _, o := range options {
			if envName(o.key) == name {
				t.Errorf("%s is the setting %s", name, o.key)
			}
		}
	}
}

// Most of a ring is killed at once: without a quorum the others ask for them, each for
// those behind it, and all come back.
func TestH3UpSurvivesMostKilledAtOnce(t *testing.T) {
	l := startUp(t, 11, "--hold", "5ms", "--quiet")
	_, line := l.await(0, "the ring is 11 of 11 alive")
	before := l.status()
	victims := []int{1, 2, 4, 5, 6, 9}
	for _, i := range victims {
		process, err := os.FindProcess(int(before.Instances[i].PID))
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	l.await(line, "local/0", "asking for local/1 to be started again")
	l.await(0, "local/3", "asking for local/4 to be started again")
	l.await(0, "local/8", "asking for local/9 to be started again")
	now := l.again("whole and anchored", func(s ring.Status) bool {
		return alive(s) == len(s.Instances) && s.Anchored
	})
	for i, was := range before.Instances {
		is := now.Instances[i]
		if dead := slices.Contains(victims, i); dead != (is.PID != was.PID) {
			t.Errorf("%s was %d and is %d; killed: %v", is.Name, was.PID, is.PID, dead)
		}
	}
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	asked := map[int]int{}
	for _, line := range l.printed() {
		if strings.Contains(line, "nobody asks for") {
			t.Errorf("the starter acted by itself: %s", line)
		}
		for _, i := range victims {
			if strings.Contains(line, fmt.Sprintf("asking for local/%d to be started again: incarnation 1 ", i)) {
				asked[i]++
			}
		}
	}
	for _, i := range victims {
		if asked[i] == 0 {
			t.Errorf("nobody asked for local/%d", i)
		}
	}
	l.freed()
}

// again waits until the first instance, which may just be starting, has such a status.
func (l *localRing) again(what string, ok func(ring.Status) bool) ring.Status {
	l.t.Helper()
	var s ring.Status
	for late := time.Now().Add(upPatience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/status", l.first))
		if err != nil {
			continue
		}
		err = json.NewDecoder(resp.Body).Decode(&s)
		resp.Body.Close()
		if err == nil && ok(s) {
			return s
		}
	}
	l.t.Fatalf("the ring is not %s: %s, anchored %v", what, aliveText(s), s.Anchored)
	return s
}

// All of a ring is killed at once: then its starter does it.
func TestUpSurvivesAllKilledAtOnce(t *testing.T) {
	l := startUp(t, 3, "--hold", "5ms", "--quiet")
	l.await(0, "the ring is 3 of 3 alive")
	for _, i := range l.status().Instances {
		process, err := os.FindProcess(int(i.PID))
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	l.again("whole and anchored", func(s ring.Status) bool {
		return alive(s) == 3 && s.Anchored && s.Instances[0].Incarnation > 1
	})
	if err := l.interrupt(); err != nil {
		t.Errorf("Ctrl-C: %v, want exit code 0", err)
	}
	l.freed()
}

// Only who knows the secret is heard, and only for an instance that there is.
func TestAskStarter(t *testing.T) {
	a, err := listenForAsks([]child{{name: "local/0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	ask := func(url, name string) string {
		if err := askStarter(context.Background(), url, name); err != nil {
			return err.Error()
		}
		return ""
	}
	for range 3 { // asked again, the newest counts
		if text := ask(a.url, "local/0"); text != "" {
			t.Errorf("ask for local/0: %s", text)
		}
	}
	if at := <-a.byName["local/0"]; time.Since(at) > upPatience || len(a.byName["local/0"]) > 0 {
		t.Errorf("asked at %v, and %d more", at, len(a.byName["local/0"]))
	}
	if text := ask(a.url, "local/7"); !strings.Contains(text, "no such instance") {
		t.Errorf("ask for local/7: %q", text)
	}
	if text := ask(a.url[:len(a.url)-5]+"x/", "local/0"); !strings.Contains(text, "404") {
		t.Errorf("ask without the secret: %q", text)
	}
	if text := ask("", "local/0"); !strings.Contains(text, "by nobody else") {
		t.Errorf("ask nobody: %q", text)
	}
}
