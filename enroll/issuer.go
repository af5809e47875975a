package enroll

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

// DefaultLife is how long a certificate of Serve is good for: a stolen one is of no use
// for longer, and a third of it is left to mend what keeps an instance from renewing.
const DefaultLife = 7 * 24 * time.Hour

// Life is what a certificate may be good for.
const (
	LifeMin = trust.LifeMin
	LifeMax = 398 * 24 * time.Hour
)

const (
	// apart is the shortest time between two certificates of one name: what one that asks
	// without end costs the issuer's disk. A tenth of the life, if that is less.
	apart = 10 * time.Second
	// publishEvery is how often an issuer looks whether its authority has something new to
	// say.
	publishEvery = time.Second
	// denyEvery is the time between two lines about requests that were refused.
	denyEvery = time.Second
	// askTime bounds one write or read of the bus.
	askTime = 5 * time.Second
)

// IssuerOptions are those of Serve.
type IssuerOptions struct {
	Life   time.Duration // of certificates; zero: DefaultLife
	Logger *slog.Logger  // nil: silence
}

// Issuer signs certificates for those who show that they may have one. Its methods may be
// called by several goroutines.
type Issuer struct {
	ring      *ring.Ring
	store     *trust.Store
	authority *trust.Authority
	life      time.Duration
	log       *slog.Logger
	stop      func()

	mu      sync.Mutex       // held while it signs; guards what follows
	last    map[string]given // to names of the roster only
	refused time.Time        // when a line was last logged of a no
	quiet   int              // how many there were since
}

// given is the last certificate of a name.
type given struct {
	at    time.Time
	to    []byte // hash of the request
	chain []byte
}

// Serve makes an issuer of an instance, until Close. store is the instance's own, by which
// those are held to their names who ask; authority is the ring's, and is this one's to use
// from now on. It fails where the two are of different rings.
func Serve(
	r *ring.Ring, store *trust.Store, authority *trust.Authority, options IssuerOptions,
) (*Issuer, error) {
	if options.Life == 0 {
		options.Life = DefaultLife
	}
	if options.Life < LifeMin || options.Life > LifeMax {
		return nil, fmt.Errorf("enroll: certificates for %v; choose %v to %v", options.Life, LifeMin, LifeMax)
	}
	if own := store.ID().Ring; authority.Ring() != own {
		return nil, fmt.Errorf("enroll: the authority is of ring %q, the instance of %q; give it the one "+
			"that `ring ca init --ring %[2]s` made", authority.Ring(), own)
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	i := &Issuer{
		ring: r, store: store, authority: authority, life: options.Life, log: options.Logger,
		last: make(map[string]given),
	}
	var err error
	i.stop, err = r.Answer(topic, func(ctx context.Context, q ring.Question) ([]byte, error) {
		return json.Marshal(i.answer(ctx, q.Payload))
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", err)
	}
	return i, nil
}

// Close has the instance answer no more.
func (i *Issuer) Close() { i.stop() }

// Run tells the fleet what the authority says of its roots and of what it has revoked,
// now and whenever that has changed, until ctx ends.
func (i *Issuer) Run(ctx context.Context) {
	told := ""
	for {
		news, err := i.publish(ctx)
		conflict := new(ring.ConflictError)
		switch {
		case news:
			i.log.Info("the fleet is told what the authority says")
		case err == nil || ctx.Err() != nil || errors.Is(err, ring.ErrNoQuorum) || errors.As(err, &conflict):
		case err.Error() != told:
			told = err.Error()
			i.log.Warn("cannot tell the fleet what the authority says", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(publishEvery):
		}
	}
}

// errCopy is that there are two of one authority.
var errCopy = errors.New("the fleet knows of this authority what it has not said itself: a copy of its directory " +
	"is in use elsewhere, or this one was restored; use the newer one alone, what this one revokes counts nowhere")

// publish is Publish of what the authority says, unless the fleet knows better.
func (i *Issuer) publish(ctx context.Context) (news bool, err error) {
	roots, revoked := i.authority.Roots(), i.authority.Revoked()
	if there, ok := i.ring.Bus().Peek(trustKey); ok {
		m := i.store.Material()
		m.Roots, m.Revoked = roots, revoked
		own, err := trust.New(m)
		if err != nil {
			return false, err
		}
		before := own.Material()
		if more, err := learn(own, there.Value); more && err == nil && replaced(before, own.Material()) {
			return false, errCopy
		}
	}
	return Publish(ctx, i.ring, i.store, roots, revoked)
}

// replaced says whether something of before is no more: what comes beside it, such as the list
// of a root that has gone since, is no sign of another authority.
func replaced(before, after trust.Material) bool {
	if !bytes.Equal(before.Roots, after.Roots) {
		return true
	}
	for rest := before.Revoked; ; {
		var list *pem.Block
		if list, rest = pem.Decode(rest); list == nil {
			return false
		}
		if !bytes.Contains(after.Revoked, pem.EncodeToMemory(list)) {
			return true
		}
	}
}

// seal makes an invitation that issuers believe.
func (i *Issuer) seal(one *invited, name string) (err error) {
	one.Seal, err = i.authority.Seal(one.sealed(instanceOf(i.store, name)))
	return err
}

// instanceOf is who an instance of the store's ring is.
func instanceOf(store *trust.Store, name string) trust.ID {
	return trust.ID{Role: trust.Instance, Ring: store.ID().Ring, Name: name}
}

// answer signs, or says why not.
func (i *Issuer) answer(ctx context.Context, payload []byte) Answer {
	q, err := parseRequest(payload)
	if err != nil {
		return refusal(err)
	}
	chain, err := i.issue(ctx, q)
	if err != nil {
		i.deny(q.Name, err)
		return refusal(err)
	}
	return Answer{V: version, Chain: chain, Roots: i.authority.Roots()}
}

// deny logs a no, a line a second at most.
func (i *Issuer) deny(name string, why error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.refused) < denyEvery {
		i.quiet++
		return
	}
	i.log.Warn("no certificate", "for", name, "why", why, "not_logged_before", i.quiet)
	i.refused, i.quiet = time.Now(), 0
}

func (i *Issuer) issue(ctx context.Context, q *Request) ([]byte, error) {
	switch own := i.store.ID().Ring; {
	case q.Ring != own:
		return nil, fmt.Errorf("this is ring %q, not %q", own, q.Ring)
	case !inRoster(i.ring, q.Name):
		return nil, fmt.Errorf("%s is not in the roster: add it first, with `ring roster add`", q.Name)
	}
	hosts, err := i.allowed(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := mustHave(q, hosts); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	before, pause := i.last[q.Name], min(apart, i.life/10)
	since := time.Since(before.at)
	switch {
	case since < i.life/10 && bytes.Equal(before.to, q.hash()):
		return before.chain, nil // it is asked once more, or said again by somebody who has heard it
	case since < pause:
		return nil, &soon{after: pause - since, text: fmt.Sprintf("%s was given a certificate %v ago: ask again in %v",
			q.Name, since.Round(time.Second), (pause - since).Round(time.Second))}
	}
	chain, err := i.authority.Sign(q.CSR, q.id(), i.life)
	if err != nil {
		return nil, err
	}
	i.last[q.Name] = given{at: time.Now(), to: q.hash(), chain: chain}
	i.log.Info("certificate given", "to", q.Name, "for", i.life, "renewed", len(q.Chain) > 0)
	return chain, nil
}

// mustHave holds the names of hosts that a request has against those that it may have:
// which host is whose, a person says (ring ca issue), and no program.
func mustHave(q *Request, may []string) error {
	r, err := trust.ReadRequest(q.CSR)
	if err != nil {
		return err
	}
	for _, host := range r.Hosts {
		if !slices.Contains(may, host) {
			return fmt.Errorf("%s asks for the host %s, which is not in its certificate: have it issued by hand, with "+
				"`ring ca issue`", q.Name, host)
		}
	}
	return nil
}

// allowed reports whether who asks may have a certificate, and of which hosts.
func (i *Issuer) allowed(ctx context.Context, q *Request) (hosts []string, err error) {
	if len(q.Chain) > 0 {
		if err := i.store.CheckSigned(q.id(), q.Chain, q.message(), q.Signature); err != nil {
			return nil, err
		}
		certs, err := x509.ParseCertificates(q.Chain)
		if err != nil {
			return nil, err
		}
		return trust.HostsOf(certs[0]), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, one := range i.ring.View().Instances {
		if string(one.Name) == q.Name && one.State == ring.Alive && !i.given(q) {
			return nil, fmt.Errorf("%s is in the ring, and renews by itself: stop it first if another host is to have "+
				"its name", q.Name)
		}
	}
	for range 2 { // once more where somebody else has written it meanwhile: another issuer, as a rule
		err = i.use(ctx, q)
		if conflict := new(ring.ConflictError); !errors.As(err, &conflict) {
			break
		}
	}
	return nil, err
}

// given says whether the last certificate of a name was for this very request.
func (i *Issuer) given(q *Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return bytes.Equal(i.last[q.Name].to, q.hash())
}

// use uses an invitation, if q may.
func (i *Issuer) use(ctx context.Context, q *Request) error {
	e, err := i.ring.Bus().Get(ctx, inviteKey(q.Name))
	if errors.Is(err, ring.ErrNotFound) {
		return notInvited(q.Name)
	}
	if err != nil {
		return err
	}
	found, err := invitationOf(e.Value, q.Name)
	if err != nil {
		return err
	}
	if !i.authority.Sealed(found.sealed(q.id()), found.Seal) {
		return fmt.Errorf("the invitation of %s was not made by who has the authority: invite it anew", q.Name)
	}
	if err := found.check(q, time.Now()); err != nil || len(found.Used) > 0 {
		return err
	}
	found.Used = q.hash()
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	_, err = i.ring.Bus().Swap(ctx, e.Key, text, e.Revision)
	return err
}
