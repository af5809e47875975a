//go:build linux

package processtest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringofservers.dev/internal/fleet"
)

func contains(text, word string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(word))
}

func TestWrongName(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	ends(t, start(t, r, 0, "--name", "dc9/prod/0"), 2, "dc9/prod/0", "roster")
	ends(t, start(t, r, 0, "--name", ""), 2, "name")
}

func TestDuplicateNames(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	names := append([]string(nil), r.Names...)
	names[2] = names[1]
	writeConfig(t, r.Config, "real", names, r.Addrs)
	ends(t, start(t, r, 0), 2, names[1])
}

func TestUnknownKeyInConfig(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	text := "hodl = \"1s\"\n" + fleet.ConfigText("real", r.Names, r.Addrs)
	if err := os.WriteFile(r.Config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ends(t, start(t, r, 0), 2, "hodl", r.Config)
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	l, err := net.Listen("tcp", r.Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ends(t, start(t, r, 0), 1, r.Addrs[0], "in use")
}

func TestOffLoopbackNeedsInsecure(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	r.Addrs[1] = "192.0.2.1:3000"
	writeConfig(t, r.Config, "real", r.Names, r.Addrs)
	ends(t, start(t, r, 0), 2, "insecure")
}

func TestTwoProcessesOfOneNameOneDirectory(t *testing.T) {
	t.Parallel()
	r, data := newRing(t, 3), filepath.Join(t.TempDir(), "data")
	first := start(t, r, 0, "--data", data)
	start(t, r, 1)
	start(t, r, 2)
	whole(t, r, r.All())
	begin := time.Now()
	second, err := r.Group.Start(fleet.Spec{Name: "second", Path: program, Args: []string{
		"node",
		"--name", r.Names[0], "--config", r.Config, "--data", data, "--listen", free(t),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ends(t, second, 1, data, "in use", fmt.Sprint(first.PID()))
	laps(t, r, 0, 2)
	never(t, r, r.All(), begin, "died", "")
}

func TestTwoProcessesOfOneNameTwoAddresses(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 3))
	begin := time.Now()
	second, err := r.Group.Start(fleet.Spec{Name: "second", Path: program, Args: []string{
		"node",
		"--name", r.Names[0], "--config", r.Config, "--listen", free(t),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ends(t, second, 1, r.Names[0])
	laps(t, r, 0, 2)
	never(t, r, r.All(), begin, "died", "")
}

// free is an address of loopback that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	addrs, err := fleet.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

// undisturbed runs an attack on the admin port of instance 1 of a ring: nobody
// is removed, laps go on, and afterwards it holds no more files than before
// and not much more memory.
func undisturbed(t *testing.T, attack func(addr string)) {
	t.Helper()
	r := started(t, newRing(t, 3))
	laps(t, r, 0, 2)
	pid, begin := r.Proc(1).PID(), time.Now()
	files, memory := openFiles(t, pid), resident(t, pid)
	attack(r.Addrs[1])
	laps(t, r, 0, 2)
	never(t, r, r.All(), begin, "died", "")
	whole(t, r, r.All())
	await(t, "the connections are given up", func() bool { return openFiles(t, pid) <= files+4 })
	if grown := resident(t, pid) - memory; grown > 64<<20 {
		t.Errorf("grown by %d MiB", grown>>20)
	}
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func resident(t *testing.T, pid int) int64 {
	t.Helper()
	n, err := fleet.Resident(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// speak sends bytes and reads at most a little of what comes, until the other
// side closes; that it does, soon, is part of what is tested.
func speak(t *testing.T, addr string, text []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(text) // it may be closed under our hands, rightly
	answer, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("%.40q keeps a connection for %v", text, patience)
	}
	return answer
}

const upgrade = "GET /v1/link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ring/1\r\n\r\n"

func TestGarbageOnTheAdminPort(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		noise := make([]byte, 1<<20)
		_, _ = rand.Read(noise)
		for _, text := range [][]byte{
			noise, []byte("\x16\x03\x01\x02\x00\x01"), []byte("SSH-2.0-x\r\n"), []byte("\r\n\r\n"),
			[]byte("GET " + strings.Repeat("a", 1<<21) + " HTTP/1.1\r\n\r\n"),
		} {
			speak(t, addr, append(text, "\r\n\r\n"...))
		}
	})
}

func TestGarbageFrames(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		noise := make([]byte, 1<<16)
		_, _ = rand.Read(noise)
		for _, frames := range [][]byte{
			noise,
			{0, 0, 0, 0},    // a frame of nothing
			{0, 0, 0, 1, 1}, // an empty Hello
			{0, 0, 0, 1, 0}, // a kind that is never sent
			{0, 0, 0, 1, 7}, // a particle before a Hello
			append([]byte{0, 0, 1, 0, 1}, noise[:255]...), // a Hello of noise
		} {
			speak(t, addr, append([]byte(upgrade), frames...))
		}
	})
}

func TestOversizedFrames(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		for _, length := range [][]byte{
			{0xff, 0xff, 0xff, 0xff}, {0, 1, 0, 2}, {0x7f, 0xff, 0xff, 0xff},
		} {
			frame := append(length, 1)
			frame = append(frame, make([]byte, 1<<20)...)
			speak(t, addr, append([]byte(upgrade), frame...))
		}
	})
}

func TestPortScanner(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		for i := range 300 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_ = c.(*net.TCPConn).SetLinger(0) // a reset
			}
			c.Close()
		}
	})
}

// Connections that say nothing are not kept for ever.
func TestSilentConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		speak(t, addr, nil)
		speak(t, addr, []byte(upgrade))
		speak(t, addr, []byte("GET / HTTP/1.1\r\nHos"))
	})
}

func TestBrowserOnTheAdminPort(t *testing.T) {
	t.Parallel()
	undisturbed(t, func(addr string) {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("<html")) {
			t.Errorf("GET /: %s, %v, %.200q", resp.Status, err, page)
		}
		resp, err = http.Get("http://" + addr + "/v1/link")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("GET /v1/link without an upgrade: %s %.200q", resp.Status, text)
		}
		http.DefaultClient.CloseIdleConnections()
	})
}

func TestUpgradeAnswersAsHTTP(t *testing.T) {
	t.Parallel()
	r := newRing(t, 2)
	start(t, r, 0)
	ready(t, r, 0)
	c, err := net.Dial("tcp", r.Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, upgrade); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "ring/1" {
		t.Errorf("answer to an upgrade: %s %v", resp.Status, resp.Header)
	}
}

func TestPeerThatAcceptsAndNeverAnswers(t *testing.T) {
	t.Parallel()
	r := newRing(t, 3)
	deaf(t, r.Addrs[1])
	start(t, r, 0)
	start(t, r, 2)
	whole(t, r, []int{0, 2})
	laps(t, r, 0, 3)
}

func TestPeerThatFallsSilentAndAccepts(t *testing.T) {
	t.Parallel()
	r := started(t, newRing(t, 4))
	at := time.Now()
	signal(t, r, 1, syscall.SIGKILL)
	<-r.Proc(1).Done()
	deaf(t, r.Addrs[1])
	for _, i := range r.Except(1) {
		told(t, r, i, at, "died", r.Names[1])
	}
	whole(t, r, r.Except(1))
	laps(t, r, 0, 2)
}

// The instance behind the proxy is cut off by it when the proxy turns stingy,
// in both directions of every link others have opened to it.
func TestPeerThatReadsAByteAMinute(t *testing.T) {
	t.Parallel()
	r := newRing(t, 5)
	behind := free(t)
	p := newProxy(t, r.Addrs[4], behind)
	// The last instance dials nobody whom others do not dial in a complete
	// graph: were it to dial, its own connections would pass the proxy by.
	for i := range 4 {
		start(t, r, i)
	}
	start(t, r, 4, "--listen", behind)
	whole(t, r, r.All())
	memory := resident(t, r.Proc(0).PID())
	begin := time.Now()
	p.manners.Store(stingy)
	laps(t, r, 0, 5)
	for i := range 4 {
		for j := range 4 {
			never(t, r, []int{i}, begin, "died", r.Names[j])
		}
	}
	if grown := resident(t, r.Proc(0).PID()) - memory; grown > 64<<20 {
		t.Errorf("grown by %d MiB", grown>>20)
	}
	p.manners.Store(polite)
	p.reset()
	whole(t, r, r.All())
}
