package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringofservers.dev/ring"
)

// A large body is broadcast, listed, and can be had back whole or in part.
func TestLargePayload(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := ringOfOne(t, registry)
	url := serve(t, r, Options{Gatherer: registry})
	payload := bytes.Repeat([]byte("ring of servers\n"), 20_000)
	resp, err := http.Post(url+"/v1/broadcast/image", "", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var sent ring.Message
	if err := json.NewDecoder(resp.Body).Decode(&sent); err != nil || sent.Large == nil ||
		sent.Large.Size != int64(len(payload)) {
		t.Fatalf("POST: %s, %+v, %v", resp.Status, sent, err)
	}
	code, body, header := get(t, url+"/v1/bulk/"+sent.Large.Name)
	if code != http.StatusOK || body != string(payload) ||
		header.Get("ETag") != `"`+sent.Large.SHA256+`"` {
		t.Errorf("GET: %d, %d bytes, %v", code, len(body), header)
	}
	req, err := http.NewRequest(http.MethodGet, url+"/v1/bulk/"+sent.Large.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=5-6")
	part, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Body.Close()
	text, err := io.ReadAll(part.Body)
	if err != nil || part.StatusCode != http.StatusPartialContent || string(text) != "of" {
		t.Errorf("GET of two bytes: %s, %q, %v", part.Status, text, err)
	}
	_, list, _ := get(t, url+"/v1/bulk")
	var answer struct {
		V         int
		Transfers []ring.Transfer
	}
	if err := json.Unmarshal([]byte(list), &answer); err != nil || answer.V != 1 ||
		len(answer.Transfers) != 1 || answer.Transfers[0].Name != sent.Large.Name ||
		answer.Transfers[0].State != ring.TransferWhole {
		t.Errorf("/v1/bulk: %v\n%s", err, list)
	}
	for _, name := range []string{strings.Repeat("0", 64), "x"} {
		if code, body, _ := get(t, url+"/v1/bulk/"+name); code != http.StatusNotFound {
			t.Errorf("GET of %q: %d %s", name, code, body)
		}
	}
	_, metrics, _ := get(t, url+"/metrics")
	for _, want := range []string{"ring_bulk_transfers{", `state="whole"} 1`, "ring_bulk_kept_bytes{"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}
