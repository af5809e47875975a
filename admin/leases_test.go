package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ringofservers.dev/ring"
)

// do sends a request without a body, and decodes the answer.
func do(t *testing.T, method, url string) (code int, l leaseObject) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, l
}

// P2: a lease over HTTP is exclusive, can be kept and given back, and its next holder
// has a higher fence.
func TestP2LeaseOverHTTP(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{}) + "/v1/leases/a%2Fjob"
	code, first := do(t, "POST", url+"?timeout=1m")
	if code != http.StatusOK || first.Name != "a/job" || first.Fence == 0 || first.ID == "" {
		t.Fatalf("take: %d, %+v", code, first)
	}
	if left := time.Duration(first.RemainingMS * 1e6); left > ring.LeaseTTL {
		t.Errorf("%v is left of %v", left, ring.LeaseTTL)
	}
	if code, _ := do(t, "POST", url+"?timeout=100ms"); code != http.StatusGatewayTimeout {
		t.Errorf("a second holder is answered %d", code)
	}
	if code, kept := do(t, "POST", url+"/"+first.ID); code != http.StatusOK || kept.Fence != first.Fence {
		t.Errorf("keep: %d, %+v", code, kept)
	}
	for what, at := range map[string]string{"ID": url + "/x", "name": url[:len(url)-1] + "/" + first.ID} {
		if code, _ := do(t, "DELETE", at); code != http.StatusNotFound {
			t.Errorf("release with a wrong %s: %d", what, code)
		}
	}
	if code, _ := do(t, "DELETE", url+"/"+first.ID); code != http.StatusOK {
		t.Errorf("release: %d", code)
	}
	for _, method := range []string{"POST", "DELETE"} {
		if code, _ := do(t, method, url+"/"+first.ID); code != http.StatusNotFound {
			t.Errorf("%s of one that is over: %d", method, code)
		}
	}
	if code, next := do(t, "POST", url+"?timeout=1m"); code != http.StatusOK || next.Fence <= first.Fence {
		t.Errorf("the next: %d, %+v, behind fence %d", code, next, first.Fence)
	}
}

// A lease whose session went with an earlier process of the instance is given back by its fence.
func TestEndLeaseOfAnEarlierLife(t *testing.T) {
	r := ringOfOne(t, nil)
	before, after := serve(t, r, Options{})+"/v1/leases/a%2Fjob", serve(t, r, Options{})+"/v1/leases/a%2Fjob"
	_, l := do(t, "POST", before+"?ttl=1h&timeout=1m")
	fence := func(n uint64) string { return fmt.Sprintf("?timeout=1m&fence=%d", n) }
	if code, _ := do(t, "DELETE", before+fence(l.Fence)); code != http.StatusConflict {
		t.Errorf("where somebody keeps it: %d", code)
	}
	if code, _ := do(t, "DELETE", after); code != http.StatusBadRequest {
		t.Errorf("without a fence: %d", code)
	}
	if code, _ := do(t, "DELETE", after+fence(l.Fence+1)); code != http.StatusNotFound {
		t.Errorf("with another fence: %d", code)
	}
	if code, _ := do(t, "POST", after+"?timeout=100ms"); code != http.StatusGatewayTimeout {
		t.Errorf("a second holder meanwhile: %d", code)
	}
	if code, _ := do(t, "DELETE", after+fence(l.Fence)); code != http.StatusOK {
		t.Errorf("with its fence: %d", code)
	}
	if code, next := do(t, "POST", after+"?timeout=1m"); code != http.StatusOK || next.Fence <= l.Fence {
		t.Errorf("the next: %d, %+v, behind fence %d", code, next, l.Fence)
	}
}

// Who takes a lease and is not heard of again does not keep it from others for ever.
func TestLeaseOfASilentClientIsLetGo(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{}) + "/v1/leases/job?timeout=1m&ttl=1s"
	_, first := do(t, "POST", url)
	code, next := do(t, "POST", url)
	if code != http.StatusOK || next.Fence <= first.Fence {
		t.Errorf("behind one that is silent: %d, %+v", code, next)
	}
}

func TestLeasesAreBounded(t *testing.T) {
	r := ringOfOne(t, nil)
	url := serve(t, r, Options{}) + "/v1/leases/"
	for _, bad := range []string{"x?ttl=5", "x?ttl=1ms", "x?ttl=2h"} {
		if code, _ := do(t, "POST", url+bad); code != http.StatusBadRequest &&
			code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, code)
		}
	}
	for i := range LeasesMax + 1 { // what is refused takes no room
		if code, _ := do(t, "POST", url+"x?timeout=never"); code != http.StatusBadRequest {
			t.Fatalf("bad request %d is answered %d", i, code)
		}
	}
	var last leaseObject
	for i := range LeasesMax {
		code := 0
		if code, last = do(t, "POST", fmt.Sprintf("%s%d?timeout=1m&ttl=1h", url, i)); code != http.StatusOK {
			t.Fatalf("lease %d: %d", i, code)
		}
	}
	if code, _ := do(t, "POST", url+"more?ttl=1h"); code != http.StatusServiceUnavailable {
		t.Errorf("one more is answered %d", code)
	}
	if code, _ := do(t, "DELETE", url+last.Name+"/"+last.ID); code != http.StatusOK {
		t.Errorf("release: %d", code)
	}
	if code, _ := do(t, "POST", url+"more?ttl=1h"); code != http.StatusOK {
		t.Errorf("one more, where there is room: %d", code)
	}
}

// ended is a context that is over, and of which nobody who waits for it has heard yet.
type ended struct{ context.Context }

func (ended) Done() <-chan struct{} { return nil }
func (ended) Err() error            { return context.Canceled }

// What is granted to a request that has ended meanwhile is given back: nobody would keep
// it, nor release it.
func TestLeaseOfWhoIsGoneIsGivenBack(t *testing.T) {
	r := ringOfOne(t, nil)
	h := New(r, Options{})
	take := func(ctx context.Context) int {
		req := httptest.NewRequestWithContext(ctx, "POST", "/v1/leases/job?ttl=1h&timeout=30s", nil)
		req.RemoteAddr, req.Host = "127.0.0.1:1", "127.0.0.1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code
	}
	if code := take(ended{t.Context()}); code == http.StatusOK {
		t.Errorf("who is gone is answered %d", code)
	}
	if code := take(t.Context()); code != http.StatusOK {
		t.Errorf("the next is answered %d", code)
	}
}
