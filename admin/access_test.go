package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ringofservers.dev/doctor"
)

// A new endpoint has to be written down here too: who may have it is a decision.
func TestEveryEndpointHasARule(t *testing.T) {
	want := map[Need][]string{
		Open: {"GET /livez", "GET /healthz", "GET /readyz"},
		ToRead: {
			"GET /{$}", "GET /app.js", "GET /style.css", "GET /metrics", "GET /version", "GET /v1/status",
			"GET /v1/view", "GET /v1/events", "GET /v1/ticks", "GET /v1/live", "GET /v1/roster",
			"GET /v1/messages", "GET /v1/passengers", "GET /v1/bulk", "GET /v1/bulk/{name}", "GET /v1/bus",
			"GET /v1/bus/keys", "GET /v1/bus/keys/{key...}", "GET /v1/tokens",
			"GET /v1/roster/everywhere", "GET /v1/doctor", "POST /v1/roster/plan",
		},
		ToAsk: {"POST /v1/gather/{topic...}", "POST /v1/lap/{topic...}"},
		ToChange: {
			"POST /v1/broadcast/{topic...}", "PUT /v1/bus/keys/{key...}", "DELETE /v1/bus/keys/{key...}",
			"GET /v1/bus/backup", "POST /v1/bus/restore", "POST /v1/bus/recover", "POST /v1/tokens/{name}",
			"DELETE /v1/tokens/{name}", "POST /v1/leave", "POST /v1/roster",
		},
		OwnHost: {
			"POST /v1/leases/{name}", "POST /v1/leases/{name}/{id}", "DELETE /v1/leases/{name}/{id}",
			"DELETE /v1/leases/{name}",
		},
	}
	got := map[Need][]string{}
	a := &api{options: Options{
		Gatherer: prometheus.NewRegistry(),
		Doctor:   func(context.Context, doctor.Ask) (doctor.Report, error) { return doctor.Report{}, nil },
	}}
	for _, r := range a.routes() {
		got[r.Need] = append(got[r.Need], r.Pattern)
		if method, _, _ := strings.Cut(r.Pattern, " "); method != "GET" && r.Need < ToAsk &&
			r.Pattern != "POST /v1/roster/plan" { // which only has too much to ask for a query

			t.Errorf("%s changes something, it seems, and needs no more than to read", r.Pattern)
		}
	}
	for need := range maps.Keys(got) {
		slices.Sort(got[need])
		slices.Sort(want[need])
		if !slices.Equal(got[need], want[need]) {
			t.Errorf("need %d: %q, want %q", need, got[need], want[need])
		}
	}
}

// doorOf has an endpoint for each need, and these tokens by their secrets.
func doorOf(options Options, known map[string]token) *door {
	ok := func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, CallerOf(req).String()) }
	index := map[uint64][]token{}
	for secret, one := range known {
		one.hash = sha256.Sum256([]byte(secret))
		index[place(one.hash)] = append(index[place(one.hash)], one)
	}
	all := &tokens{}
	all.index.Store(&index)
	return newDoor(options, all, []Route{
		{Pattern: "GET /open", Need: Open, Serve: ok},
		{Pattern: "GET /read", Need: ToRead, Serve: ok},
		{Pattern: "POST /v1/ask/{topic...}", Need: ToAsk, Serve: ok},
		{Pattern: "POST /change", Need: ToChange, Serve: ok},
		{Pattern: "POST /own/{id}", Need: OwnHost, Serve: ok},
		{Pattern: "POST /quiet", Need: ToChange, Quiet: true, Serve: ok},
		{Pattern: "GET /forgotten", Serve: ok},
		{Pattern: "POST /enter", Need: Open, Serve: func(w http.ResponseWriter, req *http.Request) {
			if !req.URL.Query().Has("ticket") {
				refuse(w, http.StatusUnauthorized, "no ticket")
			}
		}},
	})
}

// certified is a request's TLS with a certificate of that name.
func certified(name string) *tls.ConnectionState {
	return &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: name}}},
	}
}

// certificates are those of a ring with TLS.
func certificates(cs *tls.ConnectionState) (who string, role Role, err error) {
	switch who = cs.PeerCertificates[0].Subject.CommonName; who {
	case "alice":
		return who, Admin, nil
	case "bob", "instance":
		return who, Read, nil
	case "nobody":
		return who, 0, nil
	}
	return "", 0, errors.New("it was revoked")
}

const (
	readSecret  = "ring_read"
	adminSecret = "ring_admin"
	oldSecret   = "ring_old"
)

var someTokens = map[string]token{
	readSecret:  {name: "r", role: Read},
	adminSecret: {name: "a", role: Admin, expires: time.Now().Add(time.Hour)},
	oldSecret:   {name: "o", role: Admin, expires: time.Now().Add(-time.Second)},
}

func TestWhoMayDoWhat(t *testing.T) {
	type who struct {
		from, host, header, value string
		tls                       *tls.ConnectionState
		socket                    bool
		plain                     bool // the ring has no TLS
		loopback                  Role
	}
	bearer := func(secret string) who {
		return who{from: "10.0.0.9:9", header: "Authorization", value: "Bearer " + secret, tls: &tls.ConnectionState{}}
	}
	with := func(w who, change func(*who)) who {
		change(&w)
		return w
	}
	const here = "127.0.0.1:9"
	for _, c := range []struct {
		name string
		who
		via                             string
		read, ask, command, change, own int
	}{
		{"loopback", who{from: here}, "loopback", 200, 200, 200, 200, 200},
		{"loopback, TLS", who{from: "[::1]:9", host: "[::1]:3000", tls: &tls.ConnectionState{}}, "loopback", 200, 200, 200, 200, 200},
		{"loopback, no TLS in the ring", who{from: here, plain: true}, "loopback", 200, 200, 200, 200, 200},
		{"rebound name", who{from: here, host: "evil.example"}, "none", 401, 401, 401, 401, 401},
		{"rebound name, no TLS", who{from: here, host: "evil.example", plain: true}, "none", 200, 200, 401, 401, 401},
		{"proxy here", who{from: here, header: "X-Forwarded-For", value: "10.0.0.9"}, "none", 401, 401, 401, 401, 401},
		{"proxy here, by RFC 7239", who{from: here, header: "Forwarded", value: "for=10.0.0.9"}, "none", 401, 401, 401, 401, 401},
		{"loopback may read", who{from: here, loopback: Read}, "loopback", 200, 200, 403, 403, 403},
		{"loopback may nothing", who{from: here, loopback: Nobody}, "none", 401, 401, 401, 401, 401},
		{"loopback may nothing, no TLS", who{from: here, loopback: Nobody, plain: true}, "none", 200, 200, 401, 401, 401},
		{"remote", who{from: "10.0.0.9:9"}, "none", 401, 401, 401, 401, 401},
		{"remote, TLS", who{from: "10.0.0.9:9", tls: &tls.ConnectionState{}}, "none", 401, 401, 401, 401, 401},
		{"remote, no TLS in the ring", who{from: "10.0.0.9:9", plain: true}, "none", 200, 200, 401, 401, 401},
		{"socket", who{from: "@", socket: true}, "socket", 200, 200, 200, 200, 200},
		{"socket, any host", who{from: "@", host: "evil.example", socket: true}, "socket", 200, 200, 200, 200, 200},
		{"certificate of an admin", who{from: "10.0.0.9:9", tls: certified("alice")}, "certificate", 200, 200, 200, 200, 403},
		{"that on this host", who{from: here, tls: certified("alice")}, "certificate", 200, 200, 200, 200, 200},
		{"certificate to read", who{from: "10.0.0.9:9", tls: certified("bob")}, "certificate", 200, 200, 403, 403, 403},
		{"that on this host", who{from: here, tls: certified("bob")}, "certificate", 200, 200, 403, 403, 403},
		{"certificate of an instance", who{from: "10.0.0.9:9", tls: certified("instance")}, "certificate", 200, 200, 403, 403, 403},
		{"certificate without a role", who{from: "10.0.0.9:9", tls: certified("nobody")}, "certificate", 403, 403, 403, 403, 403},
		{"revoked certificate", who{from: here, tls: certified("mallory")}, "none", 401, 401, 401, 401, 401},
		{"token to read", bearer(readSecret), "token", 200, 200, 403, 403, 403},
		{"token of an admin", bearer(adminSecret), "token", 200, 200, 200, 200, 403},
		{"that without TLS", with(bearer(adminSecret), func(w *who) { w.plain, w.tls = true, nil }), "token", 200, 200, 200, 200, 403},
		{"that on this host", with(bearer(adminSecret), func(w *who) { w.from = here }), "token", 200, 200, 200, 200, 200},
		{"token to read on this host", with(bearer(readSecret), func(w *who) { w.from = here }), "token", 200, 200, 403, 403, 403},
		{"that by a socket", with(bearer(readSecret), func(w *who) { w.from, w.socket = "@", true }), "token", 200, 200, 403, 403, 403},
		{"token before certificate", with(bearer(readSecret), func(w *who) { w.tls = certified("alice") }), "token", 200, 200, 403, 403, 403},
		{"expired token", bearer(oldSecret), "none", 401, 401, 401, 401, 401},
		{"unknown token", bearer(adminSecret + "x"), "none", 401, 401, 401, 401, 401},
		{"unknown token on this host", with(bearer("ring_x"), func(w *who) { w.from = here }), "none", 401, 401, 401, 401, 401},
		{"unknown token, no TLS", with(bearer("ring_x"), func(w *who) { w.plain = true }), "none", 401, 401, 401, 401, 401},
		{"name and password", who{from: here, header: "Authorization", value: "Basic YTpi"}, "none", 401, 401, 401, 401, 401},
		{"no value", who{from: here, header: "Authorization"}, "none", 401, 401, 401, 401, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			missing := c.read
			if missing == 200 {
				missing = 404
			}
			for _, one := range []struct {
				method, path, body string
				want               int
			}{
				{"GET", "/open", "", 200},
				{"GET", "/read", "", c.read},
				{"HEAD", "/read", "", c.read},
				{"GET", "/nothing", "", missing},
				{"POST", "/v1/ask/ring/names", "", c.ask},
				{"POST", "/v1/ask/ring%2Fnames", "", c.ask},
				{"POST", "/v1/ask/ring/names", "x", c.command},
				{"POST", "/v1/ask/disk", "", c.command},
				{"POST", "/change", "", c.change},
				{"POST", "/own/secret", "", c.own},
				{"GET", "/forgotten", "", 403},
			} {
				options := Options{LoopbackRole: c.loopback}
				if !c.plain {
					options.Certificate = certificates
				}
				d := doorOf(options, someTokens)
				req := httptest.NewRequest(one.method, one.path, strings.NewReader(one.body))
				if one.body == "" {
					req.Body, req.ContentLength = http.NoBody, 0
				}
				req.RemoteAddr, req.Host, req.TLS = c.from, "127.0.0.1:3000", c.tls
				if c.host != "" {
					req.Host = c.host
				}
				if c.header != "" {
					req.Header.Set(c.header, c.value)
				}
				if c.socket {
					req = req.WithContext(context.WithValue(req.Context(), peerKey{}, &Peer{UID: 7}))
				}
				w := httptest.NewRecorder()
				d.ServeHTTP(w, req)
				if w.Code != one.want {
					t.Errorf("%s %s = %d, want %d: %s", one.method, one.path, w.Code, one.want, w.Body)
				}
				if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
					t.Errorf("%s %s = %d with WWW-Authenticate %q", one.method, one.path, w.Code,
						w.Header().Get("WWW-Authenticate"))
				}
				if via, _, _ := strings.Cut(w.Body.String(), " "); w.Code == 200 && one.method == "GET" && via != c.via {
					t.Errorf("%s %s: the caller is %q, want %s", one.method, one.path, w.Body, c.via)
				}
			}
		})
	}
}

// A wrong token is worth less than none: what is open to everybody sees nobody.
func TestWrongTokenIsNobody(t *testing.T) {
	var seen Caller
	d := newDoor(Options{}, doorOf(Options{}, someTokens).tokens, []Route{{
		Pattern: "GET /open", Need: Open, Serve: func(_ http.ResponseWriter, req *http.Request) { seen = CallerOf(req) },
	}})
	for secret, want := range map[string]Role{"": Admin, adminSecret: Admin, readSecret: Read, oldSecret: Nobody} {
		req := httptest.NewRequest("GET", "/open", nil)
		req.RemoteAddr, req.Host = "127.0.0.1:9", "127.0.0.1:3000"
		if secret != "" {
			req.Header.Set("Authorization", "Bearer "+secret)
		}
		if d.ServeHTTP(httptest.NewRecorder(), req); seen.Role != want {
			t.Errorf("with token %q the role is %v, want %v", secret, seen.Role, want)
		}
	}
}

// What a probe says to strangers has no names in it.
func TestProbesTellStrangersNothing(t *testing.T) {
	leaving := make(chan struct{})
	close(leaving)
	h := New(ringOfOne(t, nil), Options{Leaving: leaving, Certificate: certificates})
	for _, c := range []struct{ from, secret, path, want string }{
		{"10.0.0.9:9", "", "/livez?verbose", "ok\n"},
		{"10.0.0.9:9", "", "/readyz?verbose", "readyz check failed\n"},
		{"10.0.0.9:9", "", "/readyz?verbose&exclude=leaving", "ok\n"},
		{"127.0.0.1:9", "", "/livez?verbose", "[+]running ok\nlivez check passed\n"},
		{"127.0.0.1:9", "ring_wrong", "/livez?verbose", "ok\n"},
	} {
		req := httptest.NewRequest("GET", c.path, nil)
		req.RemoteAddr, req.Host = c.from, "127.0.0.1:3000"
		if c.secret != "" {
			req.Header.Set("Authorization", "Bearer "+c.secret)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Body.String() != c.want {
			t.Errorf("%s from %s: %q, want %q", c.path, c.from, w.Body, c.want)
		}
	}
}

// lines are what was logged, one object each.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// audits takes the audit lines.
func (l *lines) audits(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := json.NewDecoder(&l.text); ; {
		var one map[string]any
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if one["msg"] == "audit" {
			all = append(all, one)
		}
	}
}

// Each change, and each refusal, has a line that says who, and none has a secret.
func TestAudit(t *testing.T) {
	for _, c := range []struct {
		name, method, path, from, secret string
		want                             string // "" for no line
	}{
		{"a change", "POST", "/change?secret=x", "127.0.0.1:9", "", "127.0.0.1 admin loopback POST /change 200"},
		{"by a token", "POST", "/change", "10.0.0.9:9", adminSecret, "a admin token POST /change 200"},
		{"a lease", "POST", "/own/secret", "127.0.0.1:9", "", "127.0.0.1 admin loopback POST /own/… 200"},
		{"said again", "POST", "/quiet", "127.0.0.1:9", "", ""},
		{"a read", "GET", "/read", "127.0.0.1:9", "", ""},
		{"what there is not", "POST", "/nothing", "127.0.0.1:9", "", ""},
		{"what checks itself", "POST", "/enter?ticket=secret", "10.0.0.9:9", "", "10.0.0.9 none none POST /enter 200"},
		{"that, refused", "POST", "/enter", "10.0.0.9:9", "", "10.0.0.9 none none POST /enter 401"},
		{"a probe", "GET", "/open", "10.0.0.9:9", "", ""},
		{"too low a role", "POST", "/change", "10.0.0.9:9", readSecret, "r read token POST /change 403"},
		{"nothing shown", "GET", "/read?secret=x", "10.0.0.9:9", "", "10.0.0.9 none none GET /read 401"},
		{"said again, refused", "POST", "/quiet", "10.0.0.9:9", "", "10.0.0.9 none none POST /quiet 401"},
		{"a wrong token", "GET", "/read", "10.0.0.9:9", "ring_secret", "10.0.0.9 none none GET /read 401"},
		{"a long path", "POST", "/" + strings.Repeat("x", 5000), "10.0.0.9:9", "", "10.0.0.9 none none POST /" +
			strings.Repeat("x", pathMax-1) + " 401"},
	} {
		var log lines
		d := doorOf(Options{Logger: log.logger(), Certificate: certificates}, someTokens)
		req := httptest.NewRequest(c.method, c.path, nil)
		req.RemoteAddr, req.Host = c.from, "127.0.0.1:3000"
		if c.secret != "" {
			req.Header.Set("Authorization", "bearer "+c.secret)
		}
		d.ServeHTTP(httptest.NewRecorder(), req)
		if text := log.text.String(); strings.Contains(text, "secret") {
			t.Errorf("%s: there is a secret in %s", c.name, text)
		}
		got := log.audits(t)
		if c.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		if len(got) != 1 {
			t.Errorf("%s: %d lines, want 1", c.name, len(got))
			continue
		}
		l := got[0]
		if text := fmt.Sprint(l["who"], " ", l["role"], " ", l["via"], " ", l["method"], " ", l["path"], " ",
			l["status"]); text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
		if (l["refused"] == true) != (l["status"].(float64) >= 400) || l["remote"] != c.from || l["took"] == nil {
			t.Errorf("%s: %v", c.name, l)
		}
	}
}

// A web page that an operator looks at cannot make his browser ask for something, nor fill
// the log with its tries.
func TestWebPagesOfOthers(t *testing.T) {
	var log lines
	d := doorOf(Options{Logger: log.logger()}, nil)
	for _, path := range []string{"/change", "/enter?ticket", "/own/x", "/v1/ask/ring/names"} {
		for range 100 {
			req := httptest.NewRequest("POST", path, nil)
			req.RemoteAddr, req.Host = "127.0.0.1:9", "127.0.0.1:3000"
			req.Header.Set("Origin", "http://evil.example")
			w := httptest.NewRecorder()
			if d.ServeHTTP(w, req); w.Code != http.StatusForbidden {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
	if n := len(log.audits(t)); n < linesBurst || n > linesBurst+5 {
		t.Errorf("%d lines about 400 refusals of one address", n)
	}
}

// Of what goes on for long there is a line when it begins.
func TestAuditOfALongRequest(t *testing.T) {
	var log lines
	begun, end := make(chan struct{}), make(chan struct{})
	d := newDoor(Options{Logger: log.logger()}, nil, []Route{{
		Pattern: "POST /long", Need: ToChange, Serve: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			close(begun)
			<-end
		},
	}})
	server := httptest.NewServer(d)
	defer server.Close()
	defer close(end)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := http.Post(server.URL+"/long", "", nil); err == nil {
			resp.Body.Close()
		}
	}()
	<-begun
	if got := log.audits(t); len(got) != 1 || got[0]["status"] != float64(http.StatusAccepted) {
		t.Errorf("while it goes on: %v", got)
	}
	<-answered
}

// A flood of wrong tokens fills neither log nor memory, is answered 429, and keeps nobody
// out who has a good one, from the same address too.
func TestFloodOfWrongTokens(t *testing.T) {
	var log lines
	d := doorOf(Options{Logger: log.logger(), Certificate: certificates}, someTokens)
	send := func(from, secret string) int {
		req := httptest.NewRequest("GET", "/read", nil)
		req.RemoteAddr = from
		req.Header.Set("Authorization", "Bearer "+secret)
		w := httptest.NewRecorder()
		d.ServeHTTP(w, req)
		return w.Code
	}
	const n = 5000
	codes := map[int]int{}
	for i := range n {
		codes[send("10.0.0.9:9", fmt.Sprintf("ring_%d", i))]++
	}
	if codes[401]+codes[429] != n || codes[401] < triesBurst || codes[429] < n/2 {
		t.Errorf("answers: %v", codes)
	}
	if code := send("10.0.0.9:10", readSecret); code != 200 {
		t.Errorf("a good token from there is answered %d", code)
	}
	if code := send("10.0.0.8:9", "ring_x"); code != 401 {
		t.Errorf("the first wrong token from elsewhere is answered %d", code)
	}
	for i := range n {
		send(fmt.Sprintf("[2001:db8:%x::1]:9", i), "ring_x")
	}
	// The flood takes some time, in which a few lines more may be written.
	got := log.audits(t)
	if len(got) < allBurst || len(got) > allBurst+60 {
		t.Errorf("%d lines of %d refusals", len(got), 2*n+1)
	}
	if bad := testutil.ToFloat64(d.bad); bad != 2*n+1 {
		t.Errorf("%v are counted, want %d", bad, 2*n+1)
	}
}

// Who has many addresses of one network has one slot; time empties it.
func TestTries(t *testing.T) {
	tries := newTries()
	now := time.Now()
	for i := range triesBurst {
		if !tries.failed(fmt.Sprintf("[2001:db8::%x]:9", i), now) {
			t.Fatalf("failure %d is one too many", i)
		}
	}
	if tries.failed("[2001:db8::ffff]:9", now) {
		t.Error("another address of that network is another one's")
	}
	if !tries.failed("[2001:db8::1]:9", now.Add(2*time.Second)) {
		t.Error("it is remembered after two seconds")
	}
	if tries.heard("x", now); !tries.heard("x", now.Add(-time.Hour)) {
		t.Error("a clock that goes back stops the log")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	d := doorOf(Options{Registerer: registry, Certificate: certificates}, someTokens)
	again := doorOf(Options{Registerer: registry, Certificate: certificates}, someTokens)
	for i, path := range []string{"/read", "/read", "/nothing"} {
		req := httptest.NewRequest("GET", path, nil)
		req.RemoteAddr, req.Host = "127.0.0.1:9", "localhost"
		if i == 0 {
			req.RemoteAddr = "10.0.0.9:9"
		}
		[]*door{d, again}[i%2].ServeHTTP(httptest.NewRecorder(), req)
	}
	want := `
# HELP ring_admin_requests_total Requests by the caller's role, what it has shown for it, and the class of the answer.
# TYPE ring_admin_requests_total counter
ring_admin_requests_total{code="2xx",role="admin",via="loopback"} 1
ring_admin_requests_total{code="4xx",role="admin",via="loopback"} 1
ring_admin_requests_total{code="4xx",role="none",via="none"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "ring_admin_requests_total"); err != nil {
		t.Error(err)
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{
		"Bearer ring_abc", "bearer  ring_a-b_c ", "Basic YTpi", "", "Bearer", "Bearer x", "Bearer ring_ö",
		"Bearer ring_a b", "Bearer ring_" + strings.Repeat("x", 200), "Bearer ring_\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		secret, err := parseBearer([]string{value})
		if err != nil {
			if secret != "" {
				t.Fatalf("%q: a secret beside %v", value, err)
			}
			return
		}
		if len(secret) > tokenMax || !strings.HasPrefix(secret, tokenPrefix) || strings.ContainsAny(secret, " ,;\"\r\n\x00") {
			t.Fatalf("%q is taken for %q", value, secret)
		}
		if again, err := parseBearer([]string{"Bearer " + secret}); err != nil || again != secret {
			t.Fatalf("%q comes back as %q, %v", secret, again, err)
		}
		if _, err := parseBearer([]string{value, value}); err == nil {
			t.Fatal("two headers are taken")
		}
	})
}
