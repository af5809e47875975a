package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringofservers.dev/ring/internal/roster"
)

func fleet(t testing.TB) (*Authority, *Store) {
	t.Helper()
	a, err := Init(filepath.Join(t.TempDir(), "ca"), "prod", 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Identity(ID{Instance, "prod", "dc1/prod/0"}, []string{"localhost", "127.0.0.1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a, s
}

// What is read is what was written, it can stand in a certificate, and its names are those
// of a roster.
func FuzzParseID(f *testing.F) {
	for _, seed := range []string{
		"", "ring://prod/dc1/prod/0", "ring+admin://prod/alice", "ring+read://a.b/c", "ring://a..b/c", "ring://.a/b",
		"ring://a/../b", "ring://a/b?c", "ring://a@b/c", "ring://a:1/c", "RING://a/b", "ring://a%2e/b", "ring:///a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := ParseID(uri)
		if err != nil {
			return
		}
		if id.String() != uri {
			t.Fatalf("%q is read as %+v, which is written %q", uri, id, id)
		}
		if _, err := roster.New(id.Ring, []string{id.Name}, nil, 0); err != nil {
			t.Fatalf("%q cannot be in a roster: %v", uri, err)
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := IDOf(&x509.Certificate{URIs: []*url.URL{u}}); got != id || err != nil {
			t.Fatalf("a certificate of %q is of %v, %v", uri, got, err)
		}
	})
}

// FuzzLearn has a Store that knows two roots hear what there is, genuine and not, in any
// order, with a byte of it changed here and there. Only the newest root's word counts.
func FuzzLearn(f *testing.F) {
	a, s := fleet(f)
	old := a.trust.roots[0]
	oldKey := a.key
	start := s.Material()
	if _, err := a.Revoke(ID{Read, "prod", "nobody"}, ""); err == nil {
		f.Fatal("nobody was revoked")
	}
	roots, lists := [][]byte{start.Roots}, [][]byte{start.Revoked}
	note := func(a *Authority) {
		roots, lists = append(roots, a.Roots()), append(lists, a.Revoked())
	}
	if err := a.Rotate(); err != nil {
		f.Fatal(err)
	}
	note(a)
	rotating := Material{start.Certificate, start.Key, a.Roots(), a.Revoked()}
	head := a.trust.roots[0]
	if err := a.FinishRotation(true); err != nil {
		f.Fatal(err)
	}
	note(a)
	// Somebody else's, which the old root, stolen, has signed.
	evil, _ := fleet(f)
	note(evil)
	evilRoot := evil.trust.roots[0]
	t := *evilRoot
	cross, err := create(&t, old, &evil.key.PublicKey, oldKey)
	if err != nil {
		f.Fatal(err)
	}
	roots = append(roots, pemOf(certificateBlock, cross.Raw))
	number := uint64(1) << 40
	for _, say := range [][]*x509.Certificate{{old, evilRoot}, {evilRoot, head}, {old}} {
		key := oldKey
		if say[0] == evilRoot {
			key = evil.key
		}
		word, err := newStatement(number, "prod", say, key)
		if err != nil {
			f.Fatal(err)
		}
		roots = append(roots, pemOf(statementBlock, word.raw))
	}
	var pieces [][]byte // each a block
	for _, text := range append(roots, lists...) {
		for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
			pieces = append(pieces, pem.EncodeToMemory(b))
		}
	}
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 255, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{16, 17, 18, 19, 255, 20, 21, 22, 23})
	f.Fuzz(func(t *testing.T, moves []byte) {
		s, err := New(rotating)
		if err != nil {
			t.Fatal(err)
		}
		var roots, lists []byte
		hear := func() {
			before := s.now.Load().anchors
			changed, err := s.Learn(roots, lists)
			now := s.now.Load().anchors
			switch {
			case err != nil && changed:
				t.Fatalf("changed, and an error: %v", err)
			case now.roots[0] != before.roots[0] && printOf(now.roots[0]) != printOf(head):
				t.Fatalf("the newest root is %v", now.roots[0].Subject)
			case has(now.roots, evilRoot):
				t.Fatal("a root of somebody else was taken in")
			case now.statementNumber() < before.statementNumber():
				t.Fatal("an older word counts")
			}
			for sum, r := range before.revoked {
				if n := now.revoked[sum]; n != nil && n.number < r.number {
					t.Fatal("an older list counts")
				}
			}
			if _, err := newAnchors(must(t, s.Material().Roots), must(t, s.Material().Revoked)); err != nil {
				t.Fatalf("what was learned cannot be read again: %v", err)
			}
			roots, lists = nil, nil
		}
		for i, m := range moves[:min(len(moves), 64)] {
			switch piece := bytes.Clone(pieces[int(m)%len(pieces)]); {
			case m >= 250:
				hear()
			case m >= 240 && len(roots) > 0:
				roots[(int(m)+i*31)%len(roots)] ^= 1
			case bytes.Contains(piece, []byte(revokedBlock)):
				lists = append(lists, piece...)
			default:
				roots = append(roots, piece...)
			}
		}
		hear()
	})
}

func must(t *testing.T, text []byte) *bundle {
	t.Helper()
	b, err := parse(text, "what was written")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is read as a statement keeps to its limits, and has a signature.
func FuzzStatement(f *testing.F) {
	a, _ := fleet(f)
	f.Add(a.trust.statement.raw)
	f.Add(a.trust.statement.raw[:40])
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseStatement(raw)
		if err == nil && (len(s.roots) == 0 || len(s.roots) > rootsMax || s.signed >= len(raw)) {
			t.Fatalf("%x is read as %+v", raw, s)
		}
	})
}

func FuzzNew(f *testing.F) {
	_, s := fleet(f)
	m := s.Material()
	f.Add(m.Certificate, m.Key, m.Roots, m.Revoked)
	f.Add(m.Roots, m.Key, m.Certificate, []byte{})
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, certificate, key, roots, revoked []byte) {
		s, err := New(Material{certificate, key, roots, revoked})
		if err != nil {
			return
		}
		if _, err := New(s.Material()); err != nil {
			t.Fatalf("what is in use cannot be read again: %v", err)
		}
	})
}

// Nothing but what was signed passes: any bit that is turned, and anything else.
func FuzzCheckSigned(f *testing.F) {
	_, s := fleet(f)
	message := []byte("ring/test/1 hello")
	sig, err := s.Sign(message)
	if err != nil {
		f.Fatal(err)
	}
	id, chain := s.ID(), s.Chain()
	f.Add(uint16(0), uint16(3), []byte{})
	f.Add(uint16(1), uint16(300), []byte{0x30, 0x80})
	f.Add(uint16(2), uint16(9), []byte("ring/test/1 hello"))
	f.Fuzz(func(t *testing.T, which, bit uint16, other []byte) {
		parts := [3][]byte{bytes.Clone(chain), bytes.Clone(message), bytes.Clone(sig)}
		part := parts[which%3]
		at := int(bit) % (8 * len(part))
		part[at/8] ^= 1 << (at % 8)
		if s.CheckSigned(id, parts[0], parts[1], parts[2]) == nil {
			t.Fatalf("it passes with bit %d of part %d turned", at, which%3)
		}
		parts = [3][]byte{chain, message, sig}
		part = parts[which%3]
		parts[which%3] = append(bytes.Clone(part), other...)
		if err := s.CheckSigned(id, parts[0], parts[1], parts[2]); err == nil && len(other) > 0 {
			t.Fatalf("it passes with %x behind part %d", other, which%3)
		}
		parts[which%3] = other
		if s.CheckSigned(id, parts[0], parts[1], parts[2]) == nil && !bytes.Equal(other, part) {
			t.Fatalf("%x passes as part %d", other, which%3)
		}
		if err := s.CheckSigned(id, chain, message, sig); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzReadRequest(f *testing.F) {
	csr, _, err := NewRequest(ID{Admin, "prod", "alice"}, []string{"example.com", "::1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Fuzz(func(t *testing.T, csr []byte) {
		r, err := ReadRequest(csr)
		if err == nil && (r.ID.Check() != nil || len(r.Hosts) > hostsMax) {
			t.Fatalf("a request for %+v, %q", r.ID, r.Hosts)
		}
	})
}

// A list of what was issued, however damaged, is an error or is read the same again.
func FuzzLedger(f *testing.F) {
	a, _ := fleet(f)
	if _, err := a.Revoke(ID{Instance, "prod", "dc1/prod/0"}, "a \"reason\""); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(a.dir, issuedFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add([]byte("{}\n"))
	f.Add([]byte("0")) // torn in the first line
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), issuedFile)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var l, again ledger
		if l.read(path, "prod") != nil {
			return
		}
		before := len(l.all)
		if err := l.add(record{Op: opIssue, Issued: Issued{Serial: "00", ID: ID{Read, "prod", "x"}}}); err != nil {
			return // there is one of that number
		}
		if err := again.read(path, "prod"); err != nil || len(again.all) != before+1 {
			t.Fatalf("read again %d of %d: %v", len(again.all), before+1, err)
		}
	})
}

// A crash in the middle of a line leaves all that was acknowledged.
func TestLedgerIsCutWhereItIsTorn(t *testing.T) {
	a, _ := fleet(t)
	path := filepath.Join(a.dir, issuedFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"op":"issue","ser`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b, err := OpenAuthority(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*Authority{a, b, a} { // each finds what the other has added
		if _, err := a.Identity(ID{Instance, "prod", "dc1/prod/1"}, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := b.Issued(); err != nil || len(all) != 4 {
		t.Errorf("%d were issued, %v, want 4", len(all), err)
	}
}

// Two that change one authority at once lose nothing.
func TestTwoAtOnce(t *testing.T) {
	a, _ := fleet(t)
	b, err := OpenAuthority(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for i, a := range []*Authority{a, b, a, b} {
		go func() {
			id := ID{Instance, "prod", "x/" + string(rune('0'+i))}
			for range 5 {
				if _, err := a.Identity(id, nil, time.Hour); err != nil {
					done <- err
					return
				}
			}
			_, err := a.Revoke(id, "")
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	all, err := a.Issued()
	if err != nil || len(all) != 21 {
		t.Fatalf("%d were issued, %v, want 21", len(all), err)
	}
	b0, _ := pem.Decode(b.Revoked())
	if l, err := x509.ParseRevocationList(b0.Bytes); err != nil || len(l.RevokedCertificateEntries) != 20 {
		t.Errorf("the list has %d, %v, want 20", len(l.RevokedCertificateEntries), err)
	}
}

// While a rotation is under way the old root counts, and its word does not.
func TestWordOfTheOldRoot(t *testing.T) {
	a, s := fleet(t)
	old, oldKey := a.trust.roots[0], a.key
	if err := a.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Learn(a.Roots(), a.Revoked()); err != nil {
		t.Fatal(err)
	}
	before := s.Material()
	for _, roots := range [][]*x509.Certificate{{old}, {old, a.trust.roots[0]}} {
		word, err := newStatement(1<<40, "prod", roots, oldKey)
		if err != nil {
			t.Fatal(err)
		}
		text := append(pemOf(certificateBlock, raws(roots)...), pemOf(statementBlock, word.raw)...)
		if changed, err := s.Learn(text, nil); changed || err != nil || !bytes.Equal(s.Material().Roots, before.Roots) {
			t.Errorf("the old root's word: changed %v, %v", changed, err)
		}
	}
	// That of the newest does, if it is newer, and of this ring.
	for _, c := range []struct {
		number uint64
		ring   string
		want   error
	}{{1, "prod", nil}, {a.trust.statement.number, "prod", ErrMalformed}, {1 << 40, "test", ErrWrongRing}} {
		word, err := newStatement(c.number, c.ring, a.trust.roots[:1], a.key)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := s.Learn(pemOf(statementBlock, word.raw), nil)
		if changed || !errors.Is(err, c.want) {
			t.Errorf("word %d of ring %s: changed %v, %v, want %v", c.number, c.ring, changed, err, c.want)
		}
	}
}
