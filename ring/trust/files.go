package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The files of an identity's directory.
const (
	identityFile = "identity.pem"
	rootsFile    = "ca.pem"
	revokedFile  = "crl.pem"
)

const (
	fileMax  = 1 << 20 // bytes of any PEM file
	chainMax = 4       // certificates of a chain
	chainLen = 8 << 10 // their bytes, DER
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
	requestBlock     = "CERTIFICATE REQUEST"
	revokedBlock     = "X509 CRL"
	statementBlock   = "RING ROOTS"
)

// readFile reads a file of at most fileMax bytes. One with a key must be its owner's alone.
func readFile(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if secret {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if exposed(info) {
			return nil, because(ErrKeyExposed, "%s can be read by others (mode %04o), and a key is in it: "+
				"chmod 600 %s, and issue another one if somebody may have seen it",
				path, info.Mode().Perm(), path)
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > fileMax {
		return nil, because(ErrMalformed, "%s is larger than 1 MiB: it is not what it should be", path)
	}
	return b, nil
}

// exposed says whether others than the owner may read a file. The group may read what
// root owns: so Kubernetes mounts secrets for a process that is not root.
func exposed(info fs.FileInfo) bool {
	if runtime.GOOS == "windows" { // access is not in the mode there
		return false
	}
	mode := info.Mode().Perm()
	return mode&0o037 != 0 || mode&0o040 != 0 && !ownedByRoot(info)
}

// WriteFile puts b under a name, whole or not at all, and returns when it will survive a
// loss of power.
func WriteFile(path string, b []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // which has the mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && mode != 0o600 {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes renames in dir last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // where directories cannot be synced
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// blocks cuts PEM into its blocks. Text around them is ignored, what looks like a block
// and is none is not.
func blocks(text []byte, what string) ([]*pem.Block, error) {
	const most = 16 // an authority gives out fewer, and each may cost signatures to check
	if len(text) > fileMax {
		return nil, because(ErrMalformed, "%s: larger than 1 MiB", what)
	}
	var all []*pem.Block
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if len(all) == most {
			return nil, because(ErrMalformed, "%s: more than %d PEM blocks", what, most)
		}
		all = append(all, b)
	}
	if n := bytes.Count(text, []byte("-----BEGIN ")); n != len(all) {
		return nil, because(ErrMalformed, "%s: %d of %d PEM blocks can be read: it is damaged, "+
			"copy it again", what, len(all), n)
	}
	return all, nil
}

// bundle is what PEM held, by kind, each in the order of the text.
type bundle struct {
	key        *ecdsa.PrivateKey
	keyDER     []byte
	chain      []*x509.Certificate // of somebody, leaf first, and cross certificates
	roots      []*x509.Certificate // self-signed
	crosses    []*x509.Certificate // of an authority, signed by another
	statements []*statement
	lists      []*x509.RevocationList
}

// parse reads PEM of whatever kind this package knows. Nothing is verified but that roots
// have signed themselves.
func parse(text []byte, what string) (*bundle, error) {
	all, err := blocks(text, what)
	if err != nil {
		return nil, err
	}
	var b bundle
	for _, block := range all {
		switch block.Type {
		case certificateBlock:
			err = b.certificate(block.Bytes)
		case keyBlock:
			if b.key != nil {
				return nil, because(ErrMalformed, "%s: has more than one key: leave one", what)
			}
			b.keyDER = block.Bytes
			b.key, err = parseKey(block.Bytes)
		case "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return nil, because(ErrMalformed, "%s: the key is %s, a plain PKCS 8 one is needed: "+
				"convert it (openssl pkcs8 -topk8 -nocrypt)", what, strings.ToLower(block.Type))
		case statementBlock:
			var s *statement
			s, err = parseStatement(block.Bytes)
			b.statements = append(b.statements, s)
		case revokedBlock:
			var l *x509.RevocationList
			if l, err = x509.ParseRevocationList(block.Bytes); err == nil && (l.Number == nil ||
				!l.Number.IsUint64()) {
				err = errors.New("a revocation list has no number below 2^64")
			}
			b.lists = append(b.lists, l)
		case requestBlock: // may lie beside
		default:
			return nil, because(ErrMalformed, "%s: a PEM block is %s: remove it", what, quoted(block.Type))
		}
		if err != nil {
			return nil, because(ErrMalformed, "%s: %v", what, err)
		}
	}
	return &b, nil
}

func (b *bundle) certificate(der []byte) error {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	switch {
	case has(slices.Concat(b.chain, b.crosses, b.roots), c): // there twice
	case !c.IsCA:
		b.chain = append(b.chain, c)
	case !bytes.Equal(c.RawIssuer, c.RawSubject):
		b.crosses = append(b.crosses, c)
	default:
		if err := c.CheckSignatureFrom(c); err != nil {
			return errors.New("a root has not signed itself")
		}
		b.roots = append(b.roots, c)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return errors.New(describe(c) + " has no ECDSA P-256 key: all of a ring have")
	}
	return nil
}

// pemOf appends blocks of one type.
func pemOf(kind string, ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return out
}

func raws(certs []*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not ECDSA P-256: all of a ring are; make it anew " +
			"(ring ca request)")
	}
	return key, nil
}

func has(certs []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(certs, c.Equal)
}
