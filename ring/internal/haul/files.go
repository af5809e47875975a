package haul

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring/internal/bulk"
	"ringofservers.dev/ring/internal/wire"
)

// What lies in the directory: of each payload the message that brought it, and its bytes.
// Nothing is synced, and no name tells what is whole: at a start every chunk is held against
// its hash, and what a crash has torn is taken from the others again.
const (
	castFile  = ".cast" // castMagic, the frame of the message, SHA-256 of both
	dataFile  = ".data"
	stageFile = "stage-"
	castMagic = "RINGBULK\x01"
)

// item is a payload with its file.
type item struct {
	name  wire.BulkName
	m     *wire.Manifest
	first *wire.Cast   // that brought it; nil where it is not sent yet
	casts []*wire.Cast // to be delivered when it is whole
	file  *shared
	path  string // empty where there is no directory
	whole bool
	owed  int // messages about it that were staged here and have not come back: it stays for them
	began time.Time
	ended time.Time
	took  time.Duration
}

// Payload is one that is whole.
type Payload struct {
	Name wire.BulkName
	Size int64
	Sum  [sha256.Size]byte // of all of it, by its sender's word; of each chunk it was checked
	file *shared
}

func (it *item) payload() *Payload {
	return &Payload{Name: it.name, Size: int64(it.m.Size), Sum: it.m.Whole, file: it.file}
}

// Open opens it for reading. The error wraps fs.ErrNotExist where it is not kept any more.
func (p *Payload) Open() (io.ReadSeekCloser, error) { return p.file.open(p.Size) }

func (h *Haul) path(name wire.BulkName, ending string) string {
	return filepath.Join(h.cfg.Dir, hex.EncodeToString(name[:])+ending)
}

// nameless makes a file that is gone when this process ends, however it ends; where the
// system does not take the name of an open file, when it ends in order.
func nameless() (f *os.File, left string, err error) {
	f, err = os.CreateTemp("", "ring-bulk-*")
	if err == nil && os.Remove(f.Name()) != nil {
		left = f.Name()
	}
	return f, left, err
}

// begin takes what a message brings, or has it wait.
func (h *Haul) begin(c *wire.Cast) {
	m, err := wire.ReadManifest(c.Payload)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.back(c) // not before it is seen to: it may make room for others
	switch {
	case err != nil || int64(m.Size) > h.cfg.Keep:
		h.miss(c)
	case !h.start(c, m):
		if len(h.waiting) >= waitMax {
			h.miss(c)
			return
		}
		h.waiting = append(h.waiting, c)
	}
}

// start returns false where there is no room for it yet.
func (h *Haul) start(c *wire.Cast, m *wire.Manifest) bool {
	name := wire.NameOf(c.Payload)
	if it := h.item(name); it != nil {
		switch {
		case it.whole:
			h.deliver(it, c)
		case len(it.casts) < castsMax:
			it.casts = append(it.casts, c)
		default:
			h.miss(c)
		}
		if it.first == nil {
			it.first = c
			h.remember(it)
		}
		return true
	}
	if h.running() >= runMax || !h.makeRoom(int64(m.Size)) {
		return false
	}
	now := time.Now()
	it := &item{name: name, m: m, first: c, casts: []*wire.Cast{c}, began: now}
	var f *os.File
	var err error
	if h.cfg.Dir == "" {
		f, it.path, err = nameless()
	} else {
		it.path = h.path(name, dataFile)
		f, err = os.OpenFile(it.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	}
	if err != nil {
		h.miss(c)
		return true
	}
	it.file = share(f)
	h.remember(it)
	h.items = append(h.items, it)
	h.core.Add(now, name, len(m.Chunks), bulk.Bits{}, int(c.Origin))
	h.carry()
	return true
}

// remember writes down what brought an item. If that fails it is not there after the next
// start, and nothing else.
func (h *Haul) remember(it *item) {
	if h.cfg.Dir == "" {
		return
	}
	text := wire.Append([]byte(castMagic), it.first)
	sum := sha256.Sum256(text)
	_ = os.WriteFile(h.path(it.name, castFile), append(text, sum[:]...), 0o600)
}

func (h *Haul) kept() int64 {
	n := h.staged
	for _, it := range h.items {
		n += int64(it.m.Size)
	}
	return n
}

// back takes it that a message has come. If it is this instance's own, one less is owed.
func (h *Haul) back(c *wire.Cast) {
	if int(c.Origin) == h.cfg.Self {
		h.settle(wire.NameOf(c.Payload))
	}
}

// settle lets a payload go, if its room is wanted, when no more messages are owed.
func (h *Haul) settle(name wire.BulkName) {
	it := h.item(name)
	if it == nil || it.owed == 0 {
		return // of an earlier process
	}
	if it.owed--; it.owed == 0 {
		close(h.freed)
		h.freed = make(chan struct{})
		h.retry()
	}
}

// Unsent tells that a payload was staged and no message will tell of it.
func (h *Haul) Unsent(p *Payload) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settle(p.Name)
}

// makeRoom lets go the oldest that are whole until there is room for more bytes. What this
// instance sends stays until its message has come here: later, that would be a payload to
// be taken from others, who are to take it from here.
func (h *Haul) makeRoom(more int64) bool {
	free := h.cfg.Keep - h.kept()
	var gone []*item
	for _, it := range h.items {
		if free >= more {
			break
		}
		if it.whole && it.owed == 0 {
			gone = append(gone, it)
			free += int64(it.m.Size)
		}
	}
	if free < more {
		return false
	}
	for _, it := range gone {
		h.drop(it)
	}
	return true
}

// comes reports whether there will be room for more bytes when nothing is owed any more.
func (h *Haul) comes(more int64) bool {
	free := h.cfg.Keep - h.staged
	for _, it := range h.items {
		if !it.whole {
			free -= int64(it.m.Size)
		}
	}
	return free >= more
}

// drop forgets an item and its files.
func (h *Haul) drop(it *item) {
	h.items = slices.DeleteFunc(h.items, func(o *item) bool { return o == it })
	h.core.Remove(time.Now(), it.name)
	h.carry()
	h.discard(it)
}

// discard removes its files. What stays, the next start finds.
func (h *Haul) discard(it *item) {
	it.file.release()
	if it.path != "" {
		_ = os.Remove(it.path)
	}
	if h.cfg.Dir != "" {
		_ = os.Remove(h.path(it.name, castFile))
	}
}

// abandon drops one that is not whole.
func (h *Haul) abandon(it *item) {
	for _, c := range it.casts {
		h.miss(c)
	}
	h.drop(it)
	h.retry()
}

// retry begins what waited for room.
func (h *Haul) retry() {
	for len(h.waiting) > 0 {
		c := h.waiting[0]
		m, err := wire.ReadManifest(c.Payload)
		if err == nil && !h.start(c, m) {
			return
		}
		h.waiting = slices.Delete(h.waiting, 0, 1)
	}
}

// finish delivers an item that is whole.
func (h *Haul) finish(name wire.BulkName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	it := h.item(name)
	if it == nil || it.whole {
		return
	}
	it.whole, it.ended = true, time.Now()
	it.took = it.ended.Sub(it.began)
	h.counts.Whole++
	for _, c := range it.casts {
		h.deliver(it, c)
	}
	it.casts = nil
	h.retry()
}

// Stage takes a payload in from its sender, and returns the manifest to be broadcast.
// From now on others may take it from here. It is kept until that message was Announced;
// if it is not sent, tell Unsent. Where others like that have the room it waits for them.
func (h *Haul) Stage(ctx context.Context, src io.Reader) (manifest []byte, p *Payload, err error) {
	select {
	case h.stages <- struct{}{}:
		defer func() { <-h.stages }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-h.ctx.Done():
		return nil, nil, ErrEnded
	}
	select {
	case <-h.loaded: // else it might take the new file for an old one
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-h.ctx.Done():
		return nil, nil, ErrEnded
	}
	s := &stage{h: h, ctx: ctx}
	if h.cfg.Dir == "" {
		s.file, s.path, err = nameless()
	} else if s.file, err = os.CreateTemp(h.cfg.Dir, stageFile); err == nil {
		s.path = s.file.Name()
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := s.copy(src)
	if err == nil {
		manifest = m.Encode()
		p, err = h.adopt(s, m, manifest)
	}
	if err != nil {
		s.discard()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.staged -= s.size
	h.retry()
	return manifest, p, err
}

// stage is a payload on its way in. What comes is counted against the room there is.
type stage struct {
	h    *Haul
	ctx  context.Context // of Stage, which it does not outlive
	file *os.File
	path string // empty where it has none
	size int64
}

func (s *stage) discard() {
	s.file.Close()
	if s.path != "" {
		_ = os.Remove(s.path) // if it stays, the next start finds it
	}
}

func (s *stage) copy(src io.Reader) (*wire.Manifest, error) {
	m, whole := &wire.Manifest{}, sha256.New()
	buf := make([]byte, wire.BulkChunkMin)
	for {
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			if err := s.more(int64(n)); err != nil {
				return nil, err
			}
			whole.Write(buf[:n])
			if _, err := s.file.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the payload: %w", err)
		}
	}
	if s.size == 0 {
		return nil, ErrEmpty
	}
	m.Size = uint64(s.size)
	m.Chunk = wire.ChunkSize(m.Size)
	whole.Sum(m.Whole[:0])
	// Only now is it known how large a chunk is.
	chunk := make([]byte, m.Chunk)
	for at := uint64(0); at < m.Size; at += uint64(m.Chunk) {
		part := chunk[:min(uint64(m.Chunk), m.Size-at)]
		if _, err := s.file.ReadAt(part, int64(at)); err != nil {
			return nil, err
		}
		m.Chunks = append(m.Chunks, sha256.Sum256(part))
	}
	return m, nil
}

// more asks for room for n bytes.
func (s *stage) more(n int64) error {
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case s.h.ctx.Err() != nil:
		return ErrEnded
	case s.size+n > wire.BulkMax:
		return ErrLarge
	}
	for {
		freed, err := s.claim(n)
		if freed == nil {
			return err
		}
		select {
		case <-freed:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.h.ctx.Done():
			return ErrEnded
		}
	}
}

// claim takes room for n bytes, or returns what is closed when there may be some.
func (s *stage) claim(n int64) (freed <-chan struct{}, err error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.makeRoom(n):
		h.staged += n
		s.size += n
		return nil, nil
	case h.comes(n):
		return h.freed, nil
	}
	return nil, ErrFull
}

// adopt makes a staged payload one that is whole.
func (h *Haul) adopt(s *stage, m *wire.Manifest, manifest []byte) (*Payload, error) {
	name := wire.NameOf(manifest)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, ErrEnded
	}
	if it := h.item(name); it != nil {
		if !it.whole { // what is missing comes from here
			return nil, fmt.Errorf("%w: the same payload is on its way here already", ErrFull)
		}
		it.owed++
		s.discard()
		return it.payload(), nil
	}
	it := &item{name: name, m: m, path: s.path, whole: true, owed: 1, ended: time.Now()}
	if h.cfg.Dir != "" {
		it.path = h.path(name, dataFile)
		err := s.file.Close() // to be renamed everywhere
		if err == nil {
			err = os.Rename(s.path, it.path)
		}
		if err == nil {
			s.file, err = os.OpenFile(it.path, os.O_RDWR, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	it.file = share(s.file)
	h.items = append(h.items, it)
	h.staged -= s.size // it is an item's now
	s.size = 0
	h.core.Add(it.ended, name, len(m.Chunks), bulk.All(len(m.Chunks)), h.cfg.Self)
	h.carry()
	return it.payload(), nil
}

// load takes up what an earlier process left, and throws away what is of no use.
func (h *Haul) load() error {
	if h.cfg.Dir == "" {
		return nil
	}
	entries, err := os.ReadDir(h.cfg.Dir)
	if err != nil {
		return nil // there is none yet
	}
	used := map[string]bool{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), castFile) {
			continue
		}
		it, have, err := h.read(e.Name())
		if h.ctx.Err() != nil {
			if it != nil && it.file != nil {
				it.file.release()
			}
			return ErrEnded
		}
		if err != nil {
			continue
		}
		used[e.Name()], used[filepath.Base(it.path)] = true, true
		h.takeUp(it, have)
	}
	for _, e := range entries {
		if !used[e.Name()] && ours(e.Name()) {
			_ = os.Remove(filepath.Join(h.cfg.Dir, e.Name()))
		}
	}
	return nil
}

// ours reports whether a file is of this package.
func ours(name string) bool {
	return strings.HasPrefix(name, stageFile) ||
		slices.Contains([]string{castFile, dataFile}, filepath.Ext(name))
}

// read reads an item and which of its chunks are sound.
func (h *Haul) read(castName string) (it *item, have bulk.Bits, err error) {
	c, err := readCast(filepath.Join(h.cfg.Dir, castName))
	if err != nil {
		return nil, have, err
	}
	m, err := wire.ReadManifest(c.Payload)
	if err != nil {
		return nil, have, err
	}
	it = &item{name: wire.NameOf(c.Payload), m: m, first: c, began: time.Now()}
	if castName != filepath.Base(h.path(it.name, castFile)) {
		return nil, have, fs.ErrInvalid
	}
	it.path = h.path(it.name, dataFile)
	f, err := os.OpenFile(it.path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, have, err
	}
	it.file = share(f)
	chunk := make([]byte, m.Chunk)
	for i := range m.Chunks {
		if h.ctx.Err() != nil {
			return it, have, ErrEnded
		}
		part := chunk[:m.Len(i)]
		if _, err := it.file.ReadAt(part, int64(i)*int64(m.Chunk)); err == nil && m.Sound(i, part) {
			have.Add(i)
		}
	}
	return it, have, nil
}

func readCast(path string) (*wire.Cast, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	end := len(text) - sha256.Size
	if end < len(castMagic) || !bytes.HasPrefix(text, []byte(castMagic)) ||
		sha256.Sum256(text[:end]) != [sha256.Size]byte(text[end:]) {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	m, err := readFrame(bufio.NewReader(bytes.NewReader(text[len(castMagic):end])), wire.FrameMax, nil)
	if err != nil {
		return nil, err
	}
	c, ok := m.(*wire.Cast)
	if !ok {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	return c, nil
}

// takeUp goes on with what was read.
func (h *Haul) takeUp(it *item, have bulk.Bits) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.makeRoom(int64(it.m.Size)) {
		h.discard(it)
		return
	}
	it.ended, it.whole = it.began, have == bulk.All(len(it.m.Chunks))
	if !it.whole {
		it.casts = []*wire.Cast{it.first}
	}
	h.items = append(h.items, it)
	h.core.Add(time.Now(), it.name, len(it.m.Chunks), have, int(it.first.Origin))
	h.carry()
}
