package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	mu   sync.Mutex           // held while it signs; guards what follows
	last map[string]time.Time // when a name was given a certificate; names of the roster only
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
		last: make(map[string]time.Time),
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
		news, err := Publish(ctx, i.ring, i.store, i.authority.Roots(), i.authority.Revoked())
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

// answer signs, or says why not.
func (i *Issuer) answer(ctx context.Context, payload []byte) Answer {
	q, err := parseRequest(payload)
	if err != nil {
		return Answer{V: version, Error: err.Error()}
	}
	chain, err := i.issue(ctx, q)
	if err != nil {
		i.log.Warn("no certificate", "for", q.Name, "why", err)
		return Answer{V: version, Error: err.Error()}
	}
	i.log.Info("certificate given", "to", q.Name, "for", i.life)
	return Answer{V: version, Chain: chain, Roots: i.authority.Roots()}
}

func (i *Issuer) issue(ctx context.Context, q *Request) ([]byte, error) {
	switch own := i.store.ID().Ring; {
	case q.Ring != own:
		return nil, fmt.Errorf("this is ring %q, not %q", own, q.Ring)
	case !inRoster(i.ring, q.Name):
		return nil, fmt.Errorf("%s is not in the roster: add it first, with `ring roster add`", q.Name)
	}
	if err := i.allowed(ctx, q); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	pause := min(apart, i.life/10)
	if since := time.Since(i.last[q.Name]); since < pause {
		return nil, fmt.Errorf("%s was given a certificate %v ago: ask again in %v", q.Name,
			since.Round(time.Second), (pause - since).Round(time.Second))
	}
	chain, err := i.authority.Sign(q.CSR, q.id(), i.life)
	if err != nil {
		return nil, err
	}
	i.last[q.Name] = time.Now()
	return chain, nil
}

// allowed reports whether who asks may have a certificate.
func (i *Issuer) allowed(ctx context.Context, q *Request) error {
	if len(q.Chain) > 0 {
		return i.store.CheckSigned(q.id(), q.Chain, q.message(), q.Signature)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	e, err := i.ring.Bus().Get(ctx, inviteKey(q.Name))
	if errors.Is(err, ring.ErrNotFound) {
		return fmt.Errorf("%s is not invited: `ring roster invite %[1]s` prints what to run on its host", q.Name)
	}
	if err != nil {
		return err
	}
	var found invited
	if err := json.Unmarshal(e.Value, &found); err != nil {
		return fmt.Errorf("the invitation of %s does not read: invite it anew", q.Name)
	}
	if err := found.check(q, time.Now()); err != nil || len(found.Used) > 0 {
		return err
	}
	found.Used = q.hash()
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if _, err = i.ring.Bus().Swap(ctx, e.Key, text, e.Revision); err == nil {
		return nil
	}
	if conflict := new(ring.ConflictError); errors.As(err, &conflict) {
		return i.again(ctx, q)
	}
	return err
}

// again looks at an invitation that somebody else has just written: another issuer, for the
// same request as a rule.
func (i *Issuer) again(ctx context.Context, q *Request) error {
	e, err := i.ring.Bus().Get(ctx, inviteKey(q.Name))
	if err != nil {
		return err
	}
	var found invited
	if err := json.Unmarshal(e.Value, &found); err != nil {
		return fmt.Errorf("the invitation of %s does not read: invite it anew", q.Name)
	}
	if len(found.Used) == 0 {
		return fmt.Errorf("the invitation of %s was just made anew: use that", q.Name)
	}
	return found.check(q, time.Now())
}
