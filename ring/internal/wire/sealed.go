package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Kinds of what is signed. They are sent only on a ring whose instances sign, between
// two that speak protocol 2.
const (
	KindSealed Kind = iota + 72
	KindKeys
	KindVouched
	KindShow
	KindShown
)

// Limits of these frames.
const (
	SigMax    = 96      // bytes of a signature
	ChainMax  = 8 << 10 // bytes of one chain of certificates
	ChainsMax = 256     // chains in one Keys
	SealedMax = 64      // records in one Sealed or Shown
	BodyMax   = 48 << 10
)

// KeyID names a chain of certificates: the beginning of its SHA-256. It is for finding
// one; what a chain is worth is for its signature to say.
type KeyID [8]byte

// KeyOf is the name of chain.
func KeyOf(chain []byte) (id KeyID) {
	sum := sha256.Sum256(chain)
	copy(id[:], sum[:])
	return id
}

// Seal makes a record the word of its origin, whoever hands it on.
type Seal struct {
	Key  KeyID
	Sig  []byte
	Body []byte // the record as its origin has written it, which is what is signed
}

// Sealed carries records with their seals; it takes the place of a Flood.
type Sealed struct{ Records []Record }

// Shown carries accusing records that need not be the newest of their origins: they are
// what a verdict rests on.
type Shown struct{ Records []Record }

// Show asks for them: the sender has not got what these verdicts rest on.
type Show struct{ Marks []Mark }

// Keys carries chains of certificates that records behind it are signed with.
type Keys struct{ Chains [][]byte }

// Vouched is a Relay that its origin has signed.
type Vouched struct {
	Relay
	Key KeyID
	Sig []byte
}

func (*Sealed) Kind() Kind  { return KindSealed }
func (*Shown) Kind() Kind   { return KindShown }
func (*Show) Kind() Kind    { return KindShow }
func (*Keys) Kind() Kind    { return KindKeys }
func (*Vouched) Kind() Kind { return KindVouched }

// SealedSize returns how many bytes a sealed record takes in a Sealed or a Shown. The
// frame adds 2 of its own.
func SealedSize(r *Record) int {
	b, s := len(r.Seal.Body), len(r.Seal.Sig)
	return uvarintLen(uint64(b)) + b + len(r.Seal.Key) + uvarintLen(uint64(s)) + s
}

// RecordBody appends r as its origin signs it.
func RecordBody(dst []byte, r *Record) []byte { return appendRecord(dst, r) }

// What is signed begins with what it is, so that no signature is ever taken for one of
// something else.
const (
	recordText = "ringofservers.dev record 1\x00"
	relayText  = "ringofservers.dev relay 1\x00"
)

// RecordText appends what is signed of a record of this ring.
func RecordText(dst []byte, ring string, body []byte) []byte {
	dst = append(dst, recordText...)
	dst = appendName(dst, ring)
	return append(dst, body...)
}

// RelayText appends what is signed of a relayed frame in this ring.
func RelayText(dst []byte, ring string, r *Relay) []byte {
	dst = append(dst, relayText...)
	dst = appendName(dst, ring)
	dst = appendIndex(dst, r.From)
	dst = appendIndex(dst, r.To)
	return append(dst, r.Frame...)
}

// appendSealed writes the kinds of this file; ok is false for any other.
func appendSealed(dst []byte, m Msg) (_ []byte, ok bool) {
	switch m := m.(type) {
	case *Sealed:
		dst = appendSeals(dst, m.Records)
	case *Shown:
		dst = appendSeals(dst, m.Records)
	case *Show:
		dst = appendMarks(dst, m.Marks)
	case *Keys:
		within("chains", uint64(len(m.Chains)), ChainsMax)
		dst = binary.AppendUvarint(dst, uint64(len(m.Chains)))
		for _, chain := range m.Chains {
			dst = appendPiece(dst, chain, ChainMax)
		}
	case *Vouched:
		dst = appendRelay(dst, &m.Relay)
		dst = append(dst, m.Key[:]...)
		dst = appendPiece(dst, m.Sig, SigMax)
	default:
		return dst, false
	}
	return dst, true
}

func appendSeals(dst []byte, records []Record) []byte {
	within("sealed records", uint64(len(records)), SealedMax)
	dst = binary.AppendUvarint(dst, uint64(len(records)))
	for i := range records {
		s := &records[i].Seal
		dst = appendPiece(dst, s.Body, BodyMax)
		dst = append(dst, s.Key[:]...)
		dst = appendPiece(dst, s.Sig, SigMax)
	}
	return dst
}

// sealed reads the kinds of this file; nil for any other. Records, with all they point
// to, are valid until the next Decode.
func (d *Decoder) sealed(kind Kind, c *cursor) Msg {
	switch kind {
	case KindSealed:
		d.seals.Records = d.seal(c)
		return &d.seals
	case KindShown:
		return &Shown{Records: d.seal(c)}
	case KindShow:
		return &Show{Marks: c.marks()}
	case KindKeys:
		m := &Keys{}
		for range c.count("chains", ChainsMax, 1) {
			m.Chains = append(m.Chains, c.piece("chain", ChainMax))
		}
		return m
	case KindVouched:
		return &Vouched{Relay: *relay(c), Key: c.key(), Sig: c.piece("signature", SigMax)}
	}
	return nil
}

// sealedMin is the length of the shortest sealed record: a body of 14 bytes, its length,
// the key and an empty signature.
const sealedMin = recordMin + 9

func (d *Decoder) seal(c *cursor) []Record {
	n := c.count("sealed records", SealedMax, sealedMin)
	if n == 0 {
		return nil
	}
	records := slices.Grow(d.seals.Records[:0], n)
	d.accused = d.accused[:0]
	d.bodies = slices.Grow(d.bodies[:0], len(c.rest)) // all of them fit: none moves
	for range n {
		body := d.keep(c.bytes("record", BodyMax))
		one := cursor{rest: body}
		s := Seal{Key: c.key(), Body: body}
		s.Sig = d.keep(c.bytes("signature", SigMax))
		if c.fault != "" {
			return nil
		}
		r := d.record(&one)
		if one.fault != "" {
			c.fail(one.fault)
			return nil
		}
		r.Seal = s
		records = append(records, r)
	}
	return records
}

// keep copies b behind what is kept already.
func (d *Decoder) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	from := len(d.bodies)
	d.bodies = append(d.bodies, b...)
	return d.bodies[from:len(d.bodies):len(d.bodies)]
}

func (c *cursor) key() (id KeyID) {
	copy(id[:], c.take(len(id)))
	return id
}
