// Package detect judges who is dead. It has two halves, both pure: a [Pulse]
// watches one link by heartbeats that must come back, and [Judge] weighs what
// all observers say of each other.
//
//	p ──beat 7──────► s        a link counts as heard only when the other
//	p ◄──beat 3, echo 7─ s     side has echoed our beat: deaf and mute
//	                           look the same, and are
//
// One observer alone has a bad link, not a dead neighbour. Observers that are
// themselves accused more than those they accuse are not believed (the peeling
// in [Judge]), and a verdict waits while another subject is between the marks,
// so that one incident comes out as one view change (cut detection as in Rapid,
// USENIX ATC 2018, section 4.2).
package detect

import (
	"time"

	"ringofservers.dev/ring/internal/wire"
)

const (
	remembered = 8 // beats whose send times are kept for their echoes
	// rttMax bounds a sample: what took longer was an absence, not a round trip,
	// and must not make the link patient for many beats to come.
	rttMax = time.Second
)

// Pulse is the heartbeat of one link, as one side sees it. The dialer beats by
// its own clock and the acceptor answers each beat, so one exchange an interval
// shows both sides that both directions carry.
type Pulse struct {
	Dialer bool
	seq    uint32
	sent   [remembered]time.Time // of seq, modulo
	heard  uint32                // newest seq of the other side
	at     time.Time             // when it was heard
	open   time.Time             // when the oldest beat not yet echoed was sent, zero for none
	srtt   time.Duration
	rttvar time.Duration
	least  time.Duration // the shortest of late
}

// Fill makes b the next beat to be sent.
func (p *Pulse) Fill(now time.Time, b *wire.Beat) {
	p.seq++
	p.sent[p.seq%remembered] = now
	if p.open.IsZero() {
		p.open = now
	}
	b.Seq, b.Echo, b.EchoAgeUS = p.seq, p.heard, 0
	if p.heard > 0 {
		b.EchoAgeUS = uint32(min(now.Sub(p.at)/time.Microsecond, 1<<32-1))
	}
}

// Hear takes a beat of the other side, and learns from its echo. It returns the
// round trip that the echo shows, each once, and 0 where it shows none.
func (p *Pulse) Hear(now time.Time, b *wire.Beat) (rtt time.Duration) {
	if b.Seq > p.heard {
		p.heard, p.at = b.Seq, now
	}
	echo := b.Echo
	if echo == 0 || echo > p.seq || p.seq-echo >= remembered {
		return 0
	}
	if sent := p.sent[echo%remembered]; !sent.IsZero() {
		rtt = now.Sub(sent) - time.Duration(b.EchoAgeUS)*time.Microsecond
		rtt = max(rtt, time.Microsecond)
		p.sent[echo%remembered] = time.Time{}
		p.learn(min(rtt, rttMax))
	}
	if echo == p.seq {
		p.open = time.Time{}
	} else if next := p.sent[(echo+1)%remembered]; !next.IsZero() && next.After(p.open) {
		p.open = next
	}
	return rtt
}

// learn is RFC 6298, section 2.
func (p *Pulse) learn(rtt time.Duration) {
	p.least = min(rtt, p.least+(rtt-p.least)/16)
	if p.srtt == 0 {
		p.srtt, p.rttvar, p.least = rtt, rtt/2, rtt
		return
	}
	p.rttvar += ((p.srtt - rtt).Abs() - p.rttvar) / 4
	p.srtt += (rtt - p.srtt) / 8
}

// RTT is the smoothed round trip, 0 while unknown.
func (p *Pulse) RTT() time.Duration { return p.srtt }

// Least is what a round trip takes when nothing delays it: the shortest of late, 0 while
// unknown. One packet that was lost, and sent again after 200 ms, is half a minute in RTT.
func (p *Pulse) Least() time.Duration { return p.least }

// SilentAt is when the link must be doubted unless an echo comes: an answer is
// owed within patience, stretched by what the link has shown of itself, at most
// to twice patience; the acceptor's beats are echoed an interval later.
// Zero while nothing is owed.
func (p *Pulse) SilentAt(beat, patience time.Duration) time.Time {
	if p.open.IsZero() {
		return time.Time{}
	}
	wait := min(patience+p.srtt+2*p.rttvar, 2*patience)
	if !p.Dialer {
		wait += beat
	}
	return p.open.Add(wait)
}

// Stale reports, after Hear, whether the dialer's beat failed to echo an answer
// that was sent it long before: it beats, but does not hear us.
func (p *Pulse) Stale(now time.Time, patience time.Duration) bool {
	return !p.Dialer && !p.open.IsZero() && now.Sub(p.open) >= (patience+p.srtt)/2
}

// Silent is for how long the oldest beat has gone without an echo.
func (p *Pulse) Silent(now time.Time) time.Duration {
	if p.open.IsZero() {
		return 0
	}
	return now.Sub(p.open)
}

// Heard is when the newest beat of the other side came.
func (p *Pulse) Heard() time.Time { return p.at }

// Shift moves what is owed: time in which this process did not run does not
// count against the other side.
func (p *Pulse) Shift(d time.Duration) {
	if !p.open.IsZero() {
		p.open = p.open.Add(d)
		p.sent[p.seq%remembered] = p.sent[p.seq%remembered].Add(d)
	}
}
