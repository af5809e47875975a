package ring

import (
	"bytes"
	"errors"

	"ringofservers.dev/ring/internal/core"
	"ringofservers.dev/ring/trust"
)

// proof signs what this instance says by its identity, and checks what others say by
// theirs.
type proof struct {
	store *trust.Store
	ring  string
}

var _ core.Proof = proof{}

func (p proof) Chain() []byte { return p.store.Chain() }

// Sign takes care of a renewal that comes between: its key goes with its own chain.
func (p proof) Sign(message []byte) (chain, sig []byte) {
	for chain = p.store.Chain(); ; {
		sig, err := p.store.Sign(message)
		if err != nil {
			panic("BUG: ring: sign what is said: " + err.Error())
		}
		again := p.store.Chain()
		if bytes.Equal(chain, again) {
			return chain, sig
		}
		chain = again
	}
}

func (p proof) Check(name string, chain, message, sig []byte) core.Worth {
	id := trust.ID{Role: trust.Instance, Ring: p.ring, Name: name}
	err := p.store.CheckSigned(id, chain, message, sig)
	lapsed := errors.Is(err, trust.ErrExpired) || errors.Is(err, trust.ErrNotYetValid)
	if lapsed {
		err = p.store.CheckLapsed(id, chain, message, sig)
	}
	switch {
	case err == nil && lapsed:
		return core.Lapsed
	case err == nil:
		return core.Sound
	case errors.Is(err, trust.ErrBadSignature), errors.Is(err, trust.ErrWrongName),
		errors.Is(err, trust.ErrWrongRole), errors.Is(err, trust.ErrWrongRing):
		return core.Faked
	}
	return core.Void // its authority, or a revocation, may be known here or there only, for a while
}

// proof is what this instance signs with, nil on a ring without TLS.
func (r *Ring) proof() core.Proof {
	if r.cfg.TLS == nil {
		return nil
	}
	return proof{r.cfg.TLS, r.cfg.Ring}
}
