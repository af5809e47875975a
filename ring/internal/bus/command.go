package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits of one command and of the whole state. A command that is over them is
// refused, never cut.
const (
	KeyMax    = 255      // bytes of a key or a lease's name
	ValueMax  = 32 << 10 // bytes of a value
	StateMax  = 16 << 20 // bytes of all keys and values
	LeasesMax = 4096     // leases held at a time
	ViewMax   = 512      // changes in one View command
	ByMax     = 16       // accusers named for one change
	PendMax   = 1024     // requests of one process that may be under way

	TTLMin = time.Second
	TTLMax = time.Hour
)

// Kind is what a command does.
type Kind uint8

// The commands. Those of a Request come from anywhere, the others from the
// leader alone.
const (
	Put     Kind = iota + 1 // Key, Value, If
	Delete                  // Key, If
	Grant                   // Key: the lease's name; TTL
	Renew                   // Key, Fence
	Release                 // Key, Fence
	Expire                  // Key, Fence: the leader has seen it run out
	Drop                    // Epoch: the one replaced; Dropper, Boot; Lap: the first; Limit: ticks to reserve;
	//                         Fence and Rev: an epoch and a tick that the new ones must be above
	Extend // Epoch, Limit: the new one
	View   // Changes
	Admit  // Changes: instance, generation (as Incarnation) and boot of new logs
	Leap   // after a recovery: Epoch, Limit and Fence rise by so much
	Seed   // Value: a piece of the roster that changes begin with, encoded; Lap: where it stands in that;
	//        Limit: bytes of all of it; Key: its SHA-256, in hexadecimal digits
	Reroll // Value: changes to the roster, encoded; Rev: its number; Key: its chain, likewise
)

// Asked reports whether a command of that kind comes from a Request, of anybody.
func (k Kind) Asked() bool { return k <= Release || k == Seed || k == Reroll }

// SeedMax bounds an encoded roster: as many names and addresses as there can be.
const SeedMax = 9 << 20

// Condition is what a Put or Delete asks of the key.
type Condition uint8

// Conditions.
const (
	Always   Condition = iota
	IfAbsent           // there is no such key
	IfEqual            // it was last written at revision Rev
)

// Request names one wish of one process, so that it can be sent again without
// being done twice. The zero Request is that of the leader's own commands.
type Request struct {
	Origin uint32 // index of the instance
	Life   uint32 // of its process: random, for an incarnation comes again where all are lost
	Seq    uint64 // from 1
	Low    uint64 // no request below this one will ever be sent again
}

// Change is one instance in a View command.
type Change struct {
	Index       uint32
	State       uint8 // as wire.State
	Incarnation uint32
	Proof       bool
	Boot        uint32   // of an Admit: the process whose new log it is
	By          []uint32 // who accused it
}

// Command is one entry. Which fields count is said at its Kind.
type Command struct {
	Kind    Kind
	Req     Request
	Key     string
	Value   []byte
	If      Condition
	Rev     uint64
	TTL     time.Duration
	Fence   uint64
	Epoch   uint64
	Dropper uint32
	Boot    uint32 // of the dropper's process
	Lap     uint64
	Limit   uint64
	Changes []Change
}

// What can be wrong with an encoded command.
var (
	ErrMalformed = errors.New("bus: command is malformed")
	ErrNewer     = errors.New("bus: command is of a newer version; upgrade this instance")
)

// The first byte of every encoded command, and of a state: that of the first version where
// that has all there is to say, so that a build that knows no other one can read it.
const (
	firstFormat = 1
	format      = 2 // has rosters
)

func (k Kind) format() byte {
	if k == Seed || k == Reroll {
		return format
	}
	return firstFormat
}

// Check says why c must not be proposed.
func (c *Command) Check() error {
	switch {
	case len(c.Key) > KeyMax:
		return fmt.Errorf("bus: key of %d bytes; at most %d", len(c.Key), KeyMax)
	case !utf8.ValidString(c.Key):
		return errors.New("bus: key is not UTF-8")
	case len(c.Value) > ValueMax:
		return fmt.Errorf("bus: value of %d bytes; at most %d", len(c.Value), ValueMax)
	case c.Kind <= Release && c.Key == "":
		return errors.New("bus: key is empty")
	case c.Kind == Grant && (c.TTL < TTLMin || c.TTL > TTLMax):
		return fmt.Errorf("bus: a lease of %v; choose %v to %v", c.TTL, TTLMin, TTLMax)
	}
	return nil
}

// Encode writes c.
func (c *Command) Encode() []byte {
	b := make([]byte, 0, 64+len(c.Key)+len(c.Value)+24*len(c.Changes))
	b = append(b, c.Kind.format(), byte(c.Kind))
	b = binary.AppendUvarint(b, uint64(c.Req.Origin))
	b = binary.AppendUvarint(b, uint64(c.Req.Life))
	b = binary.AppendUvarint(b, c.Req.Seq)
	b = binary.AppendUvarint(b, c.Req.Low)
	b = appendBytes(b, c.Key)
	b = appendBytes(b, c.Value)
	b = append(b, byte(c.If))
	for _, n := range [...]uint64{
		c.Rev, uint64(c.TTL), c.Fence, c.Epoch, uint64(c.Dropper),
		uint64(c.Boot), c.Lap, c.Limit, uint64(len(c.Changes)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for i := range c.Changes {
		b = c.Changes[i].append(b)
	}
	return b
}

func (h *Change) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(h.Index))
	flags := h.State << 1
	if h.Proof {
		flags |= 1
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(h.Incarnation))
	b = binary.AppendUvarint(b, uint64(h.Boot))
	b = binary.AppendUvarint(b, uint64(len(h.By)))
	for _, by := range h.By {
		b = binary.AppendUvarint(b, uint64(by))
	}
	return b
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Decode reads what Encode wrote; it trusts nothing in it. The command does not
// alias b.
func Decode(b []byte) (Command, error) {
	r := reader{rest: b}
	if v := r.byte(); v > format {
		return Command{}, fmt.Errorf("%w: format %d, this build reads up to %d", ErrNewer, v, format)
	} else if v == 0 {
		r.fail = true
	}
	c := Command{Kind: Kind(r.byte())}
	c.Req = Request{Origin: r.u32(), Life: r.u32(), Seq: r.uint(), Low: r.uint()}
	c.Key = string(r.bytes(KeyMax))
	if v := r.bytes(ValueMax); len(v) > 0 {
		c.Value = append([]byte(nil), v...)
	}
	c.If = Condition(r.byte())
	c.Rev, c.TTL, c.Fence, c.Epoch = r.uint(), time.Duration(r.uint()), r.uint(), r.uint()
	c.Dropper, c.Boot, c.Lap, c.Limit = r.u32(), r.u32(), r.uint(), r.uint()
	n := r.count(ViewMax, 5)
	for range n {
		c.Changes = append(c.Changes, r.change())
	}
	if r.fail || len(r.rest) > 0 || !utf8.ValidString(c.Key) {
		return Command{}, ErrMalformed
	}
	return c, nil
}

// reader takes a byte string apart; after the first fault it yields zeroes.
type reader struct {
	rest []byte
	fail bool
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail = true
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) u32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail = true
	}
	return uint32(v)
}

// count reads how many things of at least size bytes follow.
func (r *reader) count(most, size int) int {
	n := r.uint()
	if n > uint64(most) || n*uint64(size) > uint64(len(r.rest)) {
		r.fail = true
		return 0
	}
	return int(n)
}

func (r *reader) bytes(most int) []byte {
	n := r.count(most, 1)
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) change() Change {
	h := Change{Index: r.u32()}
	flags := r.byte()
	h.State, h.Proof = flags>>1, flags&1 != 0
	h.Incarnation, h.Boot = r.u32(), r.u32()
	for range r.count(ByMax, 1) {
		h.By = append(h.By, r.u32())
	}
	return h
}

// IsDrop reports whether an encoded command is a Drop.
func IsDrop(b []byte) bool { return len(b) > 1 && b[0] == firstFormat && Kind(b[1]) == Drop }
