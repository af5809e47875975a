package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"time"
)

const (
	reasonMax    = 256
	issuedFormat = "ring issued"
	issuedMax    = 256 << 20 // bytes of the list
	opIssue      = "issue"
	opRevoke     = "revoke"
)

// Issued is a certificate that an authority has issued.
type Issued struct {
	Serial    string // hexadecimal digits
	ID        ID
	Hosts     []string // names and addresses for browsers
	Issuer    string   // of the root that signed it, the common name
	NotBefore time.Time
	NotAfter  time.Time
	Revoked   time.Time // zero: it was not
	Reason    string    // of that, for people
}

func issuedOf(leaf *x509.Certificate, id ID, root *x509.Certificate) Issued {
	return Issued{
		Serial: hexOf(leaf.SerialNumber), ID: id, Hosts: HostsOf(leaf),
		Issuer: root.Subject.CommonName, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
}

// record is a line of the list.
type record struct {
	Op string
	Issued
}

// line is how a record is written. Fields that are added later are ignored by whoever does
// not know them.
type line struct {
	Op     string     `json:"op"`
	Serial string     `json:"serial"`
	ID     string     `json:"id,omitempty"`
	Hosts  []string   `json:"hosts,omitempty"`
	Issuer string     `json:"issuer,omitempty"`
	From   *time.Time `json:"not_before,omitempty"`
	Until  *time.Time `json:"not_after,omitempty"`
	At     *time.Time `json:"revoked,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// header is the first line.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"v"`
	Ring    string `json:"ring"`
}

// ledger is the list of what was issued, as it is in its file.
type ledger struct {
	path   string
	all    []Issued
	serial map[string]int // place in all
	file   fs.FileInfo    // which was read
	size   int64          // how far
}

// begin makes the file anew.
func (l *ledger) begin(path, ring string) error {
	head, err := json.Marshal(header{issuedFormat, 1, ring})
	if err != nil {
		return err
	}
	*l = ledger{}
	if err := WriteFile(path, append(head, '\n'), 0o600); err != nil {
		return err
	}
	return l.read(path, ring)
}

// read reads what was added to the file since it was read, or all of it. A last line
// without an end, which a crash left, was never acknowledged, and is cut off.
func (l *ledger) read(path, ring string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("list of what was issued: %w; bring it back from a backup", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if l.file == nil || !os.SameFile(l.file, info) || info.Size() < l.size {
		*l = ledger{path: path, file: info, serial: map[string]int{}}
	}
	if info.Size() > issuedMax {
		return because(ErrMalformed, "%s is larger than 256 MiB: move it away and begin an authority anew", path)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, l.size, info.Size()-l.size))
	if err != nil {
		return err
	}
	for len(b) > 0 {
		text, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			if err := errors.Join(f.Truncate(l.size), f.Sync()); err != nil {
				return err
			}
			break
		}
		if l.size == 0 {
			err = checkHeader(text, ring)
		} else {
			err = l.line(text)
		}
		if err != nil {
			return because(ErrMalformed, "%s is damaged at byte %d: %v; bring it back from a backup, or remove "+
				"that line, and what it says cannot be revoked", path, l.size, err)
		}
		l.size += int64(len(text)) + 1
		b = rest
	}
	if l.size == 0 {
		return because(ErrMalformed, "%s is empty: bring it back from a backup", path)
	}
	return nil
}

func checkHeader(text []byte, ring string) error {
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return err
	}
	if h.Format != issuedFormat || h.Version != 1 || h.Ring != ring {
		return fmt.Errorf("it is version %d of %q for ring %q, version 1 of %q for ring %q is needed",
			h.Version, h.Format, h.Ring, issuedFormat, ring)
	}
	return nil
}

func (l *ledger) line(text []byte) error {
	var n line
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	at, known := l.serial[n.Serial]
	switch n.Op {
	case opIssue:
		id, err := ParseID(n.ID)
		if err != nil {
			return err
		}
		if _, err := hex.DecodeString(n.Serial); err != nil || n.Serial == "" || known || n.From == nil || n.Until == nil {
			return errors.New("a certificate has no serial number or times, or is there twice")
		}
		l.serial[n.Serial] = len(l.all)
		l.all = append(l.all, Issued{
			Serial: n.Serial, ID: id, Hosts: n.Hosts, Issuer: n.Issuer, NotBefore: *n.From, NotAfter: *n.Until,
		})
	case opRevoke:
		if !known || n.At == nil {
			return errors.New("what was revoked was not issued")
		}
		l.all[at].Revoked, l.all[at].Reason = *n.At, n.Reason
	default:
		return fmt.Errorf("it is written by a newer version of ring (%q)", n.Op)
	}
	return nil
}

// add writes records, and returns when they will survive a loss of power.
func (l *ledger) add(all ...record) error {
	var text []byte
	var lines [][]byte
	for _, r := range all {
		one, err := r.text()
		if err != nil {
			return err
		}
		text = append(append(text, one...), '\n')
		lines = append(lines, one)
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, l.size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	l.size += int64(len(text))
	for _, one := range lines {
		if err := l.line(one); err != nil {
			return err
		}
	}
	return nil
}

// text is a line of the file.
func (r record) text() ([]byte, error) {
	n := line{Op: r.Op, Serial: r.Serial}
	if r.Op == opIssue {
		n.ID, n.Hosts, n.Issuer, n.From, n.Until = r.ID.String(), r.Hosts, r.Issuer, &r.NotBefore, &r.NotAfter
	} else {
		n.At, n.Reason = &r.Revoked, r.Reason
	}
	return json.Marshal(n)
}

// revoked is what was revoked and had not ended by then, by serial number.
func (l *ledger) revoked(by time.Time) []x509.RevocationListEntry {
	var out []x509.RevocationListEntry
	for _, c := range l.all {
		if c.Revoked.IsZero() || c.NotAfter.Before(by) {
			continue
		}
		n, ok := new(big.Int).SetString(c.Serial, 16)
		if !ok {
			continue // line has checked it
		}
		out = append(out, x509.RevocationListEntry{SerialNumber: n, RevocationTime: c.Revoked})
	}
	slices.SortFunc(out, func(a, b x509.RevocationListEntry) int { return a.SerialNumber.Cmp(b.SerialNumber) })
	return out
}

// left is whose newest certificate is not of root, and valid.
func (l *ledger) left(root *x509.Certificate, now time.Time) []Issued {
	newest := map[ID]int{}
	for i, c := range l.all {
		if c.Revoked.IsZero() {
			newest[c.ID] = i
		}
	}
	var left []Issued
	for i, c := range l.all {
		if newest[c.ID] == i && c.Revoked.IsZero() && now.Before(c.NotAfter) && c.Issuer != root.Subject.CommonName {
			left = append(left, c)
		}
	}
	return left
}
