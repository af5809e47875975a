package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// The file of the roster, framed as the state is:
//
//	8 magic · 2 version · 4 payload length · payload · 4 CRC32C of all before
//	payload: 4 era of the bus · 4 index of this instance · roster, encoded
const (
	rosterFile     = "roster"
	rosterNext     = "roster.new"
	rosterMagic    = "RINGNAME"
	rosterVersion  = 1
	rosterFixed    = 4 + 4
	rosterBytesMax = 10 << 20
)

// Kept is the newest roster that an instance knew of. Without the file, or where a build
// that knows none wrote the rest, there is none.
type Kept struct {
	Roster []byte // encoded
	Era    uint32 // of the bus that agreed on it
	Self   uint32 // index of this instance
}

// SaveRoster puts k on disk and returns when it will survive a loss of power. From then on
// the directory is that of the identity id. After an error the file of before is whole.
func (s *Store) SaveRoster(k Kept, id Identity) error {
	p := binary.BigEndian.AppendUint32(nil, k.Era)
	p = binary.BigEndian.AppendUint32(p, k.Self)
	if err := s.replace(rosterFile, rosterNext, frame(rosterMagic, rosterVersion, append(p, k.Roster...))); err != nil {
		return err
	}
	s.id = id
	return nil
}

// kept reads the roster; nil where there is none.
func (s *Store) kept() (*Kept, error) {
	f, err := s.root.Open(rosterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the roster: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, rosterBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the roster: %w", err)
	}
	k, err := decodeRoster(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.dir, rosterFile), err)
	}
	return k, nil
}

// decodeRoster reads the file; it trusts nothing in it.
func decodeRoster(b []byte) (*Kept, error) {
	version, p, err := unframe(rosterMagic, rosterVersion, b)
	if err == nil && (version != rosterVersion || len(p) < rosterFixed) {
		err = torn("its fields do not fit its length")
	}
	if errors.Is(err, ErrTorn) {
		err = fmt.Errorf("%w; move it away and start again with the roster that `ring roster show` of "+
			"a running instance tells", err)
	}
	if err != nil {
		return nil, err
	}
	return &Kept{
		Era: binary.BigEndian.Uint32(p), Self: binary.BigEndian.Uint32(p[4:]), Roster: p[rosterFixed:],
	}, nil
}
