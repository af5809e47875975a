package core

import (
	"iter"
	"slices"
	"time"

	"ringofservers.dev/ring/internal/wire"
)

// Proof is how instances show that what is said in their name is theirs. All of a ring
// have one, or none has.
type Proof interface {
	// Sign signs message by the key of this instance, and returns the Chain of that key.
	Sign(message []byte) (chain, sig []byte)
	// Chain is the certificates by which others check that, at most wire.ChainMax bytes.
	// It is another one with each renewal, of which a Rekeyed tells.
	Chain() []byte
	// Check says what sig is worth as that of the instance of that name under message. It
	// keeps nothing.
	Check(name string, chain, message, sig []byte) Worth
}

// Worth is what a signature is worth.
type Worth uint8

// What Check says. Only Faked is held against who brought it: of certificates two
// instances may think otherwise for a while.
const (
	Void   Worth = iota // nobody who is trusted here vouches for the key, or it was revoked
	Faked               // the key is another's, or has not signed this
	Lapsed              // it is good, but for the time of its certificates
	Sound
)

const (
	// keysBefore is how many chains of an origin are kept beside its newest.
	keysBefore = 2
	// keysWaiting and keysWaitingBytes are what may have come on a link without a record
	// that needs it: those of a Sealed, twice over.
	keysWaiting      = 2 * wire.SealedMax
	keysWaitingBytes = keysWaiting * wire.ChainMax
	// proofsKept is how many accusers are kept of one who is dead: one more than it takes.
	proofsKept = 3
	// shownMax is how many bytes of records one Show brings.
	shownMax = 256 << 10
)

// sealing is what is kept of what others have signed. Its maps are only looked up.
type sealing struct {
	own    *key
	rings  map[int]*keyring
	seals  map[int]*seal  // of the records that the table holds
	proofs map[int]proofs // what a verdict on somebody rests on
	text   []byte         // what is signed or checked now

	former  uint32    // the highest incarnation of our name that another process has signed
	claimBy time.Time // until then we wait for what neighbours have said of it to be shown
}

// key is a chain of certificates.
type key struct {
	id    wire.KeyID
	chain []byte
}

// keyring is those of one origin that have signed something.
type keyring struct {
	now    *key
	before []*key // the newest first
}

// seal is a record as it was signed, checked.
type seal struct {
	origin, inc, seq uint32
	key              *key
	body, sig        []byte
}

// proofs are the accusers of one instance at one incarnation, and who has told us on its
// own link that it is dead.
type proofs struct {
	inc  uint32
	by   []*seal
	said []saying
}

type saying struct {
	by uint32
	at time.Time
}

func newSealing() sealing {
	return sealing{rings: map[int]*keyring{}, seals: map[int]*seal{}, proofs: map[int]proofs{}}
}

// signs reports whether this is a ring whose instances sign.
func (c *Core) signs() bool { return c.cfg.Proof != nil }

// counts reports whether such a frame does here: where instances sign nothing counts that
// could be signed and is not, and elsewhere there is nothing to check a signature by.
func (c *Core) counts(m wire.Msg) bool {
	switch m.(type) {
	case *wire.Flood, *wire.Relay:
		return !c.signs()
	case *wire.Sealed, *wire.Keys, *wire.Show, *wire.Shown, *wire.Vouched:
		return c.signs()
	}
	return true
}

// digest is what tells two tables apart. Where instances sign it is of the living only:
// what the dead have said some may have no certificates for any more.
func (c *Core) digest() uint32 {
	if c.signs() {
		return uint32(c.table.Living())
	}
	return uint32(c.table.Digest())
}

// rekeyed takes the present chain of ours into use.
func (c *Core) rekeyed() {
	if c.signs() {
		c.own = c.use(c.cfg.Proof.Chain())
	}
}

// use is the key of ours that goes with chain. Where that is another one our record has to
// be signed anew.
func (c *Core) use(chain []byte) *key {
	if c.own != nil && slices.Equal(c.own.chain, chain) {
		return c.own
	}
	c.own = &key{wire.KeyOf(chain), slices.Clone(chain)}
	c.claim(c.self, c.own)
	if c.published && (c.joined || c.leaving) {
		c.publish()
	}
	return c.own
}

// sign signs c.text. A renewal may come before we are told of it.
func (c *Core) sign() (*key, []byte) {
	chain, sig := c.cfg.Proof.Sign(c.text)
	return c.use(chain), sig
}

// find is the chain of that name, nil if origin has signed nothing by it.
func (g *keyring) find(id wire.KeyID) *key {
	if g == nil {
		return nil
	}
	if g.now.id == id {
		return g.now
	}
	for _, k := range g.before {
		if k.id == id {
			return k
		}
	}
	return nil
}

// claim makes k the newest of origin's.
func (c *Core) claim(origin int, k *key) {
	g := c.rings[origin]
	if g == nil {
		c.rings[origin] = &keyring{now: k}
		return
	}
	if g.now == k {
		return
	}
	g.before = slices.DeleteFunc(g.before, func(o *key) bool { return o == k })
	g.before = slices.Insert(g.before, 0, g.now)
	g.before = g.before[:min(len(g.before), keysBefore)]
	g.now = k
	for _, cn := range c.open {
		cn.knows.Remove(uint32(origin))
	}
}

// keyOf is the chain by which origin is said to have signed something that came on cn.
func (c *Core) keyOf(cn *conn, origin int, id wire.KeyID) *key {
	if k := c.rings[origin].find(id); k != nil {
		return k
	}
	for _, k := range cn.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// onKeys keeps chains until something comes that is signed by them.
func (c *Core) onKeys(cn *conn, m *wire.Keys) {
	size := 0
	for _, k := range cn.keys {
		size += len(k.chain)
	}
	for _, chain := range m.Chains {
		cn.keys = append(cn.keys, &key{wire.KeyOf(chain), chain})
		for size += len(chain); len(cn.keys) > keysWaiting || size > keysWaitingBytes; {
			size -= len(cn.keys[0].chain)
			cn.keys = slices.Delete(cn.keys, 0, 1)
		}
	}
}

// used takes k from those that wait on cn.
func (cn *conn) used(k *key) {
	if i := slices.Index(cn.keys, k); i >= 0 {
		cn.keys = slices.Delete(cn.keys, i, i+1)
	}
}

// need is that something of an origin goes out which is signed by key.
type need struct {
	origin int
	key    *key
}

// shows sends on cn the chains that are needed, but for the newest of those origins whose
// its other end has already.
func (c *Core) shows(cn *conn, needs iter.Seq[need]) {
	m, size := &wire.Keys{}, 0
	add := func(k *key) {
		if len(m.Chains) == wire.ChainsMax || size+len(k.chain)+4 > wire.FrameMax-8 {
			c.send(cn, m)
			m, size = &wire.Keys{}, 0
		}
		m.Chains = append(m.Chains, k.chain)
		size += len(k.chain) + 4
	}
	for n := range needs {
		if g := c.rings[n.origin]; g == nil || g.now != n.key || c.learns(cn, n.origin) {
			add(n.key)
		}
	}
	if len(m.Chains) > 0 {
		c.send(cn, m)
	}
}

// learns notes that the other end of cn has the newest chain of origin, and reports whether
// that is new.
func (c *Core) learns(cn *conn, origin int) bool {
	cn.knows = cn.knows.Grown(c.n)
	return cn.knows.Add(uint32(origin))
}

// sealOf is the seal of the record that the table holds of origin. Ours is made when it
// is needed: in a storm one record takes the place of another many times before it is
// handed on.
func (c *Core) sealOf(origin int) *seal {
	s := c.seals[origin]
	inc, seq := c.table.Version(origin)
	if origin != c.self || !c.published || s != nil && s.inc == inc && s.seq == seq {
		return s
	}
	r, ok := c.table.Record(origin)
	if !ok {
		return nil
	}
	r.Accused = c.accusedBy(origin)
	s = &seal{origin: uint32(origin), inc: inc, seq: seq, body: wire.RecordBody(nil, &r)}
	c.text = wire.RecordText(c.text[:0], c.cfg.Roster.Ring, s.body)
	s.key, s.sig = c.sign()
	c.seals[origin] = s
	return s
}

// wire is what a frame carries of it.
func (s *seal) wire() wire.Seal { return wire.Seal{Key: s.key.id, Sig: s.sig, Body: s.body} }

// onSealed takes records that are signed.
func (c *Core) onSealed(cn *conn, m *wire.Sealed) {
	for i := range m.Records {
		if c.onRecord(&m.Records[i], cn); c.conns[cn.id] == nil {
			return
		}
	}
	c.answerOld(cn, m.Records)
}

// vouched checks what has come on cn as origin's; text is what is signed. Where that was
// forged the link is closed. The key is nil where it is not known.
func (c *Core) vouched(cn *conn, origin int, id wire.KeyID, sig []byte, what string) (*key, Worth) {
	k := c.keyOf(cn, origin, id)
	if k == nil {
		// It has told of it on this link, and we have let go of it since: on the next it
		// tells again.
		c.shut(cn, "the certificates of what you send are not known here")
		return nil, Void
	}
	w := c.cfg.Proof.Check(c.roster.Names[origin], k.chain, c.text, sig)
	if w == Faked {
		c.forged(cn, what+" that "+c.roster.Names[origin]+" has not signed")
	}
	return k, w
}

// vouchedRecord is vouched of a record.
func (c *Core) vouchedRecord(cn *conn, r *wire.Record) (*key, Worth) {
	c.text = wire.RecordText(c.text[:0], c.cfg.Roster.Ring, r.Seal.Body)
	return c.vouched(cn, int(r.Origin), r.Seal.Key, r.Seal.Sig, "a record")
}

// admit checks a record that is newer than what the table holds; nil if it does not
// count. lapsed is that it is good but for the time of its certificates: of somebody who
// lives that is not enough, and it makes nobody live.
func (c *Core) admit(cn *conn, r *wire.Record) (s *seal, lapsed bool) {
	i := int(r.Origin)
	k, w := c.vouchedRecord(cn, r)
	if w != Sound && (w != Lapsed || c.isAlive(i)) {
		return nil, false
	}
	cn.used(k)
	c.claim(i, k)
	c.learns(cn, i)
	return newSeal(r, k), w == Lapsed
}

func newSeal(r *wire.Record, k *key) *seal {
	both := make([]byte, 0, len(r.Seal.Body)+len(r.Seal.Sig))
	both = append(append(both, r.Seal.Body...), r.Seal.Sig...)
	n := len(r.Seal.Body)
	return &seal{
		origin: r.Origin, inc: r.Incarnation, seq: r.Seq, key: k,
		body: both[:n:n], sig: both[n:],
	}
}

// forged ends a link on which somebody spoke for another.
func (c *Core) forged(cn *conn, what string) {
	p := cn.peer
	c.shut(cn, "you have sent what is not yours to say")
	c.fx = append(c.fx, Effect{Kind: Forged, Conn: cn.id})
	p.shunned = c.now.Add(shunFor)
	p.nextDial = p.shunned
	if p.healthy() == nil {
		p.linked = false
	}
	if c.mayTell(p.i) {
		c.tell(Report{
			Kind: Forging, Subject: p.i,
			Text: what + "; find out what runs there, and revoke its certificate",
		})
	}
}

// shunFor is how long nobody is linked with who has spoken for another.
const shunFor = 2 * time.Second
