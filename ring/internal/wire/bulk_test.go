package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"
)

func manifestOf(size uint64) *Manifest {
	m := &Manifest{Size: size, Chunk: ChunkSize(size), Whole: sha256.Sum256([]byte("whole"))}
	for at := uint64(0); at < size; at += uint64(m.Chunk) {
		m.Chunks = append(m.Chunks, sha256.Sum256([]byte{byte(len(m.Chunks))}))
	}
	return m
}

func TestManifest(t *testing.T) {
	for _, test := range []struct {
		size  uint64
		chunk uint32
		count int
	}{
		{1, BulkChunkMin, 1},
		{BulkChunkMin, BulkChunkMin, 1},
		{BulkChunkMin + 1, BulkChunkMin, 2},
		{BulkChunkMin * BulkChunks, BulkChunkMin, BulkChunks},
		{BulkChunkMin*BulkChunks + 1, 2 * BulkChunkMin, BulkChunks/2 + 1},
		{BulkMax, BulkChunkMax, BulkChunks},
	} {
		m := manifestOf(test.size)
		if m.Chunk != test.chunk || len(m.Chunks) != test.count {
			t.Errorf("%d bytes: %d chunks of %d, want %d of %d", test.size, len(m.Chunks), m.Chunk,
				test.count, test.chunk)
		}
		b := m.Encode()
		if len(b) > CastMax {
			t.Errorf("%d bytes: a manifest of %d does not fit into a broadcast", test.size, len(b))
		}
		back, err := ReadManifest(b)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%d bytes: came back as %+v, %v", test.size, back, err)
		}
		whole := uint64(0)
		for i := range m.Chunks {
			whole += uint64(m.Len(i))
		}
		if whole != test.size {
			t.Errorf("the chunks of %d bytes have %d", test.size, whole)
		}
	}
}

func TestManifestKnowsItsChunks(t *testing.T) {
	data := bytes.Repeat([]byte("ring"), BulkChunkMin/4)
	m := &Manifest{Size: BulkChunkMin + 3, Chunk: BulkChunkMin, Chunks: [][32]byte{
		sha256.Sum256(data), sha256.Sum256(data[:3]),
	}}
	if !m.Sound(0, data) || !m.Sound(1, data[:3]) {
		t.Error("its own chunks are not sound")
	}
	wrong := bytes.Clone(data)
	wrong[5]++
	if m.Sound(0, wrong) || m.Sound(0, data[1:]) || m.Sound(1, data) {
		t.Error("a wrong chunk is sound")
	}
}

func TestManifestRefused(t *testing.T) {
	sound := manifestOf(200 << 10).Encode()
	for what, change := range map[string]func(b []byte) []byte{
		"nothing":       func(b []byte) []byte { return nil },
		"short":         func(b []byte) []byte { return b[:len(b)-1] },
		"long":          func(b []byte) []byte { return append(b, 0) },
		"newer":         func(b []byte) []byte { b[0]++; return b },
		"chunks":        func(b []byte) []byte { b[1]++; return b },
		"huge chunks":   func(b []byte) []byte { b[1] = 255; return b },
		"larger":        func(b []byte) []byte { b[6]++; return b },
		"empty":         func(b []byte) []byte { clear(b[2:10]); return b },
		"over the most": func(b []byte) []byte { b[2] = 255; return b },
	} {
		if m, err := ReadManifest(change(bytes.Clone(sound))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
}

// What was understood is written the same.
func FuzzManifest(f *testing.F) {
	f.Add(manifestOf(1).Encode())
	f.Add(manifestOf(100 << 20).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ReadManifest(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Fatalf("%x was written as %x", b, m.Encode())
		}
	})
}
