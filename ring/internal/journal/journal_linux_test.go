package journal

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
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("CI") == "true" { // with root a skip hides a fault
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("SKIPPED: mount tmpfs: %v; CI has root, and runs it", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	a := newAuthor(3)
	j, _, err := Open(dir, self)
	must(t, err)
	must(t, j.Append(a.batch(t)))
	hog := filepath.Join(dir, "hog")
	if err := os.WriteFile(hog, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	before := a.done.Clone()
	for err == nil {
		before = a.done.Clone()
		err = j.Append(a.batch(t))
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Fatalf("Append on a full disk = %v, want ENOSPC and a remedy", err)
	}
	must(t, j.Close())
	must(t, os.Remove(hog))
	j, got, err := Open(dir, self)
	must(t, err)
	if differ(&got, before) != "" && differ(&got, &a.done) != "" {
		t.Errorf("after a full disk: %s", differ(&got, before))
	}
	must(t, j.Close())
}
