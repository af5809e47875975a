package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFullFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting a small tmpfs needs root, which CI has")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		if os.Getenv("CI") == "true" { // with root a skip hides a fault
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("SKIPPED: mount tmpfs: %v; CI has root, and runs it", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s, _ := open(t, dir, self)
	if err := s.Save(saved); err != nil {
		t.Fatal(err)
	}
	hog := filepath.Join(dir, "hog")
	if err := os.WriteFile(hog, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	err := s.Save(Saved{Incarnation: 8})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("Save on a full disk = %v, want ENOSPC and a remedy", err)
	}
	s.Close()
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	s, v := open(t, dir, self)
	if v != saved {
		t.Errorf("after a full disk Open = %+v, want %+v", v, saved)
	}
	s.Close()
}
