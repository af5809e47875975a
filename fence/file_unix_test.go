//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fence_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ringofservers.dev/fence"
)

func TestFileRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fence")
	done := func() error { return nil }
	if err := fence.New(fence.File(path)).Do(1<<63, done); err != nil {
		t.Fatal(err)
	}
	next := fence.New(fence.File(path)) // as another process would
	if err := next.Do(1<<63-1, done); !errors.Is(err, fence.ErrOld) {
		t.Errorf("an older fence: %v, want ErrOld", err)
	}
	if err := next.Do(1<<63, done); err != nil {
		t.Errorf("the same fence: %v", err)
	}
}

func TestFileThatIsDamagedLetsNobodyPass(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fence")
	gate := fence.New(fence.File(path))
	done := func() error { return nil }
	if err := gate.Do(25, done); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{{}, whole[:len(whole)-1], append([]byte("x"), whole...), append(whole, 'x')}
	for i := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[i] ^= 1
		damaged = append(damaged, flipped)
	}
	for _, text := range damaged {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := gate.Do(26, done); !errors.Is(err, fence.ErrFile) {
			t.Errorf("%q: %v, want ErrFile", text, err)
		}
	}
}
