// Package control is how the program of an experiment and the processes that it
// measures talk: lines of JSON on one connection for each process, which dials. The
// process says when it is ready, and then answers what it is asked.
package control

import (
	"encoding/json"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// What an Order asks for.
const (
	Publish = "publish" // one message; there is no answer
	Storm   = "storm"   // messages as fast as they are taken, for that time; likewise
	Slow    = "slow"    // the subscriber takes that time for each message; likewise
	Counts  = "counts"  // what was counted since the process began
	Report  = "report"  // all that was received
	Gather  = "gather"  // ID questions to all, one after the other
)

// Order is what a process is told to do.
type Order struct {
	Do   string
	ID   uint32        `json:",omitempty"` // of the message, above 0
	Size int           `json:",omitempty"` // of its payload, at least HeadLen
	For  time.Duration `json:",omitempty"`
}

// Answer is what a process says.
type Answer struct {
	Index    int
	Ready    bool            `json:",omitempty"`
	Count    *Count          `json:",omitempty"`
	Receipts []Receipt       `json:",omitempty"`
	Took     []time.Duration `json:",omitempty"` // of each Gather
	Error    string          `json:",omitempty"` // that ends it
}

// Count is what a process has counted since it began.
type Count struct {
	Sent, Got uint64            // of a storm
	Twice     uint64            // messages that came more than once to the application
	Missed    uint64            // that the subscriber was too slow for, as it was told
	Gone      uint64            // that nobody had any more, likewise
	Copies    uint64            // of messages, as they came in over the network
	Frames    map[string]uint64 // that came in, by kind, where the program knows
	Deaths    map[string]int    // that were told, by whose, likewise
	Laps      []time.Duration   // less the rests, likewise; the newest 4,096
}

// Receipt is a message that was received, and how long after it was sent.
type Receipt struct {
	ID    uint32
	After time.Duration
}

// HeadLen is how many bytes of a payload are not padding.
const HeadLen = 12

// Clock is the same for all processes of a machine.
func Clock() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // this one cannot fail
	return time.Duration(t.Nano())
}

// Conn is one end.
type Conn struct {
	net.Conn
	in  *json.Decoder
	out *json.Encoder
}

// NewConn takes c over.
func NewConn(c net.Conn) *Conn { return &Conn{c, json.NewDecoder(c), json.NewEncoder(c)} }

// Send sends an Order or an Answer; one goroutine at a time may.
func (c *Conn) Send(v any) error { return c.out.Encode(v) }

// Receive waits for one, likewise.
func (c *Conn) Receive(v any) error { return c.in.Decode(v) }
