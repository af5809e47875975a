package ring

import (
	"errors"
	"fmt"
	"time"

	"ringofservers.dev/ring/internal/core"
)

// Timing is the pace of everything an instance does. Take a preset, [LAN],
// [WAN] or [Quiet], and change what you must; all instances of a ring should
// have the same.
//
// What it costs: a heartbeat, its answer and the acknowledgement are about 280
// bytes on the wire, headers of TCP, IP and Ethernet included, for each of an
// instance's d links (see Roster.Degree), half of them sent by either end. An
// instance sends about d × 140 / Beat + 250 / Lap bytes a second while nothing
// happens, and about six tenths of that again to agree on it;
// BENCHMARKS.md has it measured.
type Timing struct {
	Beat     time.Duration // between heartbeats of a link
	Patience time.Duration // from an unanswered heartbeat to a fresh connection as a check
	Answer   time.Duration // for a dial and its first words to be answered
	Redial   time.Duration // longest pause between two dials of a neighbour that is away
	Settle   time.Duration // quiet after the newest accusation before anybody is cut
	Gather   time.Duration // a starting instance asks round for at most this long
	Lap      time.Duration // of a particle that rests at its stops
	Loss     time.Duration // shortest time after which a lost particle is replaced
	HoldDown time.Duration // an instance that keeps dying waits this long to return
}

// LAN is for instances that reach each other within a few milliseconds, and
// the default. A crash is known within some ten milliseconds, silence within
// 1.5 s; where only one direction is lost, one Beat later. An instance with six
// links sends 2.1 kB/s.
func LAN() Timing {
	return Timing{
		Beat:     800 * time.Millisecond, // with Patience and Answer under 1.5 s
		Patience: 250 * time.Millisecond, // longer than the retransmission of one lost packet, 200 ms
		Answer:   300 * time.Millisecond, // likewise: the check may lose a packet too
		Redial:   400 * time.Millisecond, // a returning instance is found twice a second and more
		Settle:   10 * time.Millisecond,  // a flood of accusations crosses the fleet in less
		Gather:   250 * time.Millisecond, // many round trips, and under a second to the first tick
		Lap:      time.Second,            // one tick a second
		Loss:     400 * time.Millisecond, // two retransmissions of one lost packet
		HoldDown: time.Minute,            // long against a flap, short against an operator's walk
	}
}

// WAN is for instances up to 300 ms apart on lines that lose packets. Silence
// is known within 5.5 s. An instance with six links sends 0.6 kB/s.
func WAN() Timing {
	return Timing{
		Beat:     2 * time.Second,         // with Patience and Answer about 5 s
		Patience: 1500 * time.Millisecond, // a round trip and two retransmissions, backed off
		Answer:   1500 * time.Millisecond, // TCP's handshake, ours, and one retransmission
		Redial:   400 * time.Millisecond,  // longer than a round trip, so that no two dials cross
		Settle:   60 * time.Millisecond,   // accusers hear of a death within a jitter of each other
		Gather:   time.Second,             // three round trips
		Lap:      2 * time.Second,         // a ring that crosses an ocean and back takes a third of it
		Loss:     2 * time.Second,         // as Patience, and somewhat more
		HoldDown: time.Minute,             // as on a LAN: it is for people
	}
}

// Quiet is for fleets where bytes count for more than seconds. A crash is
// known as fast as ever, silence within 7 s. An instance with six links sends
// 0.3 kB/s.
func Quiet() Timing {
	return Timing{
		Beat:     5 * time.Second,        // nearly all the bytes there are
		Patience: time.Second,            // two packets lost one after the other; it costs no byte
		Answer:   time.Second,            // likewise
		Redial:   400 * time.Millisecond, // costs nothing while all live
		Settle:   20 * time.Millisecond,  // twice that of a LAN: nobody is in a hurry
		Gather:   500 * time.Millisecond, // likewise
		Lap:      10 * time.Second,       // a tick each ten seconds; a lap is 250 bytes at each stop
		Loss:     2 * time.Second,        // twice Patience: the particle may have lost two packets too
		HoldDown: 2 * time.Minute,        // who dies often costs the most bytes
	}
}

// check returns all faults at once.
func (t Timing) check() error {
	var errs []error
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Beat", t.Beat},
		{"Patience", t.Patience},
		{"Answer", t.Answer},
		{"Redial", t.Redial},
		{"Settle", t.Settle},
		{"Gather", t.Gather},
		{"Lap", t.Lap},
		{"Loss", t.Loss},
		{"HoldDown", t.HoldDown},
	} {
		if f.d <= 0 || f.d > time.Hour {
			errs = append(errs, fmt.Errorf("timing: %s is %v; choose up to an hour, "+
				"or start from a preset", f.name, f.d))
		}
	}
	return errors.Join(errs...)
}

func (t Timing) core() core.Timing { return core.Timing(t) }
