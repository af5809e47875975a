package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// cursor reads a payload from the front. The first fault sticks; from then on
// it yields zeros, so that decoders read straight through and ask once.
type cursor struct {
	rest  []byte
	fault string
}

func (c *cursor) fail(why string) {
	if c.fault == "" {
		c.fault = why
	}
	c.rest = nil
}

// take returns the next n bytes, which alias the frame, or nil.
func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.fail("it ends early")
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

// flag reads the lowest bit of a byte; the other bits are for newer peers.
func (c *cursor) flag() bool { return c.byte()&1 != 0 }

func (c *cursor) fixed32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	switch {
	case n > 0:
		c.rest = c.rest[n:]
		return v
	case n == 0:
		c.fail("it ends early")
	default:
		c.fail("a number is over 64 bits")
	}
	return 0
}

// number reads a varint of at most most.
func (c *cursor) number(what string, most uint64) uint64 {
	v := c.uvarint()
	if v > most {
		c.fail(what + " is over its bound")
		return 0
	}
	return v
}

func (c *cursor) u32(what string) uint32 { return uint32(c.number(what, 1<<32-1)) }

func (c *cursor) incarnation() uint32 { return uint32(c.number("incarnation", IncarnationMax)) }

func (c *cursor) index() uint32 { return uint32(c.number("index", RosterMax-1)) }

// count reads the length of a list: at most most, and no more than the bytes
// that follow can hold at sizeMin each. So it is safe to allocate.
func (c *cursor) count(what string, most, sizeMin int) int {
	n := int(c.number("number of "+what, uint64(most)))
	if n*sizeMin > len(c.rest) {
		c.fail(what + " end early")
		return 0
	}
	return n
}

// bytes reads a counted string, which aliases the frame.
func (c *cursor) bytes(what string, bytesMax uint64) []byte {
	return c.take(int(c.number("length of "+what, bytesMax)))
}

// text reads a counted string that must be UTF-8.
func (c *cursor) text(what string, bytesMax uint64) string {
	b := c.bytes(what, bytesMax)
	if !utf8.Valid(b) {
		c.fail(what + " is not UTF-8")
		return ""
	}
	return string(b)
}

func (c *cursor) rank() Rank {
	if b := c.take(rankLen); b != nil {
		return decodeRank(b)
	}
	return Rank{}
}

func (c *cursor) marks() []Mark {
	n := c.count("marks", MarksMax, 2)
	if n == 0 {
		return nil
	}
	marks := make([]Mark, n)
	for i := range marks {
		marks[i] = Mark{Subject: c.index(), Incarnation: c.incarnation()}
	}
	return marks
}
