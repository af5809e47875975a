package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

const (
	rootsMax         = 4 // that count at a time; two are in use while a rotation is under way
	crossMax         = chainMax - 1
	statementMagic   = "ringroot"
	statementVersion = 1
)

type fingerprint [sha256.Size]byte

func printOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }

// statement is the word of the newest root on which roots count. doc.go has the format.
type statement struct {
	number uint64
	ring   string
	roots  []fingerprint // the signer's first
	raw    []byte
	signed int // bytes of raw before the signature
}

func newStatement(number uint64, ring string, roots []*x509.Certificate, key *ecdsa.PrivateKey) (*statement, error) {
	raw := append([]byte(statementMagic), statementVersion)
	raw = binary.BigEndian.AppendUint64(raw, number)
	raw = append(append(raw, byte(len(ring))), ring...)
	raw = append(raw, byte(len(roots)))
	for _, c := range roots {
		sum := printOf(c)
		raw = append(raw, sum[:]...)
	}
	digest := sha256.Sum256(raw)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return parseStatement(append(raw, sig...))
}

var errStatement = errors.New("a statement of roots is damaged, or of a newer version of ring")

func parseStatement(raw []byte) (*statement, error) {
	s := &statement{raw: slices.Clone(raw)}
	rest, ok := bytes.CutPrefix(raw, append([]byte(statementMagic), statementVersion))
	if !ok || len(rest) < 9 {
		return nil, errStatement
	}
	s.number = binary.BigEndian.Uint64(rest)
	n := int(rest[8])
	if rest = rest[9:]; len(rest) < n+1 {
		return nil, errStatement
	}
	s.ring = string(rest[:n])
	count := int(rest[n])
	rest = rest[n+1:]
	if count == 0 || count > rootsMax || len(rest) < count*sha256.Size {
		return nil, errStatement
	}
	for range count {
		s.roots = append(s.roots, fingerprint(rest))
		rest = rest[sha256.Size:]
	}
	if len(rest) == 0 || len(rest) > 80 { // a P-256 signature has at most 72
		return nil, errStatement
	}
	s.signed = len(raw) - len(rest)
	return s, nil
}

// by says whether c has signed the statement, and is first in it.
func (s *statement) by(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	digest := sha256.Sum256(s.raw[:s.signed])
	return ok && s.roots[0] == printOf(c) && ecdsa.VerifyASN1(key, digest[:], s.raw[s.signed:])
}

// anchors are what somebody trusts. They are never written once they are made.
type anchors struct {
	roots     []*x509.Certificate // the newest first, which alone says which count
	crosses   []*x509.Certificate // how older roots signed newer ones, the newest first
	statement *statement          // by the newest, or nil: whoever made the file says
	revoked   map[fingerprint]*revocations
}

// pool is the roots as package x509 takes them.
func (a *anchors) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range a.roots {
		pool.AddCert(c)
	}
	return pool
}

// bystander is a snapshot of somebody without an identity, who knows a ring by its roots.
func (a *anchors) bystander(ring string) *snapshot {
	return &snapshot{id: ID{Ring: ring}, anchors: a, pool: a.pool(), verified: map[fingerprint]holder{}}
}

// revocations are those of one root.
type revocations struct {
	number  uint64
	raw     []byte
	serials map[string]x509.RevocationListEntry // by the bytes of the number
}

func newRevocations(l *x509.RevocationList) *revocations {
	r := &revocations{
		number: l.Number.Uint64(), raw: l.Raw,
		serials: make(map[string]x509.RevocationListEntry, len(l.RevokedCertificateEntries)),
	}
	for _, e := range l.RevokedCertificateEntries {
		r.serials[string(e.SerialNumber.Bytes())] = x509.RevocationListEntry{
			RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode,
		}
	}
	return r
}

// readAnchors is newAnchors of PEM; what says what the roots are.
func readAnchors(roots, revoked []byte, what string) (*anchors, error) {
	b, err := parse(roots, what)
	if err != nil {
		return nil, err
	}
	lists, err := parse(revoked, revokedFile)
	if err != nil {
		return nil, err
	}
	return newAnchors(b, lists)
}

// newAnchors takes what an operator has put there: roots in b, lists in lists.
func newAnchors(b, lists *bundle) (*anchors, error) {
	if len(b.roots) == 0 {
		return nil, because(ErrUntrusted, "%s has no root certificate: copy the one of the ring's "+
			"authority there", rootsFile)
	}
	if len(b.roots) > rootsMax || len(b.statements) > 1 {
		return nil, because(ErrMalformed, "%s has %d roots and %d statements of which count: at most %d and "+
			"one are possible; copy it anew from the authority", rootsFile, len(b.roots), len(b.statements),
			rootsMax)
	}
	a := &anchors{roots: b.roots, revoked: map[fingerprint]*revocations{}}
	if len(b.statements) == 1 {
		a.statement = b.statements[0]
		head := slices.IndexFunc(b.roots, a.statement.by)
		if head < 0 {
			return nil, because(ErrMalformed, "%s has a statement of roots that none of its roots has signed: "+
				"copy it anew from the authority, or remove the block RING ROOTS to trust what is in it",
				rootsFile)
		}
		a.roots = []*x509.Certificate{b.roots[head]}
		for _, c := range b.roots {
			if !slices.Contains(a.statement.roots, printOf(c)) {
				return nil, because(ErrMalformed, "%s has a root (%s) that does not count by the statement in it: "+
					"copy it anew from the authority, or remove the block RING ROOTS to trust what is in it",
					rootsFile, shown(c.Subject.CommonName))
			}
			if !has(a.roots, c) {
				a.roots = append(a.roots, c)
			}
		}
	}
	a.crosses = lineage(a.roots[0], b.crosses)
	for _, l := range lists.lists {
		// A list of a root that counts no more may be left by a crash.
		for _, root := range a.roots {
			if !bytes.Equal(root.RawSubject, l.RawIssuer) {
				continue
			}
			if err := l.CheckSignatureFrom(root); err != nil {
				return nil, because(ErrMalformed, "%s: a list was not signed by the root that it names: "+
					"copy it anew from the authority", revokedFile)
			}
			a.revoked[printOf(root)] = newRevocations(l)
		}
	}
	return a, nil
}

// lineage picks from crosses how the roots before head came to sign it, the newest first:
// the first has head's key, each other one the key that signed the one before it.
func lineage(head *x509.Certificate, crosses []*x509.Certificate) []*x509.Certificate {
	var line []*x509.Certificate
	for at := head; len(line) < crossMax; at = line[len(line)-1] {
		i := slices.IndexFunc(crosses, func(c *x509.Certificate) bool {
			if at == head {
				return sameKey(c, head)
			}
			return !has(line, c) && at.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			break
		}
		line = append(line, crosses[i])
	}
	return line
}

func sameKey(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) &&
		bytes.Equal(a.RawSubject, b.RawSubject)
}

// rootsPEM is a as newAnchors reads it.
func (a *anchors) rootsPEM() []byte {
	out := pemOf(certificateBlock, append(raws(a.roots), raws(a.crosses)...)...)
	if a.statement != nil {
		out = append(out, pemOf(statementBlock, a.statement.raw)...)
	}
	return out
}

func (a *anchors) revokedPEM() []byte {
	var out []byte
	for _, root := range a.roots {
		if r := a.revoked[printOf(root)]; r != nil {
			out = append(out, pemOf(revokedBlock, r.raw)...)
		}
	}
	return out
}

// learn returns what a becomes by roots and lists that came from anybody, for the ring of
// that name; a itself if they say nothing new.
func (a *anchors) learn(roots, lists *bundle, ring string, now time.Time) (*anchors, error) {
	n := &anchors{
		roots: slices.Clone(a.roots), crosses: a.crosses, statement: a.statement,
		revoked: map[fingerprint]*revocations{},
	}
	for sum, r := range a.revoked { // each by itself
		n.revoked[sum] = r
	}
	changed := n.succeed(roots, now)
	err := n.hear(roots, ring, &changed)
	if err == nil {
		err = n.revoke(lists, &changed)
	}
	if err != nil {
		return a, err
	}
	if !changed {
		return a, nil
	}
	return n, nil
}

// succeed takes in the root that the newest has signed, or one that this one has, and so
// on: what lies between may be there as cross certificates only.
func (a *anchors) succeed(b *bundle, now time.Time) (changed bool) {
	for range rootsMax {
		next := slices.IndexFunc(b.roots, func(root *x509.Certificate) bool {
			return !has(a.roots, root) && within(root, now) && follows(root, a.roots[0], b.crosses, now)
		})
		if next < 0 {
			break
		}
		changed = true
		a.roots = append([]*x509.Certificate{b.roots[next]}, a.roots...)
		a.roots = a.roots[:min(len(a.roots), rootsMax)]
		a.statement = nil
	}
	if changed {
		a.crosses = lineage(a.roots[0], b.crosses)
	}
	return changed
}

// follows says whether crosses lead from old to root, all of them good now.
func follows(root, old *x509.Certificate, crosses []*x509.Certificate, now time.Time) bool {
	for _, c := range lineage(root, crosses) {
		if !within(c, now) {
			return false
		}
		if c.CheckSignatureFrom(old) == nil {
			return true
		}
	}
	return false
}

// hear takes the newest root's word on which count.
func (a *anchors) hear(b *bundle, ring string, changed *bool) error {
	for _, s := range b.statements {
		if !s.by(a.roots[0]) {
			if a.knows(s, b) {
				continue // of a root that is behind
			}
			return because(ErrUntrusted, "roots of an authority came that is not trusted here, nor signed by the "+
				"one that is (%s): if it is the ring's, copy %s and a new identity here by hand "+
				"(ring ca issue, ring ca install)", shown(a.roots[0].Subject.CommonName), rootsFile)
		}
		if s.ring != ring {
			return because(ErrWrongRing, "the roots that came are of ring %s, this is of %s: ask an instance "+
				"of this ring", quoted(s.ring), quoted(ring))
		}
		if a.statement != nil && (s.number < a.statement.number || bytes.Equal(s.raw, a.statement.raw)) {
			continue
		}
		if a.statement != nil && s.number == a.statement.number {
			return because(ErrMalformed, "the authority has said two things under the number %d: it has been "+
				"restored or copied; let it rotate", s.number)
		}
		var roots []*x509.Certificate
		for _, sum := range s.roots {
			for _, c := range slices.Concat(a.roots, b.roots) {
				if printOf(c) == sum && !has(roots, c) {
					roots = append(roots, c)
				}
			}
		}
		a.roots, a.statement, *changed = roots, s, true
		if line := lineage(roots[0], b.crosses); len(line) > len(a.crosses) {
			a.crosses = line
		}
	}
	return nil
}

// knows says whether the signer of s is one that those here came after, or counts beside
// the newest.
func (a *anchors) knows(s *statement, b *bundle) bool {
	return slices.ContainsFunc(slices.Concat(a.roots, b.roots), func(c *x509.Certificate) bool {
		return s.by(c) && (has(a.roots, c) || slices.ContainsFunc(a.crosses,
			func(cross *x509.Certificate) bool { return cross.CheckSignatureFrom(c) == nil }))
	})
}

// revoke takes lists that are newer. Those of nobody known are not taken.
func (a *anchors) revoke(b *bundle, changed *bool) error {
	known := map[fingerprint]*revocations{}
	for _, root := range a.roots {
		if r := a.revoked[printOf(root)]; r != nil {
			known[printOf(root)] = r
		}
	}
	for _, l := range b.lists {
		for _, root := range a.roots {
			if !bytes.Equal(root.RawSubject, l.RawIssuer) {
				continue
			}
			sum := printOf(root)
			if old := known[sum]; old != nil && old.number >= l.Number.Uint64() {
				continue
			}
			if err := l.CheckSignatureFrom(root); err != nil {
				return because(ErrBadSignature, "a revocation list came that %s has not signed: "+
					"whoever sent it is broken or lies", shown(root.Subject.CommonName))
			}
			known[sum], *changed = newRevocations(l), true
		}
	}
	a.revoked = known
	return nil
}

// revocation returns when cert, signed by the key of parent, was revoked. The newest root
// may revoke whatever it likes, an older one what it has signed.
func (a *anchors) revocation(cert, parent *x509.Certificate) (x509.RevocationListEntry, bool) {
	for i, root := range a.roots {
		r := a.revoked[printOf(root)]
		if r == nil || i > 0 && !sameKey(root, parent) {
			continue
		}
		if e, ok := r.serials[string(cert.SerialNumber.Bytes())]; ok {
			return e, true
		}
	}
	return x509.RevocationListEntry{}, false
}

func within(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}
