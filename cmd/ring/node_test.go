package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One instance as systemd runs it: READY only once it is in the ring, a reload
// by SIGHUP that names what needs a restart, a goodbye on SIGTERM, exit code 0.
func TestNodeUnderSystemd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: systemd is of Linux")
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

// startNode runs the ring command as a process and reads what it logs.
func startNode(t *testing.T, env string, args ...string) (*exec.Cmd, <-chan string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: starts real processes")
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

func awaitLine(t *testing.T, lines <-chan string, words ...string) {
	t.Helper()
	late := time.After(upPatience)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("the process ended without a line with %q", words)
			}
			if holdsAll(line, words) {
				return
			}
			t.Logf("passed over: %s", line)
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
