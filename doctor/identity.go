package doctor

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringofservers.dev/ring/trust"
)

// identityFacts are of the certificate of an instance, and of whom it trusts.
type identityFacts struct {
	from, to time.Time
	counts   error // why others refuse it
	renewAt  time.Time
	roots    []string // the beginnings of their hashes, in order
}

// lookAtIdentity is nil where there is no TLS.
func lookAtIdentity(s *trust.Store) *identityFacts {
	if s == nil {
		return nil
	}
	leaf := s.Leaf()
	return &identityFacts{
		from: leaf.NotBefore, to: leaf.NotAfter, counts: s.Counts(), renewAt: s.RenewAt(),
		roots: rootsIn(s.Material().Roots),
	}
}

// rootsIn names the certificates that have signed themselves.
func rootsIn(text []byte) (names []string) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !bytes.Equal(c.RawIssuer, c.RawSubject) || c.CheckSignatureFrom(c) != nil {
			continue
		}
		sum := sha256.Sum256(c.Raw)
		names = append(names, hex.EncodeToString(sum[:6]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (f *finder) identity(now time.Time, i *identityFacts) {
	if i == nil {
		return
	}
	const renew = "an instance that was invited renews it by itself, see its log for why not; else give it " +
		"another (`ring ca issue`) and send it SIGHUP"
	left := i.to.Sub(now)
	switch {
	case i.counts != nil:
		f.say(Fail, Security, "refused", renew, "others refuse its certificate: %v", i.counts)
	case left < i.to.Sub(i.from)/3:
		f.say(Warn, Security, "runs out", renew, "its certificate runs out in %s, at %s", rough(left),
			i.to.UTC().Format(time.RFC3339))
	case !now.Before(i.renewAt):
		f.say(Warn, Security, "old root", renew, "its certificate is of an older root of the authority")
	}
	if len(i.roots) > 1 {
		f.say(Warn, Security, "rotation", "once all have certificates of the new root: `ring ca rotate --finish`",
			"the authority is being exchanged: it trusts the roots %s", strings.Join(i.roots, " and "))
	}
}

// rough is a time in days, or where those are few, to the minute.
func rough(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Minute).String()
}
