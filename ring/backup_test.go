package ring

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// some is a backup of nobody's; nothing looks into its state before a restore.
var some = backup{
	ring: "test", history: wire.History{1, 2, 3}, revision: 17, keys: 2, taken: 1_795_500_000,
	instance: "dc1/prod/0", state: []byte("state"),
}

func TestReadBackupSaysWhatIsInIt(t *testing.T) {
	got, err := ReadBackup(some.encode())
	if err != nil {
		t.Fatal(err)
	}
	want := BackupInfo{
		Ring: "test", History: "01020300000000000000000000000000", Revision: 17, Keys: 2,
		Taken: time.Unix(1_795_500_000, 0), Instance: "dc1/prod/0",
	}
	if got != want {
		t.Errorf("ReadBackup = %+v, want %+v", got, want)
	}
	if err := got.CheckRing("test"); err != nil {
		t.Errorf("its own ring: %v", err)
	}
	if err := got.CheckRing("shop"); err == nil || !strings.Contains(err.Error(), "ring test") ||
		!strings.Contains(err.Error(), "ring shop") {
		t.Errorf("another ring: %v", err)
	}
}

// No byte can be other than it was, and none can be missing or added.
func TestDamagedBackupIsRefused(t *testing.T) {
	whole := some.encode()
	refused := func(what string, at int, b []byte) {
		t.Helper()
		if _, err := ReadBackup(b); err == nil {
			t.Errorf("%s at %d is not seen", what, at)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			refused("a flipped bit", i, b)
		}
		refused("the end", i, whole[:i])
	}
	refused("a byte more", len(whole), append(bytes.Clone(whole), 0))
}

func TestReadBackupSaysWhy(t *testing.T) {
	changed := func(change func(b *backup)) []byte {
		b := some
		change(&b)
		return b.encode()
	}
	payload := some.encode()[backupHead:]
	payload = payload[:len(payload)-backupCRC]
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{nil, "ring: read the backup: it is no backup of a bus: give a file that"},
		{[]byte("# ring.toml\nring = \"shop\"\n"), "no backup of a bus"},
		{some.encode()[:10], "damaged (only 10 bytes long): bring it here once more"},
		{some.encode()[:40], "40 bytes long, its header says otherwise"},
		{bytes.Replace(some.encode(), []byte("prod"), []byte("test"), 1), "checksum is wrong"},
		{backupFrame(2, payload), "newer version: format 2, this build reads up to 1; restore it with"},
		{backupFrame(0, payload), "format 0 never existed"},
		{backupFrame(1, payload[:20]), "fields do not fit"},
		{changed(func(b *backup) { b.ring = "\x1b[2J" }), "fields do not fit"},
		{changed(func(b *backup) { b.instance = "" }), "fields do not fit"},
		{changed(func(b *backup) { b.taken = 1 << 63 }), "fields do not fit"},
		{changed(func(b *backup) { b.history = wire.History{} }), "of no history"},
		{changed(func(b *backup) { b.revision = 0 }), "of no history"},
	} {
		if _, err := ReadBackup(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ReadBackup = %v, want %q", err, c.want)
		}
	}
}

// What the bus holds comes back from a backup, and only from one of this ring.
func TestBackupThereAndBack(t *testing.T) {
	f := newFleet(t, 1, fast)
	f.until(f.rings[0].Bus(), "led", func(s BusStatus) bool { return s.Leader != "" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := f.rings[0].Bus()
	rev, err := b.Set(ctx, "kept", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Backup()
	if err != nil {
		t.Fatal(err)
	}
	info, err := ReadBackup(text)
	if age := time.Since(info.Taken); err != nil || info.Ring != "test" || info.Keys != 1 ||
		info.History != b.Status().History || info.Revision < rev || info.Instance != "dc1/prod/0" ||
		age < 0 || age > time.Hour {
		t.Errorf("ReadBackup = %+v, %v after revision %d", info, err, rev)
	}
	if _, err := b.Set(ctx, "kept", []byte("y")); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(text)
	flipped[len(flipped)-backupCRC-1] ^= 1
	read, _ := readBackup(text)
	read.ring = "shop"
	for want, bad := range map[string][]byte{
		"it is damaged": flipped, "of ring shop": read.encode(), "no backup": nil,
	} {
		err := b.Restore(ctx, bad)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("Restore = %v, want it refused: %s", err, want)
		}
	}
	if e, err := b.Get(ctx, "kept"); err != nil || string(e.Value) != "y" {
		t.Errorf("after what was refused: %q, %v", e.Value, err)
	}
	if err := b.Restore(ctx, text); err != nil {
		t.Fatal(err)
	}
	if e, ok := b.Peek("kept"); !ok || string(e.Value) != "x" {
		t.Errorf("restored: %q, %v", e.Value, ok)
	}
	if b.Status().History == info.History {
		t.Error("a restore began no other history")
	}
}

// A lone one of three has never met those with whom it would begin a history.
func lone(t *testing.T) *Ring {
	t.Helper()
	roster := Roster{Names: []Name{"a", "b", "c"}}
	l := listener(t, "127.0.0.1:0")
	for _, other := range []net.Listener{l, listener(t, "127.0.0.1:0"), listener(t, "127.0.0.1:0")} {
		roster.Addresses = append(roster.Addresses, other.Addr().String())
		if other != l {
			other.Close() // nobody is there
		}
	}
	r, err := Join(t.Context(), Config{Ring: "test", Name: "a", Roster: roster, Listener: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestNoBackupOfNothing(t *testing.T) {
	b := lone(t).Bus()
	text, err := b.Backup()
	if !errors.Is(err, ErrNotFound) || text != nil {
		t.Errorf("Backup = %d bytes, %v; want ErrNotFound", len(text), err)
	}
}

// Nothing is said of a voter that was never heard of, and nobody leads alone.
func TestStatusOfWhatIsNotKnown(t *testing.T) {
	s := lone(t).Bus().Status()
	if s.Ring != "test" || s.Quorum || s.Leader != "" || len(s.Voters) != 3 {
		t.Fatalf("Status = %+v", s)
	}
	for _, v := range s.Voters {
		if v.Revision != nil || v.Lag != nil {
			t.Errorf("of %s a revision is known", v.Name)
		}
	}
}

// When most are gone, their revisions are not known, and nobody is said to lead.
func TestStatusWithoutAQuorum(t *testing.T) {
	f := newFleet(t, 3, fast)
	f.joined()
	f.seeAllAlive()
	b := f.rings[0].Bus()
	f.until(b, "heard from all", func(s BusStatus) bool {
		for _, v := range s.Voters {
			if v.Revision == nil || v.Lag == nil {
				return false
			}
		}
		return s.Quorum && s.Leader != "" && s.Revision > 0
	})
	f.rings[1].Close()
	f.rings[2].Close()
	s := f.until(b, "alone", func(s BusStatus) bool { return !s.Quorum })
	if s.Leader != "" {
		t.Errorf("%s is said to lead without a quorum", s.Leader)
	}
	s = f.until(b, "without word of the others", func(s BusStatus) bool {
		return s.Voters[1].Revision == nil && s.Voters[2].Revision == nil
	})
	if v := s.Voters[0]; v.Revision == nil || *v.Revision != s.Revision || *v.Lag != 0 {
		t.Errorf("of itself it says %+v at revision %d", v, s.Revision)
	}
}

// until looks at the bus until it is so.
func (f *fleet) until(b *Bus, what string, ok func(BusStatus) bool) BusStatus {
	f.t.Helper()
	late := time.After(patience)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		s := b.Status()
		if ok(s) {
			return s
		}
		select {
		case <-look.C:
		case <-late:
			f.t.Fatalf("not %s within %v: %+v", what, patience, s)
		}
	}
}

// What an instance gives up for another history is a backup of the one before.
func TestWhatIsGivenUpCanBeRestored(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	f := newFleet(t, 3, func(i int, c *Config) { c.MaxSpeed, c.Data = true, dirs[i] })
	f.joined()
	f.until(f.rings[0].Bus(), "led", func(s BusStatus) bool { return s.Leader != "" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := f.rings[0].Bus().Set(ctx, "kept", []byte("x")); err != nil {
		t.Fatal(err)
	}
	f.rings[1].Close()
	f.restart(1) // it knows of the history from its disk
	for _, i := range []int{1, 2} {
		f.until(f.rings[i].Bus(), "caught up", func(s BusStatus) bool { return s.Keys == 1 })
	}
	before := f.rings[0].Bus().Status()
	text, err := f.rings[0].Bus().Backup()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.rings[0].Bus().Restore(ctx, text); err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for _, i := range []int{1, 2} {
		f.until(f.rings[i].Bus(), "of the new history", func(s BusStatus) bool {
			return s.Era > before.Era && s.Keys == 1
		})
		text, info := f.givenUp(dirs[i])
		if info.History != before.History || info.Instance != f.roster.Names[i] ||
			info.Ring != "test" || info.Keys != 1 {
			t.Errorf("instance %d gave up %+v; it was history %s", i, info, before.History)
		}
		texts = append(texts, text)
	}
	for _, text := range texts { // each at an instance that is not the one it is of
		if err := f.rings[0].Bus().Restore(ctx, text); err != nil {
			t.Errorf("restore what was given up: %v", err)
		}
	}
}

// givenUp is what was put aside in a data directory, once it is written.
func (f *fleet) givenUp(dir string) ([]byte, BackupInfo) {
	f.t.Helper()
	late := time.After(patience)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		files, err := filepath.Glob(filepath.Join(dir, "bus.given-up-*"))
		if err == nil && len(files) > 0 {
			var text []byte
			if text, err = os.ReadFile(files[0]); err != nil {
				f.t.Fatal(err)
			}
			var info BackupInfo
			if info, err = ReadBackup(text); err == nil {
				return text, info
			}
		}
		select {
		case <-look.C:
		case <-late:
			f.t.Fatalf("nothing whole was put aside in %s: %v", dir, err)
		}
	}
}

func FuzzReadBackup(f *testing.F) {
	whole := some.encode()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(backupFrame(backupVersion, []byte{255, 1, 2}))
	f.Add(backupFrame(9, nil))
	f.Fuzz(checkReadBackup)
}

// The checksum hides most of the reader from a fuzzer; this one makes it right.
func FuzzBackupPayload(f *testing.F) {
	whole := some.encode()
	f.Add(whole[backupHead : len(whole)-backupCRC])
	f.Fuzz(func(t *testing.T, p []byte) { checkReadBackup(t, backupFrame(backupVersion, p)) })
}

// Whatever is read is what was written, to the byte.
func checkReadBackup(t *testing.T, b []byte) {
	info, err := ReadBackup(b)
	if err != nil {
		return
	}
	if _, err := info.Taken.MarshalJSON(); err != nil {
		t.Fatalf("the time it was taken: %v", err)
	}
	read, err := readBackup(b)
	if err != nil || !bytes.Equal(read.encode(), b) {
		t.Fatalf("encode(read(%x)) = %x, %v", b, read.encode(), err)
	}
}
