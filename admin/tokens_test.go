package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// fleetOf is a ring of n instances in this process that counts ticks, and what each serves
// as to a caller from elsewhere: nobody is on loopback.
func fleetOf(t *testing.T, n int) (rings []*ring.Ring, urls []string) {
	t.Helper()
	roster, listeners := ring.Roster{}, make([]net.Listener, n)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		roster.Names = append(roster.Names, ring.Name(fmt.Sprint(i)))
		roster.Addresses = append(roster.Addresses, l.Addr().String())
	}
	timing := ring.LAN() // but nobody is dead because other tests have the processors
	timing.Patience, timing.Answer = 5*time.Second, 5*time.Second
	for i, l := range listeners {
		r, err := ring.Join(t.Context(), ring.Config{
			Ring: "test", Name: roster.Names[i], Roster: roster, Listener: l, Timing: timing,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		rings = append(rings, r)
		h := New(r, Options{Certificate: certificates})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Test-Here") == "" {
				req.RemoteAddr = "10.0.0.9:9"
			}
			h.ServeHTTP(w, req)
		}))
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, r := range rings {
		if err := r.Joined(ctx); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a leader", func() bool { return rings[0].Bus().Status().Leader != "" })
	return rings, urls
}

// until waits for what takes milliseconds.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late, look := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// as sends a request with a token, or from the instance's own host where there is none.
func as(t *testing.T, secret, method, url string) (code int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Test-Here", "1")
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Del("Test-Here")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(textOf(t, resp), &answer) // of some there is none
	return resp.StatusCode, answer
}

// A token that was made at one instance counts at all, until it is revoked or expires; in a
// minority too, which nobody can tell that it was revoked.
func TestTokensOfAFleet(t *testing.T) {
	rings, urls := fleetOf(t, 3)
	create := func(name, query string) string {
		t.Helper()
		code, answer := as(t, "", "POST", urls[0]+"/v1/tokens/"+name+"?"+query)
		secret, _ := answer["token"].(string)
		if code != 200 || !strings.HasPrefix(secret, tokenPrefix) || len(secret) < 40 {
			t.Fatalf("create %s: %d, %v", name, code, answer)
		}
		if role := strings.TrimPrefix(query, "role="); answer["name"] != name || answer["role"] != role[:len(answer["role"].(string))] {
			t.Errorf("create %s: %v", name, answer)
		}
		return secret
	}
	reads, admins := create("reader", "role=read"), create("admin", "role=admin&expires=1h")
	counts := func(i int, secret string) bool {
		code, _ := as(t, secret, "GET", urls[i]+"/v1/view")
		if code != 200 && code != 401 {
			t.Fatalf("instance %d answers %d", i, code)
		}
		return code == 200
	}
	if !counts(0, reads) || !counts(0, admins) {
		t.Error("a token does not count at once where it was made")
	}
	for i := range urls {
		until(t, "the tokens count everywhere", func() bool { return counts(i, reads) && counts(i, admins) })
	}
	if reads == admins || counts(1, reads[:len(reads)-1]+"A") && counts(1, reads[:len(reads)-1]+"B") {
		t.Error("another token counts too")
	}
	if code, _ := as(t, reads, "PUT", urls[1]+"/v1/bus/keys/k"); code != 403 {
		t.Errorf("a token to read writes: %d", code)
	}
	if code, answer := as(t, admins, "PUT", urls[1]+"/v1/bus/keys/k"); code != 200 {
		t.Errorf("a token of an admin does not write: %d, %v", code, answer)
	}
	if code, answer := as(t, "", "POST", urls[1]+"/v1/tokens/reader?role=admin"); code != 409 ||
		!strings.Contains(answer["error"].(string), "revoke it first") {
		t.Errorf("a second token of that name: %d, %v", code, answer)
	}

	if code, answer := as(t, admins, "DELETE", urls[1]+"/v1/tokens/reader"); code != 200 {
		t.Fatalf("revoke: %d, %v", code, answer)
	}
	if counts(1, reads) {
		t.Error("a token counts where it was revoked")
	}
	for i := range urls {
		until(t, "the token counts nowhere", func() bool { return !counts(i, reads) })
	}
	if code, _ := as(t, admins, "DELETE", urls[1]+"/v1/tokens/reader"); code != 404 {
		t.Errorf("revoke it again: %d", code)
	}

	short := create("short", "role=read&expires=1ms") // it is created at a whole second
	for i := range urls {
		until(t, "the token has expired", func() bool { return !counts(i, short) })
	}
	code, answer := as(t, admins, "GET", urls[2]+"/v1/tokens")
	all, _ := answer["tokens"].([]any)
	if code != 200 || len(all) != 2 || all[0].(map[string]any)["name"] != "admin" ||
		all[1].(map[string]any)["expired"] != true || all[0].(map[string]any)["by"] != "loopback 127.0.0.1" {
		t.Errorf("list: %d, %v", code, answer)
	}
	if text := fmt.Sprint(all); strings.Contains(text, "hash") || strings.Contains(text, tokenPrefix) {
		t.Errorf("list: %s", text)
	}

	for _, r := range rings[:2] {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !counts(2, admins) || counts(2, reads) {
		t.Error("the last instance does not know the tokens")
	}
	if code, _ := as(t, admins, "POST", urls[2]+"/v1/tokens/late?role=read&timeout=100ms"); code < 500 {
		t.Errorf("a minority makes a token: %d", code)
	}
}

func TestTokensRefused(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"POST", "/v1/tokens/x", 400},
		{"POST", "/v1/tokens/x?role=none", 400},
		{"POST", "/v1/tokens/x?role=Admin", 400},
		{"POST", "/v1/tokens/x?role=read&expires=0s", 400},
		{"POST", "/v1/tokens/x?role=read&expires=90d", 400}, // the command knows days
		{"POST", "/v1/tokens/x?role=read&expires=999999h", 400},
		{"POST", "/v1/tokens/a%2Fb?role=read", 400},
		{"POST", "/v1/tokens/" + strings.Repeat("x", tokenNameMax+1) + "?role=read", 400},
		{"POST", "/v1/tokens/" + strings.Repeat("x", tokenNameMax) + "?role=read", 200},
		{"DELETE", "/v1/tokens/none", 404},
		// Nobody forges a token by writing it on the bus.
		{"PUT", "/v1/bus/keys/ring/tokens/x", 403},
		{"PUT", "/v1/bus/keys/ring%2Ftokens%2Fx?if_revision=0", 403},
		{"DELETE", "/v1/bus/keys/ring/tokens/x", 403},
		{"PUT", "/v1/bus/keys/ring/other", 403},
		{"PUT", "/v1/bus/keys/ringer", 200},
		{"GET", "/v1/bus/keys/ring/tokens/" + strings.Repeat("x", tokenNameMax), 200},
	} {
		if code, answer := as(t, "", c.method, url+c.path); code != c.want {
			t.Errorf("%s %s = %d, want %d: %v", c.method, c.path, code, c.want, answer)
		}
	}
}

// What the bus shows of a token to who may read lets nobody in.
func TestNoUsableSecretIsOnTheBus(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{})
	_, answer := as(t, "", "POST", url+"/v1/tokens/x?role=admin")
	secret := answer["token"].(string)
	e, ok := r.Bus().Peek(tokenKeys + "x")
	var record map[string]any
	if !ok || json.Unmarshal(e.Value, &record) != nil || record["v"] != 1.0 {
		t.Fatalf("on the bus is %s", e.Value)
	}
	if strings.Contains(string(e.Value), secret[len(tokenPrefix):]) {
		t.Error("the secret is on the bus")
	}
	for _, shown := range []string{record["hash"].(string), tokenPrefix + record["hash"].(string)} {
		if code, _ := as(t, shown, "GET", url+"/v1/view"); code != 401 {
			t.Errorf("the hash is answered %d", code)
		}
	}
	backup, err := r.Bus().Backup()
	if err != nil || strings.Contains(string(backup), secret[len(tokenPrefix):]) {
		t.Errorf("the secret is in the backup, or there is none: %v", err)
	}
}

// Whatever stands on the bus, it lets nobody in unless it is a token, and no more than there
// can be.
func TestStrangeTokensCountForNothing(t *testing.T) {
	r := ringOfOne(t, nil)
	var log lines
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hash := strings.Repeat("0", 64)
	for i, value := range []string{
		"", "{}", `{"v":2,"hash":"` + hash + `","role":"admin"}`, `{"v":1,"hash":"` + hash + `","role":"root"}`,
		`{"v":1,"hash":"` + hash + `00","role":"admin"}`, `{"v":1,"hash":"00","role":"admin"}`,
		`{"v":1,"hash":"` + strings.Repeat("x", 64) + `","role":"admin"}`,
	} {
		if _, err := r.Bus().Set(ctx, fmt.Sprintf("%s%d", tokenKeys, i), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	all := newTokens(r.Bus(), log.logger())
	if n := len(*all.index.Load()); n != 0 {
		t.Errorf("%d tokens of none", n)
	}
	if n := strings.Count(log.text.String(), "token does not count"); n < 7 {
		t.Errorf("%d lines about 7: %s", n, log.text.String())
	}
	for i := range TokensMax {
		value := fmt.Sprintf(`{"v":1,"hash":"%064x","role":"admin"}`, i)
		if _, err := r.Bus().Set(ctx, fmt.Sprintf("%sx%03d", tokenKeys, i), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	all.read()
	n := 0
	for _, some := range *all.index.Load() {
		n += len(some)
	}
	if n != TokensMax-7 { // those that are none take room too
		t.Errorf("%d tokens count, want %d", n, TokensMax-7)
	}
	if code, _ := as(t, "", "POST", serve(t, r, Options{})+"/v1/tokens/more?role=read"); code != 422 {
		t.Errorf("one more is answered %d", code)
	}
}

// A backup has the tokens of its time, so who restores it brings those back too that were
// revoked since.
func TestRestoreBringsTokensBack(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, answer := as(t, "", "POST", url+"/v1/tokens/x?role=read")
	secret := answer["token"].(string)
	backup, err := r.Bus().Backup()
	if err != nil {
		t.Fatal(err)
	}
	counts := func() bool {
		code, _ := as(t, secret, "GET", url+"/v1/view")
		return code == 200
	}
	if code, _ := as(t, "", "DELETE", url+"/v1/tokens/x"); code != 200 || counts() {
		t.Fatalf("revoke: %d", code)
	}
	if err := r.Bus().Restore(ctx, backup); err != nil {
		t.Fatal(err)
	}
	until(t, "the token counts again", counts)
}
