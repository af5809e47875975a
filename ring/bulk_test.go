package ring

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// random are bytes that no two chunks of are equal.
func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// sumOf reads the payload of a message.
func sumOf(t *testing.T, m Message) string {
	t.Helper()
	body, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A member of the chain is killed in the middle: all others get every byte.
func TestBulkReachesAllThroughADeath(t *testing.T) {
	const n, dies = 11, 4
	f := newFleet(t, n, nil)
	f.joined()
	f.seeAllAlive()
	boxes := make([]inbox, n)
	for i, r := range f.rings {
		r.Subscribe("image", boxes[i].add)
	}
	payload := random(32<<20+5, 1)
	sum := sha256.Sum256(payload)
	want := hex.EncodeToString(sum[:])
	sent, err := f.rings[0].BroadcastFrom(t.Context(), "image", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	if sent.Large == nil || sent.Large.SHA256 != want || sent.Large.Size != int64(len(payload)) {
		t.Fatalf("BroadcastFrom = %+v, %+v", sent, sent.Large)
	}
	until(t, "half way", func() bool {
		list := f.rings[dies].Transfers()
		return len(list) == 1 && list[0].Have > list[0].Size/4
	})
	f.rings[dies].Close()
	for i := range boxes {
		if i == dies {
			continue
		}
		until(t, "all have it", func() bool { return len(boxes[i].all()) > 0 })
		m := boxes[i].all()[0]
		if m.Missed > 0 || m.Large == nil || m.Seq != sent.Seq || m.From != f.roster.Names[0] {
			t.Fatalf("%d got %+v", i, m)
		}
		if got := sumOf(t, m); got != want {
			t.Errorf("%d has %s, want %s", i, got, want)
		}
	}
	list := f.rings[10].Transfers()
	if len(list) != 1 || list[0].State != TransferWhole || list[0].Have != int64(len(payload)) ||
		list[0].Rate <= 0 || list[0].Topic != "image" {
		t.Errorf("Transfers = %+v", list)
	}
}

// Who was away when it was sent, and who was in the middle of it, has it in the end; what
// is on the disk is not taken again.
func TestBulkRestartGoesOn(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	f := newFleet(t, 3, func(i int, c *Config) { c.Data = dirs[i] })
	f.joined()
	payload := random(8<<20, 2)
	sent, err := f.rings[0].BroadcastFrom(t.Context(), "t", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "begun", func() bool {
		list := f.rings[2].Transfers()
		return len(list) == 1 && list[0].Have > 0
	})
	f.rings[2].Close()
	f.restart(2)
	until(t, "whole", func() bool {
		l, err := f.rings[2].Payload(sent.Large.Name)
		return err == nil && sumOf(t, Message{Large: l}) == sent.Large.SHA256
	})
	// And once more, now that it has all.
	until(t, "whole everywhere", func() bool {
		_, err := f.rings[1].Payload(sent.Large.Name)
		return err == nil
	})
	f.rings[2].Close()
	f.restart(2)
	until(t, "whole again", func() bool { _, err := f.rings[2].Payload(sent.Large.Name); return err == nil })
	if c := f.rings[2].bulk.Counts(); c.In != 0 {
		t.Errorf("%d bytes were taken again", c.In)
	}
}

// What fits into a message is one.
func TestBroadcastFromSmall(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.joined()
	var box inbox
	f.rings[0].Subscribe("", box.add)
	for _, size := range []int{0, 1, PayloadMax, PayloadMax + 1} {
		payload := random(size, 3)
		if _, err := f.rings[0].BroadcastFrom(t.Context(), "t", bytes.NewReader(payload)); err != nil {
			t.Fatal(err)
		}
		until(t, "delivered", func() bool { return len(box.all()) > 0 })
		m := box.all()[0]
		box.list = nil
		sum := sha256.Sum256(payload)
		if (m.Large != nil) != (size > PayloadMax) || sumOf(t, m) != hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes came as %+v", size, m)
		}
	}
}

func TestBulkRefuses(t *testing.T) {
	f := newFleet(t, 1, func(_ int, c *Config) { c.BulkKeep = 1 << 20 })
	f.joined()
	for what, err := range map[string]error{
		"no topic": second(f.rings[0].BroadcastFrom(t.Context(), "", bytes.NewReader(nil))),
		"no room":  second(f.rings[0].BroadcastFrom(t.Context(), "t", bytes.NewReader(random(2<<20, 4)))),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := f.rings[0].Payload("00"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Payload of no name: %v", err)
	}
	// Newer ones take the room of older ones.
	var names []string
	for seed := range byte(3) {
		m, err := f.rings[0].BroadcastFrom(t.Context(), "t", bytes.NewReader(random(600<<10, seed)))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, m.Large.Name)
	}
	for i, name := range names {
		if _, err := f.rings[0].Payload(name); (err == nil) != (i == 2) {
			t.Errorf("payload %d: %v", i, err)
		}
	}
	if kept := f.rings[0].bulk.Kept(); kept > 1<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
}

func second[T any](_ T, err error) error { return err }
