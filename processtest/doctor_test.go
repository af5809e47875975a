//go:build linux

package processtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ringofservers.dev/internal/fleet"
)

// findings are the parts of what `ring doctor --json` prints that are looked at here.
type findings struct {
	Verdict  string `json:"verdict"`
	Answered int    `json:"answered"`
	Checks   []struct {
		Check    string `json:"check"`
		Verdict  string `json:"verdict"`
		Problems []struct {
			Case    string `json:"case"`
			Verdict string `json:"verdict"`
			Do      string `json:"do"`
			Count   int    `json:"count"`
			Who     []struct {
				Name string `json:"name"`
				What string `json:"what"`
			} `json:"who"`
		} `json:"problems"`
	} `json:"checks"`
	Paths struct {
		Tried   int       `json:"tried"`
		BadOnes []badPath `json:"bad_ones"`
	} `json:"paths"`
}

type badPath struct {
	To     string   `json:"to"`
	Case   string   `json:"case"`
	What   string   `json:"what"`
	From   []string `json:"from"`
	OneWay []string `json:"one_way"`
}

// finds says whether there is that trouble with that instance, told with what to do.
func (f *findings) finds(check, kind, who, what string) bool {
	for _, c := range f.Checks {
		for _, p := range c.Problems {
			for _, w := range p.Who {
				if c.Check == check && p.Case == kind && p.Do != "" && w.Name == who && contains(w.What, what) {
					return true
				}
			}
		}
	}
	return false
}

// well says whether there is nothing but what a machine that others keep busy does: its disk is
// slow, and a process waits for a processor.
func (f *findings) well() bool {
	for _, c := range f.Checks {
		for _, p := range c.Problems {
			if p.Verdict != "warn" || p.Case != "slow" && p.Case != "late" && p.Case != "starved" {
				return false
			}
		}
	}
	return !slices.ContainsFunc(f.Paths.BadOnes, func(p badPath) bool { return p.Case != "slow" })
}

// path says whether somebody finds that on his way to somebody.
func (f *findings) path(from, to, kind string) bool {
	for _, p := range f.Paths.BadOnes {
		if p.To == to && p.Case == kind && slices.Contains(p.From, from) {
			return true
		}
	}
	return false
}

// oneWay says whether that path is known to work in the other direction.
func (f *findings) oneWay(from, to string) bool {
	return slices.ContainsFunc(f.Paths.BadOnes, func(p badPath) bool {
		return p.To == to && slices.Contains(p.OneWay, from)
	})
}

// doctorCodes are the exit codes of the doctor.
var doctorCodes = map[string]int{"ok": 0, "warn": 3, "fail": 1}

// doctored asks instance i until what is found is as it should be, and checks the exit codes.
func doctored(t *testing.T, r *fleet.Ring, i int, what string, want func(*findings) bool) {
	t.Helper()
	args := []string{program, "doctor", "--addr", r.Addrs[i], "--json", "--timeout", "8s"}
	if r.Net != nil { // where an instance listens everywhere: only its own host may ask
		args[3] = "127.0.0.1:3000"
		args = append([]string{"ip", "netns", "exec", r.Net.Namespace(i)}, args...)
	}
	var last []byte
	err := fleet.Await(patience, what, func() bool {
		cmd := exec.Command(args[0], args[1:]...)
		var f findings
		out, err := cmd.Output()
		if len(out) == 0 || json.Unmarshal(out, &f) != nil {
			last = fmt.Appendf(nil, "%s %v", out, err)
			return false
		}
		if got := cmd.ProcessState.ExitCode(); got != doctorCodes[f.Verdict] {
			t.Fatalf("exit code %d, verdict %q", got, f.Verdict)
		}
		last = out
		return want(&f)
	})
	if err != nil {
		t.Fatalf("%v; the doctor says\n%s", err, last)
	}
}

func TestDoctorFindsNothingWrongWithAHealthyRing(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	r.Keep = true
	started(t, r)
	doctored(t, r, 1, "all is well", func(f *findings) bool {
		return f.well() && f.Answered == 3 && f.Paths.Tried == 6
	})
	out, err := exec.Command(program, "doctor", "--addr", r.Addrs[0], "--name", r.Names[2]).CombinedOutput()
	if !strings.Contains(string(out), " · real · "+r.Names[2]+", by way of "+r.Names[0]) {
		t.Errorf("of one instance it says %s (%v)", out, err)
	}
	out, err = exec.Command(program, "doctor", "--addr", r.Addrs[0], "--name", "nobody").CombinedOutput()
	if code := err.(*exec.ExitError).ExitCode(); code != 3 || !contains(string(out), "nobody") {
		t.Errorf("of nobody: exit code %d, %s", code, out)
	}
}

// With TLS whoever is reached proves who he is, and an authority that is being exchanged is seen.
func TestDoctorOfAnEncryptedRing(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	r.Keep = true
	if err := r.Encrypt(); err != nil {
		t.Fatal(err)
	}
	started(t, r)
	doctored(t, r, 1, "all is well", func(f *findings) bool {
		return f.well() && f.Answered == 3 && f.Paths.Tried == 6
	})
	authority := filepath.Join(r.Dir, "authority")
	if out, err := exec.Command(program, "ca", "rotate", "--dir", authority).CombinedOutput(); err != nil {
		t.Fatalf("ring ca rotate: %v\n%s", err, out)
	}
	roots, err := os.ReadFile(filepath.Join(authority, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Identity(2), "ca.pem"), roots, 0o600); err != nil {
		t.Fatal(err)
	}
	signal(t, r, 2, syscall.SIGHUP)
	doctored(t, r, 0, "a rotation that has come to one", func(f *findings) bool {
		return f.Verdict == "warn" && f.finds("security", "rotation", r.Names[2], "roots")
	})
}

func TestDoctorFindsTheDead(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 3))
	signal(t, r, 2, syscall.SIGKILL)
	doctored(t, r, 0, "the dead is found", func(f *findings) bool {
		return f.Verdict == "fail" && f.finds("answers", "dead", r.Names[2], "refused") &&
			f.finds("quorum", "voter gone", r.Names[2], "2 of 3 voters live")
	})
}

func TestDoctorFindsAnAddressThatLeadsElsewhere(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	free, err := fleet.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Names {
		var flags []string
		if i == 2 { // listens elsewhere: the others cannot dial it, but it dials them
			flags = []string{"--listen", free[0]}
		}
		start(t, r, i, flags...)
	}
	at := r.Addrs[2]
	r.Addrs[2] = free[0]
	whole(t, r, r.All())
	doctored(t, r, 2, "nobody listens there", func(f *findings) bool {
		return f.Verdict == "fail" && f.finds("address", "does not lead here", r.Names[2], at) &&
			f.path(r.Names[0], r.Names[2], "refused") && f.path(r.Names[1], r.Names[2], "refused") &&
			f.oneWay(r.Names[0], r.Names[2]) && f.oneWay(r.Names[1], r.Names[2])
	})
	newProxy(t, at, r.Addrs[0])
	doctored(t, r, 2, "another instance listens there", func(f *findings) bool {
		return f.Verdict == "fail" && f.finds("address", "leads elsewhere", r.Names[2], r.Names[0]) &&
			f.path(r.Names[1], r.Names[2], "stranger")
	})
}

func TestDoctorFindsFewFilesAndAnOpenDirectory(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	r.Keep = true
	low := filepath.Join(r.Dir, "low")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n 200\nexec %q \"$@\"\n", program)
	if err := os.WriteFile(low, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, r, 0)
	start(t, r, 2)
	r.Binary = low
	start(t, r, 1)
	whole(t, r, r.All())
	if err := os.Chmod(r.Data(2), 0o777); err != nil {
		t.Fatal(err)
	}
	doctored(t, r, 0, "few files and an open directory", func(f *findings) bool {
		return f.Verdict == "fail" && f.finds("files", "few", r.Names[1], "200 files") &&
			f.finds("disk", "open to others", r.Names[2], "0777")
	})
}

func TestDoctorFindsAFullDisk(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	r.Keep = true
	if err := os.Mkdir(r.Data(1), 0o700); err != nil {
		t.Fatal(err)
	}
	// A file system that has fewer than 64 MiB from the beginning: one that is full to the last
	// byte ends its instance.
	if err := syscall.Mount("none", r.Data(1), "tmpfs", 0, "size=48m,mode=0700"); err != nil {
		skipLoudly(t, fmt.Errorf("mount a tmpfs: %w", err))
	}
	t.Cleanup(func() { _ = syscall.Unmount(r.Data(1), syscall.MNT_DETACH) })
	started(t, r)
	doctored(t, r, 0, "a full disk", func(f *findings) bool {
		return f.Verdict == "fail" && f.finds("disk", "full", r.Names[1], "of 48 MiB")
	})
}

func TestDoctorFindsAMixtureOfVersions(t *testing.T) {
	long(t)
	other := olderProgram(t)
	r := newRing(t, 3)
	start(t, r, 0)
	start(t, r, 1)
	r.Binary = other
	start(t, r, 2)
	whole(t, r, r.All())
	doctored(t, r, 0, "another version", func(f *findings) bool {
		return f.Verdict == "warn" && f.finds("versions", "differs", r.Names[2], "v0.0.1")
	})
}

func TestDoctorFindsAnotherRoster(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	file := r.Config + ".other"
	names := slices.Clone(r.Names)
	names[1] = "dc1/prod/other"
	writeConfig(t, file, "real", names, r.Addrs)
	start(t, r, 0)
	start(t, r, 1)
	start(t, r, 2, "--config", file)
	whole(t, r, []int{0, 1})
	doctored(t, r, 0, "another roster", func(f *findings) bool {
		return f.Verdict == "fail" && (f.finds("roster", "refused", r.Names[0], "rosters differ") ||
			f.finds("roster", "refused", r.Names[1], "rosters differ"))
	})
}

// A firewall that drops what one sends to another: no connection comes about in either
// direction, they go on by a detour, and the doctor says between whom the way is closed.
func TestDoctorFindsAFirewall(t *testing.T) {
	t.Parallel()
	r := newRingInNet(t, 4)
	started(t, r, "--listen", "0.0.0.0:3000")
	if err := r.Net.Drop(1, 2); err != nil {
		t.Fatal(err)
	}
	doctored(t, r, 0, "a closed way", func(f *findings) bool {
		return f.Verdict == "fail" && f.path(r.Names[1], r.Names[2], "silent") && f.path(r.Names[2], r.Names[1], "silent") &&
			(f.finds("links", "bad", r.Names[1], r.Names[2]) || f.finds("links", "bad", r.Names[2], r.Names[1]))
	})
	if err := r.Net.Heal(2); err != nil {
		t.Fatal(err)
	}
	doctored(t, r, 0, "an open way", func(f *findings) bool { return len(f.Paths.BadOnes) == 0 })
}
