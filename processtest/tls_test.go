//go:build linux

package processtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A ring whose links are encrypted closes and opens again as another does, and an instance
// whose identity is of somebody else does not even start.
func TestR3EncryptedRingClosesAndOpensAgain(t *testing.T) {
	t.Parallel()
	r := newRing(t, 5)
	r.Keep = true
	if err := r.Encrypt(); err != nil {
		t.Fatal(err)
	}
	r = started(t, r)
	begin := time.Now()
	laps(t, r, 0, 2)
	signal(t, r, 3, syscall.SIGKILL)
	<-r.Proc(3).Done()
	whole(t, r, r.Except(3))
	told(t, r, 0, begin, "died", r.Names[3])
	start(t, r, 3)
	whole(t, r, r.All())
	laps(t, r, 0, 2)

	// All at once, and each with what it must remember: the ticks go on.
	tick := status(t, r, 0).Tick
	for _, i := range r.All() {
		signal(t, r, i, syscall.SIGKILL)
		<-r.Proc(i).Done()
	}
	for _, i := range r.All() {
		start(t, r, i)
	}
	whole(t, r, r.All())
	await(t, "ticks go on", func() bool { return status(t, r, 0).Tick > tick })
	for _, i := range r.All() {
		if out := r.Proc(i).Output(); strings.Contains(out, "refused a link") {
			t.Errorf("%s refused somebody:\n%s", r.Names[i], out)
		}
	}

	// SIGHUP takes another identity, and keeps the old one where that is torn.
	identity := filepath.Join(r.Identity(2), "identity.pem")
	good, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(identity, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	signal(t, r, 2, syscall.SIGHUP)
	await(t, "it says that the identity was not reloaded", func() bool {
		return contains(r.Proc(2).Output(), "identity not reloaded")
	})
	laps(t, r, 2, 2)
	signal(t, r, 2, syscall.SIGKILL)
	<-r.Proc(2).Done()
	if err := r.Start(2); err != nil {
		t.Fatal(err)
	}
	if err := r.Proc(2).Wait(patience); err != nil || r.Proc(2).ExitCode() != 2 {
		t.Errorf("with a torn identity it ends with %d (%v):\n%s", r.Proc(2).ExitCode(), err, r.Proc(2).Output())
	}
}
