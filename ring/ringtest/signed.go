package ringtest

import (
	"encoding/binary"

	"ringofservers.dev/ring/internal/core"
)

// What is signed in a simulation has the size of the real thing: a signature of ECDSA by
// P-256, and a certificate with one name in it. Only whoever has the seed of the world can
// make one: that is what a key is here.
const (
	sigLen   = 71
	chainLen = 560
)

// proof is the key of one process of a host.
type proof struct {
	w     *World
	host  int32
	chain []byte
}

// proofOf is that of a process which begins now, nil where nobody signs.
func (w *World) proofOf(h *host) core.Proof {
	h.proof = nil
	if !w.opt.Signed {
		return nil
	}
	h.proof = &proof{w: w, host: h.index}
	h.proof.renew()
	return h.proof
}

// renew has another certificate made for the same name.
func (p *proof) renew() {
	p.w.certificates++
	b := make([]byte, chainLen)
	binary.BigEndian.PutUint32(b, uint32(p.host))
	binary.BigEndian.PutUint64(b[4:], p.w.certificates)
	binary.BigEndian.PutUint64(b[12:], mix(p.w.seed, forKeys, uint64(p.host), p.w.certificates))
	p.chain = b
}

func (p *proof) Chain() []byte { return p.chain }

func (p *proof) Sign(message []byte) (chain, sig []byte) {
	b := make([]byte, sigLen)
	binary.BigEndian.PutUint64(b, p.w.signature(p.chain, message))
	return p.chain, b
}

// signed is its signature alone.
func (p *proof) signed(message []byte) []byte {
	_, sig := p.Sign(message)
	return sig
}

func (p *proof) Check(name string, chain, message, sig []byte) core.Worth {
	switch {
	case len(chain) != chainLen || binary.BigEndian.Uint64(chain[12:]) != mix(p.w.seed, forKeys,
		uint64(binary.BigEndian.Uint32(chain)), binary.BigEndian.Uint64(chain[4:])):
		return core.Void
	case p.w.roster.Names[binary.BigEndian.Uint32(chain)] != name, len(sig) != sigLen,
		binary.BigEndian.Uint64(sig) != p.w.signature(chain, message):
		return core.Faked
	}
	return core.Sound
}

// signature is what the key behind chain makes of message.
func (w *World) signature(chain, message []byte) uint64 {
	h := hash(mix(w.seed, forKeys, binary.BigEndian.Uint64(chain[4:])))
	h.bytes(message)
	return uint64(h)
}

// renewed gives h another certificate, now and then.
func (w *World) renewed(h *host) {
	if h.proof == nil {
		return
	}
	h.proof.renew()
	w.input(h.index, input{kind: core.Rekeyed})
	w.agenda.push(w.now+renewEvery/2+h.dice.below(renewEvery), atRenewed, h.index, h.life)
}

// renewEvery is how often certificates are renewed: more often than any fleet would. Those
// of more than renewMost are not: it is what they send that is looked at.
const (
	renewEvery = 20 * second
	renewMost  = 40
)
