package link

import (
	"net/http/httptest"
	"testing"
)

func TestOtherUpgrades(t *testing.T) {
	for _, c := range []struct {
		method, path, connection, upgrade string
		want                              bool
	}{
		{"GET", Path, "Upgrade", "ring/2", true},
		{"GET", Path, "keep-alive, upgrade", "websocket", true},
		{"POST", Path, "Upgrade", Protocol, true},
		{"GET", Path, "Upgrade", Protocol, false},     // which makes a link
		{"GET", Path, "Upgrade", BulkProtocol, false}, // which makes one for large payloads
		{"POST", Path, "Upgrade", BulkProtocol, true},
		{"GET", Path, "keep-alive", "ring/2", false},
		{"GET", Path, "Upgrade", "", false},
		{"GET", "/", "Upgrade", "ring/2", false},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Connection", c.connection)
		r.Header.Set("Upgrade", c.upgrade)
		if got := IsOtherUpgrade(r); got != c.want {
			t.Errorf("IsOtherUpgrade(%+v) = %v", c, got)
		}
		if IsUpgrade(r) && IsBulk(r) {
			t.Errorf("%+v is both", c)
		}
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0 // which has no upgrades
		if IsOtherUpgrade(r) || IsUpgrade(r) || IsBulk(r) {
			t.Errorf("%+v is an upgrade by HTTP/1.0", c)
		}
	}
}
