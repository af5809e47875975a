package forgetful

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// on is a directory as the next process has it.
func on(t *testing.T, dir string) *Dir {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	d := On(root)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wrote writes text to a new file, and syncs it if it should.
func wrote(t *testing.T, d *Dir, name, text string, sync bool) *File {
	t.Helper()
	f, err := d.Create(name)
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	return f
}

// wants checks what a process sees: name, text, name, text.
func wants(t *testing.T, d *Dir, want ...string) {
	t.Helper()
	names, err := d.Names()
	must(t, err)
	var got []string
	for _, n := range names {
		b, err := d.ReadFile(n)
		must(t, err)
		got = append(got, n, string(b))
	}
	if !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
}

func TestWhatWasNotSyncedIsGone(t *testing.T) {
	dir := t.TempDir()
	d := on(t, dir)
	wrote(t, d, "named", "synced", true)
	must(t, d.Sync())
	wrote(t, d, "nameless", "synced", true)
	wants(t, d, "named", "synced", "nameless", "synced")
	wants(t, on(t, dir), "named", "synced")

	f, err := d.Open("named")
	must(t, err)
	_, err = f.WriteAt([]byte("and more"), 8)
	must(t, err)
	wants(t, d, "named", "synced\x00\x00and more", "nameless", "synced")
	wants(t, on(t, dir), "named", "synced")
	must(t, f.Sync())
	wants(t, on(t, dir), "named", "synced\x00\x00and more")

	// A name does not bring the bytes, and takes those that come later.
	late := wrote(t, d, "late", "bytes", false)
	must(t, d.Sync())
	wants(t, on(t, dir), "late", "", "named", "synced\x00\x00and more", "nameless", "synced")
	must(t, late.Sync())
	must(t, d.Remove("named"))
	must(t, d.Remove("nameless"))
	wants(t, d, "late", "bytes")
	wants(t, on(t, dir), "late", "bytes", "named", "synced\x00\x00and more", "nameless", "synced")
	must(t, d.Sync())
	wants(t, on(t, dir), "late", "bytes")
}

func TestRenamesWaitForTheDirectory(t *testing.T) {
	dir := t.TempDir()
	d := on(t, dir)
	wrote(t, d, "a", "old", true)
	must(t, d.Sync())
	for i := range 3 { // twice without a sync of the directory in between
		wrote(t, d, "a.new", fmt.Sprint(i), true)
		must(t, d.Rename("a.new", "a"))
	}
	wants(t, d, "a", "2")
	wants(t, on(t, dir), "a", "old")
	must(t, d.Sync())
	wants(t, d, "a", "2")
	wants(t, on(t, dir), "a", "2")

	// Who writes to what has no name any more harms nobody.
	lost, err := d.Open("a")
	must(t, err)
	wrote(t, d, "a.new", "3", true)
	must(t, d.Rename("a.new", "a"))
	must(t, d.Sync())
	_, err = lost.WriteAt([]byte("x"), 0)
	must(t, err)
	must(t, lost.Sync())
	wants(t, on(t, dir), "a", "3")

	if err := d.Rename("a.new", "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a rename of what is not there: %v", err)
	}
	if err := d.Remove("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removal of what is not there: %v", err)
	}
	if _, err := d.Open("a.new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what has another name is opened by the old one: %v", err)
	}
}

func TestFileMadeAnewLosesTheOldAtOnce(t *testing.T) {
	dir := t.TempDir()
	d := on(t, dir)
	wrote(t, d, "a", "old", true)
	must(t, d.Sync())
	f := wrote(t, d, "a", "new", false)
	wants(t, d, "a", "new")
	wants(t, on(t, dir), "a", "")
	must(t, f.Sync())
	wants(t, on(t, dir), "a", "new")
}

// With a seed some of it is found, and nothing that was never written.
func TestSomeOfItReachesTheDisk(t *testing.T) {
	const text = "some bytes that are written"
	parts, named := 0, 0
	for seed := range 50 {
		t.Setenv("FORGETFUL_SEED", fmt.Sprint(seed))
		dir := t.TempDir()
		d := on(t, dir)
		wrote(t, d, "a", text, false)
		b, err := os.ReadFile(filepath.Join(dir, "a"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		named++
		for i, c := range b {
			if c != 0 && c != text[i] {
				t.Fatalf("%q on the disk, of %q", b, text)
			}
		}
		if len(bytes.Trim(b, "\x00")) > 0 {
			parts++
		}
	}
	if named == 0 || named == 50 || parts == 0 || parts == named {
		t.Errorf("of 50 files %d have a name, and %d of them bytes", named, parts)
	}
}

func TestLies(t *testing.T) {
	t.Setenv("FORGETFUL_LIES", "1")
	dir := t.TempDir()
	d := on(t, dir)
	wrote(t, d, "a", "text", true)
	must(t, d.Sync())
	wants(t, d, "a", "text")
	wants(t, on(t, dir))
}
