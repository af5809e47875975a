package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"ringofservers.dev/ring/internal/consensus"
)

// One Append of some entries of 256 bytes and a hard state, on a real disk.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			j, _, err := Open(b.TempDir(), self)
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			benchmarkAppend(b, j, n)
		})
	}
}

// The same without a disk: what the journal itself costs.
func BenchmarkAppendNoDisk(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			j, _, err := open(noDisk{newMemDisk()}, "bus", self, sizes{room, slack})
			if err != nil {
				b.Fatal(err)
			}
			benchmarkAppend(b, j, n)
		})
	}
}

// noDisk takes everything and keeps nothing.
type noDisk struct{ *memDisk }

func (noDisk) create(string) (file, error) { return noFile{}, nil }
func (noDisk) open(string) (file, error)   { return noFile{}, nil }
func (noDisk) rename(string, string) error { return nil }

type noFile struct{}

func (noFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (noFile) Sync() error                            { return nil }
func (noFile) Close() error                           { return nil }

func benchmarkAppend(b *testing.B, j *Journal, n int) {
	data, index := make([]byte, 256), uint64(0)
	ws := []consensus.Write{{Hard: hard(1, 1, 1)}}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if index > 10000 { // a new log, as a snapshot begins one now and then
			index = 0
			if err := j.Append([]consensus.Write{{Identity: &consensus.Identity{Era: 1}}}); err != nil {
				b.Fatal(err)
			}
		}
		es := make([]*raftpb.Entry, n)
		for i := range es {
			index++
			es[i] = entry(index, 1, data)
		}
		ws[0].Entries = es
		b.StartTimer()
		if err := j.Append(ws); err != nil {
			b.Fatal(err)
		}
	}
}

// What the disk itself takes: the same bytes written over zeroes, and synced.
func BenchmarkWriteAndSync(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			record, size := make([]byte, n*288), int64(8<<20)
			if _, err := f.Write(make([]byte, size)); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			d := dataFile{f}
			for off := int64(0); b.Loop(); off = (off + int64(len(record))) % (size - int64(len(record))) {
				if _, err := d.WriteAt(record, off); err != nil {
					b.Fatal(err)
				}
				if err := d.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
