package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/consensus"
)

// filled is a disk with a snapshot and a few groups behind it, as it is after
// the last but one, after the last, and after Close.
func filled(t testing.TB) (before, after, closed map[string][]byte, wants [2]*consensus.Saved) {
	t.Helper()
	d := newMemDisk()
	j, _, err := open(d, "bus", self, small)
	add := func(ws ...consensus.Write) {
		if err == nil {
			err = j.Append(ws)
		}
	}
	add(consensus.Write{
		Identity: &consensus.Identity{Era: 1, ID: 77},
		Snapshot: snapshot(5, 1, []byte("state")),
	})
	for i := range uint64(5) {
		add(consensus.Write{
			Hard:    hard(1, 1, i),
			Entries: []*raftpb.Entry{entry(6+2*i, 1, []byte("datum")), entry(7+2*i, 1, make([]byte, 40))},
		})
	}
	before, wants[0] = d.files(), j.state.Clone()
	// A datum that is itself a record of this very log and of a later group, at
	// every alignment, but made for another place.
	p := pen{at: 1 << 20, generation: j.generation, group: j.pen.group + 1}
	p.commit(0)
	stale := append(p.buf, 0)
	long := entry(15, 2, bytes.Repeat([]byte("x"), 1000))
	record := entry(16, 2, slices.Repeat(stale, 20))
	add(consensus.Write{Entries: []*raftpb.Entry{long}},
		consensus.Write{Hard: hard(2, 2, 15), Entries: []*raftpb.Entry{record}})
	after, wants[1] = d.files(), j.state.Clone()
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return before, after, d.files(), wants
}

func reread(files map[string][]byte, o Owner) (*consensus.Saved, error) {
	d := with(files)
	_, got, err := open(d, "bus", o, small)
	return &got, err
}

func wantCorrupt(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "set the directory aside") ||
		!strings.Contains(err.Error(), "at offset") || !strings.Contains(err.Error(), "bus/log") {
		t.Fatalf("%s: open = %v, want ErrCorrupt with file, offset and remedy", what, err)
	}
}

// diffEnd is behind the last byte that differs.
func diffEnd(a, b []byte) int {
	n := min(len(a), len(b))
	for n > 0 && a[n-1] == b[n-1] {
		n--
	}
	return n
}

func diffStart(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Whatever is left of the last group, the log is as it was before it, or after.
func TestTornAtEveryByte(t *testing.T) {
	before, after, _, wants := filled(t)
	rng := rand.New(rand.NewPCG(1, 1))
	old, whole := before[logFile], after[logFile]
	from, to := diffStart(old, whole), diffEnd(old, whole)
	if to-from < 1500 {
		t.Fatalf("the last group is of %d bytes", to-from)
	}
	for k := from; k <= to; k++ {
		zeroed, noisy, suffix := bytes.Clone(old), bytes.Clone(whole), bytes.Clone(old)
		copy(zeroed[from:k], whole[from:k])
		for i := k; i < to; i++ {
			noisy[i] = byte(rng.Uint32())
		}
		copy(suffix[k:to], whole[k:to])
		for _, b := range [][]byte{zeroed, noisy, suffix} {
			want := wants[0]
			if bytes.Equal(b, whole) {
				want = wants[1]
			}
			c, err := replay(b, self, with(after).loader())
			if err != nil {
				t.Fatalf("torn at %d: %v", k, err)
			}
			if diff := differ(&c.saved, want); diff != "" {
				t.Fatalf("torn at %d: %s", k, diff)
			}
		}
	}
}

func (d *memDisk) loader() func(*reference) error {
	j := Journal{disk: d, owner: self}
	return j.load
}

// A bit that turns is found, or is none that says anything.
func TestEveryBit(t *testing.T) {
	before, after, closed, wants := filled(t)
	load := with(closed).loader()
	b := closed[logFile]
	end, last := diffEnd(b, make([]byte, len(b))), diffEnd(before[logFile], after[logFile])
	silent := 0
	for i := range end * 8 {
		b[i/8] ^= 1 << (i % 8)
		c, err := replay(b, self, load)
		b[i/8] ^= 1 << (i % 8)
		if err == nil {
			if diff := differ(&c.saved, wants[1]); diff != "" {
				t.Fatalf("bit %d of byte %d: %s", i%8, i/8, diff)
			}
			if silent++; i/8 < last && i/8 > headMax {
				t.Fatalf("bit %d of byte %d changes nothing", i%8, i/8)
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of byte %d: %v", i%8, i/8, err)
		}
	}
	// What may go unseen: what pads the head, and the mark of Close.
	if most := 8 * (align - 1 + commitLen); silent > most {
		t.Errorf("%d bits changed nothing, at most %d may", silent, most)
	}
}

func TestEveryBitOfASnapshot(t *testing.T) {
	_, _, closed, wants := filled(t)
	name := snapshotName(t, closed)
	b := closed[name]
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		got, err := reread(closed, self)
		b[i/8] ^= 1 << (i % 8)
		if err == nil {
			if diff := differ(got, wants[1]); diff != "" {
				t.Fatalf("bit %d of byte %d: %s", i%8, i/8, diff)
			}
			continue
		}
		wantCorrupt(t, "a bit turned", err)
	}
}

func snapshotName(t *testing.T, files map[string][]byte) string {
	t.Helper()
	for name := range files {
		if strings.HasPrefix(name, snapshotPrefix) {
			return name
		}
	}
	t.Fatal("there is no snapshot")
	return ""
}

func TestMissing(t *testing.T) {
	for _, what := range []func(files map[string][]byte, snapshot string){
		func(f map[string][]byte, _ string) { delete(f, logFile) },
		func(f map[string][]byte, s string) { delete(f, s) },
		func(f map[string][]byte, s string) { f[s] = append(f[s], 0) },
		func(f map[string][]byte, s string) { f[s] = f[s][:len(f[s])-1] },
		func(f map[string][]byte, s string) { f[s] = nil },
		func(f map[string][]byte, _ string) { f[logFile] = nil },
	} {
		_, _, closed, _ := filled(t)
		what(closed, snapshotName(t, closed))
		_, err := reread(closed, self)
		wantCorrupt(t, "missing", err)
	}
}

// No loss of power makes a file shorter than it was when it got its name.
func TestCutShort(t *testing.T) {
	_, _, closed, _ := filled(t)
	b := closed[logFile]
	for n := 0; n < len(b); n += 1 + n/50 {
		_, err := replay(b[:n], self, with(closed).loader())
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d of %d: %v", n, len(b), err)
		}
	}
}

// Damage within a log is told from a torn end also when whole sectors are gone.
func TestLostSectors(t *testing.T) {
	before, _, closed, _ := filled(t)
	start := diffStart(before[logFile], closed[logFile]) // of the last group
	for from := headMax; from < start; from += align {
		b := bytes.Clone(closed[logFile])
		clear(b[from:min(from+sector, start)])
		if _, err := replay(b, self, with(closed).loader()); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("sector at %d lost: %v", from, err)
		}
	}
}

func TestForeign(t *testing.T) {
	_, _, closed, _ := filled(t)
	for _, o := range []Owner{{"another", self.Instance}, {self.Ring, "dc1/prod/1"}} {
		_, err := reread(closed, o)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `"dc1/prod/0" of ring "fleet"`) {
			t.Errorf("open = %v, want ErrForeign and whose it is", err)
		}
	}
}

func TestNewer(t *testing.T) {
	_, _, closed, _ := filled(t)
	b := closed[logFile]
	b[9]++
	end := headFixed + int(binary.BigEndian.Uint32(b[10:]))
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	_, err := reread(closed, self)
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "start the newer build again") {
		t.Errorf("open = %v, want ErrNewer and a remedy", err)
	}
}

// checkReplay holds what is true of any bytes: they are refused for one of
// three reasons, or open says what replay said, and says it again.
func checkReplay(t *testing.T, files map[string][]byte) {
	c, err := replay(files[logFile], self, with(files).loader())
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrForeign) {
			t.Fatalf("replay = %v", err)
		}
		return
	}
	d := with(files)
	j := mustOpen(t, d, &c.saved)
	must(t, j.Close())
	must(t, mustOpen(t, d, &c.saved).Close())
}

// Its seeds are short, or it spends its time making them shorter.
func FuzzReplay(f *testing.F) {
	p := pen{}
	p.begin(3, appendHead(nil, logMagic, self, 3))
	p.identity(consensus.Identity{Era: 1})
	p.commit(0)
	f.Add(p.buf)
	p.group++
	if err := p.write(hard(1, 1, 1), []*raftpb.Entry{entry(1, 1, nil)}); err != nil {
		f.Fatal(err)
	}
	p.commit(0)
	f.Add(p.buf)
	_, files, _, _ := filled(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return // longer than any file of this test
		}
		files[logFile] = append(bytes.Clone(b), make([]byte, small.room)...)
		checkReplay(t, files)
	})
}

// The checksums hide most of replay from a fuzzer; this one makes them right.
// Its input is a row of records: 1 kind, 1 length, payload.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{kindHard, 2, 8, 1, kindEntry, 4, 16, 1, 24, 1, kindCommit, 8, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{kindIdentity, 0, kindCommit, 1, 9})
	_, after, _, _ := filled(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := pen{}
		p.begin(3, appendHead(nil, logMagic, self, 3))
		p.identity(consensus.Identity{Era: 1})
		p.commit(0)
		p.group++
		for len(b) >= 2 {
			n := min(int(b[1]), len(b)-2)
			start := p.open()
			p.buf = append(p.buf, b[2:2+n]...)
			p.seal(start, b[0])
			if b[0] == kindCommit {
				p.group++
			}
			b = b[2+n:]
		}
		after[logFile] = p.buf
		checkReplay(t, after)
	})
}
