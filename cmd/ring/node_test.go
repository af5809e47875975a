package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ringofservers.dev/ring"
)

// One instance as systemd runs it: READY only once it is in the ring, a reload
// by SIGHUP that names what needs a restart, a goodbye on SIGTERM, exit code 0.
func TestNodeUnderSystemd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: systemd is of Linux, where CI runs it")
	}
	dir := t.TempDir()
	told, err := net.ListenUnixgram("unixgram",
		&net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()

	port := freePorts(t, 1)
	file := filepath.Join(dir, "ring.toml")
	write := func(more string) {
		t.Helper()
		text := fmt.Sprintf("name = \"solo\"\nroster = [\"solo\"]\naddresses = \"127.0.0.1:%d\"\n", port)
		if err := os.WriteFile(file, []byte(text+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hold = \"50ms\"\n")
	cmd, lines := startNode(t, "NOTIFY_SOCKET="+told.LocalAddr().String(), "node", "--config", file)

	awaitLine(t, lines, "msg=listening", fmt.Sprintf("addr=127.0.0.1:%d", port),
		fmt.Sprintf("page=http://127.0.0.1:%d/", port))
	awaitNotice(t, told, "READY=1")
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("systemd was told READY, but /readyz = %s", resp.Status)
	}

	signalTo := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	write("hold = \"20ms\"\nlisten = \"127.0.0.1:1\"\n")
	signalTo(syscall.SIGHUP)
	awaitLine(t, lines, `changed=hold`)
	awaitLine(t, lines, `need a restart`, `settings=listen`)
	write("nonsense = 1\n")
	signalTo(syscall.SIGHUP)
	awaitLine(t, lines, "not reloaded", "key nonsense is unknown")

	signalTo(syscall.SIGTERM)
	awaitNotice(t, told, "STOPPING=1")
	awaitLine(t, lines, "msg=left")
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}

func TestPageOf(t *testing.T) {
	s := settings{Name: "b"}
	s.Roster.Names = []ring.Name{"a", "b"}
	known := s
	known.Roster.Addresses = []string{"a.example.net:1", "b.example.net:2"}
	tests := []struct {
		listens string
		s       settings
		want    string
	}{
		{"10.0.0.1:3000", known, "http://10.0.0.1:3000/"},
		{"[::1]:3000", known, "http://[::1]:3000/"},
		{"0.0.0.0:3000", known, "http://b.example.net:2/"},
		{"[::]:3000", known, "http://b.example.net:2/"},
		{"[::]:3000", s, "http://127.0.0.1:3000/"},
	}
	for _, test := range tests {
		listens := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(test.listens))
		if got := pageOf(listens, test.s); got != test.want {
			t.Errorf("pageOf(%s) = %s, want %s", test.listens, got, test.want)
		}
	}
}

// A supervisor that signals the process and its group is not impatient; who comes
// back half a second later is.
func TestSecondSignal(t *testing.T) {
	tests := []struct {
		name string
		also os.Signal
		at   time.Duration
		ends time.Duration // with the goodbye after two seconds, or before
	}{
		{"twice within milliseconds", syscall.SIGTERM, 3 * time.Millisecond, 2 * time.Second},
		{"a reload", syscall.SIGHUP, time.Second, 2 * time.Second},
		{"impatience", os.Interrupt, secondAfter, secondAfter},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals, left, ended := make(chan os.Signal), make(chan error, 1), make(chan struct{})
				began := time.Now()
				time.AfterFunc(test.at, func() {
					for range 2 { // of a node, and of a ring that is up
						signals <- test.also
					}
				})
				time.AfterFunc(2*time.Second, func() {
					left <- nil
					close(ended)
				})
				var both sync.WaitGroup
				both.Go(func() {
					hurried, _ := awaitLeft(left, signals, func(os.Signal) {})
					if took := time.Since(began); took != test.ends || (hurried != nil) != (took == test.at) {
						t.Errorf("a node ends after %v by %v, want %v", took, hurried, test.ends)
					}
				})
				both.Go(func() {
					awaitEnd(ended, signals)
					if took := time.Since(began); took != test.ends {
						t.Errorf("ring up ends after %v, want %v", took, test.ends)
					}
				})
				both.Wait()
			})
		})
	}
}

// startNode runs the ring command as a process and reads what it logs.
func startNode(t *testing.T, env string, args ...string) (*exec.Cmd, <-chan string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED by -short, which CI does not give: starts real processes")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Args = append([]string{"ring"}, args...)
	cmd.Env = append(childEnv(os.Environ()), env)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // without effect if it has ended
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(stderr); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	return cmd, lines
}

// awaitLine reads until a line with the words, and returns those before it.
func awaitLine(t *testing.T, lines <-chan string, words ...string) (passed []string) {
	t.Helper()
	late := time.After(upPatience)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the process ended without a line with %q", words)
			}
			if holdsAll(line, words) {
				return passed
			}
			t.Logf("passed over: %s", line)
			passed = append(passed, line)
		case <-late:
			t.Fatalf("no line with %q came within %v", words, upPatience)
		}
	}
}

func awaitNotice(t *testing.T, from *net.UnixConn, word string) {
	t.Helper()
	if err := from.SetReadDeadline(time.Now().Add(upPatience)); err != nil {
		t.Fatal(err)
	}
	notice := make([]byte, 4096)
	for {
		n, err := from.Read(notice)
		if err != nil {
			t.Fatalf("systemd was not told %s: %v", word, err)
		}
		if strings.Contains(string(notice[:n]), word) {
			return
		}
	}
}
