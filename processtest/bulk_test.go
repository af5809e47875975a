//go:build linux

package processtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ringofservers.dev/internal/fleet"
)

// transfer is a row of /v1/bulk.
type transfer struct {
	Name   string `json:"name"`
	Size   int64  `json:"size_bytes"`
	Have   int64  `json:"have_bytes"`
	SHA256 string `json:"sha256"`
	State  string `json:"state"`
}

// transferAt is the only large payload that instance i knows of; ok is false while it
// knows of none.
func transferAt(r *fleet.Ring, i int) (one transfer, ok bool) {
	b, err := r.API.Get(r.Addrs[i], "/v1/bulk")
	if err != nil {
		return transfer{}, false
	}
	var answer struct {
		Transfers []transfer `json:"transfers"`
	}
	if json.Unmarshal(b, &answer) != nil || len(answer.Transfers) != 1 {
		return transfer{}, false
	}
	return answer.Transfers[0], true
}

// A member of the chain is killed while a large payload goes through it: all others get
// every byte, and it does too when it is back, and takes only what it had not got.
func TestBulkThroughKillInTheMiddle(t *testing.T) {
	t.Parallel()
	const n, dies = 7, 3
	r := newRing(t, n)
	r.Keep = true
	started(t, r)
	dir := t.TempDir()
	saver, err := r.Group.Start(fleet.Spec{Name: "events", Path: program, Args: []string{
		"events", "--topic", "image", "--save", dir, "--addr", r.Addrs[n-1],
	}})
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 16<<20+7)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(payload) // never fails
	sum := sha256.Sum256(payload)
	want := hex.EncodeToString(sum[:])

	send := exec.Command(program, "broadcast", "image", "-", "--addr", r.Addrs[0])
	send.Stdin = bytes.NewReader(payload)
	sent := make(chan error, 1)
	go func() {
		text, err := send.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, text)
		}
		sent <- err
	}()
	await(t, "it has begun where it is to be killed", func() bool {
		one, ok := transferAt(r, dies)
		return ok && one.Have > one.Size/8
	})
	signal(t, r, dies, syscall.SIGKILL)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Except(dies) {
		hasPayload(t, r, i, want)
	}
	saves(t, saver, dir, want)

	start(t, r, dies)
	hasPayload(t, r, dies, want)
	metrics, err := r.API.Get(r.Addrs[dies], "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(metrics)) {
		var in float64
		if name, value, _ := strings.Cut(line, "} "); strings.HasPrefix(name, "ring_bulk_bytes_total{") &&
			strings.Contains(name, `direction="in"`) {
			if _, err := fmt.Sscan(value, &in); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if in > float64(len(payload))*7/8 {
				t.Errorf("%.0f bytes were taken after the restart, of %d, an eighth of which was there",
					in, len(payload))
			}
		}
	}
}

// hasPayload waits until instance i has a payload, and looks at every byte of it.
func hasPayload(t *testing.T, r *fleet.Ring, i int, want string) {
	t.Helper()
	var one transfer
	await(t, r.Names[i]+" has all", func() (ok bool) {
		one, ok = transferAt(r, i)
		return ok && one.State == "whole"
	})
	b, err := fleet.NewAPI(patience).Get(r.Addrs[i], "/v1/bulk/"+one.Name) // r.API is for answers of a moment
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want || one.SHA256 != want {
		t.Errorf("%s has %d bytes with SHA-256 %x, and says %s, want %s", r.Names[i], len(b), sum,
			one.SHA256, want)
	}
}

// saves waits for ring events --save to have written the payload.
func saves(t *testing.T, saver *fleet.Proc, dir, want string) {
	t.Helper()
	says(t, saver, "sha256:"+want, dir)
	files, err := filepath.Glob(filepath.Join(dir, "image.*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("saved: %v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
		t.Errorf("%s has SHA-256 %x, want %s", files[0], sum, want)
	}
}
