//go:build !windows

package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/admin"
	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// authorityOf makes one, and directories with identities: of instance a, of the operators
// alice (admin), bob (read) and mallory (admin, revoked), and with ca.pem alone in "roots".
func authorityOf(t *testing.T, ringName string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	a, err := trust.Init(filepath.Join(dir, "ca"), ringName, 0)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, role trust.Role) {
		t.Helper()
		m, err := a.Identity(trust.ID{Role: role, Ring: ringName, Name: name}, nil, time.Hour)
		if err == nil {
			if err = os.Mkdir(filepath.Join(dir, name), 0o700); err == nil {
				err = trust.WriteDir(filepath.Join(dir, name), m)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("mallory", trust.Admin)
	if _, err := a.Revoke(trust.ID{Role: trust.Admin, Ring: ringName, Name: "mallory"}, "test"); err != nil {
		t.Fatal(err)
	}
	write("alice", trust.Admin)
	write("bob", trust.Read)
	write("a", trust.Instance)
	if err := os.Mkdir(filepath.Join(dir, "roots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := trust.WriteDir(filepath.Join(dir, "roots"), trust.Material{Roots: a.Roots()}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// faraway serves r over TLS with an identity, as to callers of another host.
func faraway(t *testing.T, r *ring.Ring, identity string) (addr string) {
	t.Helper()
	store, err := trust.Open(identity)
	if err != nil {
		t.Fatal(err)
	}
	h := admin.New(r, admin.Options{Certificate: holders(store)})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.RemoteAddr = "10.0.0.9:9"
		h.ServeHTTP(w, req)
	}))
	server.TLS = store.Server()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://")
}

// Whom the command believes, who it says it is, and what it says where that does not do.
func TestTarget(t *testing.T) {
	for _, env := range []string{"RING_ADDR", "RING_CA", "RING_CERT", "RING_KEY", "RING_TOKEN", "RING_TOKEN_FILE"} {
		t.Setenv(env, "")
	}
	dir := authorityOf(t, "test")
	other := authorityOf(t, "other")
	r, plain := inProcess(t, "test", false)
	addr, impostor := faraway(t, r, filepath.Join(dir, "a")), faraway(t, r, filepath.Join(other, "a"))
	operator := faraway(t, r, filepath.Join(dir, "alice"))
	plain = strings.TrimPrefix(plain, "http://")
	ca := filepath.Join(dir, "roots", "ca.pem")
	made, said := command(t, plain, exitDone, "token", "create", "reader", "--role", "read", "--expires", "1d")
	token := strings.TrimSpace(made)
	if !strings.HasPrefix(token, "ring_") || !strings.Contains(said, "token reader may read, until 20") {
		t.Fatalf("created %q, said %q", made, said)
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }

	for _, c := range []struct {
		name string
		addr string
		args string // more than the command
		env  string // NAME=value
		read int    // exit code of a read
		set  int    // of a write, -1 for do not try
		said string // by the read, or the write if the read succeeds
	}{
		{"no root", "https://" + addr, "", "", exitUsage, -1, "give --ca"},
		{"root alone", "https://" + addr, "--ca " + ca, "", exitRefused, exitRefused, "shown nothing: give a token"},
		{"https is meant", addr, "--ca " + ca, "", exitRefused, exitRefused, "shown nothing: give a token"},
		{"identity of an admin", addr, "--cert " + in("alice"), "", 0, 0, ""},
		{"its file", addr, "--cert " + in("alice/identity.pem"), "", 0, 0, ""},
		{"certificate, key and root", "https://" + addr, "--ca " + ca + " --cert " + in("alice/identity.pem") +
			" --key " + in("alice/identity.pem"), "", 0, 0, ""},
		{"another key", addr, "--cert " + in("alice") + " --key " + in("bob/identity.pem"), "", exitUsage, -1, "does not fit"},
		{"key alone", "https://" + addr, "--key " + in("bob/identity.pem"), "", exitUsage, -1, "goes with --cert"},
		{"identity to read", addr, "--cert " + in("bob"), "", 0, exitRefused, "this needs the role admin; certificate bob has the role read"},
		{"identity of an instance", addr, "--cert " + in("a"), "", 0, exitRefused, "has the role read"},
		{"identity by the environment", addr, "", "RING_CERT=" + in("alice"), 0, 0, ""},
		{"flag before environment", addr, "--cert " + in("bob"), "RING_CERT=" + in("alice"), 0, exitRefused, "has the role read"},
		{"revoked identity", addr, "--ca " + ca + " --cert " + in("mallory"), "", exitRefused, -1, "does not take the certificate"},
		{"identity of another ring", addr, "--ca " + ca + " --cert " + filepath.Join(other, "alice"), "", exitUsage, -1, "copy both from one authority"},
		{"no such file", addr, "--cert " + in("nobody"), "", exitUsage, -1, "--cert: "},
		{"another authority", impostor, "--ca " + ca, "", exitRefused, -1, "is not trusted"},
		{"an operator answers", operator, "--ca " + ca, "", exitRefused, -1, "not its role"},
		{"token", addr, "--ca " + ca + " --token " + token, "", 0, exitRefused, "token reader has the role read"},
		{"token of a file", addr, "--ca " + ca + " --token @" + file, "", 0, exitRefused, "token reader has the role read"},
		{"token of the environment", addr, "--ca " + ca, "RING_TOKEN=" + token, 0, exitRefused, "token reader has the role read"},
		{"that of a file", addr, "--ca " + ca, "RING_TOKEN_FILE=" + file, 0, exitRefused, "token reader has the role read"},
		{"no token instead", addr, "--ca " + ca + " --token=", "RING_TOKEN=" + token, exitRefused, -1, "shown nothing"},
		{"token before identity", addr, "--cert " + in("alice") + " --token " + token, "", 0, exitRefused, "token reader has the role read"},
		{"wrong token", addr, "--ca " + ca + " --token " + token + "x", "", exitRefused, -1, "not known here, was revoked, or has expired"},
		{"no file of a token", addr, "--ca " + ca + " --token @" + in("none"), "", exitUsage, -1, "--token: "},
		{"no token", addr, "--ca " + ca + " --token a\tb", "", exitUsage, -1, "that is no token"},
		{"token on this host", plain, "--token " + token, "", 0, exitRefused, "token reader has the role read"},
		{"plain text to TLS", addr, "", "", exitRefused, -1, "speaks TLS: give --addr https://" + addr},
		{"TLS to plain text", "https://" + plain, "--ca " + ca, "", exitRefused, -1, "has no TLS: give --addr http://" + plain},
		{"token in the clear", "10.255.255.1:1", "--token " + token, "", exitUsage, -1, "in the clear"},
		{"no path", "unix://x", "", "", exitUsage, -1, "give the whole path"},
		{"no socket", "unix:///nowhere/ring.sock", "", "", exitUnreachable, -1, "no instance at unix:///nowhere/ring.sock: nothing listens there"},
		{"no address", "ftp://x:1", "", "", exitUsage, -1, "neither host:port nor a URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if name, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(name, value)
			}
			more := strings.Split(c.args, " ")
			if c.args == "" {
				more = nil
			}
			_, said := command(t, c.addr, c.read, append([]string{"status"}, more...)...)
			if c.set >= 0 {
				_, wrote := command(t, c.addr, c.set, append([]string{"bus", "set", "k", "v"}, more...)...)
				if c.read == exitDone {
					said = wrote
				}
			}
			if !strings.Contains(said, c.said) {
				t.Errorf("said %q, want %q", said, c.said)
			}
			if strings.Contains(said, token) {
				t.Errorf("the token is printed: %q", said)
			}
		})
	}
}

// Who is revoked is refused on a connection that stands, at once.
func TestRevokedOnAnOpenConnection(t *testing.T) {
	dir := t.TempDir()
	a, err := trust.Init(dir, "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	identity := func(name string, role trust.Role) trust.Material {
		t.Helper()
		m, err := a.Identity(trust.ID{Role: role, Ring: "test", Name: name}, nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	store, err := trust.New(identity("a", trust.Instance))
	if err != nil {
		t.Fatal(err)
	}
	alice, err := trust.New(identity("alice", trust.Admin))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := inProcess(t, "test", false)
	server := httptest.NewUnstartedServer(admin.New(r, admin.Options{Certificate: holders(store)}))
	server.TLS = store.Server()
	server.StartTLS()
	defer server.Close()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: alice.Client(trust.ID{})}}
	var reused bool
	ask := func() int {
		t.Helper()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/view", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
		return resp.StatusCode
	}
	if code := ask(); code != http.StatusOK {
		t.Fatalf("alice is answered %d", code)
	}
	if _, err := a.Revoke(alice.ID(), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Learn(nil, a.Revoked()); err != nil {
		t.Fatal(err)
	}
	if code := ask(); code != http.StatusUnauthorized || !reused {
		t.Errorf("revoked, on the same connection (%v): %d, want 401", reused, code)
	}
}

// Streams work over TLS too, and help shows no secret of the environment.
func TestFollowOverTLS(t *testing.T) {
	dir := authorityOf(t, "test")
	r, _ := inProcess(t, "test", false)
	addr := faraway(t, r, filepath.Join(dir, "a"))
	command(t, addr, exitDone, "broadcast", "t", "x", "--cert", filepath.Join(dir, "alice"))
	c, err := newClient(target{addr: addr, cert: filepath.Join(dir, "bob")})
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.open(t.Context(), http.MethodGet, "/v1/ticks?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 100)); err != nil {
		t.Error(err)
	}
	t.Setenv("RING_TOKEN", "ring_topsecret")
	if out, said := command(t, addr, exitDone, "status", "--help"); strings.Contains(out+said, "topsecret") {
		t.Error("help shows the token")
	}
}

func TestTokenCommands(t *testing.T) {
	_, addr := inProcess(t, "test", false)
	if out, _ := command(t, addr, exitDone, "token", "list"); out != "no tokens\n" {
		t.Errorf("list of none: %q", out)
	}
	command(t, addr, exitUsage, "token", "create", "ci")
	command(t, addr, exitUsage, "token", "create", "ci", "--role", "read", "--expires", "soon")
	command(t, addr, exitFailed, "token", "create", "c i", "--role", "root")
	out, said := command(t, addr, exitDone, "token", "create", "ci", "--role", "admin")
	if !strings.HasPrefix(out, "ring_") || strings.Count(out, "\n") != 1 ||
		!strings.Contains(said, "token ci may do everything, until it is revoked") {
		t.Errorf("create: %q, %q", out, said)
	}
	if _, said := command(t, addr, exitFalse, "token", "create", "ci", "--role", "read"); !strings.Contains(said, "revoke it first") {
		t.Errorf("create it again: %q", said)
	}
	list, _ := command(t, addr, exitDone, "token", "list")
	for _, want := range []string{"NAME", "ci", "admin", "loopback 127.0.0.1"} {
		if !strings.Contains(list, want) {
			t.Errorf("list lacks %s:\n%s", want, list)
		}
	}
	if strings.Contains(list, strings.TrimSpace(out)) {
		t.Error("list shows the token")
	}
	command(t, addr, exitRefused, "bus", "set", "ring/tokens/x", "{}")
	command(t, addr, exitDone, "token", "revoke", "ci")
	command(t, addr, exitFalse, "token", "revoke", "ci")
}

func TestParseLife(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "0d": 0, "-1d": 0, "d": 0,
		"2w": 14 * 24 * time.Hour, "1y": 365 * 24 * time.Hour, "101y": 0, "1.5d": 0, "0s": 0, "": 0, "99999999999d": 0, "106752d": 0, "soon": 0,
	} {
		if got, err := parseLife(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("parseLife(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

// An instance with a socket is asked there, also where loopback may do nothing, and takes the
// socket along when it goes.
func TestNodeWithASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring.sock")
	port := strconv.Itoa(freePorts(t, 1))
	cmd, lines := startNode(t, "", "node", "--name", "a", "--roster", "a", "--addresses", "127.0.0.1:"+port,
		"--socket", path, "--loopback-role", "read", "--log-format", "json")
	at := "unix://" + path
	late, look := time.After(upPatience), time.NewTicker(10*time.Millisecond)
	defer look.Stop()
	for run([]string{"bus", "set", "k", "v", "--addr", at}, io.Discard, io.Discard) != exitDone {
		select {
		case <-look.C:
		case <-late:
			t.Fatal("no instance answers at its socket")
		}
	}
	awaitLine(t, lines, `"msg":"audit"`, `"role":"admin","via":"socket"`, `"path":"/v1/bus/keys/k","status":200`)
	if out, _ := command(t, at, exitDone, "status"); !strings.Contains(out, "1 of 1 alive") {
		t.Errorf("status: %s", out)
	}
	command(t, "127.0.0.1:"+port, exitRefused, "bus", "set", "k", "v")
	awaitLine(t, lines, `"msg":"audit"`, `"status":401`, `"refused":true`)
	_, said := startNode(t, "", "node", "--name", "b", "--roster", "b", "--addresses", "127.0.0.1:1", "--socket", path)
	awaitLine(t, said, `instance "a" of ring "ring"`, "listens at "+path)
	command(t, at, exitDone, "leave")
	awaitLine(t, lines, `"msg":"audit"`, `"path":"/v1/leave"`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays behind")
	}
}
