package enroll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"ringofservers.dev/ring"
	"ringofservers.dev/ring/trust"
)

const (
	// lookEvery is how often Keep looks at the bus and at the clock.
	lookEvery = time.Second
	// renewTime bounds one attempt to renew.
	renewTime = 10 * time.Second
	// retryMin and retryMax bound the pause after an attempt in vain, which is a thirtieth
	// of what is left.
	retryMin, retryMax = 2 * time.Second, time.Hour
	// warnEvery is the time between two lines about the same failure.
	warnEvery = time.Minute
)

// says is what the authority says, as the bus keeps it. It is signed by the authority, so
// whoever writes it there can but hold it back.
type says struct {
	V       int    `json:"v"`
	Roots   []byte `json:"roots"`   // PEM, as in trust.Material
	Revoked []byte `json:"revoked"` // PEM
}

// Publish puts on the bus what the authority says of its roots and of what it has revoked
// (trust.Authority.Roots, Revoked), where that is news to who knows what is there. It
// reports whether it was. It fails with an error of package trust for what is not by an
// authority that store trusts.
func Publish(
	ctx context.Context, r *ring.Ring, store *trust.Store, roots, revoked []byte,
) (news bool, err error) {
	there, ok := r.Bus().Peek(trustKey)
	// Who knows but what is there: a store of this instance's identity and those roots.
	m := store.Material()
	m.Revoked = nil
	known, err := trust.New(m)
	if err != nil {
		return false, err
	}
	if ok {
		_, err := learn(known, there.Value)
		ok = err == nil // else nobody takes what is there: it is not by this authority
	}
	news, err = known.Learn(roots, revoked)
	if err != nil || ok && !news {
		return false, err
	}
	m = known.Material()
	text, err := json.Marshal(says{V: version, Roots: m.Roots, Revoked: m.Revoked})
	if err != nil {
		return false, err
	}
	if len(text) > ring.ValueMax {
		return false, fmt.Errorf("enroll: what the authority says has %d bytes, and the bus takes %d: revoked "+
			"certificates stay on the list until they expire; shorten lives, or rotate the authority",
			len(text), ring.ValueMax)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err = r.Bus().Swap(ctx, trustKey, text, there.Revision)
	return err == nil, err
}

// learn has store take over what stands on the bus.
func learn(store *trust.Store, value []byte) (changed bool, err error) {
	var s says
	if err := json.Unmarshal(value, &s); err != nil || s.V != version {
		return false, fmt.Errorf("enroll: what stands at %s on the bus is not of this version (%d)", trustKey, s.V)
	}
	return store.Learn(s.Roots, s.Revoked)
}

// Keep renews the certificate of store in the last third of its life, under a key made for
// it, by way of the ring's issuers; and has store take over what the authority says of
// roots and revoked certificates. It returns when ctx ends. logger may be nil.
func Keep(ctx context.Context, r *ring.Ring, store *trust.Store, logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	k := keeper{ring: r, store: store, log: logger, early: rand.Float64() / 4}
	for {
		k.learn()
		k.renew(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

type keeper struct {
	ring  *ring.Ring
	store *trust.Store
	log   *slog.Logger

	early  float64 // share of what is left then by which this one is ahead of others
	learnt uint64  // revision of what was learnt last
	next   time.Time
	warned time.Time
}

// learn takes over what is new on the bus.
func (k *keeper) learn() {
	e, ok := k.ring.Bus().Peek(trustKey)
	if !ok || e.Revision == k.learnt {
		return
	}
	k.learnt = e.Revision
	if _, err := learn(k.store, e.Value); err != nil {
		k.log.Warn("what the fleet says of its authority does not count here", "err", err)
	}
}

// due is when a certificate is to be renewed. Not all of a fleet that were issued together
// ask in one moment.
func (k *keeper) due() time.Time {
	at := k.store.RenewAt()
	return at.Add(-time.Duration(k.early * float64(k.store.Leaf().NotAfter.Sub(at))))
}

// renew does it if it is due.
func (k *keeper) renew(ctx context.Context) {
	now := time.Now()
	if now.Before(k.next) || now.Before(k.due()) {
		return
	}
	err := k.ask(ctx)
	if err == nil {
		k.next, k.warned = time.Time{}, time.Time{}
		k.log.Info("certificate renewed", "until", k.store.Leaf().NotAfter.UTC().Format(time.RFC3339))
		return
	}
	left := time.Until(k.store.Leaf().NotAfter)
	k.next = now.Add(min(max(left/30, retryMin), retryMax))
	if later := new(soon); errors.As(err, &later) { // by a rotation just after it was renewed
		k.next = now.Add(later.after)
		return
	}
	if ctx.Err() == nil && now.Sub(k.warned) >= warnEvery {
		k.warned = now
		k.log.Warn("cannot renew the certificate as it should be", "expires",
			k.store.Leaf().NotAfter.UTC().Format(time.RFC3339), "err", err)
	}
}

// errNobody is that no instance is an issuer.
var errNobody = errors.New("no instance in reach gives certificates: start one with --authority, or " +
	"renew by hand with `ring ca request` and `ring ca issue`")

// ask gets a certificate of a new key from whoever gives it first.
func (k *keeper) ask(ctx context.Context) error {
	csr, key, err := trust.NewRequest(k.store.ID(), trust.HostsOf(k.store.Leaf()))
	if err != nil {
		return err
	}
	q, err := renewal(k.store, csr)
	if err != nil {
		return err
	}
	a, err := Ask(ctx, k.ring, q)
	if err != nil {
		return err
	}
	return k.store.Replace(trust.Material{Certificate: a.Chain, Key: key})
}

// Ask brings a request before the issuers of the ring and returns the first certificate.
// ErrRefused is wrapped where an issuer has said no.
func Ask(ctx context.Context, r *ring.Ring, q Request) (*Answer, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	g, err := r.Gather(ctx, topic, text, nil)
	if err != nil {
		return nil, err
	}
	why := errNobody
	for _, reply := range g.Replies {
		switch a, err := parseAnswer(reply.Value); {
		case err != nil:
			why = fmt.Errorf("%s: %w", reply.From, err)
		case a.Again > 0:
			why = &soon{text: fmt.Sprintf("%s: %s", reply.From, a.Error), after: time.Duration(a.Again) * time.Second}
		case a.Error != "":
			why = fmt.Errorf("%w: %s: %s", ring.ErrRefused, reply.From, a.Error)
		case len(bytes.TrimSpace(a.Chain)) > 0:
			return a, nil
		}
	}
	return nil, why
}
