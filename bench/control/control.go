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

	// What follows is for riders of the particle, see bench/rider.
	Pace    = "pace"    // of the particle at this stop: full speed if Fast, or the default
	Station = "station" // code at this stop, for passengers of Topic, that adds a byte to each
	Lap     = "lap"     // a passenger of Topic without a payload
	Mark    = "mark"    // a passenger that tells all where in the order a ride begins, or has ended
	Ride    = "ride"    // Callers at once that have passengers ride until Warm and For are over
	Ridden  = "ridden"  // what was delivered between two marks, once the second has come
	Watch   = "watch"   // the passes of the particle, for that time
)

// Order is what a process is told to do.
type Order struct {
	Do   string
	ID   uint32        `json:",omitempty"` // of the message, above 0
	Size int           `json:",omitempty"` // of its payload, at least HeadLen
	For  time.Duration `json:",omitempty"`

	Topic   string        `json:",omitempty"`
	Fast    bool          `json:",omitempty"`
	Callers int           `json:",omitempty"`
	Warm    time.Duration `json:",omitempty"` // before For
}

// Answer is what a process says.
type Answer struct {
	Index    int
	Ready    bool            `json:",omitempty"`
	Count    *Count          `json:",omitempty"`
	Receipts []Receipt       `json:",omitempty"`
	Took     []time.Duration `json:",omitempty"` // of each Gather, or of a Lap
	Folded   int             `json:",omitempty"` // stops at which a station changed a Lap's value
	Rate     *Rate           `json:",omitempty"`
	Sum      *Sum            `json:",omitempty"`
	Passes   []Pass          `json:",omitempty"`
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

// Rate is what a Ride was like here, of its time For.
type Rate struct {
	Delivered float64 // a second
	Calls     int
	P50, P99  time.Duration // of a call
}

// Sum is what was delivered between two marks.
type Sum struct {
	All, Missed uint64
	Moved       int    // to another order
	Hash        string // of all, in their order
}

// Pass is one of the particle.
type Pass struct {
	Tick     uint64
	Anchored bool
	At, Seen time.Time     // by the ring, and when the callback began
	Skew     time.Duration // as the ring says it
	Took     time.Duration // less the rests
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
