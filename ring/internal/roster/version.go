package roster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"ringofservers.dev/ring/internal/wire"
)

// PastMax is how many hashes of earlier versions a roster knows: the first, and the newest.
// Who holds one that is older has to be given a newer roster by hand.
const PastMax = 256

// AddrMax is how many bytes an address has at most: the longest host name, and its port.
const AddrMax = 262

// Kind is what a Change does.
type Kind uint8

// The changes there are.
const (
	Add     Kind = iota + 1 // Name at Addr, under the next index
	Retire                  // Name, for good
	Move                    // Name to Addr
	Promote                 // Name is to vote
	Demote                  // Name is not to vote
)

// Change is one step from a version to the next.
type Change struct {
	Kind Kind
	Name string
	Addr string
}

// ChangesMax bounds what one version may change.
const ChangesMax = 512

// Wish is whether an instance is to vote.
type Wish int8

// Wishes. Whoever has none votes as it comes.
const (
	NotToVote Wish = -1
	ToVote    Wish = 1
)

// note is what changes have left at one index.
type note struct {
	retired bool
	moved   bool // its address was given by a change, and holds everywhere
	wish    Wish
}

// Retired reports whether instance i is out for good. Nobody has an index beyond the roster.
func (r *Roster) Retired(i int) bool { return r.notes != nil && r.notes[i].retired }

// Moved reports whether a change gave instance i its address: then it holds everywhere.
func (r *Roster) Moved(i int) bool { return r.notes != nil && r.notes[i].moved }

// Wish is whether instance i is to vote.
func (r *Roster) Wish(i int) Wish {
	if r.notes == nil {
		return 0
	}
	return r.notes[i].wish
}

// Members counts who is not retired.
func (r *Roster) Members() int { return r.members }

// Out is who is retired, by index; nil for nobody. It must not be written to.
func (r *Roster) Out() []bool {
	if r.members == len(r.Names) {
		return nil
	}
	out := make([]bool, len(r.Names))
	for i := range out {
		out[i] = r.notes[i].retired
	}
	return out
}

// RetiredName reports whether name was retired, and has not come again.
func (r *Roster) RetiredName(name string) bool {
	return r.Index(name) < 0 && slices.Contains(r.Names, name)
}

// Chain identifies this version and all that it came from, with addresses and all: of two
// versions with one Chain everything is the same. That of a seed is its Hash.
func (r *Roster) Chain() [32]byte { return r.chain }

// Past are the hashes of the versions that this one came from, oldest first, as far as they
// differ and are known. It must not be written to.
func (r *Roster) Past() [][32]byte { return r.past }

// Knows reports whether hash is this version's or that of one it came from.
func (r *Roster) Knows(hash [32]byte) bool {
	return hash == r.hash || slices.Contains(r.past, hash)
}

// Follows reports whether r is older or came from it: older's names stand in it, each under
// its index, and whoever was retired there is so here.
func (r *Roster) Follows(older *Roster) bool {
	if r.Version < older.Version || !r.Knows(older.hash) {
		return false
	}
	return r.Extends(older)
}

// Extends reports whether everybody of older stands in r under its index, and whoever was
// retired there is so here.
func (r *Roster) Extends(older *Roster) bool {
	if len(r.Names) < len(older.Names) {
		return false
	}
	for i, name := range older.Names {
		if r.Names[i] != name || older.Retired(i) && !r.Retired(i) {
			return false
		}
	}
	return true
}

// WithAddrs returns r with the addresses of local for those whom no change has moved: an
// address may look different from different places.
func (r *Roster) WithAddrs(local *Roster) *Roster {
	if len(local.Addrs) == 0 || r == local {
		return r
	}
	c := *r
	c.Addrs = slices.Clone(r.Addrs)
	for i := range min(len(c.Names), len(local.Names)) {
		if len(c.Addrs) > i && !r.Moved(i) && local.Addrs[i] != "" && local.Names[i] == r.Names[i] {
			c.Addrs[i] = local.Addrs[i]
		}
	}
	return &c
}

// With returns the next version. The error joins all that forbids it, each with what to do.
func (r *Roster) With(changes []Change) (*Roster, error) {
	if len(changes) == 0 || len(changes) > ChangesMax {
		return nil, fmt.Errorf("%d changes at once: give 1 to %d", len(changes), ChangesMax)
	}
	n := &Roster{
		Ring: r.Ring, Degree: r.Degree, Version: r.Version + 1,
		Names: slices.Clone(r.Names), Addrs: make([]string, len(r.Names)),
		notes: make([]note, len(r.Names)), index: make(map[string]int, len(r.Names)+1),
		members: r.members,
	}
	copy(n.Addrs, r.Addrs)
	copy(n.notes, r.notes)
	for i, name := range r.Names {
		if !r.Retired(i) {
			n.index[name] = i
		}
	}
	var f faults
	for _, c := range changes {
		if err := n.change(c); err != nil {
			f.add("%w", err)
		}
	}
	if err := f.join(); err != nil {
		return nil, err
	}
	n.hash = n.digest()
	n.past = r.past
	if n.hash != r.hash {
		n.past = append(slices.Clip(r.past), r.hash)
		if len(n.past) > PastMax {
			n.past = append([][32]byte{n.past[0]}, n.past[2:]...)
		}
	}
	n.chain = n.link(r.chain, changes)
	return n, nil
}

// link is the chain of n after before.
func (r *Roster) link(before [32]byte, changes []Change) [32]byte {
	b := []byte("ring/roster/chain/1\x00")
	b = append(b, before[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = append(b, r.hash[:]...)
	return sha256.Sum256(AppendChanges(b, changes))
}

// change does one step on a version that is being made.
func (r *Roster) change(c Change) error {
	i, there := r.index[c.Name]
	if c.Kind != Add && !there {
		if slices.Contains(r.Names, c.Name) {
			return fmt.Errorf("%s is retired already: name somebody else", quoted(c.Name))
		}
		return fmt.Errorf("no instance is named %s: see the roster for who there is", quoted(c.Name))
	}
	if c.Kind == Add || c.Kind == Move {
		if err := r.freeAddr(c.Addr, i, there); err != nil {
			return fmt.Errorf("%s: %w", quoted(c.Name), err)
		}
	}
	switch c.Kind {
	case Add:
		return r.add(c)
	case Retire:
		if r.members == 1 {
			return fmt.Errorf("%s is the last instance: add another one first", quoted(c.Name))
		}
		r.notes[i] = note{retired: true, moved: r.notes[i].moved}
		delete(r.index, c.Name)
		r.members--
	case Move:
		r.Addrs[i], r.notes[i].moved = c.Addr, true
	case Promote:
		r.notes[i].wish = ToVote
	case Demote:
		r.notes[i].wish = NotToVote
	default:
		return fmt.Errorf("change %d is of no kind that this build knows: upgrade it", c.Kind)
	}
	return nil
}

func (r *Roster) add(c Change) error {
	if _, there := r.index[c.Name]; there {
		return fmt.Errorf("there is an instance %s: choose another name, or move that one", quoted(c.Name))
	}
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if len(r.Names) >= wire.RosterMax {
		return fmt.Errorf("the roster has had %d instances, retired ones among them, and no more are "+
			"possible: begin another ring", len(r.Names))
	}
	r.index[c.Name] = len(r.Names)
	r.Names, r.Addrs = append(r.Names, c.Name), append(r.Addrs, c.Addr)
	r.notes = append(r.notes, note{moved: true})
	r.members++
	return nil
}

// freeAddr says why addr cannot be that of instance i, if it is there.
func (r *Roster) freeAddr(addr string, i int, there bool) error {
	if len(addr) > AddrMax {
		return fmt.Errorf("the address has %d bytes, at most %d are possible: shorten it", len(addr), AddrMax)
	}
	if err := CheckAddr(addr); err != nil {
		return err
	}
	for j, a := range r.Addrs {
		if a != addr || r.notes[j].retired {
			continue
		}
		if there && i == j {
			return fmt.Errorf("it is at %s already: nothing is to be done", addr)
		}
		return fmt.Errorf("address %s is in use by %s: give another one, or move that instance first",
			addr, quoted(r.Names[j]))
	}
	return nil
}

// withRetired notes who of a seed is retired.
func (r *Roster) withRetired(retired []int) error {
	if len(retired) == 0 {
		return nil
	}
	r.notes = make([]note, len(r.Names))
	for at, i := range retired {
		switch {
		case i < 0 || i >= len(r.Names):
			return fmt.Errorf("index %d is retired, and there are %d names: correct it", i, len(r.Names))
		case at > 0 && i <= retired[at-1]:
			return errors.New("the indexes that are retired are not in order: sort them, each once")
		}
		r.notes[i].retired = true
	}
	r.members = len(r.Names) - len(retired)
	if r.members == 0 {
		return errors.New("everybody is retired: leave at least one instance")
	}
	return nil
}

// What can be wrong with an encoded roster.
var (
	ErrMalformed = errors.New("roster: it is malformed")
	ErrNewer     = errors.New("roster: it is of a newer version; upgrade this instance")
)

// format is the first byte of an encoded roster.
const format = 1

// Bits of an encoded note.
const (
	bitRetired = 1 << iota
	bitMoved
	bitToVote
	bitNotToVote
)

// Encode writes the roster whole; equal ones give equal bytes.
func (r *Roster) Encode() []byte {
	b := append(make([]byte, 0, 64+40*len(r.Names)), format)
	b = binary.AppendUvarint(b, r.Version)
	b = append(b, r.chain[:]...)
	b = appendText(b, r.Ring)
	b = binary.AppendUvarint(b, uint64(r.Degree))
	b = binary.AppendUvarint(b, uint64(len(r.Names)))
	for i, name := range r.Names {
		b = appendText(appendText(b, name), r.Addr(i))
		bits := byte(0)
		if r.Retired(i) {
			bits |= bitRetired
		}
		if r.Moved(i) {
			bits |= bitMoved
		}
		switch r.Wish(i) {
		case ToVote:
			bits |= bitToVote
		case NotToVote:
			bits |= bitNotToVote
		}
		b = append(b, bits)
	}
	b = binary.AppendUvarint(b, uint64(len(r.past)))
	for _, h := range r.past {
		b = append(b, h[:]...)
	}
	return b
}

// Decode reads what Encode wrote; it trusts nothing in it but that versions came from each
// other as it says.
func Decode(b []byte) (*Roster, error) {
	c := reader{rest: b}
	if v := c.byte(); v > format {
		return nil, ErrNewer
	} else if v == 0 {
		return nil, ErrMalformed
	}
	n := &Roster{Version: c.uint()}
	copy(n.chain[:], c.take(32))
	n.Ring, n.Degree = c.text(wire.NameMax), int(min(c.uint(), 1<<10))
	count := c.count(wire.RosterMax, 3)
	n.notes, n.index = make([]note, count), make(map[string]int, count)
	some := false
	for i := range count {
		n.Names, n.Addrs = append(n.Names, c.text(wire.NameMax)), append(n.Addrs, c.text(AddrMax))
		bits := c.byte()
		o := &n.notes[i]
		o.retired, o.moved = bits&bitRetired != 0, bits&bitMoved != 0
		switch bits & (bitToVote | bitNotToVote) {
		case bitToVote:
			o.wish = ToVote
		case bitNotToVote:
			o.wish = NotToVote
		}
		some = some || n.Addrs[i] != ""
		if !o.retired {
			n.members++
		}
	}
	for range c.count(PastMax, 32) {
		n.past = append(n.past, [32]byte(c.take(32)))
	}
	if c.fail || len(c.rest) > 0 || n.Version == 0 || n.members == 0 {
		return nil, ErrMalformed
	}
	if !some {
		n.Addrs = nil
	}
	var f faults
	n.check(&f)
	if f.join() != nil {
		return nil, ErrMalformed
	}
	n.hash = n.digest()
	if n.Version == 1 && (n.chain != n.hash || len(n.past) > 0) {
		return nil, ErrMalformed
	}
	return n, nil
}

// AppendChanges adds changes to b.
func AppendChanges(b []byte, changes []Change) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendText(appendText(append(b, byte(c.Kind)), c.Name), c.Addr)
	}
	return b
}

// DecodeChanges reads what AppendChanges wrote; it trusts nothing in it.
func DecodeChanges(b []byte) ([]Change, error) {
	c := reader{rest: b}
	var changes []Change
	for range c.count(ChangesMax, 3) {
		changes = append(changes, Change{
			Kind: Kind(c.byte()), Name: c.text(wire.NameMax), Addr: c.text(AddrMax),
		})
	}
	if c.fail || len(c.rest) > 0 {
		return nil, ErrMalformed
	}
	return changes, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a byte string apart; after the first fault it yields zeroes.
type reader struct {
	rest []byte
	fail bool
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// take returns the next n bytes; n zeroes where there are not so many.
func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.fail, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads how many things of at least size bytes follow.
func (r *reader) count(most, size int) int {
	n := r.uint()
	if n > uint64(most) || n*uint64(size) > uint64(len(r.rest)) {
		r.fail, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) text(most int) string { return string(r.take(r.count(most, 1))) }
