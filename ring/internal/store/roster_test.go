package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// A roster that was kept is there for the next process, which decides by it who it is; a
// damaged one is told, and a missing one is none.
func TestRosterIsKept(t *testing.T) {
	dir := t.TempDir()
	var got *Kept
	id := Identity{Ring: "prod", Instance: "a"}
	id.Settle = func(k *Kept) (Identity, error) {
		got = k
		return Identity{Ring: "prod", Instance: "a"}, nil
	}
	s, _, err := Open(dir, id)
	if err != nil || got != nil {
		t.Fatalf("Open of nothing: kept %v, %v", got, err)
	}
	want := Kept{Roster: []byte("names"), Era: 7, Self: 3}
	if err := s.SaveRoster(want, Identity{Ring: "prod", Instance: "a"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, _, err = Open(dir, id); err != nil || got == nil || !reflect.DeepEqual(*got, want) {
		t.Fatalf("kept is %+v, %v, want %+v", got, err, want)
	}
	s.Close()
	path := filepath.Join(dir, rosterFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{b[:len(b)-1], append(b[:len(b)-5:len(b)-5], 0, 0, 0, 0, 0), nil} {
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, _, err := Open(dir, id); !errors.Is(err, ErrTorn) {
			t.Errorf("Open with %d bytes of a roster: %v, want ErrTorn", len(torn), err)
			s.Close()
		}
	}
}

func FuzzDecodeRoster(f *testing.F) {
	f.Add(frame(rosterMagic, rosterVersion, []byte("12345678names")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := decodeRoster(b); err == nil && len(k.Roster) > len(b) {
			t.Fatalf("%d bytes of %d", len(k.Roster), len(b))
		}
	})
}
