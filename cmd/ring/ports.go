package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// isRefused says whether a dial found the host but nobody listening.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// checkPorts fails if one of n ports of this host from first on is taken, and
// says by whom where the system tells.
func checkPorts(first, n int) error {
	var taken []string
	for port := first; port < first+n; port++ {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			if err := listener.Close(); err != nil {
				return fmt.Errorf("try port %d: %w", port, err)
			}
			continue
		}
		if errors.Is(err, syscall.EACCES) {
			return exitf(exitFailed, "port %d needs root; give another --first-port", port)
		}
		who := ""
		if holder := listenerOf(port); holder != "" {
			who = " by " + holder
		}
		taken = append(taken, fmt.Sprintf("%d%s", port, who))
	}
	if len(taken) == 0 {
		return nil
	}
	verb := "port is taken"
	if len(taken) > 1 {
		verb = "ports are taken"
	}
	const shown = 4
	if more := len(taken) - shown; more > 0 {
		taken = append(taken[:shown:shown], fmt.Sprintf("and %d more", more))
	}
	return exitf(exitFailed, "%s: %s; end what runs there or give another --first-port, such as %d",
		verb, strings.Join(taken, ", "), suggestPort(first, n))
}

// suggestPort is the next round port at which all n may be free.
func suggestPort(first, n int) int {
	for try := first + 1000; try+n <= 65535; try += 1000 {
		if listenerFree(try) && listenerFree(try+n-1) {
			return try
		}
	}
	return 20000
}

func listenerFree(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// listenerOf names the process that listens on a port of this host, such as
// "node (pid 4711)", as far as /proc shows it to this user; else "".
func listenerOf(port int) string {
	inodes := make(map[string]bool)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listeningInodes(file, port, inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	sockets, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, path := range sockets {
		target, err := os.Readlink(path)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(path, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "pid " + pid
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

// listeningInodes adds the sockets that listen on port by a table of the
// kernel, see proc(5).
func listeningInodes(file string, port int, into map[string]bool) {
	table, err := os.Open(file)
	if err != nil {
		return
	}
	defer table.Close()
	const listening = "0A"
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listening {
			continue
		}
		_, hexPort, _ := strings.Cut(fields[1], ":")
		raw, err := hex.DecodeString(hexPort)
		if err == nil && len(raw) == 2 && int(raw[0])<<8|int(raw[1]) == port {
			into[fields[9]] = true
		}
	}
}
