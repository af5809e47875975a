package enroll

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// topic is that of the questions to issuers.
const topic = "ring/enroll"

// version is that of requests, answers and invitations.
const version = 1

// Bounds of what is taken from others, in bytes.
const (
	requestMax = 16 << 10 // of a request, as JSON
	answerMax  = 64 << 10 // of an answer
	csrMax     = 4 << 10
	chainMax   = 8 << 10
)

// Request asks for a certificate.
type Request struct {
	V    int    `json:"v"`
	Ring string `json:"ring"`
	Name string `json:"name"`
	CSR  []byte `json:"csr"` // PEM
	// Chain is what the asker has now, DER, leaf first, or empty for one who was invited.
	Chain []byte `json:"chain,omitempty"`
	// Signature is over CSR, Ring and Name: by the key of Chain, or by that of the invitation.
	Signature []byte `json:"signature"`
}

// Answer is what an issuer says.
type Answer struct {
	V     int    `json:"v"`
	Chain []byte `json:"chain,omitempty"` // PEM, leaf first
	Roots []byte `json:"roots,omitempty"` // PEM
	// Error is why there is no certificate, and what to do.
	Error string `json:"error,omitempty"`
	// Again is after how many seconds the same may be asked again; 0: it is of no use.
	Again int `json:"again_s,omitempty"`
}

// soon is why there is no certificate now, though there may be one later.
type soon struct {
	text  string
	after time.Duration
}

func (e *soon) Error() string { return e.text }

// refusal is an Answer without a certificate.
func refusal(err error) Answer {
	a := Answer{V: version, Error: err.Error()}
	if later := new(soon); errors.As(err, &later) {
		a.Again = int(later.after/time.Second) + 1
	}
	return a
}

// message is what a request's signature is over.
func (q *Request) message() []byte {
	what := "renew"
	if len(q.Chain) == 0 {
		what = "join"
	}
	m := []byte("ring/enroll/1\x00" + what + "\x00" + q.Ring + "\x00" + q.Name + "\x00")
	return append(m, q.CSR...)
}

// hash names what is asked for.
func (q *Request) hash() []byte {
	sum := sha256.Sum256(q.message())
	return sum[:]
}

func (q *Request) id() trust.ID {
	return trust.ID{Role: trust.Instance, Ring: q.Ring, Name: q.Name}
}

// renewal asks for a certificate of the key of csr, by the right of what store has now.
func renewal(store *trust.Store, csr []byte) (Request, error) {
	id := store.ID()
	q := Request{V: version, Ring: id.Ring, Name: id.Name, CSR: csr, Chain: store.Chain()}
	var err error
	q.Signature, err = store.Sign(q.message())
	return q, err
}

// parseRequest reads one, whoever sent it.
func parseRequest(text []byte) (*Request, error) {
	if len(text) > requestMax {
		return nil, fmt.Errorf("a request of %d bytes; at most %d are taken", len(text), requestMax)
	}
	q := new(Request)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(q); err != nil {
		return nil, fmt.Errorf("no request for a certificate: %w", err)
	}
	switch block, _ := pem.Decode(q.CSR); {
	case q.V != version:
		return nil, fmt.Errorf("a request of version %d; this build knows %d: upgrade the older of the two",
			q.V, version)
	case len(q.CSR) > csrMax || len(q.Chain) > chainMax || len(q.Signature) > 512 ||
		len(q.Ring) > 255 || len(q.Name) > 255:
		return nil, errors.New("a request with parts that are too long")
	case block == nil:
		return nil, errors.New("a request without a PEM certificate request")
	}
	return q, nil
}

func parseAnswer(text []byte) (*Answer, error) {
	if len(text) > answerMax {
		return nil, fmt.Errorf("an answer of %d bytes; at most %d are taken", len(text), answerMax)
	}
	a := new(Answer)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("no answer of an issuer: %w", err)
	}
	return a, nil
}

// invited is an invitation as the bus keeps it: what proves the right to one certificate.
type invited struct {
	V       int       `json:"v"`
	Key     []byte    `json:"key"` // Ed25519 public key
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by,omitempty"`
	// Seal is the authority's, over all above: an invitation that anybody else has put on the
	// bus is none.
	Seal []byte `json:"seal"`
	// Used is the hash of the one request that it was used for; that may be repeated.
	Used []byte `json:"used,omitempty"`
}

// inviteKey is where on the bus the invitation of a name is.
func inviteKey(name string) string { return "ring/invites/" + name }

// trustKey is where on the bus is what the authority says, which is signed by it.
const trustKey = "ring/ca"

// sealed is what the Seal of the invitation of a name is over.
func (i *invited) sealed(id trust.ID) []byte {
	return fmt.Appendf(nil, "ring/invite/1\x00%s\x00%s\x00%x\x00%d\x00%d\x00%s", id.Ring, id.Name, i.Key,
		i.Created.UnixNano(), i.Expires.UnixNano(), i.By)
}

// invitationOf reads the invitation of a name as the bus has it.
func invitationOf(value []byte, name string) (*invited, error) {
	i := new(invited)
	if err := json.Unmarshal(value, i); err != nil {
		return nil, fmt.Errorf("the invitation of %s does not read: invite it anew", name)
	}
	return i, nil
}

// notInvited is for a name of which the bus has no invitation.
func notInvited(name string) error {
	return fmt.Errorf("%s is not invited: `ring roster invite %[1]s` prints what to run on its host", name)
}

// check reports whether q was signed by the invitation's key.
func (i *invited) check(q *Request, now time.Time) error {
	switch {
	case i.V != version || len(i.Key) != ed25519.PublicKeySize:
		return fmt.Errorf("the invitation of %s is of another version: invite it anew", q.Name)
	case now.After(i.Expires):
		return fmt.Errorf("the invitation of %s expired at %s: invite it anew with `ring roster invite`",
			q.Name, i.Expires.UTC().Format(time.RFC3339))
	case len(i.Used) > 0 && !bytes.Equal(i.Used, q.hash()):
		return fmt.Errorf("the invitation of %s was used already: if that was not its own host, revoke "+
			"its certificate (`ring ca revoke %[1]s`); else invite it anew", q.Name)
	case !ed25519.Verify(i.Key, q.message(), q.Signature):
		return fmt.Errorf("this is not the invitation that %s was given last: use the newest one", q.Name)
	}
	return nil
}

// inRoster reports whether a name is one of those that may have a certificate.
func inRoster(r *ring.Ring, name string) bool {
	roster := r.Roster()
	for _, i := range roster.Members() {
		if string(roster.Names[i]) == name {
			return true
		}
	}
	return false
}
