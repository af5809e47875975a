package haul

import (
	"io"
	"io/fs"
	"os"
	"sync"
)

// shared is a file that is closed when nobody uses it any more. Who made it is its first
// user.
type shared struct {
	*os.File

	mu    sync.Mutex
	users int
}

func share(f *os.File) *shared { return &shared{File: f, users: 1} }

// open is one more reader, with a place of its own in the file.
func (s *shared) open(size int64) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return nil, fs.ErrNotExist
	}
	s.users++
	return &reader{SectionReader: io.NewSectionReader(s.File, 0, size), release: sync.OnceFunc(s.release)}, nil
}

func (s *shared) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.File.Close() // nothing is buffered
	}
}

type reader struct {
	*io.SectionReader
	release func()
}

func (r *reader) Close() error {
	r.release()
	return nil
}
