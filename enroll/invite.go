package enroll

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// scheme is that of invitations as text.
const scheme = "ring+join"

// addressesMax is how many addresses an invitation names: those of instances that live, so
// that one may be down when it is used.
const addressesMax = 3

// InviteLife is how long an invitation is good for by default, and the longest.
const (
	InviteLife    = 24 * time.Hour
	InviteLifeMax = 30 * 24 * time.Hour
)

// Where an instance takes requests of new hosts, and says who its authority is.
const (
	JoinPath = "/v1/join"
	RootPath = "/v1/ca"
)

// Invitation is the right of a host to one certificate, of one name. It is a secret until
// it is used.
type Invitation struct {
	At   []string // host:port of instances to ask
	Ring string
	Name string
	Key  ed25519.PrivateKey // signs the request
	Pin  trust.Pin          // of the authority that whoever answers must be certified by
}

// String is the invitation as one word: ring+join://HOST:PORT/RING/NAME?token=…&pin=….
func (i *Invitation) String() string {
	q := url.Values{
		"token": {base64.RawURLEncoding.EncodeToString(i.Key.Seed())},
		"pin":   {hex.EncodeToString(i.Pin[:])},
	}
	u := url.URL{Scheme: scheme, Path: "/" + i.Ring + "/" + i.Name}
	if len(i.At) > 0 {
		u.Host = i.At[0]
		q["at"] = i.At[1:]
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// ParseInvitation is the way back from String.
func ParseInvitation(text string) (*Invitation, error) {
	const want = "it is what `ring roster invite` has printed, ring+join://…, in quotes"
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Scheme != scheme || u.Host == "" {
		return nil, fmt.Errorf("this is no invitation: %s", want)
	}
	ringName, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	q := u.Query()
	seed, seedErr := base64.RawURLEncoding.DecodeString(q.Get("token"))
	pin, pinErr := hex.DecodeString(q.Get("pin"))
	switch {
	case !ok || ringName == "" || name == "":
		return nil, fmt.Errorf("the invitation names no instance: %s", want)
	case seedErr != nil || len(seed) != ed25519.SeedSize:
		return nil, fmt.Errorf("the invitation's token is not whole: %s", want)
	case pinErr != nil || len(pin) != len(trust.Pin{}):
		return nil, fmt.Errorf("the invitation's pin is not whole: %s", want)
	case len(q["at"]) >= addressesMax:
		return nil, fmt.Errorf("the invitation names more than %d addresses: %s", addressesMax, want)
	}
	i := &Invitation{
		At: append([]string{u.Host}, q["at"]...), Ring: ringName, Name: name,
		Key: ed25519.NewKeyFromSeed(seed),
	}
	copy(i.Pin[:], pin)
	return i, nil
}

// Invite makes an invitation for a name of the roster that is not in the ring now. It takes
// the place of an earlier one, and counts until the authority rotates. by is who asked for it,
// for those who look at the bus. It fails without a quorum.
func (i *Issuer) Invite(ctx context.Context, name string, life time.Duration, by string) (*Invitation, error) {
	switch {
	case life <= 0 || life > InviteLifeMax:
		return nil, fmt.Errorf("%w: an invitation for %v; choose up to %v", ring.ErrRefused, life, InviteLifeMax)
	case !inRoster(i.ring, name):
		return nil, fmt.Errorf("%w: %s is not in the roster: add it first, with `ring roster add %[2]s HOST:PORT`",
			ring.ErrRefused, name)
	}
	at, err := addresses(i.ring, name)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	one := invited{V: version, Key: public, Created: now, Expires: now.Add(life), By: by}
	if err := i.seal(&one, name); err != nil {
		return nil, err
	}
	text, err := json.Marshal(one)
	if err != nil {
		return nil, err
	}
	if _, err := i.ring.Bus().Set(ctx, inviteKey(name), text); err != nil {
		return nil, err
	}
	made := &Invitation{At: at, Ring: i.store.ID().Ring, Name: name, Key: private}
	made.Pin, err = trust.PinOf(i.authority.Roots())
	return made, err
}

// addresses are those of some who live, this instance first, to be asked for name.
func addresses(r *ring.Ring, name string) ([]string, error) {
	view := r.View()
	var own, others []string
	for _, one := range view.Instances {
		switch {
		case string(one.Name) == name && one.State == ring.Alive:
			return nil, fmt.Errorf("%w: %s is in the ring, and renews its certificate by itself: stop it first if "+
				"another host is to have its name", ring.ErrRefused, name)
		case one.Address == "" || one.State != ring.Alive:
		case one.Name == view.Self:
			own = append(own, one.Address)
		default:
			others = append(others, one.Address)
		}
	}
	at := append(own, others...)
	if len(at) == 0 {
		return nil, fmt.Errorf("%w: the roster has no addresses that a new host could ask", ring.ErrRefused)
	}
	return at[:min(len(at), addressesMax)], nil
}

// Welcome is what an instance answers to a new host.
type Welcome struct {
	Answer
	Roster *Roster `json:"roster,omitempty"`
	Preset string  `json:"preset,omitempty"` // the pace of the ring
}

// Roster is that of the ring as a new host is told it.
type Roster struct {
	Version   uint64      `json:"version"`
	Names     []ring.Name `json:"names"`
	Addresses []string    `json:"addresses"`
	Degree    int         `json:"degree,omitempty"`
	Retired   []int       `json:"retired,omitempty"` // indexes
}

// welcomeMax bounds a Welcome, in bytes: the largest roster, with addresses.
const welcomeMax = 16 << 20

// Accept makes a key here, has it certified by the first of the invitation's addresses
// that answers, and returns the identity with what an instance needs to begin. The request
// can be repeated with the same csr and key, and no others: keep returned ones where it
// fails. ErrRefused is wrapped where an instance has said no.
func (i *Invitation) Accept(ctx context.Context, csr, key []byte) (*trust.Material, *Welcome, error) {
	q := Request{V: version, Ring: i.Ring, Name: i.Name, CSR: csr}
	q.Signature = ed25519.Sign(i.Key, q.message())
	text, err := json.Marshal(q)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	strangers := 0
	for _, at := range i.At {
		w, roots, err := i.ask(ctx, at, text)
		if untrusted := new(trust.Error); errors.As(err, &untrusted) {
			strangers++
		}
		if errors.Is(err, ring.ErrRefused) {
			return nil, nil, err // the others would ask the same issuers
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
			continue
		}
		if w.Roster == nil {
			return nil, nil, fmt.Errorf("%s gave a certificate and no roster: it is of another version", at)
		}
		m := &trust.Material{Certificate: w.Chain, Key: key, Roots: roots}
		if _, err := trust.New(*m); err != nil {
			return nil, nil, fmt.Errorf("%s gave a certificate that does not fit: %w", at, err)
		}
		return m, w, nil
	}
	if strangers == len(i.At) { // which does not pass
		return nil, nil, fmt.Errorf("%w: %w", ring.ErrRefused, errors.Join(errs...))
	}
	return nil, nil, errors.Join(errs...)
}

// ask asks one instance; roots are those of the pinned authority.
func (i *Invitation) ask(ctx context.Context, at string, request []byte) (w *Welcome, roots []byte, err error) {
	roots, err = i.roots(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	pinned, err := trust.ByPin(roots, i.Pin, i.Ring)
	if err != nil {
		return nil, nil, err
	}
	verify := func(cs tls.ConnectionState) error {
		id, err := pinned.Verify(cs.PeerCertificates)
		if err == nil && id.Role != trust.Instance {
			err = fmt.Errorf("it is %s, and no instance", id)
		}
		return err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+JoinPath, bytes.NewReader(request))
	if err != nil {
		return nil, nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	body, code, err := fetch(verify, post)
	if err != nil {
		return nil, nil, err
	}
	w = new(Welcome)
	if err := json.Unmarshal(body, w); err != nil {
		return nil, nil, fmt.Errorf("answered %d with what no instance answers: %w", code, err)
	}
	switch {
	case code == http.StatusForbidden || code == http.StatusBadRequest:
		return nil, nil, fmt.Errorf("%w: %s", ring.ErrRefused,
			strings.TrimPrefix(w.Error, ring.ErrRefused.Error()+": "))
	case w.Error != "" || code != http.StatusOK:
		return nil, nil, fmt.Errorf("answered %d: %s", code, w.Error)
	}
	return w, roots, nil
}

// roots fetches those of whoever answers there, which proves nothing.
func (i *Invitation) roots(ctx context.Context, at string) ([]byte, error) {
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at+RootPath, nil)
	if err != nil {
		return nil, err
	}
	text, code, err := fetch(nil, get)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("answered %d: %.200s; is it an instance of a ring with TLS?", code, text)
	}
	return text, err
}

// fetch reads an answer, bounded. Names of certificates are URIs here, which the standard
// library does not look at: verify does, nil for not at all.
func fetch(verify func(tls.ConnectionState) error, req *http.Request) (body []byte, code int, err error) {
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: verify,
		},
		DisableKeepAlives: true,
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, welcomeMax+1))
	switch {
	case err != nil:
		return nil, 0, err
	case len(body) > welcomeMax:
		return nil, 0, fmt.Errorf("an answer of more than %d bytes", welcomeMax)
	}
	return body, resp.StatusCode, nil
}
