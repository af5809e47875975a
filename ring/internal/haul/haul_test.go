package haul

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/bulk"
	"ringofservers.dev/ring/internal/wire"
)

const patience = 20 * time.Second

// house is some Hauls that reach each other.
type house struct {
	t     testing.TB
	hauls []*Haul
	dirs  []string

	mu     sync.Mutex
	got    []map[uint64]*Payload // by the number of the message
	missed []map[uint64]bool
	dialed func(from, to int) net.Conn // instead of the real one, unless it returns nil
}

func newHouse(t testing.TB, n int, keep int64) *house {
	f := &house{
		t: t, hauls: make([]*Haul, n), dirs: make([]string, n),
		got: make([]map[uint64]*Payload, n), missed: make([]map[uint64]bool, n),
	}
	for i := range n {
		f.dirs[i] = t.TempDir()
		f.start(i, keep)
	}
	return f
}

func (f *house) start(i int, keep int64) {
	f.t.Helper()
	h, err := Open(Config{Self: i, Dir: f.dirs[i], Keep: keep, Takers: 32})
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.hauls[i], f.got[i], f.missed[i] = h, map[uint64]*Payload{}, map[uint64]bool{}
	f.mu.Unlock()
	h.Run(Ties{
		Dial: func(_ context.Context, peer int) (net.Conn, []byte, error) { return f.dial(i, peer) },
		Deliver: func(c *wire.Cast, p *Payload) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.got[i][c.Seq] = p
		},
		Missed: func(c *wire.Cast) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.missed[i][c.Seq] = true
		},
	})
	f.t.Cleanup(func() { h.Close() })
}

func (f *house) dial(from, to int) (net.Conn, []byte, error) {
	f.mu.Lock()
	other, fake := f.hauls[to], f.dialed
	f.mu.Unlock()
	if fake != nil {
		if nc := fake(from, to); nc != nil {
			return nc, nil, nil
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	accepted, err := l.Accept()
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	go other.Accept(from, accepted, nil)
	return nc, nil, nil
}

// chain has all take from the one before them, swarm from all others.
func (f *house) chain() {
	n := len(f.hauls)
	for i, h := range f.hauls {
		v := bulk.View{Chain: true}
		for k := 1; k < n; k++ {
			v.Before = append(v.Before, (i+n-k)%n)
		}
		h.See(v)
	}
}

func (f *house) swarm() {
	for i, h := range f.hauls {
		v := bulk.View{}
		for j := range f.hauls {
			if j != i {
				v.Links = append(v.Links, j)
			}
		}
		h.See(v)
	}
}

// send has instance 0 send so many bytes, as message seq.
func (f *house) send(seq uint64, payload []byte) *wire.Cast {
	f.t.Helper()
	manifest, _, err := f.hauls[0].Stage(f.t.Context(), bytes.NewReader(payload))
	if err != nil {
		f.t.Fatal(err)
	}
	c := &wire.Cast{CastID: wire.CastID{Life: 1, Seq: seq}, Topic: "t", Payload: manifest, Large: true}
	for _, h := range f.hauls {
		h.Announced(c)
	}
	return c
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late, look := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not %s within %v", what, patience)
		}
	}
}

// arrives waits until instance i was given message seq.
func (f *house) arrives(i int, seq uint64) (p *Payload) {
	f.t.Helper()
	until(f.t, "delivered", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		p = f.got[i][seq]
		return p != nil
	})
	return p
}

// has waits for that too, and reads it.
func (f *house) has(i int, seq uint64, want []byte) {
	f.t.Helper()
	p := f.arrives(i, seq)
	file, err := p.Open()
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	b, err := io.ReadAll(file)
	if err != nil || !bytes.Equal(b, want) || p.Sum != sha256.Sum256(want) || p.Size != int64(len(want)) {
		f.t.Errorf("%d has %d bytes of message %d, %v; they are not those that were sent", i, len(b), seq, err)
	}
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func TestBulkSwarmOnSockets(t *testing.T) {
	f := newHouse(t, 8, 0)
	f.swarm()
	a, b := random(1<<20+1, 1), random(700<<10, 2)
	f.send(1, a)
	f.send(2, b)
	f.send(3, a) // which all have, or are getting
	for i := range f.hauls {
		f.has(i, 1, a)
		f.has(i, 2, b)
		f.has(i, 3, a)
	}
	if c := f.hauls[5].Counts(); c.Whole != 2 {
		t.Errorf("%d payloads came whole, want 2", c.Whole)
	}
}

// A giver whose disk, or heart, is bad: its chunks are not kept, and others give them.
func TestBulkWrongChunksAreTakenElsewhere(t *testing.T) {
	f := newHouse(t, 4, 0)
	payload := random(2<<20, 3)
	f.send(1, payload)
	until(t, "there", func() bool { return len(f.hauls[0].Transfers()) == 1 })
	// The bytes of instance 1 are spoilt as soon as they are there.
	f.hauls[1].See(bulk.View{Chain: true, Before: []int{0}})
	f.has(1, 1, payload)
	spoilt := f.hauls[1].Transfers()[0]
	path := filepath.Join(f.dirs[1], nameText(spoilt.Name)+dataFile)
	if err := os.WriteFile(path, make([]byte, len(payload)), 0o600); err != nil {
		t.Fatal(err)
	}
	f.hauls[2].See(bulk.View{Chain: true, Before: []int{1, 0}})
	f.has(2, 1, payload)
	if c := f.hauls[2].Counts(); c.Wrong != 1 {
		t.Errorf("%d wrong chunks were met, want 1: who sends one is not asked again", c.Wrong)
	}
}

// Whatever a giver says, it costs no more than its connection.
func TestBulkGarbageOfAGiver(t *testing.T) {
	name := wire.BulkName{1}
	for what, says := range map[string][]byte{
		"a frame of no end":  {255, 255, 255, 255},
		"an empty frame":     {0, 0, 0, 0},
		"a frame of a link":  wire.Append(nil, &wire.Beat{}),
		"a chunk unasked":    wire.Append(nil, &wire.Give{Name: name, Size: 3}),
		"a chunk too long":   wire.Append(nil, &wire.Give{Name: name, Chunk: 1, Size: wire.BulkChunkMax}),
		"what a taker says":  wire.Append(nil, &wire.Fetch{Name: name}),
		"a chunk of no size": wire.Append(nil, &wire.Give{Name: name}),
	} {
		t.Run(what, func(t *testing.T) {
			f := newHouse(t, 3, 0)
			fakes := make(chan net.Conn, 100)
			f.dialed = func(from, to int) net.Conn {
				if to != 1 {
					return nil
				}
				ours, theirs := net.Pipe()
				fakes <- theirs
				return ours
			}
			payload := random(1<<20, 4)
			c := f.send(1, payload)
			f.hauls[2].See(bulk.View{Chain: true, Before: []int{1, 0}})
			nc := <-fakes
			go io.Copy(io.Discard, nc)
			text := bytes.ReplaceAll(says, name[:], func() []byte { n := wire.NameOf(c.Payload); return n[:] }())
			_ = nc.SetDeadline(time.Now().Add(patience))
			if _, err := nc.Write(text); err != nil {
				t.Fatal(err)
			}
			f.has(2, 1, payload) // of 0, once 1 is given up
		})
	}
}

// A file that a crash has torn is found out by the hashes, and mended.
func TestBulkTornFileIsMended(t *testing.T) {
	f := newHouse(t, 2, 0)
	f.chain()
	payload := random(4<<20, 5)
	c := f.send(1, payload)
	f.has(1, 1, payload)
	f.hauls[1].Close()
	name := wire.NameOf(c.Payload)
	path := filepath.Join(f.dirs[1], nameText(name)+dataFile)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(make([]byte, 100), 1<<20)
	if err = errors.Join(err, file.Truncate(3<<20), file.Close()); err != nil {
		t.Fatal(err)
	}
	// And what is of no use goes.
	for _, stray := range []string{"stage-123", strings.Repeat("0", 64) + dataFile, "x" + castFile} {
		if err := os.WriteFile(filepath.Join(f.dirs[1], stray), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.start(1, 0)
	f.chain()
	f.has(1, 1, payload)
	if in := f.hauls[1].Counts().In; in == 0 || in > 2<<20 {
		t.Errorf("%d bytes were taken again, want a little more than one MiB", in)
	}
	entries, err := os.ReadDir(f.dirs[1])
	if err != nil || len(entries) != 2 {
		t.Errorf("there lie %v, %v", entries, err)
	}
}

// More than there is room for is never kept, and nothing that is too large is begun.
func TestBulkKeepsWithinItsBytes(t *testing.T) {
	f := newHouse(t, 2, 3<<20)
	f.chain()
	for seq := range uint64(6) {
		payload := random(1<<20, byte(seq))
		f.send(seq+1, payload)
		f.has(1, seq+1, payload)
	}
	for i, h := range f.hauls {
		if kept := h.Kept(); kept > 3<<20 {
			t.Errorf("%d keeps %d bytes", i, kept)
		}
		var bytes int64
		entries, err := os.ReadDir(f.dirs[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == dataFile {
				bytes += info.Size()
			}
		}
		if bytes > 3<<20 {
			t.Errorf("%d has %d bytes on disk", i, bytes)
		}
	}
	if _, _, err := f.hauls[0].Stage(t.Context(), bytes.NewReader(random(3<<20+1, 9))); !errors.Is(err, ErrFull) {
		t.Errorf("Stage of more than is kept: %v", err)
	}
	m := &wire.Manifest{Size: 4 << 20, Chunk: wire.ChunkSize(4 << 20), Chunks: make([][32]byte, 64)}
	f.hauls[1].Announced(&wire.Cast{CastID: wire.CastID{Seq: 100}, Payload: m.Encode(), Large: true})
	until(t, "told", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.missed[1][100]
	})
}

// stager is a Haul alone that keeps a MiB.
type stager struct{ *house }

// stage begins to take a payload in; one result comes.
func (f stager) stage(ctx context.Context, payload []byte) <-chan staged {
	ch := make(chan staged, 1)
	go func() {
		var s staged
		s.manifest, s.p, s.err = f.hauls[0].Stage(ctx, bytes.NewReader(payload))
		ch <- s
	}()
	return ch
}

type staged struct {
	manifest []byte
	p        *Payload
	err      error
}

// done waits for it.
func (f stager) done(ch <-chan staged) staged {
	f.t.Helper()
	until(f.t, "staged", func() bool { return len(ch) > 0 })
	s := <-ch
	if s.err != nil {
		f.t.Fatal(s.err)
	}
	return s
}

// blocked waits until one that is being staged has all the room that is left.
func (f stager) blocked(ch <-chan staged, before staged) {
	f.t.Helper()
	h := f.hauls[0]
	until(f.t, "out of room", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(ch) > 0 || h.kept()+wire.BulkChunkMin > h.cfg.Keep
	})
	if _, ok := h.Payload(before.p.Name); !ok || len(ch) > 0 {
		f.t.Fatal("a payload was let go before its message came")
	}
}

func (f stager) announce(seq uint64, s staged) {
	f.hauls[0].Announced(&wire.Cast{CastID: wire.CastID{Life: 1, Seq: seq}, Payload: s.manifest, Large: true})
}

// Who sends more than is kept has each until its message is back. Else that would begin it
// anew here, with nobody to give it, and it would keep the room of others.
func TestBulkStaysUntilItsMessageCame(t *testing.T) {
	f := stager{newHouse(t, 1, 1<<20)}
	old := f.done(f.stage(t.Context(), random(600<<10, 1)))
	for seq := range uint64(3) {
		ch := f.stage(t.Context(), random(600<<10, byte(seq+2)))
		f.blocked(ch, old)
		f.announce(seq, old)
		f.arrives(0, seq)
		s := f.done(ch)
		if _, ok := f.hauls[0].Payload(old.p.Name); ok || f.hauls[0].Kept() > 1<<20 {
			t.Errorf("payload %d is kept beside newer ones, %d bytes in all", seq, f.hauls[0].Kept())
		}
		old = s
	}
}

// One that is sent twice stays for both messages, and no longer when the second is not sent.
func TestBulkStaysForEachMessage(t *testing.T) {
	f := stager{newHouse(t, 1, 1<<20)}
	twice, other := random(400<<10, 1), random(700<<10, 2)
	old := f.done(f.stage(t.Context(), twice))
	f.done(f.stage(t.Context(), twice))
	f.announce(1, old)
	f.arrives(0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ch := f.stage(ctx, other)
	f.blocked(ch, old)
	cancel()
	if s := <-ch; !errors.Is(s.err, context.Canceled) {
		t.Errorf("Stage without room, cancelled: %v", s.err)
	}
	ch = f.stage(t.Context(), other)
	f.blocked(ch, old)
	f.hauls[0].Unsent(old.p)
	f.done(ch)
}

// What is no manifest is told of as missed, and so is what is one too many.
func TestBulkAnnouncedGarbage(t *testing.T) {
	f := newHouse(t, 1, 0)
	f.hauls[0].Announced(&wire.Cast{CastID: wire.CastID{Seq: 1}, Payload: []byte("x"), Large: true})
	for seq := range uint64(runMax + waitMax + 1) {
		m := &wire.Manifest{Size: 1, Chunk: wire.BulkChunkMin, Chunks: [][32]byte{{byte(seq), byte(seq >> 8)}}}
		f.hauls[0].Announced(&wire.Cast{
			CastID: wire.CastID{Seq: seq + 2}, Payload: m.Encode(), Large: true,
		})
	}
	until(t, "told", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.missed[0][1] && len(f.missed[0]) >= 2
	})
	list := f.hauls[0].Transfers()
	running := 0
	for _, one := range list {
		if !one.Waiting {
			running++
		}
	}
	if running > runMax || len(list) > runMax+waitMax {
		t.Errorf("%d transfers run and %d wait", running, len(list)-running)
	}
}

// Without a directory nothing has a name that could be left behind, however it ends.
func TestBulkFilesWithoutNames(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	h, err := Open(Config{Takers: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.Run(Ties{})
	_, p, err := h.Stage(t.Context(), bytes.NewReader(random(100, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(os.TempDir()); len(entries) != 0 && runtime.GOOS != "windows" {
		t.Errorf("there lie %v", entries)
	}
	body, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	// Who reads it is not disturbed, and nobody else can begin to.
	if b, err := io.ReadAll(body); err != nil || !bytes.Equal(b, random(100, 1)) {
		t.Errorf("what was open reads %d bytes, %v", len(b), err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Open(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after the end: %v", err)
	}
	if entries, _ := os.ReadDir(os.TempDir()); len(entries) != 0 {
		t.Errorf("there lie %v after the end", entries)
	}
}

func nameText(name wire.BulkName) string { return filepath.Base((&Haul{}).path(name, "")) }
