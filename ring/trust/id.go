package trust

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Role is what a certificate lets its holder be.
type Role uint8

// The roles. None is the zero ID's, which is nobody.
const (
	None     Role = iota
	Instance      // a member of the ring
	Admin         // an operator who may change things
	Read          // an operator who may look
)

var roles = [...]struct{ name, scheme string }{
	Instance: {"instance", "ring"},
	Admin:    {"admin", "ring+admin"},
	Read:     {"read", "ring+read"},
}

// String returns instance, admin, read, or none.
func (r Role) String() string {
	if r == None || int(r) >= len(roles) {
		return "none"
	}
	return roles[r].name
}

// ParseRole reads what Role.String returns, none not among them.
func ParseRole(name string) (Role, error) {
	for r := Instance; int(r) < len(roles); r++ {
		if roles[r].name == name {
			return r, nil
		}
	}
	return None, because(ErrMalformed, "role %s is unknown: give instance, admin or read", quoted(name))
}

// ID is who somebody is. The zero ID is nobody.
type ID struct {
	Role Role
	Ring string
	Name string // an instance's is its path in the roster, dc1/prod/0
}

// String returns the URI, ring://prod/dc1/prod/0; of the zero ID, the empty string.
func (id ID) String() string {
	if id.Role == None || int(id.Role) >= len(roles) {
		return ""
	}
	return roles[id.Role].scheme + "://" + id.Ring + "/" + id.Name
}

const (
	nameMax = 255 // bytes of a ring or an instance name, as in a roster
	uriMax  = 2*nameMax + len("ring+admin:///")
)

// ParseID reads what ID.String returns, and nothing else.
func ParseID(uri string) (ID, error) {
	if len(uri) > uriMax {
		return ID{}, because(ErrMalformed, "identity %s is too long", quoted(uri))
	}
	scheme, rest, found := strings.Cut(uri, "://")
	ringName, name, path := strings.Cut(rest, "/")
	if found && path {
		for r := Instance; int(r) < len(roles); r++ {
			if roles[r].scheme == scheme {
				id := ID{r, ringName, name}
				return id, id.Check()
			}
		}
	}
	return ID{}, because(ErrMalformed, "identity %s: write ring://RING/NAME, ring+admin://RING/NAME "+
		"or ring+read://RING/NAME", quoted(uri))
}

// Check says what is wrong with an ID, or nil. Names are as in a roster: elements of A-Z
// a-z 0-9 . _ - joined by '/'. A ring's name is one element, which, since it stands where
// a URI has its host, has no empty part between dots.
func (id ID) Check() error {
	if id.String() == "" {
		return because(ErrMalformed, "there is no identity: it is empty")
	}
	if len(id.Ring) > nameMax || len(id.Name) > nameMax {
		return because(ErrMalformed, "identity %s: a name has at most %d bytes", quoted(id.String()), nameMax)
	}
	if fault := elementFault(id.Ring); fault != "" {
		return because(ErrMalformed, "ring name %s %s: use letters, digits, '.', '_' and '-'",
			quoted(id.Ring), fault)
	}
	if slices.Contains(strings.Split(id.Ring, "."), "") {
		return because(ErrMalformed, "ring name %s begins or ends with a dot, or has two in a row: "+
			"certificates cannot carry it, choose another name for the ring", quoted(id.Ring))
	}
	for element := range strings.SplitSeq(id.Name, "/") {
		if fault := elementFault(element); fault != "" {
			return because(ErrMalformed, "name %s: element %s %s: use letters, digits, '.', '_' and '-', "+
				"with '/' between elements", quoted(id.Name), quoted(element), fault)
		}
	}
	return nil
}

// elementFault completes the sentence that starts with a path element.
func elementFault(s string) string {
	switch s {
	case "":
		return "is empty"
	case ".", "..":
		return "is no name"
	}
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return fmt.Sprintf("contains %q", c)
		}
	}
	return ""
}

// IDOf returns whom a certificate names. It says nothing of whether to believe it, which
// Store.Verify does. URIs of other schemes are ignored.
func IDOf(cert *x509.Certificate) (ID, error) {
	var id ID
	for _, u := range cert.URIs {
		ours := false
		for r := Instance; int(r) < len(roles); r++ {
			ours = ours || u.Scheme == roles[r].scheme
		}
		if !ours {
			continue
		}
		if id != (ID{}) {
			return ID{}, because(ErrNoIdentity, "%s has more than one ring identity: it must have one; "+
				"issue another (ring ca issue)", describe(cert))
		}
		got, err := ParseID(u.String())
		if err != nil {
			return ID{}, because(ErrNoIdentity, "%s has no ring identity: %v", describe(cert), err)
		}
		id = got
	}
	if id == (ID{}) {
		return ID{}, because(ErrNoIdentity, "%s has no ring identity (no URI such as ring://RING/NAME): "+
			"use one that this ring's authority has issued (ring ca issue)", describe(cert))
	}
	return id, nil
}

// HostsOf returns the names and addresses for browsers that a certificate has.
func HostsOf(cert *x509.Certificate) []string { return hostsOf(cert.DNSNames, cert.IPAddresses) }

// describe names a certificate for a person.
func describe(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		return "the certificate of " + shown(u.String())
	}
	return "the certificate of " + shown(cert.Subject.String())
}

// shown is what somebody else wrote as it may stand in a line.
func shown(s string) string {
	const most = 200
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	if quoted := strconv.Quote(s); len(quoted) != len(s)+2 || s == "" {
		return quoted
	}
	return s
}

// quoted makes s fit to print, however long or strange it is.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
