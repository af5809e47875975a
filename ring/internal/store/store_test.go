package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ringofservers.dev/ring/internal/wire"
)

var (
	self  = Identity{Ring: "fleet", Instance: "dc1/prod/0", Roster: [32]byte{1, 2, 3}, Count: 3, Names: prefix(3), Prefix: prefix}
	saved = Saved{Incarnation: 7, Epoch: wire.Epoch{Counter: 1 << 40, Dropper: 3}}
)

func prefix(n int) [32]byte { return [32]byte{byte(n)} }

func open(t *testing.T, dir string, id Identity) (*Store, Saved) {
	t.Helper()
	s, v, err := Open(dir, id)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s, v
}

// filled returns a directory in which saved was saved, and the file's bytes.
func filled(t *testing.T) (dir string, content []byte) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "new", "data")
	s, v := open(t, dir, self)
	if v != (Saved{}) {
		t.Fatalf("a new directory holds %+v", v)
	}
	if err := s.Save(saved); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return dir, content
}

func rewrite(t *testing.T, dir string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, stateFile), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, dir string, id Identity, want error, remedy string) {
	t.Helper()
	s, _, err := Open(dir, id)
	if err == nil {
		s.Close()
		t.Fatalf("Open succeeded, want %v", want)
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), remedy) {
		t.Fatalf("Open = %v, want %v with %q", err, want, remedy)
	}
}

func TestSavedComesBack(t *testing.T) {
	dir, _ := filled(t)
	if _, v := open(t, dir, self); v != saved {
		t.Errorf("Open = %+v, want %+v", v, saved)
	}
	if _, err := os.Stat(filepath.Join(dir, nextFile)); !os.IsNotExist(err) {
		t.Errorf("%s was left behind: %v", nextFile, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir, _ := filled(t)
	open(t, dir, self)
	wantError(t, dir, self, ErrLocked, fmt.Sprintf("by process %d;", os.Getpid()))
}

func TestLockGoesWithClose(t *testing.T) {
	dir, _ := filled(t)
	for range 3 {
		s, _ := open(t, dir, self)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncatedAtEveryLength(t *testing.T) {
	dir, content := filled(t)
	for n := range len(content) {
		rewrite(t, dir, content[:n])
		wantError(t, dir, self, ErrTorn, "move it away")
	}
	rewrite(t, dir, append(bytes.Clone(content), 0))
	wantError(t, dir, self, ErrTorn, "move it away")
}

func TestEveryFlippedByte(t *testing.T) {
	dir, content := filled(t)
	for i := range content {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			b := bytes.Clone(content)
			b[i] ^= mask
			rewrite(t, dir, b)
			wantError(t, dir, self, ErrTorn, "move it away")
		}
	}
}

func TestHugeFile(t *testing.T) {
	dir, content := filled(t)
	rewrite(t, dir, append(content, make([]byte, 1<<20)...))
	wantError(t, dir, self, ErrTorn, "move it away")
}

func TestForeign(t *testing.T) {
	dir, _ := filled(t)
	other := self
	other.Ring = "another"
	wantError(t, dir, other, ErrForeign, `of ring "fleet"`)
	other = self
	other.Instance = "dc1/prod/1"
	wantError(t, dir, other, ErrForeign, `of instance "dc1/prod/0"`)
}

func TestNewerFormat(t *testing.T) {
	dir, _ := filled(t)
	rewrite(t, dir, envelope(formatVersion+1, []byte("whatever it may hold")))
	wantError(t, dir, self, ErrNewer, "start the newer build again")
}

// A roster that grew at its end is that of before; one in which an index means
// another instance is not.
func TestChangedRoster(t *testing.T) {
	dir, _ := filled(t)
	edited := self
	edited.Roster[0]++
	edited.Count = self.Count + 2
	_, v := open(t, dir, edited)
	want := Saved{Incarnation: 7, Epoch: wire.Epoch{Counter: saved.Epoch.Counter + 1}}
	if v != want {
		t.Errorf("Open = %+v, want %+v", v, want)
	}
	dir, _ = filled(t)
	shorter := edited
	shorter.Count = self.Count - 1
	wantError(t, dir, shorter, ErrRoster, "go back to that roster")
	other := edited
	other.Prefix = func(n int) [32]byte { return [32]byte{byte(n), 9} }
	wantError(t, dir, other, ErrRoster, "of 3 instances")
}

// fullDisk takes some bytes and then has no room, as a file system does.
type fullDisk struct {
	file
	room int
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n, err := d.file.Write(b[:min(d.room, len(b))])
	if d.room -= n; err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func TestFullDiskKeepsTheOldFile(t *testing.T) {
	dir, content := filled(t)
	s, _ := open(t, dir, self)
	create := s.create
	for room := range len(content) {
		s.create = func(name string) (file, error) {
			f, err := create(name)
			return &fullDisk{f, room}, err
		}
		err := s.Save(Saved{Incarnation: 8})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("Save with room for %d bytes = %v, want ENOSPC and a remedy", room, err)
		}
	}
	s.Close()
	if _, v := open(t, dir, self); v != saved {
		t.Errorf("after failed saves Open = %+v, want %+v", v, saved)
	}
}

func FuzzDecode(f *testing.F) {
	whole := state{self, saved}.encode()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(envelope(formatVersion, []byte{255, 1, 2}))
	f.Add(envelope(9, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrTorn) && !errors.Is(err, ErrNewer) {
				t.Fatalf("decode = %v, neither torn nor newer", err)
			}
			return
		}
		if !bytes.Equal(st.encode(), b) {
			t.Fatalf("encode(decode(%x)) = %x", b, st.encode())
		}
	})
}

// The checksum hides most of decode from a fuzzer; this one makes it right.
func FuzzPayload(f *testing.F) {
	f.Add([]byte{1, 'r', 1, 'i'})
	f.Fuzz(func(t *testing.T, p []byte) {
		b := envelope(formatVersion, p)
		st, err := decode(b)
		if err == nil && !bytes.Equal(st.encode(), b) {
			t.Fatalf("encode(decode(%x)) = %x", b, st.encode())
		}
	})
}
