package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"slices"
)

// hostsMax is how many names for browsers a certificate may have, hostMax the bytes of one.
const (
	hostsMax = 16
	hostMax  = 253
)

// NewRequest makes a key and a request for a certificate of id, both PEM. hosts are names
// and addresses for browsers, and may be empty. The key is made where it is used, and only
// the request travels.
func NewRequest(id ID, hosts []string) (csr, key []byte, err error) {
	if err := id.Check(); err != nil {
		return nil, nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return request(id, hosts, private)
}

func request(id ID, hosts []string, private *ecdsa.PrivateKey) (csr, key []byte, err error) {
	t := &x509.CertificateRequest{Subject: subject(id)}
	if t.URIs, t.DNSNames, t.IPAddresses, err = names(id, hosts); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pemOf(requestBlock, der), pemOf(keyBlock, keyDER), nil
}

// RequestFor makes a request with a key that there is, of identity.pem or key, PEM.
func RequestFor(id ID, hosts []string, key []byte) (csr []byte, err error) {
	b, err := parse(key, "key")
	if err != nil {
		return nil, err
	}
	if b.key == nil {
		return nil, because(ErrMalformed, "there is no key in it: make one with the request (ring ca request)")
	}
	csr, _, err = request(id, hosts, b.key)
	return csr, err
}

// subject is for people; nothing follows from it.
func subject(id ID) pkix.Name {
	return pkix.Name{Organization: []string{short(id.Ring)}, CommonName: short(id.Name)}
}

// short cuts a name to what X.509 permits there.
func short(name string) string { return name[max(0, len(name)-64):] }

func names(id ID, hosts []string) (uris []*url.URL, dns []string, ips []net.IP, err error) {
	if len(hosts) > hostsMax {
		return nil, nil, nil, because(ErrMalformed, "%d host names: at most %d are possible", len(hosts), hostsMax)
	}
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(h); err == nil && ip.Zone() == "" {
			ips = append(ips, ip.AsSlice())
			continue
		}
		if !hostOK(h) {
			return nil, nil, nil, because(ErrMalformed, "host %s is neither a name nor an address: write "+
				"ring.example.com or 10.0.0.1", quoted(h))
		}
		dns = append(dns, h)
	}
	u, err := url.Parse(id.String())
	if err != nil {
		return nil, nil, nil, because(ErrMalformed, "identity %s: %v", quoted(id.String()), err)
	}
	return []*url.URL{u}, dns, ips, nil
}

func hostOK(h string) bool {
	if len(h) > hostMax {
		return false
	}
	for label := range bytes.SplitSeq([]byte(h), []byte(".")) {
		if len(label) == 0 || len(label) > 63 || elementFault(string(label)) != "" {
			return false
		}
	}
	return true
}

// Request is what somebody asks an authority for.
type Request struct {
	ID    ID
	Hosts []string // names and addresses for browsers
	Key   []byte   // the public key, DER (SubjectPublicKeyInfo)
	csr   *x509.CertificateRequest
}

// ReadRequest reads a request, PEM, and checks that whoever made it has the key.
func ReadRequest(csr []byte) (Request, error) {
	all, err := blocks(csr, "request")
	if err != nil {
		return Request{}, err
	}
	all = slices.DeleteFunc(all, func(b *pem.Block) bool { return b.Type != requestBlock })
	if len(all) != 1 || len(all[0].Bytes) > chainLen {
		return Request{}, because(ErrMalformed, "there is no request for a certificate in it, or more than one: "+
			"make one where the identity is used (ring ca request)")
	}
	r, err := x509.ParseCertificateRequest(all[0].Bytes)
	if err != nil {
		return Request{}, because(ErrMalformed, "the request is damaged: %v", err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return Request{}, because(ErrMalformed, "the request's key is not ECDSA P-256: make it with ring ca request")
	}
	if err := r.CheckSignature(); err != nil {
		return Request{}, because(ErrBadSignature, "the request was not signed by its own key: it is damaged or forged")
	}
	id, err := IDOf(&x509.Certificate{URIs: r.URIs, Subject: r.Subject})
	if err != nil {
		return Request{}, err
	}
	if len(r.URIs) != 1 || len(r.EmailAddresses) > 0 || len(r.DNSNames)+len(r.IPAddresses) > hostsMax {
		return Request{}, because(ErrMalformed, "the request of %s asks for more than one URI and %d hosts: "+
			"make it with ring ca request", id, hostsMax)
	}
	req := Request{ID: id, Key: r.RawSubjectPublicKeyInfo, csr: r}
	req.Hosts = hostsOf(r.DNSNames, r.IPAddresses)
	if _, _, _, err := names(id, req.Hosts); err != nil {
		return Request{}, err
	}
	return req, nil
}

func hostsOf(dns []string, ips []net.IP) []string {
	hosts := slices.Clone(dns)
	for _, ip := range ips {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
