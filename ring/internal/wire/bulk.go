package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// What goes over connections for large payloads, and over no other.
const (
	KindFollow Kind = iota + 56
	KindHolds
	KindFetch
	KindGive
	KindGone
)

// Limits of large payloads.
const (
	BulkChunks   = 1024     // chunks of one
	BulkChunkMin = 64 << 10 // bytes of a chunk, but the last; they are powers of two
	BulkChunkMax = 1 << 20
	BulkMax      = BulkChunks * BulkChunkMax // bytes of a large payload
	FetchMax     = 256                       // chunks in one Fetch
	manifestLen  = 2 + 8 + sha256.Size       // without the hashes of chunks
)

// BulkName names a large payload: the SHA-256 of its manifest.
type BulkName [sha256.Size]byte

// Manifest says what a large payload consists of.
type Manifest struct {
	Size   uint64 // bytes, at least 1
	Chunk  uint32 // bytes of each chunk but the last
	Whole  [sha256.Size]byte
	Chunks [][sha256.Size]byte
}

// ChunkSize is the size of the chunks of a payload: the smallest with which there are no
// more than BulkChunks.
func ChunkSize(size uint64) uint32 {
	chunk := uint32(BulkChunkMin)
	for uint64(chunk)*BulkChunks < size {
		chunk *= 2
	}
	return chunk
}

// Len is how many bytes chunk i has.
func (m *Manifest) Len(i int) int {
	return int(min(uint64(m.Chunk), m.Size-uint64(i)*uint64(m.Chunk)))
}

// Sound reports whether data is chunk i.
func (m *Manifest) Sound(i int, data []byte) bool {
	return len(data) == m.Len(i) && sha256.Sum256(data) == m.Chunks[i]
}

// manifestVersion is the first byte of a manifest.
const manifestVersion = 1

// Encode writes m as it is broadcast: at most CastMax bytes.
func (m *Manifest) Encode() []byte {
	log := byte(0)
	for 1<<log < m.Chunk {
		log++
	}
	b := append(make([]byte, 0, manifestLen+len(m.Chunks)*sha256.Size), manifestVersion, log)
	b = binary.BigEndian.AppendUint64(b, m.Size)
	b = append(b, m.Whole[:]...)
	for i := range m.Chunks {
		b = append(b, m.Chunks[i][:]...)
	}
	return b
}

// ReadManifest is the inverse of Encode. It fails with ErrMalformed for what Encode
// would not have written.
func ReadManifest(b []byte) (*Manifest, error) {
	fault := func(err error) (*Manifest, error) {
		return nil, fmt.Errorf("%w: manifest: %w", ErrMalformed, err)
	}
	if len(b) < manifestLen {
		return fault(errors.New("it ends early"))
	}
	if b[0] != manifestVersion {
		return fault(fmt.Errorf("version %d, want %d", b[0], manifestVersion))
	}
	m := &Manifest{Size: binary.BigEndian.Uint64(b[2:])}
	if m.Size == 0 || m.Size > BulkMax {
		return fault(fmt.Errorf("%d bytes, want 1 to %d", m.Size, uint64(BulkMax)))
	}
	if m.Chunk = ChunkSize(m.Size); b[1] > 31 || m.Chunk != 1<<b[1] {
		return fault(fmt.Errorf("chunks of 2^%d bytes, want %d", b[1], m.Chunk))
	}
	copy(m.Whole[:], b[10:])
	count := int((m.Size + uint64(m.Chunk) - 1) / uint64(m.Chunk))
	if len(b) != manifestLen+count*sha256.Size {
		return fault(fmt.Errorf("%d bytes for %d chunks", len(b), count))
	}
	m.Chunks = make([][sha256.Size]byte, count)
	for i := range m.Chunks {
		copy(m.Chunks[i][:], b[manifestLen+i*sha256.Size:])
	}
	return m, nil
}

// NameOf is the name of a payload with that manifest, as Encode writes it.
func NameOf(manifest []byte) BulkName { return sha256.Sum256(manifest) }

// Follow asks to be told which chunks of a payload the receiver has, now and as they
// come. Bits are those that the sender has: they need not be told.
type Follow struct {
	Name BulkName
	Bits []byte // chunk i is bit i%8 of byte i/8
}

// Holds says that the sender has these chunks too: chunk First+i is bit i%8 of byte i/8.
type Holds struct {
	Name  BulkName
	First uint32
	Bits  []byte
}

// Fetch asks for chunks.
type Fetch struct {
	Name   BulkName
	Chunks []uint32
}

// Give is followed by Size bytes, outside of any frame: the chunk.
type Give struct {
	Name  BulkName
	Chunk uint32
	Size  uint32
}

// Gone says that the sender has nothing of a payload, or nothing any more: what was asked for will
// not come.
type Gone struct{ Name BulkName }

func (*Follow) Kind() Kind { return KindFollow }
func (*Holds) Kind() Kind  { return KindHolds }
func (*Fetch) Kind() Kind  { return KindFetch }
func (*Give) Kind() Kind   { return KindGive }
func (*Gone) Kind() Kind   { return KindGone }

const bitsMax = BulkChunks / 8

// appendBulk writes the kinds of this file; ok is false for any other.
func appendBulk(dst []byte, m Msg) (_ []byte, ok bool) {
	switch m := m.(type) {
	case *Follow:
		dst = append(dst, m.Name[:]...)
		dst = appendPiece(dst, m.Bits, bitsMax)
	case *Holds:
		dst = append(dst, m.Name[:]...)
		dst = appendChunk(dst, m.First)
		dst = appendPiece(dst, m.Bits, bitsMax)
	case *Fetch:
		dst = append(dst, m.Name[:]...)
		within("chunks", uint64(len(m.Chunks)), FetchMax)
		dst = binary.AppendUvarint(dst, uint64(len(m.Chunks)))
		for _, i := range m.Chunks {
			dst = appendChunk(dst, i)
		}
	case *Give:
		dst = append(dst, m.Name[:]...)
		dst = appendChunk(dst, m.Chunk)
		within("bytes of a chunk", uint64(m.Size), BulkChunkMax)
		dst = binary.AppendUvarint(dst, uint64(m.Size))
	case *Gone:
		dst = append(dst, m.Name[:]...)
	default:
		return dst, false
	}
	return dst, true
}

func appendChunk(dst []byte, i uint32) []byte {
	within("chunk", uint64(i), BulkChunks-1)
	return binary.AppendUvarint(dst, uint64(i))
}

// bulk reads the kinds of this file; nil for any other.
func (c *cursor) bulk(kind Kind) Msg {
	switch kind {
	case KindFollow:
		return &Follow{Name: c.bulkName(), Bits: c.piece("chunks", bitsMax)}
	case KindHolds:
		return &Holds{Name: c.bulkName(), First: c.chunk(), Bits: c.piece("chunks", bitsMax)}
	case KindFetch:
		m := &Fetch{Name: c.bulkName()}
		for range c.count("chunks", FetchMax, 1) {
			m.Chunks = append(m.Chunks, c.chunk())
		}
		return m
	case KindGive:
		return &Give{
			Name: c.bulkName(), Chunk: c.chunk(), Size: uint32(c.number("bytes of a chunk", BulkChunkMax)),
		}
	case KindGone:
		return &Gone{Name: c.bulkName()}
	}
	return nil
}

func (c *cursor) bulkName() (name BulkName) {
	copy(name[:], c.take(len(name)))
	return name
}

func (c *cursor) chunk() uint32 { return uint32(c.number("chunk", BulkChunks-1)) }
