//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/guard"
)

// P2: however long a request waits or its answer is under way, the client believes no
// longer than the instance does: it counts from before it asked.
func TestP2LentLeaseCountsFromBeforeItAsked(t *testing.T) {
	const way, left = 300 * time.Millisecond, 10 * time.Second
	answers := make(chan time.Duration, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Count(req.URL.Path, "/") == 3 {
			time.Sleep(2 * way) // it waits for somebody else
		} else {
			time.Sleep(way)
			select {
			case answers <- guard.BootTime():
			default:
			}
		}
		fmt.Fprintf(w, `{"v":1,"id":"x","fence":3,"remaining_ms":%d}`, left.Milliseconds())
	}))
	defer server.Close()
	c, err := target{addr: strings.TrimPrefix(server.URL, "http://")}.client(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := (&beside{client: c}).Lease(ctx, "job", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	said := <-answers // by the boot clock
	ends := guard.BootTime() + l.Left()
	if most := said + left - way; ends > most+time.Millisecond {
		t.Errorf("it ends %v after the instance has answered, want %v at most", ends-said, left-way)
	}
	if l.Fence() != 3 {
		t.Errorf("the fence is %d", l.Fence())
	}
	if err := l.Release(ctx); err != nil || l.Left() != 0 {
		t.Errorf("released: %v, %v left", err, l.Left())
	}
}

// A lease whose taker can no longer use it is given back, not left to run out.
func TestLentLeaseThatIsNotKeptIsGivenBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	back := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.Method == http.MethodDelete:
			back <- req.URL.Path
		case strings.Count(req.URL.Path, "/") == 4: // the wait ends between grant and first keep
			cancel()
			<-req.Context().Done()
			return
		}
		fmt.Fprint(w, `{"v":1,"id":"x","fence":3,"remaining_ms":10000}`)
	}))
	defer server.Close()
	c, err := target{addr: strings.TrimPrefix(server.URL, "http://")}.client(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&beside{client: c}).Lease(ctx, "job", time.Hour); err == nil {
		t.Error("it is held by somebody whose wait is over")
	}
	select {
	case path := <-back:
		if path != "/v1/leases/job/x" {
			t.Errorf("%s is given back", path)
		}
	default:
		t.Error("it is not given back")
	}
}
